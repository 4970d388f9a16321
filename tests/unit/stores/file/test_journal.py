"""The journal: what is appended comes back, what failed does not, damage is told from what a crash leaves."""

from __future__ import annotations

import contextlib
import logging
import random
import struct
import zlib
from pathlib import Path

import pytest

from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.stores.batch import ChannelCreated, encode_batch
from nats_streaming.stores.file import journal_frames
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.journal import Journal
from nats_streaming.stores.file.journal_frames import FRAME_HEAD_BYTES, HEADER_BYTES, Header, header, header_of
from nats_streaming.testing.faulty_files import (
    IO_ERROR,
    NO_SPACE,
    POWER_LOSS,
    FaultyFiles,
    FileFault,
    PowerLossError,
    nth,
)

ZEROS = 1000


def payload(number: int, size: int = 20) -> bytes:
    return encode_batch([ChannelCreated(b"%d" % number + b"x" * size)])


def opened(directory: Path, *, strict: bool = False, files: Files | None = None) -> tuple[Journal, list[bytes]]:
    journal = Journal(str(directory), files or Files(), sync=True, strict=strict, zeros_ahead=ZEROS)
    return journal, [batch.payload for batch in journal.replay()]


def written(directory: Path, count: int, first: int = 1) -> list[bytes]:
    """Append `count` batches to what is there; the server is killed."""
    journal, _ = opened(directory)
    batches = [payload(number) for number in range(first, first + count)]
    for batch in batches:
        journal.append(batch)
    journal.close()
    return batches


def size_of(batch: bytes) -> int:
    return FRAME_HEAD_BYTES + len(batch)


def header_in(path: Path) -> Header:
    found = header_of(path.read_bytes())
    assert found is not None
    return found


def frame(path: Path, number: int, batch: bytes) -> bytes:
    """A frame as it is in this file."""
    return journal_frames.frame(number, batch, header_in(path).salt)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_nothing_is_made_before_the_first_batch(tmp_path: Path) -> None:
    journal, found = opened(tmp_path)
    assert found == []
    journal.cut(0)
    journal.close()
    assert names(tmp_path) == []


def test_batches_come_back_in_their_order_over_several_starts(tmp_path: Path) -> None:
    batches = written(tmp_path, 3) + written(tmp_path, 4, first=4)
    journal, found = opened(tmp_path)
    assert found == batches
    assert journal.last == 7
    assert names(tmp_path) == ["journal.1.stan", "journal.2.stan"]


def test_the_layout_on_disk(tmp_path: Path) -> None:
    batches = written(tmp_path, 3)
    path = tmp_path / "journal.1.stan"
    content = path.read_bytes()
    salt = header_in(path).salt
    frames = header(1, salt) + b"".join(frame(path, number, batch) for number, batch in enumerate(batches, 1))
    assert content[: len(frames)] == frames
    assert content[len(frames) :] == bytes(HEADER_BYTES + size_of(batches[0]) + 16 + ZEROS - len(frames))
    assert content[:8] == content[4096:][:8] == b"STANJRNL"
    assert len(header(1, salt)) == HEADER_BYTES == 4096 + 36
    assert len(frame(path, 1, b"abc")) == 16 + 3
    written(tmp_path, 1, first=4)
    assert header_in(tmp_path / "journal.2.stan").salt != salt


