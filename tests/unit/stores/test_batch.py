"""The encoding of batches: there and back; cut, flipped and hostile bytes are corruption and nothing else."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nats_streaming.errors import CorruptionError
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.batch import (
    MAGIC,
    Acked,
    ChannelCreated,
    ChannelRemoved,
    ClientPut,
    ClientRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    ServerPut,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
    decode_batch,
    encode_batch,
)
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState
from tests.unit.protocol.wire import damaged, length_delimited, varint

INT64_MAX = 2**63 - 1


def comparable(record: Record) -> tuple[Any, ...]:
    """A record as values that can be compared; of a run of messages every slot."""
    if not isinstance(record, Messages):
        return (type(record), *astuple(record))
    slots = [
        (record.segment.message(sequence) or b"", record.segment.timestamp_at(sequence - record.segment.base))
        for sequence in range(record.first, record.last + 1)
    ]
    return Messages, record.channel, record.first, record.last, slots


def same(records: list[Record], others: list[Record]) -> bool:
    return [comparable(record) for record in records] == [comparable(record) for record in others]


def run(channel: bytes, base: int, slots: list[tuple[bytes, int]], skip: int = 0) -> Messages:
    segment = Segment(base)
    for encoded, timestamp_ns in slots:
        segment.append(encoded, timestamp_ns)
    return Messages(channel, segment, base + skip, base + len(slots) - 1)


EVERYTHING: list[Record] = [
    ServerPut(ServerInfo(b"test-cluster", b"_STAN.discover.test-cluster", b"_STAN.pub.test-cluster")),
    ClientPut(ClientInfo(b"me", b"hb", b"connection", 1, -300, 3)),
    ChannelCreated(b"foo"),
    run(b"foo", 1, [(b"first", 300), (b"", 301), (b"third", 302), (b"x" * 130, INT64_MAX)], skip=1),
    Trimmed(b"foo", 2),
    Deleted(b"foo", [3, 200]),
    SubscriptionPut(b"foo", SubscriptionState(1, b"me", b"group", b"inbox", b"ack", 10, 30, b"durable", 3, True)),
    Sent(b"foo", 1, [3, 4, INT64_MAX]),
    Acked(b"foo", 1, [4]),
    SubscriptionRemoved(b"foo", 1),
    ClientRemoved(b"me"),
    ChannelRemoved(b"foo"),
]


def test_a_batch_to_the_byte() -> None:
    records: list[Record] = [ChannelCreated(b"foo"), Sent(b"foo", 300, [1, 2]), run(b"a", 5, [(b"xy", 7), (b"", 8)])]
    assert encode_batch(records) == (
        b"STAN\x01\x04\x04\x03foo\x08\x09\x03foo\xac\x02\x02\x01\x02\x01\x0a\x01a\x05\x02\x02\x07xy\x00\x08"
    )


def test_an_empty_batch() -> None:
    assert encode_batch([]) == MAGIC
    assert decode_batch(MAGIC) == []


def test_every_kind_of_record_there_and_back() -> None:
    assert same(decode_batch(encode_batch(EVERYTHING)), EVERYTHING)
    for record in EVERYTHING:
        assert same(decode_batch(encode_batch([record])), [record])


def test_the_engine_may_encode_what_is_being_filled() -> None:
    """A run names its end: what has been appended since belongs to a later batch."""
    record = run(b"foo", 1, [(b"a", 1), (b"b", 2)])
    record.segment.append(b"later", 3)
    (decoded,) = decode_batch(encode_batch([record]))
    assert comparable(decoded) == (Messages, b"foo", 1, 2, [(b"a", 1), (b"b", 2)])


NAMES = st.binary(max_size=12)
NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, INT64_MAX))
INT32 = st.integers(-(2**31), 2**31 - 1)
SEQUENCES = st.lists(NUMBERS, max_size=6)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        run,
        NAMES,
        st.integers(1, 2**62),
        st.lists(st.tuples(st.binary(max_size=20), NUMBERS), min_size=1, max_size=6),
    ),
    st.builds(Trimmed, NAMES, NUMBERS),
    st.builds(Deleted, NAMES, SEQUENCES),
    st.builds(ChannelCreated, NAMES),
    st.builds(ChannelRemoved, NAMES),
    st.builds(
        SubscriptionPut,
        NAMES,
        st.builds(
            SubscriptionState,
            id=NUMBERS,
            client_id=NAMES,
            max_in_flight=INT32,
            last_sent=NUMBERS,
            is_durable=st.booleans(),
        ),
    ),
    st.builds(SubscriptionRemoved, NAMES, NUMBERS),
    st.builds(Sent, NAMES, NUMBERS, SEQUENCES),
    st.builds(Acked, NAMES, NUMBERS, SEQUENCES),
    st.builds(ClientPut, st.builds(ClientInfo, id=NAMES, ping_interval=INT32)),
    st.builds(ClientRemoved, NAMES),
    st.builds(ServerPut, st.builds(ServerInfo, cluster_id=NAMES, node_id=NAMES)),
)
BATCHES = st.lists(RECORDS, max_size=8)


@given(BATCHES)
def test_any_batch_there_and_back(records: list[Record]) -> None:
    encoded = encode_batch(records)
    decoded = decode_batch(encoded)
    assert same(decoded, records)
    assert encode_batch(decoded) == encoded


# Damage.


def survive(encoded: bytes) -> list[Record] | None:
    """Decode and apply; corruption is the only error there may be."""
    try:
        records = decode_batch(encoded)
    except CorruptionError:
        return None
    assert same(decode_batch(encode_batch(records)), records)
    state = StoreState()
    for _ in range(2):
        state.apply(decode_batch(encoded))
    return records


def test_cut_at_every_byte() -> None:
    encoded = encode_batch(EVERYTHING)
    ends = {len(encode_batch(EVERYTHING[:count])): count for count in range(len(EVERYTHING) + 1)}
    for size in range(len(encoded) + 1):
        records = survive(encoded[:size])
        if size in ends:
            assert records is not None
            assert same(records, EVERYTHING[: ends[size]])
        else:
            assert records is None


def test_bits_flipped_in_every_byte(rng: random.Random) -> None:
    encoded = encode_batch(EVERYTHING)
    refused = 0
    for at in range(len(encoded)):
        for bits in (0x80, rng.randrange(1, 256)):
            flipped = bytearray(encoded)
            flipped[at] ^= bits
            refused += survive(bytes(flipped)) is None
    assert refused > len(encoded) // 3, "names and payloads may change unseen (a journal has a checksum), structure not"


@settings(max_examples=100)
@given(damaged(BATCHES.map(encode_batch)))
def test_any_damage(encoded: bytes) -> None:
    survive(encoded)


@given(st.binary(max_size=60))
def test_any_bytes_behind_the_magic(data: bytes) -> None:
    survive(MAGIC + data)


def test_random_records_with_random_payloads(rng: random.Random) -> None:
    for _ in range(2000):
        payload = rng.randbytes(rng.randrange(12))
        survive(MAGIC + bytes([rng.randrange(14), len(payload)]) + payload)


@pytest.mark.parametrize(
    "encoded", [b"", b"S", b"STAN", b"STAN\x00", b"STAN\x02", b"NATS\x01", b"stan\x01", b"\x00" * 20]
)
def test_another_magic_or_version(encoded: bytes) -> None:
    with pytest.raises(CorruptionError, match="begin"):
        decode_batch(encoded)


def record(kind: int, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return MAGIC + bytes([kind]) + varint(len(payload)) + payload


FOO = b"\x03foo"
HUGE = [2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize(
    "template",
    [
        pytest.param((1, FOO, b"\x01", b"COUNT", b"\x00\x00" * 50), id="count of messages"),
        pytest.param((1, FOO, b"\x01", b"\x01", b"COUNT", b"\x00abc"), id="size of a message"),
        pytest.param((3, FOO, b"COUNT", b"\x01" * 50), id="count of deleted sequences"),
        pytest.param((8, FOO, b"\x01", b"COUNT", b"\x01" * 50), id="count of sent sequences"),
        pytest.param((9, FOO, b"\x01", b"COUNT", b"\x01" * 50), id="count of acked sequences"),
        pytest.param((4, b"COUNT", b"foo"), id="length of a channel name"),
        pytest.param((6, FOO, b"COUNT", b"\x08\x01"), id="length of a subscription"),
        pytest.param((11, b"COUNT", b"me"), id="length of a client ID"),
    ],
)
def test_a_number_that_nothing_stands_behind(template: tuple[Any, ...], number: int) -> None:
    kind, *parts = template
    encoded = record(kind, *(varint(number) if part == b"COUNT" else part for part in parts))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError):
            decode_batch(encoded)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20, "nothing is allocated on the word of a number"


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(record(0, FOO), id="kind 0"),
        pytest.param(record(13, FOO), id="kind 13"),
        pytest.param(record(255), id="kind 255"),
        pytest.param(MAGIC + b"\x04", id="no length"),
        pytest.param(MAGIC + b"\x04\x05\x03foo", id="length beyond the end"),
        pytest.param(MAGIC + b"\x04" + varint(2**64 - 1) + FOO, id="length that is -1 when signed"),
        pytest.param(record(4, FOO, b"x"), id="a byte too many"),
        pytest.param(MAGIC + b"\x04\x03\x03foo", id="payload longer than its record"),
        pytest.param(record(1, FOO, b"\x00\x01", b"\x00\x00"), id="sequence 0"),
        pytest.param(record(1, FOO, varint(2**63), b"\x01", b"\x00\x00"), id="sequence 2**63"),
        pytest.param(record(1, FOO, varint(2**64 - 1), b"\x01", b"\x00\x00"), id="sequence 2**64 - 1"),
        pytest.param(record(1, FOO, varint(2**63 - 1), b"\x02", b"\x00\x00" * 2), id="last sequence 2**63"),
        pytest.param(record(1, FOO, b"\x01\x01", b"\x00", varint(2**63)), id="timestamp 2**63"),
        pytest.param(record(2, FOO, varint(2**63)), id="trimmed to 2**63"),
        pytest.param(record(3, FOO, b"\x01", varint(2**63)), id="deleted 2**63"),
        pytest.param(record(7, FOO, varint(2**63)), id="subscription 2**63"),
        pytest.param(record(8, FOO, varint(2**63), b"\x00"), id="sent to subscription 2**63"),
        pytest.param(record(8, FOO, b"\x01\x01", varint(2**63)), id="sent 2**63"),
        pytest.param(record(6, FOO, varint(11) + b"\x08" + varint(2**63)), id="record of subscription 2**63"),
        pytest.param(record(6, FOO, varint(11) + b"\x48" + varint(2**64 - 1)), id="last sent 2**64 - 1"),
        pytest.param(record(6, FOO, b"\x02\x0a\x01"), id="damaged subscription"),
        pytest.param(record(10, b"\x03\x08\x01\x01"), id="damaged client"),
        pytest.param(record(12, length_delimited(1, b"x")[:-1]), id="damaged server"),
    ],
)
def test_what_is_no_batch(encoded: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_batch(encoded)


def test_the_error_names_the_place() -> None:
    with pytest.raises(CorruptionError, match=r"offset 12 of 12"):
        decode_batch(record(1, FOO, b"\x01"))
