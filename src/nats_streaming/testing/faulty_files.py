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
    {
        *("open", "write", "pwrite", "truncate", "sync"),
        *("sync_directory", "rename", "unlink", "mkdir", "remove_tree"),
    }
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


_Change = dict[str, "_Node | None"]
"""What one operation does to a directory: names, and what each stands for from then on."""


class _Directory:
    """A directory: its entries now, those on stable storage, and the changes between the two."""

    def __init__(self) -> None:
        self.entries: dict[str, _Node] = {}
        self.durable: dict[str, _Node] = {}
        self.pending: list[_Change] = []

    def change(self, change: _Change) -> None:
        _apply(self.entries, change)
        self.pending.append(change)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def directory(self, name: str) -> _Directory:
        node = self.entries[name]
        assert isinstance(node, _Directory)
        return node


_Node = _Inode | _Directory


def _apply(entries: dict[str, _Node], change: _Change) -> None:
    for name, node in change.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


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
        self._top = _read_directory(self._root)

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
        # What lasts is in the model; the disk under it need not be waited for.
        syncs = operation in ("sync", "sync_directory")
        outcome = None if syncs else super().system(operation, path, call, *arguments)
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
        if operation == "sync" and fault.code:
            # The system has told us once, and takes the pages for clean from now on.
            self._descriptors[arguments[0]].changes.clear()
        if fault.code:
            error = OSError(fault.code, os.strerror(fault.code))
            raise StoreError(f"{operation} {path}: {error.strerror}") from error
        return self._do(operation, path, call, *arguments)

    # What each operation means for stable storage.

    def _place(self, path: str) -> tuple[_Directory, str]:
        """The directory that a path is in, and its name there."""
        *above, name = os.path.relpath(path, self._root).split(os.sep)
        directory = self._top
        for each in above:
            directory = directory.directory(each)
        return directory, name

    def _note_open(self, path: str, _existed: bool, descriptor: int, arguments: tuple[Any, ...]) -> None:
        directory, name = self._place(path)
        inode = directory.entries.get(name)
        if inode is None:
            inode = _Inode()
            directory.change({name: inode})
        assert isinstance(inode, _Inode)
        if arguments[1] & os.O_TRUNC and inode.size:
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
        if path == self._root:
            self._top.sync()
        elif path.startswith(self._root + os.sep):
            directory, name = self._place(path)
            directory.directory(name).sync()

    def _note_rename(self, path: str, _existed: bool, _outcome: Any, arguments: tuple[Any, ...]) -> None:
        directory, name = self._place(path)
        target, target_name = self._place(os.path.abspath(arguments[1]))
        if directory is not target:
            raise NotImplementedError("renaming into another directory")
        directory.change({name: None, target_name: directory.entries[name]})

    def _note_unlink(self, path: str, existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        if existed:
            directory, name = self._place(path)
            directory.change({name: None})

    def _note_mkdir(self, path: str, existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        if not existed and path != self._root:
            directory, name = self._place(path)
            directory.change({name: _Directory()})

    def _note_remove_tree(self, path: str, existed: bool, _outcome: Any, _arguments: tuple[Any, ...]) -> None:
        if existed:
            directory, name = self._place(path)
            removed = directory.directory(name)
            for each in list(removed.entries):
                removed.change({each: None})
            directory.change({name: None})

    # The power loss.

    def materialise(self, directory: Path, rng: random.Random, *, loses: float = 0.5) -> None:
        """Write to `directory`, which must not exist, what a power loss at this moment leaves.

        Args:
            loses: how likely each single thing that was not synced is lost.
        """
        with self._lock:
            self.dead = True
            _write_directory(self._top, directory, rng, loses)


def _write_directory(node: _Directory, target: Path, rng: random.Random, loses: float) -> None:
    target.mkdir(parents=True)
    entries = dict(node.durable)
    for change in node.pending:
        if rng.random() < loses:
            break
        _apply(entries, change)
    for name in sorted(entries):
        entry = entries[name]
        if isinstance(entry, _Directory):
            _write_directory(entry, target / name, rng, loses)
        else:
            (target / name).write_bytes(_remainder(entry, rng, loses))


def _read_directory(path: str) -> _Directory:
    """What is on the disk now counts as durable."""
    directory = _Directory()
    for name in os.listdir(path) if os.path.isdir(path) else ():
        inner = os.path.join(path, name)
        if os.path.isdir(inner):
            directory.entries[name] = _read_directory(inner)
        else:
            content = bytearray(Path(inner).read_bytes())
            directory.entries[name] = _Inode(content, size=len(content))
    directory.durable = dict(directory.entries)
    return directory


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


NO_SPACE = FileFault(errno.ENOSPC)
IO_ERROR = FileFault(errno.EIO)
NO_DESCRIPTORS = FileFault(errno.EMFILE)
POWER_LOSS = FileFault(power_loss=True)
