"""The bytes of the files: records, index records, checksums; one message at a time without an object for it.

Every file begins with a header, then records follow. All integers are little-endian.

    file   := u32 version = 1, record*
    record := u32 word, u32 crc, payload          word: size of the payload (messages, server), or
                                                  type << 24 | size (clients, subscriptions)
    index  := u32 version = 1, entry*
    entry  := u64 sequence, i64 offset, i64 timestamp, u32 size, u32 crc     32 bytes
              offset: of the record's header in the data file; size: of its payload; crc: of the 28 bytes before

`crc` is a CRC-32 of the payload alone. A header of zeros is padding: nothing follows. Knows no file.

Source: stores specification, sections 2.2 and 2.6.
"""

from __future__ import annotations

import zlib
from array import array
from functools import cache

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.protobuf import FieldReader

FILE_VERSION = 1
FILE_HEADER = b"\x01\x00\x00\x00"
FILE_HEADER_BYTES = 4
RECORD_HEADER_BYTES = 8
INDEX_ENTRY_BYTES = 32
MESSAGE_OVERHEAD_BYTES = RECORD_HEADER_BYTES + INDEX_ENTRY_BYTES
RECORD_BYTES_MAX = 0xFFFFFF  # of a typed record's payload

# How reading one record ended.
END = 0
RECORD = 1
PADDING = 2
CUT = 3
BAD_CRC = 4
BAD_CONTENT = 5

# The compiled code uses C integers of its own: a typed module variable cannot be imported.
_END, _RECORD, _PADDING, _CUT, _BAD_CRC, _BAD_CONTENT = 0, 1, 2, 3, 4, 5
_HEADER, _ENTRY, _OVERHEAD = 8, 32, 40
_LENGTH_KEYS, _FIELD, _FIELD_END = 2, 1, 0
_ALL_BITS = 0xFFFFFFFF
_ZLIB_BYTES_MIN = 4096
_COMPILED = not __file__.endswith(".py")


@cache
def _tables(polynomial: int) -> array[int]:
    """What a byte does to the checksum, followed by 0 to 7 others."""
    tables = array("I", bytes(4 * 8 * 256))
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
        tables[octet] = crc
    for position in range(256, 8 * 256):
        crc = tables[position - 256]
        tables[position] = (crc >> 8) ^ tables[crc & 0xFF]
    return tables


class Checksum:
    """CRC-32 with a reflected polynomial; both xors are 0xFFFFFFFF, as in zlib.

    Attributes:
        polynomial: 1 to 0xFFFFFFFF.
        standard: it is zlib's.
    """

    def __init__(self, polynomial: int) -> None:
        self.polynomial = polynomial
        self.standard = polynomial == 0xEDB88320
        self.tables = _tables(polynomial)

    def of(self, data: bytes | bytearray, start: int, stop: int) -> int:
        """The checksum of `data[start:stop]`, which must be there."""
        if self.standard and (not _COMPILED or stop - start >= _ZLIB_BYTES_MIN):
            return zlib.crc32(memoryview(data)[start:stop])
        return crc_of(self.tables, data, start, stop)


def crc_of(tables: array[int], view: bytes | bytearray, start: int, stop: int) -> int:
    """The checksum of `view[start:stop]`: eight bytes a step, each with a table for how far it is from its end."""
    crc = _ALL_BITS
    position = start
    while stop - position >= 8:
        word = view[position + 3]
        word = word << 8 | view[position + 2]
        word = word << 8 | view[position + 1]
        word = word << 8 | view[position]
        word ^= crc
        crc = (
            tables[0x700 + (word & 0xFF)]
            ^ tables[0x600 + (word >> 8 & 0xFF)]
            ^ tables[0x500 + (word >> 16 & 0xFF)]
            ^ tables[0x400 + (word >> 24)]
            ^ tables[0x300 + view[position + 4]]
            ^ tables[0x200 + view[position + 5]]
            ^ tables[0x100 + view[position + 6]]
            ^ tables[view[position + 7]]
        )
        position += 8
    while position < stop:
        crc = tables[(crc ^ view[position]) & 0xFF] ^ (crc >> 8)
        position += 1
    return crc ^ _ALL_BITS


def put_u32(out: ByteBuffer, value: int) -> None:
    """Append an unsigned 32-bit integer."""
    out.reserve(4)
    write_u32(out.data, out.used, value)
    out.used += 4


