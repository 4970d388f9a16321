"""Clients that come through our listener: order, what others hear, ends of all kinds, limits."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from nats_streaming.server import Options, StreamingServer, options_from_arguments
from nats_streaming.server.direct_clients import why_not_direct
from tests.support import stan_messages as stan
from tests.support.certificates import Authority
from tests.support.raw_client import NatsClient, StanClient
from tests.support.servers import ServerProcess, free_port, run_to_end, running_nats
from tests.support.stan_messages import StartPosition
from tests.support.world import eventually

Start = Callable[..., ServerProcess]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def monitoring(server: ServerProcess, path: str) -> dict[str, object]:
    port = server.wait_for_log(r"Starting http monitor on \S+:(\d+)")[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        found = json.load(answer)
    assert isinstance(found, dict)
    return found


async def test_a_tap_that_comes_and_goes_while_thousands_are_published(start: Start) -> None:
    """Nothing is lost, doubled or overtaken, and the tap hears all that is published while it is there."""
    server = start("-mm", "0", "-mb", "0")
    client = await StanClient.connect(await NatsClient.connect(server.port), "pub")
    tap_nats = await NatsClient.connect(server.port)
    total = 20_000
    heard: list[bytes] = []

    def hear(message: object) -> None:
        if getattr(message, "subject", b"").startswith(b"_STAN.pub."):
            heard.append(stan.decode_canonical(stan.PubMsg, getattr(message, "payload", b"")).data)

    tap = None
    while_there: list[bytes] = []
    for number in range(total):
        client.publish_nowait("foo", b"%d" % number)
        if tap is not None:
            while_there.append(b"%d" % number)
        if number == total // 3:
            tap = tap_nats.subscribe(b">", hear)  # type: ignore[arg-type]
            await tap_nats.flush()
        elif number == 2 * total // 3:
            assert tap is not None
            await client.nats.flush()
            await eventually(lambda: len(heard) >= len(while_there), "the tap hears all")
            tap_nats.unsubscribe(tap)
            await tap_nats.flush()
            tap = None
        elif number % 500 == 0:
            await asyncio.sleep(0)
    acks = await client.take_acks(total)
    assert [ack.guid for ack in acks] == [b"g%d" % number for number in range(1, total + 1)]
    assert not any(ack.error for ack in acks)
    assert heard[-len(while_there) :] == while_there
    subscription = await client.subscribe("foo", start=StartPosition.FIRST, max_in_flight=total)
    assert [delivery.data for delivery in await subscription.take(total)] == [b"%d" % n for n in range(total)]
    for nats in (client.nats, tap_nats):
        await nats.close()


async def test_order_on_one_connection(start: Start) -> None:
    """The answer to a subscribe comes before its messages, and a message before the ack to its publisher."""
    server = start()
    nats = await NatsClient.connect(server.port)
    client = await StanClient.connect(nats, "me")
    await client.publish_many("foo", [b"%d" % number for number in range(50)])
    arrivals: list[str] = []
    feed = nats._dispatch

    def note(sid: int, message: object) -> None:
        subject = getattr(message, "subject", b"")
        arrivals.append("ack" if subject == client._ack_subject else "message" if subject == inbox else "answer")
        feed(sid, message)  # type: ignore[arg-type]

    nats._dispatch = note  # type: ignore[method-assign]
    inbox = nats.new_inbox()
    subscription = await client.subscribe("foo", start=StartPosition.FIRST, inbox=inbox)
    await subscription.take(50)
    assert arrivals == ["answer"] + ["message"] * 50
    arrivals.clear()
    for _ in range(100):
        await client.publish("foo", b"x")
    await subscription.take(100)
    assert arrivals == ["message", "ack"] * 100
    await nats.close()


async def test_acks_right_before_the_end_count(start: Start) -> None:
    server = start()
    nats = await NatsClient.connect(server.port)
    client = await StanClient.connect(nats, "me")
    await client.publish_many("foo", [b"%d" % number for number in range(100)])
    subscription = await client.subscribe("foo", start=StartPosition.FIRST, durable="d")
    for delivery in await subscription.take(100):
        subscription.ack(delivery)
    await subscription.close()
    again = await client.subscribe("foo", start=StartPosition.FIRST, durable="d")
    assert await again.settled() == []
    for number in range(100):
        client.publish_nowait("bar", b"%d" % number)
    await client.close()
    await nats.close()
    other = await StanClient.connect(await NatsClient.connect(server.port), "other")
    bar = await other.subscribe("bar", start=StartPosition.FIRST)
    assert await bar.sequences(100) == list(range(1, 101))
    await other.nats.close()


@pytest.mark.parametrize("way", ["literal inbox", "verbose", "headers", "shared inbox", "tap of inboxes"])
async def test_other_ways_to_ask(start: Start, way: str) -> None:
    server = start()
    nats = await NatsClient.connect(server.port, **({"verbose": True} if way == "verbose" else {}))  # type: ignore[arg-type]
    client = await StanClient.connect(nats, "me")
    payload = stan.PubMsg(
        clientID=b"me", guid=b"g", subject=b"foo", data=b"x", connID=client.conn_id
    ).SerializeToString()
    subject = client.connect_response.pubPrefix + b".foo"
    others = [await NatsClient.connect(server.port) for _ in range(2)]
    if way == "headers":
        inbox = nats.subscribe(nats.new_inbox())
        head = b"NATS/1.0\r\nA: b\r\n\r\n"
        size = len(head) + len(payload)
        nats.write(b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, inbox.subject, len(head), size, head, payload))
        assert stan.decode_canonical(stan.PubAck, (await inbox.next()).payload).guid == b"g"
    elif way == "shared inbox":
        copies = [other.subscribe(b"_INBOX.shared") for other in others]
        for other in others:
            await other.flush()
        nats.publish(subject, payload, b"_INBOX.shared")
        assert [stan.decode_canonical(stan.PubAck, (await copy.next()).payload).guid for copy in copies] == [b"g", b"g"]
    else:
        tap = others[0].subscribe(b"_INBOX.>") if way == "tap of inboxes" else None
        await others[0].flush()
        for _ in range(20):
            inbox = nats.subscribe(nats.new_inbox())
            nats.write(b"UNSUB %d 1\r\n" % inbox.sid)
            nats.publish(subject, payload, inbox.subject)
            assert stan.decode_canonical(stan.PubAck, (await inbox.next()).payload).guid == b"g"
            if tap is not None:
                assert (await tap.next()).subject == inbox.subject
    reader = await client.subscribe("foo", start=StartPosition.FIRST)
    assert (await reader.take(1))[0].data == b"x"
    for connection in (nats, *others):
        await connection.close()


async def test_a_killed_nats_server_loses_nothing_that_was_acked(start: Start, tmp_path: Path) -> None:
    server = start("-store", "FILE", "-dir", str(tmp_path / "store"))
    acked: list[bytes] = []
    for round_ in range(3):
        client = await StanClient.connect(await NatsClient.connect(server.port), f"pub{round_}")
        for number in range(2000):
            client.publish_nowait("foo", b"%d.%d" % (round_, number), guid=b"%d.%d" % (round_, number))
        acked += [ack.guid for ack in await client.take_acks(200)]
        before = len(server.log())
        for pid in children(server.pid):
            os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(client.nats.disconnected.wait(), 10)
        while not client.acks.empty():
            acked.append(client.acks.get_nowait().guid)
        # Until the server has noticed, and has disconnected everybody, a new client may be among them.
        await asyncio.to_thread(server.wait_for_log, "reconnected to NATS Server", since=before)

    reader = await StanClient.connect(await NatsClient.connect(server.port), "reader")
    subscription = await reader.subscribe("foo", start=StartPosition.FIRST, max_in_flight=100_000)
    found = [delivery.data for delivery in await subscription.take(len(acked))]
    found += [delivery.data for delivery in subscription._queue._queue]  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while not set(acked) <= set(found):
        assert time.monotonic() < deadline, f"lost: {sorted(set(acked) - set(found))[:5]}"
        found.append((await subscription.next()).data)
    await reader.nats.close()


async def test_stop_waits_for_nobody_who_does_not_read(start: Start) -> None:
    server = start()
    deaf = []
    for _ in range(50):
        peer = socket.create_connection(("127.0.0.1", server.port))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(b'CONNECT {"verbose":false}\r\nSUB noise 1\r\n')
        deaf.append(peer)
    client = await StanClient.connect(await NatsClient.connect(server.port), "pub")
    for _ in range(20):
        client.nats.publish("noise", b"x" * 200_000)
    await client.nats.flush()
    client.publish_nowait("foo", b"last")
    await client.take_acks(1)
    begun = time.monotonic()
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait, 10) == 143
    assert time.monotonic() - begun < 5
    for peer in deaf:
        peer.close()
    await client.nats.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_nats_knows_where_clients_come_from(start: Start, host: str) -> None:
    server = start("-m", "-1", "-a", "::" if host == "::1" else "0.0.0.0")
    nats = await NatsClient.connect(server.port, host=host)
    connections = monitoring(server, "/connz")["connections"]
    assert isinstance(connections, list)
    own = nats._writer.get_extra_info("sockname")[1]
    assert [item["ip"] for item in connections if item["port"] == own] == [host]
    await nats.close()


async def test_large_messages_come_in_several_reads(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "nats.conf"
    file.write_text("max_payload: 8MB\n")
    server = start("-c", str(file))
    client = await StanClient.connect(await NatsClient.connect(server.port), "me")
    assert client.nats.info["max_payload"] == 8 << 20
    subscription = await client.subscribe("foo")
    sizes = [1 << 20, 5, (8 << 20) - 1000, 262_144, 3 << 20, 0]
    for size in sizes:
        client.publish_nowait("foo", os.urandom(1) * size)
    assert [len(delivery.data) for delivery in await subscription.take(len(sizes), 30)] == sizes
    await client.take_acks(len(sizes))
    await client.nats.close()


async def test_out_of_descriptors(start: Start) -> None:
    server = start()
    client = await StanClient.connect(await NatsClient.connect(server.port), "me")
    in_use = len(os.listdir(f"/proc/{server.pid}/fd"))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (in_use + 20, 4096))
    peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    await asyncio.to_thread(server.wait_for_log, r"\[ERR\].*([Tt]oo many open files)")
    await client.publish("foo", b"served all the same")
    for peer in peers:
        peer.close()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    deadline = time.monotonic() + 10
    while True:
        try:
            later = await NatsClient.connect(server.port)
            break
        except (OSError, TimeoutError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    await StanClient.connect(later, "later")
    for nats in (client.nats, later):
        await nats.close()


def test_a_port_in_use(tmp_path: Path) -> None:
    with running_nats(tmp_path) as port:
        ended = run_to_end("-p", str(port), "-a", "127.0.0.1")
    assert ended.status == 1
    assert "address already in use" in ended.err


REASONS: dict[str, tuple[list[str], str]] = {
    "switched off": (["-direct_clients=false"], "direct_clients is false"),
    "another NATS": (["-ns", "nats://127.0.0.1:4222"], "NATS is not embedded"),
    "trace": (["-V"], "the NATS protocol is traced"),
    "a group": (["-ft_group", "a", "-store", "FILE", "-dir", "d"], "other servers share the subjects"),
}


@pytest.mark.parametrize(("arguments", "reason"), REASONS.values(), ids=REASONS.keys())
def test_why_clients_are_left_to_nats(arguments: list[str], reason: str) -> None:
    assert why_not_direct(options_from_arguments(arguments)) == reason


def test_plain_options_leave_them_to_us() -> None:
    assert why_not_direct(options_from_arguments([])) == ""
    assert isinstance(options_from_arguments([]), Options)


async def test_clients_left_to_nats_are_served(start: Start) -> None:
    server = start("-direct_clients=false", "-SD")
    assert "Clients connect to the embedded nats-server itself: direct_clients is false" in server.log()
    client = await StanClient.connect(await NatsClient.connect(server.port), "me")
    await client.publish("foo", b"x")
    await client.nats.close()


async def test_one_who_reads_nothing_is_cut_and_nobody_else_is_harmed() -> None:
    async with StreamingServer() as server:
        listener = server.nats.listener
        assert listener is not None
        listener.max_pending = 1 << 20
        port = listener.port
        deaf = await NatsClient.connect(port)
        deaf._writer.transport.pause_reading()  # type: ignore[attr-defined]
        client = await StanClient.connect(await NatsClient.connect(port), "me")
        subscription = await client.subscribe("foo", auto_ack=True)
        deaf.write(b"SUB %b 99\r\n" % subscription.inbox)
        await eventually(lambda: len(listener.interest.routes[subscription.inbox].targets) == 2, "both are subscribed")
        count = 0
        while len(listener.relays) == 2:
            assert count < 500, "nobody is cut"
            for _ in range(10):
                client.publish_nowait("foo", b"x" * 100_000)
            count += 10
            assert len(await subscription.take(10)) == 10
        await client.take_acks(count)
        assert await client.publish("foo", b"the rest goes on")
        for nats in (deaf, client.nats):
            await nats.close()
        await eventually(lambda: not listener.relays, "all have gone")
        assert not listener.interest.routes


async def test_a_reload_that_wants_tls_leaves_new_clients_to_nats(start: Start, tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "nats.conf"
    plain = f"host: 127.0.0.1, port: {port}\n"
    file.write_text(plain)
    server = start("-c", str(file), listens_by_file=True, port=port)
    client = await StanClient.connect(await NatsClient.connect(port), "me")
    subscription = await client.subscribe("foo")
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "127.0.0.1")
    for handshake_first in ("true", "false"):
        file.write_text(
            plain + f'tls {{ cert_file: "{certificate}", key_file: "{key}", handshake_first: {handshake_first} }}\n'
        )
        before = len(server.log())
        os.kill(server.pid, signal.SIGHUP)
        await asyncio.to_thread(server.wait_for_log, "Reloaded server configuration", since=before)
        context = ssl.create_default_context(cafile=str(authority.path))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            if handshake_first == "false":
                assert json.loads((await reader.readline())[5:])["tls_required"]
            await writer.start_tls(context, server_hostname="127.0.0.1")
            if handshake_first == "true":
                assert (await reader.readline()).startswith(b"INFO ")
            writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
            while (line := await reader.readline()) != b"PONG\r\n":
                assert line.startswith(b"INFO "), line
        writer.close()
    assert (
        "Clients are served through the embedded nats-server from now on: the NATS configuration has tls"
        in server.log()
    )
    await client.publish("foo", b"still here")
    assert (await subscription.next()).data == b"still here"
    await client.nats.close()
    why = "this server was started with a configuration without TLS, and has to be started again for it"
    assert f"Our own connections to the nats-server cannot be made anew with TLS: {why}" in server.log()
    os.kill(children(server.pid)[0], signal.SIGKILL)
    await asyncio.to_thread(server.wait_for_log, f"cannot reconnect .*: nats: secure connection required: {why}")
    server.stop()
