"""A run of messages in memory, against a plain list of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.protobuf import FieldReader
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.stores.segment import SEGMENT_BYTES, SEGMENT_SLOTS, Segment
from tests.support import stan_messages as oracle
from tests.unit.protocol.wire import varint

INT64_MAX = 2**63 - 1
FOO = length_field(2, b"foo")


def filled(base: int, *slots: tuple[bytes, int]) -> Segment:
    segment = Segment(base)
    for encoded, timestamp_ns in slots:
        segment.append(encoded, timestamp_ns)
    return segment


def slots_of(segment: Segment) -> list[tuple[bytes, int]]:
    return [
        (segment.message(segment.base + index) or b"", segment.timestamp_at(index)) for index in range(len(segment))
    ]


def run_of(segment: Segment, first: int, last: int) -> bytes:
    out = ByteBuffer(1)
    segment.put_run(out, first, last)
    return out.take()


def read_run(base: int, encoded: bytes, count: int) -> Segment | None:
    """Read a run that stands between other bytes."""
    segment = Segment(base)
    reader = FieldReader()
    reader.open(b"\x00" + encoded + b"\x00" * 20, 1, 1 + len(encoded))
    if not segment.read_run(reader, count):
        return None
    assert reader.position <= 1 + len(encoded)
    return segment


def test_a_message_is_encoded_with_its_sequence() -> None:
    segment = Segment(41)
    source = b"..reply..data.."
    sizes = [segment.append_message(FOO, source, 2, 7, 9, 13, 1000 + step) for step in range(2)]
    for step in range(2):
        expected = oracle.MsgProto(
            sequence=41 + step, subject=b"foo", reply=b"reply", data=b"data", timestamp=1000 + step
        ).SerializeToString()
        assert segment.message(41 + step) == expected
        assert sizes[step] == segment.size_at(step) == len(expected)
        assert segment.timestamp_at(step) == 1000 + step
        out = ByteBuffer(1)
        segment.put_encoded(out, step)
        assert out.view() == expected
    assert (segment.base, len(segment), segment.count) == (41, 2, 2)


@pytest.mark.parametrize("sequence", [-(2**63), -1, 0, 9, 12, 13, INT64_MAX])
def test_what_is_not_here(sequence: int) -> None:
    segment = filled(10, (b"a", 1), (b"b", 2))
    assert segment.message(sequence) is None
    with pytest.raises(IndexError):
        segment.delete(sequence)
    assert slots_of(segment) == [(b"a", 1), (b"b", 2)]


def test_a_deleted_message_leaves_a_hole_that_keeps_its_time() -> None:
    segment = filled(1, (b"one", 10), (b"two", 20), (b"three", 30))
    assert segment.delete(2) == 3
    assert segment.delete(2) == 0
    assert segment.message(2) is None
    assert slots_of(segment) == [(b"one", 10), (b"", 20), (b"three", 30)]
    assert list(segment.messages(1, 3)) == [(1, 10, b"one"), (3, 30, b"three")]
    out = ByteBuffer()
    segment.put_encoded(out, 1)
    assert out.view() == b""


@pytest.mark.parametrize("first", [-5, 0, 10, 11, 12, 13, 100])
@pytest.mark.parametrize("last", [-5, 0, 9, 10, 11, 12, 100, INT64_MAX])
def test_messages_of_any_range(first: int, last: int) -> None:
    segment = filled(10, (b"a", 1), (b"b", 2), (b"c", 3))
    expected = [item for item in [(10, 1, b"a"), (11, 2, b"b"), (12, 3, b"c")] if first <= item[0] <= last]
    assert list(segment.messages(first, last)) == expected


def test_truncate_takes_back_the_last_slots() -> None:
    segment = filled(5, (b"one", 1), (b"", 2), (b"three", 3))
    segment.truncate(3)
    assert len(segment) == 3
    segment.truncate(7)
    assert len(segment) == 3, "there is nothing to take back"
    segment.truncate(1)
    assert slots_of(segment) == [(b"one", 1)]
    segment.append(b"TWO", 4)
    assert slots_of(segment) == [(b"one", 1), (b"TWO", 4)]
    segment.truncate(0)
    assert slots_of(segment) == []
    assert segment.buffer.used == 0
    segment.append(b"again", 5)
    assert segment.message(5) == b"again"


def test_growth_keeps_what_is_there() -> None:
    segment = Segment(1)
    expected = []
    for number in range(1000):
        encoded = b"%d" % number * (number % 5)
        segment.append(encoded, number * 7)
        expected.append((encoded, number * 7))
    assert slots_of(segment) == expected


def test_growing_while_somebody_holds_a_view() -> None:
    segment = filled(1, (b"x" * 1000, 1))
    held = memoryview(segment.buffer.data)
    segment.append(b"y" * 5000, 2)
    assert bytes(held[:1000]) == b"x" * 1000
    assert slots_of(segment) == [(b"x" * 1000, 1), (b"y" * 5000, 2)]


def test_when_a_segment_is_full() -> None:
    segment = Segment(1)
    assert segment.has_room(SEGMENT_BYTES * 10), "a message larger than a segment has one for itself"
    segment.append(b"1234", 0)
    assert segment.has_room(SEGMENT_BYTES - 4)
    assert not segment.has_room(SEGMENT_BYTES - 3)
    for _ in range(SEGMENT_SLOTS - 2):
        segment.append(b"", 0)
    assert segment.has_room(1)
    segment.append(b"", 0)
    assert not segment.has_room(0)


def test_a_sealed_segment_has_no_room_left_over_and_can_go_on() -> None:
    segment = filled(1, (b"x" * 5000, 1), (b"y" * 5000, 2))
    segment.append(b"z" * 5000, 3)
    assert len(segment.buffer.data) > 16_000
    segment.seal()
    assert len(segment.buffer.data) == 15_000
    segment.truncate(2)
    segment.append(b"again", 4)
    assert slots_of(segment) == [(b"x" * 5000, 1), (b"y" * 5000, 2), (b"again", 4)]
    Segment(1).seal()


@pytest.mark.parametrize(
    ("timestamp_ns", "index"),
    [(-(2**63), 0), (0, 0), (9, 0), (10, 0), (11, 1), (20, 1), (21, 4), (30, 4), (31, 5), (INT64_MAX, 5)],
)
def test_the_first_slot_at_or_after_a_time(timestamp_ns: int, index: int) -> None:
    segment = filled(1, (b"a", 10), (b"b", 20), (b"", 20), (b"c", 20), (b"d", 30))
    assert segment.first_at_or_after(timestamp_ns) == index


def test_searching_an_empty_segment() -> None:
    assert Segment(1).first_at_or_after(5) == 0


# Runs.


def test_runs_to_the_byte() -> None:
    segment = filled(7, (b"abc", 300), (b"", 301), (b"d", INT64_MAX))
    assert run_of(segment, 7, 9) == b"\x03\xac\x02abc" + b"\x00\xad\x02" + b"\x01" + varint(INT64_MAX) + b"d"
    assert run_of(segment, 8, 8) == b"\x00\xad\x02"
    assert run_of(segment, 8, 7) == b""


SLOTS = st.lists(st.tuples(st.binary(max_size=20), st.integers(0, INT64_MAX)), max_size=40)


@given(st.integers(1, 2**62), SLOTS, st.integers(0, 40), st.integers(0, 40))
def test_a_run_there_and_back(base: int, slots: list[tuple[bytes, int]], start: int, count: int) -> None:
    segment = filled(base, *slots)
    part = slots[start : start + count]
    if not part:
        return
    encoded = run_of(segment, base + start, base + start + len(part) - 1)
    copied = read_run(base + start, encoded, len(part))
    assert copied is not None
    assert slots_of(copied) == part
    for size in range(len(encoded)):
        assert read_run(base + start, encoded[:size], len(part)) is None
    assert read_run(base + start, encoded, len(part) + 1) is None


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x01", id="no timestamp"),
        pytest.param(b"\x80", id="size cut"),
        pytest.param(b"\x00\x80", id="timestamp cut"),
        pytest.param(b"\x02\x00x", id="size beyond the end"),
        pytest.param(varint(2**63) + b"\x00x", id="size 2**63"),
        pytest.param(varint(2**64 - 1) + b"\x00x", id="size that is -1 when signed"),
        pytest.param(varint(2**32) + b"\x00x", id="size that is 0 in 32 bits"),
        pytest.param(b"\x00" + varint(2**63), id="timestamp 2**63"),
        pytest.param(b"\x00" + varint(2**64 - 1), id="timestamp that is -1 when signed"),
        pytest.param(b"\xff" * 11, id="size of 11 bytes"),
    ],
)
def test_a_run_that_is_none(encoded: bytes) -> None:
    assert read_run(1, encoded, 1) is None


def test_a_count_that_nothing_stands_behind_ends_with_the_bytes() -> None:
    assert read_run(1, b"\x00\x00" * 100, INT64_MAX) is None


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=30), st.integers(0, 5)),
        st.tuples(st.just("append_message"), st.binary(max_size=30), st.integers(0, 5)),
        st.tuples(st.just("delete"), st.integers(-1, 60), st.none()),
        st.tuples(st.just("truncate"), st.integers(0, 60), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(st.integers(1, 2**62), OPERATIONS)
def test_against_a_list(base: int, operations: list[tuple[str, Any, Any]]) -> None:
    segment = Segment(base)
    model: list[tuple[bytes, int]] = []
    now_ns = 5
    for operation, value, step in operations:
        if operation == "append":
            now_ns += step
            segment.append(value, now_ns)
            model.append((value, now_ns))
        elif operation == "append_message":
            now_ns += step
            size = segment.append_message(FOO, value, 0, 0, 0, len(value), now_ns)
            message = oracle.MsgProto(sequence=base + len(model), subject=b"foo", data=value, timestamp=now_ns)
            model.append((message.SerializeToString(), now_ns))
            assert size == len(model[-1][0])
        elif operation == "delete":
            if 0 <= value < len(model):
                assert segment.delete(base + value) == len(model[value][0])
                model[value] = (b"", model[value][1])
        else:
            segment.truncate(value)
            del model[value:]
    assert slots_of(segment) == model
    for index, (encoded, timestamp_ns) in enumerate(model):
        assert segment.size_at(index) == len(encoded)
        expected = next(place for place, slot in enumerate(model) if slot[1] >= timestamp_ns)
        assert segment.first_at_or_after(timestamp_ns) == expected
