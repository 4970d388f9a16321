"""Where a stream that is put together from two could show: answers, ends, limits, monitors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from nats_streaming.listener import relay
from nats_streaming.server import StreamingServer
from tests.support import stan_messages as stan
from tests.support.raw_client import NatsClient, StanClient
from tests.support.script_player import Peer
from tests.support.servers import ServerProcess
from tests.support.world import eventually

Start = Callable[..., ServerProcess]
QUIET = b'CONNECT {"verbose":false,"headers":true}\r\n'
PING = stan.Ping(connID=b"nobody").SerializeToString()
ASK = b"PUB _STAN.discover.test-cluster.pings %%b %d\r\n%b\r\n" % (len(PING), PING)
"""A request that is answered at once, with an error."""


def port_of(server: StreamingServer) -> int:
    assert server.nats.listener is not None
    return server.nats.listener.port


async def opened(port: int, first: bytes = QUIET) -> Peer:
    peer = await Peer.open(port)
    await peer.send(first)
    await peer.ping()
    peer.frames.clear()
    return peer


def kinds(peer: Peer) -> list[bytes]:
    """Of each frame its operation, of messages the subject, too."""
    return [b" ".join(frame.split()[: 2 if frame.startswith(b"MSG") else 1]) for frame in peer.frames]


async def test_the_last_words_of_one_who_sends_no_more_are_answered(start: Start) -> None:
    port = start().port
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(QUIET + b"SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n")
        writer.write_eof()
        told = await asyncio.wait_for(reader.read(), 10)
        assert told.endswith(b"MSG a 1 1\r\nx\r\nPONG\r\n")
        writer.close()


async def test_ok_comes_before_the_answer(start: Start) -> None:
    peer = await opened(start().port, b'CONNECT {"verbose":true}\r\n')
    await peer.send(b"SUB in.* 1\r\n")
    for number in range(50):
        await peer.send(ASK % (b"in.%d" % number))
    await eventually(lambda: len(peer.frames) == 101, "everything is answered")
    shown = kinds(peer)
    for number in range(50):
        assert shown[: shown.index(b"MSG in.%d" % number)].count(b"+OK") >= number + 2
    await peer.close()


async def test_one_who_listens_to_everything_hears_the_question_first(start: Start) -> None:
    port = start().port
    monitor = await opened(port, QUIET + b"SUB > 1\r\n")
    asker = await opened(port, QUIET + b"SUB in.* 1\r\n")
    for number in range(50):
        await asker.send(ASK % (b"in.%d" % number))
        await eventually(lambda count=2 * number + 2: len(monitor.frames) == count, "both are heard")  # type: ignore[misc]
    assert kinds(monitor) == [
        shown for number in range(50) for shown in (b"MSG _STAN.discover.test-cluster.pings", b"MSG in.%d" % number)
    ]
    for peer in (monitor, asker):
        await peer.close()


@pytest.mark.parametrize("verbose", [b"false", b"true"])
async def test_a_limit_holds_for_what_comes_from_both_sides(start: Start, verbose: bytes) -> None:
    port = start().port
    other = await opened(port, QUIET)
    peer = await opened(port, b'CONNECT {"verbose":%b}\r\n' % verbose)
    for round_ in range(30):
        inbox = b"in.%d" % round_
        await peer.send(b"SUB %b 1\r\nUNSUB 1 5\r\n" % inbox + ASK % inbox + ASK % inbox)
        await peer.ping()
        await other.send((b"PUB %b 1\r\nx\r\n" % inbox) * 6)
        await other.ping()
        await peer.send(ASK % inbox)
        await peer.ping()
        await eventually(lambda: sum(kind.startswith(b"MSG") for kind in kinds(peer)) == 5, "it gets five")
        for _ in range(3):
            await peer.ping()
        assert sum(kind.startswith(b"MSG") for kind in kinds(peer)) == 5
        assert kinds(peer).count(b"+OK") == (5 if verbose == b"true" else 0)
        await peer.send(b"SUB other.%d 1\r\nPUB other.%d 1\r\nx\r\nUNSUB 1\r\n" % (round_, round_))
        await peer.ping()
        assert kinds(peer).count(b"MSG other.%d" % round_) == 1, "the ID is free again"
        peer.frames.clear()
    for each in (peer, other):
        await each.close()


async def test_a_limit_that_is_reached_already_takes_nothing_back(start: Start) -> None:
    """What the client published before it said so has come, and the ID is free for what follows in the same read."""
    peer = await opened(start().port)
    for _ in range(30):
        await peer.send(
            b"SUB in.a 1\r\n"
            + (b"PUB in.a 1\r\nx\r\n" * 3)
            + ASK % b"in.a"
            + b"UNSUB 1 2\r\nSUB b 1\r\nPUB b 1\r\ny\r\n"
        )
        await peer.ping()
        await eventually(lambda: b"MSG b" in kinds(peer), "the new one gets it")
        assert kinds(peer).count(b"MSG in.a") in (3, 4)
        await peer.send(b"UNSUB 1\r\n")
        await peer.ping()
        peer.frames.clear()
    await peer.close()


async def test_an_answer_to_a_queue_does_not_come_before_its_subscription(start: Start) -> None:
    peer = await opened(start().port)
    for number in range(200):
        await peer.send(b"SUB in.%d workers %d\r\n" % (number, number) + ASK % (b"in.%d" % number))
    await eventually(lambda: len(peer.frames) == 200, "none is lost")
    await peer.close()


async def test_what_is_not_wanted_any_more_does_not_come(start: Start) -> None:
    peer = await opened(start().port)
    for number in range(200):
        await peer.send(b"SUB in.%d 1\r\nUNSUB 1\r\n" % number + ASK % (b"in.%d" % number))
    await peer.send(b"SUB last 2\r\n" + ASK % b"last")
    await eventually(lambda: len(peer.frames) == 1, "the last one comes")
    await peer.ping()
    assert kinds(peer) == [b"MSG last"]
    await peer.close()


@pytest.mark.parametrize("refused", [b'"protocol":7', b'"no_responders":true', b'"pedantic":1', b'"account":"a"'])
async def test_behind_a_connect_that_nats_refuses_nothing_counts(start: Start, refused: bytes) -> None:
    client = await StanClient.connect(await NatsClient.connect(start().port), "me")
    message = stan.PubMsg(clientID=b"me", guid=b"g", subject=b"foo", connID=client.conn_id).SerializeToString()
    peer = await Peer.open(client.nats.info["port"])
    await peer.send(
        b'CONNECT {"verbose":false,%b}\r\nPUB _STAN.pub.test-cluster.foo %d\r\n%b\r\n'
        % (refused, len(message), message)
    )
    await asyncio.wait_for(peer.closed.wait(), 10)
    await client.publish("foo", b"real")
    subscription = await client.subscribe("foo", start=stan.StartPosition.FIRST)
    assert (await subscription.next()).data == b"real"
    await peer.close()
    await client.nats.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_clients_are_told_their_address(start: Start, host: str) -> None:
    port = start("-a", "::" if host == "::1" else "0.0.0.0").port
    reader, writer = await asyncio.open_connection(host, port)
    assert json.loads((await reader.readline())[5:])["client_ip"] == host
    writer.close()


async def test_who_says_what_we_do_not_understand_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nats-server puts up with a few things that no client says; a client who has said one cannot be followed."""
    monkeypatch.setattr(relay, "_REFUSAL_S", 0.05)
    async with StreamingServer() as server:
        for line in (b"+OK\r\n", b"INFO {}\r\n", b"PING\r PING\r\n"):
            peer = await opened(port_of(server))
            await peer.send(line)
            await asyncio.wait_for(peer.closed.wait(), 10)
            assert peer.frames[-1] == b"-ERR 'Unknown Protocol Operation'\r\n"
            await peer.close()


async def test_one_who_reads_nothing_is_disconnected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nats-server is not read while its client is not, so its own deadline would not be heard of."""
    monkeypatch.setattr(relay, "WRITE_DEADLINE_S", 0.3)
    async with StreamingServer() as server:
        port = port_of(server)
        assert server.nats.listener is not None
        deaf = await NatsClient.connect(port)
        deaf._writer.transport.pause_reading()  # type: ignore[attr-defined]
        deaf.subscribe(b"noise")
        reader = await NatsClient.connect(port)
        noise = reader.subscribe(b"noise")
        await reader.flush()
        other = await NatsClient.connect(port)
        while len(server.nats.listener.relays) == 3:
            other.publish(b"noise", b"x" * 1_000_000)
            await noise.next()
        await reader.flush()
        for nats in (deaf, reader, other):
            await nats.close()
