"""The field reader against bytes made to break it, a slow reader of our own, and Google's."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import empty_pb2, unknown_fields
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from nats_streaming.protocol.protobuf import END, FIELD, MALFORMED, FieldReader, to_signed, to_signed32
from tests.unit.protocol.wire import (
    FIXED32,
    FIXED64,
    GROUP_DEPTH_MAX,
    GROUP_END,
    GROUP_START,
    LENGTH,
    UINT64,
    VARINT,
    Field,
    damaged,
    key,
    length_delimited,
    messages,
    reference_fields,
    varint,
    varint_field,
)

NEIGHBOURS = [(b"", b""), (b"\x0a" * 3, b"\x00" * 12), (b"\xff" * 12, b"\xff" * 12)]


def read(data: bytes | bytearray, start: int, stop: int) -> list[Field] | None:
    reader = FieldReader()
    reader.open(data, start, stop)
    found: list[Field] = []
    while (result := reader.next_field()) == FIELD:
        assert start < reader.position <= stop
        value: int | bytes | None = None
        if reader.wire == LENGTH:
            assert start < reader.start <= reader.stop == reader.position
            value = bytes(data[reader.start : reader.stop])
        elif reader.wire != GROUP_START:
            value = reader.value
        found.append((reader.number, reader.wire, value))
    assert reader.position <= stop
    if result == MALFORMED:
        return None
    assert result == END
    assert reader.position == stop
    assert reader.next_field() == END
    return found


def fields_of(message: bytes) -> list[Field] | None:
    """Read with different neighbours, in bytes and in a bytearray: what lies around must not matter."""
    results = []
    for before, after in NEIGHBOURS:
        data = before + message + after
        results.append(read(data, len(before), len(before) + len(message)))
        results.append(read(bytearray(data), len(before), len(before) + len(message)))
    assert all(result == results[0] for result in results)
    return results[0]


def google_fields(message: bytes) -> list[Field] | None:
    """What Google's reader sees: to an empty message type every field is unknown."""
    try:
        found: Any = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(message))
        return None if has_number_0(found) else [google_field(field) for field in found]
    except DecodeError:
        return None


def google_field(field: Any) -> Field:
    return field.field_number, field.wire_type, None if field.wire_type == GROUP_START else field.data


def has_number_0(found: Any) -> bool:
    """The one thing that Google's reader takes and the original's does not."""
    return any(
        field.field_number == 0 or (field.wire_type == GROUP_START and has_number_0(field.data)) for field in found
    )


WELL_FORMED: list[tuple[bytes, list[Field]]] = [
    (b"", []),
    (b"\x08\x01", [(1, VARINT, 1)]),
    (b"\x08" + b"\xff" * 9 + b"\x01", [(1, VARINT, 2**64 - 1)]),
    (b"\x0a\x00", [(1, LENGTH, b"")]),
    (b"\x12\x03abc", [(2, LENGTH, b"abc")]),
    (b"\x0d\x01\x02\x03\x04", [(1, FIXED32, 0x04030201)]),
    (b"\x0d\xff\xff\xff\xff", [(1, FIXED32, 0xFFFFFFFF)]),
    (b"\x09\x01\x02\x03\x04\x05\x06\x07\x88", [(1, FIXED64, 0x8807060504030201)]),
    (b"\xa2\x06\x01x", [(100, LENGTH, b"x")]),
    (b"\xf8\xff\xff\xff\x0f\x05", [(2**29 - 1, VARINT, 5)]),
    (b"\x0b\x0c", [(1, GROUP_START, None)]),
    (b"\x0b\x08\x05\x12\x02hi\x13\x14\x0c\x18\x07", [(1, GROUP_START, None), (3, VARINT, 7)]),
    (b"\x08\x01\x08\x02", [(1, VARINT, 1), (1, VARINT, 2)]),
]


