"""The messages of one channel as the engine sees them: which exist, and the segments that are in memory.

Sequences from `first` to `last` exist (holes excepted); up to `committed` they are durable and may be
delivered; the rest is staged. Limits on count and bytes are applied here, to what is durable, so that
every store and every replica drops the same messages, and none for a batch that fails.

Of a store that can give messages again, the oldest segments may be evicted. What is read back is lent:
found until it is given back. Called for every publish and every delivery.

    first        lent          lent             committed     last
    |....cold....|####|..cold..|####|..cold..|###resident####|##staged##|
"""

from __future__ import annotations

from nats_streaming.stores.segment import Segment


class MessageWindow:
    """Invariants: `segments` follow one another without a gap up to `last`; `first <= committed + 1 <= last + 1`.

    `first` is `last + 1` when every message has gone, and both are 0 while nothing was ever stored.

    Attributes:
        count, bytes: of all messages that exist, staged ones included.
        appended: encoded bytes of all messages ever staged here; `appended_committed` up to `committed`.
        resident: encoded bytes in `segments`.
    """

    def __init__(self, overhead_bytes: int, max_messages: int, max_bytes: int) -> None:
        """
        Args:
            overhead_bytes: what the store counts per message beside its encoding.
            max_messages: retention limit, 0 for none.
            max_bytes: retention limit in bytes, overhead included, 0 for none.
        """
        self.segments: list[Segment] = []
        self.overhead_bytes = overhead_bytes
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.first = 0
        self.last = 0
        self.committed = 0
        self.count = 0
        self.bytes = 0
        self.last_timestamp_ns = 0
        self.dropped_by_limit = False
        self.tail: Segment | None = None
        self.recent: Segment | None = None
        self.lent: list[Segment] = []
        self.appended = 0
        self.appended_committed = 0
        self.resident = 0

    def restore(self, first: int, last: int, count: int, size: int, last_timestamp_ns: int) -> None:
        """Begin with messages that lie in the store and not in memory."""
        self.first = first
        self.last = self.committed = last
        self.count = count
        self.bytes = size
        self.last_timestamp_ns = last_timestamp_ns

    def adopt(self, segments: list[Segment]) -> None:
        """Take over those restored segments that follow one another up to `last`; the others stay in the store."""
        following = self.last + 1
        for segment in reversed(segments):
            if segment.base + segment.count != following or following <= self.first:
                break
            self.segments.insert(0, segment)
            self.resident += segment.buffer.used
            following = segment.base

    def append(
        self,
        subject_field: bytes,
        source: bytes | bytearray,
        reply_start: int,
        reply_stop: int,
        data_start: int,
        data_stop: int,
        now_ns: int,
        size_max: int,
    ) -> int:
        """Stage one message with the next sequence.

        Args:
            now_ns: wall clock; the timestamp is this or the previous one, whichever is later.
            size_max: encoded bytes at most, or it is not staged.

        Returns:
            Its sequence, or 0 when it is larger than `size_max`.
        """
        timestamp_ns = now_ns if now_ns > self.last_timestamp_ns else self.last_timestamp_ns
        segment = self.tail
        estimate = 48 + len(subject_field) + (reply_stop - reply_start) + (data_stop - data_start)
        if segment is None or not segment.has_room(estimate):
            segment = Segment(self.last + 1)
        count = segment.count
        size = segment.append_message(
            subject_field, source, reply_start, reply_stop, data_start, data_stop, timestamp_ns
        )
        if size > size_max:
            segment.truncate(count)
            return 0
        if segment is not self.tail:
            if self.tail is not None:
                self.tail.seal()
            self.segments.append(segment)
            self.tail = segment
        self.last_timestamp_ns = timestamp_ns
        self.last += 1
        if self.first == 0:
            self.first = self.last
        self.count += 1
        self.bytes += size + self.overhead_bytes
        self.appended += size
        self.resident += size
        return self.last

    def commit(self, last: int, appended: int) -> None:
        """Messages up to `last` are durable, `appended` being the counter's value behind it: apply the limits."""
        self.committed = last
        self.appended_committed = appended
        self.apply_limits()

    def durable_count(self) -> int:
        """Messages that exist, staged ones left out."""
        return self.count - (self.last - self.committed)

    def durable_bytes(self) -> int:
        """Bytes of the messages that exist, staged ones left out."""
        staged = self.appended - self.appended_committed
        return self.bytes - staged - (self.last - self.committed) * self.overhead_bytes

    def is_over_limit(self) -> bool:
        """Whether there are too many durable messages or bytes; one message is never too many."""
        return self.first < self.committed and (
            (self.max_messages != 0 and self.durable_count() > self.max_messages)
            or (self.max_bytes != 0 and self.durable_bytes() > self.max_bytes)
        )

    def apply_limits(self) -> None:
        """Drop the oldest while over a limit; stops at one that is not in memory, see `is_over_limit`."""
        while self.is_over_limit():
            if not self.drop_first():
                break
            self.dropped_by_limit = True

    def drop_first(self) -> bool:
        """Drop the oldest message; False when it is not in memory, so its size is not known."""
        if self.find(self.first) is None:
            return False
        self.forget(self.first)
        self.first += 1
        self.skip_holes()
        return True

    def forget(self, sequence: int) -> None:
        """Take one message off the count and bytes, if it exists."""
        segment = self.find(sequence)
        if segment is None:
            return
        size = segment.size_at(sequence - segment.base)
        if size:
            self.count -= 1
            self.bytes -= size + self.overhead_bytes

    def skip_holes(self) -> None:
        """Move `first` to a message that exists, or behind the last one; let go of segments left behind."""
        while self.first <= self.last:
            segment = self.find(self.first)
            if segment is None or segment.size_at(self.first - segment.base):
                break
            self.first += 1
        while self.segments:
            oldest: Segment = self.segments[0]
            if oldest.base + oldest.count > self.first:
                break
            self.remove_oldest()

    def remove_oldest(self) -> None:
        """Let go of the first segment in memory."""
        oldest: Segment = self.segments[0]
        del self.segments[0]
        self.resident -= oldest.buffer.used
        self.recent = None
        if oldest is self.tail:
            self.tail = None

    def evict(self, keep_bytes: int) -> None:
        """Let go of the oldest segments until `keep_bytes` are left; the store must have them. Staged ones stay."""
        while self.resident > keep_bytes and self.segments:
            oldest: Segment = self.segments[0]
            if oldest.base + oldest.count - 1 > self.committed:
                break
            self.remove_oldest()

    def delete(self, sequence: int) -> bool:
        """Make a hole of one message in memory; False when it does not exist."""
        segment = self.find(sequence)
        if segment is None or sequence < self.first or not segment.size_at(sequence - segment.base):
            return False
        self.forget(sequence)
        segment.delete(sequence)
        self.skip_holes()
        return True

    def drop_until(self, sequence: int) -> None:
        """Drop every message before `sequence`."""
        while self.first < sequence and self.first <= self.last:
            if not self.drop_first():
                break

    def find(self, sequence: int) -> Segment | None:
        """The segment in memory that has this sequence, None when none has."""
        segment = self.recent
        if segment is not None and segment.base <= sequence < segment.base + segment.count:
            return segment
        segment = self.tail
        if segment is not None and segment.base <= sequence:
            if sequence >= segment.base + segment.count:
                return None
            return segment
        low = 0
        high = len(self.segments)
        if high == 0:
            return self.find_lent(sequence)
        segment = self.segments[0]
        if sequence < segment.base:
            return self.find_lent(sequence)
        while low < high:
            middle = (low + high) // 2
            segment = self.segments[middle]
            if segment.base + segment.count <= sequence:
                low = middle + 1
            else:
                high = middle
        if low == len(self.segments):
            return None
        segment = self.segments[low]
        if sequence < segment.base:
            return None
        self.recent = segment
        return segment

    def find_lent(self, sequence: int) -> Segment | None:
        segment: Segment
        for segment in self.lent:
            if segment.base <= sequence < segment.base + segment.count:
                return segment
        return None

    def lend(self, sequence: int, segment: Segment | None) -> Segment:
        """Take a segment that was read from the store, to be found until `give_back`; returns what was taken.

        None, or one that lacks `sequence`, means that it does not exist: it becomes a hole.
        """
        if segment is None or not segment.base <= sequence < segment.base + segment.count:
            segment = Segment(sequence)
            segment.append(b"", 0)
        self.lent.append(segment)
        return segment

    def give_back(self, segment: Segment) -> None:
        """A lent segment is not to be found any more."""
        self.lent.remove(segment)

    def roll_back(self) -> None:
        """Forget what is staged: its commit failed."""
        sequence = self.last
        while sequence > self.committed and sequence >= self.first:
            self.forget(sequence)
            sequence -= 1
        self.recent = None
        while self.segments:
            segment = self.segments[len(self.segments) - 1]
            keep = self.committed + 1 - segment.base
            used = segment.buffer.used
            if keep > 0:
                segment.truncate(keep)
                self.resident -= used - segment.buffer.used
                break
            self.resident -= used
            self.segments.pop()
        self.tail = self.segments[len(self.segments) - 1] if self.segments else None
        self.last = self.committed
        self.appended = self.appended_committed
        if self.first > self.last + 1:
            self.first = self.last + 1
        if self.last == 0:
            self.first = 0

    def size_of(self, sequence: int) -> int:
        """Encoded bytes of a message in memory, 0 when it does not exist."""
        segment = self.find(sequence)
        if segment is None or sequence < self.first:
            return 0
        return segment.size_at(sequence - segment.base)

    def is_resident(self, sequence: int) -> bool:
        """Whether every message from `sequence` on is in memory."""
        return self.count == 0 or (bool(self.segments) and self.segments[0].base <= sequence)

    def first_timestamp_ns(self) -> int:
        """Timestamp of the oldest message in memory, 0 when there is none."""
        segment = self.find(self.first) if self.count else None
        return segment.timestamp_at(self.first - segment.base) if segment is not None else 0

    def sequence_at(self, timestamp_ns: int) -> int:
        """The first sequence in memory whose timestamp is not below `timestamp_ns`, `last + 1` if there is none."""
        for segment in self.segments:
            index = segment.first_at_or_after(timestamp_ns)
            if index < segment.count:
                sequence = segment.base + index
                return self.first if sequence < self.first else sequence
        return self.last + 1
