"""For the tests of the FILE store's files: a directory, what is put into it, and what is found in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.control_messages import ServerInfo, SubscriptionState
from nats_streaming.protocol.stan_messages import put_message
from nats_streaming.stores.file.channel_files import ChannelFiles
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.record import FILE_HEADER, INDEX_ENTRY_BYTES, Checksum, put_index_entry, put_record
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoredChannel, StoreState

CHANNEL = b"foo"
SERVER = ServerInfo(cluster_id=b"test", discovery=b"_STAN.discover.test")
TIMESTAMP_NS = 1_700_000_000_000_000_000


def encoded(sequence: int, data: bytes, *, channel: bytes = CHANNEL, timestamp_ns: int | None = None) -> bytes:
    """A MsgProto as the engine stores it."""
    out = ByteBuffer(64)
    subject = b"\x12" + bytes([len(channel)]) + channel
    when = TIMESTAMP_NS + sequence if timestamp_ns is None else timestamp_ns
    put_message(out, sequence, subject, data, 0, 0, 0, len(data), when)
    return out.take()


def segment_of(first: int, messages: Iterable[bytes | None], *, channel: bytes = CHANNEL, step_ns: int = 1) -> Segment:
    """Payloads with consecutive sequences; None is a hole."""
    segment = Segment(first)
    for sequence, data in enumerate(messages, first):
        timestamp_ns = TIMESTAMP_NS + sequence * step_ns
        message = b"" if data is None else encoded(sequence, data, channel=channel, timestamp_ns=timestamp_ns)
        segment.append(message, timestamp_ns)
    return segment


def payload(sequence: int) -> bytes:
    return b"message %d" % sequence


def append(channel: ChannelFiles, first: int, last: int, *, name: bytes = CHANNEL) -> None:
    """Messages that have `payload` for data."""
    channel.append(segment_of(first, map(payload, range(first, last + 1)), channel=name), first, last)


def open_root(directory: Path | str, files: Files | None = None, **options: Any) -> RootFiles:
    """A store directory, not recovered yet."""
    given = FileOptions(directory=str(directory), **{"sync": False, **options})
    given.check()
    return RootFiles(str(directory), given, files or QuickFiles())


@dataclass
class Opened:
    """A recovered directory, and what was found in it."""

    root: RootFiles
    state: StoreState

    @property
    def channel(self) -> ChannelFiles:
        return self.root.create_channel(CHANNEL)

    @property
    def stored(self) -> StoredChannel:
        return self.state.channels[CHANNEL]

    @property
    def texts(self) -> list[str]:
        return [finding.text for finding in self.root.findings]

    @property
    def errors(self) -> list[str]:
        return [finding.text for finding in self.root.findings if finding.severity is Severity.ERROR]

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.root.close()


def reopen(directory: Path | str, files: Files | None = None, **options: Any) -> Opened:
    """Recover a directory as the store does."""
    root = open_root(directory, files, **options)
    state = root.recover()
    if state is None:
        root.put_server(SERVER)
        state = StoreState(server=SERVER)
    root.settle(state)
    return Opened(root, state)


def read_all(channel: ChannelFiles, first: int = 1) -> dict[int, bytes]:
    """All messages that are there, encoded, by sequence."""
    found: dict[int, bytes] = {}
    while (segment := channel.read(first, 1 << 14)) is not None:
        assert segment.base == first
        assert len(segment) > 0
        last = first + len(segment) - 1
        found.update((sequence, message) for sequence, _, message in segment.messages(first, last))
        first = last + 1
    return found


def data_of(messages: dict[int, bytes]) -> dict[int, bytes]:
    """The payloads of encoded messages."""
    from tests.support.stan_messages import MsgProto

    return {sequence: MsgProto.FromString(message).data for sequence, message in messages.items()}


def expected(*runs: tuple[int, int]) -> dict[int, bytes]:
    return {
        sequence: encoded(sequence, payload(sequence)) for first, last in runs for sequence in range(first, last + 1)
    }


def subscription(subscription_id: int, **more: Any) -> SubscriptionState:
    return SubscriptionState(
        **{"id": subscription_id, "client_id": b"me", "inbox": b"_INBOX.1", "ack_inbox": b"_INBOX.2", **more}
    )


class QuickFiles(Files):
    """Never waits for the disk; for tests that end no process and cut no power."""

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if operation in ("sync", "sync_directory"):
            return None
        return super().system(operation, path, call, *arguments)


# Files by hand.

CRC = Checksum(0xEDB88320)


def record(payload: bytes, kind: int = 0, checksum: Checksum = CRC) -> bytes:
    out = ByteBuffer(64)
    put_record(out, kind, payload, checksum)
    return out.take()


@dataclass
class SliceBytes:
    """The two files of a slice, message by message."""

    data: bytearray = field(default_factory=lambda: bytearray(FILE_HEADER))
    index: bytearray = field(default_factory=lambda: bytearray(FILE_HEADER))

    def add(self, sequence: int, data: bytes | None = None, *, in_index: bool = True) -> SliceBytes:
        message = encoded(sequence, payload(sequence) if data is None else data)
        if in_index:
            out = ByteBuffer(INDEX_ENTRY_BYTES)
            put_index_entry(out, sequence, len(self.data), TIMESTAMP_NS + sequence, len(message), CRC)
            self.index += out.take()
        self.data += record(message)
        return self

    def write(self, directory: Path, number: int = 1, *, name: bytes = CHANNEL) -> None:
        channel = directory / os.fsdecode(name)
        channel.mkdir(parents=True, exist_ok=True)
        (channel / f"msgs.{number}.dat").write_bytes(self.data)
        (channel / f"msgs.{number}.idx").write_bytes(self.index)
