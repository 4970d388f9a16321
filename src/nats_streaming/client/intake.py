"""What a subscription has received, taken and acked: the bookkeeping behind delivery, without I/O.

A message is *waiting* from its arrival until the user takes it, and *held* from its arrival until it is acked.
Everything here is bounded by what the server may have in flight.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from nats_streaming.client.message import Message
from nats_streaming.protocol.client_messages import StoredMessage

if TYPE_CHECKING:
    from nats_streaming.client.subscription import Subscription

EXTRA_WAITING_MAX = 1024
"""Messages that may wait beside twice max in-flight: what a durable had in flight under a larger limit before."""

ADDED, KNOWN, PROCESSED, OVERFLOW, MALFORMED = range(5)
"""What became of a received message: it waits; it waits already; it was processed before the resume; there was no
room and the server will send it again; it is none."""


class Intake:
    """The messages of one subscription."""

    def __init__(self, subscription: Subscription, max_in_flight: int, *, is_queue: bool) -> None:
        """
        Args:
            subscription: what the messages are acked through.
            max_in_flight: the subscription's limit.
            is_queue: a member of a queue group does not see every sequence, so a lower one proves nothing.
        """
        self.waiting: deque[Message] = deque()
        self.waiting_max = 2 * max_in_flight + EXTRA_WAITING_MAX
        self._subscription = subscription
        self._is_queue = is_queue
        self._stored = StoredMessage()
        self._held: dict[int, Message] = {}
        self._left: dict[int, int] = {}  # sequence -> time of what is left to the server, until it comes again
        self._last_sequence = 0  # the highest that came, with its time
        self._last_time_ns = 0
        self._taken_sequence = 0  # the highest that was taken, with its time
        self._taken_time_ns = 0
        self._processed_sequence = 0  # up to here all was processed before a resume by time
        self._processed_time_ns = 0

    @property
    def held_count(self) -> int:
        """Messages received and not acked."""
        return len(self._held)

    def receive(self, data: bytes | bytearray, start: int, stop: int) -> int:
        """Decode a MsgProto in `data[start:stop]` and let it wait: ADDED, or why not.

        A message that waits already is not taken twice. One that was taken before, acked or not, is, and is flagged.
        """
        stored = self._stored
        if not stored.decode(data, start, stop):
            return MALFORMED
        sequence: int = stored.sequence
        time_ns: int = stored.timestamp_ns
        redelivered: bool = stored.redelivered
        held = self._held.get(sequence)
        if sequence > self._last_sequence:
            pass
        elif time_ns > self._last_time_ns and not self._is_queue:
            self._begin_anew(sequence, time_ns)
        elif sequence <= self._processed_sequence and time_ns <= self._processed_time_ns:
            return PROCESSED
        elif held is not None and held.time_ns == time_ns:
            if held.is_waiting:
                return KNOWN
            redelivered = True
        elif not self._is_queue:
            redelivered = True
        if len(self.waiting) >= self.waiting_max:
            if held is None and not self._is_queue:
                self._left[sequence] = time_ns
            return OVERFLOW
        was_left = bool(self._left) and self._left.pop(sequence, None) is not None
        if sequence > self._last_sequence:
            self._last_sequence = sequence
            self._last_time_ns = time_ns
        reply = bytes(data[stored.reply_start : stored.reply_stop]) if stored.reply_stop > stored.reply_start else b""
        message = Message(
            self._subscription,
            sequence,
            bytes(data[stored.data_start : stored.data_stop]),
            time_ns,
            redelivered,
            stored.redelivery_count,
            reply.decode("utf-8", "surrogateescape") if reply else "",
        )
        message.is_processed = sequence <= self._taken_sequence and held is None and not was_left and not self._is_queue
        self.waiting.append(message)
        self._held[sequence] = message
        if len(self._held) > 2 * self.waiting_max:
            self._forget_oldest()
        return ADDED

    @property
    def sequence(self) -> int:
        """The sequence of the message decoded last."""
        return self._stored.sequence

    def take(self) -> Message:
        """The next waiting message; there must be one."""
        message = self.waiting.popleft()
        message.is_waiting = False
        if message.sequence > self._taken_sequence:
            self._taken_sequence = message.sequence
            self._taken_time_ns = message.time_ns
        return message

    def ack(self, message: Message) -> bool:
        """Whether the server is to be told. Not if it was acked before, nor when the channel began anew and the
        sequence is another message's now."""
        held = self._held.get(message.sequence)
        if held is None or held.time_ns != message.time_ns:
            return False
        if held.is_waiting:  # another copy came while this one was processed
            self.waiting.remove(held)
        del self._held[message.sequence]
        return True

    def leave(self, message: Message) -> None:
        """The user gave it up without an ack: it is the server's, which sends it again."""
        if self._held.get(message.sequence) is message:
            del self._held[message.sequence]
            if not self._is_queue:
                self._left[message.sequence] = message.time_ns

    def rewind(self) -> tuple[int, int] | None:
        """Forget what waits, since the server sends it again after a resume.

        Returns:
            The first sequence to ask for, and the time of the last message known to be processed, or of the first
            one that is not; None when nothing was taken yet.
        """
        for message in self.waiting:
            if message.sequence > self._taken_sequence or message.is_processed:
                self._held.pop(message.sequence, None)
            else:  # a repetition, and the user may still be at the first copy
                message.is_waiting = False
        self.waiting.clear()
        self._last_sequence = self._taken_sequence
        self._last_time_ns = self._taken_time_ns
        if self._taken_sequence == 0:
            return None
        open_ones = [(sequence, held.time_ns) for sequence, held in self._held.items()]
        open_ones += [left for left in self._left.items() if left[0] < self._taken_sequence]
        return min(open_ones, default=(self._taken_sequence + 1, self._taken_time_ns))

    def skip_processed(self, before_sequence: int, time_ns: int) -> None:
        """The resume begins earlier than `before_sequence`, to be sure: what is older is not to be taken again."""
        self._processed_sequence = before_sequence - 1
        self._processed_time_ns = time_ns

    def _begin_anew(self, sequence: int, time_ns: int) -> None:
        """A lower sequence with a later time: the channel was lost or deleted, and began again at 1."""
        last_time_ns = self._last_time_ns
        self._held = {key: held for key, held in self._held.items() if held.time_ns > last_time_ns}
        self._left.clear()
        self._last_sequence = sequence
        self._last_time_ns = time_ns
        self._processed_sequence = self._processed_time_ns = 0
        self._taken_sequence = self._taken_time_ns = 0

    def _forget_oldest(self) -> None:
        """A message that was taken and never acked, and that a queue group gave to another member long ago."""
        for sequence, held in self._held.items():
            if not held.is_waiting:
                del self._held[sequence]
                return
