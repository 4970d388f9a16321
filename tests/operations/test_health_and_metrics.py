"""Health checks that tell the truth, and metrics that Prometheus and the exporter's users can read."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.operations.monitoring_session import Answer, Session, ask
from tests.support.nats_servers import NatsServer
from tests.support.raw_client import StanClient, StartPosition, refused
from tests.support.servers import STANDBY, ServerProcess, free_port

Start = Callable[..., ServerProcess]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "monitoring.md"
WAIT_SECONDS = 20.0
LARGE = b"x" * 20_000
FILE_BYTES_MAX = 50  # not even a fresh journal can be begun, and the log has to wait

EXPORTER_SERVER = {"server_id"}
EXPORTER_CHANNEL = {"server_id", "server_role", "channel"}
EXPORTER_SUBSCRIPTION = EXPORTER_CHANNEL | {
    "client_id", "inbox", "queue_name", "is_durable", "is_offline", "durable_name",
}  # fmt: skip


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    """A nats-server of its own."""
    server = NatsServer()
    try:
        yield server.start()
    finally:
        server.close()


async def becomes(port: int, path: str, status: int) -> Answer:
    """The first answer with this status."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = await asyncio.to_thread(ask, port, path)
            if answer.status == status:
                return answer
            await asyncio.sleep(0.02)


def problem(answer: Answer) -> tuple[str, str]:
    """Check and text of the only problem."""
    page = json.loads(answer.body)
    assert page["status"] == "error"
    assert answer.header("content-type") == "application/json"
    (found,) = page["problems"]
    return found["check"], found["error"]


def samples(port: int) -> dict[str, list[Any]]:
    """All samples by name, by the parser of Prometheus's own library."""
    answer = ask(port, "/metrics")
    assert answer.status == 200
    assert str(answer.header("content-type")).startswith("text/plain; version=0.0.4")
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(found: dict[str, list[Any]], name: str) -> float:
    (sample,) = found[name]
    return float(sample.value)


# Health.


async def test_a_server_that_serves_is_healthy(start: Start) -> None:
    port = free_port()
    start("-m", str(port))
    for path in ("/healthz/live", "/healthz/ready"):
        answer = ask(port, path)
        assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "state": "STANDALONE"})
    assert json.loads(ask(port, "/healthz").body) == {"status": "ok"}, "that one is nats-server's"


async def test_a_store_that_fails_shows_until_it_is_well(start: Start, tmp_path: Path) -> None:
    """A real write fails in the server, because its files may not grow any more."""
    port = free_port()
    server = start("-st", "FILE", "-dir", str(tmp_path), "-m", str(port))
    session = Session(server.port)
    client = await session.client("me")
    await client.publish("foo", b"before")
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, limits[1]))
    text = await refused(publish_until_refused(client))
    assert "too large" in text.lower()
    sick = json.loads((await becomes(port, "/healthz/ready", 503)).body)
    told = {each["check"]: each["error"] for each in sick["problems"]}
    assert "too large" in told["store"].lower()
    assert told.keys() <= {"store", "channel_files"}
    assert ask(port, "/healthz/live").status == 200, "a restart would not help"
    found = samples(port)
    assert value(found, "nss_store_failing") == 1
    assert value(found, "nss_server_ready") == 0
    assert value(found, "nss_commit_failures_total") >= 1
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
    await becomes(port, "/healthz/ready", 200)  # without another publish
    await client.publish("foo", b"after")
    assert value(samples(port), "nss_store_failing") == 0
    await session.close()


async def publish_until_refused(client: StanClient) -> None:
    for _ in range(20):
        await client.publish("foo", LARGE)


async def test_a_lost_link_shows_until_it_is_back(start: Start, nats: NatsServer) -> None:
    port = free_port()
    start("-ns", nats.url, "-m", str(port), external=True)
    assert ask(port, "/healthz/ready").status == 200
    nats.kill()
    check, _ = problem(await becomes(port, "/healthz/ready", 503))
    assert check == "nats"
    assert ask(port, "/healthz/live").status == 200
    assert value(samples(port), "nss_nats_link_down") == 1
    nats.start()
    await becomes(port, "/healthz/ready", 200)
    assert value(samples(port), "nss_nats_link_down") == 0


