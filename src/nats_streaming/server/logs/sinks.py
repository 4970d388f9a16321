"""Where log lines end up on this machine: a file that may be rotated and opened anew, or standard error."""

from __future__ import annotations

import logging
import os
import select
from collections import deque
from typing import Final

from nats_streaming.clock import SystemClock
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.server.logs.lines import NATS_SERVER_LOGGER, backup_suffix, own_line

_FILE_MODE: Final = 0o640  # what messages and clients are called is not for everyone on the machine
_CHUNK_BYTES: Final = 1 << 16
_BLOCKED_POLL_S: Final = 1.0


class StandardError:
    """The process's standard error, whatever it is connected to."""

    name = ""

    def write(self, lines: deque[bytes]) -> None:
        """See `Sink`."""
        while lines:
            data = _take(lines, _CHUNK_BYTES)
            try:
                written = os.write(2, data)
            except BlockingIOError:  # someone we share it with has set it so
                lines.appendleft(data)
                select.select([], [2], [], _BLOCKED_POLL_S)
            except OSError:
                lines.appendleft(data)
                raise
            else:
                if written < len(data):
                    lines.appendleft(data[written:])

    def close(self) -> None:
        """It is not ours to close."""


class LogFile:
    """Appends to a file, moves it away at a size limit as the original does, opens it anew when told.

    The backup is named after the moment of its last line: `PATH.YYYY.MM.DD.hh.mm.ss.nnnnnnnnn`. No line is lost or
    split by a rotation; when one is not possible, lines go on into the same file.
    """

    def __init__(self, path: str, size_limit: int, formatter: logging.Formatter) -> None:
        """
        Args:
            size_limit: bytes, 0 is none. A line is never split, so a file may be longer by its last line.
            formatter: for lines about rotations.

        Raises:
            ConfigError: the file cannot be opened.
        """
        self.name = path
        self._size_limit = size_limit
        self._rotate_at = size_limit
        self._formatter = formatter
        self._clock = SystemClock()
        self._file = _open(path)
        self._size = os.fstat(self._file).st_size

    def write(self, lines: deque[bytes]) -> None:
        """See `Sink`."""
        while lines:
            room = self._rotate_at - self._size if self._size_limit else _CHUNK_BYTES
            data = _take(lines, min(room, _CHUNK_BYTES))
            try:
                written = os.write(self._file, data)
            except OSError:
                lines.appendleft(data)
                raise
            self._size += written
            if written < len(data):  # the disk is full, and the next write says so
                lines.appendleft(data[written:])
            elif self._size_limit and self._size > self._rotate_at:
                lines.appendleft(self._rotate())

    def reopen(self) -> None:
        """Write to the path's file from now on; if it cannot be opened, to the old one still.

        Raises:
            ConfigError: the file cannot be opened.
        """
        self._replace(_open(self.name))

    def close(self) -> None:
        """See `Sink`."""
        os.close(self._file)

    def _replace(self, file: int) -> None:
        os.close(self._file)
        self._file = file
        self._size = os.fstat(file).st_size
        self._rotate_at = self._size_limit

    def _rotate(self) -> bytes:
        """Move the file away and open a new one; returns the line that tells of it."""
        backup = self.name + backup_suffix(self._clock.wall_ns())
        try:
            os.rename(self.name, backup)
            try:
                self._replace(_open(self.name))
            except ConfigError:
                os.rename(backup, self.name)
                raise
        except (OSError, ConfigError) as error:
            self._rotate_at = self._size + self._size_limit
            text = f"Unable to rotate log file ({error}), will attempt next rotation at size {self._rotate_at}"
            return own_line(self._formatter, NATS_SERVER_LOGGER, logging.ERROR, text)
        text = f"Rotated log, backup saved as {quoted(backup)}"
        return own_line(self._formatter, NATS_SERVER_LOGGER, logging.INFO, text)


def _take(lines: deque[bytes], bytes_at_least: int) -> bytes:
    """Whole lines from the left until they are longer than asked for, or there are no more."""
    taken = [lines.popleft()]
    size = len(taken[0])
    while lines and size <= bytes_at_least:
        taken.append(lines.popleft())
        size += len(taken[-1])
    return b"".join(taken)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), _FILE_MODE)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"error opening file: open {path}: {reason}", option="log") from error
