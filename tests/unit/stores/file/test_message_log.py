"""The messages of a channel: slices, gaps, dropping, deleting, reading."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.findings import CorruptMessageError
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.stores.segment import Segment
from tests.support.stan_messages import MsgProto

from .directory import (
    CHANNEL,
    TIMESTAMP_NS,
    QuickFiles,
    append,
    data_of,
    encoded,
    expected,
    open_root,
    payload,
    read_all,
    reopen,
    segment_of,
)


def slices(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "foo").glob("msgs.*.dat"))


def in_slice(directory: Path, number: int) -> int:
    """Messages in a slice, by the size of its index."""
    return ((directory / f"foo/msgs.{number}.idx").stat().st_size - 4) // 32


# Life of a channel.


@pytest.mark.store_spec(1)
def test_a_fresh_channel_has_nothing(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        channel = opened.channel
        assert (channel.first_sequence, channel.last_sequence) == (0, 0)
        assert channel.read(1, 10) is None
        assert channel.find_time(0) == 1
        assert (tmp_path / "foo/subs.dat").read_bytes() == b"\1\0\0\0"
        assert slices(tmp_path) == []


@pytest.mark.store_spec(2)
def test_what_is_appended_is_read_before_and_after_it_is_written(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 3)
        assert (tmp_path / "foo/msgs.1.dat").stat().st_size == 4
        assert read_all(opened.channel) == expected((1, 3))
        opened.channel.flush()
        append(opened.channel, 4, 5)
        assert read_all(opened.channel) == expected((1, 5))
    with reopen(tmp_path) as opened:
        assert read_all(opened.channel) == expected((1, 5))
        assert (opened.stored.first, opened.stored.last, opened.stored.count) == (1, 5, 5)
        assert opened.stored.size == sum(map(len, expected((1, 5)).values()))
        assert opened.stored.last_timestamp_ns == TIMESTAMP_NS + 5


@pytest.mark.store_spec(3)
def test_what_is_there_is_not_appended_again(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 5)
        append(opened.channel, 1, 5)
        append(opened.channel, 4, 7)
        assert read_all(opened.channel) == expected((1, 7))
    assert in_slice(tmp_path, 1) == 7


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_other_messages_under_known_sequences_replace_those_and_all_behind(tmp_path: Path, cut: int) -> None:
    """A commit failed, and the engine used its sequences again."""
    with reopen(tmp_path, slice_max_msgs=2) as opened:
        append(opened.channel, 1, 7)
        opened.channel.sync()
        given = [payload(sequence) if sequence < cut else b"other" for sequence in range(1, cut + 1)]
        opened.channel.append(segment_of(1, given), 1, cut)
        wanted = expected((1, cut - 1)) | {cut: encoded(cut, b"other")}
        assert read_all(opened.channel) == wanted
        append(opened.channel, cut + 1, 9)
        wanted |= expected((cut + 1, 9))
        assert read_all(opened.channel) == wanted
    with reopen(tmp_path, slice_max_msgs=2) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == wanted


@pytest.mark.store_spec(13)
def test_the_first_message_may_have_any_sequence(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 20, 21)
        assert (opened.channel.first_sequence, opened.channel.last_sequence) == (20, 21)
        assert list(read_all(opened.channel, 20)) == [20, 21]


@pytest.mark.store_spec(14)
def test_a_removed_channel_is_not_recovered_and_its_name_is_free(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 5)
        old = opened.channel
        opened.root.remove_channel(CHANNEL)
        opened.root.remove_channel(b"unknown")
        assert opened.root.channel(CHANNEL) is None
        assert not (tmp_path / "foo").exists()
        with pytest.raises(StoreError, match="closed"):
            append(old, 6, 6)
        append(opened.channel, 1, 1)
        opened.channel.flush()
        assert read_all(opened.channel) == expected((1, 1))
        opened.root.remove_channel(CHANNEL)
    with reopen(tmp_path) as opened:
        assert opened.state.channels == {}


@pytest.mark.store_spec(24)
def test_closing_twice_is_fine_and_nothing_goes_on_behind_it(tmp_path: Path) -> None:
    opened = reopen(tmp_path)
    channel = opened.channel
    append(channel, 1, 1)
    opened.root.close()
    opened.root.close()
    channel.close()
    with pytest.raises(StoreError, match="closed"):
        channel.read(1, 1)


# Slices.


@pytest.mark.store_spec(35)
def test_slices_by_count(tmp_path: Path) -> None:
    with reopen(tmp_path, slice_max_msgs=1) as opened:
        append(opened.channel, 1, 3)
    assert slices(tmp_path) == ["msgs.1.dat", "msgs.2.dat", "msgs.3.dat"]
    with reopen(tmp_path, slice_max_msgs=2) as opened:
        append(opened.channel, 4, 4)
        assert read_all(opened.channel) == expected((1, 4))
    assert slices(tmp_path) == ["msgs.1.dat", "msgs.2.dat", "msgs.3.dat"]
    assert in_slice(tmp_path, 3) == 2


def test_a_slice_exceeds_its_bytes_by_one_message(tmp_path: Path) -> None:
    size = len(encoded(1, payload(1))) + 40
    with reopen(tmp_path, slice_max_bytes=2 * size + 1) as opened:
        append(opened.channel, 1, 4)
    assert (in_slice(tmp_path, 1), in_slice(tmp_path, 2)) == (3, 1)


def test_slices_by_age(tmp_path: Path) -> None:
    with reopen(tmp_path, slice_max_bytes=0, slice_max_age_ns=10) as opened:
        opened.channel.append(segment_of(1, [b"x"] * 9, step_ns=4), 1, 9)
    assert [in_slice(tmp_path, number) for number in (1, 2, 3)] == [3, 3, 3]


@pytest.mark.store_spec(36)
def test_slices_of_a_quarter_of_the_channels_limits(tmp_path: Path) -> None:
    from nats_streaming.stores.file.options import FileOptions
    from nats_streaming.stores.file.root_files import RootFiles

    options = FileOptions(directory=str(tmp_path), slice_max_bytes=0)
    root = RootFiles(str(tmp_path), options, QuickFiles(), limits=lambda name: ChannelLimits(max_messages=8))
    root.recover()
    append(root.create_channel(CHANNEL), 1, 5)
    root.close()
    assert [in_slice(tmp_path, number) for number in (1, 2, 3)] == [2, 2, 1]


@pytest.mark.store_spec(35)
def test_numbers_of_slices_may_have_gaps(tmp_path: Path) -> None:
    with reopen(tmp_path, slice_max_msgs=2) as opened:
        append(opened.channel, 1, 6)
    for number, other in ((3, 12), (2, 7)):
        for suffix in ("dat", "idx"):
            (tmp_path / f"foo/msgs.{number}.{suffix}").rename(tmp_path / f"foo/msgs.{other}.{suffix}")
    with reopen(tmp_path, slice_max_msgs=2) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((1, 6))
        append(opened.channel, 7, 7)
    assert slices(tmp_path) == ["msgs.1.dat", "msgs.12.dat", "msgs.13.dat", "msgs.7.dat"]


@pytest.mark.store_spec(37)
def test_a_slice_goes_when_its_messages_are_dropped_and_the_last_one_stays(tmp_path: Path) -> None:
    with reopen(tmp_path, slice_max_msgs=2) as opened:
        append(opened.channel, 1, 4)
        opened.channel.drop_until(3)
        assert slices(tmp_path) == ["msgs.2.dat"]
        opened.channel.drop_until(5)
        assert slices(tmp_path) == ["msgs.2.dat"]
        assert (opened.channel.first_sequence, opened.channel.last_sequence) == (5, 4)
        append(opened.channel, 5, 5)
        assert slices(tmp_path) == ["msgs.3.dat"]
        assert read_all(opened.channel) == expected((5, 5))


@pytest.mark.store_spec(51)
@pytest.mark.parametrize("script_fails", [False, True])
def test_the_archive_script_gets_what_goes(
    tmp_path: Path, script_fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "nats_streaming")
    script, root = tmp_path / "archive.sh", tmp_path / "root"
    ending = "exit 3" if script_fails else 'mv "$2" "$3" .'
    script.write_text(f'#!/bin/sh\ncd "{tmp_path}"\necho "$1 $2 $3"\n{ending}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with reopen(root, slice_max_msgs=2, slice_archive_script=str(script)) as opened:
        append(opened.channel, 1, 3)
        opened.channel.drop_until(3)
    data, index = str(root / "foo/msgs.1.dat.bak"), str(root / "foo/msgs.1.idx.bak")
    printed = f"foo {data} {index}\n"
    if script_fails:
        assert Path(data).exists()
        wanted = f'Error invoking archive script "{script}": exit status 3 (output={printed})'
    else:
        assert (tmp_path / "msgs.1.dat.bak").exists()
        assert (tmp_path / "msgs.1.idx.bak").exists()
        wanted = f"Output of archive script for foo ({data} and {index}): {printed}"
    assert caplog.messages == [wanted]
    with reopen(root) as opened:
        assert read_all(opened.channel) == expected((3, 3))


@pytest.mark.store_spec(51)
def test_an_archive_script_that_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "nats_streaming")
    with reopen(tmp_path, slice_max_msgs=1, slice_archive_script="/no/such/script") as opened:
        append(opened.channel, 1, 2)
        opened.channel.drop_until(2)
    assert caplog.messages[0].startswith('Error invoking archive script "/no/such/script": ')


# Gaps and holes.


@pytest.mark.store_spec(49)
def test_gaps_are_filled_for_the_original_and_are_holes_for_us(tmp_path: Path) -> None:
    with reopen(tmp_path, slice_max_msgs=3) as opened:
        for sequence in (1, 2, 5, 6, 7, 8):
            append(opened.channel, sequence, sequence)
        assert read_all(opened.channel) == expected((1, 2), (5, 8))
        segment = opened.channel.read(3, 1)
        assert segment is not None
        assert (segment.base, len(segment), segment.message(3)) == (3, 1, None)
    # Fillers do not begin a slice, and count for its limit: 1 to 4, 5 to 7, 8.
    assert [in_slice(tmp_path, number) for number in (1, 2, 3)] == [4, 3, 1]
    with reopen(tmp_path, slice_max_msgs=3) as opened:
        assert read_all(opened.channel) == expected((1, 2), (5, 8))
        assert (opened.stored.count, opened.stored.last) == (6, 8)
    (tmp_path / "foo/removed.stan").unlink()
    (tmp_path / "sizes.stan").unlink()
    with reopen(tmp_path) as opened:
        found = data_of(read_all(opened.channel))
        assert (found[3], found[4], opened.stored.count) == (b"", b"", 8)
        third = MsgProto.FromString(read_all(opened.channel)[3])
        assert (third.subject, third.timestamp) == (CHANNEL, TIMESTAMP_NS + 5)


def test_a_gap_that_is_too_wide_begins_a_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nats_streaming.stores.file.message_log.FILLED_GAP_MAX", 10)
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 2)
        append(opened.channel, 100_000, 100_001)
        assert slices(tmp_path) == ["msgs.1.dat", "msgs.2.dat"]
        segment = opened.channel.read(3, 1 << 20)
        assert segment is not None
        assert len(segment) == 1 << 14
        assert list(read_all(opened.channel)) == [1, 2, 100_000, 100_001]


@pytest.mark.store_spec(50)
def test_directories_of_older_servers_have_gaps_in_their_indexes(tmp_path: Path) -> None:
    from .directory import SliceBytes

    gappy = SliceBytes()
    for sequence in (2, 3, 7, 8, 12):
        gappy.add(sequence)
    with reopen(tmp_path):
        pass
    gappy.write(tmp_path)
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((2, 3), (7, 8), (12, 12))
        assert (opened.stored.first, opened.stored.count) == (2, 5)
        for sequence in range(2, 13):
            segment = opened.channel.read(sequence, 1)
            assert segment is not None
            assert (segment.message(sequence) is not None) == (sequence in (2, 3, 7, 8, 12))
        opened.channel.drop_until(5)
        opened.channel.delete([8, 9])
        assert opened.channel.find_time(TIMESTAMP_NS + 9) == 12
        append(opened.channel, 13, 13)
        assert read_all(opened.channel) == expected((7, 7), (12, 13))
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((7, 7), (12, 13))
        assert opened.stored.count == 3


def test_a_deleted_message_leaves_no_bytes(tmp_path: Path) -> None:
    secret = b"secret" * 40
    with reopen(tmp_path) as opened:
        opened.channel.append(segment_of(1, [b"a", secret, b"c"]), 1, 3)
        opened.channel.delete([2, 2, 9, 0])
        assert data_of(read_all(opened.channel)) == {1: b"a", 3: b"c"}
        assert opened.root.state().channels[CHANNEL].count == 2
    assert b"secret" not in (tmp_path / "foo/msgs.1.dat").read_bytes()
    with reopen(tmp_path) as opened:
        assert data_of(read_all(opened.channel)) == {1: b"a", 3: b"c"}
        assert (opened.stored.first, opened.stored.last, opened.stored.count) == (1, 3, 2)
        (tmp_path / "foo/msgs.1.idx").unlink()
    with reopen(tmp_path) as opened:
        assert data_of(read_all(opened.channel)) == {1: b"a", 3: b"c"}


def test_the_last_message_may_be_deleted_and_its_sequence_stays_used(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 2)
        opened.channel.delete([2])
    with reopen(tmp_path) as opened:
        assert (opened.stored.last, opened.stored.count) == (2, 1)
        append(opened.channel, 3, 3)
        assert read_all(opened.channel) == expected((1, 1), (3, 3))


def test_holes_at_the_end_are_remembered(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        opened.channel.append(segment_of(1, [b"a", None, None]), 1, 3)
        assert (opened.channel.first_sequence, opened.channel.last_sequence) == (1, 3)
    with reopen(tmp_path) as opened:
        assert opened.state.channels[CHANNEL].last == 3
        append(opened.channel, 4, 4)
        assert data_of(read_all(opened.channel)) == {1: b"a", 4: payload(4)}


# Dropping.


@pytest.mark.store_spec(25)
def test_what_is_dropped_stays_dropped(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 5)
        opened.channel.drop_until(4)
        opened.channel.drop_until(2)
        assert opened.channel.first_sequence == 4
    with reopen(tmp_path) as opened:
        assert (opened.stored.first, opened.stored.count) == (4, 2)
        opened.channel.drop_until(100)
        assert (opened.channel.first_sequence, opened.channel.last_sequence) == (6, 5)
    with reopen(tmp_path) as opened:
        assert (opened.stored.first, opened.stored.last, opened.stored.count) == (6, 5, 0)
        assert opened.channel.read(6, 1) is None
        assert opened.channel.find_time(0) == 6
        append(opened.channel, 6, 7)
        assert read_all(opened.channel) == expected((6, 7))


def test_the_original_may_go_on_where_everything_was_dropped(tmp_path: Path) -> None:
    """It does not know what we remember, so what it stores must not count as dropped."""
    from .directory import SliceBytes

    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 3)
        opened.channel.drop_until(4)
    bytes_of = SliceBytes()
    for sequence in range(1, 6):
        bytes_of.add(sequence)
    bytes_of.write(tmp_path)
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((4, 5))
        assert (opened.stored.first, opened.stored.last, opened.stored.count) == (4, 5, 2)


def test_what_is_remembered_of_other_messages_is_ignored(tmp_path: Path) -> None:
    """The original emptied the channel and filled it anew, as its clusters do."""
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 5)
        opened.channel.drop_until(4)
        opened.channel.delete([5])
    for path in (tmp_path / "foo").glob("msgs.*"):
        path.unlink()
    (tmp_path / "sizes.stan").unlink()
    with reopen(tmp_path, QuickFiles()) as opened:
        opened.root.close()
    other = reopen(tmp_path / "other")
    other.channel.append(segment_of(1, [b"x"] * 6, step_ns=7), 1, 6)
    other.root.close()
    for path in (tmp_path / "other/foo").glob("msgs.*"):
        path.rename(tmp_path / "foo" / path.name)
    for path in sorted((tmp_path / "other").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "other").rmdir()
    with reopen(tmp_path) as opened:
        assert any("speaks of other messages" in text for text in opened.texts)
        assert list(data_of(read_all(opened.channel)).values()) == [b"x"] * 6
    with reopen(tmp_path) as opened:
        assert opened.texts == []


# Reading.


def test_a_read_ends_with_its_count_its_bytes_or_its_slice(tmp_path: Path) -> None:
    size = len(encoded(1, payload(1))) + 8
    with reopen(tmp_path, slice_max_msgs=6, read_buffer_size=3 * size) as opened:
        append(opened.channel, 1, 9)
        opened.channel.flush()

        def length(first: int, count: int) -> int:
            segment = opened.channel.read(first, count)
            assert segment is not None
            assert segment.base == first
            return len(segment)

        assert [length(1, 2), length(1, 100), length(5, 100), length(9, 1), length(1, 0)] == [2, 3, 2, 1, 1]
        assert opened.channel.read(10, 1) is None


def test_a_read_of_what_was_dropped_gives_holes_up_to_what_is_there(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 6)
        opened.channel.drop_until(4)
        segment = opened.channel.read(2, 4)
        assert segment is not None
        assert [segment.message(sequence) is None for sequence in (2, 3, 4, 5)] == [True, True, False, False]


@pytest.mark.store_spec(12)
def test_a_search_by_time(tmp_path: Path) -> None:
    with reopen(tmp_path, slice_max_msgs=3) as opened:
        opened.channel.append(segment_of(1, [b"x"] * 8, step_ns=10), 1, 8)
        find = opened.channel.find_time
        for _ in range(2):
            assert find(0) == 1
            assert [find(TIMESTAMP_NS + 10 * sequence) for sequence in range(1, 9)] == list(range(1, 9))
            assert [find(TIMESTAMP_NS + 10 * sequence - 5) for sequence in range(1, 9)] == list(range(1, 9))
            assert find(TIMESTAMP_NS + 81) == 9
            opened.channel.flush()
        opened.channel.drop_until(5)
        assert find(0) == 5
        assert find(TIMESTAMP_NS + 60) == 6


def damage(directory: Path, sequence: int, at: int) -> None:
    """Change a byte of a message's record, `at` bytes behind its begin."""
    path = directory / "foo/msgs.1.dat"
    content = bytearray(path.read_bytes())
    begin = 4 + sum(8 + len(encoded(each, payload(each))) for each in range(1, sequence))
    content[begin + at] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 3, 5, 8, 9, 12, 25])
