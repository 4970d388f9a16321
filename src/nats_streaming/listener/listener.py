"""The port that clients connect to, in front of the embedded nats-server."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

from nats_streaming.errors import NatsServerError
from nats_streaming.listener.interest import Interest
from nats_streaming.listener.receiver import SharedBuffer
from nats_streaming.listener.relay import Relay
from nats_streaming.protocol.client_frames import Offers
from nats_streaming.protocol.frame_router import FrameRouter

_BACKLOG = 4096
_log = logging.getLogger("nats_streaming.nats_server")
_STOP_TIMEOUT_S = 1.0


class ClientListener:
    """Every client gets a connection of its own to the nats-server, which goes on doing all that it does.

    Attributes:
        offers: which publishes are taken.
        interest: what clients are subscribed to.
        router: for what we send.
        relays: the clients that are there.
        backend: where the nats-server listens; set before `start`.
        is_blind: the streams of new clients are not looked at.
        is_paused: clients that publish to us are not read.
        max_pending: bytes that may wait for one client.
    """

    def __init__(self, host: str, port: int, max_pending: int) -> None:
        """Bind the port; clients wait until `start`.

        Args:
            host: address to listen on.
            port: -1 takes a free one.
            max_pending: bytes that may wait for one client, more than 0.

        Raises:
            NatsServerError: the address cannot be had; in nats-server's words.
        """
        self.offers = Offers()
        self.interest = Interest(self.offers)
        self.router = FrameRouter(self.interest)
        self.buffer = SharedBuffer()
        self.relays: set[Relay] = set()
        self.backend = ("", 0)
        self.is_blind = False
        self.is_paused = False
        self.max_pending = max_pending
        self.host = host
        self._socket = _bound(host, port)
        self._server: asyncio.Server | None = None
        self._on_chunk: Callable[[], None] = _nothing
        self._on_congestion: Callable[[], None] = _nothing
        self._congested: set[Relay] = set()
        self._chunk_due = False
        self._is_full = False
        self._emptied: asyncio.Event | None = None

    @property
    def port(self) -> int:
        """The port, the real one if any was asked for."""
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Accept clients."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Relay(self), sock=self._socket, backlog=_BACKLOG)

    def serve(self, on_chunk: Callable[[], None], on_congestion: Callable[[], None]) -> None:
        """The sink of the offers is there.

        Args:
            on_chunk: called soon after something was put into it.
            on_congestion: called when `is_congested` has changed.
        """
        self._on_chunk = on_chunk
        self._on_congestion = on_congestion

    def on_taken(self) -> None:
        """Something was put into the sink. What comes from other clients in the same round of the loop joins it."""
        if not self._chunk_due:
            self._chunk_due = True
            asyncio.get_running_loop().call_soon(self._end_chunk)

    def _end_chunk(self) -> None:
        self._chunk_due = False
        self._on_chunk()

    def send(self, frames: bytes) -> bytes:
        """Send what can go directly.

        Args:
            frames: whole PUB frames.

        Returns:
            What is for the nats-server.
        """
        rest = self.router.split(frames)
        if self.router.filled:
            for outlet in self.router.filled:
                relay = outlet.owner
                assert isinstance(relay, Relay)
                relay.flush()
            self.router.filled.clear()
        return rest

    def set_paused(self, is_paused: bool) -> None:
        """Read no more from clients that publish to us, or go on."""
        if is_paused != self.is_paused:
            self.is_paused = is_paused
            for relay in self.relays:
                if relay.is_streaming:
                    relay.set_reading()

    def step_aside(self) -> None:
        """From now on only carry bytes: the nats-server was told something that we do not know how to follow."""
        self.is_blind = True
        self.offers.sink = None
        self.interest.close()

    @property
    def is_congested(self) -> bool:
        """Whether a client has more to read than it has read yet; for an instant only, then it is on its own."""
        return bool(self._congested)

    def set_congested(self, relay: Relay, is_congested: bool) -> None:
        """A client has much to read, or has read it, or was waited for long enough."""
        before = bool(self._congested)
        if is_congested:
            self._congested.add(relay)
        else:
            self._congested.discard(relay)
        if bool(self._congested) is not before:
            self._on_congestion()

    def disconnect_all(self) -> None:
        """Cut every client, as the end of the nats-server does."""
        for relay in list(self.relays):
            relay.abort()

    async def stop(self) -> None:
        """Accept nobody any more, send what is buffered, disconnect. May be called more than once."""
        if self._server is not None:
            self._server.close()
        else:
            self._socket.close()
        for relay in list(self.relays):
            relay.close()
        if self.relays:
            self._emptied = asyncio.Event()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self._emptied.wait()
            except TimeoutError:
                self.disconnect_all()

    def on_served(self) -> None:
        """A client has its connection to the nats-server."""
        self._is_full = False

    def on_unreachable(self, error: OSError) -> None:
        """A client could not be brought to the nats-server, and is disconnected: it tries again."""
        if error.errno in (errno.EMFILE, errno.ENFILE):
            if not self._is_full:
                self._is_full = True
                _log.error("No more clients can be served: %s; each takes two of the file descriptors", error.strerror)
        else:
            _log.debug("client connection refused, the nats-server does not answer: %s", error)

    def on_gone(self, relay: Relay) -> None:
        """A client has gone."""
        self.relays.discard(relay)
        if self._emptied is not None and not self.relays:
            self._emptied.set()


def _nothing() -> None:
    pass


def _bound(host: str, port: int) -> socket.socket:
    """A bound socket, dual stack for all addresses."""
    shown = f"{host or '0.0.0.0'}:{port}"
    try:
        if host in ("", "0.0.0.0", "::", "[::]"):
            dual = socket.has_dualstack_ipv6()
            family, address = (socket.AF_INET6, "::") if dual else (socket.AF_INET, "0.0.0.0")
        else:
            dual = False
            family, _, _, _, found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0]
            address = str(found[0])
        return socket.create_server((address, max(port, 0)), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    except socket.gaierror as error:
        reason = f"listen tcp: lookup {host}: {error.strerror}"
    except OSError as error:
        text = "address already in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0).lower()
        reason = f"listen tcp {shown}: bind: {text}"
    raise NatsServerError(f'Error listening on port: {shown}, "{reason}"')
