"""Every system call on files that the FILE store makes goes through here.

One choke point, `Files.system`, so that a double can count, refuse, shorten or forget calls. Knows no
format. Paths are `str`, as `os.fsdecode` makes them of a channel's name.

    operation       arguments of `call`              what a double may do instead
    open            path, flags, mode                raise OSError
    write           descriptor, data                 write less and return how much; raise OSError
    pwrite          descriptor, data, offset         the same
    pread           descriptor, size, offset         return less; raise OSError
    truncate        descriptor, size                 raise OSError
    sync            descriptor                       forget, or raise OSError
    size, close     descriptor                       raise OSError
    sync_directory, unlink, mkdir, listdir, remove_tree, exists, is_directory     path
    rename          path, target
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from nats_streaming.errors import StoreError

T = TypeVar("T")
Data: TypeAlias = bytes | bytearray | memoryview

FILE_MODE = 0o666
PRIVATE_MODE = 0o600
DIRECTORY_MODE = 0o777
_BINARY = getattr(os, "O_BINARY", 0)
_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
_HAS_POSITIONED = hasattr(os, "pread")


class File:
    """An open file. `pread` may run in any thread beside everything else; the rest belongs to one writer.

    Attributes:
        path: as it was opened.
        unsynced: something was written or cut since the last successful `sync`.
    """

    __slots__ = ("_descriptor", "_files", "_position_lock", "path", "unsynced")

    def __init__(self, files: Files, path: str, descriptor: int) -> None:
        self._files = files
        self._descriptor = descriptor
        self._position_lock = threading.Lock()
        self.path = path
        self.unsynced = False

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    def write(self, data: Data) -> None:
        """Write all of `data`: behind the end for `open_append`, else at the position. An error may leave a part."""
        view = memoryview(data)
        self.unsynced = True
        while view:
            view = view[self._files.system("write", self.path, os.write, self._descriptor, view) :]

    def pwrite(self, offset: int, data: Data) -> None:
        """Write all of `data` from `offset` on. Not for files of `open_append`, where systems differ."""
        view = memoryview(data)
        self.unsynced = True
        while view:
            written = self._files.system("pwrite", self.path, self._pwrite, self._descriptor, view, offset)
            offset += written
            view = view[written:]

    def pread(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer only at the end of the file."""
        data: bytes = self._files.system("pread", self.path, self._pread, self._descriptor, size, offset)
        while len(data) < size:
            more = self._files.system(
                "pread", self.path, self._pread, self._descriptor, size - len(data), offset + len(data)
            )
            if not more:
                break
            data += more
        return data

    def truncate(self, size: int) -> None:
        self.unsynced = True
        self._files.system("truncate", self.path, os.ftruncate, self._descriptor, size)

    def sync(self) -> None:
        """Bring everything that was written to this file, by whomever, to stable storage.

        Raises:
            StoreError: what was written since the last success must be written anew, into a fresh place:
                asking again may succeed without anything being there.
        """
        self._files.system("sync", self.path, os.fsync, self._descriptor)
        self.unsynced = False

    def sync_data(self) -> None:
        """Like `sync`, without the times of the file: cheaper where the system knows the difference."""
        self._files.system("sync", self.path, _sync_data, self._descriptor)
        self.unsynced = False

    def size(self) -> int:
        size: int = self._files.system("size", self.path, _size, self._descriptor)
        return size

    def close(self) -> None:
        """Idempotent, also after an error."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._files.system("close", self.path, os.close, descriptor)

    def _pread(self, descriptor: int, size: int, offset: int) -> bytes:
        if _HAS_POSITIONED:
            return os.pread(descriptor, size, offset)
        with self._position_lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, size)

    def _pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        if _HAS_POSITIONED:
            return os.pwrite(descriptor, data, offset)
        with self._position_lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.write(descriptor, data)


class Files:
    """The file system. Every method raises StoreError that names operation and path, caused by the OSError."""

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make one system call. Everything below ends here; see the module's table."""
        try:
            return call(*arguments)
        except OSError as error:
            raise StoreError(f"{operation} {path}: {error.strerror or error}") from error

    def open_append(self, path: str, mode: int = FILE_MODE) -> File:
        """Open for reading and for writing behind the end; made if it is not there."""
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)

    def open_rw(self, path: str, mode: int = FILE_MODE) -> File:
        """Open for reading and writing anywhere, position 0; made if it is not there."""
        return self._open(path, os.O_RDWR | os.O_CREAT, mode)

    def open_new(self, path: str, mode: int = FILE_MODE) -> File:
        """Like `open_rw`, but empty, whatever was there before."""
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open_read(self, path: str) -> File:
        """Open for reading; the file must exist."""
        return self._open(path, os.O_RDONLY, FILE_MODE)

    def _open(self, path: str, flags: int, mode: int) -> File:
        descriptor: int = self.system("open", path, os.open, path, flags | _BINARY | _CLOSE_ON_EXEC, mode)
        return File(self, path, descriptor)

    def rename(self, path: str, target: str) -> None:
        """Replaces `target`. Lasting only after `sync_directory` of both directories."""
        self.system("rename", path, os.replace, path, target)

    def unlink(self, path: str) -> None:
        """Remove a file; one that is not there is fine."""
        self.system("unlink", path, _unlink, path)

    def mkdir(self, path: str) -> None:
        """Make a directory; one that is there already is fine."""
        self.system("mkdir", path, _mkdir, path)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(self.system("listdir", path, os.listdir, path))

    def exists(self, path: str) -> bool:
        return bool(self.system("exists", path, os.path.exists, path))

    def is_directory(self, path: str) -> bool:
        return bool(self.system("is_directory", path, os.path.isdir, path))

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it; one that is not there is fine."""
        self.system("remove_tree", path, _remove_tree, path)

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in a directory lasting. Nothing to do on Windows."""
        self.system("sync_directory", path, _sync_directory, path)

    def read_whole(self, path: str) -> bytes:
        """All bytes of a file that must exist; for small files only."""
        handle = self.open_read(path)
        try:
            return handle.pread(0, handle.size())
        finally:
            handle.close()


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _mkdir(path: str) -> None:
    os.makedirs(path, DIRECTORY_MODE, exist_ok=True)


def _remove_tree(path: str) -> None:
    import shutil  # with the compressors it brings along; channels are rarely removed

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if os.path.exists(path):
            raise


def _sync_directory(path: str) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