def test_a_damaged_message_is_refused_and_set_aside_and_no_other(tmp_path: Path, at: int) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 5)
    damage(tmp_path, 3, at)
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        segment = opened.channel.read(1, 100)
        assert segment is not None
        assert len(segment) == 2
        with pytest.raises(CorruptMessageError) as caught:
            opened.channel.read(3, 100)
        path = str(tmp_path / "foo/msgs.1.dat")
        assert (caught.value.file, caught.value.sequence) == (path, 3)
        assert f'"{path}" at offset {caught.value.offset}: ' in str(caught.value)
        finding = opened.channel.set_aside(3)
        assert (finding.file, finding.offset, finding.kept) == (path, caught.value.offset, f"{path}.corrupt-1")
        assert read_all(opened.channel) == expected((1, 2), (4, 5))
        kept = Path(finding.kept).read_bytes()
        header, _, content = kept.partition(b"\n")
        assert header == f"bytes {finding.offset} to {finding.stop} of msgs.1.dat".encode()
        assert len(content) == finding.stop - finding.offset
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((1, 2), (4, 5))
        assert opened.stored.count == 4


def test_the_texts_of_damage(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 3)
    damage(tmp_path, 1, 12)
    damage(tmp_path, 2, 0)
    with reopen(tmp_path) as opened:
        with pytest.raises(CorruptMessageError, match=r"corrupted data, expected crc to be 0x[0-9a-f]{8}, got 0x"):
            opened.channel.read(1, 1)
        with pytest.raises(CorruptMessageError, match=r"expected size to be \d+, got \d+"):
            opened.channel.read(2, 1)


