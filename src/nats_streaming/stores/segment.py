"""A run of consecutive messages of one channel: their encoded bytes, and where each one lies.

This is the form in which messages exist in memory: the engine fills the last segment of a channel
and delivers out of all of them, a store keeps references or writes them away. No object per message:
16 bytes beside its encoding.

    slot       0          1          2   ...
    sequence   base       base+1     base+2
    buffer     |MsgProto |MsgProto  |MsgProto ...
    offsets[i], lengths[i]: where in the buffer; length 0 is a hole (deleted, expired, never stored)
    timestamps[i]: Unix nanoseconds
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from nats_streaming.byte_buffer import ByteBuffer, varint_size
from nats_streaming.protocol.protobuf import FieldReader
from nats_streaming.protocol.stan_messages import put_message

SEGMENT_BYTES = 1 << 20  # a segment is closed when it is full to here; a larger message has one for itself
SEGMENT_SLOTS = 1 << 14
_SLOTS_FIRST = 16
_BYTES_FIRST = 1024


class Segment:
    """Messages `base` to `base + count - 1`. One writer appends; readers look at what was there when they came."""

    def __init__(self, base: int) -> None:
        """
        Args:
            base: sequence of the first slot, at least 1.
        """
        self.base = base
        self.count = 0
        self.buffer = ByteBuffer(_BYTES_FIRST)
        self.capacity = _SLOTS_FIRST
        self.offsets = array("I", bytes(4 * _SLOTS_FIRST))
        self.lengths = array("I", bytes(4 * _SLOTS_FIRST))
        self.timestamps = array("q", bytes(8 * _SLOTS_FIRST))

    def __len__(self) -> int:
        return self.count

    def has_room(self, size: int) -> bool:
        """Whether a message of `size` encoded bytes belongs into this segment."""
        if self.count == 0:
            return True
        return self.count < _SLOTS_MAX and self.buffer.used + size <= _BYTES_MAX

    def seal(self) -> None:
        """The next message goes elsewhere: give back what growing has left over, where that is worth a copy."""
        if len(self.buffer.data) - self.buffer.used > _ROOM_LEFT * self.count:
            self.buffer.shrink()

    def grow(self) -> None:
        capacity = self.capacity * 2
        count = self.count
        offsets = array("I", bytes(4 * capacity))
        lengths = array("I", bytes(4 * capacity))
        timestamps = array("q", bytes(8 * capacity))
        # Copied by hand: the old ones may be viewed elsewhere, so they must not be resized.
        for index in range(count):
            offsets[index] = self.offsets[index]
            lengths[index] = self.lengths[index]
            timestamps[index] = self.timestamps[index]
        self.offsets = offsets
        self.lengths = lengths
        self.timestamps = timestamps
        self.capacity = capacity

    def close_slot(self, offset: int, timestamp_ns: int) -> None:
        """What was written behind `offset` becomes the next slot."""
        if self.count == self.capacity:
            self.grow()
        index = self.count
        self.offsets[index] = offset
        self.lengths[index] = self.buffer.used - offset
        self.timestamps[index] = timestamp_ns
        self.count = index + 1

    def append_message(
        self,
        subject_field: bytes,
        source: bytes | bytearray,
        reply_start: int,
        reply_stop: int,
        data_start: int,
        data_stop: int,
        timestamp_ns: int,
    ) -> int:
        """Encode a message with the next sequence at the end; returns its encoded size in bytes."""
        offset = self.buffer.used
        put_message(
            self.buffer,
            self.base + self.count,
            subject_field,
            source,
            reply_start,
            reply_stop,
            data_start,
            data_stop,
            timestamp_ns,
        )
        self.close_slot(offset, timestamp_ns)
        return self.buffer.used - offset

    def append(self, encoded: bytes, timestamp_ns: int) -> None:
        """Append a MsgProto that is already encoded, with the next sequence; empty makes a hole."""
        offset = self.buffer.used
        self.buffer.put(encoded)
        self.close_slot(offset, timestamp_ns)

    def truncate(self, count: int) -> None:
        """Take back all but the first `count` slots: what was staged did not become durable."""
        if count < self.count:
            self.buffer.truncate(self.offsets[count])
            self.count = count

    def delete(self, sequence: int) -> int:
        """Make a hole of a slot; returns the encoded size it had, 0 when it was one already."""
        index = sequence - self.base
        if index < 0 or index >= self.count:
            raise IndexError(f"sequence {sequence} is not in this segment")
        size = self.lengths[index]
        self.lengths[index] = 0
        return size

    def size_at(self, index: int) -> int:
        """Encoded size of a slot, 0 for a hole; the index must be in range."""
        return self.lengths[index]

    def timestamp_at(self, index: int) -> int:
        """Timestamp of a slot in Unix nanoseconds; the index must be in range."""
        return self.timestamps[index]

    def live_count(self, first: int, last: int) -> int:
        """Messages from `first` to `last`, which must be slots; holes are not counted."""
        found = 0
        for index in range(first - self.base, last - self.base + 1):
            if self.lengths[index]:
                found += 1
        return found

    def live_size(self, first: int, last: int) -> int:
        """Encoded bytes from `first` to `last`, which must be slots."""
        found = 0
        for index in range(first - self.base, last - self.base + 1):
            found += self.lengths[index]
        return found

    def put_encoded(self, out: ByteBuffer, index: int) -> None:
        """Write the message of a slot as it is stored; the index must be in range."""
        offset = self.offsets[index]
        out.put_slice(self.buffer.data, offset, offset + self.lengths[index])

    def message(self, sequence: int) -> bytes | None:
        """The encoded message, None for a hole or a sequence that is not here."""
        index = sequence - self.base
        if index < 0 or index >= self.count or self.lengths[index] == 0:
            return None
        offset = self.offsets[index]
        return bytes(self.buffer.data[offset : offset + self.lengths[index]])

    def messages(self, first: int, last: int) -> Iterator[tuple[int, int, bytes]]:
        """Sequence, timestamp and encoded bytes of what is there from `first` to `last`, holes left out."""
        return iter(self.message_list(first, last))

    def message_list(self, first: int, last: int) -> list[tuple[int, int, bytes]]:
        found = []
        start = first - self.base
        if start < 0:
            start = 0
        stop = last - self.base + 1
        if stop > self.count:
            stop = self.count
        for index in range(start, stop):
            encoded = self.message(self.base + index)
            if encoded is not None:
                found.append((self.base + index, self.timestamps[index], encoded))
        return found

    def put_run(self, out: ByteBuffer, first: int, last: int) -> None:
        """Write the slots from `first` to `last`, holes included, for `read_run`.

        slot := varint size (0: hole), varint timestamp, then `size` bytes of MsgProto
        """
        for index in range(first - self.base, last - self.base + 1):
            size = self.lengths[index]
            offset = self.offsets[index]
            out.put_varint(size)
            out.put_varint(self.timestamps[index])
            out.put_slice(self.buffer.data, offset, offset + size)

    def put_sized_run(self, out: ByteBuffer, head: ByteBuffer, first: int, last: int) -> None:
        """Write how many bytes follow as a varint, `head`, and what `put_run` writes. Counted first, so copied once."""
        size = head.used
        for index in range(first - self.base, last - self.base + 1):
            size += varint_size(self.lengths[index]) + varint_size(self.timestamps[index]) + self.lengths[index]
        out.put_varint(size)
        out.put_buffer(head)
        self.put_run(out, first, last)

    def read_run(self, reader: FieldReader, count: int) -> bool:
        """Append `count` slots written by `put_run`; False when they are not all there."""
        for _ in range(count):
            if not reader.read_varint():
                return False
            size = reader.value
            if not reader.read_varint() or reader.value > 0x7FFFFFFFFFFFFFFF:
                return False
            timestamp_ns = reader.value
            remaining = reader.limit - reader.position
            if size > remaining:
                return False
            offset = self.buffer.used
            self.buffer.put_slice(reader.data, reader.position, reader.position + size)
            reader.skip(size)
            self.close_slot(offset, timestamp_ns)
        return True

    def first_at_or_after(self, timestamp_ns: int) -> int:
        """Index of the first slot whose timestamp is not below; `count` when there is none.

        Timestamps never decrease within a channel, holes keep theirs.
        """
        low = 0
        high = self.count
        while low < high:
            middle = (low + high) // 2
            if self.timestamps[middle] < timestamp_ns:
                low = middle + 1
            else:
                high = middle
        return low


_SLOTS_MAX, _BYTES_MAX = SEGMENT_SLOTS, SEGMENT_BYTES
_ROOM_LEFT = 16  # bytes a message
