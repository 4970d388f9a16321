"""Messages that stand where there is none: the Go server knows no holes and stops delivering at one.

It fills gaps with empty messages itself. We do the same, note the hole in `removed.stan`, and use fillers
of an exact size to overwrite a message that is deleted or damaged, so that every record around it stays
where the index says. The size is made up by a field 15 that no reader of MsgProto knows.

    filler := MsgProto { 1 sequence, 2 subject, 5 timestamp, 15 zeros }

Source: stores specification, section 2.6 (gaps).
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.record import RECORD_HEADER_BYTES, Checksum, put_record

_PADDING_KEY = 15 << 3 | 2


def filler(channel: bytes, sequence: int, timestamp_ns: int) -> bytes:
    """The filler as the original writes it."""
    out = ByteBuffer(32 + len(channel))
    out.put_byte(1 << 3)
    out.put_varint(sequence)
    if channel:
        out.put_byte(2 << 3 | 2)
        out.put_varint(len(channel))
        out.put(channel)
    if timestamp_ns:
        out.put_byte(5 << 3)
        out.put_varint(timestamp_ns)
    return out.take()


def filler_of_size(channel: bytes, sequence: int, timestamp_ns: int, size: int) -> bytes | None:
    """A filler of exactly `size` bytes, leaving out what does not fit; None if not even the sequence does."""
    for message in (
        filler(channel, sequence, timestamp_ns),
        filler(b"", sequence, timestamp_ns),
        filler(b"", sequence, 0),
    ):
        missing = size - len(message)
        if missing == 0:
            return message
        if missing > 1:
            return message + _padding(missing)
    return None


def overwrite(files: Files, checksum: Checksum, path: str, offset: int, message: bytes | None) -> None:
    """Put a filler, if there is one, over the record that lies at `offset`."""
    if message is None:
        return
    record = ByteBuffer(RECORD_HEADER_BYTES + len(message))
    put_record(record, 0, message, checksum)
    file = files.open_rw(path)
    try:
        file.pwrite(offset, memoryview(record.data)[: record.used])
    finally:
        file.close()


def _padding(size: int) -> bytes:
    """Fields of together `size` bytes, at least 2."""
    out = ByteBuffer(size)
    content = size - 2
    while content > 0 and 1 + _varint_bytes(content) + content > size:
        content -= 1
    out.put_byte(_PADDING_KEY)
    out.put_varint(content)
    out.put(bytes(content))
    rest = size - out.used
    # Where a longer length would be one byte too much, two fields fit.
    if rest == 1:
        return _padding(size - 2) + _padding(2)
    return out.take()


def _varint_bytes(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)
