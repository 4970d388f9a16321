"""How long the files were when this server stopped, `sizes.stan`: ours alone, in the root.

A file of records that ends at the end of a record looks whole, however much of it is missing. So a clean stop
leaves behind what there was, and the next start, which removes that again, compares. Files that are longer
than noted are fine: a Go server has written to them. Shorter ones may also be rewritten by one; that is said.

    type  meaning      payload (fields as in protobuf)
    1     a channel    1 name bytes, 2 bytes of subs.dat u64, 3 bytes of removed.stan u64, 4 last sequence u64,
                       5 highest subscription ID u64
    2     the root     2 bytes of clients.dat u64
    3     the end      nothing: without it the file counts for nothing
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.protobuf import END, FIELD, LENGTH, VARINT, FieldReader
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

FILE_NAME = "sizes.stan"
_CHANNEL, _ROOT, _END = 1, 2, 3
_NUMBERS = 4


@dataclass(slots=True, frozen=True)
class ChannelSeal:
    """What a channel was when the server stopped.

    Attributes:
        subscriptions_size, removed_size: bytes of the two files.
        last: the highest sequence.
        highest_subscription_id: ever used.
    """

    subscriptions_size: int = 0
    removed_size: int = 0
    last: int = 0
    highest_subscription_id: int = 0


@dataclass(slots=True)
class Seal:
    """What the directory was."""

    clients_size: int
    channels: dict[bytes, ChannelSeal]


def write_seal(files: Files, pool: FilePool, directory: str, checksum: Checksum, seal: Seal) -> None:
    out = ByteBuffer(4096)
    out.put(FILE_HEADER)
    put_record(out, _ROOT, _encode(b"", (seal.clients_size,)), checksum)
    for name, each in seal.channels.items():
        numbers = (each.subscriptions_size, each.removed_size, each.last, each.highest_subscription_id)
        put_record(out, _CHANNEL, _encode(name, numbers), checksum)
    put_record(out, _END, b"", checksum)
    replace_file(files, pool, os.path.join(directory, FILE_NAME), memoryview(out.data)[: out.used])


def read_seal(files: Files, directory: str, checksum: Checksum) -> Seal | None:
    """Read what the last run left; None if there is nothing that can be used."""
    path = os.path.join(directory, FILE_NAME)
    if not files.exists(path):
        return None
    content = files.read_whole(path)
    if content[:FILE_HEADER_BYTES] != FILE_HEADER:
        return None
    scan = RecordScan(content[FILE_HEADER_BYTES:], True, checksum, True)
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
