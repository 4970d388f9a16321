"""One slice of a channel's messages: two files, and what is known of them without reading them.

    <channel>/msgs.<n>.dat     the records
    <channel>/msgs.<n>.idx     where each one lies

Source: stores specification, sections 2.1 and 2.6.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import StoreError
from nats_streaming.stores.file.index import IndexScan
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.record import FILE_HEADER_BYTES, INDEX_ENTRY_BYTES
from nats_streaming.stores.limits import ChannelLimits

PREFIX = "msgs."
DATA_SUFFIX = ".dat"
INDEX_SUFFIX = ".idx"
BACKUP_SUFFIX = ".bak"
UNLIMITED = 1 << 62
_SCAN_ENTRIES = 1 << 15
_PART_OF_CHANNEL = 4  # a slice is a quarter of a channel's limits when it has none of its own


@dataclass(slots=True)
class Slice:
    """Messages that lie in one pair of files, in ascending order of sequence.

    Attributes:
        directory: of the channel.
        number: n in the files' names.
        first, last: sequences, 0 while there is no message.
        count: messages, dropped and deleted ones included: entries of the index.
        size: bytes as they count for limits, payload and 40 each.
        first_timestamp_ns, last_timestamp_ns: of the first and the last.
        data_end: where in the data file the next record goes.
    """

    directory: str
    number: int
    first: int = 0
    last: int = 0
    count: int = 0
    size: int = 0
    first_timestamp_ns: int = 0
    last_timestamp_ns: int = 0
    data_end: int = FILE_HEADER_BYTES

    @property
    def data_path(self) -> str:
        return os.path.join(self.directory, f"{PREFIX}{self.number}{DATA_SUFFIX}")

    @property
    def index_path(self) -> str:
        return os.path.join(self.directory, f"{PREFIX}{self.number}{INDEX_SUFFIX}")

    @property
    def is_dense(self) -> bool:
        """Whether a message's place in the index follows from its sequence."""
        return self.last - self.first + 1 == self.count


@dataclass(slots=True, frozen=True)
class SliceLimits:
    """When a slice is full. UNLIMITED where there is no limit."""

    count_max: int
    size_max: int
    age_max_ns: int

    @classmethod
    def of(cls, options: FileOptions, channel: ChannelLimits | None) -> SliceLimits:
        """From the slice options; only where all three are 0 from the channel's limits.

        Args:
            options: checked ones.
            channel: None means that the channel has no limits.
        """
        own = (options.slice_max_msgs, options.slice_max_bytes, options.slice_max_age_ns)
        if not any(own) and channel is not None:
            own = (
                _quarter(channel.max_messages, 1),
                _quarter(channel.max_bytes, 1),
                _quarter(channel.max_age_ns, NS_PER_SECOND),
            )
        return cls(*(limit or UNLIMITED for limit in own))


def _quarter(limit: int, least: int) -> int:
    return max(limit // _PART_OF_CHANNEL, least) if limit > 0 else 0


def slice_number(name: str) -> int | None:
    """The number in a data file's name; None if there is none, so that the name is wrong."""
    digits = name[len(PREFIX) : -len(DATA_SUFFIX)]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def index_size(count: int) -> int:
    """Bytes of an index file with so many entries."""
    return FILE_HEADER_BYTES + count * INDEX_ENTRY_BYTES


def scan_slice(scan: IndexScan, which: Slice, count: int, entries: Callable[[Slice, int, int], bytes]) -> None:
    """Feed a slice's first `count` entries, some at a time.

    Args:
        scan: what they are fed to, new.
        which: the slice.
        count: of entries that are there.
        entries: gives some, from one on; may give fewer.

    Raises:
        StoreError: one is damaged.
    """
    while scan.count < count:
        before = scan.count
        scan.feed(entries(which, before, min(count - before, _SCAN_ENTRIES)))
        if scan.count == before:
            raise StoreError(f"read {which.index_path}: entry {before} is damaged")
