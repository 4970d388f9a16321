"""Frames to the NATS server, and which subjects may become part of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.nats_writer import is_subject, is_wildcard, put_payload, put_publish


def frame(subject: bytes, reply: bytes, payload: bytes) -> bytes:
    out = ByteBuffer(1)
    put_publish(out, subject, reply, payload)
    return out.take()


def test_publish_frames_to_the_byte() -> None:
    assert frame(b"foo", b"", b"") == b"PUB foo 0\r\n\r\n"
    assert frame(b"foo", b"", b"hello") == b"PUB foo 5\r\nhello\r\n"
    assert frame(b"foo.bar", b"_INBOX.x", b"\r\n") == b"PUB foo.bar _INBOX.x 2\r\n\r\n\r\n"
    assert frame(b"a", b"b", b"x" * 100_000) == b"PUB a b 100000\r\n" + b"x" * 100_000 + b"\r\n"


def test_a_payload_alone() -> None:
    out = ByteBuffer(1)
    put_payload(out, b"hello")
    assert out.take() == b"\r\nhello\r\n"


@pytest.mark.parametrize(
    "subject",
    [
        b"a",
        b"_INBOX.abc.123",
        b"a.b.c",
        b"$SYS.x",
        b"a*b",
        b"a>b.>c",
        b"a.*b",
        "größe.π".encode(),
        b"\xff\xfe",
        b"x" * 2048,
    ],
)
def test_subjects(subject: bytes) -> None:
    assert is_subject(subject)
    assert not is_wildcard(subject)


@pytest.mark.parametrize(
    "subject",
    [
        b"",
        b".",
        b".a",
        b"a.",
        b"a..b",
        b"a b",
        b" a",
        b"a\t",
        b"a\r\nPUB evil 0\r\n\r\n",
        b"a\nb",
        b"a\rb",
        b"a\x00b",
        b"a\x7fb",
        b"x" * 2049,
        b"*",
        b">",
        b"a.*",
        b"a.*.b",
        b"a.>",
        b"*.a",
    ],
)
def test_what_is_no_subject(subject: bytes) -> None:
    """Each would break the line it is put in, or reach nobody."""
    assert not is_subject(subject)


@pytest.mark.parametrize("subject", [b"*", b">", b"a.*", b"a.>", b"*.b", b"a.*.b"])
def test_wildcards(subject: bytes) -> None:
    assert is_wildcard(subject)


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_a_checked_subject_cannot_break_a_frame(subject: bytes, reply: bytes, payload: bytes) -> None:
    if not is_subject(subject) or not is_subject(reply):
        return
    line, rest = frame(subject, reply, payload).split(b"\r\n", 1)
    assert line.split() == [b"PUB", subject, reply, b"%d" % len(payload)]
    assert rest == payload + b"\r\n"
