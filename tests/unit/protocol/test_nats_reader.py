"""The parser of the NATS link: every frame, cut everywhere; what is no frame is refused."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nats_streaming.errors import ProtocolError
from nats_streaming.protocol.nats_reader import (
    CHUNK_BYTES,
    CHUNK_BYTES_FIRST,
    LINE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    LinkControl,
    MessageSink,
    NatsReader,
)

Event = tuple[Any, ...]
"""("MSG", sid, subject, reply, payload, status), or the name of a control line and its text."""


class Recorder(MessageSink):
    """Copies what it is called with."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.fail_on_payload: bytes | None = None

    def on_message(
        self,
        data: bytearray,
        sid: int,
        subject_start: int,
        subject_stop: int,
        reply_start: int,
        reply_stop: int,
        payload_start: int,
        payload_stop: int,
        status: int,
    ) -> None:
        payload = bytes(data[payload_start:payload_stop])
        self.events.append(
            (
                "MSG",
                sid,
                bytes(data[subject_start:subject_stop]),
                bytes(data[reply_start:reply_stop]),
                payload,
                status,
            )
        )
        if payload == self.fail_on_payload:
            raise RuntimeError("the sink failed")


class ControlRecorder(LinkControl):
    def __init__(self, events: list[Event]) -> None:
        self.events = events

    def on_info(self, payload: bytes) -> None:
        self.events.append(("INFO", payload))

    def on_ping(self) -> None:
        self.events.append(("PING",))

    def on_pong(self) -> None:
        self.events.append(("PONG",))

    def on_ok(self) -> None:
        self.events.append(("+OK",))

    def on_error(self, text: bytes) -> None:
        self.events.append(("-ERR", text))


class Link:
    """A reader with what it has said so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.sink = Recorder(self.events)
        self.reader = NatsReader(self.sink, ControlRecorder(self.events))

    def read_from_socket(self, data: bytes, count: int) -> None:
        """As the event loop does: at most `count` bytes at a time into the reader's own buffer."""
        position = 0
        while position < len(data):
            room = self.reader.get_buffer(-1)
            assert len(room) > 0
            size = min(count, len(room), len(data) - position)
            room[:size] = data[position : position + size]
            room.release()
            position += size
            self.reader.buffer_updated(size)


def parsed(chunks: Iterable[bytes]) -> list[Event]:
    link = Link()
    for chunk in chunks:
        link.reader.feed(chunk)
    return link.events


def msg(subject: bytes, sid: int, payload: bytes, reply: bytes = b"") -> bytes:
    words = [b"MSG", subject, b"%d" % sid, *([reply] if reply else []), b"%d" % len(payload)]
    return b" ".join(words) + b"\r\n" + payload + b"\r\n"


def hmsg(subject: bytes, sid: int, header: bytes, payload: bytes, reply: bytes = b"") -> bytes:
    size = len(header) + len(payload)
    words = [b"HMSG", subject, b"%d" % sid, *([reply] if reply else []), b"%d" % len(header), b"%d" % size]
    return b" ".join(words) + b"\r\n" + header + payload + b"\r\n"


NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"

FRAMES: list[tuple[bytes, Event]] = [
    (b'INFO {"server_id":"x"}\r\n', ("INFO", b'{"server_id":"x"}')),
    (b"PING\r\n", ("PING",)),
    (b"PONG\r\n", ("PONG",)),
    (b"+OK\r\n", ("+OK",)),
    (b"-ERR 'Stale Connection'\r\n", ("-ERR", b"Stale Connection")),
    (msg(b"foo", 1, b"hello"), ("MSG", 1, b"foo", b"", b"hello", 0)),
    (msg(b"foo.bar", 67108864, b"", b"_INBOX.a.b"), ("MSG", 67108864, b"foo.bar", b"_INBOX.a.b", b"", 0)),
    (msg(b"a", 2, b"\r\nPING\r\nMSG a 1 5\r\n"), ("MSG", 2, b"a", b"", b"\r\nPING\r\nMSG a 1 5\r\n", 0)),
    (msg(b"a", 3, bytes(range(256))), ("MSG", 3, b"a", b"", bytes(range(256)), 0)),
    (hmsg(b"a", 4, NO_RESPONDERS, b""), ("MSG", 4, b"a", b"", b"", 503)),
    (hmsg(b"a", 5, b"NATS/1.0\r\nA: b\r\n\r\n", b"pay", b"re"), ("MSG", 5, b"a", b"re", b"pay", 0)),
    (hmsg(b"a", 6, b"", b"no header"), ("MSG", 6, b"a", b"", b"no header", 0)),
    (b"ping\r\n", ("PING",)),
    (b"PING\n", ("PING",)),
    (b"Msg\ta \t 7   3  \r\nabc\r\n", ("MSG", 7, b"a", b"", b"abc", 0)),
    (b"hmsg a 8 r  \t 0 0\r\n\r\n", ("MSG", 8, b"a", b"r", b"", 0)),
    (b"-err text\r\n", ("-ERR", b"text")),
]
STREAM = b"".join(frame for frame, _ in FRAMES)
EVENTS = [event for _, event in FRAMES]


