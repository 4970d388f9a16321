"""Publishes and their acks: the window of what is unacknowledged, its timeouts, and sending it again after a resume.

Knows the link and the session's subjects; is told by the client when the session is up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass

from nats_streaming.client.link import NO_RESPONDERS, Address, ClientLink
from nats_streaming.client.session import Session, unique_id
from nats_streaming.errors import AckTimeout, ClientError, ProtocolError, PublishError, ReplyText
from nats_streaming.protocol.client_messages import PublishAckMessage, encode_publish
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.protocol.subjects import is_channel_name

Data = bytes | bytearray | memoryview
"""What can be published; what is not bytes is copied at once."""

ROUTES_MAX = 10_000
"""Channels whose frame heads are kept ready."""

TURN_MESSAGES = 256
"""Publishes between two turns of the loop, so that what was written leaves and acks are read."""

SILENCE_SECONDS = 1.0
"""Without an ack for this long, while one is due, the session is checked."""


@dataclass(frozen=True, slots=True)
class PublishAck:
    """The server has stored the message."""

    guid: str
    channel: str


class PendingPublish:
    """A publish whose ack may still be to come: await it for its `PublishAck` or its error, as often as you like.

    Attributes:
        guid: the message's ID, unique; sent again, it keeps it.
        channel: where it goes.
    """

    __slots__ = ("_error", "_is_done", "_is_seen", "_on_unseen", "_waiters", "channel", "guid", "payload", "refusals",
                 "resent", "sent_at")  # fmt: skip

    def __init__(
        self, guid: str, channel: str, payload: bytes, sent_at: float, on_unseen: Callable[[Exception], None]
    ) -> None:
        self.guid = guid
        self.channel = channel
        self.payload = payload
        self.sent_at = sent_at
        self.refusals = 0
        self.resent = False
        self._error: ClientError | None = None
        self._is_done = False
        self._is_seen = False
        self._on_unseen = on_unseen
        self._waiters: list[asyncio.Future[None]] | None = None

    @property
    def done(self) -> bool:
        """Whether the ack, or an error, is there."""
        return self._is_done

    def result(self) -> PublishAck:
        """The ack, without waiting.

        Raises:
            PublishError, ConnectionLost, ConnectionClosed: it was not acknowledged.
            asyncio.InvalidStateError: the ack is still to come.
        """
        if not self._is_done:
            raise asyncio.InvalidStateError(f"publish {self.guid} is not acknowledged yet")
        self._is_seen = True
        if self._error is not None:
            raise self._error.with_traceback(None)  # or each raise of the one error would lengthen it
        return PublishAck(self.guid, self.channel)

    def finish(self, error: ClientError | None) -> None:
        """The ack, or the error, is there. For the publisher only."""
        self._is_done = True
        self._error = error
        if self._waiters is not None:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters = None

    def __await__(self) -> Generator[object, None, PublishAck]:
        if not self._is_done:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            yield from waiter
        return self.result()

    def __del__(self) -> None:
        # An error that ended everything is raised everywhere else.
        if isinstance(self._error, PublishError) and not self._is_seen:
            self._on_unseen(self._error)


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """When publishing waits, and how long for an ack."""

    messages_max: int
    bytes_max: int
    ack_timeout_s: float


class Publisher:
    """All publishes of a client. Open while the session is up; suspended, they wait."""

    def __init__(
        self,
        link: ClientLink,
        session: Session,
        limits: PublishLimits,
        *,
        resumes: bool,
        on_suspect: Callable[[], None],
        on_unregistered: Callable[[str], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """
        Args:
            resumes: whether what is lost is sent again; else every error ends its publish.
            on_suspect: told that the session should be checked now: acks do not come.
            on_unregistered: the server refused a sound publish, so it does not know us.
            on_error: what no caller gets otherwise.
        """
        self._link = link
        self._session = session
        self._limits = limits
        self._resumes = resumes
        self._on_suspect = on_suspect
        self._on_unregistered = on_unregistered
        self._on_error = on_error
        self._client_field = length_field(1, session.client_id)
        self._identity_field = length_field(6, session.connection_id)
        self._guid_prefix = unique_id().decode() + "-"
        self._count = 0
        self._ack = PublishAckMessage()
        self._ack_inbox = b""
        self._ack_number = 0
        self._routes: dict[str, tuple[Address, bytes]] = {}
        self._pending: dict[bytes, PendingPublish] = {}
        self._pending_bytes = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._empty_waiters: list[asyncio.Future[None]] = []
        self._is_open = False
        self._end: ClientError | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pending_count(self) -> int:
        """Publishes without ack."""
        return len(self._pending)

    async def publish(self, channel: str, data: Data) -> PendingPublish:
        """Send a message, waiting only while the window is full, the link is congested or the session is down.

        Raises:
            PublishError: the channel name or the size is not allowed.
            TypeError: `data` is no bytes.
            ConnectionLost, ConnectionClosed: nothing can be sent any more.
        """
        if channel not in self._routes:
            self._check_channel(channel)
        if type(data) is not bytes:
            data = _bytes(data)
        if self._count % TURN_MESSAGES == 0:
            await asyncio.sleep(0)
        if not self._is_open or self._waiters or not self._has_room():
            await self._wait_for_room()
        self._count += 1
        address, subject_field = self._routes.get(channel) or self._new_route(channel)
        guid = f"{self._guid_prefix}{self._count}"
        key = guid.encode()
        payload = encode_publish(self._client_field, key, subject_field, data, self._identity_field)
        if len(payload) > self._link.max_payload:
            text = f"the message has {len(payload)} bytes with its envelope, NATS takes {self._link.max_payload}"
            raise PublishError(guid, channel, text)
        pending = PendingPublish(guid, channel, payload, self._loop.time(), self._on_unseen)
        self._pending[key] = pending
        self._pending_bytes += len(payload)
        self._link.publish(address, payload)
        if self._timer is None:
            self._start_timer()
        return pending

    async def wait_until_empty(self) -> None:
        """Wait until every publish so far is acknowledged or has failed."""
        while self._pending:
            waiter = self._loop.create_future()
            self._empty_waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._empty_waiters = [other for other in self._empty_waiters if other is not waiter]
                raise

    def suspend(self) -> None:
        """The session is down: publishing waits from now on."""
        self._is_open = False

    async def resume(self) -> int:
        """The session is up, for the first time or again: send what is unacknowledged, in its order, and open.

        Returns:
            How many were sent again.
        """
        self._routes.clear()
        if not self._ack_inbox:
            self._ack_inbox = b"_STAN.acks." + unique_id()
            room = self._limits.messages_max * 2 + 1024
            self._ack_number = await self._link.subscribe(self._ack_inbox, self._on_ack, room)
        again = list(self._pending.values())
        count = 0
        for pending in again:
            if pending.done:  # its ack came late, or it timed out
                continue
            pending.sent_at = self._loop.time()
            pending.resent = False
            self._send_again(pending)
            count += 1
            if count % TURN_MESSAGES == 0:
                await asyncio.sleep(0)
                while not self._link.is_writable and self._link.is_connected:
                    await asyncio.sleep(0.001)
        self._is_open = self._end is None
        if self._pending:
            self._start_timer()
        self.admit()
        return count

    def end(self, error: ClientError) -> None:
        """Nothing is sent any more: everything unacknowledged, and everybody who waits, gets `error`."""
        self._is_open = False
        self._end = error
        if self._timer is not None:
            self._timer.cancel()
        for pending in self._pending.values():
            pending.finish(error)
        self._pending.clear()
        self._pending_bytes = 0
        self._link.unsubscribe(self._ack_number)
        self._wake_empty()
        while self._waiters:
            _wake(self._waiters.popleft())

    def admit(self) -> None:
        """Wake those who wait, as many as there is room for."""
        if not self._is_open or not self._has_room():
            return
        free = self._limits.messages_max - len(self._pending)
        while self._waiters and free > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():  # else its task was cancelled, and the place is another's
                waiter.set_result(None)
                free -= 1

    def _has_room(self) -> bool:
        return (
            len(self._pending) < self._limits.messages_max
            and self._pending_bytes < self._limits.bytes_max
            and self._link.is_writable
        )

    async def _wait_for_room(self) -> None:
        while True:
            if self._end is not None:
                raise self._end.with_traceback(None)
            if self._is_open and self._has_room():
                return
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                self.admit()  # if it had a place already, that goes to the next
                raise

    def _check_channel(self, channel: str) -> None:
        name = channel.encode()
        # White space is a channel name to the server, but no subject to NATS, over which it must travel.
        if not is_channel_name(name) or any(octet <= 32 or octet == 127 for octet in name):
            raise PublishError("", channel, "a channel name has no empty part, no / * > and no white space")

    def _new_route(self, channel: str) -> tuple[Address, bytes]:
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        name = channel.encode()
        address = Address(b"%b.%b" % (self._session.subjects.publish_prefix, name), self._ack_inbox)
        route = address, length_field(3, name)
        self._routes[channel] = route
        return route

    def _send_again(self, pending: PendingPublish) -> None:
        if len(pending.payload) > self._link.max_payload:
            text = f"the message has {len(pending.payload)} bytes, NATS takes {self._link.max_payload} now"
            self._finish(pending.guid.encode(), pending, PublishError(pending.guid, pending.channel, text))
            return
        address, _ = self._routes.get(pending.channel) or self._new_route(pending.channel)
        self._link.publish(address, pending.payload)

    def _on_ack(self, data: bytes | bytearray, start: int, stop: int, _reply: bytes, status: int) -> None:
        if status == NO_RESPONDERS:
            self._on_suspect()
            return
        ack = self._ack
        if not ack.decode(data, start, stop):
            self._on_error(ProtocolError(f"a publish ack cannot be decoded: {bytes(data[start:stop][:40])!r}"))
            return
        key = bytes(data[ack.guid_start : ack.guid_stop])
        if ack.error_stop > ack.error_start:
            self._refused(key, bytes(data[ack.error_start : ack.error_stop]).decode("utf-8", "replace"))
            return
        pending = self._pending.get(key)
        if pending is not None:  # else it timed out, or it was sent twice
            self._finish(key, pending, None)

    def _refused(self, key: bytes, text: str) -> None:
        pending = self._pending.get(key)
        if pending is None:
            if not key:
                self._on_error(ProtocolError(f"the server refused a publish without naming it: {text}"))
            return
        if text == ReplyText.INVALID_PUBLISH and self._resumes:
            # What we send is sound, so the server does not know us. If it still refuses it later, it has its reasons.
            pending.refusals += 1
            if pending.refusals < 2:
                self._on_unregistered(text)
                return
        self._finish(key, pending, PublishError(pending.guid, pending.channel, text))

    def _finish(self, key: bytes, pending: PendingPublish, error: ClientError | None) -> None:
        del self._pending[key]
        self._pending_bytes -= len(pending.payload)
        pending.finish(error)
        if self._waiters:
            self.admit()
        if self._empty_waiters and not self._pending:
            self._wake_empty()

    def _on_unseen(self, error: Exception) -> None:
        """Nobody awaited a publish that failed. Said by the garbage collector, in any thread and at any time."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_error, error)

    def _wake_empty(self) -> None:
        for waiter in self._empty_waiters:
            _wake(waiter)
        self._empty_waiters.clear()

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(min(SILENCE_SECONDS, self._limits.ack_timeout_s / 4), self._on_timer)

    def _on_timer(self) -> None:
        """Look at the oldest: the order of sending is the order of age."""
        self._timer = None
        if not self._is_open or not self._pending:
            return
        now = self._loop.time()
        timeout_s = self._limits.ack_timeout_s
        overdue = []
        for key, pending in self._pending.items():
            age = now - pending.sent_at
            if age < SILENCE_SECONDS and age < timeout_s / 2:
                break
            overdue.append((key, pending, age))
        for key, pending, age in overdue:
            if age >= timeout_s:
                text = f"no ack within {timeout_s:g} s"
                self._finish(key, pending, AckTimeout(pending.guid, pending.channel, text))
            elif age >= timeout_s / 2 and self._resumes and not pending.resent:
                pending.resent = True
                self._send_again(pending)
        if overdue and self._resumes:
            self._on_suspect()
        if self._is_open and self._pending:
            self._start_timer()


def _bytes(data: Data) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data: bytes, bytearray or memoryview, not {type(data).__name__}")
    return bytes(data)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
