"""A subscription as its user sees it: iterate over it, ack, close it; and how it goes on after a resume.

What waits here to be taken is bounded by what the server may have in flight: beyond that a message is left to the
server, which sends it again, since nobody acknowledged it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nats_streaming.client.intake import ADDED, MALFORMED, OVERFLOW, PROCESSED, Intake
from nats_streaming.client.link import NO_RESPONDERS, Address, ClientLink
from nats_streaming.client.message import Message
from nats_streaming.client.session import Session
from nats_streaming.client.start_position import AtTime, Sequence, Since, Start, start_position
from nats_streaming.clock import SystemClock
from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import (
    ClientError,
    NoResponse,
    ProtocolError,
    ReplyText,
    SubscriptionClosed,
    SubscriptionError,
)
from nats_streaming.protocol.control_messages import (
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
    encode,
)
from nats_streaming.protocol.stan_messages import length_field

if TYPE_CHECKING:
    from types import TracebackType

TURN_MESSAGES = 256
"""Messages taken without waiting between two turns of the loop, so that acks leave and new messages come."""

CLOCK_MARGIN_NS = 60 * NS_PER_SECOND
"""Clocks of client and server may differ by this much when a subscription is resumed by time."""

CONGESTION_SECONDS = 0.001
"""Between two looks at a congested link."""

LOST_SESSION_TEXTS = frozenset({ReplyText.UNKNOWN_CLIENT_ID, ReplyText.INVALID_SUBSCRIBE})
"""At a resume these mean that the session is gone again, not that the subscription is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeOptions:
    """What a subscription was asked for."""

    channel: str
    start: Start = "new"
    durable: str = ""
    queue: str = ""
    max_in_flight: int = 1024
    ack_wait_s: int = 30
    manual_acks: bool = False


