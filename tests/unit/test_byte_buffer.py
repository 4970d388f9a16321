"""The growing buffer that everything is written into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.byte_buffer import ByteBuffer, varint_size
from tests.unit.protocol.wire import varint

UINT64_MAX = 2**64 - 1
EDGES = sorted({0, 1, 9, 10, *(2**power + step for power in range(7, 64) for step in (-1, 0)), UINT64_MAX})


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**32, b"\x80\x80\x80\x80\x10"),
        (2**63, b"\x80" * 9 + b"\x01"),
        (UINT64_MAX, b"\xff" * 9 + b"\x01"),
    ],
)
def test_varints_to_the_byte(value: int, encoded: bytes) -> None:
    out = ByteBuffer(1)
    out.put_varint(value)
    assert out.view() == encoded
    assert varint_size(value) == len(encoded)


@pytest.mark.parametrize("value", EDGES)
def test_numbers_at_the_edges(value: int) -> None:
    out = ByteBuffer(1)
    out.put_varint(value)
    assert out.take() == varint(value)
    assert varint_size(value) == len(varint(value))
    out.put_decimal(value)
    assert out.take() == str(value).encode()


@pytest.mark.parametrize("power", range(20))
def test_decimals_around_powers_of_ten(power: int) -> None:
    for value in (10**power - 1, 10**power):
        out = ByteBuffer(1)
        out.put_decimal(value)
        assert out.take() == str(value).encode()


@pytest.mark.parametrize("write", [ByteBuffer.put_varint, ByteBuffer.put_byte])
def test_a_negative_number_is_refused_and_not_wrapped(write: object) -> None:
    out = ByteBuffer()
    with pytest.raises((OverflowError, ValueError)):
        write(out, -1)  # type: ignore[operator]
    assert out.view() == b""


@pytest.mark.parametrize("capacity", [1, 2, 7, 256])
def test_every_way_of_writing_makes_its_own_room(capacity: int) -> None:
    for count in range(1, 40):
        out = ByteBuffer(capacity)
        expected = b""
        for _ in range(count):
            out.put_byte(255)
            out.put_varint(300)
            out.put_decimal(1234567890)
            out.put(b"bytes")
            out.put_slice(bytearray(b"__slice__"), 2, 7)
            expected += b"\xff\xac\x021234567890bytesslice"
        assert out.view() == expected
        assert len(out.data) >= out.used == len(expected)


def test_bounds_of_a_slice() -> None:
    out = ByteBuffer(1)
    source = b"0123456789"
    out.put_slice(source, 0, 0)
    out.put_slice(source, 10, 10)
    assert out.view() == b""
    out.put_slice(source, 0, 10)
    out.put_slice(source, 9, 10)
    assert out.view() == b"01234567899"


def test_reserve_grows_to_what_is_asked_and_keeps_what_is_there() -> None:
    out = ByteBuffer(4)
    out.put(b"abc")
    before = out.data
    out.reserve(1)
    assert out.data is before
    out.reserve(2)
    assert len(out.data) == 8
    out.reserve(1000)
    assert len(out.data) == 1008, "a multiple of what it was"
    assert out.view() == b"abc"
    assert bytes(before[:3]) == b"abc", "somebody may still read the old one"


def test_growing_while_somebody_holds_a_view() -> None:
    out = ByteBuffer(4)
    out.put(b"abcd")
    held = memoryview(out.data)
    out.put(b"efgh")
    assert bytes(held) == b"abcd"
    assert out.view() == b"abcdefgh"


def test_take_begins_anew() -> None:
    out = ByteBuffer()
    out.put(b"first")
    assert out.take() == b"first"
    assert out.take() == b""
    out.put(b"second")
    assert out.take() == b"second"


def test_take_gives_the_room_of_a_large_burst_back() -> None:
    out = ByteBuffer()
    out.reserve(5 << 20)
    out.put(b"x")
    assert len(out.data) == 5 << 20
    assert out.take() == b"x"
    assert len(out.data) == 1 << 20


def test_shrink_gives_the_spare_room_back() -> None:
    out = ByteBuffer(100)
    out.put(b"abc")
    before = out.data
    out.shrink()
    assert (bytes(out.data), out.view(), len(before)) == (b"abc", b"abc", 100)
    out.put(b"def")
    assert out.view() == b"abcdef"


def test_shrink_to_nothing_can_grow_again() -> None:
    out = ByteBuffer()
    out.shrink()
    out.put_byte(65)
    out.put_varint(300)
    assert out.view() == b"A\xac\x02"


def test_truncate_forgets_the_end() -> None:
    out = ByteBuffer(2)
    out.put(b"abcdef")
    out.truncate(2)
    out.put(b"X")
    assert out.view() == b"abX"
    out.truncate(0)
    assert out.view() == b""


def test_put_buffer_copies_what_was_written_and_not_the_room() -> None:
    inner = ByteBuffer(1000)
    inner.put(b"inner")
    out = ByteBuffer(1)
    out.put_buffer(inner)
    out.put_buffer(ByteBuffer())
    inner.truncate(0)
    assert out.view() == b"inner"


PIECES = st.one_of(
    st.tuples(st.just("put"), st.binary(max_size=300)),
    st.tuples(st.just("put_byte"), st.integers(0, 255)),
    st.tuples(st.just("put_varint"), st.integers(0, UINT64_MAX)),
    st.tuples(st.just("put_decimal"), st.integers(0, UINT64_MAX)),
    st.tuples(st.just("truncate"), st.integers(0, 100)),
    st.tuples(st.just("take"), st.none()),
)


@given(st.integers(1, 40), st.lists(PIECES, max_size=40))
def test_against_bytes_that_are_simply_joined(capacity: int, pieces: list[tuple[str, object]]) -> None:
    out = ByteBuffer(capacity)
    expected = b""
    for kind, value in pieces:
        if kind == "take":
            assert out.take() == expected
            expected = b""
            continue
        if isinstance(value, bytes):
            out.put(value)
            expected += value
            continue
        assert isinstance(value, int)
        if kind == "put_byte":
            out.put_byte(value)
            expected += bytes([value])
        elif kind == "put_varint":
            out.put_varint(value)
            expected += varint(value)
        elif kind == "put_decimal":
            out.put_decimal(value)
            expected += str(value).encode()
        else:
            keep = min(value, out.used)
            out.truncate(keep)
            expected = expected[:keep]
        assert out.used == len(expected)
    assert out.view() == expected
