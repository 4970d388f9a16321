"""A start that must not be, a NATS that goes and comes back, a disk that fills up."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.nats_servers import NatsServer
from tests.support.raw_client import NatsClient, StanClient, StanError, StartPosition, refused, unique
from tests.support.servers import ServerProcess, free_port, run_to_end
from tests.support.small_disk import SmallDisk

Start = Callable[..., ServerProcess]
StartNats = Callable[..., NatsServer]

PATIENCE_S = 20.0
LINK = 'connection "_NSS-test-cluster-general"'


@pytest.fixture
def nats() -> Iterator[StartNats]:
    """Starts nats-servers of their own."""
    servers: list[NatsServer] = []

    def start(config: str = "", *arguments: str) -> NatsServer:
        server = NatsServer(config, *arguments)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


async def connect(port: int, **login: str) -> StanClient:
    return await StanClient.connect(await NatsClient.connect(port, **login), unique("client-"))


async def stored(port: int, channel: str, **login: str) -> list[bytes]:
    """All messages of a channel; adds one."""
    client = await connect(port, **login)
    subscription = await client.subscribe(channel, start=StartPosition.FIRST, auto_ack=True)
    end = unique("end").encode()
    await client.publish(channel, end)
    found = []
    while (data := (await subscription.next()).data) != end:
        found.append(data)
    await client.close()
    await client.nats.close()
    return found


# Starting beside another one, or on what another one has left


@pytest.mark.operations(21)
def test_a_second_server_is_found_over_a_route(start: Start, nats: StartNats) -> None:
    cluster = free_port()
    first = nats("", "-cluster", f"nats://127.0.0.1:{cluster}", "-cluster_name", "c")
    second = nats("", "-cluster", "nats://127.0.0.1:-1", "-cluster_name", "c", "-routes", f"nats://127.0.0.1:{cluster}")
    second.wait_for_log("Route connection created")
    start("-ns", first.url, external=True)
    ended = run_to_end("-ns", second.url)
    assert ended.status == 1
    assert 'Failed to start: discovered another streaming server with cluster ID "test-cluster"' in ended.err
    start("-ns", second.url, "-cid", "other", external=True)


@pytest.mark.operations(22)
def test_a_store_of_another_cluster_id(start: Start, tmp_path: Path) -> None:
    store = ("-st", "FILE", "-dir", str(tmp_path))
    start(*store).stop()
    ended = run_to_end(*store, "-cid", "other", "-p", "-1")
    assert ended.status == 1
    text = 'cluster ID "other" does not match recovered value of "test-cluster"'
    assert re.search(rf"\[FTL\] STREAM: Failed to start: {text}", ended.err)
    start(*store)


@pytest.mark.operations(23)
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nats://127.0.0.1:{down}", "nats: no servers available for connection"),
        ("nats://127.0.0.1:{down},nats://127.0.0.1:{down}", "nats: no servers available for connection"),
        ("127.0.0.1:{down}", "malformed url: 127.0.0.1:{down}"),
        ("nats://127.0.0.1", "address 127.0.0.1: missing port in address"),
        (" ", "malformed url:  "),
    ],
)
def test_an_external_nats_that_cannot_be_reached(url: str, text: str) -> None:
    down = free_port()
    ended = run_to_end("-ns", url.format(down=down))
    assert ended.status == 1
    assert f"[FTL] STREAM: Failed to start: {text.format(down=down)}" in ended.err


@pytest.mark.operations(31)
def test_cutting_off_damaged_ends_is_not_for_every_start(start: Start, tmp_path: Path) -> None:
    store = ("-st", "FILE", "-dir", str(tmp_path))
    start(*store, "-file_truncate_bad_eof").stop()
    ended = run_to_end(*store, "-file_truncate_bad_eof", "-p", "-1")
    assert ended.status == 1
    text = "file store should not be opened consecutively with the TruncateUnexpectedEOF option set to true"
    assert f"[FTL] STREAM: Failed to start: {text}" in ended.err
    start(*store).stop()
    start(*store, "-file_truncate_bad_eof")


@pytest.mark.operations(32)
async def test_a_store_without_its_server_file(start: Start, tmp_path: Path) -> None:
    server = start("-st", "FILE", "-dir", str(tmp_path))
    client = await connect(server.port)
    await client.publish_many("foo", [b"%d" % number for number in range(10)])
    await client.nats.close()
    server.stop()
    (tmp_path / "server.dat").unlink()
    since = len(server.log())
    server.start()
    server.wait_for_log(
        r"\[WRN\] STREAM: Server information was not recovered, however channels are present\.", since=since
    )
    assert await stored(server.port, "foo") == [b"%d" % number for number in range(10)]


# NATS goes and comes back


@pytest.mark.operations(24)
async def test_an_external_nats_that_is_restarted(start: Start, nats: StartNats, tmp_path: Path) -> None:
    """What was acked is there, the link comes back by itself, and no password is shown."""
    broker = nats("", "-user", "u", "-pass", "s3cret")
    login = {"user": "u", "pass": "s3cret"}
    url = f"nats://u:s3cret@127.0.0.1:{broker.port}"
    server = start("-ns", url, "-SD", "-st", "FILE", "-dir", str(tmp_path), external=True, port=broker.port)
    acked: list[bytes] = []
    numbers = itertools.count()

    async def publish_until_cut(client: StanClient) -> None:
        for number in numbers:
            await client.publish("foo", b"%d" % number)
            acked.append(b"%d" % number)

    for round_number in (1, 2):
        client = await connect(broker.port, **login)
        publisher = asyncio.create_task(publish_until_cut(client))
        wanted = len(acked) + 50
        while len(acked) < wanted:
            await asyncio.sleep(0.001)
        broker.kill()
        publisher.cancel()
        await asyncio.wait({publisher})
        broker.start()
        server.wait_for_log(rf"(?s)(?:\[INF\] STREAM: {LINK} reconnected.*){{{round_number}}}")
        await client.nats.close()
    reconnected = re.findall(rf'\[INF\] STREAM: {LINK} reconnected to NATS Server at "(.*)"', server.log())
    assert reconnected == [f"nats://[REDACTED]@127.0.0.1:{broker.port}"] * 2
    assert "s3cret" not in server.log()
    found = await stored(broker.port, "foo", **login)
    assert [message for message in found if message in set(acked)] == acked


@pytest.mark.operations(24)
async def test_an_embedded_nats_that_dies(start: Start) -> None:
    server = start("-SD")
    client = await connect(server.port)
    await client.publish("foo", b"before")
    (child,) = [
        int(pid)
        for task in Path(f"/proc/{server.pid}/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]
    os.kill(child, signal.SIGKILL)
    server.wait_for_log(rf"\[INF\] STREAM: {LINK} reconnected to NATS Server at ")
    await client.nats.close()
    assert await stored(server.port, "foo") == [b"before"]


# The disk fills up


@pytest.mark.operations(30)
async def test_a_full_disk_under_the_store(tmp_path: Path) -> None:
    """Publishers get an error and nothing that was acked is lost, over a kill, too; with room again all goes on."""
    disk = SmallDisk(tmp_path, 64 << 20)
    server = ServerProcess("-st", "FILE", "-dir", str(disk.inside / "store"), program=str(disk.wrapper))
    try:
        server.start()
        client = await connect(server.port)
        acked = [b"%d" % number for number in range(20)]
        await client.publish_many("foo", acked)
        subscription = await client.subscribe("foo", start=StartPosition.FIRST, auto_ack=True)
        disk.fill()
        error = ""
        while not error:
            message = b"%d " % len(acked) + b"x" * 900_000
            try:
                await client.publish("foo", message)
            except StanError as refusal:
                error = str(refusal)
            else:
                acked.append(message)
        assert re.search("no space left on device", error, re.IGNORECASE)
        assert await refused(client.publish("bar", b"x" * 900_000))
        assert [delivery.data for delivery in await subscription.take(len(acked))] == acked
        server.kill()
        disk.free()
        server.start()
        assert [message for message in await stored(server.port, "foo") if message in set(acked)] == acked
        disk.fill()
        client = await connect(server.port)
        while not (error := await outcome(client.publish("foo", b"x" * 900_000))):
            pass
        disk.free()
        await goes_on(client)
        await client.publish("foo", b"goes on")
        assert (await stored(server.port, "foo"))[-1] == b"goes on"
    finally:
        server.close()
        disk.close()


async def outcome(request: Awaitable[object]) -> str:
    """The error's text, "" if there is none."""
    try:
        await request
    except StanError as error:
        return str(error)
    return ""


async def goes_on(client: StanClient) -> None:
    """Wait until the server has noticed that there is room again."""
    deadline = time.monotonic() + PATIENCE_S
    while error := await outcome(client.publish("foo", b"now?")):
        assert time.monotonic() < deadline, error
        await asyncio.sleep(0.05)