class SubscriptionOwner(Protocol):
    """What a subscription needs of its client."""

    link: ClientLink
    session: Session
    request_timeout_s: float

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Return when the session is up. Raises NoResponse, ConnectionLost or ConnectionClosed."""

    def forget(self, subscription: Subscription) -> None:
        """The subscription has ended."""

    def report(self, error: Exception) -> None:
        """Tell the user of an error that nobody gets otherwise."""


class Subscription:
    """Messages of one channel. Made by `Client.subscribe`.

    Take the messages by `async for`, in one task; or in several tasks with manual acks. The iteration ends when the
    subscription was closed, unsubscribed or drained by this program, and raises when it ended for another reason.

    Attributes:
        options: what was asked for.
        channel: where the messages come from.
        overflow_count: messages left to the server's redelivery, because too many waited here.
    """

    def __init__(self, options: SubscribeOptions, owner: SubscriptionOwner) -> None:
        """For the client only."""
        self.options = options
        self.channel = options.channel
        self.overflow_count = 0
        self._owner = owner
        self._clock = SystemClock()
        self._asked_at_ns = 0  # monotonic; 0 until the server has it
        self._subject_field = length_field(1, options.channel.encode())
        self._intake = Intake(self, options.max_in_flight, is_queue=bool(options.queue))
        self._number = 0
        self._inbox = b""
        self._ack_address: Address | None = None
        self._acks_to_send: list[int] = []
        self._state_lost = False
        self._taken: Message | None = None
        self._taker: asyncio.Task[object] | None = None
        self._taken_count = 0
        self._arrived = asyncio.Event()
        self._all_acked = asyncio.Event()
        self.is_leaving = False
        self._is_suspended = False
        self._is_draining = False
        self._has_ended = False
        self._error: ClientError | None = None

    @property
    def is_closed(self) -> bool:
        return self._has_ended

    # Taking messages.

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def next(self) -> Message | None:
        """Wait for the next message; None when this program closed the subscription.

        With automatic acks the message before is acked now: asking for the next one means that it is processed.
        Cancelling loses nothing.

        Raises:
            ConnectionLost, SubscriptionError: the subscription ended for another reason.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            return None

    async def __anext__(self) -> Message:
        """What `next` does, in one coroutine, since every message of a loop passes here."""
        if self._taken is not None:
            taken, self._taken = self._taken, None
            if not self._has_ended:
                self.ack_nowait(taken)
        self._taken_count += 1
        if self._taken_count % TURN_MESSAGES == 0:
            await asyncio.sleep(0)
        while not self._intake.waiting:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._has_ended or self._is_draining:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        message = self._intake.take()
        if not self.options.manual_acks:
            self._taken = message
            self._taker = asyncio.current_task()
        return message

    async def ack(self, message: Message) -> None:
        """What `Message.ack` does."""
        self.ack_nowait(message)
        link = self._owner.link
        while not link.is_writable and link.is_connected and not self._has_ended:
            await asyncio.sleep(CONGESTION_SECONDS)

    def take_waiting(self, count_max: int) -> list[Message]:
        """Take what waits, up to `count_max` messages, without waiting; for manual acks only."""
        intake = self._intake
        return [intake.take() for _ in range(min(count_max, len(intake.waiting)))]

    def check_open(self, message: Message) -> None:
        """
        Raises:
            SubscriptionClosed: `message` cannot be acked any more.
        """
        if self._has_ended:
            raise SubscriptionClosed(f"{self} is closed: message {message.sequence} cannot be acked")

    def ack_nowait(self, message: Message) -> None:
        """What `Message.ack_nowait` does."""
        self.check_open(message)
        if not self._intake.ack(message):
            return
        if self._ack_address is None:
            self._acks_to_send.append(message.sequence)
        else:
            self._owner.link.publish_ack(self._ack_address, self._subject_field, message.sequence)
        self._check_drained()

    def leave_unacked(self, message: Message) -> None:
        """With automatic acks: `message`, taken last, was not processed, and the server is to send it again."""
        if self._taken is message:
            self._taken = None
            self._intake.leave(message)
            self._check_drained()

    # Ending.

    async def close(self) -> None:
        """End it here; a durable keeps its place for the next time. What was not acked comes again then.

        Raises:
            NoResponse: the server did not confirm it. Here it is closed all the same.
            SubscriptionError: the server refused. Here it is closed all the same.
        """
        await self._leave(self._owner.session.subjects.subscription_close_requests)

    async def unsubscribe(self) -> None:
        """End it for good: the server forgets a durable and its place.

        Raises:
            NoResponse: the server did not confirm it. Here it is closed all the same.
            SubscriptionError: the server refused. Here it is closed all the same.
        """
        await self._leave(self._owner.session.subjects.unsubscribe_requests)

    async def drain(self) -> None:
        """Take no new message, wait until those that are here are taken and acked, then close.

        Raises:
            NoResponse: the server did not confirm it. Here it is closed all the same.
        """
        self._is_draining = True
        self._arrived.set()
        if self._taken is not None and self._taker is asyncio.current_task():
            self.leave_unacked(self._taken)  # its loop was left, so nobody will ask for the next one
        self._check_drained()
        await self._all_acked.wait()
        await self.close()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._has_ended:
            await self.close()

    def end(self, error: ClientError | None) -> None:
        """No message comes any more. For the client only.

        Args:
            error: what the iteration raises; None lets it end.
        """
        if self._has_ended:
            return
        self._has_ended = True
        self._error = error
        self._intake.waiting.clear()
        self._owner.link.unsubscribe(self._number)
        self._ack_address = None
        self._arrived.set()
        self._all_acked.set()
        self._owner.forget(self)

    def _check_drained(self) -> None:
        if self._is_draining and not self._intake.held_count:
            self._all_acked.set()

    async def _leave(self, subject: bytes) -> None:
        if self._has_ended:
            return
        request = UnsubscribeRequest(client_id=self._owner.session.client_id, subject=self.channel.encode())
        try:
            await self._owner.wait_until_ready(self._owner.request_timeout_s)
            self.is_leaving = True  # a resume from now on does not make it again, and so ends it
            request.inbox = b"" if self._ack_address is None else self._ack_address.subject
            answer = await self._owner.session.ask(
                subject, request, SubscriptionResponse, self._owner.request_timeout_s
            )
            if answer.error:
                raise SubscriptionError(answer.error.decode("utf-8", "replace"))
        finally:
            self.end(None)

    # Making it, and making it again. For the client only.

    async def open(self) -> None:
        """Subscribe for the first time, or again after a resume, from the first message not known to be processed.

        Raises:
            SubscriptionError: the server refused it.
            NoResponse: no answer, or the session is gone again.
        """
        owner = self._owner
        owner.link.unsubscribe(self._number)
        start = self._next_start()
        self._check_drained()
        position = start_position(start, self._clock.wall_ns(), self._waited_ns())
        asked_at_ns = self._clock.monotonic_ns()
        self._inbox = owner.session.new_inbox()
        self._is_suspended = False
        self._number = await owner.link.subscribe(self._inbox, self._on_message, self._intake.waiting_max)
        request = SubscriptionRequest(
            client_id=owner.session.client_id,
            subject=self.channel.encode(),
            queue_group=self.options.queue.encode(),
            inbox=self._inbox,
            max_in_flight=self.options.max_in_flight,
            ack_wait_seconds=self.options.ack_wait_s,
            durable_name=self.options.durable.encode(),
            start_position=position.kind,
            start_sequence=position.sequence,
            start_time_delta_ns=position.delta_ns,
        )
        try:
            answer = await owner.session.ask(
                owner.session.subjects.subscribe_requests, request, SubscriptionResponse, owner.request_timeout_s
            )
        except BaseException:
            owner.link.unsubscribe(self._number)
            if not self._asked_at_ns and owner.link.is_connected:
                self._take_back()
            raise
        if answer.error:
            owner.link.unsubscribe(self._number)
            text = answer.error.decode("utf-8", "replace")
            if self._asked_at_ns and text in LOST_SESSION_TEXTS:
                raise NoResponse(text)
            raise SubscriptionError(f"subscribe to {self.channel}: {text}")
        self._asked_at_ns = self._asked_at_ns or asked_at_ns
        self._state_lost = False
        self._ack_address = Address(answer.ack_inbox)
        for sequence in self._acks_to_send:
            owner.link.publish_ack(self._ack_address, self._subject_field, sequence)
        self._acks_to_send.clear()

    def suspend(self) -> None:
        """The session is down: acks are kept, and what a recovered server sends to the old inbox is left alone."""
        self._ack_address = None
        self._is_suspended = True

    def state_lost(self) -> None:
        """The server has forgotten us, and perhaps the channel with all its messages."""
        self._state_lost = True

    def _waited_ns(self) -> int:
        return self._clock.monotonic_ns() - self._asked_at_ns if self._asked_at_ns else 0

    def _next_start(self) -> Start:
        """Where to begin: as asked at first, behind what was processed later."""
        if not self._asked_at_ns:
            return self.options.start
        point = self._intake.rewind()
        if point is None:
            # Nothing came yet. "New" and "last" meant that moment, not this one.
            return Since(0) if self.options.start in ("new", "last") else self.options.start
        sequence, time_ns = point
        if not self._state_lost:
            return Sequence(sequence)
        # The channel may have begun anew, with sequences below ours: only its times tell what we have not seen, and an
        # ack from before could be for a message that nobody has processed.
        self._acks_to_send.clear()
        self._intake.skip_processed(sequence, time_ns)
        return AtTime(time_ns - CLOCK_MARGIN_NS)

    def _take_back(self) -> None:
        """The answer did not come, but the server may have subscribed us: it is told to forget it, as others do."""
        owner = self._owner
        request = UnsubscribeRequest(
            client_id=owner.session.client_id, subject=self.channel.encode(), inbox=self._inbox
        )
        owner.link.publish(Address(owner.session.subjects.subscription_close_requests), encode(request))

    def _on_message(self, data: bytes | bytearray, start: int, stop: int, _reply: bytes, status: int) -> None:
        if self._is_draining or self._is_suspended or status == NO_RESPONDERS:
            return  # what comes while draining stays unacked, and while suspended it comes again: the server keeps it
        result = self._intake.receive(data, start, stop)
        if result == ADDED:
            if len(self._intake.waiting) == 1:
                self._arrived.set()
        elif result == PROCESSED:
            if self._ack_address is not None:
                self._owner.link.publish_ack(self._ack_address, self._subject_field, self._intake.sequence)
        elif result == OVERFLOW:
            self.overflow_count += 1
        elif result == MALFORMED:
            self._owner.report(ProtocolError(f"{self}: a message cannot be decoded: {bytes(data[start:stop][:40])!r}"))

    def __repr__(self) -> str:
        names = (("durable", self.options.durable), ("queue", self.options.queue))
        return f"<Subscription {self.channel}{''.join(f', {name} {value}' for name, value in names if value)}>"


async def run_callback(
    subscription: Subscription,
    callback: Callable[[Message], object],
    report: Callable[[Exception], None],
) -> None:
    """Hand every message to `callback`, one after the other, until the subscription ends.

    A message whose callback raises is reported and not acked, so the server sends it again.
    """
    while True:
        message = await subscription.next()
        if message is None:
            return
        try:
            outcome = callback(message)
            if outcome is not None and inspect.isawaitable(outcome):
                await outcome
        except Exception as error:  # noqa: BLE001 - it is the user's, who gets it back
            subscription.leave_unacked(message)
            report(error)
