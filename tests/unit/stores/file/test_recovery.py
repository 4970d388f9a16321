"""What recovery does about everything that can be wrong with a directory, by default and with `strict`.

Source: stores specification, section 2.9; the numbers are those of its checklist, section 8.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.protocol.control_messages import ClientInfo, encode
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.findings import Severity

from .directory import (
    CHANNEL,
    SERVER,
    QuickFiles,
    SliceBytes,
    append,
    data_of,
    encoded,
    expected,
    open_root,
    payload,
    read_all,
    record,
    reopen,
    subscription,
)

SIZE = len(encoded(1, payload(1)))
RECORD = SIZE + 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Five messages, two clients, a subscription."""
    directory = tmp_path / "store"
    with reopen(directory) as opened:
        append(opened.channel, 1, 5)
        opened.channel.put_subscription(subscription(1))
        opened.channel.sent(1, [1, 2])
        for name in (b"one", b"two"):
            opened.root.put_client(ClientInfo(name, b"_INBOX.hb"))
    (directory / "sizes.stan").unlink()
    return directory


def change(path: Path, how: Callable[[bytearray], Any]) -> None:
    content = bytearray(path.read_bytes())
    how(content)
    path.write_bytes(content)


def flip(at: int) -> Callable[[bytearray], Any]:
    def how(content: bytearray) -> None:
        content[at] ^= 0x40

    return how


def cut(count: int) -> Callable[[bytearray], Any]:
    def how(content: bytearray) -> None:
        del content[-count:]

    return how


def refusal(directory: Path, **options: Any) -> tuple[str, list[str]]:
    """The error that stops a strict start, and the lines before it."""
    root = open_root(directory, strict=True, **options)
    with pytest.raises(CorruptionError) as caught:
        root.recover()
    texts = [finding.text for finding in root.findings]
    root.close()
    return str(caught.value), texts


def check_all(directory: Path, wanted: dict[int, bytes], *, count: int | None = None) -> None:
    """A further start finds this and has nothing to say, and the store goes on behind it."""
    with reopen(directory) as opened:
        assert [each.text for each in opened.root.findings if each.severity is not Severity.INFO] == []
        assert read_all(opened.channel) == wanted
        last = opened.channel.last_sequence
        append(opened.channel, last + 1, last + 1)
    with reopen(directory) as opened:
        assert read_all(opened.channel) == wanted | expected((last + 1, last + 1))


# Beginning.


@pytest.mark.store_spec(23)
def test_a_virgin_directory_has_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        root = open_root(tmp_path)
        assert root.recover() is None
        assert root.findings == []
        root.close()
    assert (tmp_path / "clients.dat").read_bytes() == b"\1\0\0\0"


@pytest.mark.store_spec(23)
def test_a_header_and_nothing_else_is_a_virgin(tmp_path: Path) -> None:
    (tmp_path / "server.dat").write_bytes(b"\1\0\0\0")
    root = open_root(tmp_path, strict=True)
    assert root.recover() is None
    root.close()


def test_channels_without_a_server(store: Path) -> None:
    (store / "server.dat").unlink()
    with reopen(store) as opened:
        assert opened.texts == [
            "Server information was not recovered, however channels are present."
            " Will initialize server and restart recovery!"
        ]
        assert opened.state.server is None
        assert read_all(opened.channel) == expected((1, 5))
        opened.root.put_server(SERVER)
    check_all(store, expected((1, 5)))


def test_every_subdirectory_is_a_channel_and_no_other_file_matters(store: Path) -> None:
    (store / "stray").mkdir()
    (store / "clients.dat123").write_bytes(b"left over")
    (store / "foo" / "subs.dat.new").write_bytes(b"left over")
    (store / "foo" / "msgs.1.dat.bak").write_bytes(b"archived")
    (store / "foo" / "notes.txt").write_bytes(b"mine")
    with reopen(store) as opened:
        assert opened.texts == []
        assert set(opened.state.channels) == {CHANNEL, b"stray"}
        assert read_all(opened.channel) == expected((1, 5))
    assert (store / "stray/subs.dat").read_bytes() == b"\1\0\0\0"


