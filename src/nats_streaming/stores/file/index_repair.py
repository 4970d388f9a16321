"""Mends index entries that were damaged while the server runs; at a start `slice_recovery` rebuilds whole indexes.

An entry says no more than its record does, but for where that record is. So from the last sound entry before it
the records are walked over. Where a record is damaged too, the next sound entry says where it ends: then the entry
says so, and the message is treated like any other damaged one.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import StoreError, quoted
from nats_streaming.stores.file.file_io import File, Files
from nats_streaming.stores.file.index import IndexRun
from nats_streaming.stores.file.quarantine import keep_aside
from nats_streaming.stores.file.record import (
    FILE_HEADER_BYTES,
    INDEX_ENTRY_BYTES,
    RECORD,
    RECORD_HEADER_BYTES,
    Checksum,
    MessageScan,
    RecordScan,
    put_index_entry,
    read_u32,
)
from nats_streaming.stores.file.slices import Slice, index_size

_WALK_BYTES_MAX = 64 << 20  # records walked over for one damaged entry


def mend_entry(files: Files, checksum: Checksum, which: Slice, entry: int, written: int) -> str:
    """Write an index entry anew; under the channel's lock.

    Args:
        files: what reaches the file system.
        checksum: of records and entries.
        which: the slice, whose data is written.
        entry: which one is damaged.
        written: entries in the file.

    Returns:
        Path of the copy that was kept of the damaged one.

    Raises:
        StoreError: it cannot be found out what was in it.
    """
    index = files.open_rw(which.index_path)
    try:
        data = files.open_read(which.data_path)
        try:
            fresh = _Walk(checksum, which, index, data, written).entry(entry)
        finally:
            data.close()
        start = index_size(entry)
        kept = keep_aside(files, which.index_path, start, start + INDEX_ENTRY_BYTES)
        index.pwrite(start, fresh)
        index.sync()
    finally:
        index.close()
    return kept


class _Walk:
    def __init__(self, checksum: Checksum, which: Slice, index: File, data: File, written: int) -> None:
        self.checksum = checksum
        self.which = which
        self.index = index
        self.data = data
        self.written = written

    def entry(self, wanted: int) -> bytes:
        before = wanted - 1
        known = None
        while before >= 0 and (known := self.sound(before)) is None:
            before -= 1
        position, last, timestamp_ns = FILE_HEADER_BYTES, 0, self.which.first_timestamp_ns
        if known is not None:
            position = known.offset_at(0) + RECORD_HEADER_BYTES + known.size_at(0)
            last, timestamp_ns = known.sequence_at(0), known.timestamp_at(0)
        following = self.sound(wanted + 1) if wanted + 1 < self.written else None
        stop = following.offset_at(0) if following is not None else self.data.size()
        begun = position
        message = MessageScan(self.checksum)
        number = before
        while position < stop and position - begun < _WALK_BYTES_MAX:
            size = read_u32(self.data.pread(position, 4).ljust(4, b"\0"), 0)
            end = position + RECORD_HEADER_BYTES + size
            if end > stop:
                break
            scan = RecordScan(self.data.pread(position, end - position), False, self.checksum, True)
            if scan.next() != RECORD or not message.decode(scan.data, scan.start, scan.stop):
                break
            if message.sequence > last:  # others are records that the index passes over
                last, timestamp_ns, number = message.sequence, message.timestamp_ns, number + 1
                if number == wanted:
                    return self.encoded(last, position, timestamp_ns, size)
            position = end
        is_bounded = following is not None or wanted + 1 == self.written
        if number == wanted - 1 and is_bounded and self.which.is_dense:
            return self.encoded(
                self.which.first + wanted, position, timestamp_ns, stop - position - RECORD_HEADER_BYTES
            )
        raise StoreError(
            f"file {quoted(self.which.index_path)}: entry {wanted} is damaged, and so is the data it speaks of;"
            " a restart builds the index anew"
        )

    def sound(self, entry: int) -> IndexRun | None:
        run = IndexRun(self.index.pread(index_size(entry), INDEX_ENTRY_BYTES))
        return run if run.keep_sound(self.checksum) else None

    def encoded(self, sequence: int, offset: int, timestamp_ns: int, size: int) -> bytes:
        out = ByteBuffer(INDEX_ENTRY_BYTES)
        put_index_entry(out, sequence, offset, timestamp_ns, size, self.checksum)
        return out.take()
