"""The reader of clients' streams: cut and damaged anyhow, it takes what is ours and forwards the rest as it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nats_streaming.protocol.client_frames import (
    ARGUMENT_BYTES_MAX,
    GO_ON,
    INSERT,
    LINE_BYTES_MAX,
    WAIT,
)
from nats_streaming.protocol.nats_reader import PAYLOAD_BYTES_MAX

from .client_stream import ACK_SID, CLOSE_SID, PAYLOAD_MAX, PUB_SID, Client, Taken, frames_of

OURS = b"PUB _STAN.pub.c.foo _STAN.acks.x 5\r\nhello\r\n"
TAKEN = Taken(PUB_SID, b"_STAN.pub.c.foo", b"_STAN.acks.x", b"hello")
ORDINARY = (
    b'CONNECT {"verbose":false}\r\nPING\r\nSUB _INBOX.a.* 1\r\n'
    + OURS
    + b"PUB other 3\r\nabc\r\n"
    + b"pub\t_INBOX.ack.7 \t 0\n\r\n"
    + b"HPUB other r 12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 1 5\r\nPONG\r\n"
    + b"PUB _STAN.close.c _INBOX.a.1 33\r\nPUB _STAN.pub.c.foo 3\r\nabc\r\n_____\r\n"
    + b"SUB a.b q 2\r\n"
)
ORDINARY_TAKEN = [
    TAKEN,
    Taken(ACK_SID, b"_INBOX.ack.7", b"", b""),
    Taken(CLOSE_SID, b"_STAN.close.c", b"_INBOX.a.1", b"PUB _STAN.pub.c.foo 3\r\nabc\r\n_____"),
]
ORDINARY_LINES = [b'CONNECT {"verbose":false}', b"SUB _INBOX.a.* 1", b"UNSUB 1 5", b"SUB a.b q 2"]


def check_ordinary(client: Client) -> None:
    assert client.taken == ORDINARY_TAKEN
    assert client.lines == ORDINARY_LINES
    frames, refused = frames_of(ORDINARY)
    assert not refused
    assert client.forwarded == b"".join(frame.raw for frame in frames if frame.taken is None)
    assert not client.kept
    assert not client.blinded


def test_every_cut_into_two() -> None:
    for cut in range(len(ORDINARY) + 1):
        client = Client()
        client.feed(ORDINARY[:cut])
        client.feed(ORDINARY[cut:])
        check_ordinary(client)


def test_byte_by_byte() -> None:
    client = Client()
    for at in range(len(ORDINARY)):
        client.feed(ORDINARY[at : at + 1])
    check_ordinary(client)


def test_what_is_taken_and_what_is_forwarded_keep_their_order() -> None:
    client = Client()
    client.feed(b"SUB a 1\r\n" + OURS + OURS + b"PING\r\nSUB b 2\r\n" + OURS)
    assert client.log == [
        ["line", b"SUB a 1"],
        b"SUB a 1\r\n",
        TAKEN,
        TAKEN,
        ["line", b"SUB b 2"],
        b"PING\r\nSUB b 2\r\n",
        TAKEN,
    ]


def test_something_is_put_before_a_line() -> None:
    client = Client()
    client.answers = {b"UNSUB 1 2": INSERT}
    client.feed(b"PING\r\n" + OURS + b"PING\r\nUNSUB 1 2\r\nPONG\r\n")
    assert client.log == [
        b"PING\r\n",
        TAKEN,
        ["line", b"UNSUB 1 2"],
        b"PING\r\n",
        "insert",
        b"UNSUB 1 2\r\nPONG\r\n",
    ]
    assert client.reader.pings == 2


def test_a_line_waits() -> None:
    client = Client()
    client.answers = {b"UNSUB 1 2": WAIT}
    client.feed(b"PING\r\nUNSUB 1 2\r\n" + OURS)
    assert client.log == [b"PING\r\n", "insert"]
    assert client.kept == b"UNSUB 1 2\r\n" + OURS
    assert client.reader.pings == 1
    client.feed(b"")
    assert client.log[2:] == [["line", b"UNSUB 1 2"], b"UNSUB 1 2\r\n", TAKEN]


def test_between_which_lines_nothing_can_come_back() -> None:
    client = Client()
    steps = []
    client.on_line = lambda line: steps.append(client.reader.steps) or GO_ON  # type: ignore[func-returns-value, method-assign]
    client.feed(b"SUB a 1\r\nPING\r\nSUB b 2\r\n" + OURS + b"SUB c 3\r\nPUB a 1\r\nx\r\nSUB d 4\r\n")
    client.feed(b"SUB e 5\r\n")
    assert steps[0] == steps[1] == steps[2]
    assert len(set(steps)) == 3


def test_connect_needs_no_space() -> None:
    client = Client()
    client.feed(b'CONNECT{"verbose":false}\r\n' + OURS)
    assert client.lines == [b'CONNECT{"verbose":false}']
    assert client.taken == [TAKEN]


@pytest.mark.parametrize(
    "line",
    [
        b"PUB",
        b"PUB ",
        b"PUB _STAN.pub.c.x",
        b"PUB  \t ",
        b"PUB 5",
        b"PUB_STAN.pub.c.x 5",
        b"PUBX _STAN.pub.c.x 5",
        b"PUB _STAN.pub.c.x r s 5",
        b"PUB _STAN.pub.c.x -1",
        b"PUB _STAN.pub.c.x +5",
        b"PUB _STAN.pub.c.x 5x",
        b"PUB _STAN.pub.c.x 0x5",
        b"PUB _STAN.pub.c.x 0000000005",
        b"PUB _STAN.pub.c.x 18446744073709551621",
        b"PUB _STAN.pub.c.x 4294967301",
        b"PUB _STAN.pub.c.x %d" % (PAYLOAD_MAX + 1),
        b"PUB _STAN.pub.c.x %d" % (PAYLOAD_BYTES_MAX + 1),
        b"PUB _STAN.pub.c.\rx 5",
        b"PUB _STAN.pub.c.x 5\r ",
        b"\rPUB _STAN.pub.c.x 5",
        b" PUB _STAN.pub.c.x 5",
        b"HPUB",
        b"HPUB x",
        b"HPUB _STAN.pub.c.x 5",
        b"HPUB _STAN.pub.c.x 6 5",
        b"HPUB _STAN.pub.c.x a 5",
        b"HPUB _STAN.pub.c.x r s 0 5",
        b"HPING",
        b"PIN",
        b"P",
        b"H",
        b"S",
        b"SUB",
        b"SUB ",
        b"SUBX a 1",
        b"SUP a 1",
        b"UNSU",
        b"UNSUB",
        b"UNSUB ",
        b"CONNECT",
        b"CONNECT ",
        b"CONNECTX {}",
        b"CON {}",
        b"",
        b"MSG a 1 5",
        b"GET / HTTP/1.1",
        b"+OK",
        b"\x16\x03\x01",
        b"PUB _STAN.pub.c.%b 5" % (b"x" * ARGUMENT_BYTES_MAX),
        b"SUB %b 1" % (b"x" * ARGUMENT_BYTES_MAX),
    ],
)
def test_behind_what_a_nats_server_refuses_nothing_is_taken(line: bytes) -> None:
    for ending in (b"\r\n", b"\n"):
        stream = OURS + line + ending + b"hello\r\n" + OURS
        for cut in {len(OURS) + len(line) // 2, len(OURS) + len(line), len(OURS) + len(line) + len(ending)}:
            client = Client()
            client.feed(stream[:cut])
            client.feed(stream[cut:])
            assert client.taken == [TAKEN]
            assert client.forwarded + client.kept == stream[len(OURS) :]
            assert client.blinded == 1
            assert not client.lines
            client.feed(OURS)
            assert client.taken == [TAKEN]
            assert client.blinded == 1


@pytest.mark.parametrize("ending", [b"\n\n", b"\rX", b"XX", b"X\n", b"\r\r"])
def test_a_payload_that_is_longer_or_shorter_than_it_says(ending: bytes) -> None:
    client = Client()
    client.feed(b"PUB _STAN.pub.c.x 5\r\nhello" + ending + OURS)
    assert not client.taken
    assert client.forwarded == b"PUB _STAN.pub.c.x 5\r\nhello" + ending + OURS


@pytest.mark.parametrize(
    "subject",
    [
        b"_STAN.pub.c",
        b"_STAN.pub.c.",
        b"_STAN.pub.c..",
        b"_STAN.pub.c..x",
        b"_STAN.pub.c.x.",
        b"_STAN.pub.c.x..y",
        b"_STAN.pub.c.*",
        b"_STAN.pub.c.>",
        b"_STAN.pub.c.x*",
        b"_STAN.pub.cx.x",
        b"_STAN.pub",
        b"_stan.pub.c.x",
        b"_INBOX.ack.",
        b"_INBOX.ack.1.2",
        b"_INBOX.ack.*",
        b"_STAN.close.c.x",
        b"_STAN.close.",
        b".",
        b"x",
    ],
)
def test_a_subject_that_is_not_ours(subject: bytes) -> None:
    client = Client()
    client.feed(b"PUB %b 1\r\nx\r\n" % subject + OURS)
    assert client.taken == [TAKEN]
    assert client.forwarded == b"PUB %b 1\r\nx\r\n" % subject


@pytest.mark.parametrize("line", [b"PUB %b 5", b"pUb\t%b\t5", b"PUB   %b \t 5  ", b"PUB %b 000000005"])
@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_a_line_may_be_written_in_several_ways(line: bytes, ending: bytes) -> None:
    client = Client()
    client.feed(line % b"_STAN.pub.c.foo.bar" + ending + b"hello\r\n")
    assert client.taken == [Taken(PUB_SID, b"_STAN.pub.c.foo.bar", b"", b"hello")]
    assert not client.forwarded


def spoil_with_headers(client: Client) -> None:
    client.feed(b"HPUB _STAN.pub.c.x 12 12\r\nNATS/1.0\r\n\r\n\r\n")


def spoil_with_tap(client: Client) -> None:
    client.offers.taps = 1
    client.feed(OURS)
    client.offers.taps = 0


def spoil_without_sink(client: Client) -> None:
    sink, client.offers.sink = client.offers.sink, None
    client.feed(OURS)
    client.offers.sink = sink


def spoil_while_verbose(client: Client) -> None:
    client.reader.takes = False
    client.feed(OURS)
    client.reader.takes = True


def spoil_with_unknown_limit(client: Client) -> None:
    client.offers.payload_max = 0
    client.feed(OURS)
    client.offers.payload_max = PAYLOAD_MAX


def spoil_with_reply(client: Client) -> None:
    client.feed(b"PUB _STAN.pub.c.x _R_.abc 5\r\nhello\r\n")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_with_headers,
        spoil_with_tap,
        spoil_without_sink,
        spoil_while_verbose,
        spoil_with_unknown_limit,
        spoil_with_reply,
    ],
)
def test_once_a_publish_went_the_other_way_all_do(spoil: object) -> None:
    """It may be on its way still, and would be overtaken."""
    client = Client()
    client.feed(OURS)
    spoil(client)  # type: ignore[operator]
    assert client.taken == [TAKEN]
    client.feed(OURS)
    assert client.taken == [TAKEN]
    assert client.forwarded.endswith(OURS)
    assert not client.blinded, "other frames are read still"
    client.feed(b"SUB a 1\r\n")
    assert client.lines == [b"SUB a 1"]


@pytest.mark.parametrize("reply", [b"_R_.x", b"_GR_.x.y", b"$GR.x", b"$JS.ACK.x"])
def test_replies_that_nats_keeps_for_itself_are_for_it_to_refuse(reply: bytes) -> None:
    client = Client()
    client.feed(b"PUB _STAN.pub.c.x %b 1\r\nx\r\n" % reply)
    assert not client.taken


def test_an_endless_line_is_not_gathered() -> None:
    client = Client()
    client.feed(b"PUB " + b" " * LINE_BYTES_MAX)
    assert not client.kept
    assert client.reader.blind


def test_a_payload_too_large_is_not_gathered() -> None:
    """nats-server refuses it at once, so it hears of it at once."""
    client = Client()
    client.feed(b"PUB x %d\r\nabc" % (PAYLOAD_MAX + 1))
    assert client.forwarded == b"PUB x %d\r\nabc" % (PAYLOAD_MAX + 1)
    assert not client.kept


WORDS = st.sampled_from(
    [
        b"PUB",
        b"HPUB",
        b"SUB",
        b"UNSUB",
        b"PING",
        b"PONG",
        b"CONNECT",
        b"pub",
        b"_STAN.pub.c.x",
        b"_INBOX.ack.1",
        b"_STAN.close.c",
        b"r",
        b"0",
        b"1",
        b"5",
        b"12",
        b"{}",
        b" ",
        b" ",
        b" ",
        b"\t",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"hello",
        b"x",
    ]
)
SUBJECTS = st.sampled_from([b"_STAN.pub.c.x", b"_STAN.pub.c.a.b", b"_INBOX.ack.3", b"_STAN.close.c", b"x", b"_INBOX.a"])
PAYLOADS = st.one_of(st.binary(max_size=PAYLOAD_MAX), st.just(OURS[:PAYLOAD_MAX]))


@st.composite
def good_frames(draw: st.DrawFn) -> bytes:
    operation = draw(st.sampled_from([b"PUB", b"PUB", b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"CONNECT"]))
    space = draw(st.sampled_from([b" ", b"  ", b"\t"]))
    ending = draw(st.sampled_from([b"\r\n", b"\n"]))
    if operation == b"PING":
        return operation + ending
    subject = draw(SUBJECTS)
    if operation == b"CONNECT":
        return operation + space + b"{}" + ending
    if operation in (b"SUB", b"UNSUB"):
        return operation + space + subject + space + b"7" + ending
    payload = draw(PAYLOADS)
    words = [operation, subject, *draw(st.sampled_from([[], [b"_INBOX.reply"]]))]
    if operation == b"HPUB":
        words.append(b"%d" % draw(st.integers(0, len(payload))))
    return space.join([*words, b"%d" % len(payload)]) + ending + payload + b"\r\n"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    stream = bytearray(b"".join(draw(st.lists(good_frames(), max_size=6))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 3))] = draw(st.one_of(WORDS, st.binary(max_size=3)))
    return bytes(stream)


STREAMS = st.one_of(
    st.lists(good_frames(), max_size=8).map(b"".join), damaged(), st.lists(WORDS, max_size=40).map(b"".join)
)


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 600), max_size=5))
@example(stream=b"PUB \nfoo 5\r\nhello\r\n", cuts=[])
@example(stream=b"HPUB _STAN.pub.c.x 0 0\r\n\r\n" + OURS, cuts=[])
def test_whatever_comes_is_forwarded_or_taken_and_taken_is_what_nats_would_take(stream: bytes, cuts: list[int]) -> None:
    client = Client()
    at = 0
    for cut in sorted({cut for cut in cuts if cut < len(stream)}):
        client.feed(stream[at:cut])
        at = cut
    client.feed(stream[at:])

    frames, refused = frames_of(stream)
    expected: list[Taken] = []
    rest = b""
    at = 0
    spoilt = False
    for frame in frames:
        spoilt = spoilt or (frame.taken is not None and frame.operation == b"HPUB")
        if frame.taken is not None and not spoilt:
            expected.append(frame.taken)
        else:
            rest += frame.raw
        at += len(frame.raw)
    assert client.taken == expected
    assert client.forwarded + client.kept == rest + stream[at:]
    assert client.forwarded.startswith(rest)
    assert client.reader.blind is refused or (client.reader.blind and not frames_of(stream + b"\r\n")[0][len(frames) :])
    expected_lines = [frame.raw for frame in frames if frame.operation in (b"SUB", b"UNSUB", b"CONNECT")]
    assert client.lines == [raw.removesuffix(b"\n").removesuffix(b"\r") for raw in expected_lines]
