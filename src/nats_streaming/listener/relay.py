"""One client: its socket, and what passes between it and its connection to the nats-server."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

from nats_streaming.listener.backend import HIGH_BYTES, LOW_BYTES, Backend, address_of, proxy_line
from nats_streaming.listener.connect_line import read_connect
from nats_streaming.listener.interest import ClientSubscription
from nats_streaming.listener.receiver import Receiver
from nats_streaming.nats.embedded_options import WRITE_DEADLINE_S
from nats_streaming.nats.handshake import ServerInfo
from nats_streaming.protocol.client_frames import GO_ON, INSERT, WAIT, ClientControl, ClientReader
from nats_streaming.protocol.frame_router import Outlet
from nats_streaming.protocol.server_frames import FrameScanner

if TYPE_CHECKING:
    from nats_streaming.listener.listener import ClientListener

_CLOSE_S = 2.0  # for what is buffered, when a client is to be disconnected
_REFUSAL_S = 2.0  # for the nats-server to disconnect a client that it should refuse
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
        self._taps = 0
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
        self._is_verbose = True
        self._is_sound = False
        self._is_accepted = False
        self._has_ended = False
        self._is_waiting = False
        self._has_waited = False
        self._connecting: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._refusal: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._written = 0
        self._has_connected = False
        self._is_parsing = False
        self._ended_sids: list[bytes] = []
        self._ended_verbose = False
        self._held: deque[bytearray] = deque()
        self._held_bytes = 0
        self._held_scanner: FrameScanner | None = None
        self._set_held()

    # The client's socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(HIGH_BYTES, LOW_BYTES)
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
        if self._has_ended and not self._is_waiting:
            self.server.end()

    def on_accepted(self) -> None:
        """The nats-server knows the client: what that has subscribed to counts."""
        self._is_accepted = True
        self._set_takes()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._receiver.room()

    def buffer_updated(self, nbytes: int) -> None:
        if self._receiver.received(nbytes):
            self._parse()

    def _parse(self) -> None:
        """Handle what was received."""
        receiver, reader = self._receiver, self._reader
        if not self.server.is_introduced or self._is_waiting:
            # Some loops read once before they heed a pause.
            receiver.keep(0, 0)
            self.set_reading()
            return
        self._data = receiver.data
        before = reader.taken
        self._is_parsing = True
        end = reader.parse(receiver.data, receiver.stop)
        self._is_parsing = False
        receiver.keep(end, reader.wanted)
        if reader.taken != before:
            if not self.is_streaming:
                self.is_streaming = True
                self.set_reading()
            self._listener.on_taken()

    def eof_received(self) -> bool:
        """The client sends no more and may still read: what its last words bring it, up to the nats-server's end."""
        self._has_ended = True
        if self.server.is_introduced and not self._is_waiting:
            self.server.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        for timer in (self._deadline, self._refusal, self._stuck):
            if timer is not None:
                timer.cancel()
        self._held.clear()
        self._listener.interest.remove_all(self)
        self._listener.on_gone(self)
        self.server.close()

    def pause_writing(self) -> None:
        self.server.set_reading(False)
        self._watch(-1)

    def resume_writing(self) -> None:
        self.server.set_reading(True)
        self._stop_waiting()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _watch(self, before: int) -> None:
        """Disconnect a client that reads nothing; the nats-server is not read meanwhile and would not be heard.

        Args:
            before: bytes that had left for it a while ago.
        """
        assert self._transport is not None
        gone = self._written - self._transport.get_write_buffer_size()
        if gone == before:
            _log.error("%s - Slow Consumer Detected: WriteDeadline of %gs exceeded", self._address, WRITE_DEADLINE_S)
            self.abort()
        else:
            self._stuck = asyncio.get_running_loop().call_later(WRITE_DEADLINE_S, self._watch, gone)

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
        if (
            not self.server.is_introduced
            or self._is_full
            or self._is_waiting
            or (self.is_streaming and self._listener.is_paused)
        ):
            transport.pause_reading()
        else:
            transport.resume_reading()

    def on_server_full(self, is_full: bool) -> None:
        self._is_full = is_full
        self.set_reading()

    def write(self, frames: bytes) -> None:
        """Send whole frames to the client."""
        if self._transport is not None and not self._transport.is_closing():
            self._written += len(frames)
            self._transport.write(frames)

    def flush(self) -> None:
        """Send what the router has put into the outlet."""
        self.outlet.is_filled = False
        frames = self.outlet.out.take()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.outlet.is_held:
            self._hold(frames)
        else:
            self._written += len(frames)
            transport.write(frames)
        waiting = transport.get_write_buffer_size() + self._held_bytes
        if waiting > self._listener.max_pending:
            _log.error(
                "%s - Slow Consumer Detected: MaxPending of %d Exceeded", self._address, self._listener.max_pending
            )
            self.abort()
        elif waiting > HIGH_BYTES and self._patience is None:
            # Only here: what the nats-server sends a slow client is not the engine's concern.
            loop = asyncio.get_running_loop()
            self._listener.set_congested(self, True)
            self._patience = loop.call_later(_PATIENCE_S, self._listener.set_congested, self, False)

    def _hold(self, frames: bytes) -> None:
        """Send it behind what the nats-server has for the client: a +OK, or a message that ours answers."""
        self._held_bytes += len(frames)
        if self.server.has_ended and self._held:
            self._held[-1] += frames
            return
        self._held.append(bytearray(frames))
        if self.server.has_ended:
            self._send_held()
        else:
            self.server.fence(self._reader.pings, self._send_held)

    def _send_held(self) -> None:
        if self._held_scanner is None:
            self._held_scanner = FrameScanner(self.subscriptions, are_ours=True)
        frames = self._held.popleft()
        self._held_bytes -= len(frames)
        self._set_held()
        end = self._held_scanner.whole(frames, len(frames))
        self.write(self._held_scanner.for_client(frames, end)[0])
        self._listener.interest.on_limits(self._held_scanner.ended)

    def change_taps(self, change: int) -> None:
        self._taps += change
        self._set_held()

    def _set_held(self) -> None:
        self.outlet.is_held = self._is_verbose or self._taps > 0 or bool(self._held)

    @property
    def _address(self) -> str:
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if peer else "client"

    @property
    def host(self) -> str:
        """Its address, "" if the system does not know it any more."""
        return "" if self._transport is None else address_of(self._transport.get_extra_info("peername"))

    def close(self) -> None:
        """Send what is buffered, then disconnect; one who does not read is not waited for long."""
        if self._transport is None or self._transport.is_closing():
            return
        self._listener.interest.remove_all(self)
        self._transport.close()
        self._deadline = asyncio.get_running_loop().call_later(_CLOSE_S, self._transport.abort)

    def abort(self) -> None:
        """Disconnect now."""
        if self._transport is not None:
            self._transport.abort()

    # What the reader finds in the client's stream.

    def forward(self, start: int, stop: int) -> None:
        self.server.write(bytes(self._data[start:stop]))

    def on_line(self, line: bytes) -> int:
        if self._reader.blind:
            return GO_ON
        # Not at other white space: to a nats-server it is part of the word.
        words = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
        operation = words[0].upper()
        has_waited, self._has_waited = self._has_waited, False
        is_connect = operation.startswith(b"CONNECT")
        is_again = is_connect and self._has_connected
        if (is_again and not has_waited) or not (self._is_accepted or is_connect):
            return WAIT  # for what came before, and until it is known whether the nats-server refuses the client
        interest = self._listener.interest
        if operation == b"SUB" and len(words) in (3, 4):
            before = self.subscriptions.get(words[-1])
            if not has_waited and (self._held or (before is not None and before.limit)):
                return WAIT  # what is held, or on its way here, may be the last that another subscription gets
            interest.add(self, words[-1], words[1], words[2] if len(words) == 4 else b"", self._reader.steps)
        elif operation == b"UNSUB" and len(words) in (2, 3):
            limit = count_of(words[2]) if len(words) == 3 else 0
            if limit and not has_waited and self._may_be_behind(words[1]):
                return WAIT
            interest.limit(self, words[1], limit)
        elif is_connect:
            self._on_connect(line)
        else:
            self._refuse()
        return INSERT if self._ended_sids else GO_ON

    def _may_be_behind(self, sid: bytes) -> bool:
        """Whether messages may be on their way here that came before what is being read."""
        subscription = self.subscriptions.get(sid)
        return subscription is not None and subscription.born != self._reader.steps

    def _on_connect(self, line: bytes) -> None:
        options = read_connect(line, self._is_verbose)
        if self._has_connected:
            # A new nats-server ends all subscriptions then, and an old one does not: now it does, too.
            self._ended_sids += self.subscriptions
            self._ended_verbose = self._is_verbose
            self._listener.interest.remove_all(self)
        self._has_connected = True
        self._is_verbose = options.is_verbose
        self._is_sound = options.is_sound
        self._set_held()
        self._set_takes()

    def _set_takes(self) -> None:
        """Publishes are taken of whom the nats-server would not refuse, and who gets no +OK for each."""
        self._reader.takes = self._is_accepted and self._is_sound and not self._is_verbose

    def _refuse(self) -> None:
        self._reader.blind = True
        self.on_blind()

    def on_blind(self) -> None:
        self._ended_sids.clear()
        self._listener.interest.remove_all(self)
        if self._refusal is None and not self._listener.is_blind:
            self._refusal = asyncio.get_running_loop().call_later(_REFUSAL_S, self._end_blind)

    def _end_blind(self) -> None:
        """The nats-server has taken what we do not understand: who is subscribed to what is not known any more."""
        _log.error("%s - Client parser ERROR: what it sent is not plain NATS", self._address)
        self.write(b"-ERR 'Unknown Protocol Operation'\r\n")
        self.close()

    def end_subscription(self, sid: bytes) -> None:
        self._ended_sids.append(sid)
        self._ended_verbose = self._is_verbose
        if not self._is_parsing:
            self.insert()

    def insert(self) -> None:
        if self._ended_sids:
            sids, self._ended_sids = self._ended_sids, []
            self.server.unsubscribe(sids, self._reader.pings, self._ended_verbose)
        else:
            self._is_waiting = True
            self.set_reading()
            self.server.fence(self._reader.pings, self._go_on)

    def _go_on(self) -> None:
        """The nats-server has answered: what waited may be handled."""
        self._is_waiting = False
        self._has_waited = True
        self._begin()
        self._has_waited = False


def count_of(number: bytes) -> int:
    """How many messages an UNSUB wants; 0 for what a nats-server takes for no number."""
    return int(number) if number.isdigit() and len(number) <= 9 else 0