def test_subs_dat_is_made_again(store: Path) -> None:
    (store / "foo/subs.dat").unlink()
    with reopen(store, strict=True) as opened:
        assert opened.texts == []
        assert opened.stored.subscriptions == {}
    assert (store / "foo/subs.dat").read_bytes() == b"\1\0\0\0"


# The index (38 to 43).


@pytest.mark.store_spec(39)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("how", ["missing", "header"])
def test_an_index_that_is_not_there_is_built_without_a_word(store: Path, how: str, strict: bool) -> None:
    index = store / "foo/msgs.1.idx"
    before = index.read_bytes()
    index.unlink()
    if how == "header":
        index.write_bytes(before[:4])
    with reopen(store, strict=strict) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((1, 5))
    assert index.read_bytes() == before


@pytest.mark.store_spec(40)
def test_both_files_with_nothing_but_their_headers(store: Path) -> None:
    for suffix in ("dat", "idx"):
        (store / f"foo/msgs.1.{suffix}").write_bytes(b"\1\0\0\0")
    with reopen(store) as opened:
        assert opened.texts == []
        assert (opened.stored.first, opened.stored.last) == (0, 0)
        append(opened.channel, 1, 1)
    check_all(store, expected((1, 1)))


@pytest.mark.store_spec(41)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        (flip(4 + 32 + 9), "corrupted data, expected crc to be 0x"),
        (flip(4 + 4 * 32), "corrupted data, expected crc to be 0x"),
        (cut(5), "unexpected EOF"),
        (lambda content: content.extend(b"garbage"), "unexpected EOF"),
    ],
)
def test_a_damaged_index_is_built_again(store: Path, how: Callable[[bytearray], Any], error: str, strict: bool) -> None:
    index = store / "foo/msgs.1.idx"
    before = index.read_bytes()
    change(index, how)
    with reopen(store, strict=strict) as opened:
        (text,) = opened.texts
        assert text.startswith(f'Error with index file "{index}": {error}')
        assert text.endswith(". Truncating and recovering from data file")
        assert read_all(opened.channel) == expected((1, 5))
    assert index.read_bytes() == before


@pytest.mark.store_spec(43)
def test_zeros_end_an_index(store: Path) -> None:
    change(store / "foo/msgs.1.idx", lambda content: content.extend(bytes(32)))
    with reopen(store, strict=True) as opened:
        assert opened.texts == []
        append(opened.channel, 6, 6)
    check_all(store, expected((1, 6)))


@pytest.mark.store_spec(42)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("sequence", "data", "error"),
    [
        (5, b"another size", r"unable to read last record: expected record size to be \d+ bytes, got \d+ bytes"),
        (6, payload(5), "last message sequence in index is 5, data file is 6"),
    ],
)
def test_a_last_record_that_is_not_what_the_index_says(
    tmp_path: Path, sequence: int, data: bytes, error: str, strict: bool
) -> None:
    with reopen(tmp_path) as opened:
        assert opened.channel.last_sequence == 0
    (tmp_path / "sizes.stan").unlink()
    truth, index = SliceBytes(), SliceBytes()
    for each in range(1, 5):
        truth.add(each)
        index.add(each)
    truth.add(sequence, data)
    index.add(5)
    truth.index = index.index
    truth.write(tmp_path)
    path = tmp_path / "foo/msgs.1.dat"
    with reopen(tmp_path, strict=strict) as opened:
        assert re.fullmatch(f'Verification of last message for file "{path}" failed: {error}', opened.texts[0])
        assert opened.texts[1] == (
            f'Error with index file "{path.with_suffix(".idx")}": {opened.texts[0]}.'
            " Truncating and recovering from data file"
        )
        assert read_all(opened.channel) == expected((1, 4)) | {sequence: encoded(sequence, data)}
    with reopen(tmp_path) as opened:
        assert opened.texts == []


@pytest.mark.store_spec(46)
def test_an_index_header_of_another_version(store: Path) -> None:
    index = store / "foo/msgs.1.idx"
    before = index.read_bytes()
    for header, error in [
        (b"\2\0\0\0", "unsupported file version: 2 (supports [1..1])"),
        (b"\0\0\0\0", "unsupported file version: 0 (supports [1..1])"),
        (b"", "unable to verify file version: EOF"),
        (b"\1\0", "unable to verify file version: unexpected EOF"),
    ]:
        index.write_bytes(header + (before[4:] if len(header) == 4 else b""))
        place = os.path.join("foo", "msgs.1.idx")
        assert refusal(store) == (f'unable to recover message store for [foo](file: "{place}"): {error}', [])
        with reopen(store) as opened:
            assert error in opened.texts[0]
            assert read_all(opened.channel) == expected((1, 5))
        assert index.read_bytes() == before