@pytest.mark.operations(47)
async def test_a_standby_is_alive_and_not_ready(nats: NatsServer, tmp_path: Path) -> None:
    servers, ports = [], []
    try:
        for _ in range(2):
            ports.append(free_port())
            place = (
                "-ns",
                nats.url,
                "-st",
                "FILE",
                "-dir",
                str(tmp_path / "store"),
                "-ft_group",
                "g",
                "-a",
                "127.0.0.1",
            )
            server = ServerProcess(*place, "-m", str(ports[-1]), external=True)
            servers.append(server)
            server.start(until=STANDBY)
            if len(servers) == 1:
                await becomes(ports[0], "/healthz/ready", 200)
        active, standby = ports
        assert ask(active, "/streaming/isFTActive").status == 200
        idle = ask(standby, "/streaming/isFTActive")
        assert (idle.status, idle.body, idle.header("content-type")) == (204, b"", None)
        assert json.loads(ask(active, "/streaming/serverz").body)["state"] == "FT_ACTIVE"
        serverz = json.loads(ask(standby, "/streaming/serverz").body)
        assert (serverz["state"], serverz["cluster_id"], serverz["channels"]) == ("FT_STANDBY", "", 0)
        assert json.loads(ask(standby, "/streaming/storez").body)["type"] == "FILE"
        assert json.loads(ask(standby, "/streaming/clientsz").body)["clients"] == []
        assert ask(standby, "/healthz/live").status == 200
        assert problem(ask(standby, "/healthz/ready"))[0] == "server"
        assert (value(samples(active), "nss_server_active"), value(samples(standby), "nss_server_active")) == (1, 0)
        servers[0].kill()
        await becomes(standby, "/streaming/isFTActive", 200)
        await becomes(standby, "/healthz/ready", 200)
        assert json.loads(ask(standby, "/streaming/serverz").body)["cluster_id"] == "test-cluster"
    finally:
        for server in servers:
            server.close()


# Metrics.


@pytest.mark.operations(50)
async def test_metrics_of_a_session(start: Start, tmp_path: Path) -> None:
    port = free_port()
    server = start("-st", "FILE", "-dir", str(tmp_path), "-m", str(port))
    session = Session(server.port)
    await session.live()
    client = await session.client("slow")
    subscription = await client.subscribe("foo", start=StartPosition.FIRST, max_in_flight=1, ack_wait=1)
    assert await subscription.repeats(2) == [(1, 0), (1, 1)]
    serverz = json.loads(ask(port, "/streaming/serverz").body)
    channels = json.loads(ask(port, "/streaming/channelsz?subs=1").body)["channels"]
    found = samples(port)
    for name, key in (
        ("bytes_total", "total_bytes"), ("msgs_total", "total_msgs"), ("channels", "channels"), ("clients", "clients"),
        ("subscriptions", "subscriptions"), ("msgs_in", "in_msgs"), ("bytes_in", "in_bytes"),
    ):  # fmt: skip
        (sample,) = found[f"nss_server_{name}"]
        assert (sample.value, set(sample.labels)) == (serverz[key], EXPORTER_SERVER), name
    assert value(found, "nss_server_msgs_out") >= serverz["out_msgs"]
    assert value(found, "nss_server_bytes_out") >= serverz["out_bytes"]
    (info,) = found["nss_server_info"]
    assert (info.labels["cluster_id"], info.labels["version"], info.labels["state"]) == (
        "test-cluster",
        "0.25.6",
        "STANDALONE",
    )
    assert info.labels["server_id"] == json.loads(ask(port, "/varz").body)["server_id"]
    for name, key in (("bytes_total", "bytes"), ("msgs_total", "msgs"), ("last_seq", "last_seq")):
        shown = {sample.labels["channel"]: sample.value for sample in found[f"nss_chan_{name}"]}
        assert shown == {channel["name"]: channel[key] for channel in channels}
        assert {frozenset(sample.labels) for sample in found[f"nss_chan_{name}"]} == {frozenset(EXPORTER_CHANNEL)}
    inboxes = {each["inbox"]: each for channel in channels for each in channel.get("subscriptions", ())}
    for name, key in (("last_sent", "last_sent"), ("pending_count", "pending_count"), ("max_inflight", "max_inflight")):
        assert {each.labels["inbox"]: each.value for each in found[f"nss_chan_subs_{name}"]} == {
            inbox: subscription[key] for inbox, subscription in inboxes.items()
        }
        assert {frozenset(each.labels) for each in found[f"nss_chan_subs_{name}"]} == {frozenset(EXPORTER_SUBSCRIPTION)}
    groups = {(each.labels["queue_name"], each.labels["durable_name"]) for each in found["nss_chan_subs_last_sent"]}
    assert {("grp", ""), ("dgrp", "qd"), ("dgrp2", "qd"), ("", "dur"), ("", "duroff")} <= groups
    assert value(found, "nss_server_pending") == sum(each["pending_count"] for each in inboxes.values())
    assert value(found, "nss_server_stalled") == sum(each["is_stalled"] for each in inboxes.values()) == 2
    assert value(found, "nss_redeliveries_total") >= 1
    assert value(found, "nss_stalls_total") >= 2
    assert value(found, "nss_publish_ack_seconds_count") == serverz["in_msgs"]
    assert value(found, "nss_commit_messages_sum") == serverz["in_msgs"]
    assert value(found, "nss_commit_bytes_sum") == serverz["in_bytes"]
    assert value(found, "nss_commit_seconds_count") >= value(found, "nss_commit_messages_count") > 0
    assert 0 < value(found, "nss_commit_seconds_sum") < WAIT_SECONDS
    assert value(found, "nss_store_disk_free_bytes") > 0
    for process in ("process", "nats_server_process"):
        assert value(found, f"{process}_resident_memory_bytes") > 1_000_000
        assert value(found, f"{process}_cpu_seconds_total") > 0
    await session.close()


