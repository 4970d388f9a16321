"""A log file rotates without losing a line, and goes on when it cannot."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.server.logs.lines import LineFormatter
from nats_streaming.server.logs.sinks import LogFile
from nats_streaming.server.settings.options import LogOptions

LIMIT = 1000
BACKUP = re.compile(r"log\.\d{4}(\.\d\d){5}\.\d{9}")


def log_file(path: Path, limit: int = LIMIT) -> LogFile:
    return LogFile(str(path), limit, LineFormatter(LogOptions(timestamps=False), 7))


def write(file: LogFile, *lines: str) -> None:
    waiting = deque(f"{line}\n".encode() for line in lines)
    file.write(waiting)
    assert not waiting


def backups(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if BACKUP.fullmatch(path.name))


@pytest.mark.parametrize("at_once", [1, 7, 2000])
def test_rotation_loses_no_line(tmp_path: Path, at_once: int) -> None:
    file = log_file(tmp_path / "log")
    lines = [f"line {number}" for number in range(2000)]
    for start in range(0, len(lines), at_once):
        write(file, *lines[start : start + at_once])
    file.close()
    paths = [*backups(tmp_path), tmp_path / "log"]
    assert len(paths) > 15
    found: list[str] = []
    for previous, path in zip([None, *paths], paths, strict=False):
        own = path.read_text().splitlines()
        if previous is not None:
            assert own.pop(0) == f'[7] [INF] Rotated log, backup saved as "{previous}"'
        found += own
        if path.name != "log":  # full, and by its last line only
            size = path.stat().st_size
            assert size > LIMIT >= size - len(own[-1]) - 1
    assert found == lines


def test_without_a_limit_nothing_is_rotated(tmp_path: Path) -> None:
    file = log_file(tmp_path / "log", 0)
    write(file, *(["x" * 100] * 2000))
    file.close()
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]


def test_what_is_there_counts(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * LIMIT + "\n")
    file = log_file(tmp_path / "log")
    write(file, "a", "b")
    file.close()
    (backup,) = backups(tmp_path)
    assert backup.read_text().endswith("x\na\n")
    assert (tmp_path / "log").read_text().endswith("\nb\n")


def test_the_limit_holds_after_opening_anew(tmp_path: Path) -> None:
    file = log_file(tmp_path / "log")
    write(file, "x" * 900)
    (tmp_path / "log").rename(tmp_path / "moved")
    file.reopen()
    write(file, "y" * 900)
    assert not backups(tmp_path)
    write(file, "y" * 200)
    assert len(backups(tmp_path)) == 1
    file.close()


def test_a_file_that_cannot_be_moved_is_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = log_file(tmp_path / "log")

    def refuse(_from: str, _to: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    write(file, "x" * LIMIT, "y")
    size = (tmp_path / "log").read_text().index("[7]")
    text = (tmp_path / "log").read_text()
    assert "[7] [ERR] Unable to rotate log file (" in text
    assert f"will attempt next rotation at size {size + LIMIT}\ny\n" in text
    monkeypatch.undo()
    write(file, "z" * LIMIT, "fresh")
    file.close()
    assert (tmp_path / "log").read_text().endswith("\nfresh\n")
    assert len(backups(tmp_path)) == 1


def test_a_new_file_that_cannot_be_opened_leaves_the_old_one_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = log_file(tmp_path / "log")

    def refuse(_path: str) -> int:
        raise ConfigError("no more files")

    monkeypatch.setattr("nats_streaming.server.logs.sinks._open", refuse)
    write(file, "x" * LIMIT, "y")
    file.close()
    assert not backups(tmp_path)
    assert (tmp_path / "log").read_text().endswith("\ny\n")


def test_a_disk_that_is_full_in_the_middle_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is not written again, and the rest follows when there is room."""
    file = log_file(tmp_path / "log", 0)
    real_write, room = os.write, [7]

    def limited(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real_write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", limited)
    waiting = deque([b"abcde\n", b"fghij\n"])
    with pytest.raises(OSError, match="No space"):
        file.write(waiting)
    room[0] = 1000
    file.write(waiting)
    file.close()
    assert (tmp_path / "log").read_text() == "abcde\nfghij\n"
