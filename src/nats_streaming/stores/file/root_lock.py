"""The lock that keeps a second server out of a directory: `.rootdir.lck`, as the Go server takes it.

A POSIX record lock over the whole file, taken with fcntl and not with flock: the two do not see each other.
It belongs to the process, and closing any descriptor of that file in the process gives it up, so the file is
opened here and nowhere else, and only once: within the process a set of paths keeps a second store out.
The file stays.

Source: stores specification, section 2.9 (FT lock).
"""

from __future__ import annotations

import errno
import os

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import FILE_MODE, Files

FILE_NAME = ".rootdir.lck"
_held: set[str] = set()
_BUSY = {errno.EAGAIN, errno.EACCES, errno.EINTR, errno.ENOLCK}


class RootLock:
    """Held from a successful `acquire` to `release`."""

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._path = os.path.join(directory, FILE_NAME)
        self._descriptor = -1

    def acquire(self) -> bool:
        """True when it is ours, also if it was before; False while another process, or another store here, has it.

        Raises:
            StoreError: the file cannot be opened for a reason that waiting does not mend.
        """
        if self._descriptor >= 0:
            return True
        if os.path.realpath(self._path) in _held:
            return False
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
        try:
            descriptor: int = self._files.system("open", self._path, os.open, self._path, flags, FILE_MODE)
        except StoreError as error:
            if isinstance(error.__cause__, (FileNotFoundError, PermissionError)):
                raise
            return False
        try:
            self._files.system("lock", self._path, _lock, descriptor)
        except StoreError as error:
            os.close(descriptor)
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _BUSY:
                return False
            raise
        self._descriptor = descriptor
        _held.add(os.path.realpath(self._path))
        return True

    def release(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _held.discard(os.path.realpath(self._path))
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    import fcntl

    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
