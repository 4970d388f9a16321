"""Files of the journal that are written over: what is new comes back, and nothing of then."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.stores.batch import ChannelCreated, encode_batch
from nats_streaming.stores.file import journal_frames
from nats_streaming.stores.file.journal_frames import header
from nats_streaming.testing.faulty_files import IO_ERROR, NO_SPACE, FaultyFiles, FileFault
from tests.unit.stores.file.test_journal import frame, header_in, names, opened, payload, written


def again(directory: Path, last: int = 12, size: int = 20) -> list[bytes]:
    """The journal is killed in a file that has served before, and has batches of then behind those of now."""
    journal, _ = opened(directory)
    for number in range(1, last + 1):
        if number in (9, 11):
            journal.rotate()
        if number == 10:
            journal.cut(8)
        journal.append(payload(number, size if number > 8 else 20))
    assert names(directory) == ["journal.2.stan", "journal.3.stan"]
    return [payload(number, size) for number in range(9, last + 1)]


def alone(directory: Path) -> list[bytes]:
    """As `again`, without the file before it."""
    batches = again(directory)
    (directory / "journal.2.stan").unlink()
    return batches[2:]


def test_a_file_that_is_used_again_gives_what_is_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = again(tmp_path)
    path = tmp_path / "journal.3.stan"
    content = path.read_bytes()
    begin = header(11, header_in(path).salt, again=True)
    assert content.startswith(begin + frame(path, 11, payload(11)) + frame(path, 12, payload(12)) + bytes(16))
    assert payload(8) in content
    journal, found = opened(tmp_path, strict=True)
    assert found == batches
    assert [batch.number for batch in journal.read_back(12)] == [9, 10, 11, 12]
    assert caplog.text == ""


@pytest.mark.parametrize("size", [0, 1, 16, 20, 36, 100])
def test_batches_of_then_never_come_back(tmp_path: Path, size: int) -> None:
    """Whatever part of them is written over."""
    for last in range(11, 16):
        directory = tmp_path / str(last)
        directory.mkdir()
        batches = again(directory, last, size)
        assert opened(directory, strict=True)[1] == batches


def test_a_torn_commit_in_a_file_that_is_used_again_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = alone(tmp_path)
    path = tmp_path / "journal.3.stan"
    content = path.read_bytes()
    at = content.index(frame(path, 12, payload(12))) + len(frame(path, 12, payload(12)))
    torn = frame(path, 13, payload(13))
    for length in range(1, len(torn)):
        for other in tmp_path.iterdir():
            other.unlink()
        path.write_bytes(content[:at] + torn[:length] + content[at + length :])
        journal, found = opened(tmp_path, strict=True)
        assert found == batches, length
        assert "dropped an unfinished commit" in caplog.text, length
        caplog.clear()
        journal.append(payload(14))
        journal.close()
        assert opened(tmp_path, strict=True)[1] == [*batches, payload(14)]


def test_a_flipped_bit_anywhere_in_a_file_that_is_used_again(tmp_path: Path) -> None:
    batches = alone(tmp_path)
    path = tmp_path / "journal.3.stan"
    content = path.read_bytes()
    for position in range(len(content)):
        for other in tmp_path.iterdir():
            other.unlink()
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        _, found = opened(tmp_path)
        assert all(batch in batches for batch in found), position
        assert len(found) >= len(batches) - 1, position
        if len(found) < len(batches):
            assert (tmp_path / "journal.3.stan.damaged").exists(), position


def test_a_file_is_used_again_only_when_its_end_is_on_the_disk(tmp_path: Path) -> None:
    """Before, a power loss could give it its old name back, with new content."""
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    journal.rotate()
    journal.append(payload(2))
    files.plan = lambda _count, operation, _path: IO_ERROR if operation == "sync_directory" else None
    with pytest.raises(StoreError):
        journal.cut(1)
    files.plan = None
    journal.rotate()
    journal.append(payload(3))
    assert names(tmp_path) == ["journal.1.stan.spare", "journal.2.stan", "journal.3.stan"]
    journal.cut(1)
    journal.rotate()
    journal.append(payload(4))
    assert names(tmp_path) == ["journal.2.stan", "journal.3.stan", "journal.4.stan"]
    journal.close()
    assert opened(tmp_path, strict=True)[1] == [payload(2), payload(3), payload(4)]


def test_a_file_whose_sync_failed_is_not_used_again(tmp_path: Path) -> None:
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    files.plan = lambda _count, operation, _path: NO_SPACE if operation == "sync" else None
    with pytest.raises(StoreError):
        journal.append(payload(2))
    files.plan = None
    journal.append(payload(3))
    journal.cut(1)
    assert names(tmp_path) == ["journal.2.stan"]


def test_a_start_removes_what_was_to_be_used_again(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(payload(1))
    journal.rotate()
    journal.append(payload(2))
    journal.cut(1)
    assert names(tmp_path) == ["journal.1.stan.spare", "journal.2.stan"]
    _, found = opened(tmp_path)
    assert found == [payload(2)]
    assert names(tmp_path) == ["journal.2.stan"]


def test_without_its_headers_it_gives_nothing_of_then(tmp_path: Path) -> None:
    alone(tmp_path)
    path = tmp_path / "journal.3.stan"
    path.write_bytes(bytes(8192) + path.read_bytes()[8192:])
    assert opened(tmp_path)[1] == []


def test_messages_of_then_are_not_taken_for_batches(tmp_path: Path) -> None:
    """Whoever publishes something that looks like a frame makes no commit of it."""
    journal, _ = opened(tmp_path)
    forged = b"".join(
        journal_frames.frame(number, payload(number), salt) for salt in (0, 1) for number in (4, 5, 2**60, 2**64 - 1)
    )
    journal.append(payload(1))
    journal.append(encode_batch([ChannelCreated(forged)]))
    journal.rotate()
    journal.append(payload(3))
    journal.cut(2)
    journal.rotate()
    journal.append(payload(4))
    assert forged in (tmp_path / "journal.3.stan").read_bytes()
    journal.close()
    journal, found = opened(tmp_path, strict=True)
    assert found == [payload(3), payload(4)]
    assert journal.append(payload(5)) == 5


def test_what_cannot_be_renamed_is_removed(tmp_path: Path) -> None:
    """Also when it was renamed, and only the answer was lost."""

    class Deaf(FaultyFiles):
        deaf = False

        def rename(self, path: str, target: str) -> None:
            super().rename(path, target)
            if self.deaf:
                raise StoreError(f"rename {path}: Input/output error")

    files = Deaf(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    journal.rotate()
    journal.append(payload(2))
    files.deaf = True
    journal.cut(1)
    assert names(tmp_path) == ["journal.2.stan"]


def test_room_is_given_back(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(payload(1))
    journal.rotate()
    journal.append(payload(2))
    journal.cut(1)
    journal.give_back()
    assert names(tmp_path) == ["journal.2.stan"]
    journal.rotate()
    journal.append(payload(3))
    assert names(tmp_path) == ["journal.2.stan", "journal.3.stan"]


@pytest.mark.parametrize("operation", ["sync_directory", "unlink", "rename", "open"])
def test_a_file_that_could_not_be_begun_or_removed_goes_in_the_end(tmp_path: Path, operation: str) -> None:
    """It would be replayed one day, when the file that makes it void is gone."""
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    files.plan = lambda _count, call, _path: IO_ERROR if call in ("sync", operation, "unlink") else None
    for number in range(2, 5):
        with pytest.raises(StoreError):
            journal.append(payload(number))
    files.plan = lambda _count, call, _path: IO_ERROR if call in (operation, "unlink") else None
    for number in range(5, 8):
        with contextlib.suppress(StoreError):
            journal.append(payload(number))
    files.plan = None
    journal.append(payload(8))
    last = journal.rotate()
    journal.append(payload(9))
    journal.cut(last)
    assert len([name for name in names(tmp_path) if name.endswith(".stan")]) == 1, names(tmp_path)
    journal.close()
    journal.cut(journal.last)
    assert not [name for name in names(tmp_path) if name.endswith(".stan")], names(tmp_path)


def test_a_header_alone_holds_nothing_up(tmp_path: Path) -> None:
    """A crash in the first commit of a file leaves it, with a number that the next life is far from."""
    (tmp_path / "journal.3.stan").write_bytes(header(50_001, 7) + b"torn")
    journal, found = opened(tmp_path, strict=True)
    assert found == []
    journal.append(payload(1))
    journal.cut(0)
    assert names(tmp_path) == ["journal.4.stan"]
    assert (journal.oldest, journal.last) == (1, 1)
    assert [batch.number for batch in journal.read_back(1)] == [1]


def test_what_stands_for_everything_stands_alone(tmp_path: Path) -> None:
    written(tmp_path, 4)
    (tmp_path / "journal.2.stan").write_bytes(header(5, 7))
    journal, found = opened(tmp_path)
    assert len(found) == 4
    assert len(journal.supersede(payload(1))) == 2
    assert [batch.payload for batch in journal.read_back(1)] == [payload(1)]
    journal.append(payload(2))
    journal.cut(journal.rotate())
    assert not [name for name in names(tmp_path) if name.endswith(".stan")]
    assert journal.size == 0


@pytest.mark.parametrize("begun", [False, True])
def test_a_disk_that_could_not_be_written_for_a_while(tmp_path: Path, begun: bool) -> None:
    """Nothing is kept of files that never were."""
    files = FaultyFiles(tmp_path)
    journal, _ = opened(tmp_path, files=files)
    journal.append(payload(1))
    if not begun:
        journal.rotate()
    read_only = FileFault(errno.EROFS)
    files.plan = lambda _count, call, _path: read_only if call != "truncate" else None
    for _ in range(20):
        with pytest.raises(StoreError, match="Read-only"):
            journal.append(payload(2))
    files.plan = None
    assert journal.append(payload(3)) == 2
    assert [batch.payload for batch in journal.read_back(2)] == [payload(1), payload(3)]
    assert journal.oldest == 1
    before = files.count
    journal.cut(journal.rotate())
    assert files.count - before < 100
    assert not [name for name in names(tmp_path) if name.endswith(".stan")]


def test_a_lost_page_of_a_file_that_is_used_again_is_damage(tmp_path: Path) -> None:
    """It got its name when it was whole on the disk: no crash can have torn what it begins with."""
    alone(tmp_path)
    path = tmp_path / "journal.3.stan"
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match="one of the two headers is no header"):
        opened(tmp_path, strict=True)
