"""The open files of a store directory: at most so many, the longest unused one goes first.

The original's `file_fds_limit`; without one the system's own limit, since a thousand channels have three
thousand files. The limit is soft: a file that is in use, or whose content did not reach the disk, stays.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import File, Files

_LIMIT_MIN = 64
_LIMIT_UNKNOWN = 512
_LIMIT_MAX = 1 << 16


class _Entry:
    __slots__ = ("doomed", "file", "pins")

    def __init__(self, file: File) -> None:
        self.file = file
        self.pins = 0
        self.doomed = False


class FilePool:
    """Thread-safe. A file is used between `using` and its end, and may be closed at any other time."""

    def __init__(self, files: Files, limit: int, sync: bool) -> None:
        """
        Args:
            files: what opens them.
            limit: open files, 0 for what the system allows.
            sync: whether what was written is brought to the disk before a file is closed for another.
        """
        self._files = files
        self._limit = limit or system_limit() // 2
        self._sync = sync
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, bool], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def using(self, path: str, *, write: bool = False) -> Iterator[File]:
        """A file, opened if need be.

        Args:
            path: which one.
            write: opened for writing behind the end, and made if it is not there. Such a file serves readers too.
        """
        entry = self._pin(path, write)
        try:
            yield entry.file
        finally:
            self._unpin(entry)

    def _pin(self, path: str, write: bool) -> _Entry:
        with self._lock:
            key = (path, write or (path, True) in self._entries)
            entry = self._entries.get(key)
            if entry is None:
                self._make_room()
                entry = _Entry(self._files.open_append(path) if write else self._files.open_read(path))
                self._entries[key] = entry
            else:
                self._entries.move_to_end(key)
            entry.pins += 1
            return entry

    def _unpin(self, entry: _Entry) -> None:
        with self._lock:
            entry.pins -= 1
            close = entry.doomed and entry.pins == 0
        if close:
            entry.file.close()

    def _make_room(self) -> None:
        if len(self._entries) < self._limit:
            return
        idle = [key for key, entry in self._entries.items() if entry.pins == 0]
        # Clean ones first: closing them costs nothing.
        for key in sorted(idle, key=lambda each: self._sync and self._entries[each].file.unsynced):
            file = self._entries[key].file
            if self._sync and file.unsynced:
                try:
                    file.sync()
                except StoreError:
                    # Its owner must hear of it, and does at its own sync: so it stays open.
                    file.unsynced = True
                    continue
            del self._entries[key]
            file.close()
            if len(self._entries) < self._limit:
                return

    def discard(self, path: str) -> None:
        """Close a file that is about to be removed or replaced; who uses it now may go on."""
        for key in ((path, False), (path, True)):
            with self._lock:
                entry = self._entries.pop(key, None)
                if entry is None:
                    continue
                entry.doomed = entry.pins > 0
            if not entry.doomed:
                entry.file.close()

    def discard_below(self, directory: str) -> None:
        """As `discard`, for every file of a directory."""
        prefix = os.path.join(directory, "")
        with self._lock:
            paths = {path for path, _ in self._entries if path.startswith(prefix)}
        for path in paths:
            self.discard(path)

    def close(self) -> None:
        """Close all files. Idempotent."""
        with self._lock:
            paths = {path for path, _ in self._entries}
        for path in paths:
            self.discard(path)


def system_limit() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:  # Windows
        return _LIMIT_UNKNOWN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _LIMIT_MAX
    return max(_LIMIT_MIN * 2, min(soft, _LIMIT_MAX))
