"""The files of one channel: its slices of messages, its subscriptions, and what was removed of it.

    <root>/<channel>/msgs.<n>.dat, msgs.<n>.idx     messages      (message_log, slices)
    <root>/<channel>/subs.dat                       subscriptions (subscription_log)
    <root>/<channel>/removed.stan                   what is gone  (removed_log; ours alone)

Synchronous; knows no journal and no event loop. What is written may stay in memory until `flush`, and on
the way to the disk until `sync`. A `read` never waits for an fsync.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from nats_streaming.clock import Clock
from nats_streaming.errors import StoreError, quoted
from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.file.archive import Archive
from nats_streaming.stores.file.channel_recovery import RecoveredChannel
from nats_streaming.stores.file.compaction import CompactionRule
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.findings import CorruptMessageError, Finding, Severity
from nats_streaming.stores.file.index_repair import mend_entry
from nats_streaming.stores.file.message_log import MessageLog
from nats_streaming.stores.file.message_reader import MessageReader
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.record import INDEX_ENTRY_BYTES, Checksum
from nats_streaming.stores.file.record_log import RecordLog
from nats_streaming.stores.file.removed_log import FILE_NAME as REMOVED_FILE
from nats_streaming.stores.file.removed_log import RangeSet, RemovedLog
from nats_streaming.stores.file.run_writer import Spares
from nats_streaming.stores.file.seal import ChannelSeal, SealFile
from nats_streaming.stores.file.slices import SliceLimits, index_size
from nats_streaming.stores.file.steps import run_steps
from nats_streaming.stores.file.subscription_log import FILE_NAME as SUBSCRIPTIONS_FILE
from nats_streaming.stores.file.subscription_log import SubscriptionLog
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoredChannel, StoredSubscription

_REMOVED_BUFFER_BYTES = 4096


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What all channels of a directory share."""

    options: FileOptions
    files: Files
    pool: FilePool
    checksum: Checksum
    spares: Spares
    archive: Archive
    clock: Clock
    seal_file: SealFile


