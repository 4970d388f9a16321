"""The bytes of a journal file: header and frames, written and found again. Knows no files.

file    := header zeros(up to 4096) header frame* end
header  := "STANJRNL" version(u32) first(u64) salt(u64) again(u32, 0 or 1) crc(u32 of the 32 bytes before)
frame   := length(u32) crc(u32 of length, number and payload, begun with salt) number xor salt(u64) payload
payload := one batch (stores.batch)                                    integers little-endian
end     := zeros; if again, a head of zeros and then anything: the file had served before

The salt is random, one for each file. So nothing that lies in a file from earlier, and nothing that somebody put into
a message, is ever taken for a frame. There are two headers, on two pages, because without a salt all frames are lost.

Version 1 had one header, without salt and again, and frames right behind it as if the salt were 0.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Final, NamedTuple

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import CorruptionError
from nats_streaming.stores.batch import MAGIC as BATCH_MAGIC

MAGIC: Final = b"STANJRNL"
VERSION: Final = 2

_HEADER = struct.Struct("<8sIQQII")
_HEADER_1 = struct.Struct("<8sIQI")
_FRAME = struct.Struct("<IIQ")
_CHECKED = struct.Struct("<IQ")

_KEEP_BYTES = 1 << 21  # of a frame: rarely is a batch larger
_PAGE_BYTES = 4096
_ALL_BITS = 0xFFFFFFFF

HEADER_BYTES: Final = _PAGE_BYTES + _HEADER.size
FRAME_HEAD_BYTES: Final = _FRAME.size
_NO_HEAD = bytes(FRAME_HEAD_BYTES)


class Batch(NamedTuple):
    """One committed batch as it lies in the journal."""

    number: int
    payload: bytes


class Header(NamedTuple):
    """What the beginning of a file says.

    Attributes:
        first: the frames count from here.
        salt: of this file.
        again: other bytes may lie behind the frames.
        end: where the frames begin.
        is_whole: False: one of the two was damaged.
    """

    first: int
    salt: int
    again: bool
    end: int
    is_whole: bool


def new_salt() -> int:
    """Unlike any before."""
    return int.from_bytes(os.urandom(8), "little") | 1


def header(first: int, salt: int, *, again: bool = False) -> bytes:
    """The beginning of a file; see `Header`."""
    one = _HEADER.pack(MAGIC, VERSION, first, salt, again, 0)[:-4]
    one += struct.pack("<I", zlib.crc32(one))
    return one.ljust(_PAGE_BYTES, b"\0") + one


def header_of(content: bytes) -> Header | None:
    """The header of a file that begins with `content`, None when there is none that can be read.

    Raises:
        CorruptionError: it is of a version that is not known here.
    """
    first_version = _header_1(content)
    if first_version is not None:
        return first_version
    found = [each for at in (0, _PAGE_BYTES) if (each := _header_at(content, at)) is not None]
    if not found:
        return None
    first, salt, again = found[0]
    return Header(first, salt, bool(again), HEADER_BYTES, len(found) == 2)


def _header_1(content: bytes) -> Header | None:
    if len(content) < _HEADER_1.size:
        return None
    magic, version, first, crc = _HEADER_1.unpack_from(content)
    if magic != MAGIC or version != 1 or crc != zlib.crc32(content[: _HEADER_1.size - 4]):
        return None
    return Header(first, 0, False, _HEADER_1.size, True)


def _header_at(content: bytes, at: int) -> tuple[int, int, int] | None:
    if len(content) - at < _HEADER.size:
        return None
    magic, version, first, salt, again, crc = _HEADER.unpack_from(content, at)
    if magic != MAGIC or crc != zlib.crc32(content[at : at + _HEADER.size - 4]):
        return None
    if version != VERSION:
        raise CorruptionError(f"journal version {version} is not known here (supports 1 and {VERSION})")
    return first, salt, again


def frame(number: int, payload: bytes, salt: int) -> bytes:
    """One frame, ready to be written."""
    return _FRAME.pack(len(payload), _crc(number, payload, salt), number ^ salt) + payload


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

    def finish(self, number: int, salt: int) -> memoryview:
        """The frame and behind it a head of zeros, which are there until the next one begins."""
        size = self._buffer.used
        self._buffer.put(_NO_HEAD)
        content = memoryview(self._buffer.data)[: self._buffer.used]
        payload = content[FRAME_HEAD_BYTES:size]
        _FRAME.pack_into(content, 0, len(payload), _crc(number, payload, salt), number ^ salt)
        return content


def _crc(number: int, payload: bytes | memoryview, salt: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), number), salt & _ALL_BITS))


def length_at(head: bytes) -> int:
    """The length of the payload that a head announces; of one that is cut off, as if zeros followed."""
    return int(_FRAME.unpack(head.ljust(_FRAME.size, b"\0"))[0])


def frame_at(view: memoryview, position: int, expected: int, salt: int) -> Batch | None:
    """The frame at `position`, None when there is no whole and sound one with the number `expected` or a later one."""
    left = len(view) - position - _FRAME.size
    if left < 0:
        return None
    length, crc, masked = _FRAME.unpack_from(view, position)
    number = masked ^ salt
    # What is missing before it has been somewhere.
    if not expected <= number <= expected + position // _FRAME.size or length > left:
        return None
    start = position + _FRAME.size
    payload = view[start : start + length]
    return Batch(number, bytes(payload)) if _crc(number, payload, salt) == crc else None


def find_frame(content: bytes, view: memoryview, position: int, expected: int, salt: int) -> int:
    """Where the next frame that `frame_at` finds begins, at `position` or later; -1 if none does."""
    while True:
        payload = content.find(BATCH_MAGIC, position + _FRAME.size)
        if payload < 0:
            return -1
        position = payload - _FRAME.size
        if frame_at(view, position, expected, salt) is not None:
            return position
        position += 1
