"""Protocol Buffers wire format: one field after the other, nothing allocated.

Knows varints, lengths and how to skip; knows no message. Values out of bounds are
refused while they are read, never wrapped.

Source: Protocol Buffers encoding, wire types 0, 1, 2, 3/4 (skipped), 5. What is refused
(field number 0, varints over 10 bytes, a group end alone) follows the original's decoder.
"""

from __future__ import annotations

# Wire types.
VARINT = 0
FIXED64 = 1
LENGTH = 2
GROUP_START = 3
GROUP_END = 4
FIXED32 = 5

# Results of next_field().
END = 0
FIELD = 1
MALFORMED = -1

# The compiled code uses C integers of its own: a typed module variable cannot be imported.
_VARINT, _FIXED64, _LENGTH, _GROUP_START, _GROUP_END, _FIXED32 = 0, 1, 2, 3, 4, 5
_END, _FIELD, _MALFORMED = 0, 1, -1
_GROUP_DEPTH_MAX = 64


class FieldReader:
    """A cursor over one encoded message.

    After `next_field()` has returned FIELD: `number` and `wire` name the field; a varint or
    fixed field has its bits in `value`; a length-delimited one lies at `data[start:stop]`.
    """

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.view: bytes | bytearray = self.data
        self.position = 0
        self.limit = 0
        self.number = 0
        self.wire = 0
        self.value = 0
        self.start = 0
        self.stop = 0

    def open(self, data: bytes | bytearray, start: int, stop: int) -> None:
        """Begin at `data[start:stop]`; `data` must not change its size while it is read."""
        self.data = data
        self.view = data
        self.position = start
        self.limit = stop

    def next_field(self) -> int:
        """Read one field: FIELD, END when all is read, MALFORMED when it is no valid message."""
        if self.position >= self.limit:
            return _END
        if not self.read_varint():
            return _MALFORMED
        key = self.value
        # 29 bits of field number, 3 of wire type.
        if key > 0xFFFFFFFF or key < 8:
            return _MALFORMED
        self.number = key >> 3
        self.wire = key & 7
        return self.read_value()

    def read_value(self) -> int:
        """Read what follows a key: the value into `value`, or its bounds into `start`, `stop`."""
        if self.wire == _VARINT:
            return _FIELD if self.read_varint() else _MALFORMED
        if self.wire == _LENGTH:
            if not self.read_varint():
                return _MALFORMED
            length = self.value
            remaining = self.limit - self.position
            if length > remaining:
                return _MALFORMED
            self.start = self.position
            self.position += length
            self.stop = self.position
            return _FIELD
        if self.wire == _FIXED32:
            return self.read_fixed(4)
        if self.wire == _FIXED64:
            return self.read_fixed(8)
        if self.wire == _GROUP_START:
            return self.skip_group()
        return _MALFORMED

    def read_varint(self) -> bool:
        """Read up to 10 bytes into `value`; False when there is no whole varint."""
        view = self.view
        position = self.position
        limit = self.limit
        result = 0
        shift = 0
        while position < limit and shift < 64:
            octet = view[position]
            position += 1
            bits = octet & 0x7F
            if shift == 63:
                bits &= 1  # only one bit of the tenth byte fits into 64
            result |= bits << shift
            if octet < 0x80:
                self.position = position
                self.value = result
                return True
            shift += 7
        return False

    def skip(self, count: int) -> None:
        """Move behind `count` bytes that the caller has read itself; they must be there."""
        self.position += count

    def read_fixed(self, size: int) -> int:
        if self.limit - self.position < size:
            return _MALFORMED
        view = self.view
        result = 0
        for index in range(size):
            octet = view[self.position + index]
            result |= octet << (8 * index)
        self.value = result
        self.position += size
        return _FIELD

    def skip_group(self) -> int:
        """Skip to the end of a group, nested ones included; its number stays in `number`."""
        number = self.number
        depth = 1
        while depth > 0:
            if self.position >= self.limit or not self.read_varint():
                return _MALFORMED
            key = self.value
            if key > 0xFFFFFFFF or key < 8:
                return _MALFORMED
            self.wire = key & 7
            if self.wire == _GROUP_START:
                depth += 1
                if depth > _GROUP_DEPTH_MAX:
                    return _MALFORMED
            elif self.wire == _GROUP_END:
                depth -= 1
            elif self.read_value() != _FIELD:
                return _MALFORMED
        self.number = number
        self.wire = _GROUP_START
        return _FIELD


def to_signed(value: int) -> int:
    """The 64 bits of a varint as a signed integer."""
    return value - 0x10000000000000000 if value >> 63 else value


def to_signed32(value: int) -> int:
    """The low 32 bits of a varint as a signed integer, as an int32 field reads them."""
    low = value & 0xFFFFFFFF
    return low - 0x100000000 if low >> 31 else low
