"""What this server is, `server.dat`: exactly one untyped record, a ServerInfo.

Source: stores specification, section 2.3.
"""

from __future__ import annotations

from dataclasses import replace

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import CorruptionError, quoted
from nats_streaming.protocol.control_messages import ServerInfo, decode, encode
from nats_streaming.stores.file.damage import Damage, record_error
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.record import (
    END,
    FILE_HEADER,
    FILE_HEADER_BYTES,
    RECORD,
    RECORD_HEADER_BYTES,
    Checksum,
    RecordScan,
    put_record,
)
from nats_streaming.stores.file.record_log import replace_file

FILE_NAME = "server.dat"


class ServerFile:
    """Not thread-safe: the root has the lock."""

    def __init__(self, files: Files, pool: FilePool, path: str, checksum: Checksum) -> None:
        self._files = files
        self._pool = pool
        self._path = path
        self._checksum = checksum
        self._info: ServerInfo | None = None

    @property
    def info(self) -> ServerInfo | None:
        """A copy of what was read or put last; None if nothing was."""
        return replace(self._info) if self._info is not None else None

    def recover(self, damage: Damage) -> ServerInfo | None:
        """Read it; None when it is not there, has no record, or is damaged and was set aside.

        Raises:
            CorruptionError: with `strict`.
        """
        if not self._files.exists(self._path):
            return None
        file = self._files.open_read(self._path)
        try:
            sound = damage.check_header(self._path, file)
            content = file.pread(FILE_HEADER_BYTES, file.size())
        finally:
            file.close()
        scan = RecordScan(content, False, self._checksum, damage.options.crc)
        result = scan.next()
        if result == END:
            if not sound:
                replace_file(self._files, self._pool, self._path, FILE_HEADER)
            return None
        error = ""
        if result != RECORD:
            error = record_error(result, scan)
            damage.tell(Severity.ERROR, f"Server file {quoted(self._path)} corrupted: {error}", self._path)
            if damage.options.strict:
                text = "Follow instructions in documentation in order to recover from this"
                damage.tell(Severity.ERROR, text, self._path)
        elif scan.stop != len(content):
            expected = FILE_HEADER_BYTES + RECORD_HEADER_BYTES + scan.stop - scan.start
            error = f"incorrect file size, expected {expected} bytes, got {FILE_HEADER_BYTES + len(content)} bytes"
        info = None if result != RECORD else decode(ServerInfo, content[scan.start : scan.stop])
        if not error and info is None:
            error = "the server information cannot be decoded"
        if error:
            if damage.options.strict:
                raise CorruptionError(error)
            damage.keep(self._path, 0, FILE_HEADER_BYTES + len(content), error)
            sound = False
        if info is None:
            replace_file(self._files, self._pool, self._path, FILE_HEADER)
            return None
        # What is around the record may be damaged; the record itself is not.
        if sound:
            self._info = info
        else:
            self.put(info)
        return replace(info)

    def put(self, info: ServerInfo) -> None:
        """Replace it, lasting on return; the same again writes nothing."""
        if self._info == info:
            return
        out = ByteBuffer(256)
        out.put(FILE_HEADER)
        put_record(out, 0, encode(info), self._checksum)
        replace_file(self._files, self._pool, self._path, out.take())
        self._info = replace(info)