# Behind the index (43, 48).


@pytest.mark.store_spec(48)
def test_messages_behind_the_index_are_recovered(store: Path) -> None:
    """The original ignores them; whether their publisher got an ack nobody knows."""
    change(store / "foo/msgs.1.idx", cut(64))
    with reopen(store) as opened:
        text = f'File "{store}/foo/msgs.1.dat": 2 messages behind the last one of the index were recovered'
        assert opened.texts == [text]
        assert read_all(opened.channel) == expected((1, 5))
    check_all(store, expected((1, 5)))


@pytest.mark.store_spec(48)
def test_messages_behind_the_index_are_ignored_by_the_original(store: Path) -> None:
    change(store / "foo/msgs.1.idx", cut(64))
    size = (store / "foo/msgs.1.dat").stat().st_size
    with reopen(store, strict=True) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((1, 3))
        opened.channel.append(segment_with(4, b"another"), 4, 4)
        opened.channel.flush()
        assert (store / "foo/msgs.1.dat").stat().st_size > size
    (store / "sizes.stan").unlink()
    with reopen(store) as opened:
        assert data_of(read_all(opened.channel))[4] == b"another"
    # Built anew, an index has the later one of both.
    (store / "foo/msgs.1.idx").unlink()
    with reopen(store) as opened:
        assert data_of(read_all(opened.channel))[4] == b"another"
        assert list(read_all(opened.channel)) == [1, 2, 3, 4]


def segment_with(sequence: int, data: bytes) -> Any:
    from .directory import segment_of

    return segment_of(sequence, [data])


@pytest.mark.parametrize("tail", [bytes(8), bytes(100), b"\x10\0\0\0partial", record(b"no message")])
def test_what_is_no_message_behind_the_index(store: Path, tail: bytes) -> None:
    data = store / "foo/msgs.1.dat"
    size = data.stat().st_size
    change(data, lambda content: content.extend(tail))
    with reopen(store, strict=True) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((1, 5))
    with reopen(store) as opened:
        kept = [finding.kept for finding in opened.root.findings if finding.kept]
        assert len(kept) == (1 if any(tail) else 0)
        for path in kept:
            assert Path(path).read_bytes().endswith(b"\n" + tail)
        assert read_all(opened.channel) == expected((1, 5))
    assert data.stat().st_size == size
    check_all(store, expected((1, 5)))


@pytest.mark.store_spec(43)
def test_zeros_end_the_data_when_there_is_no_index(store: Path) -> None:
    (store / "foo/msgs.1.idx").unlink()
    change(store / "foo/msgs.1.dat", lambda content: content.extend(bytes(8)))
    with reopen(store, strict=True) as opened:
        assert opened.texts == []
    assert (store / "foo/msgs.1.dat").stat().st_size == 4 + 5 * RECORD
    check_all(store, expected((1, 5)))


# The data (44 to 46).


@pytest.mark.parametrize("count", [1, SIZE, SIZE + 3, RECORD + 2])
def test_data_that_ends_too_early(store: Path, count: int) -> None:
    change(store / "foo/msgs.1.dat", cut(count))
    left = 4 if count < RECORD else 3
    with reopen(store) as opened:
        assert any("lost" in text for text in opened.errors)
        assert f'Unexpected EOF for file "{store}/foo/msgs.1.dat"' in opened.texts
        assert read_all(opened.channel) == expected((1, left))
        # No sequence is used twice, whatever is lost.
        assert (opened.stored.last, opened.stored.count) == (5, left)
    check_all(store, expected((1, left)))


