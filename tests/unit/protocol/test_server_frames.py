"""The scanner of what a nats-server sends: cut anyhow, it finds the frames, counts them and cuts out what is ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.protocol.frame_router import Outlet, Target
from nats_streaming.protocol.server_frames import LINE_BYTES_MAX, Fence, FrameScanner

MSG = b"MSG _INBOX.a 1 5\r\nhello\r\n"


def scan(stream: bytes, cuts: list[int], scanner: FrameScanner) -> list[bytes]:
    """The runs of whole frames that the scanner finds."""
    runs = []
    rest = b""
    at = 0
    for cut in [*sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]:
        data = bytearray(rest + stream[at:cut])
        end = scanner.whole(data, len(data))
        if end:
            runs.append(bytes(data[:end]))
        rest = bytes(data[end:])
        at = cut
        assert not scanner.lost
        if scanner.wanted:
            assert scanner.wanted > len(rest)
    assert not rest
    return runs


@st.composite
def server_frames(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([b"MSG", b"HMSG", b"PING", b"+OK", b"-ERR 'x y'", b'INFO {"a": 5}', b"PONG"]))
    if kind not in (b"MSG", b"HMSG"):
        return kind + b"\r\n"
    payload = draw(st.one_of(st.binary(max_size=40), st.just(MSG + MSG), st.just(b"\r\nMSG a 1 999999\r\n")))
    words = [kind, draw(st.sampled_from([b"_INBOX.a", b"a.b", b"5"])), draw(st.sampled_from([b"1", b"sid", b"99"]))]
    words += draw(st.sampled_from([[], [b"reply.5"]]))
    if kind == b"HMSG":
        words.append(b"%d" % draw(st.integers(0, len(payload))))
    return b" ".join([*words, b"%d" % len(payload)]) + b"\r\n" + payload + b"\r\n"


@given(frames=st.lists(server_frames(), max_size=8), cuts=st.lists(st.integers(0, 600), max_size=6))
def test_others_may_be_put_between_the_frames_of_a_server(frames: list[bytes], cuts: list[int]) -> None:
    targets = {sid: Target(Outlet(None), sid) for sid in (b"1", b"sid")}
    runs = scan(b"".join(frames), cuts, FrameScanner(targets))
    bounds = {0}
    for frame in frames:
        bounds.add(max(bounds) + len(frame))
    at = 0
    for run in runs:
        at += len(run)
        assert at in bounds, "a run ends within a frame"
    for sid, target in targets.items():
        came = sum(1 for frame in frames if b"MSG " in frame[:5] and frame.split(b" ")[2] == sid)
        assert target.relayed == came


@pytest.mark.parametrize("size", [b"5", b"05", b"00000005", b"000000005"])
def test_sizes_come_as_their_publisher_wrote_them(size: bytes) -> None:
    stream = b"MSG a 1 %b\r\nhello\r\nHMSG a 1 0 %b\r\nhello\r\n" % (size, size)
    assert scan(stream, [], FrameScanner({})) == [stream]


def test_large_messages_that_hold_messages() -> None:
    payload = MSG * 200_000
    stream = b"MSG big 7 r %d\r\n%b\r\n" % (len(payload), payload) + MSG
    assert scan(stream, [5, 30, 1000, 2_000_000, len(stream) - len(MSG)], FrameScanner({})) == [
        stream[: -len(MSG)],
        MSG,
    ]


def test_a_subscription_ends_with_its_last_message() -> None:
    target = Target(Outlet(None), b"1")
    target.limit = 3
    target.delivered = 1
    scanner = FrameScanner({b"1": target})
    scan(MSG, [], scanner)
    assert scanner.ended == []
    scan(MSG + MSG, [], scanner)
    assert scanner.ended == [target]


def cut_out(scanner: FrameScanner, stream: bytes) -> bytes:
    data = bytearray(stream)
    assert scanner.whole(data, len(data)) == len(data)
    return b"".join(scanner.for_client(data, len(data)))


def test_the_answer_to_a_ping_of_ours_is_not_for_the_client() -> None:
    scanner = FrameScanner({})
    scanner.expect(Fence(2))
    assert cut_out(scanner, b"PONG\r\n" + MSG) == b"PONG\r\n" + MSG
    assert scanner.fences
    data = bytearray(MSG + b"PONG\r\nPONG\r\n")
    assert scanner.for_client(data, scanner.whole(data, len(data))) == [MSG, b"PONG\r\n"], "something goes in between"
    assert not scanner.fences


def test_of_an_ended_subscription_nothing_comes_up_to_its_fence() -> None:
    targets = {b"1": Target(Outlet(None), b"1")}
    scanner = FrameScanner(targets)
    scanner.expect(Fence(1, [b"1", b"2"]))
    other, late, new = MSG.replace(b" 1 ", b" 3 "), MSG, MSG.replace(b"_INBOX.a", b"new")
    assert cut_out(scanner, late + other + late) == other
    assert targets[b"1"].relayed == 0, "the ID was given anew"
    assert cut_out(scanner, late + b"PONG\r\n" + new + late.replace(b" 1 ", b" 2 ")) == new + late.replace(
        b" 1 ", b" 2 "
    )
    assert targets[b"1"].relayed == 1
    assert not scanner.ended_sids


def test_an_id_that_ends_twice_before_its_first_fence() -> None:
    scanner = FrameScanner({})
    scanner.expect(Fence(1, [b"1"]))
    scanner.expect(Fence(2, [b"1"]))
    assert cut_out(scanner, MSG + b"PONG\r\n" + MSG + b"PONG\r\n" + MSG) == MSG


def test_answers_to_what_we_said_are_not_for_the_client() -> None:
    scanner = FrameScanner({})
    scanner.expect(Fence(1, is_start=True))
    scanner.expect(Fence(2, [b"1"]))
    stream = b"+OK\r\nPONG\r\n" + MSG.replace(b" 1 ", b" 3 ") + b"+OK\r\nPONG\r\n+OK\r\nPONG\r\n"
    assert cut_out(scanner, stream) == b"+OK\r\n" + MSG.replace(b" 1 ", b" 3 ") + b"+OK\r\nPONG\r\n"


def test_what_comes_behind_the_last_message_wanted_is_cut() -> None:
    target = Target(Outlet(None), b"1")
    target.limit, target.delivered = 3, 1
    scanner = FrameScanner({b"1": target})
    assert cut_out(scanner, MSG * 4 + b"HMSG a 1 0 5\r\nhello\r\n") == MSG * 2
    assert scanner.ended == [target]
    assert target.relayed == 2


def test_that_nobody_answers_counts_for_no_limit() -> None:
    target = Target(Outlet(None), b"1")
    target.limit = 2
    scanner = FrameScanner({b"1": target})
    nobody = b"HMSG a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    other = nobody.replace(b"503", b"504")
    assert cut_out(scanner, nobody + other + nobody + MSG + MSG) == nobody + other + nobody + MSG
    assert target.relayed == 2


@pytest.mark.parametrize("line", [b"MSG x", b"MSG a 1 99999999999999999999", b"HMSG a 1 x", b"MSGaaa"])
def test_a_server_that_sends_something_else(line: bytes) -> None:
    scanner = FrameScanner({})
    data = bytearray(MSG + line + b"\r\n")
    assert scanner.whole(data, len(data)) == len(MSG)
    assert scanner.lost


def test_a_server_line_without_end() -> None:
    scanner = FrameScanner({})
    data = bytearray(b"INFO " + b"x" * LINE_BYTES_MAX)
    assert scanner.whole(data, len(data)) == 0
    assert scanner.lost