def write_u32(view: bytearray, at: int, value: int) -> None:
    for index in range(4):
        view[at + index] = value >> (8 * index) & 0xFF


def write_u64(view: bytearray, at: int, value: int) -> None:
    """An integer, signed or not."""
    for index in range(8):
        view[at + index] = value >> (8 * index) & 0xFF


def read_u32(data: bytes | bytearray, at: int) -> int:
    """An unsigned 32-bit integer; its bytes must be there."""
    view = data
    value = view[at + 3]
    value = value << 8 | view[at + 2]
    value = value << 8 | view[at + 1]
    return value << 8 | view[at]


def read_u64(data: bytes | bytearray, at: int) -> int:
    """A 64-bit integer that must not be negative in a sound file; its bytes must be there."""
    high = read_u32(data, at + 4)
    return high << 32 | read_u32(data, at)


def put_record(out: ByteBuffer, kind: int, payload: bytes, checksum: Checksum) -> None:
    """Append a record.

    Args:
        out: where to.
        kind: its type, 0 for an untyped one.
        payload: for a typed one at most RECORD_BYTES_MAX bytes.
        checksum: of the payload.
    """
    put_u32(out, kind << 24 | len(payload))
    put_u32(out, checksum.of(payload, 0, len(payload)))
    out.put(payload)


def put_index_entry(
    out: ByteBuffer, sequence: int, offset: int, timestamp_ns: int, size: int, checksum: Checksum
) -> None:
    """Append the index entry of a message whose record lies at `offset` and has `size` bytes of payload."""
    out.reserve(_ENTRY)
    view = out.data
    at = out.used
    write_u64(view, at, sequence)
    write_u64(view, at + 8, offset)
    write_u64(view, at + 16, timestamp_ns)
    write_u32(view, at + 24, size)
    write_u32(view, at + 28, crc_of(checksum.tables, view, at, at + 28))
    out.used = at + _ENTRY


def put_pairs(out: ByteBuffer, kind: int, subscription_id: int, sequences: list[int], checksum: Checksum) -> None:
    """Append one record of `kind` for each sequence: 1 subscription ID u64, 2 sequence u64 (SubStateUpdate)."""
    for sequence in sequences:
        start = out.used
        out.reserve(_HEADER)
        out.used = start + _HEADER
        out.put_byte(0x08)
        out.put_varint(subscription_id)
        out.put_byte(0x10)
        out.put_varint(sequence)
        stop = out.used
        crc = crc_of(checksum.tables, out.data, start + _HEADER, stop)
        write_u32(out.data, start, kind << 24 | (stop - start - _HEADER))
        write_u32(out.data, start + 4, crc)


class RecordScan:
    """A cursor over records in memory, header of the file excluded.

    After `next` has returned RECORD: its payload lies at `data[start:stop]`, `kind` is its type.
    After anything else `position` is where the record that could not be read begins; `stored` and
    `computed` are the two checksums of BAD_CRC.
    """

    def __init__(self, data: bytes, typed: bool, checksum: Checksum, check: bool) -> None:
        """
        Args:
            data: what is read.
            typed: the word holds a type.
            checksum: of the payloads.
            check: whether the checksum counts.
        """
        self.data = data
        self.view = data
        self.limit = len(data)
        self.typed = typed
        self.checksum = checksum
        self.check = check
        self.position = 0
        self.kind = 0
        self.start = 0
        self.stop = 0
        self.stored = 0
        self.computed = 0
        self.first_value = 0
        self.second_value = 0
        self.reader = FieldReader()

    def move(self, position: int) -> None:
        """Go on at `position`, at most the end."""
        self.position = position

    def next(self) -> int:
        """Read the record at `position` and move behind it."""
        if self.position == self.limit:
            return _END
        if self.limit - self.position < _HEADER:
            return _CUT
        word = read_u32(self.data, self.position)
        self.stored = read_u32(self.data, self.position + 4)
        if word == 0 and self.stored == 0:
            return _PADDING
        size = word & 0xFFFFFF if self.typed else word
        start = self.position + _HEADER
        if size > self.limit - start:
            return _CUT
        if self.check:
            self.computed = self.checksum.of(self.data, start, start + size)
            if self.computed != self.stored:
                return _BAD_CRC
        self.kind = word >> 24 if self.typed else 0
        self.start = start
        self.stop = start + size
        self.position = start + size
        return _RECORD

    def pair(self) -> bool:
        """Decode the payload as 1 u64, 2 u64 into `first_value`, `second_value`; False if it is anything else."""
        reader = self.reader
        reader.open(self.data, self.start, self.stop)
        self.first_value = 0
        self.second_value = 0
        while True:
            result = reader.next_field()
            if result != _FIELD:
                return result == _FIELD_END
            if reader.wire != 0 or reader.number > 2:
                return False
            if reader.number == 1:
                self.first_value = reader.value
            else:
                self.second_value = reader.value

    def resync(self, kind_max: int) -> int:
        """Where behind `position` the next sound record begins; the end if there is none.

        Args:
            kind_max: types are 1 to this; 0 for untyped records, whose payload must begin like a message's.
        """
        view = self.view
        at = self.position + 1
        while self.limit - at > _HEADER:
            word = read_u32(self.data, at)
            size = word & 0xFFFFFF if self.typed else word
            kind = word >> 24 if self.typed else 0
            start = at + _HEADER
            plausible = 1 <= kind <= kind_max if self.typed else view[start] == 0x08
            if (
                plausible
                and size > 0
                and size <= self.limit - start
                and self.checksum.of(self.data, start, start + size) == read_u32(self.data, at + 4)
            ):
                return at
            at += 1
        return self.limit