@pytest.mark.parametrize(("frame", "event"), FRAMES, ids=[repr(frame[:20]) for frame, _ in FRAMES])
def test_each_frame_alone(frame: bytes, event: Event) -> None:
    assert parsed([frame]) == [event]


@pytest.mark.parametrize(("frame", "event"), FRAMES, ids=[repr(frame[:20]) for frame, _ in FRAMES])
def test_each_frame_cut_at_every_byte(frame: bytes, event: Event) -> None:
    for cut in range(len(frame)):
        link = Link()
        link.reader.feed(frame[:cut])
        assert link.events == [], f"nothing is said before the end, cut at {cut}"
        link.reader.feed(frame[cut:] + b"PING\r\n")
        assert link.events == [event, ("PING",)]


def test_a_stream_of_everything_cut_at_every_byte() -> None:
    assert parsed([STREAM]) == EVENTS
    for cut in range(len(STREAM) + 1):
        assert parsed([STREAM[:cut], STREAM[cut:]]) == EVENTS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_stream_in_small_pieces(size: int) -> None:
    link = Link()
    link.read_from_socket(STREAM * 3, size)
    assert link.events == EVENTS * 3


TOKENS = st.text(alphabet="abcXYZ019.*>$_-{}'\x7f", min_size=1, max_size=12).map(str.encode)
PAYLOADS = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\r\n", b"\r", b"MSG a 1 0\r\n", b"x" * 5000]))
HEADERS = st.one_of(
    st.just((b"", 0)),
    st.builds(lambda code: (b"NATS/1.0 %03d Text\r\n\r\n" % code, code), st.integers(100, 999)),
    st.builds(lambda value: (b"NATS/1.0\r\nKey: %b\r\n\r\n" % value, 0), st.sampled_from([b"", b"503", b"v"])),
)


@st.composite
def random_frames(draw: st.DrawFn) -> tuple[bytes, Event]:
    kind = draw(st.integers(0, 9))
    if kind >= 8:
        return draw(st.sampled_from(FRAMES))
    sid = draw(st.integers(0, PAYLOAD_BYTES_MAX))
    subject, reply, payload = draw(TOKENS), draw(st.one_of(st.just(b""), TOKENS)), draw(PAYLOADS)
    if kind >= 4:
        return msg(subject, sid, payload, reply), ("MSG", sid, subject, reply, payload, 0)
    header, status = draw(HEADERS)
    return hmsg(subject, sid, header, payload, reply), ("MSG", sid, subject, reply, payload, status)


@given(st.lists(random_frames(), max_size=12), st.lists(st.integers(0, 5000), max_size=12))
def test_any_frames_in_any_chunks(frames: list[tuple[bytes, Event]], cuts: list[int]) -> None:
    stream = b"".join(frame for frame, _ in frames)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    chunks = [stream[start:stop] for start, stop in pairwise(places)]
    assert parsed(chunks) == [event for _, event in frames]
    link = Link()
    link.read_from_socket(stream, 1 + sum(cuts) % 4096)
    assert link.events == [event for _, event in frames]
    assert link.reader.start == link.reader.stop == link.reader.wanted == 0


# Large frames.


@pytest.mark.parametrize(
    "size", [CHUNK_BYTES - 20, CHUNK_BYTES, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1, 1 << 20, 3 << 20]
)
@pytest.mark.parametrize("piece", [1460, 65536, 1 << 30])
def test_a_frame_larger_than_the_receive_buffer(rng: random.Random, size: int, piece: int) -> None:
    payload = rng.randbytes(size)
    link = Link()
    link.read_from_socket(b"PING\r\n" + msg(b"big", 1, payload, b"reply") + msg(b"small", 2, b"x"), piece)
    assert link.events == [
        ("PING",),
        ("MSG", 1, b"big", b"reply", payload, 0),
        ("MSG", 2, b"small", b"", b"x", 0),
    ]


def test_the_room_of_a_large_frame_is_given_back(rng: random.Random) -> None:
    link = Link()
    big = msg(b"big", 1, rng.randbytes(5 << 20))
    link.reader.feed(big[:-1])
    assert room(link) > 5 << 20
    link.reader.feed(big[-1:])
    assert room(link) <= 2 * CHUNK_BYTES
    link.reader.feed(big + b"PING")
    assert room(link) <= 2 * CHUNK_BYTES
    link.reader.feed(b"\r\n")
    assert [event[0] for event in link.events] == ["MSG", "MSG", "PING"]


