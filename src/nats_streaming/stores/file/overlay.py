"""A directory as if it could be written: every change lands in a scratch directory, the original is only read.

So the store's own recovery can be run to see what it would do. A file is copied aside when it is first
written to; the scratch directory needs room for those. Nothing here knows a format.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import FILE_MODE, PRIVATE_MODE, Data, File, Files

_COMPARE_BYTES = 1 << 20
_BINARY = getattr(os, "O_BINARY", 0)


class ChangeKind(Enum):
    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(slots=True, frozen=True)
class Change:
    """What became of one file or directory.

    Attributes:
        path: of it, as it was opened.
        kind: what happened.
        size_before, size_after: bytes, 0 where there is none.
    """

    path: str
    kind: ChangeKind
    size_before: int
    size_after: int


@dataclass(slots=True, eq=False)
class _Content:
    """What several open files and one name may share, as an inode does.

    Attributes:
        original: path of the untouched file, "" for a new one.
        scratch: path of the copy that has been written to, "" while there is none.
    """

    original: str
    scratch: str = ""

    @property
    def backing(self) -> str:
        return self.scratch or self.original


class OverlayFiles(Files):
    """Reads the file system; writes to a scratch directory of its own, which `close` removes.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="nats-streaming-")
        self._copies = 0
        self._contents: dict[str, _Content] = {}
        self._gone: set[str] = set()
        self._made: set[str] = set()

    def close(self) -> None:
        """Forget every change. Idempotent."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    # What became of it.

    def changes(self) -> list[Change]:
        """Everything that is not as it was, in the order of the paths."""
        return sorted(self._changes(), key=lambda change: change.path)

    def _changes(self) -> Iterator[Change]:
        for path in self._gone:
            if os.path.lexists(path) and path not in self._contents and path not in self._made:
                size = 0 if os.path.isdir(path) else os.path.getsize(path)
                yield Change(path, ChangeKind.REMOVED, size, 0)
        for path in self._made:
            if not os.path.isdir(path):
                yield Change(path, ChangeKind.CREATED, 0, 0)
        for path, content in self._contents.items():
            if not content.scratch and content.original == path:
                continue
            after = os.path.getsize(content.backing)
            if not os.path.exists(path):
                yield Change(path, ChangeKind.CREATED, 0, after)
            elif not _is_same(path, content.backing):
                yield Change(path, ChangeKind.CHANGED, os.path.getsize(path), after)

    # Files.

    def _open(self, path: str, flags: int, mode: int) -> File:
        return self.system("open", path, self._open_content, path, flags)  # type: ignore[no-any-return]

    def _open_content(self, path: str, flags: int) -> File:
        if self._is_directory(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        content = self._content_of(path)
        if content is None:
            if not flags & os.O_CREAT:
                raise _not_there(path)
            if not self._is_directory(os.path.dirname(path)):
                raise _not_there(os.path.dirname(path))
            content = _Content("")
            self._contents[path] = content
            self.materialise(content)
        elif flags & os.O_TRUNC:
            # The name stays, its content is another one: who has the old one open goes on with that, which no
            # caller relies on.
            content.original = ""
            self.materialise(content)
            os.truncate(content.scratch, 0)
        return OverlayFile(self, path, content, append=bool(flags & os.O_APPEND))

    def _content_of(self, path: str) -> _Content | None:
        content = self._contents.get(path)
        if content is None and path not in self._gone and os.path.isfile(path) and self._is_visible(path):
            content = self._contents[path] = _Content(path)
        return content

    def _is_visible(self, path: str) -> bool:
        """Whether no directory above it was removed."""
        parent = os.path.dirname(path)
        return parent not in self._gone or parent in self._made

    def materialise(self, content: _Content) -> None:
        """Give it a file of its own, a copy of the original."""
        if content.scratch:
            return
        self._copies += 1
        scratch = os.path.join(self._scratch, str(self._copies))
        if content.original:
            shutil.copyfile(content.original, scratch)
        else:
            os.close(os.open(scratch, os.O_CREAT | os.O_WRONLY | _BINARY, PRIVATE_MODE))
        content.scratch = scratch

    def rename(self, path: str, target: str) -> None:
        content = self._content_of(path)
        if content is None:
            raise StoreError(f"rename {path}: {os.strerror(errno.ENOENT)}")
        del self._contents[path]
        self._gone.add(path)
        self._contents[target] = content

    def unlink(self, path: str) -> None:
        self._contents.pop(path, None)
        self._gone.add(path)

    def mkdir(self, path: str) -> None:
        if not self._is_directory(path):
            self._made.add(path)

    def remove_tree(self, path: str) -> None:
        below = os.path.join(path, "")
        for name in [each for each in self._contents if each.startswith(below)]:
            del self._contents[name]
        self._made.discard(path)
        self._gone.add(path)
        with suppress(FileNotFoundError):
            self._gone.update(os.path.join(path, name) for name in os.listdir(path))

    def listdir(self, path: str) -> list[str]:
        if not self._is_directory(path):
            raise StoreError(f"listdir {path}: {os.strerror(errno.ENOENT)}")
        names: set[str] = set()
        if os.path.isdir(path):
            listed: list[str] = self.system("listdir", path, os.listdir, path)
            names.update(name for name in listed if os.path.join(path, name) not in self._gone)
        for known in (*self._contents, *self._made):
            if os.path.dirname(known) == path:
                names.add(os.path.basename(known))
        return sorted(names)

    def exists(self, path: str) -> bool:
        return self._is_directory(path) or self._content_of(path) is not None

    def is_directory(self, path: str) -> bool:
        return self._is_directory(path)

    def _is_directory(self, path: str) -> bool:
        return path in self._made or (path not in self._gone and os.path.isdir(path))

    def sync_directory(self, path: str) -> None:
        """There is nothing to make lasting."""


class OverlayFile(File):
    """An open file whose content is copied aside before the first change."""

    __slots__ = ("_append", "_backing", "_content", "_overlay")

    def __init__(self, overlay: OverlayFiles, path: str, content: _Content, *, append: bool) -> None:
        super().__init__(overlay, path, -1)
        self._overlay = overlay
        self._content = content
        self._append = append
        self._backing = ""
        self._follow()

    def _follow(self) -> None:
        """Read where the content is now."""
        backing = self._content.backing
        if self._backing == backing:
            return
        position = os.lseek(self._descriptor, 0, os.SEEK_CUR) if self._descriptor >= 0 else 0
        if self._descriptor >= 0:
            os.close(self._descriptor)
        flags = os.O_RDONLY
        if self._content.scratch:
            flags = os.O_RDWR | (os.O_APPEND if self._append else 0)
        self._descriptor = os.open(backing, flags | _BINARY | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
        os.lseek(self._descriptor, position, os.SEEK_SET)
        self._backing = backing

    def _change(self) -> None:
        self._overlay.system("copy", self.path, self._overlay.materialise, self._content)
        self._follow()

    def write(self, data: Data) -> None:
        self._change()
        super().write(data)

    def pwrite(self, offset: int, data: Data) -> None:
        self._change()
        super().pwrite(offset, data)

    def truncate(self, size: int) -> None:
        self._change()
        super().truncate(size)

    def pread(self, offset: int, size: int) -> bytes:
        self._follow()
        return super().pread(offset, size)

    def size(self) -> int:
        self._follow()
        return super().size()

    def sync(self) -> None:
        self.unsynced = False

    def sync_data(self) -> None:
        self.unsynced = False


def _not_there(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _is_same(path: str, other: str) -> bool:
    if os.path.getsize(path) != os.path.getsize(other):
        return False
    with open(path, "rb") as first, open(other, "rb") as second:
        while True:
            piece = first.read(_COMPARE_BYTES)
            if piece != second.read(_COMPARE_BYTES):
                return False
            if not piece:
                return True
