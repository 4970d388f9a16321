"""Partitions: servers of one cluster ID that share clients and divide the channels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support import stan_messages as stan
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.raw_client import NatsClient, StanClient, StanError, connect_request, unique
from tests.support.servers import STANDBY, ServerProcess, free_port
from tests.support.world import eventually

SUBJECT = "_STAN.part.test-cluster"


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    with running_nats_server() as server:
        yield server


class MakePartition(Protocol):
    def __call__(
        self, *channels: str, url: str | None = None, arguments: tuple[str, ...] = (), until: str | None = None
    ) -> ServerProcess: ...


@pytest.fixture
def partition(nats: NatsServer, tmp_path: Path) -> Iterator[MakePartition]:
    """Starts a server for the channels named, and ends it after the test."""
    servers: list[ServerProcess] = []

    def make(
        *channels: str, url: str | None = None, arguments: tuple[str, ...] = (), until: str | None = None
    ) -> ServerProcess:
        path = tmp_path / f"{unique('partition-')}.conf"
        limits = {"channels": {channel: {} for channel in channels}}
        path.write_text(json.dumps({"streaming": {"partitioning": True, "store_limits": limits}}))
        place = () if url == "" else ("-ns", url or nats.url)
        server = ServerProcess(*place, "-sc", str(path), "-SD", *arguments, external=url != "")
        servers.append(server)
        return server.start(until=until) if until else server.start()

    yield make
    for server in servers:
        server.close()


@contextlib.asynccontextmanager
async def stan_client(port: int, name: str = "a-client") -> AsyncIterator[StanClient]:
    connection = await NatsClient.connect(port)
    try:
        yield await StanClient.connect(connection, name)
    finally:
        await connection.close()


def refused(partition: MakePartition, *channels: str, **options: Any) -> str:
    """The last log line of a server that must not start."""
    with pytest.raises(RuntimeError, match="server exited with 1 before it was ready") as raised:
        partition(*channels, **options)
    lines = [line for line in str(raised.value).splitlines() if "[FTL]" in line or "conf" in line]
    return lines[-1]


@pytest.mark.operations(74)
def test_lists_that_are_refused(partition: MakePartition) -> None:
    assert "[FTL] STREAM: Failed to start: stan: no configured channel" in refused(partition)
    assert 'invalid channel name "foo.*bar"' in refused(partition, "foo.*bar")


@pytest.mark.operations(74)
async def test_a_list_that_takes_several_messages(partition: MakePartition) -> None:
    """It is split where NATS takes small messages only; a name that fits into none is an error."""
    with running_nats_server(config="max_payload: 400") as nats:
        connection = await NatsClient.connect(nats.port)
        lists = connection.subscribe(SUBJECT)
        names = [f"channel.{number}" for number in range(100)]
        first = partition(*names, url=nats.url, arguments=("-mc", "0"))
        received = []
        with contextlib.suppress(TimeoutError):
            while True:
                received.append(await lists.next(0.2))
        assert len(received) > 3
        assert all(len(message.payload) <= 400 for message in received)
        told = b"".join(stan.CtrlMsg.FromString(message.payload).Data for message in received)
        assert told == b"".join(len(name).to_bytes(2, "little") + name.encode() for name in names)
        (server_id,) = re.findall(r"ServerID: (\w{22})", first.log())
        text = refused(partition, "other", "channel.77", url=nats.url)
        assert f'channel "channel.77" causes conflict with channels on server "{server_id}"' in text
        assert "message payload too small to send channels list" in refused(partition, "x" * 390, url=nats.url)
        await connection.close()


@pytest.mark.operations(75)
async def test_two_servers_share_a_client(partition: MakePartition, nats: NatsServer) -> None:
    """One client ID, one cluster ID: each server has its own channels, and says nothing about others."""
    one = partition("foo", "bar.*")
    begun = time.monotonic()
    two = partition("baz.>", "qux")
    assert time.monotonic() - begun > 1, "nobody objects within a second"
    assert "Publish subjects root:      _STAN.pub.test-cluster" in two.log()
    assert "Did not detect another server instance" not in two.log()
    async with stan_client(nats.port) as client:
        for channel in ("foo", "bar.one", "baz.a.b", "qux"):
            subscription = await client.subscribe(channel, durable="dur")
            await client.publish(channel, b"payload")
            assert (await subscription.next()).data == b"payload"
            await subscription.close()
        for channel in ("other", "bar", "bar.one.two", "baz"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.subscribe(channel)
            client.publish_nowait(channel, b"for nobody")
        assert client.acks.empty()
        unsubscribe = stan.UnsubscribeRequest(clientID=b"a-client", subject=b"other", inbox=b"x").SerializeToString()
        await client.nats.unanswered(client.connect_response.unsubRequests, unsubscribe)
        await client.close()
        closed = "[Client:a-client] Closed"
        await eventually(lambda: closed in one.log() and closed in two.log(), "the client is closed at both")
    for server, mine, others in ((one, ("foo", "bar.one"), "baz"), (two, ("baz.a.b", "qux"), "foo")):
        log = server.log()
        assert all(f'Channel "{channel}" has been created' in log for channel in mine)
        assert f'"{others}' not in log
        assert "[Client:a-client] Connected" in log
        assert "[ERR]" not in log


@pytest.mark.operations(75)
async def test_a_list_that_overlaps_itself(partition: MakePartition, nats: NatsServer) -> None:
    """A message that several entries match is stored once (the original stores it as often as it matches)."""
    partition("foo.*", "foo.bar", "x.*", "*.y", "x.y.>")
    async with stan_client(nats.port) as client:
        for channel in ("foo.bar", "foo.y", "x.y", "x.z", "z.y", "x.y.z"):
            subscription = await client.subscribe(channel)
            await client.publish_many(channel, [b"%d" % number for number in range(50)])
            deliveries = await subscription.take(50)
            assert [int(delivery.data) for delivery in deliveries] == list(range(50)), channel
            assert await subscription.settled() == []


@pytest.mark.operations(76)
@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("foo.bar", "foo.bar", "foo.bar"),
        ("foo.*", "foo.bar", "foo.bar"),
        ("foo.bar", "foo.*", "foo.bar"),
        ("foo.>", "foo.*.bar", "foo.>"),
        ("foo.*", "*.bar", "foo.*"),
    ],
)
def test_conflicts(partition: MakePartition, first: str, second: str, named: str) -> None:
    """Also one that the original does not see: `foo.*` and `*.bar` share `foo.bar`."""
    server = partition("alone", first)
    (server_id,) = re.findall(r"ServerID: (\w{22})", server.log())
    text = refused(partition, "another", second)
    assert f'Failed to start: channel "{named}" causes conflict with channels on server "{server_id}"' in text
    assert server.process is not None
    assert server.process.poll() is None


@pytest.mark.operations(76)
async def test_a_conflict_that_comes_with_a_route(partition: MakePartition) -> None:
    """Two NATS servers find each other only after a streaming server has started at each."""
    door, there = free_port(), free_port()
    cluster = "cluster {{ name: c, listen: '127.0.0.1:{}', routes: [{}] }}"
    with (
        running_nats_server(config=cluster.format(free_port(), f"'nats://127.0.0.1:{door}'")) as nats,
        running_nats_server(config=cluster.format(there, "")) as other,
    ):
        first = partition("foo", "here", url=nats.url)
        second = partition("foo", "there", url=other.url)
        piping: set[asyncio.Task[None]] = set()

        async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while chunk := await reader.read(1 << 16):
                    writer.write(chunk)
            finally:
                writer.transport.abort()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", there)
            piping.update(map(asyncio.create_task, (pipe(reader, to_writer), pipe(to_reader, writer))))

        async with await asyncio.start_server(connected, "127.0.0.1", door):
            processes = [server.process for server in (first, second) if server.process is not None]
            await eventually(lambda: any(process.poll() == 1 for process in processes), "one of them ends", 10.0)
        for task in piping:
            task.cancel()
        await asyncio.gather(*piping, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports
        line = r'\[FTL\] STREAM: Partitioning error: channel "foo" causes conflict with channels on server "\w{22}"'
        assert re.search(line, first.log() + second.log())


@pytest.mark.operations(77)
async def test_garbage(partition: MakePartition, nats: NatsServer) -> None:
    """Whatever is said on the subject of the lists: no answer, and no harm."""
    server = partition("foo")
    (server_id,) = re.findall(r"ServerID: (\w{22})", server.log())
    connection = await NatsClient.connect(nats.port)
    foo = b"\x03\x00foo"
    for payload in (
        b"",
        b"garbage",
        stan.CtrlMsg(MsgType=4, ServerID=b"me").SerializeToString(),
        stan.CtrlMsg(MsgType=3, ServerID=b"me", Data=foo).SerializeToString(),
        stan.CtrlMsg(MsgType=4, ServerID=b"me", Data=foo[:-1]).SerializeToString(),
        stan.CtrlMsg(MsgType=4, ServerID=b"me", Data=b"\xff\xff").SerializeToString(),
        stan.CtrlMsg(MsgType=4, ServerID=server_id.encode(), Data=foo).SerializeToString(),
    ):
        await connection.unanswered(SUBJECT, payload, 0.1)
    question = stan.CtrlMsg(MsgType=4, ServerID=b"me", Data=b"\x03\x00bar" + foo).SerializeToString()
    connection.publish(SUBJECT, question)
    answer = stan.CtrlMsg.FromString((await connection.request(SUBJECT, question)).payload)
    assert (answer.MsgType, answer.ServerID, answer.Data) == (4, server_id.encode(), b"foo")
    harmless = stan.CtrlMsg(MsgType=4, ServerID=b"me", Data=b"\x03\x00bar").SerializeToString()
    answer = stan.CtrlMsg.FromString((await connection.request(SUBJECT, harmless)).payload)
    assert (answer.MsgType, answer.ServerID, answer.Data) == (4, server_id.encode(), b"")
    await connection.close()
    assert "[ERR]" not in server.log()


@pytest.mark.operations(75)
async def test_requests_that_come_before_the_connect(partition: MakePartition, nats: NatsServer) -> None:
    """An unknown client has a second to connect; then it is refused, and at once from then on, until it does."""
    partition("foo")
    connection = await NatsClient.connect(nats.port)
    publish = stan.PubMsg(clientID=b"early", guid=b"g", subject=b"foo", data=b"1", connID=b"conn")
    subscribe = stan.SubscriptionRequest(
        clientID=b"early", subject=b"foo", inbox=b"inbox", maxInFlight=1, ackWaitInSecs=1, startPosition=0
    )
    acks = connection.subscribe("acks")
    connection.publish("_STAN.pub.test-cluster.foo", publish.SerializeToString(), "acks")
    request = asyncio.create_task(connection.request("_STAN.sub.test-cluster", subscribe.SerializeToString()))
    await acks.quiet(0.3)
    assert not request.done()
    connect = stan.ConnectRequest(clientID=b"early", heartbeatInbox=b"hb", protocol=1, connID=b"conn")
    assert not (await connect_request(connection, connect)).error
    assert stan.PubAck.FromString((await acks.next()).payload) == stan.PubAck(guid=b"g")
    assert not stan.SubscriptionResponse.FromString((await request).payload).error

    publish.clientID = subscribe.clientID = b"never"
    publish.connID = b"another"
    begun = time.monotonic()
    request = asyncio.create_task(connection.request("_STAN.sub.test-cluster", subscribe.SerializeToString()))
    connection.publish("_STAN.pub.test-cluster.foo", publish.SerializeToString(), "acks")
    assert stan.PubAck.FromString((await acks.next()).payload).error == b"stan: invalid publish request"
    refusal = stan.SubscriptionResponse.FromString((await request).payload).error
    assert refusal == b"stan: invalid subscription request"
    assert 0.9 < time.monotonic() - begun < 2
    begun = time.monotonic()
    connection.publish("_STAN.pub.test-cluster.foo", publish.SerializeToString(), "acks")
    assert stan.PubAck.FromString((await acks.next()).payload).error
    answer = await connection.request("_STAN.sub.test-cluster", subscribe.SerializeToString())
    assert stan.SubscriptionResponse.FromString(answer.payload).error == refusal
    assert time.monotonic() - begun < 0.9, "nobody is waited for again"
    connect.clientID, connect.connID = b"never", b"another"
    await connect_request(connection, connect)
    connection.publish("_STAN.pub.test-cluster.foo", publish.SerializeToString(), "acks")
    assert not stan.PubAck.FromString((await acks.next()).payload).error
    await connection.close()


@pytest.mark.operations(58)
async def test_partitions_with_standbys(partition: MakePartition, nats: NatsServer, tmp_path: Path) -> None:
    """A group for each partition: the take-over of one does not disturb the other."""

    def member(group: str, channel: str, until: str) -> ServerProcess:
        arguments = ("-st", "FILE", "-dir", str(tmp_path / group), "-ft_group", group)
        return partition(channel, arguments=arguments, until=until)

    ready = "Streaming Server is ready"
    one = member("one", "foo.*", ready)
    two = member("two", "bar.*", ready)
    standby = member("one", "foo.*", STANDBY)
    async with stan_client(nats.port) as client:
        foo = await client.subscribe("foo.1", durable="dur", auto_ack=True)
        bar = await client.subscribe("bar.1", auto_ack=True)
        await client.publish("foo.1", b"1")
        await client.publish("bar.1", b"1")
        one.kill()
        await eventually(lambda: ready in standby.log(), "the standby serves", 10.0)
        await client.publish("foo.1", b"2")
        await client.publish("bar.1", b"2")
        received = [await foo.next()]
        while received[-1].data != b"2":
            received.append(await foo.next())
        assert [delivery.data for delivery in await bar.take(2)] == [b"1", b"2"]
        with pytest.raises(StanError, match="clientID already registered"):
            await StanClient.connect(client.nats, "a-client")
    assert two.process is not None
    assert two.process.poll() is None