def test_rotation_and_cut(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(payload(1))
    journal.append(payload(2))
    assert journal.rotate() == 2
    journal.append(payload(3))
    journal.cut(1)
    assert names(tmp_path) == ["journal.1.stan", "journal.2.stan"]
    journal.cut(2)
    assert names(tmp_path) == ["journal.1.stan.spare", "journal.2.stan"]
    assert journal.size == (tmp_path / "journal.2.stan").stat().st_size - 16 - ZEROS
    journal.cut(3)  # the one that is being written stays
    assert names(tmp_path) == ["journal.1.stan.spare", "journal.2.stan"]
    journal.append(payload(4))
    journal.close()
    assert names(tmp_path) == ["journal.2.stan"]
    _, found = opened(tmp_path)
    assert found == [payload(3), payload(4)]


def test_closed_and_cut_it_leaves_nothing(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for number in range(1, 4):
        journal.append(payload(number))
    journal.close()
    journal.cut(journal.last)
    assert names(tmp_path) == []
    assert journal.size == 0


def test_reading_back(tmp_path: Path) -> None:
    written(tmp_path, 2)
    journal, _ = opened(tmp_path)
    journal.append(payload(3))
    journal.rotate()
    journal.append(payload(4))
    assert [batch.number for batch in journal.read_back(4)] == [1, 2, 3, 4]
    assert [batch.payload for batch in journal.read_back(3)] == [payload(1), payload(2), payload(3)]


# What a crash leaves.


def test_an_unfinished_last_batch_is_dropped_at_every_length(tmp_path: Path) -> None:
    batches = written(tmp_path, 3)
    path = tmp_path / "journal.1.stan"
    content = path.read_bytes()
    ends = [HEADER_BYTES + sum(map(size_of, batches[:count])) for count in range(4)]
    for length in (*range(50), *range(4000, ends[-1] + 20), len(content)):
        for other in tmp_path.iterdir():
            other.unlink()
        path.write_bytes(content[:length])
        journal, found = opened(tmp_path, strict=True)
        complete = sum(end <= length for end in ends) - 1
        assert found == batches[: max(complete, 0)], length
        journal.append(payload(9))
        journal.close()
        _, found = opened(tmp_path, strict=True)
        assert found == [*batches[: max(complete, 0)], payload(9)], length


def test_zeros_behind_the_last_batch_are_room_for_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = written(tmp_path, 2)
    path = tmp_path / "journal.1.stan"
    path.write_bytes(path.read_bytes() + bytes(5000))
    _, found = opened(tmp_path, strict=True)
    assert found == batches
    assert caplog.text == ""


def test_a_torn_frame_in_the_room_for_more_is_an_unfinished_commit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = written(tmp_path, 2)
    path = tmp_path / "journal.1.stan"
    size = len(path.read_bytes().rstrip(b"\0"))
    torn = frame(path, 3, payload(3))[:-5]
    path.write_bytes(path.read_bytes()[:size] + torn + bytes(5000))
    _, found = opened(tmp_path, strict=True)
    assert found == batches
    assert f"dropped an unfinished commit, {len(torn)} bytes at offset {size}" in caplog.text
    assert (tmp_path / "journal.1.stan.damaged").read_bytes() == torn


def test_zeros_are_written_ahead_in_steps(tmp_path: Path) -> None:
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    for number in range(1, 40):
        journal.append(payload(number))
    assert 39 < sum(operation == "pwrite" for operation, _ in files.log) < 39 * 3 / 2
    assert journal.size < (tmp_path / "journal.1.stan").stat().st_size <= journal.size + 16 + ZEROS


def test_no_zeros_are_written_ahead_of_large_batches(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    batches = [payload(number, 200) for number in range(1, 4)]
    for batch in batches:
        journal.append(batch)
    assert (tmp_path / "journal.1.stan").stat().st_size == journal.size + 16
    journal.close()
    assert opened(tmp_path)[1] == batches


def test_a_disk_without_room_for_zeros_is_written_to_all_the_same(tmp_path: Path) -> None:
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    calls = 0

    def plan(_number: int, operation: str, _path: str) -> FileFault | None:
        nonlocal calls
        calls += operation == "pwrite"
        return NO_SPACE if operation == "pwrite" and calls % 2 == 0 else None

    files.plan = plan
    batches = [payload(number) for number in range(1, 20)]
    for batch in batches:
        journal.append(batch)
    journal.close()
    assert opened(tmp_path)[1] == batches


def test_a_flipped_bit_anywhere_never_gives_wrong_batches(tmp_path: Path) -> None:
    batches = written(tmp_path, 4)
    path = tmp_path / "journal.1.stan"
    content = path.read_bytes()
    for position in range(len(content)):
        for other in tmp_path.iterdir():
            other.unlink()
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        _, found = opened(tmp_path)
        assert all(batch in batches for batch in found), position
        # All but the one that was hit.
        assert len(found) >= len(batches) - 1, position
        if len(found) < len(batches):
            assert (tmp_path / "journal.1.stan.damaged").read_bytes() in damaged, position


def test_damage_in_the_middle_is_reported_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = written(tmp_path, 5)
    path = tmp_path / "journal.1.stan"
    damaged = bytearray(path.read_bytes())
    start = HEADER_BYTES + size_of(batches[0])
    damaged[start + 20] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(CorruptionError, match=f"offset {start} are no batch; batches 2 to 2 are missing"):
        opened(tmp_path, strict=True)
    journal, found = opened(tmp_path)
    assert found == [batches[0], *batches[2:]]
    assert f"bytes at offset {start} are no batch" in caplog.text
    assert (tmp_path / "journal.1.stan.damaged").read_bytes() == damaged
    journal.cut(journal.last)
    assert names(tmp_path) == ["journal.1.stan.damaged"]


def test_a_missing_file_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, 2)
    written(tmp_path, 2, first=3)
    written(tmp_path, 2, first=5)
    (tmp_path / "journal.2.stan").unlink()
    _, found = opened(tmp_path)
    assert found == [payload(1), payload(2), payload(5), payload(6)]
    assert "batches 3 to 4" in caplog.text


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    begin = struct.pack("<8sIQQI", b"STANJRNL", 3, 1, 7, 0)
    (tmp_path / "journal.1.stan").write_bytes(begin + struct.pack("<I", zlib.crc32(begin)))
    with pytest.raises(CorruptionError, match="journal version 3 is not known"):
        opened(tmp_path)


def test_the_first_version_is_read(tmp_path: Path) -> None:
    begin = struct.pack("<8sIQ", b"STANJRNL", 1, 5)
    begin += struct.pack("<I", zlib.crc32(begin))
    frames = [journal_frames.frame(number, payload(number), 0) for number in (5, 6)]
    (tmp_path / "journal.1.stan").write_bytes(begin + b"".join(frames) + bytes(100))
    journal, found = opened(tmp_path, strict=True)
    assert found == [payload(5), payload(6)]
    assert journal.append(payload(7)) == 7


def test_each_of_the_two_headers_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = written(tmp_path, 3)
    path = tmp_path / "journal.1.stan"
    content = path.read_bytes()
    for lost in (slice(0, 4096), slice(4096, HEADER_BYTES)):
        damaged = bytearray(content)
        damaged[lost] = bytes(len(damaged[lost]))
        path.write_bytes(damaged)
        with pytest.raises(CorruptionError, match="one of the two headers is no header"):
            opened(tmp_path, strict=True)
        assert opened(tmp_path)[1] == batches
    path.write_bytes(bytes(HEADER_BYTES) + content[HEADER_BYTES:])
    with pytest.raises(CorruptionError, match="no batch can be read"):
        opened(tmp_path, strict=True)
    caplog.clear()
    assert opened(tmp_path)[1] == []
    assert "no batch can be read" in caplog.text


@pytest.mark.parametrize("cut", [0, 1])
def test_nothing_in_a_message_is_taken_for_a_batch(tmp_path: Path, cut: int) -> None:
    """Somebody publishes frames; the commit that has them is torn, so that what is in it is looked at."""
    journal, _ = opened(tmp_path)
    path = tmp_path / "journal.1.stan"
    journal.append(payload(1))
    forged = b"".join(
        journal_frames.frame(number, payload(number), salt)
        for salt in (0, 1, header_in(path).salt + 1)
        for number in (2, 3, 9, 2**60, 2**64 - 1)
    )
    journal.append(encode_batch([ChannelCreated(forged + b"the end")]))
    journal.close()
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: len(content) - cut])
    journal, found = opened(tmp_path, strict=True)
    assert len(found) == 2 - cut
    assert journal.append(payload(5)) == 3 - cut


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("journal.0.stan", "journal.x.stan", "journal.1.stan.damaged", "server.dat"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "journal.7.stan.new").write_bytes(b"a copy that was never finished")
    journal, found = opened(tmp_path)
    assert found == []
    journal.cut(0)
    assert names(tmp_path) == ["journal.0.stan", "journal.1.stan.damaged", "journal.x.stan", "server.dat"]


