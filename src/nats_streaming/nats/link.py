"""One TCP connection to a nats-server, from its first byte to its last.

Knows the protocol's control operations: it does the handshake, answers PING, sends its own. What
outlives a connection (addresses, subscriptions, reconnecting) belongs to `connection.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

from nats_streaming.errors import NatsLinkError, ProtocolError
from nats_streaming.nats.handshake import LinkOptions, ServerInfo, connect_frame, link_error, parse_info
from nats_streaming.protocol.nats_reader import LinkControl, MessageSink, NatsReader

if TYPE_CHECKING:
    import ssl

    from nats_streaming.nats.urls import ServerUrl


class LinkOwner(Protocol):
    """What a link tells its connection. All of it happens on the loop's thread, much of it inside a socket read."""

    def on_link_chunk(self) -> None:
        """Everything in one chunk read from the socket was handed to the sink."""

    def on_link_lost(self, link: Link, reason: str | None) -> None:
        """The established link is down; `reason` is None when the server simply closed it."""

    def on_link_writable(self, is_writable: bool) -> None:
        """What waits to be sent rose above the high watermark, or fell to the low one."""

    def on_link_info(self, link: Link) -> None:
        """The server sent an INFO after the handshake; `link.info` holds it."""

    def on_link_error(self, link: Link, text: bytes) -> None:
        """The server sent an -ERR after the handshake."""


