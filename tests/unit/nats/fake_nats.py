"""A scripted nats-server on the loopback address, and a recording link to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats_streaming.nats.connection import NatsConnection
from nats_streaming.nats.handshake import LinkOptions
from nats_streaming.nats.urls import ServerUrl
from nats_streaming.protocol.nats_reader import MessageSink

PATIENCE_S = 30.0


class Peer:
    """One client's connection, as the fake server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.connect: dict[str, Any] = {}
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def line(self, beginning: bytes) -> bytes:
        """The next line that begins so; others are skipped."""
        async with asyncio.timeout(PATIENCE_S):
            while not (line := await self._lines.get()).startswith(beginning):
                pass
        return line

    async def gone(self) -> None:
        """Wait until the client has disconnected."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._lines.get():
                pass

    def lines_so_far(self) -> list[bytes]:
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get_nowait())
        return lines

    def note(self, line: bytes) -> None:
        self._lines.put_nowait(line)

    def drop(self) -> None:
        self.writer.close()


class FakeNats:
    """Does the handshake, then leaves each connection to the test.

    Attributes:
        info: fields of INFO, merged over the defaults.
        raw_info: bytes to send in place of an INFO.
        info_chunk_bytes: INFO is sent in pieces of this size.
        reply_to_connect: sent in answer to CONNECT, then the connection is closed.
        answers_pings: whether PING gets a PONG.
        drops_at_once: whether a connection is closed right after its handshake.
        reads: whether anything is read after the handshake.
    """

    def __init__(self, **info: object) -> None:
        self.info: dict[str, object] = {"server_id": "FAKE", "version": "2.11.0", "headers": True, **info}
        self.raw_info: bytes | None = None
        self.info_chunk_bytes = 1 << 20
        self.reply_to_connect = b""
        self.answers_pings = True
        self.drops_at_once = False
        self.reads = True
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.connect_times: list[float] = []
        self.port = 0
        self._stopping = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> ServerUrl:
        return ServerUrl("127.0.0.1", self.port)

    async def start(self) -> None:
        """Listen; again at the same port after `stop`."""
        self._stopping.clear()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and all connections, and wait until that is done."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def peer(self) -> Peer:
        """The next client that has completed its handshake."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.peers.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError):
                await self._talk(Peer(reader, writer))
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, peer: Peer) -> None:
        self.connect_times.append(asyncio.get_running_loop().time())
        info = b"INFO " + json.dumps(self.info).encode() + b"\r\n" if self.raw_info is None else self.raw_info
        for start in range(0, len(info), self.info_chunk_bytes):
            peer.send(info[start : start + self.info_chunk_bytes])
            await peer.writer.drain()
            if self.info_chunk_bytes < len(info):
                await asyncio.sleep(0)
        is_known = False
        while True:
            line = await peer.reader.readline()
            if line.startswith(b"CONNECT "):
                peer.connect = json.loads(line[8:])
                if self.reply_to_connect:
                    peer.send(self.reply_to_connect)
                    return
            elif line == b"PING\r\n" and self.answers_pings:
                peer.send(b"PONG\r\n")
                if not is_known:
                    is_known = True
                    self.peers.put_nowait(peer)
                    if self.drops_at_once:
                        return
                    if not self.reads:
                        await self._stopping.wait()
                        return
            peer.note(line.rstrip(b"\r\n"))
            if not line:
                return


class RecordingSink(MessageSink):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes, bytes, bytes, int]] = []

    def on_message(
        self,
        data: bytearray,
        sid: int,
        subject_start: int,
        subject_stop: int,
        reply_start: int,
        reply_stop: int,
        payload_start: int,
        payload_stop: int,
        status: int,
    ) -> None:
        view = memoryview(data)
        self.messages.append(
            (
                sid,
                bytes(view[subject_start:subject_stop]),
                bytes(view[reply_start:reply_stop]),
                bytes(view[payload_start:payload_stop]),
                status,
            )
        )


class RecordingLink:
    """A NatsConnection and everything it reported, in order."""

    def __init__(self, *urls: ServerUrl, **options: Any) -> None:
        self.sink = RecordingSink()
        self.events: list[tuple[str, object]] = []
        self._changed = asyncio.Event()
        options.setdefault("name", "_NSS-test-general")
        self.connection = NatsConnection(
            urls,
            self.sink,
            LinkOptions(**options),
            on_chunk=lambda: self._note("chunk", len(self.sink.messages)),
            on_connected=lambda: self._note("connected", None),
            on_disconnected=lambda reason: self._note("disconnected", reason),
            on_writable=lambda is_writable: self._note("writable", is_writable),
        )

    def _note(self, event: str, value: object) -> None:
        self.events.append((event, value))
        self._changed.set()

    def count(self, event: str) -> int:
        return sum(name == event for name, _ in self.events)

    async def seen(self, event: str, count: int = 1) -> object:
        """Wait until `event` has been reported `count` times; its last value."""
        async with asyncio.timeout(PATIENCE_S):
            while self.count(event) < count:
                self._changed.clear()
                await self._changed.wait()
        return [value for name, value in self.events if name == event][count - 1]


@asynccontextmanager
async def linked(**options: Any) -> AsyncIterator[tuple[FakeNats, RecordingLink, Peer]]:
    """A fake server with a connected link."""
    async with serving() as server:
        link = RecordingLink(server.url, **options)
        try:
            await link.connection.connect()
            yield server, link, await server.peer()
        finally:
            await link.connection.close()


@asynccontextmanager
async def serving(server: FakeNats | None = None) -> AsyncIterator[FakeNats]:
    server = FakeNats() if server is None else server
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
