"""The lasting link against a scripted server: first connect, service, loss and return."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from nats_streaming.errors import NatsLinkError
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.nats.handshake import LinkOptions
from nats_streaming.nats.urls import ServerUrl
from tests.support.servers import free_port
from tests.unit.nats.conftest import Run
from tests.unit.nats.fake_nats import PATIENCE_S, FakeNats, RecordingLink, RecordingSink, linked, serving

if TYPE_CHECKING:
    from nats_streaming.nats.bus import Bus

    def _is_a_bus(connection: NatsConnection) -> Bus:
        return connection  # checked by mypy


# First connect.


def test_connects_and_says_who_it_is(run: Run) -> None:
    async def main() -> None:
        async with linked(name="_NSS-c-general", user="u", password="p") as (server, link, peer):
            assert peer.connect["name"] == "_NSS-c-general"
            assert (peer.connect["user"], peer.connect["pass"]) == ("u", "p")
            assert peer.connect["no_responders"] is True
            assert link.connection.is_connected
            assert link.connection.is_writable
            assert link.connection.connected_url == server.url
            assert link.events == [("connected", None)]

    run(main())


def test_max_payload_follows_info(run: Run) -> None:
    async def main() -> None:
        async with serving(FakeNats(max_payload=500)) as server:
            link = RecordingLink(server.url)
            assert link.connection.max_payload == 1024 * 1024
            await link.connection.connect()
            assert link.connection.max_payload == 500
            peer = await server.peer()
            peer.send(b'INFO {"max_payload": 700}\r\nPING\r\n')
            await peer.line(b"PONG")
            assert link.connection.max_payload == 700
            await link.connection.close()

    run(main())


def test_nobody_there(run: Run) -> None:
    async def main() -> None:
        link = RecordingLink(ServerUrl("127.0.0.1", free_port()), ServerUrl("127.0.0.1", free_port()))
        with pytest.raises(NatsLinkError) as caught:
            await link.connection.connect()
        assert str(caught.value) == "nats: no servers available for connection"
        assert link.events == []

    run(main())


def test_an_unknown_host_is_named(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(NatsLinkError) as caught:
            await RecordingLink(ServerUrl("no-such-host.invalid", 1)).connection.connect()
        assert str(caught.value).startswith("nats: no servers available for connection (no-such-host.invalid:1: ")

    run(main())


def test_every_address_is_tried(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            link = RecordingLink(ServerUrl("127.0.0.1", free_port()), server.url)
            await link.connection.connect()
            assert link.connection.connected_url == server.url
            await link.connection.close()

    run(main())


def test_refused_credentials(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            server.reply_to_connect = b"-ERR 'Authorization Violation'\r\n"
            with pytest.raises(NatsLinkError) as caught:
                await RecordingLink(server.url, password="secret").connection.connect()
            assert str(caught.value) == "nats: Authorization Violation"

    run(main())


@pytest.mark.parametrize("mute", ["from the start", "after INFO"])
def test_a_server_that_says_nothing(run: Run, mute: str) -> None:
    async def main() -> None:
        async with serving() as server:
            if mute == "from the start":
                server.raw_info = b""
            server.answers_pings = False
            with pytest.raises(NatsLinkError) as caught:
                await RecordingLink(server.url, connect_timeout_s=0.05).connection.connect()
            assert str(caught.value) == "nats: timeout"

    run(main())


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_info_in_pieces(run: Run, chunk: int) -> None:
    async def main() -> None:
        async with serving() as server:
            server.info_chunk_bytes = chunk
            link = RecordingLink(server.url)
            await link.connection.connect()
            assert link.connection.info.server_id == "FAKE"
            await link.connection.close()

    run(main())


@pytest.mark.parametrize(
    "hello",
    [
        b"INFO nonsense\r\n",
        b"INFO [1]\r\n",
        b"INFO \r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x01\x02\r\n",
        b"\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"INFO {" + b" " * (3 << 20),
        b"-ERR 'maximum connections exceeded'\r\n",
    ],
)
def test_hostile_hello(run: Run, hello: bytes) -> None:
    async def main() -> None:
        async with serving() as server:
            server.raw_info = hello
            link = RecordingLink(server.url)
            with pytest.raises(NatsLinkError) as caught:
                await link.connection.connect()
            assert str(caught.value).startswith("nats: ")
            assert not link.connection.is_connected
            assert link.events == []

    run(main())


def test_a_server_that_hangs_up_at_once(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            server.reply_to_connect = b"\r"
            with pytest.raises(NatsLinkError, match="nats: connection closed"):
                await RecordingLink(server.url).connection.connect()

    run(main())


# Service.


def test_messages_and_chunks(run: Run) -> None:
    async def main() -> None:
        async with linked() as (_, link, peer):
            link.connection.subscribe(b"a.>", 7)
            assert await peer.line(b"SUB") == b"SUB a.> 7"
            peer.send(b"MSG a.b 7 2\r\nhi\r\nMSG a.c 7 re.ply 0\r\n\r\nHMSG a.d 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n")
            await link.seen("chunk")
            assert link.sink.messages == [
                (7, b"a.b", b"", b"hi", 0),
                (7, b"a.c", b"re.ply", b"", 0),
                (7, b"a.d", b"", b"", 503),
            ]
            assert link.events == [("connected", None), ("chunk", 3)]

    run(main())


def test_server_pings_are_answered(run: Run) -> None:
    async def main() -> None:
        async with linked() as (_, _link, peer):
            peer.send(b"PING\r\nPI")
            await peer.line(b"PONG")
            peer.send(b"NG\r\n")
            await peer.line(b"PONG")

    run(main())


def test_write_and_flush(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, peer):
            link.connection.write(b"PUB a 1\r\nx\r\n")
            await link.connection.flush()
            assert peer.lines_so_far()[-3:] == [b"PUB a 1", b"x", b"PING"]
            server.answers_pings = False
            with pytest.raises(NatsLinkError, match="nats: timeout"):
                await link.connection.flush(0.01)
            await peer.line(b"PING")
            waiting = asyncio.create_task(link.connection.flush())
            await peer.line(b"PING")
            peer.send(b"PONG\r\nPONG\r\n")  # the first is the one of the flush given up
            await waiting

    run(main())


def test_flush_fails_when_the_link_is_lost(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, peer):
            server.answers_pings = False
            waiting = asyncio.create_task(link.connection.flush())
            await peer.line(b"PING")
            peer.drop()
            with pytest.raises(NatsLinkError):
                await waiting
            with pytest.raises(NatsLinkError, match="nats: not connected"):
                await link.connection.flush()

    run(main())


def test_invalid_subjects_are_refused(run: Run) -> None:
    async def main() -> None:
        async with linked() as (_, link, peer):
            for subject in (b"", b"a b", b"a\r\nPING", b"_STAN.discover."):
                with pytest.raises(NatsLinkError, match=r"^nats: invalid subject$"):
                    link.connection.subscribe(subject, 1)
            await link.connection.flush()
            assert not [line for line in peer.lines_so_far() if line.startswith(b"SUB")]

    run(main())


def test_back_pressure_of_a_slow_server(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            server.reads = False
            link = RecordingLink(server.url, write_high_bytes=100_000, write_low_bytes=10_000)
            await link.connection.connect()
            peer = await server.peer()
            frame = b"PUB a 65536\r\n" + b"x" * 65536 + b"\r\n"
            async with asyncio.timeout(PATIENCE_S):
                written = 0
                while link.connection.is_writable:
                    link.connection.write(frame)
                    written += len(frame)
                    await asyncio.sleep(0)
            assert await link.seen("writable", 1) is False
            async with asyncio.timeout(PATIENCE_S):
                while written > 0:
                    written -= len(await peer.reader.read(1 << 20))
            assert await link.seen("writable", 2) is True
            assert link.connection.is_writable
            await link.connection.close()

    run(main())


def test_paused_reading_holds_back_a_fast_server(run: Run) -> None:
    async def main() -> None:
        async with linked() as (_, link, peer):
            link.connection.pause_reading()
            link.connection.pause_reading()
            frame = b"MSG a 1 65536\r\n" + b"x" * 65536 + b"\r\n"
            count = 0
            while True:  # until the kernel's buffers are full
                peer.send(frame)
                count += 1
                try:
                    async with asyncio.timeout(0.2):
                        await peer.writer.drain()
                except TimeoutError:
                    break
            assert link.sink.messages == []
            link.connection.resume_reading()
            async with asyncio.timeout(PATIENCE_S):
                await peer.writer.drain()
                while len(link.sink.messages) < count:
                    await link.seen("chunk", link.count("chunk") + 1)

    run(main())


def test_a_paused_link_reconnects_and_stays_paused(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, peer):
            link.connection.pause_reading()
            # A reader that does not read does not see the end either, until it writes.
            peer.writer.transport.abort()
            async with asyncio.timeout(PATIENCE_S):
                while link.count("disconnected") == 0:
                    if link.connection.is_connected:
                        link.connection.write(b"PING\r\n")
                    await asyncio.sleep(0.001)
            peer = await server.peer()
            await link.seen("connected", 2)
            peer.send(b"MSG a 1 1\r\nx\r\n")
            await asyncio.sleep(0.02)
            assert link.sink.messages == []
            link.connection.resume_reading()
            await link.seen("chunk")
            assert len(link.sink.messages) == 1

    run(main())


def test_permissions_violation_is_logged_and_survived(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with linked() as (_, link, peer):
            peer.send(b"-ERR 'Permissions Violation for Subscription to \"_INBOX.>\"'\r\nPING\r\n")
            await peer.line(b"PONG")
            assert link.connection.is_connected
            peer.drop()
            assert await link.seen("disconnected") is None

    run(main())
    assert [(record.levelno, record.message) for record in caplog.records if record.levelno > logging.INFO] == [
        (
            logging.ERROR,
            "Asynchronous error on connection _NSS-test-general:"
            ' nats: Permissions Violation for Subscription to "_INBOX.>"',
        )
    ]


def test_our_pings_find_a_dead_server(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with linked(ping_interval_s=0.02) as (server, link, peer):
            await peer.line(b"PING")
            await peer.line(b"PING")
            assert link.connection.is_connected  # answered pings do no harm, however many
            server.answers_pings = False
            peer.lines_so_far()
            await link.seen("disconnected")
            assert ("disconnected", "nats: stale connection") in link.events
            server.answers_pings = True
            await link.seen("connected", 2)

    run(main())
    assert 'connection "_NSS-test-general" has been disconnected: nats: stale connection' in caplog.messages


def test_an_engine_error_is_not_swallowed(run: Run) -> None:
    class Broken(RecordingSink):
        def on_message(self, *_: object) -> None:
            raise RuntimeError("a bug")

    async def main() -> None:
        errors = []
        loop = asyncio.get_running_loop()
        async with serving() as server:
            connection = NatsConnection([server.url], Broken(), LinkOptions("n"))
            await connection.connect()
            loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))
            (await server.peer()).send(b"MSG a 1 0\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                while not errors:
                    await asyncio.sleep(0)
            await connection.close()
        assert str(errors[0]) == "a bug"

    run(main())


# Loss and return.


def test_reconnects_with_subscriptions(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with linked(user="u", password="secret") as (server, link, peer):
            connection = link.connection
            connection.subscribe(b"a", 1)
            connection.subscribe(b"b.*", 2)
            connection.subscribe(b"c", 3)
            connection.unsubscribe(2)
            connection.unsubscribe(99)
            assert await peer.line(b"UNSUB") == b"UNSUB 2"
            await server.stop()
            assert await link.seen("disconnected") is None
            assert not connection.is_connected
            assert not connection.is_writable
            with pytest.raises(NatsLinkError, match="nats: not connected"):
                connection.write(b"PING\r\n")
            connection.unsubscribe(1)
            connection.subscribe(b"d", 4)
            await server.start()
            peer = await server.peer()
            await link.seen("connected", 2)
            connection.write(b"PUB x 0\r\n\r\n")
            await peer.line(b"PUB")
            assert peer.lines_so_far()[:1] == [b""]
            assert [name for name, _ in link.events] == ["connected", "disconnected", "connected"]
            await connection.flush()
            peer.send(b"MSG d 4 0\r\n\r\n")
            await link.seen("chunk")

    run(main())
    url = next(message for message in caplog.messages if "reconnected" in message)
    assert url.startswith('connection "_NSS-test-general" reconnected to NATS Server at "nats://127.0.0.1:')
    assert not [record for record in caplog.records if record.levelno > logging.INFO]  # a plain stop is no error
    assert 'connection "_NSS-test-general" has been closed' in caplog.messages


def test_subscriptions_are_sent_before_anything_else(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, peer):
            link.connection.subscribe(b"a", 1)
            peer.drop()
            again = await server.peer()
            await link.seen("connected", 2)
            link.connection.write(b"PUB a 0\r\n\r\n")
            await again.line(b"PUB")

    async def main_order() -> None:
        async with serving() as server:
            link = RecordingLink(server.url)
            link.connection.subscribe(b"a", 1)
            link.connection.subscribe(b"b", 2)
            await link.connection.connect()
            peer = await server.peer()
            link.connection.write(b"PUB a 0\r\n\r\n")
            assert await peer.line(b"SUB") == b"SUB a 1"
            assert await peer.line(b"SUB") == b"SUB b 2"
            await peer.line(b"PUB")
            await link.connection.close()

    run(main())
    run(main_order())


def test_a_subscription_made_during_the_handshake_is_not_lost(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            server.answers_pings = False
            link = RecordingLink(server.url)
            connecting = asyncio.create_task(link.connection.connect())
            async with asyncio.timeout(PATIENCE_S):
                while not server.connect_times:
                    await asyncio.sleep(0)
            link.connection.subscribe(b"late", 1)
            server.answers_pings = True
            # The PING may have been read already; a second CONNECT is what a failed attempt would make.
            try:
                async with asyncio.timeout(0.2):
                    await asyncio.shield(connecting)
            except TimeoutError:
                connecting.cancel()
                await asyncio.wait({connecting})
                await link.connection.connect()
            peer = await server.peer()
            assert await peer.line(b"SUB") == b"SUB late 1"
            await link.connection.close()

    run(main())


def test_credentials_are_redacted_in_logs(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with serving() as server:
            link = RecordingLink(ServerUrl("127.0.0.1", server.port, user="bob", password="secret"))
            await link.connection.connect()
            peer = await server.peer()
            assert peer.connect["pass"] == "secret"
            peer.drop()
            await link.seen("connected", 2)
            await link.connection.close()

    run(main())
    assert '"nats://[REDACTED]@127.0.0.1:' in caplog.text
    assert "secret" not in caplog.text
    assert "bob" not in caplog.text


def test_the_server_s_last_word_is_the_reason(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with linked() as (_, link, peer):
            peer.send(b"-ERR 'Slow Consumer'\r\n")
            peer.drop()
            assert await link.seen("disconnected") == "nats: Slow Consumer"
            await link.seen("connected", 2)

    run(main())
    assert 'connection "_NSS-test-general" has been disconnected: nats: Slow Consumer' in caplog.messages


def test_a_broken_stream_is_dropped(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, peer):
            peer.send(b"MSG a 1 3\r\nabc\r\nMSG a 1 1\r\nabcdefgh\r\n")
            reason = await link.seen("disconnected")
            assert isinstance(reason, str)
            assert "payload does not end" in reason
            assert len(link.sink.messages) == 1
            await server.peer()
            await link.seen("connected", 2)

    run(main())


def test_refusals_while_reconnecting_are_logged_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with linked(reconnect_wait_s=0.01) as (server, link, peer):
            server.reply_to_connect = b"-ERR 'Authorization Violation'\r\n"
            peer.drop()
            async with asyncio.timeout(PATIENCE_S):
                while len(server.connect_times) < 5:
                    await asyncio.sleep(0.001)
            server.reply_to_connect = b""
            await link.seen("connected", 2)

    run(main())
    assert len([message for message in caplog.messages if "Authorization Violation" in message]) == 1


def test_attempts_are_spaced(run: Run) -> None:
    async def main() -> None:
        async with linked(reconnect_wait_s=0.05) as (server, _link, _peer):
            server.drops_at_once = True
            _peer.drop()
            async with asyncio.timeout(PATIENCE_S):
                while len(server.connect_times) < 4:
                    await asyncio.sleep(0.001)
            gaps = [
                after - before
                for before, after in zip(server.connect_times[1:], server.connect_times[2:], strict=False)
            ]
            assert min(gaps) >= 0.045

    run(main())


def test_retry_now_ends_the_wait(run: Run) -> None:
    async def main() -> None:
        async with linked(reconnect_wait_s=60.0) as (server, link, _):
            await server.stop()
            await link.seen("disconnected")
            await server.start()
            link.connection.retry_now()
            await link.seen("connected", 2)

    run(main())


def test_other_servers_are_learnt_and_tried_first(run: Run) -> None:
    async def main() -> None:
        async with serving() as other, serving(FakeNats(connect_urls=[f"127.0.0.1:{other.port}", "bad"])) as first:
            link = RecordingLink(first.url, reconnect_wait_s=0.01)
            await link.connection.connect()
            assert [url.port for url in link.connection.urls] == [first.port, other.port]
            (await first.peer()).drop()
            await other.peer()
            await link.seen("connected", 2)
            await link.connection.close()

    run(main())


def test_a_removed_server_is_forgotten(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, peer):
            peer.send(
                b'INFO {"connect_urls":["10.9.9.9:1","10.9.9.8:1"]}\r\nINFO {"connect_urls":["10.9.9.8:1"]}\r\nPING\r\n'
            )
            await peer.line(b"PONG")
            assert [url.host for url in link.connection.urls] == [server.url.host, "10.9.9.8"]

    run(main())


def test_addresses_are_not_learnt_when_told_so(run: Run) -> None:
    async def main() -> None:
        async with serving(FakeNats(connect_urls=["127.0.0.1:1"])) as server:
            link = RecordingLink(server.url, follow_discovered=False)
            await link.connection.connect()
            assert link.connection.urls == [server.url]
            await link.connection.close()

    run(main())


# Close.


def test_close_sends_what_is_buffered(run: Run) -> None:
    async def main() -> None:
        async with linked() as (_, link, peer):
            link.connection.write(b"PUB a 0\r\n\r\n" * 50_000 + b"LAST\r\n")
            await link.connection.close()
            await peer.line(b"LAST")
            await peer.gone()
            assert link.count("disconnected") == 0
            await link.connection.close()
            with pytest.raises(NatsLinkError):
                link.connection.write(b"PING\r\n")

    run(main())


def test_close_does_not_wait_for_ever(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            server.reads = False
            link = RecordingLink(server.url)
            await link.connection.connect()
            await server.peer()
            link.connection.write(b"x" * (32 << 20))
            async with asyncio.timeout(PATIENCE_S):
                await link.connection.close(0.05)

    run(main())


def test_close_while_reconnecting(run: Run) -> None:
    async def main() -> None:
        async with linked() as (server, link, _):
            await server.stop()
            await link.seen("disconnected")
            await link.connection.close()
            assert link.count("connected") == 1

    run(main())


def test_close_before_connect(run: Run) -> None:
    async def main() -> None:
        await RecordingLink(ServerUrl("127.0.0.1", 1)).connection.close()

    run(main())


def test_no_address_is_a_bug() -> None:
    with pytest.raises(ValueError, match="URL"):
        NatsConnection([], RecordingSink(), LinkOptions("n"))
