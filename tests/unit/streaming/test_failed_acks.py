"""Acks of a batch whose commit failed become error acks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.nats_writer import is_subject
from nats_streaming.protocol.stan_messages import put_pub_ack_frame
from nats_streaming.streaming.failed_acks import failed_acks
from tests.support import stan_messages as oracle

ERROR = b"disk full"


def ack_frames(acks: list[tuple[bytes, bytes]]) -> bytes:
    out = ByteBuffer()
    for reply, guid in acks:
        put_pub_ack_frame(out, bytearray(reply + guid), 0, len(reply), len(reply), len(reply) + len(guid))
    return out.take()


def error_frames(acks: list[tuple[bytes, bytes]]) -> bytes:
    frames = b""
    for reply, guid in acks:
        payload = oracle.PubAck(guid=guid, error=ERROR).SerializeToString()
        frames += b"PUB %b %d\r\n%b\r\n" % (reply, len(payload), payload)
    return frames


def test_none() -> None:
    assert failed_acks(b"", ERROR) == b""


def test_to_the_byte() -> None:
    assert failed_acks(b"PUB r 4\r\n\x0a\x02g1\r\n", b"no") == b"PUB r 8\r\n\x0a\x02g1\x12\x02no\r\n"


GUIDS = st.one_of(st.binary(min_size=1, max_size=30), st.sampled_from([b"\r\n", b"\r\nPUB a 0\r\n", b"g" * 200]))
REPLIES = st.text(alphabet="abc_.XYZ019", min_size=1, max_size=20).map(str.encode).filter(is_subject)


@given(st.lists(st.tuples(REPLIES, GUIDS), max_size=8))
def test_any_acks(acks: list[tuple[bytes, bytes]]) -> None:
    assert failed_acks(ack_frames(acks), ERROR) == error_frames(acks)
