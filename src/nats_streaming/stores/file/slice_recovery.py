"""Finds out what a pair of slice files holds: from the index where that is sound, else from the data.

    index sound and its last entry true ──▶ totals of the index; then what lies behind it in the data
    otherwise ─────────────────────────▶ every record of the data; damaged ones are kept aside, and fillers
                                          written over them where messages are known to be missing

Source: stores specification, section 2.9.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import CorruptionError, quoted
from nats_streaming.stores.file.damage import Damage, all_zero, record_error
from nats_streaming.stores.file.file_io import File
from nats_streaming.stores.file.filler import filler, filler_of_size
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.index import DAMAGED, DISORDERED, SOUND, ZEROS, IndexScan
from nats_streaming.stores.file.record import (
    CUT,
    END,
    FILE_HEADER,
    FILE_HEADER_BYTES,
    INDEX_ENTRY_BYTES,
    PADDING,
    RECORD,
    RECORD_HEADER_BYTES,
    MessageScan,
    RecordScan,
    put_record,
    read_u32,
)
from nats_streaming.stores.file.removed_log import RemovedTable
from nats_streaming.stores.file.slices import Slice, index_size

_INDEX_CHUNK_BYTES = INDEX_ENTRY_BYTES << 15
_WINDOW_BYTES = 4 << 20
_SEARCH_BYTES_MAX = 256 << 20  # how far behind damage the next sound record is looked for
_NEW_SUFFIX = ".new"


@dataclass(slots=True)
class RecoveredSlice:
    """A slice, and what of it lives.

    Attributes:
        slice: without messages (`count` 0) when nothing was found.
        live_count, live_bytes: messages that are neither dropped nor holes, and their payloads' bytes.
        lost_last: the highest sequence that was there once and is not any more, 0 if none is known.
    """

    slice: Slice
    live_count: int = 0
    live_bytes: int = 0
    lost_last: int = 0


@dataclass(slots=True)
class SliceRecovery:
    """Of one channel's slices, one after the other.

    Attributes:
        channel: its name.
        damage: what is told and raised.
        removed: what is gone; holes are added.
        new_holes: the added ones, which are not in `removed.stan` yet: first and stop.
        opened: path of the file opened last, for the original's error texts.
    """

    channel: bytes
    damage: Damage
    removed: RemovedTable
    new_holes: list[tuple[int, int]] = field(default_factory=list)
    opened: str = ""

    def recover(self, which: Slice, has_index: bool) -> RecoveredSlice:
        """Find out what the files hold, and mend them.

        Args:
            which: without anything but its place; filled in.
            has_index: whether its index file is there.

        Raises:
            CorruptionError: with `strict`.
        """
        files = self.damage.files
        self.opened = which.data_path
        data = files.open_rw(which.data_path)
        try:
            if not self.damage.check_header(which.data_path, data):
                _write_header(data)
            self.opened = which.index_path
            return self._recover(which, data, has_index)
        finally:
            data.close()

    def _recover(self, which: Slice, data: File, has_index: bool) -> RecoveredSlice:
        scan = self._new_scan()
        lost_last = 0
        if has_index:
            error = self._read_index(which, data, scan)
            if error is None and scan.count:
                return self._read_tail(which, data, scan)
            lost_last = scan.last
            if error:
                text = f"Error with index file {quoted(which.index_path)}: {error}."
                text += " Truncating and recovering from data file"
                self.damage.tell(Severity.ERROR, text, which.index_path)
        scan = self._rebuild(which, data)
        found = self._found(which, scan)
        if lost_last > scan.last:
            found.lost_last = lost_last
            lost = _range(scan.last + 1 if scan.last else 0, lost_last)
            self.damage.tell(Severity.ERROR, f"File {quoted(which.data_path)}: {lost} lost", which.data_path)
        return found

    def _new_scan(self) -> IndexScan:
        return IndexScan(self.damage.checksum, self.removed.dropped_until(), self.removed.holes.flat())

    def _found(self, which: Slice, scan: IndexScan) -> RecoveredSlice:
        which.first, which.last = scan.first, scan.last
        which.count, which.size = scan.count, scan.size
        which.first_timestamp_ns, which.last_timestamp_ns = scan.first_timestamp_ns, scan.last_timestamp_ns
        return RecoveredSlice(which, scan.live_count, scan.live_bytes)

    def count_again(self, which: Slice, count: int) -> RecoveredSlice:
        """Let a slice end after so many of its messages; its files stay as they are."""
        scan = self._new_scan()
        index = self.damage.files.open_read(which.index_path)
        try:
            scan.feed(index.pread(FILE_HEADER_BYTES, count * INDEX_ENTRY_BYTES))
        finally:
            index.close()
        return self._found(which, scan)

    # By the index.

    def _read_index(self, which: Slice, data: File, scan: IndexScan) -> str | None:
        """Walk over the index; returns why it cannot be used, "" if it was told already, None if it can."""
        path = which.index_path
        index = self.damage.files.open_rw(path)
        try:
            if not self.damage.check_header(path, index):
                return ""
            offset, size = FILE_HEADER_BYTES, index.size()
            result = SOUND
            while result == SOUND and offset < size:
                before = offset
                result = scan.feed(index.pread(offset, min(_INDEX_CHUNK_BYTES, size - offset)))
                offset = index_size(scan.count)
                if offset == before:
                    break
            if result == ZEROS:
                self._cut_zeros(path, index, offset)
            elif result == DAMAGED:
                return f"corrupted data, expected crc to be 0x{scan.stored:08x}, got 0x{scan.computed:08x}"
            elif result == DISORDERED:
                return f"entry {scan.count} does not follow the one before"
            elif size != offset:
                return "unexpected EOF"
        finally:
            index.close()
        error = self._verify_last(which, data, scan) if scan.count else None
        if error is not None:
            error = f"Verification of last message for file {quoted(which.data_path)} failed: {error}"
            self.damage.tell(Severity.ERROR, error, which.data_path, scan.last_offset)
        elif scan.count:
            error = self._verify_unsafe(which, data, scan)
        return error

    def _cut_zeros(self, path: str, index: File, offset: int) -> None:
        """The original ends at zeros; so do we, but not silently if there is more behind them."""
        rest = index.pread(offset, index.size() - offset)
        if not all_zero(rest) and not self.damage.strict:
            self.damage.keep(path, offset, offset + len(rest), "index entries behind zeros", Severity.WARNING)
        index.truncate(offset)
        index.sync()

    def _verify_last(self, which: Slice, data: File, scan: IndexScan) -> str | None:
        """Whether the last entry's message is where it says; None if it is."""
        record = data.pread(scan.last_offset, RECORD_HEADER_BYTES + scan.last_size)
        found = read_u32(record, 0) if len(record) >= RECORD_HEADER_BYTES else 0
        if len(record) == 0:
            return "unable to read last record: EOF"
        if len(record) >= RECORD_HEADER_BYTES and found != scan.last_size:
            return f"unable to read last record: expected record size to be {scan.last_size} bytes, got {found} bytes"
        records = RecordScan(record, False, self.damage.checksum, True)
        result = records.next()
        if result != RECORD:
            return f"unable to read last record: {record_error(result, records)}"
        message = MessageScan(self.damage.checksum)
        if not message.decode(record, records.start, records.stop):
            return "error decoding message: unexpected EOF"
        if message.sequence != scan.last:
            return f"last message sequence in index is {scan.last}, data file is {message.sequence}"
        return None

    def _verify_unsafe(self, which: Slice, data: File, scan: IndexScan) -> str | None:
        """The records before the last one that a crash may have torn: a strict server mends none when it reads them."""
        damage = self.damage
        if not damage.options.strict or damage.mended_from is None:
            return None
        position = max(damage.mended_from(which.data_path), FILE_HEADER_BYTES)
        end = scan.last_offset + RECORD_HEADER_BYTES + scan.last_size
        window = _WINDOW_BYTES
        while position < end:
            records = RecordScan(data.pread(position, min(window, end - position)), False, damage.checksum, True)
            result = records.next()
            while result == RECORD:
                result = records.next()
            if result == CUT and records.position == 0 and window < end - position:
                needed = RECORD_HEADER_BYTES + read_u32(data.pread(position, 4).ljust(4, b"\0"), 0)
                if not window < needed <= end - position:
                    return f"unable to read record at offset {position}: {record_error(result, records)}"
                window = needed
            elif result == END or (result == CUT and records.position > 0):
                position += records.position
                window = _WINDOW_BYTES
            else:
                return f"unable to read record at offset {position + records.position}: {record_error(result, records)}"
        return None

    def _read_tail(self, which: Slice, data: File, scan: IndexScan) -> RecoveredSlice:
        """What lies in the data file behind the last entry's record."""
        end = scan.last_offset + RECORD_HEADER_BYTES + scan.last_size
        size = data.size()
        if size == end or self.damage.strict:
            # The original leaves what is there alone and appends behind it.
            which.data_end = size
            return self._found(which, scan)
        found = MessageScan(self.damage.checksum)
        which.data_end = self._scan_data(which.data_path, data, end, found, scan.last, has_index=True)
        entries, skipped = _entries_behind(found, scan.last)
        if entries:
            index = self.damage.files.open_append(which.index_path)
            try:
                index.write(entries)
                index.sync()
            finally:
                index.close()
            scan = self._feed_again(scan, entries)
            count = len(entries) // INDEX_ENTRY_BYTES
            text = f"File {quoted(which.data_path)}: {count} messages behind the last one of the index were recovered"
            self.damage.tell(Severity.WARNING, text, which.data_path, end, size)
        if skipped:
            text = f"File {quoted(which.data_path)}: {skipped} records that the index passes over are ignored"
            self.damage.tell(Severity.INFO, text, which.data_path, end, size)
        return self._found(which, scan)

    def _feed_again(self, scan: IndexScan, entries: bytes) -> IndexScan:
        """Go on with entries that were found later; holes may have come to them."""
        scan.renew_holes(self.removed.holes.flat())
        scan.feed(entries)
        return scan

    # By the data.

    def _rebuild(self, which: Slice, data: File) -> IndexScan:
        """Write the index anew from the data file."""
        files = self.damage.files
        found = MessageScan(self.damage.checksum)
        try:
            which.data_end = self._scan_data(which.data_path, data, FILE_HEADER_BYTES, found, 0, has_index=False)
        except CorruptionError:
            # As the original: an index that is not there is built again at the next start.
            files.unlink(which.index_path)
            raise
        fresh = files.open_new(which.index_path + _NEW_SUFFIX)
        try:
            fresh.write(FILE_HEADER)
            fresh.write(memoryview(found.index.data)[: found.index.used])
            fresh.sync()
        finally:
            fresh.close()
        files.rename(which.index_path + _NEW_SUFFIX, which.index_path)
        files.sync_directory(which.directory)
        scan = self._new_scan()
        scan.feed(found.index.take())
        return scan

    def _scan_data(
        self, path: str, data: File, position: int, found: MessageScan, last: int, *, has_index: bool
    ) -> int:
        """Collect the messages from `position` on, past damage; returns where the sound part of the file ends.

        Args:
            path: of the data file.
            data: that file.
            position: where a record begins.
            found: what they are put into.
            last: sequence of the message before.
            has_index: what is damaged is not known to have been stored for good.
        """
        size = data.size()
        window = _WINDOW_BYTES
        while position < size:
            records = RecordScan(data.pread(position, window), False, self.damage.checksum, self.damage.options.crc)
            result = found.take(records, position)
            position += records.position
            if result == END:
                continue
            if result == CUT and position + len(records.data) - records.position < size:
                # The window ends here, not the file.
                word = read_u32(data.pread(position, 4).ljust(4, b"\0"), 0)
                if position + RECORD_HEADER_BYTES + word <= size:
                    window = max(_WINDOW_BYTES, RECORD_HEADER_BYTES + word)
                    continue
            window = _WINDOW_BYTES
            if result == PADDING and self._is_zero_from(data, position, size):
                data.truncate(position)
                data.sync()
                return position
            before = max(found.last, last)
            following = self._pass_damage(path, data, position, result, records, found, before, has_index)
            if following is None:
                return position
            position = following
        return position

    def _pass_damage(
        self,
        path: str,
        data: File,
        position: int,
        result: int,
        records: RecordScan,
        found: MessageScan,
        last: int,
        has_index: bool,
    ) -> int | None:
        """Keep a damaged record aside; returns where the next sound one begins, None if the file was cut here."""
        damage = self.damage
        size = data.size()
        if damage.refuses(path, position) or (damage.options.truncate_bad_eof and result == CUT):
            if result == PADDING:
                data.truncate(position)
                return None
            error = damage.tell_record(path, data, position, result, records, False)
            if result != CUT or not damage.options.truncate_bad_eof:
                raise CorruptionError(error)
            damage.cut_bad_end(path, data, position)
            return None
        following, sequence, timestamp_ns = self._find_next(data, position, size, last)
        severity = Severity.WARNING if has_index else Severity.ERROR
        reason = record_error(result, records)
        if following is None:
            if result == CUT:
                damage.tell(severity, f"Unexpected EOF for file {quoted(path)}", path, position, size)
            damage.keep(path, position, size, reason, severity)
            data.truncate(position)
            data.sync()
            return None
        missing = sequence - last - 1 if last else 0
        lost = f"; {_range(last + 1, sequence - 1)} lost" if missing else ""
        damage.keep(path, position, following, reason + lost, severity)
        if missing:
            self._fill(data, position, following, last + 1, missing, timestamp_ns, found)
        return following

    def _is_zero_from(self, data: File, position: int, size: int) -> bool:
        while position < size:
            piece = data.pread(position, _WINDOW_BYTES)
            if not piece or not all_zero(piece):
                return not piece
            position += len(piece)
        return True

    def _find_next(self, data: File, position: int, size: int, last: int) -> tuple[int | None, int, int]:
        """Where behind `position` the next sound message with a higher sequence begins, with sequence and timestamp.

        The place that the damaged record's own size names comes first: a message may carry bytes that look
        like a record.
        """
        rest = data.pread(position, min(size - position, _SEARCH_BYTES_MAX))
        records = RecordScan(rest, False, self.damage.checksum, True)
        message = MessageScan(self.damage.checksum)
        if len(rest) >= RECORD_HEADER_BYTES:
            natural = RECORD_HEADER_BYTES + read_u32(rest, 0)
            if RECORD_HEADER_BYTES < natural < len(rest) and self._is_next(records, message, natural, last):
                return position + natural, message.sequence, message.timestamp_ns
        at = 0
        while True:
            records.move(at)
            at = records.resync(0)
            if at >= len(rest):
                return None, 0, 0
            if self._is_next(records, message, at, last):
                return position + at, message.sequence, message.timestamp_ns

    def _is_next(self, records: RecordScan, message: MessageScan, at: int, last: int) -> bool:
        records.move(at)
        return (
            records.next() == RECORD
            and message.decode(records.data, records.start, records.stop)
            and message.sequence > last
        )

    def _fill(
        self, data: File, start: int, stop: int, first: int, count: int, timestamp_ns: int, found: MessageScan
    ) -> None:
        """Write fillers over damaged bytes, if they fit exactly, so that any server can read the file again."""
        out = ByteBuffer(stop - start)
        for sequence in range(first, first + count - 1):
            put_record(out, 0, filler(self.channel, sequence, timestamp_ns), self.damage.checksum)
            if out.used + RECORD_HEADER_BYTES >= stop - start:
                return
        rest = stop - start - out.used - RECORD_HEADER_BYTES
        final = filler_of_size(self.channel, first + count - 1, timestamp_ns, rest) if rest > 0 else None
        if final is None:
            return
        put_record(out, 0, final, self.damage.checksum)
        content = out.take()
        data.pwrite(start, content)
        data.sync()
        found.take(RecordScan(content, False, self.damage.checksum, False), start)
        self.removed.holes.add(first, first + count)
        self.new_holes.append((first, first + count))


def _write_header(data: File) -> None:
    data.pwrite(0, FILE_HEADER)
    data.sync()


def _entries_behind(found: MessageScan, last: int) -> tuple[bytes, int]:
    """The entries with sequences above `last`, and how many were left out."""
    entries = found.index.take()
    skipped = 0
    while skipped * INDEX_ENTRY_BYTES < len(entries):
        at = skipped * INDEX_ENTRY_BYTES
        if int.from_bytes(entries[at : at + 8], "little") > last:
            break
        skipped += 1
    return entries[skipped * INDEX_ENTRY_BYTES :], skipped


def _range(first: int, last: int) -> str:
    if first == last:
        return f"message {last} is"
    return f"messages {first} to {last} are" if first else f"messages up to {last} are"