async def test_series_are_bounded_by_options(start: Start) -> None:
    port = free_port()
    server = start("-m", str(port), "-metrics_channels", "2", "-metrics_subs", "3")
    session = Session(server.port)
    await session.live()
    found = samples(port)
    assert [sample.labels["channel"] for sample in found["nss_chan_last_seq"]] == ["bar.baz", "foo"]
    assert len(found["nss_chan_subs_last_sent"]) == 3
    assert value(found, "nss_metrics_channels_left_out") == value(found, "nss_server_channels") - 2
    assert value(found, "nss_metrics_subscriptions_left_out") == value(found, "nss_server_subscriptions") - 3
    await session.close()


@pytest.mark.operations(50)
async def test_every_value_has_the_type_that_the_exporter_insists_on(start: Start) -> None:
    """It drops a whole server if one field has another type, and it splits the names of durable groups at a colon."""
    port = free_port()
    server = start("-m", str(port))
    session = Session(server.port)
    await session.live()
    serverz = json.loads(ask(port, "/streaming/serverz").body)
    texts = {"cluster_id", "server_id", "version", "go", "state", "now", "start_time", "uptime"}
    assert {key for key, each in serverz.items() if type(each) is str} == texts
    assert {type(each) for key, each in serverz.items() if key not in texts} == {int}
    for channel in json.loads(ask(port, "/streaming/channelsz?subs=1").body)["channels"]:
        assert {type(each) for key, each in channel.items() if key not in ("name", "subscriptions")} == {int}
        for subscription in channel.get("subscriptions", ()):
            is_group = "queue_name" in subscription and subscription["is_durable"]
            assert not is_group or ":" in subscription["queue_name"]
            for key, each in subscription.items():
                wanted = bool if key.startswith("is_") else int if key in COUNTS else str
                assert type(each) is wanted, key
    await session.close()


COUNTS = ("max_inflight", "ack_wait", "last_sent", "pending_count")


@pytest.mark.operations(50)
async def test_a_real_prometheus_scrapes_it(start: Start, tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    assert prometheus is not None, "Prometheus is not on PATH (Debian: apt-get install prometheus)"
    port, query_port = free_port(), free_port()
    server = start("-m", str(port))
    session = Session(server.port)
    await session.live()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
        scrape_configs:
          - job_name: nats-streaming
            scrape_interval: 1s
            scrape_timeout: 1s
            static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
        """
    )
    process = subprocess.Popen(
        [
            prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{query_port}", "--log.level=warn",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert await queried(query_port, 'up{job="nats-streaming"}', process) == {"": "1"}
        assert await queried(query_port, "nss_server_msgs_in", process) == {"": "20"}
        by_channel = await queried(query_port, "sum by (channel) (nss_chan_msgs_total)", process)
        assert by_channel == {"foo": "5", "bar.baz": "5", "odd<&name": "5", "grün": "5", "quiet": "0"}
        late = "histogram_quantile(0.99, nss_publish_ack_seconds_bucket)"
        assert 0 < float((await queried(query_port, late, process))[""]) <= 10
        for expression in documented_queries():
            answer = ask(query_port, f"/api/v1/query?query={quote(expression)}")
            assert answer.status == 200, (expression, answer.text)
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
    await session.close()


def documented_queries() -> list[str]:
    """Those that the guide has for a dashboard."""
    table = GUIDE.read_text(encoding="utf-8").partition("| panel | query |")[2].partition("\n\n")[0]
    queries = [query for query in re.findall(r"`([^`]+)`", table) if "nss_" in query or "process_" in query]
    assert len(queries) > 10
    return queries


@pytest.mark.operations(50)
def test_the_alerts_of_the_guide_are_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is not on PATH (Debian: apt-get install prometheus)"
    (rules,) = re.findall(r"```yaml\n(groups:\n.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "rules.yml"
    path.write_text(rules)
    checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.operations(50)
async def test_the_guide_names_every_metric(start: Start, tmp_path: Path) -> None:
    port = free_port()
    server = start("-st", "FILE", "-dir", str(tmp_path), "-m", str(port))
    session = Session(server.port)
    await session.live()
    text = GUIDE.read_text(encoding="utf-8")
    families = text_string_to_metric_families(ask(port, "/metrics").text)
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert not [name for name in names if "process_" not in name and f"`{name}`" not in text]
    await session.close()


async def queried(port: int, expression: str, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Values by their channel label, as soon as there are any."""
    deadline = time.monotonic() + 2 * WAIT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            answer = await asyncio.to_thread(ask, port, f"/api/v1/query?query={quote(expression)}")
        except ConnectionRefusedError:
            answer = None
        if answer is not None and answer.status == 200:
            result = json.loads(answer.body)["data"]["result"]
            if result and result[0]["value"][1] != "0":
                return {each["metric"].get("channel", ""): each["value"][1] for each in result}
        await asyncio.sleep(0.1)
    raise AssertionError(f"Prometheus has no {expression}")
