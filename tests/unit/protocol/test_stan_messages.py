"""The codec of the hot path, with Google's as the judge."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.stan_messages import (
    AckMessage,
    PublishMessage,
    length_field,
    put_message,
    put_pub_ack_frame,
    put_redelivery,
    redelivery_size,
)
from tests.support import stan_messages as oracle
from tests.unit.protocol.wire import (
    FIXED32,
    FIXED64,
    GROUP_END,
    GROUP_START,
    UINT64,
    damaged,
    fields,
    key,
    length_delimited,
    reference_fields,
    varint,
    varint_field,
)

PUB_MSG_FIELDS = {1: "client_id", 2: "guid", 3: "subject", 4: "reply", 5: "data", 6: "connection_id"}
NEIGHBOURS = [(b"", b""), (b"\x0a\x03", b"\x00" * 12), (b"\xff" * 12, b"\xff" * 12)]
UNKNOWN = st.sampled_from([7, 8, 9, 11, 12, 15, 16, 100, 2**29 - 1])

Found = dict[str, bytes] | None


def decode_publish(message: bytes) -> Found:
    """Decode amid different neighbours, from bytes and from a bytearray; used again for each."""
    decoder = PublishMessage()
    results: list[Found] = []
    for before, after in NEIGHBOURS:
        data = before + message + after
        for source in (data, bytearray(data)):
            taken = decoder.decode(source, len(before), len(before) + len(message))
            found = {
                name: bytes(source[getattr(decoder, f"{name}_start") : getattr(decoder, f"{name}_stop")])
                for name in PUB_MSG_FIELDS.values()
            }
            results.append(found if taken else None)
    assert all(result == results[0] for result in results)
    return results[0]


def google_publish(message: bytes) -> Found:
    try:
        parsed = oracle.PubMsg.FromString(message)
    except DecodeError:
        return None
    return {
        "client_id": parsed.clientID,
        "guid": parsed.guid,
        "subject": parsed.subject,
        "reply": parsed.reply,
        "data": parsed.data,
        "connection_id": parsed.connID,
    }


def reference_publish(message: bytes) -> Found:
    """As the original: the last one of each field wins, a known field of another wire type spoils the message."""
    found = dict.fromkeys(PUB_MSG_FIELDS.values(), b"")
    everything = reference_fields(message)
    if everything is None:
        return None
    for number, _, value in everything:
        if number in (*PUB_MSG_FIELDS, 10):
            if not isinstance(value, bytes):
                return None
            if number != 10:
                found[PUB_MSG_FIELDS[number]] = value
    return found


PUB_MSGS = st.builds(
    oracle.PubMsg,
    clientID=st.binary(max_size=8),
    guid=st.binary(max_size=25),
    subject=st.binary(max_size=8),
    reply=st.binary(max_size=8),
    data=st.binary(max_size=200),
    connID=st.binary(max_size=8),
    sha256=st.sampled_from([b"", b"s" * 32]),
)


@given(PUB_MSGS)
def test_a_publish_as_libraries_send_it(message: Any) -> None:
    encoded = message.SerializeToString()
    assert decode_publish(encoded) == google_publish(encoded)


@given(st.lists(st.one_of(st.builds(length_delimited, st.sampled_from([*PUB_MSG_FIELDS, 10]), st.binary(max_size=20)),
                          fields(UNKNOWN)), max_size=10))  # fmt: skip
def test_any_order_repeated_fields_and_unknown_ones(parts: list[bytes]) -> None:
    encoded = b"".join(parts)
    found = decode_publish(encoded)
    assert found is not None
    assert found == google_publish(encoded)


@given(damaged(st.one_of(PUB_MSGS.map(lambda message: message.SerializeToString()), st.binary(max_size=60))))
def test_a_damaged_publish(encoded: bytes) -> None:
    found = decode_publish(encoded)
    assert found == reference_publish(encoded)
    if found is not None and (google := google_publish(encoded)) is not None:
        assert found == google


FULL_PUBLISH = oracle.PubMsg(
    clientID=b"client", guid=b"g" * 22, subject=b"foo.bar", reply=b"answer", data=b"d" * 200, connID=b"c" * 22
).SerializeToString()


def test_a_publish_cut_at_every_byte() -> None:
    for size in range(len(FULL_PUBLISH) + 1):
        cut = FULL_PUBLISH[:size]
        assert decode_publish(cut) == google_publish(cut) == reference_publish(cut)


def test_nothing_of_the_message_before_is_left() -> None:
    decoder = PublishMessage()
    assert decoder.decode(FULL_PUBLISH, 0, len(FULL_PUBLISH))
    assert decoder.decode(b"", 0, 0)
    for name in PUB_MSG_FIELDS.values():
        assert getattr(decoder, f"{name}_start") == getattr(decoder, f"{name}_stop")


def test_what_came_before_the_damage_is_kept() -> None:
    """The guid of a spoilt publish is echoed in its error ack."""
    spoilt = length_delimited(2, b"the guid") + b"\x1a\x7f"
    decoder = PublishMessage()
    assert not decoder.decode(spoilt, 0, len(spoilt))
    assert spoilt[decoder.guid_start : decoder.guid_stop] == b"the guid"
    assert decoder.subject_start == decoder.subject_stop


@pytest.mark.parametrize("number", [*PUB_MSG_FIELDS, 10])
def test_a_known_field_of_another_wire_type(number: int) -> None:
    for wrong in (
        varint_field(number, 1),
        key(number, FIXED32) + b"1234",
        key(number, FIXED64) + b"12345678",
        key(number, GROUP_START) + key(number, GROUP_END),
    ):
        assert decode_publish(wrong) is None
        assert decode_publish(length_delimited(2, b"guid") + wrong) is None


@pytest.mark.parametrize("payload", oracle.GARBAGE, ids=repr)
def test_garbage_is_no_publish(payload: bytes) -> None:
    assert decode_publish(payload) is None


# The subscriber's ack.


def decode_ack(message: bytes) -> tuple[bytes, int] | None:
    decoder = AckMessage()
    results: list[tuple[bytes, int] | None] = []
    for before, after in NEIGHBOURS:
        data = before + message + after
        for source in (data, bytearray(data)):
            taken = decoder.decode(source, len(before), len(before) + len(message))
            subject = bytes(source[decoder.subject_start : decoder.subject_stop])
            results.append((subject, decoder.sequence) if taken else None)
    assert all(result == results[0] for result in results)
    return results[0]


def reference_ack(message: bytes) -> tuple[bytes, int] | None:
    everything = reference_fields(message)
    if everything is None:
        return None
    subject, sequence = b"", 0
    for number, wire, value in everything:
        if number == 1:
            if not isinstance(value, bytes):
                return None
            subject = value
        elif number == 2:
            if wire != 0 or not isinstance(value, int):
                return None
            sequence = value
    return subject, sequence


@given(st.binary(max_size=30), UINT64)
def test_an_ack_as_libraries_send_it(subject: bytes, sequence: int) -> None:
    encoded = oracle.Ack(subject=subject, sequence=sequence).SerializeToString()
    assert decode_ack(encoded) == (subject, sequence)


@given(damaged(st.lists(st.one_of(st.builds(length_delimited, st.just(1), st.binary(max_size=20)),
                                  st.builds(varint_field, st.just(2), UINT64), fields()), max_size=5)
               .map(b"".join)))  # fmt: skip
def test_a_damaged_ack(encoded: bytes) -> None:
    assert decode_ack(encoded) == reference_ack(encoded)


def test_an_ack_cut_at_every_byte() -> None:
    encoded = oracle.Ack(subject=b"foo.bar", sequence=2**63 + 5).SerializeToString()
    for size in range(len(encoded) + 1):
        assert decode_ack(encoded[:size]) == reference_ack(encoded[:size])


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (b"", (b"", 0)),
        (b"\x10\x05", (b"", 5)),
        (b"\x10\x05\x10\x06", (b"", 6)),
        (b"\x10" + b"\xff" * 9 + b"\x01", (b"", 2**64 - 1)),
        (b"\x10" + b"\xff" * 10 + b"\x01", None),
        (b"\x08\x05", None),
        (b"\x12\x01x", None),
        (b"\x15\x01\x02\x03\x04", None),
        (b"\x13\x14", None),
    ],
)
def test_acks_to_the_byte(encoded: bytes, expected: tuple[bytes, int] | None) -> None:
    assert decode_ack(encoded) == expected


# The stored message.


@given(
    st.integers(1, 2**63 - 1),
    st.binary(min_size=1, max_size=300),
    st.binary(max_size=30),
    st.binary(max_size=300),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=5),
)
def test_a_stored_message_is_what_google_writes(
    sequence: int, channel: bytes, reply: bytes, data: bytes, timestamp_ns: int, around: bytes
) -> None:
    expected = oracle.MsgProto(sequence=sequence, subject=channel, reply=reply, data=data, timestamp=timestamp_ns)
    source = around + reply + around + data + around
    reply_start = len(around)
    data_start = 2 * len(around) + len(reply)
    for kind in (bytes, bytearray):
        out = ByteBuffer(1)
        out.put(around)
        put_message(
            out,
            sequence,
            length_field(2, channel),
            kind(source),
            reply_start,
            reply_start + len(reply),
            data_start,
            data_start + len(data),
            timestamp_ns,
        )
        assert out.view() == around + expected.SerializeToString()


@pytest.mark.parametrize("count", [1, 127, 128, 2**21, 2**32 - 1])
def test_a_redelivery_is_the_stored_message_and_two_fields(count: int) -> None:
    message = oracle.MsgProto(sequence=7, subject=b"foo", data=b"hello", timestamp=1)
    out = ByteBuffer(1)
    out.put(message.SerializeToString())
    before = out.used
    put_redelivery(out, count)
    assert out.used - before == redelivery_size(count)
    message.redelivered = True
    message.redeliveryCount = count
    assert out.view() == message.SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384])
@pytest.mark.parametrize("number", [1, 2, 15, 16, 100])
def test_a_length_field(number: int, size: int) -> None:
    assert length_field(number, b"x" * size) == length_delimited(number, b"x" * size)


# The publisher's ack.


@given(st.binary(min_size=1, max_size=60), st.binary(min_size=1, max_size=300), st.binary(max_size=5))
def test_a_publisher_s_ack_frame(reply: bytes, guid: bytes, around: bytes) -> None:
    source = bytearray(around + reply + guid + around)
    start = len(around)
    middle = start + len(reply)
    out = ByteBuffer(1)
    put_pub_ack_frame(out, source, start, middle, middle, middle + len(guid))
    payload = oracle.PubAck(guid=guid).SerializeToString()
    assert out.view() == b"PUB %b %d\r\n%b\r\n" % (reply, len(payload), payload)


def test_two_acks_follow_each_other() -> None:
    out = ByteBuffer(1)
    source = bytearray(b"reply1g1reply2g2")
    put_pub_ack_frame(out, source, 0, 6, 6, 8)
    put_pub_ack_frame(out, source, 8, 14, 14, 16)
    assert out.view() == b"PUB reply1 4\r\n\x0a\x02g1\r\nPUB reply2 4\r\n\x0a\x02g2\r\n"


def test_a_long_guid_comes_back_whole(rng: random.Random) -> None:
    guid = rng.randbytes(20_000)
    encoded = oracle.PubMsg(guid=guid, subject=b"foo").SerializeToString()
    found = decode_publish(encoded)
    assert found is not None
    out = ByteBuffer(1)
    put_pub_ack_frame(out, bytearray(b"r" + guid), 0, 1, 1, 1 + len(guid))
    assert out.view() == b"PUB r 20004\r\n\x0a" + varint(20_000) + found["guid"] + b"\r\n"
