"""The bytes of a journal file: header and frames, written and found again. Knows no files.

file    := header frame* zeros
header  := "STANJRNL" version(u32) first(u64) crc(u32 of the 20 bytes before)
frame   := length(u32) crc(u32 of length, number and payload) number(u64) payload
payload := one batch (stores.batch)                                    integers little-endian
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import CorruptionError
from nats_streaming.stores.batch import MAGIC as BATCH_MAGIC

MAGIC: Final = b"STANJRNL"
VERSION: Final = 1

_HEADER = struct.Struct("<8sIQI")
_FRAME = struct.Struct("<IIQ")
_CHECKED = struct.Struct("<IQ")

_KEEP_BYTES = 1 << 21  # of a frame: rarely is a batch larger

HEADER_BYTES: Final = _HEADER.size
FRAME_HEAD_BYTES: Final = _FRAME.size


class Batch(NamedTuple):
    """One committed batch as it lies in the journal."""

    number: int
    payload: bytes


def header(first: int) -> bytes:
    """The beginning of a file whose frames count from `first`."""
    checked = struct.pack("<8sIQ", MAGIC, VERSION, first)
    return checked + struct.pack("<I", zlib.crc32(checked))


def frame(number: int, payload: bytes) -> bytes:
    """One frame, ready to be written."""
    return _FRAME.pack(len(payload), _crc(number, payload), number) + payload


class FrameWriter:
    """Makes one frame after the other, in the same place: fresh memory costs more than what is written there."""

    def __init__(self) -> None:
        self._buffer = ByteBuffer(1024)

    def begin(self) -> ByteBuffer:
        """Begin a frame; what is appended to the buffer returned is its payload."""
        if len(self._buffer.data) > _KEEP_BYTES:
            self._buffer = ByteBuffer(1024)
        self._buffer.truncate(0)
        self._buffer.put(bytes(FRAME_HEAD_BYTES))
        return self._buffer

    def finish(self, number: int) -> memoryview:
        """The frame, until the next one begins."""
        content = memoryview(self._buffer.data)[: self._buffer.used]
        payload = content[FRAME_HEAD_BYTES:]
        _FRAME.pack_into(content, 0, len(payload), _crc(number, payload), number)
        return content


def _crc(number: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), number)))


def first_of(content: bytes) -> int:
    """The number in a header, 0 when it is none that we know."""
    if len(content) < _HEADER.size:
        return 0
    magic, version, first, crc = _HEADER.unpack_from(content)
    if magic != MAGIC or crc != zlib.crc32(content[: _HEADER.size - 4]):
        return 0
    if version != VERSION:
        raise CorruptionError(f"journal version {version} is not known here (supports {VERSION})")
    return int(first)


def frame_at(view: memoryview, position: int) -> Batch | None:
    """The frame at `position`, None when there is no whole and sound one."""
    if len(view) - position < _FRAME.size:
        return None
    length, crc, number = _FRAME.unpack_from(view, position)
    start = position + _FRAME.size
    if number == 0 or length > len(view) - start:
        return None
    payload = view[start : start + length]
    return Batch(number, bytes(payload)) if _crc(number, payload) == crc else None


def find_frame(content: bytes, view: memoryview, position: int, expected: int) -> int:
    """Where the next sound frame begins at `position` or later, -1 when none does."""
    while True:
        payload = content.find(BATCH_MAGIC, position + _FRAME.size)
        if payload < 0:
            return -1
        position = payload - _FRAME.size
        batch = frame_at(view, position)
        if batch is not None and batch.number >= expected:
            return position
        position += 1
