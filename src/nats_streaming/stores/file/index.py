"""Index files, many entries at a time: totals of a whole file, and the messages of a run of entries.

No object per message: a file of a million entries is walked over as it is read. Knows no file.

Source: stores specification, section 2.6 (layout in `record`).
"""

from __future__ import annotations

from array import array

from nats_streaming.stores.file.record import Checksum, read_u32, read_u64
from nats_streaming.stores.segment import Segment

SOUND = 0
ZEROS = 1
DAMAGED = 2
DISORDERED = 3

_SOUND, _ZEROS, _DAMAGED, _DISORDERED = 0, 1, 2, 3
_ENTRY, _HEADER, _OVERHEAD = 32, 8, 40


class IndexScan:
    """Totals of an index, fed in pieces.

    Attributes:
        count, size: all entries; the size as it counts for slices, payload and 40 bytes each.
        live_count, live_bytes: without what is dropped or a hole; the bytes of the payloads alone.
        first, last, first_timestamp_ns, last_timestamp_ns: of all entries.
        last_offset, last_size: of the last entry's record.
        stored, computed: the checksums of an entry that is DAMAGED.
    """

    def __init__(self, checksum: Checksum, dropped_until: int, holes: array[int]) -> None:
        """
        Args:
            checksum: of the entries.
            dropped_until: messages up to this sequence do not live any more.
            holes: first, stop, first, stop, ...: ascending ranges of sequences that do not live.
        """
        self.checksum = checksum
        self.dropped_until = dropped_until
        self.holes = holes
        self.holes_length = len(holes)
        self.holes_at = 0
        self.count = 0
        self.size = 0
        self.live_count = 0
        self.live_bytes = 0
        self.first = 0
        self.last = 0
        self.first_timestamp_ns = 0
        self.last_timestamp_ns = 0
        self.last_offset = 0
        self.last_size = 0
        self.stored = 0
        self.computed = 0

    def feed(self, data: bytes) -> int:
        """Take whole entries; SOUND, or why it stopped at entry number `count`."""
        at = 0
        limit = len(data) - _ENTRY
        while at <= limit:
            sequence = read_u64(data, at)
            self.stored = read_u32(data, at + 28)
            self.computed = self.checksum.of(data, at, at + 28)
            if self.computed != self.stored:
                if self.stored == 0 and sequence == 0 and _all_zero(data, at, at + 28):
                    return _ZEROS
                return _DAMAGED
            offset = read_u64(data, at + 8)
            if sequence <= self.last or offset < self.last_offset + (_HEADER + self.last_size if self.count else 4):
                return _DISORDERED
            size = read_u32(data, at + 24)
            self.last_timestamp_ns = read_u64(data, at + 16)
            if self.count == 0:
                self.first = sequence
                self.first_timestamp_ns = self.last_timestamp_ns
            self.count += 1
            self.size += size + _OVERHEAD
            self.last = sequence
            self.last_offset = offset
            self.last_size = size
            if sequence > self.dropped_until and not self.is_hole(sequence):
                self.live_count += 1
                self.live_bytes += size
            at += _ENTRY
        return _SOUND

    def renew_holes(self, holes: array[int]) -> None:
        """Go on with other holes, which differ only behind what was fed."""
        self.holes = holes
        self.holes_length = len(holes)
        self.holes_at = 0

    def is_hole(self, sequence: int) -> bool:
        """Sequences must be asked for in ascending order."""
        while self.holes_at < self.holes_length and self.holes[self.holes_at + 1] <= sequence:
            self.holes_at += 2
        return self.holes_at < self.holes_length and self.holes[self.holes_at] <= sequence


def _all_zero(data: bytes, start: int, stop: int) -> bool:
    view = data
    for at in range(start, stop):  # noqa: SIM110 - a generator would not compile to a loop
        if view[at]:
            return False
    return True


