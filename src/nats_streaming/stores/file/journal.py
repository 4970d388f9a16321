"""The journal of the FILE store: batches in the order of their commits, all channels in one file.

    <root>/journal.<n>.stan     header, frames, zeros (`journal_frames`)

A commit is one write and one sync. Files are read in the order of `n`; the numbers of the frames go on from
one file to the next. `first` of a file voids, in all files before it, the frames with that number and above:
so a batch whose commit failed stays void although its bytes may have reached the disk, and a file that
repeats everything replaces the files before it in one rename. Files are removed from the oldest on, one
after the other on stable storage, when what they hold is safe in the channel files.

A file is made longer ahead of its frames, by zeros: a commit that does not change the file's size has
one place of the disk to write instead of three.

An incomplete last frame is a commit that never returned: it is dropped. Anything else that is not a frame is
damage: what follows it is used, the file is kept aside as `journal.<n>.stan.damaged`, and it is reported.

It knows nothing of what a batch means. One thread appends; another may cut.
"""

from __future__ import annotations

import errno
import logging
import os.path
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.stores.file.file_io import File, Files
from nats_streaming.stores.file.journal_frames import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    Batch,
    FrameWriter,
    find_frame,
    first_of,
    frame,
    frame_at,
    header,
)

_log = logging.getLogger("nats_streaming")

_NAME = re.compile(r"journal\.([1-9][0-9]*)\.stan\Z")
_NEW = ".new"
_DAMAGED = ".damaged"
_SET_ASIDE = ".set-aside"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_RESERVE = _NO_ROOM | {errno.EOPNOTSUPP, errno.EINVAL}

RESERVED_BYTES: Final = 4 << 20


@dataclass(slots=True)
class _JournalFile:
    """A file on disk: frames `first` to `last`, `last` being `first - 1` while there is none.

    `removed` while that is not on stable storage yet.
    """

    path: str
    index: int
    first: int
    last: int
    size: int = 0
    removed: bool = False


@dataclass(slots=True)
class _Found:
    """What reading one file has shown."""

    file: _JournalFile
    batches: list[Batch] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    tail_at: int = -1  # where an incomplete end begins, -1 for none
    has_header: bool = True


