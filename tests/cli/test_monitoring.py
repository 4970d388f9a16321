"""`server`, `channels`, `clients` and `watch` on a running server, ours and the original."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from subprocess import Popen

import pytest

from nats_streaming.cli.exits import ExitCode

from .conftest import Place
from .tool import RUN_SECONDS, run, run_json, start


@pytest.fixture
def stalled(place: Place, channel: str) -> Iterator[Popen[bytes]]:
    """A client `<channel>-me` with a durable that is at its limit: two of five messages in flight."""
    run("pub", channel, "1", "2", "3", "4", "5", **place.variables)
    client = start(
        "sub", channel, "--start", "first", "--durable", "d", "--client-id", f"{channel}-me", "--max-in-flight", "2",
        "--no-ack", **place.variables,
    )  # fmt: skip
    assert client.stdout is not None
    client.stdout.readline()
    client.stdout.readline()
    yield client
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=RUN_SECONDS)


def test_server(place: Place, stalled: Popen[bytes]) -> None:
    shown = run("server", **place.variables).stdout
    assert "STANDALONE, up " in shown
    assert "cluster test-cluster" in shown
    assert "MEMORY: " in shown
    assert " of 1 000\n" in shown
    assert "1 000 000 messages, 976.6 MB" in shown
    assert "stalled" in shown
    found = run_json("server", **place.variables)
    assert found["server"]["cluster_id"] == "test-cluster"
    assert found["store"]["limits"]["max_channels"] == 1000
    assert found["nats"]["server_id"]


def test_channels(place: Place, channel: str, stalled: Popen[bytes]) -> None:
    (row,) = (line.split() for line in run("channels", **place.variables).stdout.splitlines() if f" {channel} " in line)
    assert (row[1:4], row[6:]) == (["5", "1", "5"], ["1", "0", "2", "1", "3"])
    detail = run("channels", channel, **place.variables).stdout
    assert "messages 5 (1 to 5)" in detail
    (row,) = (line.split() for line in detail.splitlines() if f"{channel}-me" in line)
    assert row == ["durable", "d", f"{channel}-me", "2", "2", "2", "30", "s", "3", "stalled"]
    assert channel in [document["name"] for document in run_json("channels", **place.variables)]
    assert run_json("channels", channel, **place.variables)["last_seq"] == 5


def test_clients(place: Place, channel: str, stalled: Popen[bytes]) -> None:
    shown = run("clients", **place.variables).stdout
    (row,) = (line.split() for line in shown.splitlines() if f"{channel}-me" in line)
    assert row == [f"{channel}-me", "1", channel]
    assert "stalled" in run("clients", f"{channel}-me", **place.variables).stdout
    assert run_json("clients", f"{channel}-me", **place.variables)["id"] == f"{channel}-me"
    assert f"{channel}-me" in [document["id"] for document in run_json("clients", **place.variables)]


def test_watch(place: Place, channel: str, stalled: Popen[bytes]) -> None:
    out = run("watch", channel, "-i", "0.2", "-n", "2", "--json", **place.variables).stdout
    looks = [json.loads(line) for line in out.splitlines()]
    assert len(looks) == 2
    (row,) = looks[1]["channels"]
    assert (row["channel"]["name"], row["pending"], row["behind"], row["stalled"]) == (channel, 2, 3, 1)
    assert looks[1]["seconds"] >= 0.2
    assert channel in run("watch", channel, "-i", "0.1", "-n", "1", **place.variables).stdout


def test_watch_sees_what_is_published(ours: Place, channel: str) -> None:
    run("pub", channel, "first", **ours.variables)
    publisher = start("pub", channel, "x", "-n", "100000", "--rate", "200", **ours.variables)
    try:
        while run_json("channels", channel, **ours.variables)["last_seq"] < 10:
            assert publisher.poll() is None
        out = run("watch", channel, "-i", "1", "-n", "3", "--json", **ours.variables).stdout
        looks = [json.loads(line) for line in out.splitlines()]
        stored = [look["channels"][0]["channel"]["last"] for look in looks]
        assert stored[0] < stored[-1]
        for before, after, now in zip(stored, stored[1:], looks[1:], strict=False):
            assert now["channels"][0]["in_per_s"] == pytest.approx((after - before) / now["seconds"], rel=0.01)
    finally:
        publisher.send_signal(signal.SIGINT)
        publisher.communicate(timeout=RUN_SECONDS)


def test_what_is_not_there(place: Place) -> None:
    assert "Channel nothing not found" in run(
        "channels", "nothing", code=ExitCode.NOT_FOUND, **place.variables
    ).stderr  # fmt: skip
    assert "not found" in run("clients", "nobody", code=ExitCode.NOT_FOUND, **place.variables).stderr
    assert "not found" in run("watch", "nothing", code=ExitCode.NOT_FOUND, **place.variables).stderr


def test_no_monitoring_port(ours: Place) -> None:
    shown = run("channels", "--monitor", "http://127.0.0.1:1", code=ExitCode.NO_MONITORING)
    assert "cannot be read: Connection refused" in shown.stderr
    assert "start the server with -m 8222" in shown.stderr
    shown = run("server", "--monitor", f"127.0.0.1:{ours.process.port}", code=ExitCode.NO_MONITORING)
    assert "it speaks NATS, so it is the port for clients" in shown.stderr
    run("server", "--monitor", "ftp://x", code=ExitCode.USAGE)