@pytest.mark.store_spec(44)
def test_data_that_ends_too_early_stops_a_strict_start(store: Path) -> None:
    data, index = store / "foo/msgs.1.dat", store / "foo/msgs.1.idx"
    change(data, cut(3))
    error, texts = refusal(store)
    place = os.path.join("foo", "msgs.1.idx")
    assert error == f'unable to recover message store for [foo](file: "{place}"): unexpected EOF'
    assert not index.exists()
    offset = 4 + 4 * RECORD
    start = texts.index(f'Unexpected EOF for file "{data}"')
    header = data.read_bytes()[offset : offset + 8]
    content = data.read_bytes()[offset + 8 :]
    assert texts[start + 1 : start + 10] == [
        f'It is recommended that you make a copy of the whole datatstore "{store}".',
        f"Restart with the ContinueOnUnexpectedEOF flag to truncate this file to this offset: {offset}.",
        "Dataloss may occur. Details about the first corrupted record follows...",
        "Record header:",
        " Bytes:",
        header.hex(" "),
        f" Size: {SIZE}",
        f" CRC : 0x{int.from_bytes(header[4:], 'little'):08x}",
        "Record payload:",
    ]
    assert texts[start + 10].startswith(content[:20].hex(" ") + " - ....foo")
    assert texts[-1] == f"record payload expected to be {SIZE} bytes, only read {SIZE - 3}"
    # Once more the same, without an index; then with the option.
    assert refusal(store)[0] == error
    with reopen(store, strict=True, truncate_bad_eof=True) as opened:
        assert opened.texts[-2:] == [f'File "{data}" has been truncated to offset: {offset}', "Recovery resumes..."]
        assert read_all(opened.channel) == expected((1, 4))
    check_all(store, expected((1, 4)))


@pytest.mark.store_spec(44)
def test_a_bad_end_is_cut_off_by_the_option_with_an_index_of_nothing(store: Path) -> None:
    """The original cuts the index instead and fails the first time."""
    (store / "foo/msgs.1.idx").write_bytes(b"\1\0\0\0")
    change(store / "foo/msgs.1.dat", cut(3))
    with reopen(store, truncate_bad_eof=True) as opened:
        assert "Recovery resumes..." in opened.texts
        assert read_all(opened.channel) == expected((1, 4))


def test_damage_in_the_middle_is_not_noticed_at_the_start(store: Path) -> None:
    change(store / "foo/msgs.1.dat", flip(4 + RECORD + 20))
    with reopen(store, strict=True) as opened:
        assert opened.texts == []


@pytest.mark.parametrize("at", [0, 2, 5, 20])
@pytest.mark.parametrize("sequence", [1, 3, 5])
def test_damage_met_while_the_index_is_built(store: Path, sequence: int, at: int) -> None:
    data, index = store / "foo/msgs.1.dat", store / "foo/msgs.1.idx"
    offset = 4 + (sequence - 1) * RECORD
    index.unlink()
    change(data, flip(offset + at))
    copy = store.parent / "copy"
    shutil.copytree(store, copy)
    error, texts = refusal(copy)
    assert error.startswith("unable to recover message store for [foo](file: ")
    if at > 3:
        assert ": corrupted data, expected crc to be 0x" in error
        assert texts[0].startswith(f'Corrupted record in file "{copy}/foo/msgs.1.dat": corrupted data, ')
    assert not (copy / "foo/msgs.1.idx").exists()
    with reopen(store) as opened:
        finding = next(each for each in opened.root.findings if each.kept)
        assert (finding.file, finding.offset, finding.stop) == (str(data), offset, offset + RECORD)
        wanted = expected((1, sequence - 1), (sequence + 1, 5))
        assert read_all(opened.channel) == wanted
        assert opened.stored.count == 4
    check_all(store, wanted)
    # Where messages follow, the original can read the file again.
    if sequence not in (1, 5):
        index.unlink()
        with reopen(store, strict=True) as opened:
            assert opened.texts == []


def test_much_garbage_in_the_middle(store: Path) -> None:
    data = store / "foo/msgs.1.dat"
    (store / "foo/msgs.1.idx").unlink()
    content = data.read_bytes()
    data.write_bytes(content[: 4 + RECORD] + bytes(3 * RECORD) + content[4 + 4 * RECORD :])
    with reopen(store) as opened:
        assert "messages 2 to 4 are lost" in opened.errors[0]
        assert read_all(opened.channel) == expected((1, 1), (5, 5))
    check_all(store, expected((1, 1), (5, 5)))


