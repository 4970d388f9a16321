"""Files of the journal that are written over: what is new comes back, and nothing of then."""

from __future__ import annotations

from pathlib import Path

import pytest

from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.stores.file.journal_frames import frame, header
from nats_streaming.testing.faulty_files import IO_ERROR, NO_SPACE, FaultyFiles
from tests.unit.stores.file.test_journal import names, opened, payload


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
    content = (tmp_path / "journal.3.stan").read_bytes()
    assert content.startswith(header(11, again=True) + frame(11, payload(11)) + frame(12, payload(12)) + bytes(16))
    assert frame(8, payload(8)) in content
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
    at = content.index(frame(12, payload(12))) + len(frame(12, payload(12)))
    torn = frame(13, payload(13))
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
        try:
            _, found = opened(tmp_path)
        except CorruptionError as error:
            assert "version" in str(error)  # noqa: PT017
            continue
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