class MessageScan:
    """Rebuilds the index of a data file from its records.

    Attributes:
        index: entries found so far, in the order of their sequences.
        count, size: of them, the size as it counts for slices.
        first, last, first_timestamp_ns, last_timestamp_ns: of them.
        sequence, timestamp_ns: what `decode` found.
    """

    def __init__(self, checksum: Checksum) -> None:
        self.checksum = checksum
        self.index = ByteBuffer(4096)
        self.reader = FieldReader()
        self.count = 0
        self.size = 0
        self.first = 0
        self.last = 0
        self.first_timestamp_ns = 0
        self.last_timestamp_ns = 0
        self.sequence = 0
        self.timestamp_ns = 0

    def decode(self, data: bytes, start: int, stop: int) -> bool:
        """Find sequence and timestamp of a MsgProto; False if it is none or has no sequence."""
        reader = self.reader
        reader.open(data, start, stop)
        self.sequence = 0
        self.timestamp_ns = 0
        while True:
            result = reader.next_field()
            if result != _FIELD:
                return result == _FIELD_END and self.sequence > 0
            if reader.number == 1:
                if reader.wire != 0 or reader.value > 0x7FFFFFFFFFFFFFFF:
                    return False
                self.sequence = reader.value
            elif reader.number == 5:
                if reader.wire != 0 or reader.value > 0x7FFFFFFFFFFFFFFF:
                    return False
                self.timestamp_ns = reader.value
            elif 2 <= reader.number <= 4 and reader.wire != _LENGTH_KEYS:
                return False

    def take(self, scan: RecordScan, base: int) -> int:
        """Take records over until one cannot be read; returns how that one ended, as RecordScan.next.

        A sequence that comes again replaces what was there from it on: the earlier records were never
        in the index.

        Args:
            scan: over untyped records.
            base: where its data begins in the file.
        """
        while True:
            before = scan.position
            result = scan.next()
            if result != _RECORD:
                return result
            if not self.decode(scan.data, scan.start, scan.stop):
                scan.position = before
                return _BAD_CONTENT
            while self.count > 0 and self.last >= self.sequence:
                self.pop()
            size = scan.stop - scan.start
            put_index_entry(self.index, self.sequence, base + before, self.timestamp_ns, size, self.checksum)
            if self.count == 0:
                self.first = self.sequence
                self.first_timestamp_ns = self.timestamp_ns
            self.count += 1
            self.size += size + _OVERHEAD
            self.last = self.sequence
            self.last_timestamp_ns = self.timestamp_ns

    def pop(self) -> None:
        """Take back the last entry."""
        at = self.index.used - _ENTRY
        self.size -= read_u32(self.index.data, at + 24) + _OVERHEAD
        self.index.truncate(at)
        self.count -= 1
        if self.count > 0:
            self.last = read_u64(self.index.data, at - _ENTRY)
            self.last_timestamp_ns = read_u64(self.index.data, at - _ENTRY + 16)
        else:
            self.last = 0
            self.last_timestamp_ns = 0