def test_the_room_grows_with_what_there_is_to_read_at_a_time(rng: random.Random) -> None:
    link = Link()
    link.read_from_socket(b"PING\r\n" * 100_000, CHUNK_BYTES_FIRST - 1)
    assert room(link) == 2 * CHUNK_BYTES_FIRST, "every read has left room"
    frame = msg(b"a", 1, rng.randbytes(1000))
    link.read_from_socket(frame * 5000, 1 << 30)
    assert room(link) == 2 * CHUNK_BYTES
    assert link.events == [("PING",)] * 100_000 + [("MSG", 1, b"a", b"", frame[-1002:-2], 0)] * 5000


def room(link: Link) -> int:
    """Bytes of the receive buffer."""
    return len(link.reader.get_buffer(-1).obj)  # type: ignore[arg-type]


def test_the_largest_payload_is_awaited_and_one_more_refused() -> None:
    link = Link()
    link.reader.feed(b"MSG a 1 %d\r\nbegin" % PAYLOAD_BYTES_MAX)
    assert len(link.reader.get_buffer(-1)) >= CHUNK_BYTES_FIRST
    assert link.reader.wanted == len(b"MSG a 1 %d\r\n" % PAYLOAD_BYTES_MAX) + PAYLOAD_BYTES_MAX + 2
    assert link.events == []
    with pytest.raises(ProtocolError):
        parsed([b"MSG a 1 %d\r\n" % (PAYLOAD_BYTES_MAX + 1)])


def test_a_long_line_and_a_longer_one() -> None:
    text = b"x" * (LINE_BYTES_MAX - 100)
    link = Link()
    link.read_from_socket(b"INFO " + text + b"\r\nPING\r\n", 65536)
    assert link.events == [("INFO", text), ("PING",)]
    link = Link()
    with pytest.raises(ProtocolError, match="line"):
        link.read_from_socket(b"INFO " + b"x" * (2 * LINE_BYTES_MAX), 65536)
    assert link.events == []
    assert room(link) <= 4 * LINE_BYTES_MAX


# What is refused.


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"\x00",
        b"\xff\xfe",
        b"M",
        b"MSG",
        b"MSG ",
        b"MSG a",
        b"MSG a 1",
        b"MSG a 1 r 5 6",
        b"MSG a 1 r 5 6 7 8",
        b"MSGa 1 5",
        b"MESSAGE a 1 5",
        b"MXX a 1 0",
        b"MS  a 1 0",
        b"HMSG",
        b"HMSG a 1 0",
        b"HMSG a 1 r 0 0 0",
        b"HMSGa 1 0 0",
        b"HXXX a 1 0 0",
        b"HTTP/1.1 400 Bad Request",
        b"GET / HTTP/1.1",
        b"PINGPONG",
        b"PIN",
        b"INFOX {}",
        b"+OKAY",
        b"ERR 'x'",
        b"SUB a 1",
        # Numbers.
        b"MSG a 1 x",
        b"MSG a 1 -1",
        b"MSG a 1 +1",
        b"MSG a 1 1.0",
        b"MSG a 1 0x1",
        b"MSG a 1 1e3",
        b"MSG a 1 \xb2",
        b"MSG a x 1",
        b"MSG a -1 1",
        b"MSG a 1 67108865",
        b"MSG a 1 4294967296",
        b"MSG a 1 4294967297",
        b"MSG a 1 9223372036854775807",
        b"MSG a 1 9223372036854775808",
        b"MSG a 1 18446744073709551615",
        b"MSG a 1 18446744073709551616",
        b"MSG a 1 18446744073709551617",
        b"MSG a 1 99999999999999999999",
        b"MSG a 18446744073709551617 1",
        b"MSG a 1 " + b"9" * 4000,
        b"MSG a 1 r 18446744073709551617",
        # Header sizes.
        b"HMSG a 1 6 5",
        b"HMSG a 1 r 6 5",
        b"HMSG a 1 1 0",
        b"HMSG a 1 -1 5",
        b"HMSG a 1 x 5",
        b"HMSG a 1 18446744073709551617 5",
        b"HMSG a 1 5 18446744073709551621",
        b"HMSG a 1 67108865 67108865",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_line_that_is_none(line: bytes) -> None:
    for body in (b"", b"x\r\n" * 20):
        link = Link()
        with pytest.raises(ProtocolError):
            link.reader.feed(b"PING\r\n" + line + b"\r\n" + body)
        assert link.events == [("PING",)]