@pytest.mark.parametrize(("message", "expected"), WELL_FORMED)
def test_well_formed(message: bytes, expected: list[Field]) -> None:
    assert fields_of(message) == expected
    assert reference_fields(message) == expected
    assert google_fields(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x80", id="cut key"),
        pytest.param(b"\x08", id="key without value"),
        pytest.param(b"\x00\x01", id="field number 0"),
        pytest.param(b"\x02\x01x", id="field number 0, length"),
        pytest.param(b"\x07", id="field number 0, wire type 7"),
        pytest.param(b"\x80\x80\x80\x80\x10\x01", id="field number 2**29"),
        pytest.param(varint(2**35 | 8) + b"\x01", id="field number that wraps to 1 in 32 bits"),
        pytest.param(varint(2**63 | 8) + b"\x01", id="field number with the highest bit"),
        pytest.param(b"\x0e", id="wire type 6"),
        pytest.param(b"\x0f", id="wire type 7"),
        pytest.param(b"\x0c", id="group end alone"),
        pytest.param(b"\x08" + b"\xff" * 10, id="varint of 10 bytes that goes on"),
        pytest.param(b"\x08" + b"\xff" * 10 + b"\x01", id="varint of 11 bytes"),
        pytest.param(b"\x08" + b"\x80" * 10 + b"\x00", id="varint of 11 bytes, all zero"),
        pytest.param(b"\x80" * 10 + b"\x08\x01", id="key of 11 bytes"),
        pytest.param(b"\x0a", id="length missing"),
        pytest.param(b"\x0a\x80", id="length cut"),
        pytest.param(b"\x0a\x01", id="one byte announced, none there"),
        pytest.param(b"\x0a\x04abc", id="length one too large"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x07abc", id="length 2**31 - 1"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0fabc", id="length 2**32 - 1"),
        pytest.param(b"\x0a" + varint(2**63 - 1) + b"abc", id="length 2**63 - 1"),
        pytest.param(b"\x0a" + varint(2**63) + b"abc", id="length 2**63"),
        pytest.param(b"\x0a" + varint(2**64 - 1) + b"abc", id="length that is -1 when signed"),
        pytest.param(b"\x0a" + varint(2**64 - 8) + b"abc", id="length that leads backwards"),
        pytest.param(b"\x0d\x01\x02\x03", id="fixed32 cut"),
        pytest.param(b"\x09\x01\x02\x03\x04\x05\x06\x07", id="fixed64 cut"),
        pytest.param(b"\x0b", id="group without end"),
        pytest.param(b"\x0b\x08\x01", id="group without end, after a field"),
        pytest.param(b"\x0b\x0b\x0c", id="inner group ended only"),
        pytest.param(b"\x0b\x00\x01\x0c", id="field number 0 in a group"),
        pytest.param(b"\x0b\x12\x7fx\x0c", id="length beyond the end in a group"),
        pytest.param(b"\x0b\x0e\x0c", id="wire type 6 in a group"),
    ],
)
def test_malformed(message: bytes) -> None:
    assert fields_of(message) is None
    assert reference_fields(message) is None
    assert google_fields(message) is None


def test_the_tenth_byte_gives_one_bit() -> None:
    """The original shifts the others out; so do we."""
    for last in range(0x80):
        message = b"\x08" + b"\x80" * 9 + bytes([last])
        assert fields_of(message) == [(1, VARINT, (last & 1) << 63)]


@pytest.mark.parametrize("width", range(1, 11))
def test_a_stretched_number_is_the_same_number(width: int) -> None:
    message = key(1, VARINT, width) + varint(5, width) + key(2, LENGTH) + varint(2, width) + b"hi"
    assert fields_of(message) == [(1, VARINT, 5), (2, LENGTH, b"hi")]


def test_every_prefix_of_a_message_of_everything() -> None:
    message = (
        varint_field(1, 2**64 - 1)
        + length_delimited(2, b"payload")
        + key(3, FIXED32)
        + b"1234"
        + key(2**29 - 1, FIXED64)
        + b"12345678"
        + key(4, GROUP_START)
        + length_delimited(1, b"in")
        + key(2, GROUP_START)
        + key(2, GROUP_END)
        + key(4, GROUP_END)
        + length_delimited(5, b"x" * 300)
    )
    whole = 0
    for size in range(len(message) + 1):
        expected = reference_fields(message[:size])
        assert fields_of(message[:size]) == expected
        assert google_fields(message[:size]) == expected
        whole += expected is not None
    assert whole == 7, "at the end of each of 6 fields, and with none"


