"""What was sent to one subscription and not yet acked, with the deadline of each message.

A hash table of sequences and, through the same entries, a list in deadline order, all in arrays of
integers: adding, acking and finding the earliest deadline cost the same with one message in flight
or a million, and leave no garbage. Called for every delivery and every ack.
"""

from __future__ import annotations

from array import array

_NONE = -1
_CAPACITY_FIRST = 8
_GOLDEN = 2654435769  # 2^32 through the golden ratio: what follows one another comes to lie far apart
_LOW_BITS = 0x7FFFFFFF  # of a sequence: times `_GOLDEN` it stays in 63 bits


class InFlight:
    """Invariants: a sequence is here at most once; following `next` from `head` deadlines never decrease.

    Room grows by doubling and shrinks when a large burst has been acked.
    """

    def __init__(self) -> None:
        self.count = 0
        self.head = _NONE
        self.tail = _NONE
        self.free = _NONE
        self.capacity = 0
        self.mask = 0
        self.shift = 0

    def allocate(self, capacity: int) -> None:
        """Make empty tables for `capacity` entries, a power of two; the hash table has twice that."""
        self.capacity = capacity
        self.mask = 2 * capacity - 1
        self.shift = 32
        slots = 2 * capacity
        while slots > 1:
            slots >>= 1
            self.shift -= 1
        self.table = array("i", bytes(8 * capacity))
        self.sequences = array("q", bytes(8 * capacity))
        self.deadlines = array("q", bytes(8 * capacity))
        self.next = array("i", bytes(4 * capacity))
        self.previous = array("i", bytes(4 * capacity))
        for slot in range(2 * capacity):
            self.table[slot] = _NONE
        for entry in range(capacity):
            self.next[entry] = entry + 1
        self.next[capacity - 1] = _NONE
        self.free = 0
        self.head = self.tail = _NONE
        self.count = 0

    def resize(self, capacity: int) -> None:
        """Move every entry, in deadline order, into tables of another size."""
        old_sequences = self.sequences
        old_deadlines = self.deadlines
        old_next = self.next
        entry = self.head
        self.allocate(capacity)
        while entry != _NONE:
            self.add(old_sequences[entry], old_deadlines[entry])
            entry = old_next[entry]

    def home_of(self, sequence: int) -> int:
        """The hash slot where the search for `sequence` begins."""
        # Not the low bits: sequences follow one another, and without a free slot among them closing a gap would
        # have to look at all that are in flight.
        return ((sequence & _LOW_BITS) * _GOLDEN >> self.shift) & self.mask

    def slot_of(self, sequence: int) -> int:
        """The hash slot that holds `sequence`, or the empty one where it would go."""
        slot = self.home_of(sequence)
        while self.table[slot] != _NONE and self.sequences[self.table[slot]] != sequence:
            slot = (slot + 1) & self.mask
        return slot

    def add(self, sequence: int, deadline_ns: int) -> None:
        """Add `sequence`, or give it a new deadline when it is here already."""
        if self.capacity == 0:
            self.allocate(_CAPACITY_FIRST)
        slot = self.slot_of(sequence)
        entry = self.table[slot]
        if entry != _NONE:
            self.unlink(entry)
        else:
            if self.free == _NONE:
                self.resize(self.capacity * 2)
                slot = self.slot_of(sequence)
            entry = self.free
            self.free = self.next[entry]
            self.table[slot] = entry
            self.sequences[entry] = sequence
            self.count += 1
        self.link(entry, deadline_ns)

    def link(self, entry: int, deadline_ns: int) -> None:
        """Put an entry where its deadline belongs; new ones are nearly always the latest."""
        self.deadlines[entry] = deadline_ns
        before = self.tail
        while before != _NONE and self.deadlines[before] > deadline_ns:
            before = self.previous[before]
        self.previous[entry] = before
        if before == _NONE:
            after = self.head
            self.head = entry
        else:
            after = self.next[before]
            self.next[before] = entry
        self.next[entry] = after
        if after == _NONE:
            self.tail = entry
        else:
            self.previous[after] = entry

    def unlink(self, entry: int) -> None:
        before = self.previous[entry]
        after = self.next[entry]
        if before == _NONE:
            self.head = after
        else:
            self.next[before] = after
        if after == _NONE:
            self.tail = before
        else:
            self.previous[after] = before

    def remove(self, sequence: int) -> bool:
        """Take `sequence` out; False when it was not in flight."""
        if self.count == 0:
            return False
        slot = self.slot_of(sequence)
        entry = self.table[slot]
        if entry == _NONE:
            return False
        self.unlink(entry)
        self.next[entry] = self.free
        self.free = entry
        self.count -= 1
        self.close_gap(slot)
        if self.capacity > 4096 and self.count < self.capacity // 8:
            self.resize(self.capacity // 4)
        return True

    def close_gap(self, slot: int) -> None:
        """Empty a hash slot and move up entries behind it that could not be found any more."""
        gap = slot
        probe = slot
        while True:
            probe = (probe + 1) & self.mask
            entry = self.table[probe]
            if entry == _NONE:
                break
            home = self.home_of(self.sequences[entry])
            # Movable when its home does not lie cyclically between the gap and where it is.
            if ((probe - home) & self.mask) >= ((probe - gap) & self.mask):
                self.table[gap] = entry
                gap = probe
        self.table[gap] = _NONE

    def contains(self, sequence: int) -> bool:
        return self.count != 0 and self.table[self.slot_of(sequence)] != _NONE

    def deadline_of(self, sequence: int) -> int:
        """Deadline of a sequence in nanoseconds, -1 when it is not in flight."""
        if self.count == 0:
            return -1
        entry = self.table[self.slot_of(sequence)]
        return self.deadlines[entry] if entry != _NONE else -1

    def first_deadline(self) -> int:
        """The earliest deadline in nanoseconds, -1 when nothing is in flight."""
        return self.deadlines[self.head] if self.head != _NONE else -1

    def due(self, now_ns: int) -> list[int]:
        """Sequences whose deadline is not after `now_ns`, in deadline order, equal ones by sequence."""
        found: list[tuple[int, int]] = []
        entry = self.head
        while entry != _NONE and self.deadlines[entry] <= now_ns:
            found.append((self.deadlines[entry], self.sequences[entry]))
            entry = self.next[entry]
        found.sort()
        return [sequence for _, sequence in found]

    def in_deadline_order(self) -> list[int]:
        """All sequences, earliest deadline first, equal ones by sequence."""
        return self.due(0x7FFFFFFFFFFFFFFF)

    def in_sequence_order(self) -> list[int]:
        """All sequences, ascending."""
        return sorted(self.due(0x7FFFFFFFFFFFFFFF))

    def set_deadlines(self, deadlines: dict[int, int]) -> None:
        """Give many entries new deadlines at once; sorts once, where moving one by one could cost the square."""
        entries: list[tuple[int, int]] = []
        entry = self.head
        while entry != _NONE:
            sequence = self.sequences[entry]
            entries.append((deadlines.get(sequence, self.deadlines[entry]), sequence))
            entry = self.next[entry]
        entries.sort()
        if self.capacity:
            self.allocate(self.capacity)
        for deadline_ns, sequence in entries:
            self.add(sequence, deadline_ns)
