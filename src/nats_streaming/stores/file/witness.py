"""Who was here: `.truncate.lck` in the root, a name that the Go server knows.

A Go server removes this file whenever it opens a directory, and refuses its option to cut bad ends off while the
file is there: that is how it keeps the option from being left on. So while this server runs, and after a crash, the
file is there with a line of ours in it. A journal without it was left alone with a Go server in between, which
knows no journal and may have written to the channel files.

    no bytes             a Go server ran with its option
    "truncated ..."      this server did
    "journal ..."        this server runs, or has crashed

Source: stores specification, section 2.9 (witness).
"""

from __future__ import annotations

import os
from typing import Final

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import Files

FILE_NAME: Final = ".truncate.lck"
_TRUNCATED: Final = b"truncated ends of files: file_truncate_bad_eof was on\n"
_JOURNAL: Final = b"journal: this directory was not closed, start nats-streaming-server of Python once\n"
_OURS: Final = (_TRUNCATED, _JOURNAL)


class Witness:
    """One per store. `open` comes first, and not before the directory is ours: a standby touches nothing."""

    def __init__(self, files: Files, directory: str, *, truncate: bool) -> None:
        """
        Args:
            files: what reaches the file system.
            directory: the root.
            truncate: whether bad ends are to be cut off.
        """
        self._files = files
        self._directory = directory
        self._path = os.path.join(directory, FILE_NAME)
        self._truncate = truncate
        self._stood = False

    def open(self) -> None:
        """Let the store be opened, or not.

        Raises:
            StoreError: bad ends are to be cut off, and were at the last start too.
        """
        files = self._files
        content = self._read()
        self._stood = content in _OURS
        if self._truncate:
            if content not in (None, _JOURNAL):
                raise StoreError(
                    "file store should not be opened consecutively with the TruncateUnexpectedEOF option set to true"
                )
            self._write(_TRUNCATED)
        elif content == _TRUNCATED and any(name.startswith("journal.") for name in files.listdir(self._directory)):
            self._write(_JOURNAL)
        elif content is not None and content != _JOURNAL:
            files.unlink(self._path)

    def is_ours(self) -> bool:
        """Whether no Go server has opened the directory since one of ours has written to it; asked before `put`."""
        # A standby may be older than the file. With the option the file is there in any case, of our own making.
        return self._read() in _OURS and (self._stood or not self._truncate)

    def put(self, *, lasting: bool) -> None:
        """From here on the directory cannot do without its journal."""
        if not self._truncate:
            self._write(_JOURNAL, lasting=lasting)

    def remove(self) -> None:
        """The directory is whole without a journal."""
        if not self._truncate:
            self._files.unlink(self._path)

    def _read(self) -> bytes | None:
        return self._files.read_whole(self._path) if self._files.exists(self._path) else None

    def _write(self, content: bytes, *, lasting: bool = True) -> None:
        file = self._files.open_new(self._path)
        try:
            file.write(content)
            if lasting:
                file.sync()
        finally:
            file.close()
        if lasting:
            self._files.sync_directory(self._directory)
