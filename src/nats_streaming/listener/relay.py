"""One client: its socket, its connection to the nats-server, and what passes between them."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, cast

from nats_streaming.errors import ProtocolError
from nats_streaming.listener.interest import ClientSubscription
from nats_streaming.listener.receiver import Receiver
from nats_streaming.nats.handshake import ServerInfo, parse_info
from nats_streaming.protocol.client_frames import ClientControl, ClientReader, FrameScanner
from nats_streaming.protocol.frame_router import Outlet

if TYPE_CHECKING:
    from nats_streaming.listener.listener import ClientListener

_HIGH_BYTES = 4 << 20  # of what waits for one side; then the other is not read
_LOW_BYTES = 1 << 20
_EARLY_LINES_MAX = 1000  # that a client sends before it is known
_EARLY_LINE_BYTES_MAX = 4096
_CLOSE_S = 2.0  # for what is buffered, when a client is to be disconnected
_PATIENCE_S = 0.05  # for a client that does not read what we send, while all others wait
_log = logging.getLogger("nats_streaming.nats_server")


class Relay(asyncio.BufferedProtocol, ClientControl):
    """The client's side. Made by the listening socket, one per client.

    Attributes:
        subscriptions: by the client's own ID.
        is_streaming: it has published something to us.
    """

    def __init__(self, listener: ClientListener) -> None:
        self.subscriptions: dict[bytes, ClientSubscription] = {}
        self.outlet = Outlet(self)
        self.is_streaming = False
        self.server = Backend(self, listener)
        self._listener = listener
        self._reader = ClientReader(self, listener.offers)
        self._reader.blind = listener.is_blind
        self._receiver = Receiver(listener.buffer)
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._is_full = False
        self._is_plain = False
        self._is_accepted = False
        self._early_lines: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._has_connected = False
        self._is_parsing = False
        self._to_end = bytearray()

    # The client's socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH_BYTES, _LOW_BYTES)
        self._transport.pause_reading()
        self._listener.relays.add(self)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(self._transport))

    async def _connect(self, transport: asyncio.Transport) -> None:
        """Reach the nats-server, as that client."""
        host, port = self._listener.backend
        self.server.preamble = proxy_line(transport)
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, host, port)
        except OSError as error:
            self._listener.on_unreachable(error)
            self.abort()
            return
        if transport.is_closing():
            self.server.close()
            return
        self._listener.on_served()
        if self.server.is_introduced:
            self._begin()

    def on_introduced(self, info: ServerInfo) -> None:
        """The nats-server has said who it is, which a client waits for; so its stream is read from now on only."""
        self._listener.offers.payload_max = info.max_payload  # perhaps another one since a reload
        if info.tls_required or info.tls_available:
            self._reader.blind = self.server.is_blind = True
        elif not info.auth_required:
            self.on_accepted()
        self._begin()

    def _begin(self) -> None:
        """Read what the client sends, and has sent."""
        self._receiver.room()
        if self._receiver.received(0):
            self._parse()
        self.set_reading()

    def on_accepted(self) -> None:
        """The nats-server knows the client: what that has subscribed to counts."""
        self._is_accepted = True
        self._reader.takes = self._is_plain
        lines, self._early_lines = self._early_lines, []
        for line in lines:
            self.on_line(line)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._receiver.room()

    def buffer_updated(self, nbytes: int) -> None:
        if self._receiver.received(nbytes):
            self._parse()

    def _parse(self) -> None:
        """Handle what was received."""
        receiver, reader = self._receiver, self._reader
        if not self.server.is_introduced:
            # It did not wait for INFO, and some loops read once before they heed a pause.
            receiver.keep(0, 0)
            self.set_reading()
            return
        self._data = receiver.data
        before = reader.taken
        self._is_parsing = True
        end = reader.parse(receiver.data, receiver.stop)
        self._is_parsing = False
        if self._to_end:
            self.server.write(bytes(self._to_end))
            self._to_end.clear()
        receiver.keep(end, reader.wanted)
        if reader.taken != before:
            if not self.is_streaming:
                self.is_streaming = True
                self.set_reading()
            self._listener.on_taken()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener.interest.remove_all(self)
        self._listener.on_gone(self)
        self.server.close()

    def pause_writing(self) -> None:
        self.server.set_reading(False)

    def resume_writing(self) -> None:
        self.server.set_reading(True)
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            self._listener.set_congested(self, False)

    def set_reading(self) -> None:
        """Read unless what waits for the nats-server is much, or the engine wants no more."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self.server.is_introduced or self._is_full or (self.is_streaming and self._listener.is_paused):
            transport.pause_reading()
        else:
            transport.resume_reading()

    def on_server_full(self, is_full: bool) -> None:
        self._is_full = is_full
        self.set_reading()

    def write(self, frames: bytes) -> None:
        """Send whole frames to the client."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    def flush(self) -> None:
        """Send what the router has put into the outlet."""
        self.outlet.is_filled = False
        frames = self.outlet.out.take()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(frames)
        waiting = transport.get_write_buffer_size()
        if waiting > self._listener.max_pending:
            _log.error(
                "%s - Slow Consumer Detected: MaxPending of %d Exceeded", self._address, self._listener.max_pending
            )
            self.abort()
        elif waiting > _HIGH_BYTES and self._patience is None:
            # Only here: what the nats-server sends a slow client is not the engine's concern.
            loop = asyncio.get_running_loop()
            self._listener.set_congested(self, True)
            self._patience = loop.call_later(_PATIENCE_S, self._listener.set_congested, self, False)

    @property
    def _address(self) -> str:
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if peer else "client"

    def close(self) -> None:
        """Send what is buffered, then disconnect; one who does not read is not waited for long."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.close()
        self._deadline = asyncio.get_running_loop().call_later(_CLOSE_S, self._transport.abort)

    def abort(self) -> None:
        """Disconnect now."""
        if self._transport is not None:
            self._transport.abort()

    # What the reader finds in the client's stream.

    def forward(self, start: int, stop: int) -> None:
        self.server.write(bytes(self._data[start:stop]))

    def on_line(self, line: bytes) -> None:
        if self._reader.blind:
            return
        if not self._is_accepted:
            self._early_lines.append(line)
            if len(self._early_lines) > _EARLY_LINES_MAX or len(line) > _EARLY_LINE_BYTES_MAX:
                self._go_blind()
            return
        # Not at other white space: to a nats-server it is part of the word.
        words = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
        operation = words[0].upper()
        interest = self._listener.interest
        if operation == b"SUB" and len(words) in (3, 4):
            interest.add(self, words[-1], words[1], words[2] if len(words) == 4 else b"")
        elif operation == b"UNSUB" and len(words) in (2, 3):
            interest.limit(self, words[1], count_of(words[2]) if len(words) == 3 else 0)
        elif operation == b"CONNECT" and not self._has_connected:
            self._has_connected = True
            self._is_plain = not is_verbose(line)
            self._reader.takes = self._is_plain
        else:
            # It is refused, or a second CONNECT, which ends all subscriptions or does not, as the nats-server is new or
            # old.
            self._go_blind()

    def _go_blind(self) -> None:
        self._reader.blind = True
        self.on_blind()

    def on_blind(self) -> None:
        self._early_lines.clear()
        self._listener.interest.remove_all(self)

    def end_subscription(self, sid: bytes) -> None:
        frame = b"UNSUB %b\r\n" % sid
        if self._is_parsing:
            self._to_end += frame  # what stands before it in the stream is not forwarded yet
        else:
            self.server.write(frame)