def test_a_message_that_looks_like_records_is_not_taken_for_some(tmp_path: Path) -> None:
    """Its payload would be found first by a search byte by byte."""
    from .directory import segment_of

    trap = record(encoded(7, b"injected")) + record(encoded(8, b"injected"))
    with reopen(tmp_path) as opened:
        opened.channel.append(segment_of(1, [b"a", trap, b"c"]), 1, 3)
    (tmp_path / "foo/msgs.1.idx").unlink()
    change(tmp_path / "foo/msgs.1.dat", flip(4 + 8 + len(encoded(1, b"a")) + 5))
    with reopen(tmp_path) as opened:
        assert data_of(read_all(opened.channel)) == {1: b"a", 3: b"c"}


@pytest.mark.store_spec(46)
@pytest.mark.parametrize(
    ("header", "error"),
    [
        (b"\2\0\0\0", "unsupported file version: 2 (supports [1..1])"),
        (b"", "unable to verify file version: EOF"),
        (b"\1\0", "unable to verify file version: unexpected EOF"),
    ],
)
def test_a_data_header_of_another_version(store: Path, header: bytes, error: str) -> None:
    data = store / "foo/msgs.1.dat"
    content = data.read_bytes()
    whole = len(header) == 4
    data.write_bytes(header + (content[4:] if whole else b""))
    place = os.path.join("foo", "msgs.1.dat")
    assert refusal(store)[0] == f'unable to recover message store for [foo](file: "{place}"): {error}'
    with reopen(store) as opened:
        assert error in opened.errors[0]
        wanted = expected((1, 5)) if whole else {}
        assert read_all(opened.channel) == wanted
        assert opened.stored.last == 5
    check_all(store, wanted)


@pytest.mark.store_spec(61)
def test_an_index_without_its_data(store: Path) -> None:
    (store / "foo/msgs.1.dat").unlink()
    with reopen(store) as opened:
        assert "its data file is missing; messages up to 5 are lost" in opened.errors[0]
        assert not (store / "foo/msgs.1.idx").exists()
        assert (opened.stored.first, opened.stored.last, opened.stored.count) == (6, 5, 0)
        append(opened.channel, 6, 7)
        assert read_all(opened.channel) == expected((6, 7))
    check_all(store, expected((6, 7)))


def test_a_slice_of_a_wrong_name(store: Path) -> None:
    for name in ("msgs.a.dat", "msgs..dat"):
        (store / "foo" / name).write_bytes(b"\1\0\0\0")
        error, _ = refusal(store)
        assert error.endswith(f": message log has an invalid name: {name}")
        with reopen(store) as opened:
            assert f"message log has an invalid name: {name}; it is left alone" in opened.errors[0]
            assert read_all(opened.channel) == expected((1, 5))
        (store / "foo" / name).unlink()


