"""The lock that keeps a second server out of a directory: `.rootdir.lck`, as the Go server takes it.

A POSIX record lock over the whole file, taken with fcntl and not with flock: the two do not see each other.
It belongs to the process, and closing any descriptor of that file in the process gives it up, so the file is
opened here and nowhere else, and only once: within the process a set of paths keeps a second store out.
The file stays; whoever removes it lets a second server in, so a holder that asks again looks for that.

Source: stores specification, section 2.9 (FT lock).
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import FILE_MODE, Files

FILE_NAME = ".rootdir.lck"
_held: set[str] = set()
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})
_BUSY = _TAKEN | {errno.EINTR, errno.ENOLCK}


class DirectoryInUseError(StoreError):
    """A server uses the directory.

    Attributes:
        process: its process ID, 0 when the system does not tell.
    """

    def __init__(self, directory: str, process: int) -> None:
        whose = f"process {process}" if process else "another process"
        super().__init__(f"{directory} is in use by {whose}, which holds the lock {FILE_NAME}")
        self.process = process


class RootLock:
    """Held from a successful `acquire` to `release`."""

    def __init__(self, files: Files, directory: str, name: str = FILE_NAME) -> None:
        self._files = files
        self._path = os.path.join(directory, name)
        self._descriptor = -1

    def acquire(self) -> bool:
        """True when it is ours, also if it was before; False while another process, or another store here, has it.

        A holder that gets False has lost it: the lock file was removed or replaced and another process was faster, or
        the file system has given the lock away.

        Raises:
            StoreError: the file cannot be opened for a reason that waiting does not mend.
        """
        if self._descriptor >= 0:
            return self._is_still_held()
        if os.path.realpath(self._path) in _held:
            return False
        return self._open_and_lock()

    def _open_and_lock(self) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
        try:
            descriptor: int = self._files.system("open", self._path, os.open, self._path, flags, FILE_MODE)
        except StoreError as error:
            if isinstance(error.__cause__, (FileNotFoundError, PermissionError)):
                raise
            return False
        is_ours = False
        try:
            is_ours = self._try_lock(descriptor, _BUSY)
        finally:
            if not is_ours:
                os.close(descriptor)
        if not is_ours:
            return False
        self._descriptor = descriptor
        _held.add(os.path.realpath(self._path))
        return True

    def _is_still_held(self) -> bool:
        if os.name == "nt":
            return True  # a file in use can neither be removed nor locked twice
        if self._is_in_place():
            # Held already, it changes nothing; lost and free, it is ours again.
            return self._try_lock(self._descriptor, _TAKEN)
        # Of another file: closing the old one does not touch a lock on the new one.
        self.release()
        return self._open_and_lock()

    def _is_in_place(self) -> bool:
        """Whether the file we hold is the one that others find."""
        try:
            there: os.stat_result = self._files.system("stat", self._path, os.stat, self._path)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        here: os.stat_result = self._files.system("stat", self._path, os.fstat, self._descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _try_lock(self, descriptor: int, busy: frozenset[int]) -> bool:
        try:
            self._files.system("lock", self._path, _lock, descriptor)
        except StoreError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in busy:
                return False
            raise
        return True

    def release(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _held.discard(os.path.realpath(self._path))
            os.close(descriptor)


@contextmanager
def kept_from_servers(directory: str) -> Iterator[None]:
    """Share the lock with other readers, so that no server begins here meanwhile; writes nothing.

    Without a lock file there is nothing to share: then no server of ours was ever here. The Go server takes
    the lock in its FT mode only.

    Raises:
        DirectoryInUseError: a server has the lock.
        StoreError: the lock file cannot be opened.
    """
    path = os.path.join(directory, FILE_NAME)
    if os.path.realpath(path) in _held:
        raise DirectoryInUseError(directory, os.getpid())
    if os.name == "nt" or not os.path.exists(path):
        yield
        return
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"open {path}: {error.strerror}") from error
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                raise DirectoryInUseError(directory, _holder(descriptor)) from error
            raise StoreError(f"lock {path}: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int:
    """The process that has the lock; 0 if the system does not tell, or tells in a way not known here."""
    if sys.platform != "linux":
        return 0
    import fcntl

    # struct flock: type, whence, start, length, process
    asked = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, process = struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return int(process) if kind != fcntl.F_UNLCK else 0


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    import fcntl

    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
