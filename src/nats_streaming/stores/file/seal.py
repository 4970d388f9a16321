"""How long the files were when all of them were on the disk, `sizes.stan`: ours alone, in the root.

A file of records that ends at the end of a record looks whole, however much of it is missing. So a clean stop
leaves behind what there was, and the next start, which removes that again, compares. Files that are longer
than noted are fine: a Go server has written to them. Shorter ones may also be rewritten by one; that is said.

A strict server writes it at each checkpoint too. After a crash it tells damage to what had been safe, which such
a server refuses, from what the crash has torn and the journal mends.

    type  meaning      payload (fields as in protobuf)
    1     a channel    1 name bytes, 2 bytes of subs.dat u64, 3 bytes of removed.stan u64, 4 last sequence u64,
                       5 highest subscription ID u64, 6 number of the last slice u64, 7 bytes of its data u64
    2     the root     2 bytes of clients.dat u64
    3     the end      nothing: without it the file counts for nothing
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.protobuf import END, FIELD, LENGTH, VARINT, FieldReader
from nats_streaming.stores.file.clients_file import FILE_NAME as CLIENTS_FILE
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.record import (
    FILE_HEADER,
    FILE_HEADER_BYTES,
    RECORD,
    Checksum,
    RecordScan,
    put_record,
)
from nats_streaming.stores.file.record_log import replace_file
from nats_streaming.stores.file.removed_log import FILE_NAME as REMOVED_FILE
from nats_streaming.stores.file.slices import DATA_SUFFIX, PREFIX, slice_number
from nats_streaming.stores.file.subscription_log import FILE_NAME as SUBSCRIPTIONS_FILE

FILE_NAME = "sizes.stan"
_CHANNEL, _ROOT, _END = 1, 2, 3
_NUMBERS = 6

SAFE_WHOLE: Final = 1 << 62


@dataclass(slots=True, frozen=True)
class ChannelSeal:
    """What a channel was when the server stopped.

    Attributes:
        subscriptions_size, removed_size: bytes of the two files.
        last: the highest sequence.
        highest_subscription_id: ever used.
        slice_number: of the slice that grows, 0 for none; those before it were complete.
        data_size: bytes of that slice's data file.
    """

    subscriptions_size: int = 0
    removed_size: int = 0
    last: int = 0
    highest_subscription_id: int = 0
    slice_number: int = 0
    data_size: int = 0

    def safe_size(self, name: str) -> int:
        """How many bytes of the file with this name had been on the disk, SAFE_WHOLE for all of them."""
        if name == SUBSCRIPTIONS_FILE:
            return self.subscriptions_size
        if name == REMOVED_FILE:
            return self.removed_size
        number = slice_number(name) if name.startswith(PREFIX) and name.endswith(DATA_SUFFIX) else None
        if number is None or number > self.slice_number:
            return 0
        return self.data_size if number == self.slice_number else SAFE_WHOLE


@dataclass(slots=True)
class Seal:
    """What the directory was."""

    clients_size: int
    channels: dict[bytes, ChannelSeal]

    def safe_size(self, path: str, channel: bytes | None) -> int:
        """How many bytes of a file had been on the disk; None for a file of the root. Index files can be made anew."""
        name = os.path.basename(path)
        if channel is not None:
            return self.channels.get(channel, ChannelSeal()).safe_size(name)
        # What the server is was written as a whole.
        return self.clients_size if name == CLIENTS_FILE else SAFE_WHOLE


class SealFile:
    """The file. Thread-safe."""

    def __init__(self, files: Files, pool: FilePool, directory: str, checksum: Checksum) -> None:
        """
        Args:
            files: what reaches the file system.
            pool: where open files are kept.
            directory: the root.
            checksum: of the records.
        """
        self._files = files
        self._pool = pool
        self._directory = directory
        self._checksum = checksum
        self._path = os.path.join(directory, FILE_NAME)
        self._stands = False

    def write(self, seal: Seal) -> None:
        """Note what is on the disk now, lasting on return."""
        out = ByteBuffer(4096)
        out.put(FILE_HEADER)
        put_record(out, _ROOT, _encode(b"", (seal.clients_size,)), self._checksum)
        for name, each in seal.channels.items():
            numbers = (
                each.subscriptions_size,
                each.removed_size,
                each.last,
                each.highest_subscription_id,
                each.slice_number,
                each.data_size,
            )
            put_record(out, _CHANNEL, _encode(name, numbers), self._checksum)
        put_record(out, _END, b"", self._checksum)
        self._stands = True
        replace_file(self._files, self._pool, self._path, memoryview(out.data)[: out.used])

    def read(self) -> Seal | None:
        """What the last run left; None if there is nothing that can be used."""
        if not self._files.exists(self._path):
            return None
        self._stands = True
        content = self._files.read_whole(self._path)
        if content[:FILE_HEADER_BYTES] != FILE_HEADER:
            return None
        scan = RecordScan(content[FILE_HEADER_BYTES:], True, self._checksum, True)
        seal = Seal(0, {})
        while scan.next() == RECORD:
            if scan.kind == _END:
                return seal
            decoded = _decode(scan.data, scan.start, scan.stop)
            if decoded is None:
                return None
            name, numbers = decoded
            if scan.kind == _ROOT:
                seal.clients_size = numbers[0]
            else:
                seal.channels[name] = ChannelSeal(*numbers)
        return None

    def remove(self) -> None:
        """Call before bytes that were safe are changed: written over, cut off, or written anew."""
        if not self._stands:
            return
        self._files.unlink(self._path)
        self._files.sync_directory(self._directory)
        self._stands = False


def _encode(name: bytes, numbers: tuple[int, ...]) -> bytes:
    out = ByteBuffer(64)
    if name:
        out.put_byte(1 << 3 | LENGTH)
        out.put_varint(len(name))
        out.put(name)
    for field, number in enumerate(numbers, 2):
        if number:
            out.put_byte(field << 3 | VARINT)
            out.put_varint(number)
    return out.take()


def _decode(data: bytes, start: int, stop: int) -> tuple[bytes, list[int]] | None:
    reader = FieldReader()
    reader.open(data, start, stop)
    name, numbers = b"", [0] * _NUMBERS
    while (result := reader.next_field()) == FIELD:
        if reader.number == 1 and reader.wire == LENGTH:
            name = data[reader.start : reader.stop]
        elif 2 <= reader.number < 2 + _NUMBERS and reader.wire == VARINT:
            numbers[reader.number - 2] = reader.value
        else:
            return None
    return (name, numbers) if result == END else None