def test_slices_that_overlap_are_parted(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        assert opened.channel.last_sequence == 0
    (tmp_path / "sizes.stan").unlink()
    first, second = SliceBytes(), SliceBytes()
    for sequence in (1, 2, 3, 4):
        first.add(sequence, b"first")
    for sequence in (3, 4, 5):
        second.add(sequence, b"second")
    first.write(tmp_path, 1)
    second.write(tmp_path, 2)
    for _ in range(2):
        with reopen(tmp_path) as opened:
            assert "messages 3 to 4 are in the next slice too" in opened.texts[0]
            assert list(data_of(read_all(opened.channel)).values()) == [b"first"] * 2 + [b"second"] * 3
            assert opened.stored.count == 5


# Server, clients, subscriptions (46, 47).


@pytest.mark.store_spec(47)
@pytest.mark.parametrize(
    ("how", "error", "bare"),
    [
        (lambda content: content.__setitem__(0, 2), "unsupported file version: 2 (supports [1..1])", True),
        (lambda content: content.clear(), "unable to verify file version: EOF", True),
        (lambda content: content.__delitem__(slice(2, None)), "unable to verify file version: unexpected EOF", True),
        (flip(20), "corrupted data, expected crc to be 0x", False),
        (cut(1), "unexpected EOF", False),
        (cut(30), "unexpected EOF", False),
        (lambda content: content.extend(record(b"x")), "incorrect file size, expected ", False),
        (lambda content: content.extend(b"\0"), "incorrect file size, expected ", False),
        (lambda content: content.__setitem__(slice(4, None), record(b"\x0a\x7f")), "", False),
        (lambda content: content.__setitem__(slice(4, None), bytes(8)), "zeros in place of a record", False),
    ],
)
def test_a_damaged_server_file(store: Path, how: Callable[[bytearray], Any], error: str, bare: bool) -> None:
    path = store / "server.dat"
    change(path, how)
    damaged = path.read_bytes()
    name = "server.dat" if bare else str(path)
    text, _ = refusal(store)
    assert text.startswith(f'unable to recover server file "{name}": {error}')
    with reopen(store) as opened:
        assert opened.root.findings
        assert read_all(opened.channel) == expected((1, 5))
        if opened.state.server is None:
            opened.root.put_server(SERVER)
        else:
            assert opened.state.server == SERVER
    kept = (store / "server.dat.corrupt-1").read_bytes() if damaged else b""
    assert kept.endswith(b".dat\n" + (damaged[:4] if damaged[:1] == b"\2" else damaged) if damaged else b"")
    check_all(store, expected((1, 5)))


@pytest.mark.store_spec(47)
@pytest.mark.parametrize("name", ["clients.dat", "foo/subs.dat"])
@pytest.mark.parametrize(
    ("tail", "error"),
    [
        (record(b"\x08\x01\x10\x05", 9), "record type: 9"),
        (record(b"\x0a\x7f", 1), "cannot be decoded"),
        (record(b"\x0a\x7f", 2), "cannot be decoded"),
        (record(b"\x08", 3), ""),
        (record(b"\x08", 4), ""),
        (record(b"\x08", 5), ""),
        (record(b"\x08\x01\x10\x05", 1)[:-1] + b"\x06", "corrupted data, expected crc to be 0x"),
        (record(b"\x08\x01\x10\x05", 5)[:-1], "unexpected EOF"),
        (b"\5", "unexpected EOF"),
    ],
)
def test_a_damaged_record(store: Path, name: str, tail: bytes, error: str) -> None:
    path = store / name
    before = path.read_bytes()
    sound = record(encode(ClientInfo(b"three")), 1) if name == "clients.dat" else record(b"\x08\x01\x10\x03", 5)
    for behind in (b"", sound):
        path.write_bytes(before + tail + behind)
        text, _ = refusal(store)
        if not behind:
            assert error in text
        place = f'client file "{path}"' if name == "clients.dat" else "subscription store for [foo]"
        assert text.startswith(f"unable to recover {place}: ")
        with reopen(store) as opened:
            kept = next(each for each in opened.root.findings if each.kept)
            assert (kept.file, kept.offset) == (str(path), len(before))
            assert set(opened.state.clients) >= {b"one", b"two"}
            assert opened.stored.subscriptions[1].pending >= {1, 2}
            if behind:
                assert b"three" in opened.state.clients or 3 in opened.stored.subscriptions[1].pending
        with reopen(store) as opened:
            assert opened.texts == []
        (store / "sizes.stan").unlink()


@pytest.mark.store_spec(43)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["clients.dat", "foo/subs.dat"])
def test_zeros_end_a_file_of_records(store: Path, name: str, strict: bool) -> None:
    before = (store / name).read_bytes()
    (store / name).write_bytes(before + bytes(8))
    with reopen(store, strict=strict) as opened:
        assert opened.texts == []
        opened.root.put_client(ClientInfo(b"three"))
        opened.channel.sent(1, [3])
    with reopen(store) as opened:
        assert opened.texts == []
        assert len(opened.state.clients) == 3
        assert opened.stored.subscriptions[1].pending == {1, 2, 3}


@pytest.mark.store_spec(44)
@pytest.mark.parametrize(("name", "typed"), [("clients.dat", True), ("foo/subs.dat", True)])
def test_a_bad_end_of_a_file_of_records_is_cut_off_by_the_option(store: Path, name: str, typed: bool) -> None:
    path = store / name
    size = path.stat().st_size
    change(path, lambda content: content.extend(record(b"\x08\x01\x10\x05", 1)[:-1]))
    texts = refusal(store)[1]
    assert " Type: 1" in texts
    with reopen(store, strict=True, truncate_bad_eof=True) as opened:
        assert opened.texts[-2:] == [f'File "{path}" has been truncated to offset: {size}', "Recovery resumes..."]
    assert path.stat().st_size == size


