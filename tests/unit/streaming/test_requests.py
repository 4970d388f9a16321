"""Requests of our own: each ends exactly once."""

from __future__ import annotations

import pytest

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.streaming.requests import NO_RESPONDERS, Requests
from nats_streaming.streaming.timers import TimerQueue

PREFIX = b"_INBOX.abc."


class Harness:
    def __init__(self) -> None:
        self.timers = TimerQueue()
        self.out = ByteBuffer()
        self.requests = Requests(self.timers, self.out, PREFIX)
        self.ended: list[bytes | None] = []

    def send(self, deadline_ns: int = 100, subject: bytes = b"hb", payload: bytes = b"") -> bytes:
        """Send one and return the subject of its reply."""
        self.requests.send(subject, deadline_ns, self.ended.append, payload)
        line, _, rest = self.out.take().partition(b"\r\n")
        operation, to, reply, size = line.split(b" ")
        assert (operation, to, size, rest) == (b"PUB", subject, b"%d" % len(payload), payload + b"\r\n")
        assert reply.startswith(PREFIX)
        return reply


def test_a_reply() -> None:
    harness = Harness()
    reply = harness.send(payload=b"question")
    assert harness.ended == []
    harness.requests.on_reply(reply, b"answer", 0)
    assert harness.ended == [b"answer"]
    assert harness.timers.next_deadline_ns() is None


def test_an_empty_reply_is_one() -> None:
    harness = Harness()
    harness.requests.on_reply(harness.send(), b"", 0)
    assert harness.ended == [b""]


def test_nobody_listens() -> None:
    harness = Harness()
    harness.requests.on_reply(harness.send(), b"", NO_RESPONDERS)
    assert harness.ended == [None]
    assert harness.timers.next_deadline_ns() is None


def test_time_out() -> None:
    harness = Harness()
    harness.send(deadline_ns=100)
    harness.timers.run_due(99)
    assert harness.ended == []
    harness.timers.run_due(100)
    assert harness.ended == [None]


@pytest.mark.parametrize("first", ["reply", "nobody", "time-out"])
@pytest.mark.parametrize("second", ["reply", "nobody", "time-out"])
def test_whatever_comes_second_is_too_late(first: str, second: str) -> None:
    harness = Harness()
    reply = harness.send()
    for event in (first, second):
        if event == "time-out":
            harness.timers.run_due(1000)
        else:
            harness.requests.on_reply(reply, b"answer", NO_RESPONDERS if event == "nobody" else 0)
    assert harness.ended == [b"answer" if first == "reply" else None]


def test_replies_in_any_order() -> None:
    harness = Harness()
    replies = [harness.send() for _ in range(5)]
    assert len(set(replies)) == 5
    for number in (3, 0, 4):
        harness.requests.on_reply(replies[number], b"%d" % number, 0)
    harness.timers.run_due(1000)
    assert harness.ended == [b"3", b"0", b"4", None, None]


@pytest.mark.parametrize("subject", [b"", b"a b", b"a..b", b"hb.*", b"x\r\nPUB evil 0\r\n\r\n"])
def test_a_subject_that_nobody_can_have(subject: bytes) -> None:
    """A heartbeat inbox comes from a client unchecked."""
    harness = Harness()
    harness.requests.send(subject, 100, harness.ended.append)
    assert harness.ended == [None]
    assert harness.out.view() == b""
    assert harness.timers.next_deadline_ns() is None


@pytest.mark.parametrize(
    "token", [b"", b"0", b"2", b"-1", b"1x", b" 1", b"1.1", b"9" * 18, b"9" * 5000, b"\xb2", "²".encode(), b"*"]
)
def test_replies_to_nothing(token: bytes) -> None:
    harness = Harness()
    harness.send()
    harness.requests.on_reply(PREFIX + token, b"answer", 0)
    harness.requests.on_reply(b"", b"answer", 0)
    assert harness.ended == []


def test_an_end_that_sends_the_next_request() -> None:
    harness = Harness()

    def once_more(answer: bytes | None) -> None:
        harness.ended.append(answer)
        harness.requests.send(b"hb", 200, harness.ended.append)

    harness.requests.send(b"hb", 100, once_more)
    harness.timers.run_due(100)
    harness.timers.run_due(200)
    assert harness.ended == [None, None]
