"""The messages of one channel: slices that grow at the end, go at the beginning, and get holes between.

    slices      [msgs.3][msgs.4][msgs.5 ......][gathered]      the last one grows; it stays when all is gone
    sequences    first ▲ dropped before      last ▲

What is dropped goes from the disk a slice at a time; `removed.stan` remembers where the channel begins. After a
failed write the gathered bytes stay, and the next flush first cuts the files back to what is known to be there.
After a failed fsync nothing written since the last good one is trusted: the log goes back to there, `last` tells
so, and what is missing must be appended again.

Source: stores specification, section 2.6.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from nats_streaming.errors import StoreError, quoted
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.filler import filler, filler_of_size, overwrite
from nats_streaming.stores.file.index import IndexRun, IndexScan
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.quarantine import keep_aside
from nats_streaming.stores.file.record import (
    FILE_HEADER,
    FILE_HEADER_BYTES,
    INDEX_ENTRY_BYTES,
    RECORD_HEADER_BYTES,
    Checksum,
)
from nats_streaming.stores.file.removed_log import RemovedLog
from nats_streaming.stores.file.run_writer import GATHERED_BYTES_MAX, RunWriter, Spares
from nats_streaming.stores.file.slices import Slice, SliceLimits, index_size, scan_slice
from nats_streaming.stores.file.steps import run_steps
from nats_streaming.stores.segment import Segment

FILLED_GAP_MAX = 1_000_000
"""Missing sequences that are filled for the Go server; it stops delivering at a wider gap, which costs us a slice."""

_RUN_MAX = 256  # messages a compiled call writes: other threads wait for its end


class MessageLog:
    """Not thread-safe: its channel has the lock.

    Attributes:
        slices: with messages, in ascending order; only the last one may be empty.
        first: the first sequence that is not dropped.
        last: the highest sequence that was ever appended, holes included; 0 if none was.
    """

    def __init__(
        self,
        directory: str,
        name: bytes,
        options: FileOptions,
        limits: SliceLimits,
        files: Files,
        pool: FilePool,
        checksum: Checksum,
        spares: Spares,
        removed: RemovedLog,
        on_slice_gone: Callable[[Slice], None],
    ) -> None:
        """
        Args:
            directory: of the channel.
            name: of the channel.
            options: checked ones.
            limits: of a slice.
            files: what reaches the file system.
            pool: where open files are kept.
            checksum: of records.
            spares: room for what is to be written.
            removed: what is gone.
            on_slice_gone: removes or archives the files of a slice.
        """
        self.directory = directory
        self.name = name
        self.slices: list[Slice] = []
        self.first = 0
        self.last = 0
        self._options = options
        self._limits = limits
        self._files = files
        self._pool = pool
        self._checksum = checksum
        self._removed = removed
        self._on_slice_gone = on_slice_gone
        self._room = min(options.buffer_size, GATHERED_BYTES_MAX)
        self._writer = RunWriter(checksum, spares)
        self._number = 0  # highest in use
        self._torn = False
        self._unsynced = False
        self._unsynced_slices: list[Slice] = []
        self._overwritten: set[str] = set()
        self._directory_changed = False
        self._cuts = 0
        self._synced_tail: Slice | None = None
        self._synced_last = 0

    def opened(self, slices: list[Slice], first: int, last: int, number: int) -> None:
        """Begin with what recovery found.

        Args:
            slices: with messages, in ascending order.
            first: the first sequence that is not dropped.
            last: the highest that is there; 0 if there is none.
            number: the highest slice number whose files must be left alone.
        """
        self.slices = slices
        self.first = first
        self.last = last
        self._number = number
        if slices and slices[-1].number == number:
            tail = slices[-1]
            self._writer.begin(tail.data_end, tail.count, tail.size)
            self._synced_tail = replace(tail)
        self._synced_last = last

    def directory_is_new(self) -> None:
        """It has entries that are not on the disk."""
        self._directory_changed = True

    @property
    def tail(self) -> Slice | None:
        """The slice that grows; None when the next message begins one."""
        return self.slices[-1] if self.slices and self.slices[-1].number == self._number else None

    # Writing.

    def append(self, segment: Segment, first: int, last: int) -> None:
        """Store slots of a segment, without what is there already."""
        if self._writer.data.used and self._writer.data.used >= self._room:
            self.flush()  # what could not be written before comes first: memory must not grow
        sequence = max(first, self.last + 1)
        while sequence <= last:
            if segment.size_at(sequence - segment.base) == 0:
                self.last = sequence
                self.first = self.first or sequence
                sequence += 1
                continue
            sequence = self._append_run(segment, sequence, last)
            self.last = sequence - 1
            if self._writer.data.used >= self._room:
                self.flush()

    def _append_run(self, segment: Segment, sequence: int, last: int) -> int:
        timestamp_ns = segment.timestamp_at(sequence - segment.base)
        tail = self._tail_for(sequence, timestamp_ns)
        writer = self._writer
        limits = self._limits
        age_stop_ns = (tail.first_timestamp_ns if tail.count else timestamp_ns) + limits.age_max_ns
        last = min(last, sequence + _RUN_MAX - 1)
        room = max(1, self._room)
        following = writer.put_run(segment, sequence, last, room, limits.count_max, limits.size_max, age_stop_ns)
        self._grown(tail, sequence, timestamp_ns, following - 1)
        self.first = self.first or sequence
        return following

    def _tail_for(self, sequence: int, timestamp_ns: int) -> Slice:
        """The slice that a message belongs to, everything before it filled."""
        end = self._end()
        missing = sequence - end - 1 if end else 0
        if 0 < missing <= FILLED_GAP_MAX:
            self._fill(end + 1, sequence, timestamp_ns)
        tail = self.tail
        limits = self._limits
        if (
            tail is None
            or tail.size >= limits.size_max
            or tail.count >= limits.count_max
            or (tail.count and timestamp_ns - tail.first_timestamp_ns >= limits.age_max_ns)
            or (tail.count and missing > FILLED_GAP_MAX)
        ):
            tail = self._begin_slice(tail)
        return tail

    def _fill(self, first: int, stop: int, timestamp_ns: int) -> None:
        """Put fillers from `first` to `stop - 1`, all into the slice that grows, as the original does."""
        tail = self.tail or self._begin_slice(None)
        for sequence in range(first, stop):
            self._writer.put(filler(self.name, sequence, timestamp_ns), sequence, timestamp_ns)
        self._grown(tail, first, timestamp_ns, stop - 1)
        self._removed.add_holes(first, stop)

    def _end(self) -> int:
        """The last sequence that lies in a slice, 0 if there is none."""
        for each in reversed(self.slices):
            if each.count:
                return each.last
        return 0

    def _grown(self, tail: Slice, first: int, first_timestamp_ns: int, last: int) -> None:
        writer = self._writer
        if tail.count == 0:
            tail.first = first
            tail.first_timestamp_ns = first_timestamp_ns
        tail.last = last
        tail.last_timestamp_ns = writer.last_timestamp_ns
        tail.count = writer.count
        tail.size = writer.size
        tail.data_end = writer.offset
        self._unsynced = True

    def _begin_slice(self, tail: Slice | None) -> Slice:
        if tail is not None:
            self.flush()
            if self._options.sync:
                self.sync()
            elif self._unsynced:
                self._unsynced_slices.append(tail)
            self._pool.discard(tail.data_path)
            self._pool.discard(tail.index_path)
        fresh = Slice(self.directory, self._number + 1)
        for path in (fresh.data_path, fresh.index_path):
            file = self._files.open_new(path)
            try:
                file.write(FILE_HEADER)
            finally:
                file.close()
        self._number = fresh.number
        if tail is not None and tail.count == 0:
            # Nothing was ever in it, or all of it was lost.
            self.slices.remove(tail)
            self._on_slice_gone(tail)
        self.slices.append(fresh)
        self._writer.begin(fresh.data_end, 0, 0)
        self._synced_tail = replace(fresh)
        self._synced_last = self.last
        self._directory_changed = True
        self._unsynced = True
        self._remove_dropped_slices()
        return fresh

    def flush(self) -> None:
        """Write what is gathered: the records, then their index entries."""
        tail = self.tail
        if tail is None:
            return
        writer = self._writer
        data_end = tail.data_end - writer.data.used
        index_end = index_size(tail.count) - writer.index.used
        if self._torn:
            self._cut_back(tail, data_end, index_end)
        try:
            if writer.data.used:
                with self._pool.using(tail.data_path, write=True) as file:
                    file.write(memoryview(writer.data.data)[: writer.data.used])
            if writer.index.used:
                with self._pool.using(tail.index_path, write=True) as file:
                    file.write(memoryview(writer.index.data)[: writer.index.used])
        except StoreError:
            self._torn = True
            raise
        writer.data_written()
        writer.index_written()

    def _cut_back(self, tail: Slice, data_end: int, index_end: int) -> None:
        for path, end in ((tail.data_path, data_end), (tail.index_path, index_end)):
            with self._pool.using(path, write=True) as file:
                if end == FILE_HEADER_BYTES:
                    # The header too was never on the disk.
                    file.truncate(0)
                    file.write(FILE_HEADER)
                elif file.size() < end:
                    raise StoreError(f"write {path}: {file.size()} bytes are there, expected {end}")
                else:
                    file.truncate(end)
        self._torn = False

    def cut_back(self, first: int) -> None:
        """Forget every message from `first` on, to append others in their place."""
        self.flush()
        while self.slices and (self.slices[-1].count == 0 or self.slices[-1].first >= first):
            gone = self.slices.pop()
            for path in (gone.index_path, gone.data_path):
                self._pool.discard(path)
                self._files.unlink(path)
            self._directory_changed = True
        self.last = min(self.last, first - 1)
        self._synced_last = min(self._synced_last, self.last)
        self._cuts += 1
        self._removed.remove_holes_from(first)
        self._number = max((each.number for each in self.slices), default=self._number)
        if not self.slices:
            self._synced_tail = None
            return
        tail = self.slices[-1]
        if tail.last >= first:
            self._cut_slice(tail, self.entry_of(tail, first))
        self._writer.begin(tail.data_end, tail.count, tail.size)
        synced = self._synced_tail
        if synced is None or synced.number != tail.number or synced.count > tail.count:
            self._synced_tail = replace(tail)
        self._unsynced = True

    def _cut_slice(self, which: Slice, count: int) -> None:
        """Let a slice end after so many messages."""
        which.data_end = IndexRun(self.entries(which, count, 1)).offset_at(0)
        scan = self._scan(which, count, 0)
        which.last, which.last_timestamp_ns = scan.last, scan.last_timestamp_ns
        which.count, which.size = scan.count, scan.size
        self._torn = which is self.tail
        for path, end in ((which.index_path, index_size(count)), (which.data_path, which.data_end)):
            with self._pool.using(path, write=True) as file:
                file.truncate(end)
                file.sync()  # or a crash may leave new records under old index entries

    def _scan(self, which: Slice, count: int, dropped_until: int) -> IndexScan:
        """Totals of a slice's first entries, all of them written."""
        scan = IndexScan(self._checksum, dropped_until, self._removed.table.holes.flat())
        scan_slice(scan, which, count, self.entries)
        return scan

    def totals(self) -> tuple[int, int]:
        """How many messages live, and the bytes of their payloads; walks over all indexes."""
        self.flush()
        scans = [self._scan(each, each.count, self.first - 1) for each in self.slices if each.count]
        return sum(scan.live_count for scan in scans), sum(scan.live_bytes for scan in scans)

    # Durability.

    def sync(self) -> None:
        """Write what is gathered and bring all of it to the disk."""
        run_steps(self.sync_steps(), nullcontext())

    def sync_steps(self) -> Generator[Callable[[], None]]:
        """What `sync` does, in steps: between them the lock is held, during one of them it need not be."""
        self.flush()
        while self._overwritten:
            path = self._overwritten.pop()
            try:
                yield partial(self._sync_file, path)
            except StoreError:
                self._overwritten.add(path)
                raise
        for each in list(self._unsynced_slices):
            yield partial(self._sync_slice, each)
            self._unsynced_slices.remove(each)
        tail = self.tail
        if tail is not None and self._unsynced:
            before, last, cuts = replace(tail), self.last, self._cuts
            try:
                yield partial(self._sync_slice, before)
            except StoreError:
                self._go_back()
                raise
            if cuts == self._cuts:
                self._synced(before, last)
        if self._directory_changed:
            self._directory_changed = False
            try:
                yield partial(self._files.sync_directory, self.directory)
            except StoreError:
                self._directory_changed = True
                raise

    def _sync_slice(self, which: Slice) -> None:
        self._sync_file(which.data_path)
        self._sync_file(which.index_path)

    def _sync_file(self, path: str) -> None:
        if self._files.exists(path):
            with self._pool.using(path, write=True) as file:
                file.sync()

    def _synced(self, tail: Slice, last: int) -> None:
        """All up to here is on the disk."""
        current = self.tail
        if current is None or current.number != tail.number:
            return
        self._synced_tail = tail
        self._synced_last = last
        self._unsynced = current.count != tail.count

    def _go_back(self) -> None:
        """Forget what was appended since the last good sync."""
        synced = self._synced_tail
        tail = self.tail
        if synced is None or tail is None:
            return
        self.slices[-1] = replace(synced)
        self._writer.begin(synced.data_end, synced.count, synced.size)
        self.last = self._synced_last
        self._torn = True

    # Removing.

    def drop_until(self, first: int) -> None:
        """Let go of every message before `first`."""
        first = min(first, self.last + 1)
        if first <= self.first:
            return
        self.first = first
        self._remove_dropped_slices()

    def _remove_dropped_slices(self) -> None:
        while len(self.slices) > 1 and self.slices[0].last < self.first:
            gone = self.slices[0]
            self._pool.discard(gone.data_path)
            self._pool.discard(gone.index_path)
            self._on_slice_gone(gone)
            del self.slices[0]
            self._directory_changed = True

    def remember_bounds(self) -> None:
        """Note in `removed.stan` where the channel begins and ends, where its slices do not tell."""
        self._removed.remember(self.first, self.last, [each for each in self.slices if each.count])

    def delete(self, sequences: Iterable[int]) -> None:
        """Make holes of messages, and overwrite them with fillers of their size."""
        for sequence in sorted(sequences):
            if not self.first <= sequence <= self.last:
                continue
            found = self.find(sequence)
            if found is not None:
                self._make_hole(sequence, *found)

    def set_aside(self, sequence: int) -> tuple[str, int, int, str] | None:
        """As `delete`, after a copy of the damaged record was made.

        Returns:
            File, begin and end of the record in it, path of the copy; None if there is no such message.
        """
        found = self.find(sequence)
        if found is None:
            return None
        where, offset, size, _ = found
        stop = offset + RECORD_HEADER_BYTES + size
        kept = keep_aside(self._files, where.data_path, offset, stop)
        self._make_hole(sequence, *found)
        return where.data_path, offset, stop, kept

    def _make_hole(self, sequence: int, where: Slice, offset: int, size: int, timestamp_ns: int) -> None:
        if sequence not in self._removed.table.holes:
            self._removed.add_holes(sequence, sequence + 1)
        message = filler_of_size(self.name, sequence, timestamp_ns, size)
        overwrite(self._files, self._checksum, where.data_path, offset, message)
        self._overwritten.add(where.data_path)

    # Finding.

    def locate(self, sequence: int) -> int:
        """Index in `slices` of the first slice that ends at or behind a sequence; their number if none does."""
        return bisect_left(self.slices, sequence, key=lambda each: each.last if each.count else 1 << 63)

    def find(self, sequence: int) -> tuple[Slice, int, int, int] | None:
        """Slice, offset, payload size and timestamp of a message that is in a slice, written to its file by then."""
        at = self.locate(sequence)
        if at == len(self.slices) or self.slices[at].first > sequence:
            return None
        where = self.slices[at]
        self.flush()
        entry = self.entry_of(where, sequence)
        run = IndexRun(self.entries(where, entry, 1))
        if run.keep_sound(self._checksum) == 0 or run.sequence_at(0) != sequence:
            return None
        return where, run.offset_at(0), run.size_at(0), run.timestamp_at(0)

    def entry_of(self, where: Slice, sequence: int) -> int:
        """The place in the index of the first message at or behind a sequence."""
        if where.is_dense:
            return max(0, sequence - where.first)
        low, high = 0, where.count
        while low < high:
            middle = (low + high) // 2
            if IndexRun(self.entries(where, middle, 1)).sequence_at(0) < sequence:
                low = middle + 1
            else:
                high = middle
        return low

    def entries(self, where: Slice, entry: int, count: int) -> bytes:
        """Index entries, from the file or, where they are not written yet, from memory; fewer at that border."""
        count = min(count, where.count - entry)
        written = self.written_count(where)
        if entry >= written:
            start, size = (entry - written) * INDEX_ENTRY_BYTES, count * INDEX_ENTRY_BYTES
            return bytes(memoryview(self._writer.index.data)[start : start + size])
        count = min(count, written - entry)
        with self._pool.using(where.index_path) as file:
            data = file.pread(FILE_HEADER_BYTES + entry * INDEX_ENTRY_BYTES, count * INDEX_ENTRY_BYTES)
        if len(data) != count * INDEX_ENTRY_BYTES:
            raise StoreError(f"read {where.index_path}: entry {entry} of channel {quoted(self.name)} is not there")
        return data

    def written_count(self, where: Slice) -> int:
        """How many entries of a slice are in its file."""
        return where.count - (self._writer.index.used // INDEX_ENTRY_BYTES if where is self.tail else 0)

    def gathered(self, where: Slice) -> tuple[bytes, int]:
        """The records of the growing slice that are not written yet, and where in its file they will begin."""
        data = self._writer.data
        return bytes(memoryview(data.data)[: data.used]), where.data_end - data.used
