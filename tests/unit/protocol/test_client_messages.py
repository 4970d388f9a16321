"""The codec of a client's direction, with Google's as the judge, and the server's own as the other end."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.client_messages import (
    PublishAckMessage,
    StoredMessage,
    encode_ack,
    encode_publish,
    put_ack_frame,
    put_frame,
)
from nats_streaming.protocol.stan_messages import length_field
from tests.support import stan_messages as oracle
from tests.unit.protocol.wire import damaged, length_delimited, varint_field

UINT64_MAX = 2**64 - 1
NAMES = st.binary(min_size=1, max_size=30)
DATA = st.binary(max_size=300)


def decode_stored(message: bytes) -> tuple[object, ...] | None:
    """Decode amid neighbours that are no part of it."""
    decoder = StoredMessage()
    results = []
    for before, after in ((b"", b""), (b"\x08\x07", b"\x00" * 9), (b"\xff" * 9, b"\xff" * 9)):
        data = bytearray(before + message + after)
        taken = decoder.decode(data, len(before), len(before) + len(message))
        results.append(
            (
                decoder.sequence,
                bytes(data[decoder.reply_start : decoder.reply_stop]),
                bytes(data[decoder.data_start : decoder.data_stop]),
                decoder.timestamp_ns,
                decoder.redelivered,
                decoder.redelivery_count,
            )
            if taken
            else None
        )
    assert all(result == results[0] for result in results)
    return results[0]


@given(
    st.integers(1, UINT64_MAX), NAMES, NAMES, DATA, st.integers(0, 2**63 - 1), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_a_stored_message_as_google_encodes_it(
    sequence: int, subject: bytes, reply: bytes, data: bytes, timestamp: int, redelivered: bool, count: int
) -> None:
    message = oracle.MsgProto(
        sequence=sequence, subject=subject, reply=reply, data=data, timestamp=timestamp, redelivered=redelivered,
        redeliveryCount=count,
    )  # fmt: skip
    assert decode_stored(message.SerializeToString()) == (sequence, reply, data, timestamp, redelivered, count)


@given(st.data())
def test_damaged_messages_are_refused_or_read_as_google_reads_them(data: st.DataObject) -> None:
    message = oracle.MsgProto(sequence=7, subject=b"channel", data=b"data", timestamp=123456789, redelivered=True)
    encoded = data.draw(damaged(st.just(message.SerializeToString())))
    found = decode_stored(encoded)
    try:
        judged = oracle.MsgProto.FromString(encoded)
    except DecodeError:
        assert found is None
        return
    if judged.sequence and judged.timestamp >= 0 and found is not None:
        assert found[0] == judged.sequence
        assert found[2] == judged.data


@pytest.mark.parametrize(
    "message",
    [
        b"",  # no sequence
        varint_field(1, 1) + varint_field(5, 2**63),  # a time before 1970
        varint_field(1, 1) + varint_field(4, 1),  # data that is a number
        length_delimited(1, b"1"),
        varint_field(1, 1) + b"\x22\x05data",  # shorter than it says
    ],
)
def test_what_is_no_stored_message(message: bytes) -> None:
    assert decode_stored(message) is None


@given(NAMES, NAMES)
def test_a_publish_ack(guid: bytes, error: bytes) -> None:
    decoder = PublishAckMessage()
    for message in (oracle.PubAck(guid=guid), oracle.PubAck(guid=guid, error=error)):
        data = b"before" + message.SerializeToString() + b"after"
        assert decoder.decode(data, 6, len(data) - 5)
        assert data[decoder.guid_start : decoder.guid_stop] == guid
        assert data[decoder.error_start : decoder.error_stop] == message.error
    assert not decoder.decode(b"\x08\x01", 0, 2)
    assert not decoder.decode(b"\x0a\x05abc", 0, 5)


@given(NAMES, NAMES, NAMES, DATA, NAMES)
def test_a_publish_is_what_google_decodes(
    client_id: bytes, guid: bytes, channel: bytes, data: bytes, connection_id: bytes
) -> None:
    encoded = encode_publish(
        length_field(1, client_id), guid, length_field(3, channel), data, length_field(6, connection_id)
    )
    expected = oracle.PubMsg(clientID=client_id, guid=guid, subject=channel, data=data, connID=connection_id)
    assert encoded == expected.SerializeToString()


@given(NAMES, st.integers(1, UINT64_MAX))
def test_an_ack_and_its_frame(channel: bytes, sequence: int) -> None:
    field = length_field(1, channel)
    encoded = encode_ack(field, sequence)
    assert encoded == oracle.Ack(subject=channel, sequence=sequence).SerializeToString()
    out = ByteBuffer(1)
    put_ack_frame(out, b"PUB inbox ", field, sequence)
    put_frame(out, b"PUB inbox ", encoded)
    frame = b"PUB inbox %d\r\n%b\r\n" % (len(encoded), encoded)
    assert out.take() == frame + frame