class Backend(asyncio.BufferedProtocol):
    """The nats-server's side of a relay."""

    def __init__(self, client: Relay, listener: ClientListener) -> None:
        self.is_introduced = False
        self.preamble = b""
        self.is_blind = listener.is_blind
        self._client = client
        self._listener = listener
        self._scanner = FrameScanner(client.subscriptions)
        self._waits_for_pong = False
        self._receiver = Receiver(listener.buffer)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH_BYTES, _LOW_BYTES)
        self._transport.write(self.preamble)
        self.is_introduced = self.is_blind  # then it is not read, and may want TLS before it says anything

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._receiver.room()

    def buffer_updated(self, nbytes: int) -> None:
        receiver, scanner = self._receiver, self._scanner
        if not receiver.received(nbytes):
            return
        end = receiver.stop if self.is_blind else scanner.whole(receiver.data, receiver.stop)
        frames = bytes(receiver.data[:end])
        receiver.keep(end, scanner.wanted)  # now: what the client sent early is parsed in the same buffer
        if frames:
            self._client.write(frames)
            if not self.is_introduced:
                self._read_info(frames)
            elif self._waits_for_pong and scanner.pongs:
                # NATS answers a PING of those only whom it knows.
                self._waits_for_pong = False
                self._client.on_accepted()
            if scanner.ended:
                for target in scanner.ended:
                    self._listener.interest.on_limit(target)
                scanner.ended.clear()
        if scanner.lost:
            _log.error("the embedded nats-server sent something else than NATS frames: the client is disconnected")
            self._client.abort()

    def _read_info(self, frames: bytes) -> None:
        operation, _, rest = frames.partition(b"\n")[0].partition(b" ")
        if operation.upper() != b"INFO":
            return  # it refuses the client, and says why
        try:
            info = parse_info(rest)
        except ProtocolError as error:
            _log.error("the embedded nats-server does not introduce itself: %s", error)
            self._client.abort()
            return
        self.is_introduced = True
        self._waits_for_pong = info.auth_required
        self._client.on_introduced(info)

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
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def is_verbose(line: bytes) -> bool:
    """Whether a CONNECT asks for an answer to each operation; also when it is not understood, as is NATS's default."""
    found: list[object] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        # To nats-server large letters are small ones, and of several pairs the last counts. The outermost comes last.
        found[:] = [value for key, value in pairs if key.casefold() == "verbose"]

    try:
        json.loads(line[len(b"CONNECT") :].decode(), object_pairs_hook=note)
    except (ValueError, RecursionError):
        return True
    return not found or any(value is not False for value in found)


def count_of(number: bytes) -> int:
    """How many messages an UNSUB wants; 0 for what a nats-server takes for no number."""
    return int(number) if number.isdigit() and len(number) <= 9 else 0


def proxy_line(transport: asyncio.Transport) -> bytes:
    """The header that tells the nats-server who the client is.

    Source: PROXY protocol, version 1.
    """
    peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not peer or not here:
        return b"PROXY UNKNOWN\r\n"
    addresses = [address[0].partition("%")[0].removeprefix("::ffff:") for address in (peer, here)]
    family = "TCP6" if ":" in addresses[0] else "TCP4"
    if (":" in addresses[1]) is not (family == "TCP6"):
        return b"PROXY UNKNOWN\r\n"
    return f"PROXY {family} {addresses[0]} {addresses[1]} {peer[1]} {here[1]}\r\n".encode("ascii")