def test_nesting_has_an_end() -> None:
    def nested(depth: int) -> bytes:
        return key(1, GROUP_START) * depth + key(1, GROUP_END) * depth

    assert fields_of(nested(GROUP_DEPTH_MAX)) == [(1, GROUP_START, None)]
    assert fields_of(nested(GROUP_DEPTH_MAX + 1)) is None
    assert fields_of(key(1, GROUP_START) * 1_000_000) is None


def test_a_group_s_number_is_that_of_its_start() -> None:
    reader = FieldReader()
    message = key(5, GROUP_START) + length_delimited(9, b"inside") + key(5, GROUP_END) + varint_field(6, 1)
    reader.open(message, 0, len(message))
    assert (reader.next_field(), reader.number, reader.wire) == (FIELD, 5, GROUP_START)
    assert (reader.next_field(), reader.number, reader.value) == (FIELD, 6, 1)


def test_an_empty_range_ends_at_once() -> None:
    reader = FieldReader()
    for start in (0, 2, 4):
        reader.open(b"\xff\xff\xff\xff", start, start)
        assert reader.next_field() == END


def test_a_reader_is_used_again_after_damage() -> None:
    reader = FieldReader()
    reader.open(b"\x08", 0, 1)
    assert reader.next_field() == MALFORMED
    reader.open(b"\x08\x05", 0, 2)
    assert (reader.next_field(), reader.value) == (FIELD, 5)
    assert reader.next_field() == END


def test_bare_varints_and_skipping() -> None:
    """What the decoder of batches uses."""
    data = varint(300) + b"abc" + varint(2**64 - 1) + b"\x80"
    reader = FieldReader()
    reader.open(data, 0, len(data))
    assert reader.read_varint()
    assert reader.value == 300
    reader.skip(3)
    assert reader.read_varint()
    assert reader.value == 2**64 - 1
    before = reader.position
    assert not reader.read_varint()
    assert reader.position == before, "what cannot be read is not passed over"
    assert reader.value == 2**64 - 1


@given(damaged(messages()))
@example(b"\x0b\x14")  # a group ended by another number: the original's decoder does not look at it
@example(b"\x88\x80\x80\x80\x80\x00\x01")  # a key of 6 bytes
def test_any_message_damaged_or_not(message: bytes) -> None:
    found = fields_of(message)
    assert found == reference_fields(message)
    google = google_fields(message)
    if google is not None:
        assert found == google, "whatever Google's reader takes, ours takes and sees the same in it"


@given(messages())
def test_a_whole_message_is_taken_by_all(message: bytes) -> None:
    found = fields_of(message)
    assert found is not None
    assert found == google_fields(message)


@given(st.binary(max_size=64))
def test_any_bytes(data: bytes) -> None:
    assert fields_of(data) == reference_fields(data)


@given(UINT64)
def test_signed_numbers(value: int) -> None:
    assert to_signed(value) == int.from_bytes(value.to_bytes(8, "little"), "little", signed=True)
    low = (value & 0xFFFFFFFF).to_bytes(4, "little")
    assert to_signed32(value) == int.from_bytes(low, "little", signed=True)


@pytest.mark.parametrize(
    ("value", "signed", "signed32"),
    [
        (0, 0, 0),
        (2**31 - 1, 2**31 - 1, 2**31 - 1),
        (2**31, 2**31, -(2**31)),
        (2**32 - 1, 2**32 - 1, -1),
        (2**32, 2**32, 0),
        (2**63 - 1, 2**63 - 1, -1),
        (2**63, -(2**63), 0),
        (2**64 - 300, -300, -300),
        (2**64 - 1, -1, -1),
    ],
)
def test_signed_edges(value: int, signed: int, signed32: int) -> None:
    assert to_signed(value) == signed
    assert to_signed32(value) == signed32