class Journal:
    """Batches `oldest` to `last` are in the files; a failed `append` leaves nothing behind that counts.

    Attributes:
        size: bytes in all files.
        file_size: bytes in the file that is being written.
        last: number of the newest batch, 0 when there was none.
    """

    def __init__(
        self, root: str, files: Files, *, sync: bool, strict: bool = False, reserved_bytes: int = RESERVED_BYTES
    ) -> None:
        """
        Args:
            root: directory of the journal, which exists.
            sync: whether `append` waits for stable storage.
            strict: whether damage is an error, not only reported.
            reserved_bytes: how far a file is made longer at a time; 0 only by what is written.
        """
        self.size = 0
        self.file_size = 0
        self.last = 0
        self._root = root
        self._files = files
        self._sync = sync
        self._strict = strict
        self._reserved_bytes = reserved_bytes if sync else 0
        self._reserved_to = 0  # of the file that is being written
        self._lock = threading.Lock()  # over the numbers
        self._standing = threading.RLock()  # over which files there are
        self._kept: list[_JournalFile] = []  # the last one is being written while `_file` is open
        self._file: File | None = None
        self._next_index = 1
        self._suspect = False
        self._frame = FrameWriter()

    @property
    def oldest(self) -> int:
        """Number of the oldest batch that a replay would find; `last + 1` when there is none."""
        with self._lock:
            return self._kept[0].first if self._kept else self.last + 1

    # Reading.

    def is_there(self) -> bool:
        """Whether the last run has left something."""
        return bool(self._paths())

    def replay(self) -> Iterator[Batch]:
        """Read what is there, oldest first; once, before the first `append`.

        Raises:
            CorruptionError: damage, when `strict`.
            StoreError: a file cannot be read.
        """
        self._remove_unfinished()
        paths = self._paths()
        firsts = {path: self._first_in(path) for path in paths}
        expected = 0
        for position, path in enumerate(paths):
            later = [first for first in (firsts[other] for other in paths[position + 1 :]) if first]
            void_from = min(later, default=0)
            found = self._read_file(path)
            self._next_index = found.file.index + 1
            if void_from:
                found.batches = [batch for batch in found.batches if batch.number < void_from]
            self._judge(found, expected, void_from, is_last=position == len(paths) - 1)
            if found.batches:
                expected = found.batches[-1].number + 1
                found.file.last = self.last = found.batches[-1].number
            if not (found.has_header or found.batches):
                self._files.unlink(path)
                continue
            self._kept.append(found.file)
            self.size += found.file.size
            yield from found.batches

    def _remove_unfinished(self) -> None:
        for name in self._files.listdir(self._root):
            if name.endswith(_NEW) and _NAME.match(name[: -len(_NEW)]):
                self._files.unlink(os.path.join(self._root, name))

    def _paths(self) -> list[str]:
        found = [name for name in self._files.listdir(self._root) if _NAME.match(name)]
        return [os.path.join(self._root, name) for name in sorted(found, key=_index_of)]

    def _first_in(self, path: str) -> int:
        file = self._files.open_read(path)
        try:
            return first_of(file.pread(0, HEADER_BYTES))
        finally:
            file.close()

    def _read_file(self, path: str) -> _Found:
        content = self._files.read_whole(path)
        first = first_of(content)
        found = _Found(_JournalFile(path, _index_of(os.path.basename(path)), first, first - 1, len(content)))
        if not first:
            found.has_header = False
        position = HEADER_BYTES if first else 0
        view = memoryview(content)
        expected = first
        while position < len(content):
            batch = frame_at(view, position)
            if batch is not None and batch.number >= expected:
                if expected and batch.number > expected:
                    found.damage.append(f"batches {expected} to {batch.number - 1} are missing at offset {position}")
                found.batches.append(batch)
                expected = batch.number + 1
                position += FRAME_HEAD_BYTES + len(batch.payload)
                continue
            following = find_frame(content, view, position + 1, expected)
            if following < 0:
                found.file.size = max(position, len(content.rstrip(b"\0")))
                if found.file.size > position:
                    found.tail_at = position
                break
            found.damage.append(f"{following - position} bytes at offset {position} are no batch")
            position = following
        return found

    def _judge(self, found: _Found, expected: int, void_from: int, *, is_last: bool) -> None:
        """Tell damage from what a crash or a failed commit leaves."""
        path, size = found.file.path, found.file.size
        reached = found.batches[-1].number + 1 if found.batches else max(found.file.first, expected)
        if found.batches and expected and found.batches[0].number > expected:
            found.damage.insert(0, f"batches {expected} to {found.batches[0].number - 1} before it are missing")
        if void_from and reached < void_from and (reached or found.tail_at >= 0):
            where = found.tail_at if found.tail_at >= 0 else size
            found.damage.append(f"batches {reached} to {void_from - 1} are missing from offset {where} on")
        elif is_last and found.tail_at >= 0:
            lost = size - found.tail_at
            _log.warning("Journal %s: dropped an unfinished commit, %d bytes at offset %d", path, lost, found.tail_at)
            tail = self._files.read_whole(path)[found.tail_at : size]
            if len(tail) >= FRAME_HEAD_BYTES:
                # Nothing on the disk tells a power loss from damage to what had been committed.
                self._keep_aside(path, tail)
        if not found.has_header and (found.batches or not is_last):
            found.damage.insert(0, "the header is no header")
        if found.damage:
            self._report(found)

    def _report(self, found: _Found) -> None:
        text = f"journal {found.file.path} is damaged: {'; '.join(found.damage)}"
        if self._strict:
            raise CorruptionError(text)
        _log.error("%s. What can be read of it is used", text[0].upper() + text[1:])
        self._keep_aside(found.file.path, self._files.read_whole(found.file.path))

    def _keep_aside(self, path: str, content: bytes) -> None:
        aside = path + _DAMAGED
        copies = 1
        while self._files.exists(aside):
            copies += 1
            aside = f"{path}{_DAMAGED}-{copies}"
        _log.warning("A copy of these %d bytes is kept as %s", len(content), aside)
        copy = self._files.open_new(aside)
        try:
            copy.write(content)
        finally:
            copy.close()

    def read_back(self, number: int) -> Iterator[Batch]:
        """Read what is needed and was written by us, up to `number`, oldest first; beside `append`.

        Raises:
            StoreError: a file cannot be read.
        """
        with self._standing:
            with self._lock:
                files = [file for file in self._kept if not file.removed]
            for file in files:
                wanted = range(file.first, min(file.last, number) + 1)
                found = {batch.number: batch for batch in self._read_file(file.path).batches if batch.number in wanted}
                if len(found) < len(wanted):
                    missing = len(wanted) - len(found)
                    raise CorruptionError(f"journal {file.path}: {missing} batches cannot be read again")
                yield from (found[wanted_number] for wanted_number in wanted)

    # Writing.

    def begin(self) -> ByteBuffer:
        """Begin a batch: what is put into the buffer returned is what `finish` makes durable."""
        return self._frame.begin()

    def append(self, payload: bytes) -> int:
        """Make one batch durable: `begin` and `finish`."""
        self.begin().put(payload)
        return self.finish()

    def finish(self) -> int:
        """Make the batch durable that was begun.

        Returns:
            Its number.

        Raises:
            StoreError: it does not count, now and after a restart, unless the server ends before the next
                `append` has succeeded; then it may come back. A later `append` begins a fresh file.
        """
        number = self.last + 1
        written = self._frame.finish(number)
        if self._file is None:
            self._begin_file(number, written)
        else:
            try:
                self._file.write(written)
                if self.file_size + len(written) > self._reserved_to:
                    self._reserve(self._file, self.file_size + len(written))
                if self._sync:
                    self._file.sync_data()
            except StoreError as error:
                self._abandon(error)
                raise
            self.file_size += len(written)
            with self._lock:
                self._kept[-1].size = self.file_size
                self.size += len(written)
        self.last = number
        with self._lock:
            self._kept[-1].last = number
        return number

    def rotate(self) -> int:
        """Let the next batch begin a new file; in the thread that appends.

        Returns:
            The number up to which `cut` will then remove files.
        """
        file, self._file = self._file, None
        if file is not None:
            file.close()
        return self.last

    def _begin_file(self, number: int, written: memoryview) -> None:
        if self._suspect:
            with self._standing:
                self._replace_all()
            self._suspect = False
        index = self._next_index
        path = os.path.join(self._root, f"journal.{index}.stan")
        begun = b"".join([header(number), written])
        file = self._files.open_new(path)
        try:
            file.write(begun)
            self._reserve(file, len(begun))
            if self._sync:
                file.sync()
                self._files.sync_directory(self._root)
        except StoreError:
            self._discard(file, path)
            self._next_index += 1
            raise
        self._next_index += 1
        self._file = file
        self.file_size = len(begun)
        with self._lock:
            self._kept.append(_JournalFile(path, index, number, number, len(begun)))
            self.size += len(begun)

    def _reserve(self, file: File, size: int) -> None:
        """Make the file longer for the frames to come, behind the `size` bytes it has."""
        if not self._reserved_bytes:
            return
        self._reserved_to = size + self._reserved_bytes
        try:
            file.reserve(self._reserved_to)
        except StoreError as error:
            # It is for speed only; whether there is room for a frame is seen when it is written.
            if _errno_of(error) not in _CANNOT_RESERVE:
                raise

    def _discard(self, file: File, path: str) -> None:
        """Remove a file that could not be begun; one that stays is void all the same."""
        try:
            file.close()
            self._files.unlink(path)
        except StoreError as error:
            _log.warning("Journal: %s could not be removed: %s", path, error)

    def _abandon(self, error: StoreError) -> None:
        """Never write to this file again: it is not known what of it is on the disk.

        A file that found no room is sound up to there. After any other error nothing of it is trusted.
        """
        file, self._file = self._file, None
        self._suspect = self._suspect or _errno_of(error) not in _NO_ROOM
        _log.error("Journal: a commit failed, going on in a fresh file: %s", error)
        if file is not None:
            try:
                file.close()
            except StoreError as failure:
                _log.warning("Journal: closing %s: %s", self._kept[-1].path, failure)

    def _replace_all(self) -> None:
        """Write every batch that is still needed into one fresh file, which replaces the others."""
        with self._lock:
            old = [file for file in self._kept if file.last >= file.first and not file.removed]
        if not old:
            return
        needed: dict[int, bytes] = {}
        for file in old:
            for batch in self._read_file(file.path).batches:
                if file.first <= batch.number <= file.last:
                    needed[batch.number] = batch.payload
        first, last = old[0].first, old[-1].last
        if len(needed) != last - first + 1:
            # What the system still gives us is not what was written. The disk may yet have it: leave it alone.
            _log.error("Journal: %d batches cannot be read again to copy them", last - first + 1 - len(needed))
            return
        self._put_in_place(first, [frame(number, needed[number]) for number in sorted(needed)])
        for file in old:
            try:
                self._files.unlink(file.path)
            except StoreError as error:
                _log.warning("Journal: %s could not be removed: %s", file.path, error)

    def _put_in_place(self, first: int, frames: list[bytes]) -> None:
        """Begin a file with frames from `first` on; every file before it is void from then on."""
        index = self._next_index
        self._next_index += 1
        path = os.path.join(self._root, f"journal.{index}.stan")
        unfinished = path + _NEW
        content = b"".join([header(first), *frames])
        copy = self._files.open_new(unfinished)
        try:
            copy.write(content)
            copy.sync()
            copy.close()
            self._files.rename(unfinished, path)
            self._files.sync_directory(self._root)
        except StoreError:
            self._discard(copy, unfinished)
            raise
        with self._lock:
            self._kept = [_JournalFile(path, index, first, first + len(frames) - 1, len(content))]
            self.size = len(content)

    def supersede(self, payload: bytes) -> list[str]:
        """Let one batch stand for all that `replay` gave, before the first `append`.

        Returns:
            Paths of the files that held the others: they stay, under names that nobody reads.

        Raises:
            StoreError: what was there still counts.
        """
        old = list(self._kept)
        self._put_in_place(1, [frame(1, payload)])
        self.last = 1
        aside = [file.path + _SET_ASIDE for file in old]
        for file, target in zip(old, aside, strict=True):
            self._files.rename(file.path, target)
        self._files.sync_directory(self._root)
        return aside

    # Removing.

    def cut(self, number: int) -> None:
        """Remove the files that hold nothing above `number`; the one being written stays.

        Raises:
            StoreError: a file could not be removed; call again.
        """
        while self._cut_oldest(number):
            pass

    def _cut_oldest(self, number: int) -> bool:
        with self._standing:
            with self._lock:
                oldest = self._kept[0] if self._kept else None
                if oldest is None or oldest.last > number or (self._file is not None and len(self._kept) == 1):
                    return False
            if not oldest.removed:
                self._files.unlink(oldest.path)
                oldest.removed = True
            # One after the other: a file that came back without those behind it would undo what they changed.
            self._files.sync_directory(self._root)
            with self._lock:
                self._kept.remove(oldest)
                self.size -= oldest.size
            return True

    def close(self) -> None:
        """Release the file. What is in the journal stays there unless it was cut."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _errno_of(error: StoreError) -> int:
    cause = error.__cause__
    return cause.errno or 0 if isinstance(cause, OSError) else 0


def _index_of(name: str) -> int:
    match = _NAME.match(name)
    assert match is not None
    return int(match[1])