@pytest.mark.store_spec(46)
@pytest.mark.parametrize("name", ["clients.dat", "foo/subs.dat"])
@pytest.mark.parametrize("content", [b"", b"\2\0\0\0", b"\0\0"])
def test_a_header_of_another_version(store: Path, name: str, content: bytes) -> None:
    before = (store / name).read_bytes()
    (store / name).write_bytes(content + (before[4:] if len(content) == 4 else b""))
    text, _ = refusal(store)
    place = 'client file "clients.dat"' if name == "clients.dat" else "subscription store for [foo]"
    assert text.startswith(f"unable to recover {place}: un")
    with reopen(store) as opened:
        assert opened.errors
        if len(content) == 4:
            assert len(opened.state.clients) == 2
            assert opened.stored.subscriptions[1].pending == {1, 2}
    check_all(store, expected((1, 5)))


# Others are not to suffer.


class Unreadable(QuickFiles):
    """One channel's directory gives errors."""

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if "foo" in path:
            error = OSError(5, "Input/output error")
            raise StoreError(f"{operation} {path}: {error.strerror}") from error
        return super().system(operation, path, call, *arguments)


def test_a_channel_that_cannot_be_read_refuses_and_the_others_serve(store: Path) -> None:
    with reopen(store) as opened:
        append(opened.root.create_channel(b"bar"), 1, 2, name=b"bar")

    class OnlyDirectory(Unreadable):
        def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
            if operation == "is_directory":
                return call(*arguments)
            return super().system(operation, path, call, *arguments)

    opened = reopen(store, OnlyDirectory())
    assert opened.errors[0].startswith('Channel "foo" cannot be used: ')
    bar = opened.root.channel(b"bar")
    assert bar is not None
    assert len(read_all(bar)) == 2
    for action in (lambda: append(opened.channel, 1, 1), lambda: opened.channel.read(1, 1), opened.channel.flush):
        with pytest.raises(StoreError, match="Input/output error"):
            action()
    opened.root.close()
    check_all(store, expected((1, 5)))
    root = open_root(store, OnlyDirectory(), strict=True, parallel_recovery=3)
    with pytest.raises(StoreError):
        root.recover()
    assert root.channel(b"bar") is None


def test_files_that_end_too_early_at_the_end_of_a_record(store: Path) -> None:
    """The formats cannot tell; what was noted at the stop can."""
    with reopen(store) as opened:
        assert opened.texts == []
    subs, clients = store / "foo/subs.dat", store / "clients.dat"
    change(subs, cut(12))
    change(clients, cut(8 + len(encode(ClientInfo(b"two", b"_INBOX.hb")))))
    for path in (store / "foo").glob("msgs.*"):
        path.unlink()
    with reopen(store) as opened:
        ending = "its end is missing, or another server has rewritten it"
        told = []
        for path, missing in ((clients, 8 + len(encode(ClientInfo(b"two", b"_INBOX.hb")))), (subs, 12)):
            size = path.stat().st_size
            sizes = f"has {size} bytes, and had {size + missing} when this server stopped"
            told.append(f'File "{path}" {sizes}: {ending}')
        assert [text for text in opened.texts if text.endswith(ending)] == told
        assert 'Channel "foo": messages up to 5 were there, none is the last one now' in opened.errors
        assert (opened.stored.first, opened.stored.last) == (6, 5)
    check_all(store, {})


def test_what_a_go_server_has_added_is_not_missed(store: Path) -> None:
    with reopen(store) as opened:
        assert opened.texts == []
    change(store / "foo/subs.dat", lambda content: content.extend(record(b"\x08\x01\x10\x03", 5)))
    with reopen(store) as opened:
        assert opened.texts == []


@pytest.mark.store_spec(57)
def test_recovery_leaves_no_file_open(store: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    root = open_root(store, Files())
    root.recover()
    assert len(os.listdir("/proc/self/fd")) == before
    root.close()
