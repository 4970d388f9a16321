"""PUBLIC: a file system that fails on command, and what a power loss would leave of it.

`FaultyFiles` works on a real directory and keeps beside it a model of what stable storage holds: what was
not synced may be there, or not, or in part. `materialise` writes such a remainder to another directory,
which is then what a server finds at its next start.

    written, not synced          any subset of its pages of 4096 bytes, the file as long as any of them or shorter
    created, renamed, removed    per directory any number of the first operations since it was synced
    sync failed                  what it should have written is lost, also when a later sync succeeds
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import Files

PAGE_BYTES = 4096
CHANGES = frozenset(
    {"open", "write", "pwrite", "truncate", "sync", "sync_directory", "rename", "unlink", "mkdir", "remove_tree"}
)
"""Operations that are counted: those that may change what is stored, or make it last."""


class PowerLossError(BaseException):
    """The power is gone: nothing that is called from here on has any effect. Not an error to be handled."""


@dataclass(slots=True, frozen=True)
class FileFault:
    """What happens to one call.

    Attributes:
        code: errno of the error raised; 0 raises none.
        written: bytes that a write writes before.
        power_loss: the power goes during this call.
    """

    code: int = 0
    written: int = 0
    power_loss: bool = False


Plan = Callable[[int, str, str], FileFault | None]
"""Asked for each counted call with its number from 1, its operation and its path; None lets it pass."""


def nth(number: int, fault: FileFault) -> Plan:
    """Only this call fails."""
    return lambda count, _operation, _path: fault if count == number else None


@dataclass(slots=True, eq=False)
class _Inode:
    """A file: its bytes on stable storage, and what was done to it since."""

    durable: bytearray = field(default_factory=bytearray)
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and data, or size and None
    size: int = 0

    def sync(self) -> None:
        for offset, data in self.changes:
            _change(self.durable, offset, data)
        self.changes.clear()


def _change(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset + len(data or b"")
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


_DIRECTORY = None
_Names = dict[str, _Inode | None]  # path to file; None is a directory


@dataclass(slots=True, frozen=True)
class _NameChange:
    """A change of directory entries: `path` is gone, `target` stands for `inode`."""

    path: str
    target: str
    inode: _Inode | None

    def apply(self, names: _Names) -> None:
        if self.path:
            for name in [name for name in names if name == self.path or name.startswith(self.path + os.sep)]:
                del names[name]
        if self.target:
            names[self.target] = self.inode


class FaultyFiles(Files):
    """See the module. Give it only paths below `root`, and to one store only; any thread may call it.

    Attributes:
        count: calls of `CHANGES` so far.
        log: operation and path of each.
        dead: the power is gone.
    """

    def __init__(self, root: Path, plan: Plan | None = None) -> None:
        """
        Args:
            root: the directory; what is in it now counts as durable.
            plan: which calls fail.
        """
        self.count = 0
        self.log: list[tuple[str, str]] = []
        self.dead = False
        self.plan = plan
        self._root = os.path.abspath(root)
        self._lock = threading.RLock()
        self._descriptors: dict[int, _Inode] = {}
        self._names: _Names = {}
        self._durable: _Names = {}
        self._pending: dict[str, list[_NameChange]] = {}
        for path in _walk(self._root):
            if os.path.isdir(path):
                self._names[path] = _DIRECTORY
            else:
                content = bytearray(Path(path).read_bytes())
                self._names[path] = _Inode(content, size=len(content))
        self._durable.update(self._names)

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if operation not in CHANGES and operation != "close":
            if self.dead:
                raise PowerLossError
            return super().system(operation, path, call, *arguments)
        with self._lock:
            if self.dead:
                raise PowerLossError
            fault = None
            if operation != "close":
                self.count += 1
                self.log.append((operation, path))
                fault = self.plan(self.count, operation, path) if self.plan is not None else None
            if fault is None:
                return self._do(operation, path, call, *arguments)
            return self._fail(fault, operation, path, call, *arguments)

    def _do(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        absolute = os.path.abspath(path)
        existed = os.path.lexists(absolute)
        outcome = super().system(operation, path, call, *arguments)
        getattr(self, f"_note_{operation}")(absolute, existed, outcome, arguments)
        return outcome

    def _fail(self, fault: FileFault, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if operation in ("write", "pwrite") and fault.written:
            descriptor, data, *offset = arguments
            part = memoryview(data)[: fault.written]
            self._do(operation, path, call, descriptor, part, *offset)
            if not fault.code and not fault.power_loss:
                return len(part)
        if fault.power_loss:
            if operation not in ("sync", "sync_directory") and not fault.written:
                self._do(operation, path, call, *arguments)
            self.dead = True
            raise PowerLossError
        if operation == "sync":
            # The system has told us once, and takes the pages for clean from now on.
            self._descriptors[arguments[0]].changes.clear()
        if fault.code:
            error = OSError(fault.code, os.strerror(fault.code))
            raise StoreError(f"{operation} {path}: {error.strerror}") from error
        return self._do(operation, path, call, *arguments)

    # What each operation means for stable storage.

    def _note_open(self, path: str, existed: bool, descriptor: int, arguments: tuple[Any, ...]) -> None:
        inode = self._names.get(path)
        if inode is None:
            inode = _Inode()
            if not existed:
                self._name(_NameChange("", path, inode))
        elif arguments[1] & os.O_TRUNC and inode.size:
            inode.changes.append((0, None))
            inode.size = 0
        self._descriptors[descriptor] = inode

    def _note_write(self, _path: str, _existed: bool, written: int, arguments: tuple[Any, ...]) -> None:
        descriptor, data = arguments
        # Every writer here appends, or has just opened an empty file.
        self._write(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - written, bytes(data[:written]))

    def _note_pwrite(self, _path: str, _existed: bool, written: int, arguments: tuple[Any, ...]) -> None:
        descriptor, data, offset = arguments
        self._write(descriptor, offset, bytes(data[:written]))

    def _write(self, descriptor: int, offset: int, data: bytes) -> None:
        inode = self._descriptors[descriptor]
        inode.changes.append((offset, data))
        inode.size = max(inode.size, offset + len(data))

    def _note_truncate(self, _path: str, _existed: bool, _outcome: Any, arguments: tuple[Any, ...]) -> None:
        descriptor, size = arguments
        self._descriptors[descriptor].changes.append((size, None))
        self._descriptors[descriptor].size = size

    def _note_sync(self, _path: str, _existed: bool, _outcome: Any, arguments: tuple[Any, ...]) -> None:
        self._descriptors[arguments[0]].sync()

    def _note_close(self, _path: str, _existed: bool, _outcome: Any, arguments: tuple[Any, ...]) -> None:
        self._descriptors.pop(arguments[0], None)

    def _note_sync_directory(self, path: str, _existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        for change in self._pending.pop(path, []):
            change.apply(self._durable)

    def _note_rename(self, path: str, _existed: bool, _outcome: Any, arguments: tuple[Any, ...]) -> None:
        target = os.path.abspath(arguments[1])
        moved = self._names[path]
        if moved is None:
            raise NotImplementedError("renaming a directory")
        self._name(_NameChange(path, target, moved))

    def _note_unlink(self, path: str, existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        if existed:
            self._name(_NameChange(path, "", None))

    def _note_mkdir(self, path: str, existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        if not existed:
            self._name(_NameChange("", path, _DIRECTORY))

    def _note_remove_tree(self, path: str, existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        if existed:
            self._pending.pop(path, None)
            self._name(_NameChange(path, "", None))

    def _name(self, change: _NameChange) -> None:
        change.apply(self._names)
        if (change.target or change.path) == self._root:
            change.apply(self._durable)  # whoever gives us the directory answers for it
            return
        self._pending.setdefault(os.path.dirname(change.target or change.path), []).append(change)

    # The power loss.

    def materialise(self, directory: Path, rng: random.Random, *, loses: float = 0.5) -> None:
        """Write to `directory`, which must not exist, what a power loss at this moment leaves.

        Args:
            loses: how likely each single thing that was not synced is lost.
        """
        with self._lock:
            self.dead = True
            names = dict(self._durable)
            for path in sorted(self._pending):
                for change in self._pending[path]:
                    if rng.random() < loses:
                        break
                    change.apply(names)
            directory.mkdir(parents=True)
            for path in sorted(names):
                inode = names[path]
                target = directory / os.path.relpath(path, self._root)
                if os.path.dirname(path) != self._root and os.path.dirname(path) not in names and path != self._root:
                    continue  # in a directory that did not come to be
                if inode is None:
                    target.mkdir(exist_ok=True)
                else:
                    target.write_bytes(_remainder(inode, rng, loses))


def _remainder(inode: _Inode, rng: random.Random, loses: float) -> bytes:
    """The file with a random part of what was not synced."""
    content = bytearray(inode.durable)
    for offset, data in inode.changes:
        if data is None:
            if rng.random() >= loses:
                _change(content, offset, None)
            continue
        for start, page in _pages(offset, data):
            if rng.random() >= loses:
                # A sector is written whole or not at all; a page may be torn.
                keep = len(page) if rng.random() < 0.9 else rng.randrange(len(page) + 1)
                _change(content, start, page[:keep])
    return bytes(content)


def _pages(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    end = offset + len(data)
    while offset < end:
        stop = min(end, (offset // PAGE_BYTES + 1) * PAGE_BYTES)
        yield offset, data[len(data) - (end - offset) : len(data) - (end - stop)]
        offset = stop


def _walk(root: str) -> Iterator[str]:
    for directory, subdirectories, names in os.walk(root):
        for name in (*subdirectories, *names):
            yield os.path.join(directory, name)


NO_SPACE = FileFault(errno.ENOSPC)
IO_ERROR = FileFault(errno.EIO)
NO_DESCRIPTORS = FileFault(errno.EMFILE)
POWER_LOSS = FileFault(power_loss=True)
