"""The bytes of a journal file: header and frames, written and found again. Knows no files.

file    := header frame* end
header  := "STANJRNL" version(u32) first(u64) crc(u32 of the 20 bytes before)
frame   := length(u32) crc(u32 of length, number and payload) number(u64) payload
payload := one batch (stores.batch)                                    integers little-endian
end     := zeros, version 1; or a head of zeros and then anything, version 2: a file that is used again
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
VERSION_AGAIN: Final = 2

_HEADER = struct.Struct("<8sIQI")
_FRAME = struct.Struct("<IIQ")
_CHECKED = struct.Struct("<IQ")

_KEEP_BYTES = 1 << 21  # of a frame: rarely is a batch larger

HEADER_BYTES: Final = _HEADER.size
FRAME_HEAD_BYTES: Final = _FRAME.size
_NO_HEAD = bytes(FRAME_HEAD_BYTES)


class Batch(NamedTuple):
    """One committed batch as it lies in the journal."""

    number: int
    payload: bytes


def header(first: int, *, again: bool = False) -> bytes:
    """The beginning of a file whose frames count from `first`; `again` if others, below that, may lie behind them."""
    checked = struct.pack("<8sIQ", MAGIC, VERSION_AGAIN if again else VERSION, first)
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
        self._buffer.put(_NO_HEAD)
        return self._buffer

    def finish(self, number: int) -> memoryview:
        """The frame and behind it a head of zeros, which are there until the next one begins."""
        size = self._buffer.used
        self._buffer.put(_NO_HEAD)
        content = memoryview(self._buffer.data)[: self._buffer.used]
        payload = content[FRAME_HEAD_BYTES:size]
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
    if version not in (VERSION, VERSION_AGAIN):
        raise CorruptionError(f"journal version {version} is not known here (supports {VERSION} and {VERSION_AGAIN})")
    return int(first)


def is_used_again(content: bytes) -> bool:
    """Whether frames of another time may lie behind those of a file; False as well when it has no header."""
    return first_of(content) > 0 and int(_HEADER.unpack_from(content)[1]) == VERSION_AGAIN


def length_at(head: bytes) -> int:
    """The length of the payload that a head announces; of one that is cut off, as if zeros followed."""
    return int(_FRAME.unpack(head.ljust(_FRAME.size, b"\0"))[0])


def frame_at(view: memoryview, position: int, least: int = 0) -> Batch | None:
    """The frame at `position`, None when there is no whole and sound one with the number `least` or a higher one."""
    if len(view) - position < _FRAME.size:
        return None
    length, crc, number = _FRAME.unpack_from(view, position)
    start = position + _FRAME.size
    if number == 0 or number < least or length > len(view) - start:
        return None
    payload = view[start : start + length]
    return Batch(number, bytes(payload)) if _crc(number, payload) == crc else None


def find_frame(content: bytes, view: memoryview, position: int, least: int) -> int:
    """Where the next sound frame with the number `least` or a higher one begins at `position` or later, -1 if none."""
    while True:
        payload = content.find(BATCH_MAGIC, position + _FRAME.size)
        if payload < 0:
            return -1
        position = payload - _FRAME.size
        if frame_at(view, position, least) is not None:
            return position
        position += 1
