"""What is gone of a channel although its bytes are still in a slice: `removed.stan`, ours alone.

The Go server's files cannot say that a message was dropped or deleted: it counts in memory, and after a
restart with wider limits everything in a surviving slice is back. We keep a small file beside them. The
Go server ignores it, as any file whose name it does not know, and opens the directory as ever: it sees
dropped messages again, as it does with its own directories, and empty messages in place of deleted ones,
because a deletion also overwrites the bytes (`filler`). Coming back to us, both are gone again.

    type  meaning                                payload (fields as in protobuf, all u64)
    1     where the channel begins; the newest   1 first sequence, 2 last sequence, 3 witness sequence,
          record counts                          4 witness timestamp
    2     a range of holes                       1 first sequence, 2 how many

The witness is the last message in the slices when the record was written. Messages behind it were stored
later, perhaps by a Go server that did not know this file, and are not dropped. If the slices have another
timestamp for it, they are not those this file speaks of, and nothing of it holds. The last sequence
counts where the slices end before it: the messages were lost, or the last ones were never stored.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.protobuf import END, FIELD, VARINT, FieldReader
from nats_streaming.stores.file.record import Checksum, put_record
from nats_streaming.stores.file.record_log import RecordLog
from nats_streaming.stores.file.slices import Slice

FILE_NAME = "removed.stan"
MARK, HOLES = 1, 2
KIND_MAX = HOLES

_REWRITE_BYTES_MIN = 4096
_REWRITE_FACTOR = 4


class RangeSet:
    """Sequences, as ascending ranges that do not touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __contains__(self, sequence: int) -> bool:
        at = bisect_right(self._starts, sequence) - 1
        return at >= 0 and sequence < self._stops[at]

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def add(self, start: int, stop: int) -> None:
        """Add `start` to `stop - 1`."""
        low = bisect_left(self._stops, start)
        high = bisect_right(self._starts, stop)
        if low < high:
            start = min(start, self._starts[low])
            stop = max(stop, self._stops[high - 1])
        self._starts[low:high] = [start]
        self._stops[low:high] = [stop]

    def remove_below(self, first: int) -> None:
        """Forget every sequence before `first`."""
        keep = bisect_right(self._stops, first)
        del self._starts[:keep]
        del self._stops[:keep]
        if self._starts and self._starts[0] < first:
            self._starts[0] = first

    def remove_from(self, first: int) -> None:
        """Forget every sequence from `first` on."""
        keep = bisect_left(self._starts, first)
        del self._starts[keep:]
        del self._stops[keep:]
        if self._stops and self._stops[-1] > first:
            self._stops[-1] = first

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The ranges, clipped to `start` to `stop - 1`."""
        at = bisect_right(self._stops, start)
        while at < len(self._starts) and self._starts[at] < stop:
            yield max(self._starts[at], start), min(self._stops[at], stop)
            at += 1

    def flat(self) -> array[int]:
        """first, stop, first, stop, ..."""
        return array("q", [bound for pair in self for bound in pair])


class RemovedTable:
    """What the records of the file amount to.

    Attributes:
        first, last, witness, witness_timestamp_ns: of the newest mark, 0 while there is none.
        holes: sequences that are gone.
    """

    def __init__(self) -> None:
        self.first = 0
        self.last = 0
        self.witness = 0
        self.witness_timestamp_ns = 0
        self.holes = RangeSet()

    def take(self, kind: int, payload: bytes) -> bool:
        """Take a record over; False when it cannot be read."""
        values = _decode(payload)
        if values is None:
            return False
        if kind == MARK:
            self.first, self.last, self.witness, self.witness_timestamp_ns = values
            return True
        if kind == HOLES and values[0] > 0 and values[1] > 0:
            self.holes.add(values[0], values[0] + values[1])
            return True
        return False

    def dropped_until(self) -> int:
        """The last sequence that is dropped for sure."""
        return max(0, min(self.first - 1, self.witness))


class RemovedLog:
    """The file of one channel; made when there is something to write. Not thread-safe."""

    def __init__(self, table: RemovedTable, checksum: Checksum) -> None:
        self.table = table
        self._checksum = checksum

    def attach(self, log: RecordLog) -> None:
        """Say where records go; before anything else."""
        self.log = log

    def mark(self, first: int, last: int, witness: int, witness_timestamp_ns: int) -> None:
        """Where the channel begins and ends; the same again writes nothing."""
        table = self.table
        if (first, last, witness) == (table.first, table.last, table.witness):
            return
        table.first, table.last, table.witness, table.witness_timestamp_ns = first, last, witness, witness_timestamp_ns
        table.holes.remove_below(first)
        self._put(MARK, _encode(first, last, witness, witness_timestamp_ns))

    def remember(self, first: int, last: int, slices: list[Slice]) -> None:
        """Write a mark if it is needed and not there yet.

        Args:
            first: the first sequence that is not dropped.
            last: the highest ever appended.
            slices: those with messages, in ascending order.
        """
        begin = slices[0].first if slices else 0
        end = slices[-1].last if slices else 0
        table = self.table
        dropped = first if first > begin else 0
        lost = max(last, table.last)
        lost = lost if lost > end else 0
        outdated = dropped and (dropped != table.first or table.dropped_until() < min(dropped - 1, end))
        if outdated or (lost and lost != table.last):
            self.mark(first, lost, end, slices[-1].last_timestamp_ns if slices else 0)

    def add_holes(self, start: int, stop: int) -> None:
        """`start` to `stop - 1` are gone."""
        self.table.holes.add(start, stop)
        self._put(HOLES, _encode(start, stop - start))

    def remove_holes_from(self, first: int) -> None:
        """What was at `first` and behind is appended again."""
        if any(True for _ in self.table.holes.within(first, 1 << 62)):
            self.table.holes.remove_from(first)
            self.log.renew()

    def _put(self, kind: int, payload: bytes) -> None:
        if self.log.size == 0:
            self.log.renew()
            return
        self.log.put(kind, payload)
        if self.log.size >= _REWRITE_BYTES_MIN:
            image = ByteBuffer(256)
            self.image(image)
            if self.log.size > _REWRITE_FACTOR * (image.used + 4):
                self.log.renew()

    def image(self, out: ByteBuffer) -> None:
        table = self.table
        if table.first or table.last:
            payload = _encode(table.first, table.last, table.witness, table.witness_timestamp_ns)
            put_record(out, MARK, payload, self._checksum)
        for start, stop in table.holes:
            put_record(out, HOLES, _encode(start, stop - start), self._checksum)


def _encode(*values: int) -> bytes:
    out = ByteBuffer(64)
    for number, value in enumerate(values, 1):
        if value:
            out.put_byte(number << 3 | VARINT)
            out.put_varint(value)
    return out.take()


def _decode(payload: bytes) -> tuple[int, int, int, int] | None:
    values = [0, 0, 0, 0]
    reader = FieldReader()
    reader.open(payload, 0, len(payload))
    while (result := reader.next_field()) == FIELD:
        if reader.wire != VARINT or reader.number > len(values):
            return None
        values[reader.number - 1] = reader.value
    return (values[0], values[1], values[2], values[3]) if result == END else None
