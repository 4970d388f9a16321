"""The files of a journal, read: which there are, the batches in each, and what is damage and what a crash left.

    header, frames, then    zeros                 a file that was made for it
                            a head of zeros, and  a file that had served before
                            anything behind it
    an incomplete frame                           a commit that never returned: dropped
    anything else                                 damage: reported, and kept aside as `journal.<n>.stan.damaged`

Changes nothing but for the copies it keeps aside.
"""

from __future__ import annotations

import logging
import os.path
import re
from dataclasses import dataclass, field

from nats_streaming.errors import CorruptionError
from nats_streaming.stores.batch import MAGIC as BATCH_MAGIC
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.journal_frames import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    Batch,
    Header,
    find_frame,
    frame_at,
    header_of,
    length_at,
)

_log = logging.getLogger("nats_streaming")

_NAME = re.compile(r"journal\.([1-9][0-9]*)\.stan\Z")
_DAMAGED = ".damaged"
_END = bytes(FRAME_HEAD_BYTES)


@dataclass(slots=True)
class JournalFile:
    """A file on disk: frames `first` to `last`, `last` being `first - 1` while there is none.

    Attributes:
        size: bytes up to the end of the last frame.
        room: bytes that are on the disk already, 0 if nobody knows.
        removed: taken away, though that is not on stable storage yet.
    """

    path: str
    index: int
    first: int
    last: int
    size: int = 0
    room: int = 0
    removed: bool = False

    @property
    def is_void(self) -> bool:
        """No batch in it counts: it could not be begun, or was replaced. It is never the one that is being written."""
        return self.last < self.first


@dataclass(slots=True)
class Found:
    """What reading one file has shown."""

    file: JournalFile
    batches: list[Batch] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    tail: bytes = b""  # of a commit that never returned, behind the last frame
    has_header: bool = True  # or no frame can be read
    header_is_whole: bool = True
    again: bool = False  # it had served before


class JournalReader:
    """Reads the files of one directory."""

    def __init__(self, root: str, files: Files, *, strict: bool) -> None:
        """
        Args:
            root: the directory, which exists.
            files: the file system.
            strict: whether damage is an error, not only reported.
        """
        self._root = root
        self._files = files
        self._strict = strict

    def paths(self) -> list[str]:
        """The files in their order."""
        found = [name for name in self._files.listdir(self._root) if _NAME.match(name)]
        return [os.path.join(self._root, name) for name in sorted(found, key=_index_of)]

    def first_in(self, path: str) -> int:
        """What a file's header says, 0 when there is none."""
        file = self._files.open_read(path)
        try:
            head = header_of(file.pread(0, HEADER_BYTES))
            return head.first if head is not None else 0
        finally:
            file.close()

    def read(self, path: str) -> Found:
        """All batches that can be read."""
        content = self._files.read_whole(path)
        index = _index_of(os.path.basename(path))
        head = header_of(content)
        if head is None:
            return _without_header(JournalFile(path, index, 0, -1, len(content)), content)
        found = Found(JournalFile(path, index, head.first, head.first - 1, len(content)))
        found.header_is_whole, found.again = head.is_whole, head.again
        position = head.end
        view = memoryview(content)
        expected = head.first
        while position < len(content):
            batch = frame_at(view, position, expected, head.salt)
            if batch is not None:
                if batch.number > expected:
                    found.damage.append(f"batches {expected} to {batch.number - 1} are missing at offset {position}")
                found.batches.append(batch)
                expected = batch.number + 1
                position += FRAME_HEAD_BYTES + len(batch.payload)
                continue
            following = find_frame(content, view, position + 1, expected, head.salt)
            if following < 0:
                found.tail = _tail(content, position, head)
                found.file.size = position + len(found.tail)
                break
            found.damage.append(f"{following - position} bytes at offset {position} are no batch")
            position = following
        return found

    def judge(self, found: Found, expected: int, void_from: int, *, is_last: bool) -> None:
        """Tell damage from what a crash or a failed commit leaves.

        Args:
            found: what `read` returned.
            expected: number of the first batch that should be there, 0 for any.
            void_from: later files begin with this number, 0 for none.
            is_last: there is no later file.

        Raises:
            CorruptionError: damage, when `strict`.
        """
        path, size = found.file.path, found.file.size
        reached = found.batches[-1].number + 1 if found.batches else max(found.file.first, expected)
        if found.batches and expected and found.batches[0].number > expected:
            found.damage.insert(0, f"batches {expected} to {found.batches[0].number - 1} before it are missing")
        if void_from and reached < void_from and (reached or found.tail):
            where = size - len(found.tail)
            found.damage.append(f"batches {reached} to {void_from - 1} are missing from offset {where} on")
        elif is_last and found.tail:
            lost = len(found.tail)
            _log.warning("Journal %s: dropped an unfinished commit, %d bytes at offset %d", path, lost, size - lost)
            if lost >= FRAME_HEAD_BYTES:
                # Nothing on the disk tells a power loss from damage to what had been committed.
                self._keep_aside(path, found.tail)
        # What the first commit writes to a fresh file, the header with it, may have been torn; nothing else is.
        if not found.header_is_whole and (found.again or len(found.batches) > 1):
            found.damage.insert(0, "one of the two headers is no header")
        if not found.has_header and not is_last:
            found.damage.insert(0, "the header is no header")
        if found.damage:
            self._report(found)

    def _report(self, found: Found) -> None:
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


def _without_header(file: JournalFile, content: bytes) -> Found:
    """No frame can be told from other bytes. One alone may be a first commit that never returned, two are not."""
    found = Found(file, has_header=False)
    second = HEADER_BYTES + FRAME_HEAD_BYTES + length_at(content[HEADER_BYTES : HEADER_BYTES + FRAME_HEAD_BYTES])
    if content.startswith(BATCH_MAGIC, second + FRAME_HEAD_BYTES):
        found.damage.append("the header is no header, and without it no batch can be read")
    else:
        found.tail = content.rstrip(b"\0")
        file.size = len(found.tail)
    return found


def _tail(content: bytes, position: int, header: Header) -> bytes:
    """What may be a commit that never returned, at `position`, behind which there is no frame."""
    if not header.again:
        return content[position:].rstrip(b"\0")
    head = content[position : position + FRAME_HEAD_BYTES]
    if head == _END[: len(head)]:
        return b""
    return content[position : position + FRAME_HEAD_BYTES + length_at(head)].rstrip(b"\0")


def _index_of(name: str) -> int:
    match = _NAME.match(name)
    assert match is not None
    return int(match[1])