@pytest.mark.parametrize("number", [b"007", b"0" * 4000 + b"7"], ids=["007", "4000 zeros"])
def test_leading_zeros_do_not_matter(number: bytes) -> None:
    assert parsed([b"MSG a %b 3\r\nabc\r\n" % number]) == [("MSG", 7, b"a", b"", b"abc", 0)]


@pytest.mark.parametrize("end", [b"xx", b"\n\r", b"\rx", b"x\n", b"\n\n"])
def test_a_payload_that_does_not_end_where_it_should(end: bytes) -> None:
    link = Link()
    with pytest.raises(ProtocolError):
        link.reader.feed(b"MSG a 1 3\r\nabc" + end + b"PING\r\n")
    assert link.events == []


@pytest.mark.parametrize("size", range(1, 24))
def test_a_header_of_any_size_is_only_read_as_far_as_it_goes(size: int) -> None:
    header = b"NATS/1.0 503 No Responders"[:size]
    status = 503 if size >= 12 else 0
    # The payload looks like the rest of a status, and must not be read as one.
    assert parsed([hmsg(b"a", 1, header, b"503 503 503")]) == [("MSG", 1, b"a", b"", b"503 503 503", status)]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"NATS/1.0 503\r\n\r\n", 503),
        (b"NATS/1.0 503 No Responders\r\n\r\n", 503),
        (b"NATS/1.0   408 Timeout\r\n\r\n", 408),
        (b"NATS/1.0 100\r\nx: y\r\n\r\n", 100),
        (b"NATS/1.0\r\n\r\n", 0),
        (b"NATS/1.0 \r\n\r\n", 0),
        (b"NATS/1.0\r\nStatus: 503\r\n\r\n", 0),
        (b"NATS/1.0 50\r\n\r\n", 0),
        (b"NATS/1.0 5x3\r\n\r\n", 0),
        (b"NATS/1.0 -03\r\n\r\n", 0),
    ],
)
def test_statuses(header: bytes, status: int) -> None:
    assert parsed([hmsg(b"a", 1, header, b"p")]) == [("MSG", 1, b"a", b"", b"p", status)]


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([frame for frame, _ in FRAMES])), max_size=6))
@example([b"MSG a 1 \r\n"])
@example([b"HMSG a 1 0 \r\n"])
@example([b"MSG \r\n\r\n"])
def test_any_bytes_give_frames_or_a_protocol_error(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    whole = Link()
    failed = False
    try:
        whole.reader.feed(stream)
    except ProtocolError:
        failed = True
    single = Link()
    failed_too = False
    try:
        single.read_from_socket(stream, 1)
    except ProtocolError:
        failed_too = True
    assert (whole.events, failed) == (single.events, failed_too), "how it was chunked must not matter"


# Life of a reader.


def test_a_new_connection_begins_after_a_reset() -> None:
    link = Link()
    for rest in (b"MSG a 1 1000\r\nhalf", b"INFO {", b"garb\r\nage", b"MSG a 1 99999999999\r\n"):
        link.events.clear()
        with contextlib.suppress(ProtocolError):
            link.reader.feed(rest)
        link.reader.reset()
        link.reader.feed(STREAM)
        assert link.events == EVENTS


def test_a_sink_that_fails_does_not_see_its_message_twice() -> None:
    link = Link()
    link.sink.fail_on_payload = b"bad"
    with pytest.raises(RuntimeError, match="the sink failed"):
        link.reader.feed(msg(b"a", 1, b"bad") + msg(b"a", 2, b"good"))
    link.reader.feed(b"PING\r\n")
    assert [event[:2] for event in link.events] == [("MSG", 1), ("MSG", 2), ("PING",)]


def test_a_view_that_the_loop_still_holds_does_not_matter(rng: random.Random) -> None:
    """uvloop keeps the buffer exported while it reads: no bytearray may be resized in place."""
    link = Link()
    held = [link.reader.get_buffer(-1)]
    payload = rng.randbytes(700_000)
    frame = msg(b"big", 1, payload)
    for start in range(0, len(frame), 100_000):
        link.reader.feed(frame[start : start + 100_000])
        held.append(link.reader.get_buffer(-1))
    assert link.events == [("MSG", 1, b"big", b"", payload, 0)]
    for view in held:
        view.release()


def test_an_unchanged_base_sink_says_that_it_is_none() -> None:
    reader = NatsReader(MessageSink(), LinkControl())
    reader.feed(b"PING\r\nPONG\r\n+OK\r\n-ERR 'x'\r\nINFO {}\r\n")
    with pytest.raises(NotImplementedError):
        reader.feed(msg(b"a", 1, b""))
