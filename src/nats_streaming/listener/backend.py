"""The nats-server's side of one client: what it sends is looked through for places to put something between.

Beside what the client says, it may be told something of ours, and nobody is to see the answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from nats_streaming.errors import ProtocolError
from nats_streaming.listener.receiver import Receiver
from nats_streaming.nats.handshake import parse_info
from nats_streaming.protocol.server_frames import Fence, FrameScanner

if TYPE_CHECKING:
    from nats_streaming.listener.listener import ClientListener
    from nats_streaming.listener.relay import Relay

HIGH_BYTES = 4 << 20
"""Of what waits for one side; then the other is not read."""

LOW_BYTES = 1 << 20
"""Then it is read again."""

_CLIENT_ID = re.compile(rb'"client_id":\d+')
_log = logging.getLogger("nats_streaming.nats_server")


class Backend(asyncio.BufferedProtocol):
    """The nats-server's side of a relay."""

    def __init__(self, client: Relay, listener: ClientListener) -> None:
        self.is_introduced = False
        self.has_ended = False
        self.preamble = b""
        self.is_blind = listener.is_blind
        self._client = client
        self._listener = listener
        self._scanner = FrameScanner(client.subscriptions)
        self._fences = 0
        self._waiting: deque[Callable[[], None] | None] = deque()
        self._waits_for_pong = False
        self._receiver = Receiver(listener.buffer)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(HIGH_BYTES, LOW_BYTES)
        self._transport.write(self.preamble)
        self.is_introduced = self.is_blind  # then it is not read, and may want TLS before it says anything

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._receiver.room()

    def buffer_updated(self, nbytes: int) -> None:
        receiver, scanner = self._receiver, self._scanner
        if not receiver.received(nbytes):
            return
        end = receiver.stop if self.is_blind else scanner.whole(receiver.data, receiver.stop)
        parts = scanner.for_client(receiver.data, end)
        receiver.keep(end, scanner.wanted)  # now: what the client sent early is parsed in the same buffer
        if not self.is_introduced:
            self._introduce(parts[0])
        else:
            self._hand_on(parts)
        if scanner.lost:
            _log.error("the embedded nats-server sent something else than NATS frames: the client is disconnected")
            self._client.abort()

    def _hand_on(self, parts: list[bytes]) -> None:
        """Write whole frames, and do in between what waited for the fences in between."""
        scanner = self._scanner
        if scanner.ended:
            self._listener.interest.on_limits(scanner.ended)
        if parts[0]:
            self._client.write(parts[0])
        if self._waits_for_pong and scanner.pongs:
            # NATS answers a PING of those only whom it knows.
            self._waits_for_pong = False
            self._client.on_accepted()
        for part in parts[1:]:
            then = self._waiting.popleft()
            if then is not None:
                then()
            if part:
                self._client.write(part)

    def _introduce(self, frames: bytes) -> None:
        line, feed, behind = frames.partition(b"\n")
        operation, _, rest = line.partition(b" ")
        if operation.upper() != b"INFO":
            self._client.write(frames)
            return  # it refuses the client, and says why
        try:
            info = parse_info(rest)
        except ProtocolError as error:
            _log.error("the embedded nats-server does not introduce itself: %s", error)
            self._client.abort()
            return
        # A nats-server that expects a PROXY header does not know yet who the client is.
        if b'"client_ip":' not in line and self._client.host:
            line = _CLIENT_ID.sub(rb'\g<0>,"client_ip":"%b"' % self._client.host.encode("ascii"), line, count=1)
        self._client.write(line + feed + behind)
        self.is_introduced = True
        self._waits_for_pong = info.auth_required
        self._client.on_introduced(info)

    def fence(self, pings: int, then: Callable[[], None]) -> None:
        """Call back when the client has got all that the nats-server has for it now.

        Args:
            pings: how many the client has sent.
        """
        self._expect(Fence(self._pong_after(pings)), then)
        self.write(b"PING\r\n")

    def unsubscribe(self, sids: list[bytes], pings: int, is_verbose: bool) -> None:
        """End subscriptions, and let the client see no more of them, nor an answer to that.

        Args:
            pings: how many the client has sent.
            is_verbose: whether there will be an answer.
        """
        frames = b"".join(b"UNSUB %b\r\n" % sid for sid in sids) + b"PING\r\n"
        if is_verbose:
            frames = b"PING\r\n" + frames
            self._expect(Fence(self._pong_after(pings), is_start=True))
        self._expect(Fence(self._pong_after(pings), sids))
        self.write(frames)

    def _pong_after(self, pings: int) -> int:
        return pings + self._fences + 1

    def _expect(self, fence: Fence, then: Callable[[], None] | None = None) -> None:
        self._fences += 1
        self._scanner.expect(fence)
        self._waiting.append(then)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()

    def pause_writing(self) -> None:
        self._client.on_server_full(True)

    def resume_writing(self) -> None:
        self._client.on_server_full(False)

    def set_reading(self, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def write(self, frames: bytes) -> None:
        if self._transport is not None and not self.has_ended and not self._transport.is_closing():
            self._transport.write(frames)

    def end(self) -> None:
        """Say that nothing more comes; the nats-server answers what came, and closes."""
        if self._transport is not None and not self.has_ended and not self._transport.is_closing():
            self.has_ended = True
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def address_of(name: Any) -> str:
    """The IP address of a socket's name as a nats-server writes it; "" if there is no name."""
    return str(name[0]).partition("%")[0].removeprefix("::ffff:") if name else ""


def proxy_line(transport: asyncio.Transport) -> bytes:
    """The header that tells the nats-server who the client is.

    Source: PROXY protocol, version 1.
    """
    peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not peer or not here:
        return b"PROXY UNKNOWN\r\n"
    addresses = [address_of(peer), address_of(here)]
    family = "TCP6" if ":" in addresses[0] else "TCP4"
    if (":" in addresses[1]) is not (family == "TCP6"):
        return b"PROXY UNKNOWN\r\n"
    return f"PROXY {family} {addresses[0]} {addresses[1]} {peer[1]} {here[1]}\r\n".encode("ascii")
