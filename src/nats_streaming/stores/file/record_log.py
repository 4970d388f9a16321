"""A file of typed records that its owner can write anew at any time: clients, subscriptions, what was removed.

Its owner holds the whole content as values, which makes failures simple: after a failed write or fsync
nobody knows what the file holds, so the next `flush` writes a fresh one and puts it in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.record import FILE_HEADER, RECORD_BYTES_MAX, Checksum, put_pairs, put_record

_NEW_SUFFIX = ".new"


class RecordLog:
    """Records gathered in memory, and the file they go to.

    Attributes:
        path: of the file.
        size: bytes of it and of what is gathered, header included.
        unsynced: something was written, or is gathered, since the last successful `sync`.
    """

    def __init__(
        self,
        files: Files,
        pool: FilePool,
        path: str,
        checksum: Checksum,
        image: Callable[[ByteBuffer], None],
        before_rewrite: Callable[[], None],
        *,
        buffer_bytes: int,
    ) -> None:
        """
        Args:
            files: what reaches the file system.
            pool: where its open file is kept.
            path: of the file; its directory must exist when something is written.
            checksum: of the records.
            image: writes all records that a fresh file needs.
            before_rewrite: called when a fresh file is about to take the place of the one that is there.
            buffer_bytes: bytes gathered before they are written.
        """
        self._files = files
        self._pool = pool
        self._checksum = checksum
        self._image = image
        self._before_rewrite = before_rewrite
        self._buffer_bytes = buffer_bytes
        self._gathered = ByteBuffer(128)
        self._distrusted = False
        self.path = path
        self.size = 0
        self.unsynced = False

    def opened(self, size: int) -> None:
        """Its file is there, sound, and has `size` bytes."""
        self.size = size

    def put(self, kind: int, payload: bytes) -> None:
        """Gather one record."""
        if len(payload) > RECORD_BYTES_MAX:
            raise StoreError(f"write {self.path}: a record of {len(payload)} bytes does not fit")
        before = self._gathered.used
        put_record(self._gathered, kind, payload, self._checksum)
        self._put(before)

    def put_pairs(self, kind: int, subscription_id: int, sequences: list[int]) -> None:
        """Gather one record per sequence (SubStateUpdate)."""
        before = self._gathered.used
        put_pairs(self._gathered, kind, subscription_id, sequences, self._checksum)
        self._put(before)

    def _put(self, before: int) -> None:
        self.size += self._gathered.used - before
        self.unsynced = True
        if self._gathered.used >= self._buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Hand what is gathered over to the operating system."""
        if self._distrusted:
            self.rewrite()
            return
        if self._gathered.used == 0:
            return
        try:
            with self._pool.using(self.path, write=True) as file:
                file.write(memoryview(self._gathered.data)[: self._gathered.used])
        except StoreError:
            self._distrusted = True
            raise
        self._gathered = ByteBuffer(128)

    def sync(self) -> None:
        """`flush`, and bring it to the disk if something is not there."""
        self.flush()
        if not self.unsynced:
            return
        try:
            with self._pool.using(self.path, write=True) as file:
                file.sync()
        except StoreError:
            self._distrusted = True
            raise
        self.unsynced = False

    def renew(self) -> None:
        """Let the next `flush` write a fresh file."""
        self._distrusted = True
        self.unsynced = True

    def rewrite(self) -> None:
        """Write a fresh file with what holds now, bring it to the disk, and put it in place of the old one."""
        content = ByteBuffer(1024)
        content.put(FILE_HEADER)
        self._image(content)
        self._distrusted = True
        self._before_rewrite()
        replace_file(self._files, self._pool, self.path, memoryview(content.data)[: content.used])
        self._distrusted = False
        self._gathered = ByteBuffer(128)
        self.size = content.used
        self.unsynced = False


def replace_file(files: Files, pool: FilePool, path: str, content: bytes | memoryview) -> None:
    """Put a file with this content in place of `path`, so that a crash leaves the old one or the new one.

    What a crash leaves beside it is overwritten the next time, and no server reads it.
    """
    fresh = _write_beside(files, path, content)
    pool.discard(path)
    files.rename(fresh, path)
    files.sync_directory(os.path.dirname(path))


def make_file(files: Files, path: str, content: bytes) -> None:
    """Make a file that is not there, so that a crash leaves the whole of it or none."""
    files.rename(_write_beside(files, path, content), path)


def _write_beside(files: Files, path: str, content: bytes | memoryview) -> str:
    fresh = path + _NEW_SUFFIX
    file = files.open_new(fresh)
    try:
        file.write(content)
        file.sync()
    finally:
        file.close()
    return fresh