class Link(asyncio.BufferedProtocol, LinkControl):
    """A connection attempt and, once `open` has returned, an established connection.

    `on_link_lost` is called exactly once for a link whose `open` returned, unless `close` was called.
    """

    def __init__(self, owner: LinkOwner, sink: MessageSink, options: LinkOptions) -> None:
        self.info = ServerInfo()
        self.is_writable = True
        self._owner = owner
        self._options = options
        self._reader = NatsReader(sink, self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._first_info: asyncio.Future[ServerInfo] = self._loop.create_future()
        self._pongs: deque[asyncio.Future[None] | None] = deque()
        self._pings_outstanding = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self._established = False
        self._ended = False
        self._disconnected = asyncio.Event()
        self._server_error: str | None = None

    @property
    def is_closed(self) -> bool:
        return self._ended

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    async def open(self, url: ServerUrl) -> None:
        """Connect, shake hands, and see the server answer a PING.

        Raises:
            NatsLinkError: refused by the server, or it does not speak NATS, or no answer in time.
            OSError: no connection.
        """
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                await self._open(url)
        except TimeoutError:
            text = f"dial tcp {url.address}: i/o timeout" if self._transport is None else "nats: timeout"
            self.end(text)
            raise NatsLinkError(text) from None
        except BaseException:
            self.end(None)
            raise
        if self._ended:
            raise NatsLinkError(self._server_error or "nats: connection closed")
        self._established = True
        self._ping_timer = self._loop.call_later(self._options.ping_interval_s, self._on_ping_timer)
        if self._reading_paused:
            self.transport.pause_reading()

    async def _open(self, url: ServerUrl) -> None:
        options = self._options
        tls = options.tls_required or url.is_tls
        hostname = options.tls_hostname or url.tls_name or url.host
        if tls and options.tls_handshake_first:
            context = self._ssl_context()
            try:
                await self._loop.create_connection(
                    lambda: self, url.host, url.port, ssl=context, server_hostname=hostname
                )
            except OSError as error:
                raise _tls_error(error) or error from None
        else:
            await self._loop.create_connection(lambda: self, url.host, url.port)
        info = await self._first_info
        if tls and not (info.tls_required or info.tls_available or options.tls_handshake_first):
            raise NatsLinkError("nats: secure connection not available")
        if (tls or info.tls_required) and not options.tls_handshake_first:
            tls = True
            self._reader.reset()  # nothing that came unencrypted behind INFO may count as encrypted
            try:
                upgraded = await self._loop.start_tls(
                    self.transport, self, self._ssl_context(), server_hostname=hostname
                )
            except OSError as error:
                raise _tls_error(error) or error from None
            if upgraded is None:
                raise NatsLinkError("nats: connection closed")
            self._transport = upgraded
        self.transport.set_write_buffer_limits(options.write_high_bytes, options.write_low_bytes)
        self.transport.write(connect_frame(options, url, info, tls=tls))
        await self.ping()

    def _ssl_context(self) -> ssl.SSLContext:
        if self._options.tls_impossible:
            raise NatsLinkError(f"nats: secure connection required: {self._options.tls_impossible}")
        if self._options.ssl_context is not None:
            return self._options.ssl_context
        import ssl

        return ssl.create_default_context()

    def ping(self) -> asyncio.Future[None]:
        """Send a PING; the future is done by its PONG, or fails with NatsLinkError when the link ends first."""
        pong = self._loop.create_future()
        if self._ended:
            pong.set_exception(NatsLinkError("nats: connection closed"))
            return pong
        self._pongs.append(pong)
        self.transport.write(b"PING\r\n")
        return pong

    def pause_reading(self) -> None:
        self._reading_paused = True
        if self._established and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        if self._established and not self.transport.is_closing():
            self.transport.resume_reading()

    async def close(self, timeout_s: float) -> None:
        """Send what is buffered, for at most `timeout_s` seconds, then disconnect."""
        if self._transport is None or self._ended:
            self.end(None)
            return
        self._established = False  # nobody is to be told
        self.transport.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self._disconnected.wait()
        except TimeoutError:
            self.transport.abort()
        self.end(None)

    def abandon(self) -> None:
        """Drop the connection now and tell nobody."""
        self._established = False
        self.end(None)

    def end(self, reason: str | None) -> None:
        """Drop the connection now, and tell the owner if it was established."""
        if self._ended:
            return
        self._ended = True
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        error = NatsLinkError(reason or "nats: connection closed")
        _reject(self._first_info, error)
        for pong in self._pongs:
            if pong is not None:
                _reject(pong, error)
        self._pongs.clear()
        if self._established:
            self._owner.on_link_lost(self, reason)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._ended:
            self._transport.abort()
        elif self._options.preamble:
            self._transport.write(self._options.preamble)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        if self._ended:
            return
        try:
            self._reader.buffer_updated(nbytes)
        except ProtocolError as error:
            self.end(f"nats: {error}")
            return
        if self._established:
            self._owner.on_link_chunk()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disconnected.set()
        # TLS handshake errors arrive here too, through start_tls, with better words.
        self.end(self._server_error or (None if exc is None else f"read: {_os_error_text(exc)}"))

    def pause_writing(self) -> None:
        self.is_writable = False
        if self._established:
            self._owner.on_link_writable(False)

    def resume_writing(self) -> None:
        self.is_writable = True
        if self._established:
            self._owner.on_link_writable(True)

    # What the reader calls.

    def on_info(self, payload: bytes) -> None:
        self.info = parse_info(payload)
        if not self._first_info.done():
            self._first_info.set_result(self.info)
        elif self._established:
            self._owner.on_link_info(self)

    def on_ping(self) -> None:
        if self._transport is not None and not self._ended:
            self._transport.write(b"PONG\r\n")

    def on_pong(self) -> None:
        self._pings_outstanding = 0
        if self._pongs:
            pong = self._pongs.popleft()
            if pong is not None and not pong.done():
                pong.set_result(None)

    def on_error(self, text: bytes) -> None:
        error = link_error(text)
        if not self._established:
            self._server_error = str(error)
            self.end(str(error))
            return
        self._owner.on_link_error(self, text)

    def remember_error(self, text: str) -> None:
        """The reason to give when the server closes the link after an -ERR."""
        self._server_error = text

    def _on_ping_timer(self) -> None:
        if not self._reading_paused:  # else a PONG may wait unread
            self._pings_outstanding += 1
            if self._pings_outstanding > self._options.pings_outstanding_max:
                self.end("nats: stale connection")
                return
            self._pongs.append(None)
            self.transport.write(b"PING\r\n")
        self._ping_timer = self._loop.call_later(self._options.ping_interval_s, self._on_ping_timer)


def _reject(future: asyncio.Future[ServerInfo] | asyncio.Future[None], error: NatsLinkError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever waits still gets it; if nobody does, that is no fault to report


def _os_error_text(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error) or type(error).__name__).lower()


def _tls_error(error: OSError) -> NatsLinkError | None:
    """The error in TLS terms, or None if it is a plain network error."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return NatsLinkError(f"tls: failed to verify certificate: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return NatsLinkError(f"tls: {error.reason or error}")
    return None
