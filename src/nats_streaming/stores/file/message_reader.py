"""Reading the messages of one channel: a run of them with one read of the index and one of the data.

The reads themselves are done without the channel's lock, so that nobody waits for them. If one goes wrong
it may be because a slice was removed or a message overwritten meanwhile: then it is done again under it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from nats_streaming.errors import StoreError, quoted
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.findings import CorruptMessageError
from nats_streaming.stores.file.index import IndexRun, first_difference
from nats_streaming.stores.file.message_log import MessageLog
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.record import RECORD_HEADER_BYTES, Checksum
from nats_streaming.stores.file.removed_log import RangeSet, RemovedLog
from nats_streaming.stores.file.slices import Slice, index_size
from nats_streaming.stores.segment import SEGMENT_SLOTS, Segment


class _Run:
    """What is to be read: entries of one slice and, if they are still in memory, their records."""

    __slots__ = ("base", "data", "index", "path", "skip")

    def __init__(self, where: Slice, index: IndexRun, data: bytes | None, base: int, skip: bytes) -> None:
        self.path = where.data_path
        self.index = index
        self.data = data
        self.base = base
        self.skip = skip


class MessageReader:
    """Gives messages back. Thread-safe with the lock it is handed."""

    def __init__(
        self,
        log: MessageLog,
        removed: RemovedLog,
        options: FileOptions,
        pool: FilePool,
        checksum: Checksum,
        lock: AbstractContextManager[object],
    ) -> None:
        """
        Args:
            log: whose messages.
            removed: what is gone of them.
            options: checked ones.
            pool: where open files are kept.
            checksum: of records.
            lock: of the channel; may be taken twice by the same thread.
        """
        self._log = log
        self._removed = removed
        self._options = options
        self._pool = pool
        self._checksum = checksum
        self._lock = lock

    def read(self, first: int, count: int) -> Segment | None:
        """See `ChannelFiles.read`."""
        try:
            return self._read(first, count, self._lock)
        except StoreError:
            with self._lock:
                return self._read(first, count, nullcontext())

    def _read(self, first: int, count: int, lock: AbstractContextManager[object]) -> Segment | None:
        segment = Segment(first)
        slots_max = min(max(count, 1), SEGMENT_SLOTS)
        with lock:
            run = self._plan(segment, slots_max)
        if run is None:
            return segment if len(segment) else None
        index = run.index
        data, base, entries = run.data, run.base, index.count
        if data is None:
            entries = index.entries_within(self._options.read_buffer_size)
            base = index.offset_at(0)
            end = index.offset_at(entries - 1) + RECORD_HEADER_BYTES + index.size_at(entries - 1)
            with self._pool.using(run.path) as file:
                data = file.pread(base, end - base)
        bad = index.fill(segment, entries, slots_max, data, base, run.skip, self._checksum, self._options.crc)
        if bad >= 0 and len(segment) == 0:
            raise self._corrupt(run.path, index, bad, data, base)
        return segment

    def _plan(self, segment: Segment, slots_max: int) -> _Run | None:
        """Put the holes before the first message into the segment; None when that is all."""
        log = self._log
        wanted = segment.base
        if wanted > log.last or log.first > log.last:
            return None
        at = log.locate(max(wanted, log.first))
        where = log.slices[at] if at < len(log.slices) and log.slices[at].count else None
        if where is None:
            return None
        begin = max(wanted, log.first, where.first)
        put_holes(segment, min(begin - wanted, slots_max), where.first_timestamp_ns if begin == where.first else 0)
        slots = slots_max - len(segment)
        if slots == 0:
            return None
        entry = log.entry_of(where, begin)
        index = IndexRun(log.entries(where, entry, slots))
        if index.keep_sound(self._checksum) == 0:
            raise _damaged_entry(where, entry)
        if entry >= log.written_count(where):
            return _Run(where, index, *log.gathered(where), self._skip(index))
        return _Run(where, index, None, 0, self._skip(index))

    def _skip(self, index: IndexRun) -> bytes:
        """Per entry whether its message is a hole; empty if none is."""
        first, last = index.sequence_at(0), index.sequence_at(index.count - 1)
        holes = list(self._removed.table.holes.within(first, last + 1))
        if not holes:
            return b""
        skip = bytearray(index.count)
        if last - first + 1 == index.count:
            for start, stop in holes:
                skip[start - first : stop - first] = b"\1" * (stop - start)
        else:
            for entry in range(index.count):
                skip[entry] = index.sequence_at(entry) in self._removed.table.holes
        return bytes(skip)

    def _corrupt(self, path: str, index: IndexRun, entry: int, data: bytes, base: int) -> CorruptMessageError:
        sequence, offset, size = index.sequence_at(entry), index.offset_at(entry), index.size_at(entry)
        at = offset - base
        header = data[at : at + RECORD_HEADER_BYTES]
        found = int.from_bytes(header[:4], "little")
        if len(header) < RECORD_HEADER_BYTES or len(data) - at - RECORD_HEADER_BYTES < size:
            reason = "unexpected EOF"
        elif found != size:
            reason = f"expected size to be {size}, got {found}"
        else:
            start = at + RECORD_HEADER_BYTES
            stored = int.from_bytes(header[4:], "little")
            computed = self._checksum.of(data, start, start + size)
            reason = f"corrupted data, expected crc to be 0x{stored:08x}, got 0x{computed:08x}"
            if stored == computed:
                reason = f"expected message {sequence}, got another one"
        return CorruptMessageError(f"file {quoted(path)} at offset {offset}: {reason}", path, offset, sequence)

    def first_difference(self, given: Segment, first: int, last: int, lost: RangeSet) -> int:
        """Where messages that come again are not what is stored; under the lock.

        Args:
            given: what came.
            first, last: which of it; not behind the last one stored.
            lost: holes that damage has left, so that what comes now is welcome.

        Returns:
            The first sequence to store anew, `last + 1` if there is none.
        """
        sequence = max(first, self._log.first)
        while sequence <= last:
            try:
                mine = self._read(sequence, last - sequence + 1, nullcontext())
            except CorruptMessageError:
                mine = None
            if mine is None:
                mine = Segment(sequence)
                mine.append(b"", 0)
            stop = min(last, sequence + len(mine) - 1)
            sequence = first_difference(mine, given, sequence, stop)
            if sequence <= stop:
                if sequence not in self._removed.table.holes or sequence in lost:
                    return sequence
                sequence += 1
        return last + 1

    def find_time(self, timestamp_ns: int) -> int:
        """See `ChannelFiles.find_time`; under the lock."""
        log = self._log
        for where in log.slices:
            if not where.count or where.last < log.first or where.last_timestamp_ns < timestamp_ns:
                continue
            low, high = 0, where.count - 1
            while low < high:
                middle = (low + high) // 2
                if self._entry(where, middle).timestamp_at(0) < timestamp_ns:
                    low = middle + 1
                else:
                    high = middle
            return max(log.first, self._entry(where, low).sequence_at(0))
        return log.last + 1

    def _entry(self, where: Slice, entry: int) -> IndexRun:
        run = IndexRun(self._log.entries(where, entry, 1))
        if run.keep_sound(self._checksum) == 0:
            raise _damaged_entry(where, entry)
        return run


def _damaged_entry(where: Slice, entry: int) -> CorruptMessageError:
    offset = index_size(entry)
    text = f"file {quoted(where.index_path)} at offset {offset}: entry {entry} is damaged"
    return CorruptMessageError(text, where.index_path, offset, where.first + entry if where.is_dense else 0)


def put_holes(segment: Segment, count: int, timestamp_ns: int) -> None:
    for _ in range(count):
        segment.append(b"", timestamp_ns)