class ChannelFiles:
    """One channel. Thread-safe.

    After a StoreError of `append`, `flush` or `sync` the files may hold less than was handed over:
    `last_sequence` says what they hold, and everything since the last successful `sync` must be handed over
    again (which is safe: what is there is ignored).

    Attributes:
        name: of the channel.
    """

    def __init__(
        self,
        directory: str,
        name: bytes,
        surroundings: Surroundings,
        limits: ChannelLimits | None,
        found: RecoveredChannel,
        failure: StoreError | None = None,
    ) -> None:
        """
        Args:
            directory: of the channel; it must be there.
            name: of the channel.
            surroundings: what it shares with other channels.
            limits: what holds for it, None for no limits; for slices only.
            found: what its files hold.
            failure: why its files cannot be used: then every method raises this.
        """
        self.name = name
        self._failure = failure
        self._seal_file = surroundings.seal_file
        self._lost = RangeSet()  # holes that damage has left
        self._replaying = found.replay_follows
        for start, stop in found.new_holes:
            self._lost.add(start, stop)
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._closed = False
        options, files, pool, checksum = (
            surroundings.options,
            surroundings.files,
            surroundings.pool,
            surroundings.checksum,
        )
        self._files = files
        self._checksum = checksum
        self._removed = RemovedLog(found.removed, checksum)
        removed_log = RecordLog(
            files,
            pool,
            os.path.join(directory, REMOVED_FILE),
            checksum,
            self._removed.image,
            surroundings.seal_file.remove,
            buffer_bytes=_REMOVED_BUFFER_BYTES,
        )
        removed_log.opened(found.removed_size)
        self._removed.attach(removed_log)
        self._subscriptions = SubscriptionLog(
            found.subscriptions, CompactionRule(options, surroundings.clock), checksum
        )
        subscription_log = RecordLog(
            files,
            pool,
            os.path.join(directory, SUBSCRIPTIONS_FILE),
            checksum,
            self._subscriptions.image,
            surroundings.seal_file.remove,
            buffer_bytes=options.buffer_size,
        )
        subscription_log.opened(found.subscriptions_size)
        self._subscriptions.attach(subscription_log)
        self._messages = MessageLog(
            directory,
            name,
            options,
            SliceLimits.of(options, limits),
            files,
            pool,
            checksum,
            surroundings.spares,
            self._removed,
            lambda gone: surroundings.archive.slice_gone(name, gone),
        )
        self._messages.opened(found.slices, found.first, found.last, found.number)
        self._reader = MessageReader(self._messages, self._removed, options, pool, checksum, self._lock)
        if found.subscriptions_damaged:
            subscription_log.renew()
        if found.removed_damaged or found.new_holes:
            removed_log.renew()

    @property
    def first_sequence(self) -> int:
        """`last_sequence + 1` when every message has gone; 0 while nothing was ever stored."""
        return min(self._messages.first, self._messages.last + 1)

    @property
    def last_sequence(self) -> int:
        """The highest sequence that was ever stored, deleted and dropped ones included."""
        return self._messages.last

    @property
    def highest_subscription_id(self) -> int:
        """Ever used, removed ones included: the next one must be above."""
        return self._subscriptions.table.highest_id

    def settle(self) -> int:
        """Call after everything newer was applied: sequences known to have existed are not used again.

        Returns:
            `last_sequence`, which this may raise: above what the files have if messages at the end are lost.
        """
        with self._lock:
            self._replaying = False
            last = self._removed.table.last
            if last > self._messages.last:
                self._messages.last = last
                if not self._messages.first:
                    self._messages.first = last + 1
            return self._messages.last

    # Messages.

    def append(self, segment: Segment, first: int, last: int) -> None:
        """Store what `segment` has from `first` to `last`, without what is there already; holes stay holes.

        Other messages under known sequences replace those and all behind them (`StoredChannel.add` says why),
        and so do messages that recovery found to be lost. May write and, where a slice is full, fsync it and
        begin the next one.
        """
        with self._usable():
            if self._replaying and first < self._messages.first:
                # Lost at the beginning, or dropped later: what comes now is followed by all that is behind it.
                begin = max(first, self._removed.table.first)
                if begin < self._messages.first:
                    self._seal_file.remove()
                    self._messages.cut_back(begin)
                    self._messages.first = begin
                    self._lost.remove_from(begin)
            known = min(last, self._messages.last)
            if first <= known:
                different = self._reader.first_difference(segment, first, known, self._lost)
                if different <= known:
                    self._seal_file.remove()
                    self._messages.cut_back(different)
                    self._lost.remove_from(different)
            self._messages.append(segment, first, last)

    def take_back(self, first: int) -> None:
        """Forget messages from `first` on, which were never committed; fine if there are none."""
        with self._usable():
            if first <= self._messages.last:
                self._seal_file.remove()
                self._messages.cut_back(first)
                self._lost.remove_from(first)

    def drop_until(self, first: int) -> None:
        """Let go of every message before `first`, for good; removes (or archives) slices that have none left."""
        with self._usable():
            self._messages.drop_until(first)

    def delete(self, sequences: Iterable[int]) -> None:
        """Make holes of single messages and overwrite their bytes; unknown sequences are ignored."""
        with self._usable():
            self._seal_file.remove()
            self._messages.delete(sequences)

    def set_aside(self, sequence: int) -> Finding:
        """Make a hole of a message that `read` refused as corrupt; its bytes are kept in `<file>.corrupt-<n>`."""
        with self._usable():
            self._seal_file.remove()
            kept = self._messages.set_aside(sequence)
            if kept is None:
                raise StoreError(f"message {sequence} of channel {quoted(self.name)} is not there")
            path, start, stop, copy = kept
            text = (
                f"File {quoted(path)}, offset {start} to {stop}: message {sequence} is damaged, kept as {quoted(copy)}"
            )
            return Finding(Severity.ERROR, text, path, start, stop, copy, self.name)

    def mend(self, error: CorruptMessageError) -> Finding:
        """Do what can be done about something that `read` or `find_time` refused: after that, ask again.

        An entry of an index is written anew from what is in the data; a message becomes a hole.

        Raises:
            StoreError: it cannot be mended.
        """
        for which in self._messages.slices:
            if which.index_path == error.file:
                with self._usable():
                    self._messages.flush()
                    entry, written = (error.offset - index_size(0)) // INDEX_ENTRY_BYTES, which.count
                    kept = mend_entry(self._files, self._checksum, which, entry, written)
                text = f"{error}, written anew from the data, kept as {quoted(kept)}"
                return Finding(Severity.WARNING, text, error.file, error.offset, error.offset, kept, self.name)
        return self.set_aside(error.sequence)

    def read(self, first: int, count: int) -> Segment | None:
        """Messages from `first` on, as `stores.api.Store.read`: at most `count`, and about `read_buffer_size` bytes.

        Raises:
            CorruptMessageError: the first message wanted is damaged: file, offset and sequence are its
                attributes. A damaged one further on ends the segment before it.
        """
        with self._usable():
            pass
        return self._reader.read(first, count)

    def find_time(self, timestamp_ns: int) -> int:
        """The first sequence whose timestamp is not below; `last + 1` when there is none."""
        with self._usable():
            return self._reader.find_time(timestamp_ns)

    # Subscriptions.

    def put_subscription(self, state: SubscriptionState) -> None:
        """New or changed; keeps what is pending. The state is not kept, only its values."""
        with self._usable():
            self._subscriptions.put(state)

    def remove_subscription(self, subscription_id: int) -> None:
        """Remove it with what is pending; unknown is fine."""
        with self._usable():
            self._subscriptions.remove(subscription_id)

    def sent(self, subscription_id: int, sequences: Sequence[int]) -> None:
        """Add to what is pending, and raise the last sent; an unknown subscription is ignored."""
        with self._usable():
            self._subscriptions.sent(subscription_id, sequences)

    def acked(self, subscription_id: int, sequences: Sequence[int]) -> None:
        """Remove from what is pending; unknown is fine."""
        with self._usable():
            self._subscriptions.acked(subscription_id, sequences)

    # Durability.

    def flush(self) -> None:
        """Hand everything over to the operating system."""
        with self._usable():
            self._flush()

    def _flush(self) -> None:
        self._messages.flush()
        self._messages.remember_bounds()
        self._removed.log.flush()
        self._subscriptions.log.flush()

    def sync(self) -> None:
        """`flush`, then bring all of it to stable storage, directory entries included."""
        with self._usable():
            pass
        # One at a time, so that a success of one is not taken for that of another.
        with self._sync_lock:
            self._sync()

    def sync_messages(self) -> None:
        """Bring messages that were appended to stable storage, index included: a Go server believes in it."""
        with self._usable():
            pass
        with self._sync_lock:
            run_steps(self._messages.sync_steps(), self._lock)
            with self._lock:
                # Behind the data: else a hole may be noted of a sequence that is used for something else.
                self._removed.log.sync()

    def _sync(self) -> None:
        with self._lock:
            self._flush()
        run_steps(self._messages.sync_steps(), self._lock)
        with self._lock:
            self._removed.log.sync()
            self._subscriptions.log.sync()

    def close(self) -> None:
        """Flush, sync, and release everything. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._failure is None:
            with self._sync_lock:
                self._sync()

    def _usable(self) -> AbstractContextManager[object]:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise StoreError(f"channel {quoted(self.name)} is closed")
        return self._lock

    # Recovery.

    def stored(self, found: RecoveredChannel) -> StoredChannel:
        """What was recovered, in the form the engine takes; all of it is the caller's."""
        return self._stored(found.count, found.size)

    def state(self) -> StoredChannel:
        """What holds now; walks over the indexes."""
        with self._lock:
            count, size = self._messages.totals() if self._failure is None else (0, 0)
            return self._stored(count, size)

    def _stored(self, count: int, size: int) -> StoredChannel:
        table = self._subscriptions.table
        return StoredChannel(
            first=self.first_sequence,
            last=self.last_sequence,
            count=count,
            size=size,
            last_timestamp_ns=max((each.last_timestamp_ns for each in self._messages.slices[-2:]), default=0),
            last_subscription_id=table.highest_id,
            subscriptions={
                each: StoredSubscription(replace(stored.state), set(stored.pending))
                for each, stored in sorted(table.stored.items())
            },
        )

    def seal(self) -> ChannelSeal | None:
        """What it is after its last `sync`; None if nothing can be said."""
        if self._failure is not None:
            return None
        slices, tail = self._messages.slices, self._messages.tail
        complete_before = slices[-1].number + 1 if slices else 0
        return ChannelSeal(
            self._subscriptions.log.size,
            self._removed.log.size,
            self.last_sequence,
            self._subscriptions.table.highest_id,
            tail.number if tail is not None else complete_before,
            tail.data_end if tail is not None else 0,
        )

    def created(self) -> None:
        """Its directory and files are new."""
        self._subscriptions.log.unsynced = True
        self._messages.directory_is_new()

    def release(self) -> None:
        """Forget everything without writing: the channel is removed."""
        with self._lock:
            self._closed = True