class IndexRun:
    """Some consecutive entries, and the messages they point to. What is asked of an entry that is not there is 0."""

    def __init__(self, data: bytes) -> None:
        """
        Args:
            data: whole entries, as they are in the file.
        """
        self.data = data
        self.count = len(data) // _ENTRY

    def sequence_at(self, entry: int) -> int:
        return read_u64(self.data, entry * _ENTRY) if 0 <= entry < self.count else 0

    def offset_at(self, entry: int) -> int:
        return read_u64(self.data, entry * _ENTRY + 8) if 0 <= entry < self.count else 0

    def timestamp_at(self, entry: int) -> int:
        return read_u64(self.data, entry * _ENTRY + 16) if 0 <= entry < self.count else 0

    def size_at(self, entry: int) -> int:
        return read_u32(self.data, entry * _ENTRY + 24) if 0 <= entry < self.count else 0

    def keep_sound(self, checksum: Checksum) -> int:
        """Forget the entries from the first damaged one on; returns how many are left."""
        previous = 0
        end = 4
        for entry in range(self.count):
            at = entry * _ENTRY
            offset = self.offset_at(entry)
            if (
                checksum.of(self.data, at, at + 28) != read_u32(self.data, at + 28)
                or self.sequence_at(entry) <= previous
                or offset < end
            ):
                self.count = entry
                break
            previous = self.sequence_at(entry)
            end = offset + _HEADER + self.size_at(entry)
        return self.count

    def entries_within(self, bytes_max: int) -> int:
        """How many entries' records, from the first on, lie within so many bytes; at least one."""
        start = self.offset_at(0)
        entry = 1
        while entry < self.count and self.offset_at(entry) + _HEADER + self.size_at(entry) - start <= bytes_max:
            entry += 1
        return entry

    def fill(
        self,
        segment: Segment,
        count: int,
        slots_max: int,
        data: bytes,
        base: int,
        skip: bytes,
        checksum: Checksum,
        check: bool,
    ) -> int:
        """Append the messages of the first `count` entries to a segment, and holes for missing sequences.

        Args:
            segment: its next sequence must not lie behind the first entry's.
            count: entries wanted.
            slots_max: slots the segment may have at the end.
            data: of the data file.
            base: where in the file it begins.
            skip: per entry a byte that is not zero if it shall be a hole; empty if there is none.
            checksum: of the payloads.
            check: whether it counts.

        Returns:
            The entry whose message is damaged, and where it stopped therefore; -1 if there is none.
        """
        skip_length = len(skip)
        skip_view = skip
        size_of_data = len(data)
        for entry in range(count):
            sequence = self.sequence_at(entry)
            timestamp_ns = self.timestamp_at(entry)
            while segment.base + segment.count < sequence and segment.count < slots_max:
                segment.close_slot(segment.buffer.used, timestamp_ns)
            if segment.count >= slots_max:
                return -1
            if entry < skip_length and skip_view[entry]:
                segment.close_slot(segment.buffer.used, timestamp_ns)
                continue
            at = self.offset_at(entry) - base
            size = self.size_at(entry)
            if at < 0 or size_of_data - at < _HEADER or size > size_of_data - at - _HEADER:
                return entry
            start = at + _HEADER
            if read_u32(data, at) != size or not _begins_with(data, start, start + size, sequence):
                return entry
            if check and checksum.of(data, start, start + size) != read_u32(data, at + 4):
                return entry
            before = segment.buffer.used
            segment.buffer.put_slice(data, start, start + size)
            segment.close_slot(before, timestamp_ns)
        return -1


def first_difference(mine: Segment, given: Segment, first: int, last: int) -> int:
    """The first sequence for which `given` has a message and `mine` none, or another one; `last + 1` if there is none.

    Both must have slots from `first` to `last`.
    """
    mine_data = mine.buffer.data
    given_data = given.buffer.data
    sequence = first
    while sequence <= last:
        slot = sequence - mine.base
        other = sequence - given.base
        size = given.lengths[other]
        if size != 0:
            if mine.lengths[slot] != size:
                return sequence
            if not _equal(mine_data, mine.offsets[slot], given_data, given.offsets[other], size):
                return sequence
        sequence += 1
    return sequence


def _equal(mine: bytearray, at: int, given: bytearray, other: int, size: int) -> bool:
    view = mine
    given_view = given
    for index in range(size):  # noqa: SIM110 - a generator would not compile to a loop
        if view[at + index] != given_view[other + index]:
            return False
    return True


def _begins_with(data: bytes, start: int, stop: int, sequence: int) -> bool:
    """Whether a MsgProto begins with this sequence, as every one does that was ever stored."""
    view = data
    if start >= stop or view[start] != 0x08:
        return False
    at = start + 1
    value = 0
    shift = 0
    while at < stop and shift < 63:
        octet = view[at]
        value |= (octet & 0x7F) << shift
        at += 1
        if octet < 0x80:
            return value == sequence
        shift += 7
    return False