@pytest.mark.store_spec(59)
def test_without_checksums_damage_in_the_payload_passes(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        append(opened.channel, 1, 3)
    damage(tmp_path, 2, 25)
    with reopen(tmp_path, crc=False) as opened:
        found = read_all(opened.channel)
        assert list(found) == [1, 2, 3]
        assert found[2] != encoded(2, payload(2))


# Options of writing.


@pytest.mark.store_spec(52)
@pytest.mark.parametrize("buffer_size", [0, 1, 100, 1 << 20])
def test_the_files_are_the_same_whatever_the_buffer(tmp_path: Path, buffer_size: int) -> None:
    def write(directory: Path, size: int) -> dict[str, bytes]:
        with reopen(directory, buffer_size=size, slice_max_msgs=7) as opened:
            append(opened.channel, 1, 10)
            opened.channel.append(segment_of(11, [b"large" * 300]), 11, 11)
            if size <= 100:
                assert in_slice(directory, 2) == 4
        return {path.name: path.read_bytes() for path in (directory / "foo").iterdir()}

    assert write(tmp_path / "one", buffer_size) == write(tmp_path / "two", 2 << 20)


@pytest.mark.store_spec(60)
def test_another_polynomial(tmp_path: Path) -> None:
    with reopen(tmp_path, crc_poly=0x82F63B78) as opened:
        append(opened.channel, 1, 3)
    with reopen(tmp_path, crc_poly=0x82F63B78) as opened:
        assert opened.texts == []
        assert read_all(opened.channel) == expected((1, 3))
    with pytest.raises(StoreError, match=r'unable to recover server file ".*server.dat": corrupted data, expected crc'):
        open_root(tmp_path, strict=True).recover()


def test_the_modes_of_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with reopen(tmp_path / "root") as opened:
            append(opened.channel, 1, 1)
            opened.channel.drop_until(2)
    finally:
        os.umask(before)
    for path in (tmp_path / "root").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_a_segment_may_be_larger_than_what_is_wanted_of_it(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        opened.channel.append(segment_of(1, map(payload, range(1, 11))), 4, 6)
        assert read_all(opened.channel, 4) == expected((4, 6))
        segment = Segment(7)
        assert len(segment) == 0
        opened.channel.append(segment, 7, 6)
        assert opened.channel.last_sequence == 6


@pytest.mark.store_spec(57)
def test_many_channels_within_few_descriptors(tmp_path: Path) -> None:
    names = [b"ch.%d" % number for number in range(30)]
    before = len(os.listdir("/proc/self/fd"))
    with reopen(tmp_path, fds_limit=4) as opened:
        for turn in range(3):
            for name in names:
                append(opened.root.create_channel(name), turn * 2 + 1, turn * 2 + 2, name=name)
            opened.root.flush()
            assert len(os.listdir("/proc/self/fd")) <= before + 4
        opened.root.sync()
    with reopen(tmp_path, fds_limit=4, parallel_recovery=10) as opened:
        assert opened.texts == []
        for name in names:
            assert opened.state.channels[name].count == 6


@pytest.mark.store_spec(57)
@pytest.mark.parametrize("side_by_side", [1, 10])
def test_a_channel_that_fails_a_strict_recovery_leaves_no_file_open(tmp_path: Path, side_by_side: int) -> None:
    names = [b"ch.%d" % number for number in range(100)]
    with reopen(tmp_path) as opened:
        for name in names:
            append(opened.root.create_channel(name), 1, 2, name=name)
    (tmp_path / "ch.57/subs.dat").write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    root = open_root(tmp_path, strict=True, parallel_recovery=side_by_side, fds_limit=20)
    with pytest.raises(StoreError, match=r"unable to recover subscription store for \[ch.57\]"):
        root.recover()
    assert len(os.listdir("/proc/self/fd")) == before
    root.close()