# What fails.


FAULTS = {
    "no space": NO_SPACE,
    "no space after a part": FileFault(NO_SPACE.code, written=7),
    "I/O error": IO_ERROR,
    "I/O error after a part": FileFault(IO_ERROR.code, written=30),
    "short write": FileFault(written=5),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_call_may_fail_once(tmp_path: Path, fault: FileFault) -> None:
    """Whatever call fails: what was acknowledged is there after a restart, and what was refused is not."""
    number = 0
    while True:
        number += 1
        directory = tmp_path / str(number)
        directory.mkdir()
        files = FaultyFiles(directory, nth(number, fault))
        journal, _ = opened(directory, files=files)
        acknowledged: list[bytes] = []
        cut = 0
        for batch in range(1, 9):
            if batch == 5:
                cut = len(acknowledged)
                last = journal.rotate()
            if batch == 7:
                for _ in range(2):
                    with contextlib.suppress(StoreError):
                        journal.cut(last)
            with contextlib.suppress(StoreError):
                journal.append(payload(batch))
                acknowledged.append(payload(batch))
        passed = files.count < number
        journal.close()
        _, found = opened(directory, strict=True)
        if payload(8) not in acknowledged and payload(8) in found:
            found.remove(payload(8))  # nothing after it was there to make it void
        assert found in (acknowledged[cut:], acknowledged), (number, files.log)
        if passed:
            break
    assert number > 20


def test_after_a_failed_sync_everything_is_written_anew(tmp_path: Path) -> None:
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    journal.append(payload(2))
    files.plan = lambda _count, operation, _path: IO_ERROR if operation == "sync" else None
    with pytest.raises(StoreError, match=r"sync .*journal.1.stan: Input/output error"):
        journal.append(payload(3))
    with pytest.raises(StoreError):
        journal.append(payload(4))
    files.plan = None
    assert journal.append(payload(5)) == 3
    assert "journal.1.stan" not in names(tmp_path)
    journal.close()
    _, found = opened(tmp_path, strict=True)
    assert found == [payload(1), payload(2), payload(5)]


def test_a_full_disk_costs_no_copy(tmp_path: Path) -> None:
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    files.plan = lambda _count, operation, _path: NO_SPACE if operation == "pwrite" else None
    for number in range(2, 5):
        with pytest.raises(StoreError, match="No space left on device"):
            journal.append(payload(number))
    assert names(tmp_path) == ["journal.1.stan"]
    files.plan = None
    journal.append(payload(5))
    journal.close()
    _, found = opened(tmp_path, strict=True)
    assert found == [payload(1), payload(5)]


@pytest.mark.parametrize("seed", range(40))
def test_power_loss(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Acknowledged batches survive, in order, whatever the disk did with the rest."""
    caplog.set_level(logging.ERROR)
    rng = random.Random(seed)
    directory = tmp_path / "0"
    directory.mkdir()
    acknowledged: dict[int, bytes] = {}
    cut_to = 0
    for life in range(1, 5):
        files = FaultyFiles(directory)
        journal, found = opened(directory, files=files, strict=True)
        wanted = [acknowledged[number] for number in sorted(acknowledged) if number > cut_to]
        assert [batch for batch in found if batch in wanted] == wanted, (seed, life)
        dies_at = rng.randrange(1, 60)

        def plan(count: int, operation: str, _path: str, dies_at: int = dies_at) -> FileFault | None:
            if count >= dies_at:
                return POWER_LOSS
            return IO_ERROR if operation == "sync" and rng.random() < 0.05 else None

        files.plan = plan
        number = 0
        try:
            for number in range(life * 1000, life * 1000 + 100):
                batch = payload(number, rng.choice([1, 300, 9000]))
                try:
                    journal.append(batch)
                except StoreError:
                    continue
                acknowledged[number] = batch
                if rng.random() < 0.1:
                    last = journal.rotate()
                    cut_to = number
                    with contextlib.suppress(StoreError):
                        journal.cut(last)
        except PowerLossError:
            pass
        directory = tmp_path / str(life)
        files.materialise(directory, rng)
