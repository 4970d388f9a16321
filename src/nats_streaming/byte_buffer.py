"""A growing run of bytes that the data plane writes into.

Everything that leaves the process, and every stored message, is written into one of
these: no bytes object per message. Knows nothing of any protocol.
"""

from __future__ import annotations

_KEEP_BYTES = 1 << 20


class ByteBuffer:
    """Bytes written so far are `data[:used]`; what lies behind is spare room.

    `data` may be replaced by any writing method: fetch it again after each call.
    """

    def __init__(self, capacity: int = 256) -> None:
        """
        Args:
            capacity: bytes of room to begin with, at least 1.
        """
        self.data = bytearray(capacity)
        self.used = 0

    def reserve(self, count: int) -> None:
        """Make room for `count` more bytes behind `used`; at least doubles when it must grow."""
        need = self.used + count
        have = len(self.data)
        if need > have:
            # A new object and not a resize: somebody may hold a view of the old one. Repeated, since zeros that are
            # then written over would cost another walk over fresh memory.
            times = 2
            if need > 2 * have and have > 0:
                times = (need + have - 1) // have
            self.data = self.data * times if have > 0 else bytearray(need)

    def put(self, source: bytes) -> None:
        """Append all of `source`."""
        self.put_slice(source, 0, len(source))

    def put_slice(self, source: bytes | bytearray, start: int, stop: int) -> None:
        """Append `source[start:stop]`; the bounds must lie inside `source`."""
        count = stop - start
        if self.used + count > len(self.data):
            self.reserve(count)
        out = self.data
        view = source
        used = self.used
        for index in range(count):
            out[used + index] = view[start + index]
        self.used = used + count

    def put_byte(self, value: int) -> None:
        """Append one byte, 0 to 255."""
        if self.used + 1 > len(self.data):
            self.reserve(1)
        out = self.data
        out[self.used] = value
        self.used += 1

    def put_varint(self, value: int) -> None:
        """Append an unsigned 64-bit integer as a base-128 varint (1 to 10 bytes)."""
        if self.used + 10 > len(self.data):
            self.reserve(10)
        out = self.data
        used = self.used
        rest = value
        while rest >= 0x80:
            out[used] = (rest & 0x7F) | 0x80
            rest >>= 7
            used += 1
        out[used] = rest
        self.used = used + 1

    def put_varints(self, values: list[int]) -> None:
        """Append each value as `put_varint` does."""
        for value in values:
            self.put_varint(value)

    def put_decimal(self, value: int) -> None:
        """Append a non-negative integer in decimal digits."""
        if self.used + 20 > len(self.data):
            self.reserve(20)
        out = self.data
        digits = 1
        rest = value
        while rest >= 10:
            rest = rest // 10
            digits += 1
        at = self.used + digits
        self.used = at
        rest = value
        while digits > 0:
            at -= 1
            out[at] = 48 + rest % 10
            rest = rest // 10
            digits -= 1

    def put_buffer(self, other: ByteBuffer) -> None:
        """Append everything that `other` holds."""
        self.put_slice(other.data, 0, other.used)

    def shrink(self) -> None:
        """Give the spare room back."""
        # A new object and not a resize: somebody may hold a view of the old one.
        self.data = self.data[: self.used]

    def truncate(self, used: int) -> None:
        """Forget the bytes from `used` on; `used` must not lie behind what is written."""
        self.used = used

    def take(self) -> bytes:
        """Return what was written and begin anew, giving back the room of a rare large burst."""
        taken = bytes(self.data[: self.used])
        self.used = 0
        if len(self.data) > _KEEP_BYTES:
            self.data = bytearray(_KEEP_BYTES)
        return taken

    def view(self) -> bytes:
        """A copy of what was written, for people and tests."""
        return bytes(self.data[: self.used])


def varint_size(value: int) -> int:
    """Bytes that `value` (unsigned, 64 bits) takes as a varint, 1 to 10."""
    size = 1
    rest = value
    while rest >= 0x80:
        rest >>= 7
        size += 1
    return size
