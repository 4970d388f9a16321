"""Reads files of typed records: clients, subscriptions, what was removed; past damage if that is allowed.

The checksum covers a record's payload and not its type, so the type is checked by what the payload is: no
two types that differ by one bit have payloads that make sense for both, but for "sent" and "acked", where
what came before tells.

Source: stores specification, sections 2.2, 2.4, 2.5 and 2.9.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable

from nats_streaming.errors import CorruptionError, quoted
from nats_streaming.protocol.control_messages import ClientInfo, SubscriptionState, decode
from nats_streaming.protocol.protobuf import END as NO_MORE_FIELDS
from nats_streaming.protocol.protobuf import FIELD, LENGTH, VARINT, FieldReader
from nats_streaming.stores.file import clients_file, removed_log
from nats_streaming.stores.file.damage import Damage, all_zero, record_error
from nats_streaming.stores.file.file_io import File
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.record import (
    CUT,
    END,
    FILE_HEADER,
    FILE_HEADER_BYTES,
    PADDING,
    RECORD,
    RECORD_HEADER_BYTES,
    RecordScan,
    read_u32,
)
from nats_streaming.stores.file.record_log import make_file
from nats_streaming.stores.file.removed_log import RemovedTable
from nats_streaming.stores.file.subscription_log import ACKED, CHANGED, NEW, REMOVED, SENT, SubscriptionTable

Take = Callable[[RecordScan, int], str | None]
"""Takes one record over, which lies at an offset in the file; returns what is wrong with it, None if nothing is."""

_WINDOW_BYTES = 4 << 20  # of a file, in memory at a time
_SEARCH_BYTES = 64 << 20  # how far behind damage the next sound record is looked for at once


def read_typed_file(path: str, damage: Damage, kind_max: int, take: Take) -> tuple[int, bool]:
    """Read all records of a file; one that is not there is made.

    Args:
        path: of the file.
        damage: judges what is wrong.
        kind_max: types are 1 to this.
        take: called for each record.

    Returns:
        Bytes of the file, and whether it must be written anew from what was taken.

    Raises:
        CorruptionError: with `strict`.
    """
    if not damage.files.exists(path):
        make_file(damage.files, path, FILE_HEADER)
        return FILE_HEADER_BYTES, False
    file = damage.files.open_rw(path)
    try:
        reading = _Reading(path, file, damage, kind_max, take)
        mended = not damage.check_header(path, file)
        end, damaged = reading.records()
        return end, mended or damaged
    finally:
        file.close()


class _Reading:
    def __init__(self, path: str, file: File, damage: Damage, kind_max: int, take: Take) -> None:
        self.path = path
        self.file = file
        self.damage = damage
        self.kind_max = kind_max
        self.take = take
        self.size = file.size()
        self.base = FILE_HEADER_BYTES
        self.is_last = True
        self.damaged = False

    def records(self) -> tuple[int, bool]:
        """Where the records end, and whether they must be written anew; a part of the file is in memory at a time."""
        scan = self.window(FILE_HEADER_BYTES, _WINDOW_BYTES)
        while True:
            before = scan.position
            offset = self.base + before
            result = scan.next()
            if result == RECORD:
                error = self.take(scan, offset)
                if error is not None:
                    self.refuse_record(offset, self.base + scan.position, error)
                continue
            if result in (END, CUT) and not self.is_last:
                # The window ends here, not the file.
                scan = self.window(offset, _WINDOW_BYTES if before else 2 * len(scan.data))
                continue
            if result == END:
                return offset, self.damaged
            refuses = self.damage.refuses(self.path, offset)
            if result == PADDING and (refuses or self.is_zero_from(offset)):
                self.file.truncate(offset)
                return offset, self.damaged
            if refuses or (result == CUT and self.damage.options.truncate_bad_eof):
                error = self.damage.tell_record(self.path, self.file, offset, result, scan, True)
                if result != CUT or not self.damage.options.truncate_bad_eof:
                    raise CorruptionError(error)
                self.damage.cut_bad_end(self.path, self.file, offset)
                return offset, self.damaged
            following = self.find_next(scan, before)
            if following == len(scan.data) and not self.is_last and len(scan.data) < _SEARCH_BYTES:
                scan = self.window(offset, _SEARCH_BYTES)
                continue
            self.damaged = True
            stop = self.base + following
            reason = record_error(result, scan)
            if result == CUT and following == len(scan.data):
                self.damage.tell(
                    Severity.WARNING, f"Unexpected EOF for file {quoted(self.path)}", self.path, offset, stop
                )
            self.damage.keep(self.path, offset, stop, reason)
            scan.move(following)

    def window(self, offset: int, size: int) -> RecordScan:
        """What is in the file from `offset` on, `size` bytes of it."""
        self.base = offset
        data = self.file.pread(offset, max(0, min(size, self.size - offset)))
        self.is_last = offset + len(data) >= self.size
        return RecordScan(data, True, self.damage.checksum, self.damage.options.crc)

    def is_zero_from(self, offset: int) -> bool:
        while piece := self.file.pread(offset, _WINDOW_BYTES):
            if not all_zero(piece):
                return False
            offset += len(piece)
        return True

    def refuse_record(self, start: int, stop: int, error: str) -> None:
        """A record that is whole and makes no sense."""
        if self.damage.refuses(self.path, start):
            raise CorruptionError(error)
        self.damaged = True
        self.damage.keep(self.path, start, stop, error)

    def find_next(self, scan: RecordScan, at: int) -> int:
        """Where behind a damaged record the next sound one begins: first where its own size says."""
        data = scan.data
        if len(data) - at >= RECORD_HEADER_BYTES:
            natural = at + RECORD_HEADER_BYTES + (read_u32(data, at) & 0xFFFFFF)
            if natural <= len(data):
                scan.move(natural)
                if scan.next() in (RECORD, END):
                    return natural
        scan.move(at)
        return scan.resync(self.kind_max)


class ClientRecords:
    """Takes `clients.dat` over.

    Attributes:
        clients: by ID.
        removed: removals, as compaction counts them.
    """

    def __init__(self) -> None:
        self.clients: dict[bytes, ClientInfo] = {}
        self.removed = 0

    def take(self, scan: RecordScan, _offset: int) -> str | None:
        payload = scan.data[scan.start : scan.stop]
        if scan.kind not in (clients_file.ADDED, clients_file.REMOVED):
            return f"invalid client record type: {scan.kind}"
        info = decode(ClientInfo, payload)
        if info is None or not info.id:
            return "the client record cannot be decoded"
        if scan.kind == clients_file.ADDED:
            self.clients[info.id] = info
        else:
            self.clients.pop(info.id, None)
            self.removed += 1
        return None


class SubscriptionRecords:
    """Takes `subs.dat` over; `strict` believes every type, as the original does.

    Attributes:
        table: what the records amount to.
        mended: a record was taken for what it must have been.
    """

    def __init__(self, damage: Damage, path: str) -> None:
        self.table = SubscriptionTable()
        self.mended = False
        self._repeated = array("q")  # offsets
        self._damage = damage
        self._path = path

    def take(self, scan: RecordScan, offset: int) -> str | None:
        kind = scan.kind
        if kind in (SENT, ACKED):
            return self._take_pair(scan, offset)
        if kind in (NEW, CHANGED):
            return self._take_state(scan)
        if kind == REMOVED:
            return self._take_removal(scan)
        return f"unexpected record type: {kind}"

    def tell_repeated(self) -> None:
        """Call at the end: what a replay has written twice is told in one line."""
        if self._repeated:
            first = self._repeated[0]
            text = f"{len(self._repeated)} records of what was sent or acked say nothing new, as after a crash"
            text = f"File {quoted(self._path)}: {text}; the first one is at offset {first}"
            self._damage.tell(Severity.INFO, text, self._path, first)

    def _take_state(self, scan: RecordScan) -> str | None:
        state = decode(SubscriptionState, scan.data[scan.start : scan.stop])
        if state is None:
            return "the subscription record cannot be decoded"
        if not self._damage.strict and (state.id == 0 or not (state.inbox or state.ack_inbox or state.client_id)):
            return f"a subscription record of type {scan.kind} that describes none"
        if scan.kind == NEW:
            # A second one of the same ID replaces the first with all it had.
            self.table.stored.pop(state.id, None)
        self.table.put(state)
        return None

    def _take_removal(self, scan: RecordScan) -> str | None:
        values = _removal(scan.data, scan.start, scan.stop)
        if values is None or (values[1] and not self._damage.strict):
            return "the removal of a subscription cannot be decoded"
        self.table.remove(values[0])
        return None

    def _take_pair(self, scan: RecordScan, offset: int) -> str | None:
        if not scan.pair():
            return "a sent or acked record cannot be decoded"
        stored = self.table.stored.get(scan.first_value)
        if stored is None:
            return None
        sequence = scan.second_value
        kind = scan.kind
        if kind == ACKED and sequence not in stored.pending and not self._damage.strict:
            if sequence > stored.state.last_sent:
                # It was never sent: only the type's lowest bit differs from "sent".
                kind = SENT
                self.mended = True
                self._tell(Severity.ERROR, scan, offset, "acked before it was sent, taken as sent")
            else:
                self._repeated.append(offset)
        elif kind == SENT and sequence in stored.pending:
            self._repeated.append(offset)
        if kind == ACKED:
            stored.pending.discard(sequence)
            self.table.freed += 1
            return None
        stored.pending.add(sequence)
        stored.state.last_sent = max(stored.state.last_sent, sequence)
        self.table.records += 1
        return None

    def _tell(self, severity: Severity, scan: RecordScan, offset: int, what: str) -> None:
        message = f"message {scan.second_value} of subscription {scan.first_value}"
        text = f"File {quoted(self._path)}, offset {offset}: {message} {what}"
        self._damage.tell(severity, text, self._path, offset)


def _removal(data: bytes, start: int, stop: int) -> tuple[int, bool] | None:
    """The subscription ID of a type 3 record, and whether it has more than that."""
    reader = FieldReader()
    reader.open(data, start, stop)
    subscription_id, more = 0, False
    while (result := reader.next_field()) == FIELD:
        if reader.number == 1:
            if reader.wire != VARINT:
                return None
            subscription_id = reader.value
        else:
            more = more or reader.wire in (VARINT, LENGTH)
    return (subscription_id, more) if result == NO_MORE_FIELDS else None


def read_removed(directory: str, damage: Damage) -> tuple[RemovedTable, int, bool]:
    """Read `removed.stan`: what is in it, its bytes (0 if there is none), whether it must be written anew."""
    table = RemovedTable()
    path = os.path.join(directory, removed_log.FILE_NAME)
    if not damage.files.exists(path):
        return table, 0, False

    def take(scan: RecordScan, _offset: int) -> str | None:
        sound = table.take(scan.kind, scan.data[scan.start : scan.stop])
        return None if sound else f"record type {scan.kind} cannot be decoded"

    size, damaged = read_typed_file(path, damage, removed_log.KIND_MAX, take)
    return table, size, damaged
