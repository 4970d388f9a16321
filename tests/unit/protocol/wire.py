"""Protobuf bytes made by hand, right and wrong, and a slow, plain reader of them to compare with."""

from __future__ import annotations

from hypothesis import strategies as st

VARINT, FIXED64, LENGTH, GROUP_START, GROUP_END, FIXED32 = range(6)
GROUP_DEPTH_MAX = 64

Field = tuple[int, int, int | bytes | None]
"""Number, wire type, value: an integer, bytes, or None for a group."""


def varint(value: int, width: int = 0) -> bytes:
    """A varint, stretched to `width` bytes if that is more than it needs."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    while len(encoded) < width:
        encoded[-1] |= 0x80
        encoded.append(0)
    return bytes(encoded)


def key(number: int, wire: int, width: int = 0) -> bytes:
    return varint(number << 3 | wire, width)


def length_delimited(number: int, value: bytes) -> bytes:
    return key(number, LENGTH) + varint(len(value)) + value


def varint_field(number: int, value: int) -> bytes:
    return key(number, VARINT) + varint(value & 0xFFFFFFFFFFFFFFFF)


class Malformed(Exception):
    """No valid message."""


class _Reference:
    """Written for reading, with slices and exceptions: nothing in common with the reader under test."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, count: int) -> bytes:
        if count > len(self.rest):
            raise Malformed
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def varint(self) -> int:
        value = 0
        for position in range(10):
            (octet,) = self.take(1)
            value |= (octet & 0x7F) << (7 * position)
            if octet < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF
        raise Malformed

    def key(self) -> tuple[int, int]:
        number, wire = divmod(self.varint(), 8)
        if not 1 <= number < 1 << 29:
            raise Malformed
        return number, wire

    def value(self, wire: int, depth: int) -> int | bytes | None:
        if wire == VARINT:
            return self.varint()
        if wire == FIXED64:
            return int.from_bytes(self.take(8), "little")
        if wire == FIXED32:
            return int.from_bytes(self.take(4), "little")
        if wire == LENGTH:
            return self.take(self.varint())
        if wire == GROUP_START and depth <= GROUP_DEPTH_MAX:
            while True:
                _, inner = self.key()
                if inner == GROUP_END:
                    return None
                self.value(inner, depth + 1)
        raise Malformed


def reference_fields(data: bytes) -> list[Field] | None:
    """Every field of a message, None when it is none."""
    reader = _Reference(data)
    found: list[Field] = []
    try:
        while reader.rest:
            number, wire = reader.key()
            found.append((number, wire, reader.value(wire, 1)))
    except Malformed:
        return None
    return found


# Strategies.

NUMBERS = st.one_of(st.integers(1, 16), st.sampled_from([100, 2**28, 2**29 - 1]))
UINT64 = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1), st.sampled_from([2**31, 2**32, 2**63, 2**64 - 1]))


def scalar_fields(numbers: st.SearchStrategy[int] = NUMBERS) -> st.SearchStrategy[bytes]:
    """One well-formed field that is no group."""
    return st.one_of(
        st.builds(lambda number, value: varint_field(number, value), numbers, UINT64),
        st.builds(length_delimited, numbers, st.binary(max_size=40)),
        st.builds(lambda number, value: key(number, FIXED32) + value, numbers, st.binary(min_size=4, max_size=4)),
        st.builds(lambda number, value: key(number, FIXED64) + value, numbers, st.binary(min_size=8, max_size=8)),
    )


def _group(number: int, inner: list[bytes]) -> bytes:
    return key(number, GROUP_START) + b"".join(inner) + key(number, GROUP_END)


def fields(numbers: st.SearchStrategy[int] = NUMBERS) -> st.SearchStrategy[bytes]:
    """One well-formed field, also a group of them."""
    return st.recursive(
        scalar_fields(numbers), lambda inner: st.builds(_group, numbers, st.lists(inner, max_size=3)), max_leaves=4
    )


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """What `whole` gives, often cut, changed or lengthened somewhere."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                data[at] = draw(st.sampled_from([0, 0x7F, 0x80, 0xFF]))
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=11))
    return bytes(data)


def messages() -> st.SearchStrategy[bytes]:
    """A whole message of any fields."""
    return st.lists(fields(), max_size=6).map(b"".join)
