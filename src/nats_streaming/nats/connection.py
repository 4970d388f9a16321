"""Our lasting link to a NATS system: connects, reconnects for ever, keeps the subscriptions.

The hot path is thin: a chunk goes from the socket into the reader's buffer, is parsed there, and
reaches the sink as positions; `write` hands finished frames to the transport. No message is an
object here. Nothing of streaming is known here.

Log lines have the Go server's shapes, which operators search for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from nats_streaming.errors import NatsLinkError, quoted
from nats_streaming.nats.handshake import (
    LinkOptions,
    ServerInfo,
    is_permissions_violation,
    is_valid_subject,
    link_error,
    refused_subject,
)
from nats_streaming.nats.link import Link
from nats_streaming.nats.urls import ServerUrl, discovered_urls
from nats_streaming.protocol.nats_reader import MessageSink

NO_SERVERS = "nats: no servers available for connection"

_logger = logging.getLogger("nats_streaming")


def _nothing() -> None:
    pass


def _nothing_of(_value: object) -> None:
    pass


class NatsConnection:
    """The bus (see `bus.py`) over one TCP or TLS connection to a nats-server.

    All methods are called on the loop's thread. The callbacks run there too, some of them inside a
    socket read: they must not block, and an exception from one is a bug.

    - `on_chunk()`: after each chunk read from the socket, when the sink has had all its messages.
    - `on_connected()`: after the first connect and after each reconnect, subscriptions sent.
    - `on_disconnected(reason)`: the link is down and reconnecting begins; `reason` is None if the server
      just closed it. Not called for our own `close`.
    - `on_info(info)`: the server introduced itself, at a connect or because its cluster has changed.
    - `on_writable(is_writable)`: back-pressure. False when what waits to be sent passes the high
      watermark, True when it falls to the low one. After a reconnect the link is writable without a call.
    """

    def __init__(
        self,
        urls: Sequence[ServerUrl],
        sink: MessageSink,
        options: LinkOptions,
        *,
        on_chunk: Callable[[], None] = _nothing,
        on_connected: Callable[[], None] = _nothing,
        on_disconnected: Callable[[str | None], None] = _nothing_of,
        on_writable: Callable[[bool], None] = _nothing_of,
        on_info: Callable[[ServerInfo], None] = _nothing_of,
        logger: logging.Logger = _logger,
    ) -> None:
        """
        Args:
            urls: at least one address, tried in this order.
            sink: gets every message.
            options: name, credentials, times.
            logger: where losses and reconnects are told.
        """
        if not urls:
            raise ValueError("a NatsConnection needs at least one URL")
        self.on_link_chunk = on_chunk  # what a Link calls, without a step between
        self.on_link_writable = on_writable
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_info = on_info
        self._logger = logger
        self._sink = sink
        self._options = options
        self._configured = list(urls)
        self._discovered: list[ServerUrl] = []
        self._current = urls[0]
        self._info = ServerInfo()
        self._connected_at = 0.0
        self._subscriptions: dict[int, bytes] = {}
        self._link: Link | None = None
        self._transport: asyncio.Transport | None = None
        self._reading_paused = False
        self._closing = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._retry = asyncio.Event()
        self._reported: set[str] = set()
        self._refused: set[str] = set()

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    @property
    def is_writable(self) -> bool:
        return self._link is not None and self._link.is_writable

    @property
    def max_payload(self) -> int:
        return self._info.max_payload

    @property
    def info(self) -> ServerInfo:
        """What the server connected to, or the last one, said of itself."""
        return self._info

    @property
    def connected_url(self) -> ServerUrl | None:
        return None if self._link is None else self._current

    @property
    def refused_subjects(self) -> list[str]:
        """Subscriptions that the server we are connected to does not allow us, so far as it has said."""
        return sorted(self._refused)

    @property
    def urls(self) -> list[ServerUrl]:
        """All known addresses: the configured ones, then those learnt from servers."""
        return self._configured + self._discovered

    async def connect(self) -> None:
        """Make the first connection: each address is tried once.

        Raises:
            NatsLinkError: a server refused us (its words), or none could be reached.
        """
        refusal: NatsLinkError | None = None
        details = []
        for url in self._configured:
            try:
                await self._open(url)
            except NatsLinkError as error:
                refusal = error
            except OSError as error:
                if not isinstance(error, ConnectionRefusedError):
                    details.append(f"{url.address}: {error.strerror or error}")
                self._logger.debug(
                    "connection %s cannot reach NATS Server at %s: %s", self._name, quoted(str(url)), error
                )
            else:
                return
        if refusal is not None:
            raise refusal
        raise NatsLinkError(f"{NO_SERVERS} ({'; '.join(details)})" if details else NO_SERVERS)

    def write(self, frames: bytes) -> None:
        if self._transport is None:
            raise NatsLinkError("nats: not connected")
        self._transport.write(frames)

    def subscribe(self, subject: bytes, sid: int, queue: bytes = b"") -> None:
        if not is_valid_subject(subject):
            raise NatsLinkError("nats: invalid subject")
        what = b"%b %b" % (subject, queue) if queue else subject
        self._subscriptions[sid] = what
        if self._transport is not None:
            self._transport.write(b"SUB %b %d\r\n" % (what, sid))

    def unsubscribe(self, sid: int) -> None:
        if self._subscriptions.pop(sid, None) is not None and self._transport is not None:
            self._transport.write(b"UNSUB %d\r\n" % sid)

    async def flush(self, timeout_s: float = 10.0) -> None:
        if self._link is None:
            raise NatsLinkError("nats: not connected")
        try:
            async with asyncio.timeout(timeout_s):
                await self._link.ping()
        except TimeoutError:
            raise NatsLinkError("nats: timeout") from None

    def pause_reading(self) -> None:
        self._reading_paused = True
        if self._link is not None:
            self._link.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        if self._link is not None:
            self._link.resume_reading()

    def retry_now(self) -> None:
        """Do not wait for the next attempt to reconnect: the server is known to be back."""
        self._retry.set()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Send what is buffered and disconnect for good.

        Args:
            timeout_s: bound for sending, in seconds; then the connection is cut.
        """
        if self._closing:
            return
        self._closing = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait({self._reconnecting})
        link, self._link, self._transport = self._link, None, None
        if link is not None:
            await link.close(timeout_s)
        self._logger.debug("connection %s has been closed", self._name)

    def abandon(self) -> None:
        """Disconnect for good at once; what is buffered is not sent."""
        self._closing = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        link, self._link, self._transport = self._link, None, None
        if link is not None:
            link.abandon()

    # What the link calls; on_link_chunk and on_link_writable are set in __init__.

    def on_link_lost(self, link: Link, reason: str | None) -> None:
        if link is not self._link:
            return
        self._link = self._transport = None
        if reason is None:
            self._logger.debug("connection %s has been disconnected", self._name)
        else:
            self._logger.error("connection %s has been disconnected: %s", self._name, reason)
        if self._closing:
            return
        self._reported.clear()
        self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect())
        self._reconnecting.add_done_callback(_raise_in_loop)
        self._on_disconnected(reason)

    def on_link_info(self, link: Link) -> None:
        self._learn(link)

    def on_link_error(self, link: Link, text: bytes) -> None:
        error = str(link_error(text))
        self._logger.error("Asynchronous error on connection %s: %s", self._options.name, error)
        refused = refused_subject(text)
        if refused is not None:
            self._refused.add(refused)
        if not is_permissions_violation(text):
            link.remember_error(error)
            if error == "nats: stale connection":
                link.end(error)

    @property
    def _name(self) -> str:
        return quoted(self._options.name)

    async def _open(self, url: ServerUrl) -> None:
        link = Link(self, self._sink, self._options)
        if self._reading_paused:
            link.pause_reading()
        await link.open(url)
        if self._closing:  # a cancelled task need not end at once
            link.abandon()
            raise NatsLinkError("nats: connection closed")
        self._link = link
        self._transport = link.transport
        self._current = url
        self._refused.clear()
        self._connected_at = asyncio.get_running_loop().time()
        if self._subscriptions:
            subscriptions = self._subscriptions.items()
            self._transport.write(b"".join(b"SUB %b %d\r\n" % (what, sid) for sid, what in subscriptions))
        self._learn(link)
        self._on_connected()

    async def _reconnect(self) -> None:
        """Try all addresses, the lost one last, until one accepts us."""
        self._retry.clear()
        if asyncio.get_running_loop().time() - self._connected_at < self._options.reconnect_wait_s:
            await self._wait_to_retry()  # a server may accept us only to throw us out
        while not self._closing:
            urls = self.urls
            if self._current in urls:
                place = urls.index(self._current) + 1
                urls = urls[place:] + urls[:place]
            for url in urls:
                try:
                    await self._open(url)
                except (NatsLinkError, OSError) as error:
                    self._report_failure(url, error)
                    continue
                self._logger.info(
                    "connection %s reconnected to NATS Server at %s", self._name, quoted(str(self._current))
                )
                return
            await self._wait_to_retry()

    async def _wait_to_retry(self) -> None:
        try:
            async with asyncio.timeout(self._options.reconnect_wait_s):
                await self._retry.wait()
        except TimeoutError:
            return
        self._retry.clear()

    def _report_failure(self, url: ServerUrl, error: Exception) -> None:
        """Log a failed attempt, each sort once per outage: refused by a server is an error, unreachable is not."""
        text = f"connection {self._name} cannot reconnect to NATS Server at {quoted(str(url))}: {error}"
        if text in self._reported:
            return
        self._reported.add(text)
        self._logger.log(logging.ERROR if isinstance(error, NatsLinkError) else logging.DEBUG, "%s", text)

    def _learn(self, link: Link) -> None:
        """Take over what the server's INFO says: payload limit and the addresses of its cluster."""
        self._info = link.info
        self._on_info(link.info)
        if not self._options.follow_discovered:
            return
        found = discovered_urls(link.info.connect_urls, self._current, self._configured)
        if self._current.discovered and self._current not in found:
            found.append(self._current)
        self._discovered = found


def _raise_in_loop(task: asyncio.Task[None]) -> None:
    """A reconnect task ends by success or cancellation; anything else is a bug that must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "reconnecting to NATS ended by an unexpected error", "exception": error, "task": task}
        )
