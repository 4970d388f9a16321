"""The journal of the FILE store: batches in the order of their commits, all channels in one file.

    <root>/journal.<n>.stan     header, frames, what a file ends with (`journal_frames`)

A commit is one write and one sync. Files are read in the order of `n`; the numbers of the frames go on from
one file to the next. `first` of a file voids, in all files before it, the frames with that number and above:
so a batch whose commit failed stays void although its bytes may have reached the disk, and a file that
repeats everything replaces the files before it in one rename. Files are removed from the oldest on, one
after the other on stable storage, when what they hold is safe in the channel files.

A commit that finds its place on the disk, filled already, waits half as long for its sync: there is nothing to note
about the file. So zeros are written ahead of small commits, and a file that is not needed any more is used again
(`journal_spares`).

It knows nothing of what a batch means. One thread appends; another may cut.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from typing import Final

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.stores.file.file_io import File, Files
from nats_streaming.stores.file.journal_frames import FRAME_HEAD_BYTES, Batch, FrameWriter, frame, header, new_salt
from nats_streaming.stores.file.journal_reader import JournalFile, JournalReader
from nats_streaming.stores.file.journal_spares import UNFINISHED, JournalSpares

_log = logging.getLogger("nats_streaming")

_SET_ASIDE = ".set-aside"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AHEAD_TIMES = 8  # zeros ahead are worth it for commits that are smaller by this

ZEROS_AHEAD: Final = 1 << 18


class Journal:
    """Batches `oldest` to `last` are in the files; a failed `append` leaves nothing behind that counts.

    Attributes:
        size: bytes in all files.
        file_size: bytes in the file that is being written.
        last: number of the newest batch, 0 when there was none.
    """

    def __init__(
        self, root: str, files: Files, *, sync: bool, strict: bool = False, zeros_ahead: int = ZEROS_AHEAD
    ) -> None:
        """
        Args:
            root: directory of the journal, which exists.
            sync: whether `append` waits for stable storage.
            strict: whether damage is an error, not only reported.
            zeros_ahead: bytes that are written ahead of small commits, 0 for none; without `sync` none are.
        """
        self.size = 0
        self.file_size = 0
        self.last = 0
        self._root = root
        self._files = files
        self._sync = sync
        self._reader = JournalReader(root, files, strict=strict)
        # Windows renames no file that is open.
        self._spares = JournalSpares(root, files, enabled=sync and os.name != "nt")
        self._zeros = bytes(zeros_ahead if sync else 0)
        self._lock = threading.Lock()  # over the numbers
        self._standing = threading.RLock()  # over which files there are
        self._kept: list[JournalFile] = []  # the last one is being written while `_file` is open
        self._file: File | None = None
        self._next_index = 1
        self._suspect = False
        self._frame = FrameWriter()
        self._salt = 0  # of the file that is being written

    @property
    def oldest(self) -> int:
        """Number of the oldest batch that a replay would find; `last + 1` when there is none."""
        with self._lock:
            return min((file.first for file in self._kept if not file.is_void), default=self.last + 1)

    # Reading.

    def is_there(self) -> bool:
        """Whether the last run has left something."""
        return bool(self._reader.paths())

    def replay(self) -> Iterator[Batch]:
        """Read what is there, oldest first; once, before the first `append`.

        Raises:
            CorruptionError: damage, when `strict`.
            StoreError: a file cannot be read.
        """
        self._spares.remove_left()
        paths = self._reader.paths()
        firsts = {path: self._reader.first_in(path) for path in paths}
        expected = 0
        for position, path in enumerate(paths):
            later = [first for first in (firsts[other] for other in paths[position + 1 :]) if first]
            void_from = min(later, default=0)
            found = self._reader.read(path)
            self._next_index = found.file.index + 1
            if void_from:
                found.batches = [batch for batch in found.batches if batch.number < void_from]
            self._reader.judge(found, expected, void_from, is_last=position == len(paths) - 1)
            if found.batches:
                expected = found.batches[-1].number + 1
                found.file.last = self.last = found.batches[-1].number
            if not (found.has_header or found.batches):
                self._files.unlink(path)
                continue
            self._kept.append(found.file)
            self.size += found.file.size
            yield from found.batches

    def read_back(self, number: int) -> Iterator[Batch]:
        """Read what is needed and was written by us, up to `number`, oldest first; beside `append`.

        Raises:
            StoreError: a file cannot be read.
        """
        with self._standing:
            with self._lock:
                files = [file for file in self._kept if not (file.removed or file.is_void)]
            for file in files:
                wanted = range(file.first, min(file.last, number) + 1)
                found = {
                    batch.number: batch for batch in self._reader.read(file.path).batches if batch.number in wanted
                }
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
        if self._file is None:
            self._salt = new_salt()
        written = self._frame.finish(number, self._salt)
        size = len(written) - FRAME_HEAD_BYTES
        if self._file is None:
            self._begin_file(number, written)
        else:
            current = self._kept[-1]
            try:
                self._file.pwrite(self.file_size, written)
                self._write_ahead(self._file, current, self.file_size + len(written), size)
                if self._sync:
                    self._file.sync_data()
            except StoreError as error:
                self._abandon(error)
                raise
            self.file_size += size
            with self._lock:
                current.size = self.file_size
                self.size += size
        self.last = number
        with self._lock:
            self._kept[-1].last = number
        return number

    def give_back(self) -> None:
        """Release the room on the disk that waits for being used again; in any thread."""
        self._spares.release()

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
        self._next_index += 1
        path = os.path.join(self._root, f"journal.{index}.stan")
        spare = self._spares.take()
        begun = b"".join([header(number, self._salt, again=spare is not None), written])
        current = JournalFile(path, index, number, number, len(begun) - FRAME_HEAD_BYTES)
        place = path
        if spare is not None:
            place, current.room = spare
        file: File | None = None
        has_name = False
        try:
            if spare is not None:
                file = self._files.open_rw(place)
            else:
                has_name = True
                file = self._files.open_new(place)
            file.pwrite(0, begun)
            self._write_ahead(file, current, len(begun), len(written))
            if self._sync:
                file.sync()
                if place != path:
                    # Under its name only with all that it is to hold.
                    has_name = True
                    self._files.rename(place, path)
                    file.path = path
                self._files.sync_directory(self._root)
        except StoreError:
            self._discard(file, place)
            if has_name:
                self._remove(current)
            raise
        self.file_size = current.size
        with self._lock:
            self._file = file
            self._kept.append(current)
            self.size += current.size

    def _write_ahead(self, file: File, current: JournalFile, end: int, size: int) -> None:
        """Fill the place of the commits to come, from `end` on, if they are small: this one has `size` bytes."""
        if end <= current.room:
            return
        current.room = end
        if size * _AHEAD_TIMES > len(self._zeros):
            return
        try:
            file.pwrite(end, self._zeros)
        except StoreError as error:
            # It is for speed only; whether there is room for a frame is seen when it is written.
            if _errno_of(error) not in _NO_ROOM:
                raise
        else:
            current.room = end + len(self._zeros)

    def _discard(self, file: File | None, path: str) -> None:
        """Give up a file that could not be begun, under a name that a start does not read."""
        for step in (file.close if file is not None else None, partial(self._files.unlink, path)):
            try:
                if step is not None:
                    step()
            except StoreError as error:
                _log.warning("Journal: %s could not be removed: %s", path, error)

    def _remove(self, file: JournalFile) -> None:
        """Remove a file that does not count. If it stays, `cut` tries again, before it removes what makes it void."""
        try:
            self._files.unlink(file.path)
        except StoreError as error:
            _log.warning("Journal: %s could not be removed: %s", file.path, error)
            with self._lock:
                self._kept.append(JournalFile(file.path, file.index, file.first, file.first - 1))

    def _abandon(self, error: StoreError) -> None:
        """Never write to this file again: it is not known what of it is on the disk.

        A file that found no room is sound up to there. After any other error nothing of it is trusted.
        """
        current = self._kept[-1]
        current.room = 0  # first of all: from here on it may be cut
        file, self._file = self._file, None
        self._suspect = self._suspect or _errno_of(error) not in _NO_ROOM
        _log.error("Journal: a commit failed, going on in a fresh file: %s", error)
        if file is not None:
            try:
                file.close()
            except StoreError as failure:
                _log.warning("Journal: closing %s: %s", current.path, failure)

    def _replace_all(self) -> None:
        """Write every batch that is still needed into one fresh file, which replaces the others."""
        self._spares.release()  # it may need the room
        with self._lock:
            old = [file for file in self._kept if not (file.removed or file.is_void)]
        if not old:
            return
        needed: dict[int, bytes] = {}
        for file in old:
            for batch in self._reader.read(file.path).batches:
                if file.first <= batch.number <= file.last:
                    needed[batch.number] = batch.payload
        first, last = old[0].first, old[-1].last
        if len(needed) != last - first + 1:
            # What the system still gives us is not what was written. The disk may yet have it: leave it alone.
            _log.error("Journal: %d batches cannot be read again to copy them", last - first + 1 - len(needed))
            return
        self._put_in_place([needed[number] for number in sorted(needed)], first)
        for file in old:
            self._remove(file)
        with self._lock:
            # What could not be removed is void as long as the new file is there, and so comes before it.
            self._kept.sort(key=lambda kept: kept.index)

    def _put_in_place(self, payloads: list[bytes], first: int) -> None:
        """Begin a file with these batches, `first` on; every file before it is void from then on."""
        index = self._next_index
        self._next_index += 1
        path = os.path.join(self._root, f"journal.{index}.stan")
        unfinished = path + UNFINISHED
        salt = new_salt()
        frames = [frame(number, payload, salt) for number, payload in enumerate(payloads, first)]
        content = b"".join([header(first, salt), *frames])
        current = JournalFile(path, index, first, first + len(frames) - 1, len(content))
        copy: File | None = None
        has_name = False
        try:
            copy = self._files.open_new(unfinished)
            copy.write(content)
            copy.sync()
            copy.close()
            has_name = True
            self._files.rename(unfinished, path)
            self._files.sync_directory(self._root)
        except StoreError:
            self._discard(copy, unfinished)
            if has_name:
                self._remove(current)
            raise
        with self._lock:
            # Those that are still to be removed stay.
            self._kept = [file for file in self._kept if file.removed or file.is_void] + [current]
            self.size = sum(file.size for file in self._kept)

    def supersede(self, payload: bytes) -> list[str]:
        """Let one batch stand for all that `replay` gave, before the first `append`.

        Returns:
            Paths of the files that held the others: they stay, under names that nobody reads.

        Raises:
            StoreError: what was there still counts.
        """
        old = list(self._kept)
        self._put_in_place([payload], 1)
        self.last = 1
        aside = [file.path + _SET_ASIDE for file in old]
        for file, target in zip(old, aside, strict=True):
            self._files.rename(file.path, target)
        self._kept = self._kept[-1:]
        self.size = self._kept[0].size
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
                void = list(takewhile(lambda file: file.is_void, self._kept))
                oldest = self._kept[0] if self._kept else None
                is_written = self._file is not None and len(self._kept) == 1
            if void:
                self._cut_void(void)
                return True
            if oldest is None or oldest.last > number or is_written:
                return False
            if not oldest.removed:
                self._spares.put_aside(oldest)
                oldest.removed = True
            # One after the other: a file that came back without those behind it would undo what they changed.
            self._files.sync_directory(self._root)
            self._spares.settle(oldest)
            with self._lock:
                self._kept.remove(oldest)
                self.size -= oldest.size
            return True

    def _cut_void(self, files: list[JournalFile]) -> None:
        for file in files:
            self._files.unlink(file.path)
        self._files.sync_directory(self._root)
        with self._lock:
            self._kept = [file for file in self._kept if file not in files]
            self.size -= sum(file.size for file in files)

    def close(self) -> None:
        """Release the file. What is in the journal stays there unless it was cut; nothing is kept to be used again."""
        file, self._file = self._file, None
        self._spares.close()
        if file is not None:
            file.close()


def _errno_of(error: StoreError) -> int:
    cause = error.__cause__
    return cause.errno or 0 if isinstance(cause, OSError) else 0
