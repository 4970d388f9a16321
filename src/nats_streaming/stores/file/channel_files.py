"""The files of a store directory and of its channels, as the Go server lays them out: read and written.

Synchronous; knows no journal and no event loop. Whoever is above calls `RootFiles.apply` with batches
that are already durable elsewhere, and `sync` when it wants to forget them there.

What is written may stay in memory until `flush`, and on the way to the disk until `sync`. Methods of a
channel may be called from several threads; a `read` never waits for an fsync.

SKETCH of the interface: the bodies follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nats_streaming.clock import Clock
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.batch import Record
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.findings import Finding
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState


class ChannelFiles:
    """One channel: its slices of messages, its subscriptions, and what was deleted of it.

    After a StoreError of `append`, `flush` or `sync` the files may hold less than was handed over:
    `last_sequence` says what they hold for sure, and everything since the last successful `sync` must be
    handed over again (which is safe: what is there is ignored).
    """

    name: bytes

    @property
    def first_sequence(self) -> int:
        """`last_sequence + 1` when every message has gone; 0 while nothing was ever stored."""
        raise NotImplementedError

    @property
    def last_sequence(self) -> int:
        """The highest sequence that was ever stored, deleted and dropped ones included."""
        raise NotImplementedError

    def append(self, segment: Segment, first: int, last: int) -> None:
        """Store what `segment` has from `first` to `last`, without what is there already; holes stay holes.

        May write and, where a slice is full, fsync it and begin the next one.
        """

    def drop_until(self, first: int) -> None:
        """Let go of every message before `first`, for good; removes (or archives) slices that have none left."""

    def delete(self, sequences: Iterable[int]) -> None:
        """Make holes of single messages and overwrite their bytes; unknown sequences are ignored."""

    def set_aside(self, sequence: int) -> Finding:
        """Make a hole of a message that `read` refused as corrupt; its bytes are kept in `<file>.corrupt-<n>`."""
        raise NotImplementedError

    def put_subscription(self, state: SubscriptionState) -> None:
        """New or changed; keeps what is pending. The state is not kept, only its values."""

    def remove_subscription(self, subscription_id: int) -> None: ...

    def sent(self, subscription_id: int, sequences: Sequence[int]) -> None: ...

    def acked(self, subscription_id: int, sequences: Sequence[int]) -> None: ...

    def read(self, first: int, count: int) -> Segment | None:
        """Messages from `first` on, as `stores.api.Store.read`: at most `count`, and about `read_buffer_size` bytes.

        Raises:
            CorruptMessageError: the first message wanted is damaged: file, offset and sequence are its
                attributes. A damaged one further on ends the segment before it.
        """
        raise NotImplementedError

    def find_time(self, timestamp_ns: int) -> int:
        """The first sequence whose timestamp is not below; `last + 1` when there is none."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand everything over to the operating system."""

    def sync(self) -> None:
        """`flush`, then bring all of it to stable storage, directory entries included."""

    def close(self) -> None:
        """Flush, sync, and release everything. Idempotent."""


class RootFiles:
    """The directory: server, clients, channels."""

    findings: list[Finding]
    """What recovery met, in order; the caller logs it."""

    def __init__(
        self,
        directory: str,
        options: FileOptions,
        files: Files,
        *,
        limits: Callable[[bytes], ChannelLimits] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make the directory and see to the witness of `truncate_bad_eof`; read nothing.

        Args:
            directory: the root.
            options: checked ones.
            files: what reaches the file system.
            limits: what holds for a channel, needed for slices when all slice options are 0.
            clock: for the interval between compactions.
        """

    def try_lock(self) -> bool:
        """Become the only server on this directory (`.rootdir.lck`); False while another is. Until `close`."""
        raise NotImplementedError

    def recover(self) -> StoreState | None:
        """Read everything; None when there is nothing. Messages stay on disk: segments are empty.

        Raises:
            CorruptionError: only with `options.strict`.
        """
        raise NotImplementedError

    def channel(self, name: bytes) -> ChannelFiles | None:
        """The open channel, None when there is none of this name."""
        raise NotImplementedError

    def create_channel(self, name: bytes) -> ChannelFiles:
        """The channel, made if it is not there."""
        raise NotImplementedError

    def remove_channel(self, name: bytes) -> None:
        """Remove it with all it holds; unknown is fine."""

    def put_server(self, info: ServerInfo) -> None: ...

    def put_client(self, info: ClientInfo) -> None: ...

    def remove_client(self, client_id: bytes) -> None: ...

    def apply(self, records: Iterable[Record]) -> None:
        """Apply one batch; applying it twice, or again from an earlier one on, changes nothing."""

    def flush(self) -> None:
        """Hand everything of every channel that changed over to the operating system."""

    def sync(self) -> None:
        """Bring everything that changed since the last `sync` to stable storage.

        Raises:
            StoreError: at least one file failed; the others were done nevertheless. Apply everything
                since the last successful `sync` again, then `sync` again: what failed is rewritten.
        """

    def close(self) -> None:
        """Flush, sync, close all and release the lock. Idempotent."""
