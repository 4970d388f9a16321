"""Files that the journal has done with and writes over: `journal.<n>.stan.spare`.

A name with this end is nothing to a start, which removes it. A file gets it in place of being removed; and a file that
is used again loses it when the first commit is in it, on stable storage.
"""

from __future__ import annotations

import logging
import os.path
import re
import threading
from typing import Final

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.journal_reader import JournalFile

_log = logging.getLogger("nats_streaming")

UNFINISHED: Final = ".new"
"""The end of the name of a file that is being made to take the place of others."""

_SPARE = ".spare"
_LEFT = re.compile(r"journal\.[1-9][0-9]*\.stan(\.new|\.spare)\Z")
_SPARES_MAX = 1  # one is written while the other is brought to the channel files
_ROOM_MAX = 96 << 20  # what a burst has left goes back to the disk


class JournalSpares:
    """One thread puts files aside, another takes them."""

    def __init__(self, root: str, files: Files, *, enabled: bool) -> None:
        """
        Args:
            root: the directory of the journal.
            files: the file system.
            enabled: False: files are removed, and none is ever taken.
        """
        self._root = root
        self._files = files
        self._enabled = enabled
        self._lock = threading.Lock()
        self._ready: list[tuple[str, int]] = []
        self._coming: set[str] = set()

    def remove_left(self) -> None:
        """Remove what the last run has left."""
        for name in self._files.listdir(self._root):
            if _LEFT.match(name):
                self._files.unlink(os.path.join(self._root, name))

    def put_aside(self, file: JournalFile) -> None:
        """Take a file away, to be used again if it is of use; not before `settle`."""
        with self._lock:
            is_wanted = self._enabled and 0 < file.room <= _ROOM_MAX and len(self._ready) < _SPARES_MAX
        if is_wanted:
            try:
                self._files.rename(file.path, file.path + _SPARE)
            except StoreError as error:
                # Perhaps it was renamed all the same.
                _log.warning("Journal: %s is removed: %s", file.path, error)
                self._files.unlink(file.path + _SPARE)
            else:
                self._coming.add(file.path)
                return
        self._files.unlink(file.path)

    def settle(self, file: JournalFile) -> None:
        """That it was taken away is on stable storage: written before, a power loss could give it its name back."""
        if file.path in self._coming:
            self._coming.remove(file.path)
            with self._lock:
                self._ready.append((file.path + _SPARE, file.room))

    def take(self) -> tuple[str, int] | None:
        """Path and bytes of a file to write over, which is not kept any more; None if there is none."""
        with self._lock:
            return self._ready.pop() if self._ready else None

    def release(self) -> None:
        """Remove what is ready."""
        with self._lock:
            ready, self._ready = self._ready, []
        for path, _ in ready:
            self._remove(path)

    def close(self) -> None:
        """Remove everything, and keep nothing any more."""
        self._enabled = False
        self.release()
        coming, self._coming = self._coming, set()
        for path in coming:
            self._remove(path + _SPARE)

    def _remove(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except StoreError as error:
            _log.warning("Journal: %s could not be removed: %s", path, error)
