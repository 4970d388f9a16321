"""Opens one channel's directory: what was removed, its slices, its subscriptions.

Source: stores specification, section 2.9.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from nats_streaming.errors import CorruptionError, bare, quoted
from nats_streaming.stores.file.damage import Damage
from nats_streaming.stores.file.file_io import File
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.index import IndexRun
from nats_streaming.stores.file.record import FILE_HEADER_BYTES, INDEX_ENTRY_BYTES
from nats_streaming.stores.file.removed_log import FILE_NAME as REMOVED_FILE
from nats_streaming.stores.file.removed_log import RemovedTable
from nats_streaming.stores.file.seal import ChannelSeal
from nats_streaming.stores.file.slice_recovery import RecoveredSlice, SliceRecovery
from nats_streaming.stores.file.slices import DATA_SUFFIX, INDEX_SUFFIX, PREFIX, Slice, index_size, slice_number
from nats_streaming.stores.file.subscription_log import FILE_NAME as SUBSCRIPTIONS_FILE
from nats_streaming.stores.file.subscription_log import KIND_MAX, SubscriptionTable
from nats_streaming.stores.file.typed_recovery import SubscriptionRecords, read_removed, read_typed_file


@dataclass(slots=True)
class RecoveredChannel:
    """What a channel's files hold.

    Attributes:
        slices: with messages, in ascending order.
        number: the highest slice number that is in use, 0 if none is.
        first, last: of what is in the slices and not dropped; 0 if nothing was ever stored.
        count, size: messages that live, their payloads' bytes.
        last_timestamp_ns: of the last one stored.
        removed: what is gone; `removed_size` bytes of file, to be written anew if `removed_damaged`.
        new_holes: holes that are not in that file yet.
        replay_follows: whether all that came since the last checkpoint will be applied again.
        subscriptions: of `subscriptions_size` bytes of file, to be written anew if `subscriptions_damaged`.
    """

    slices: list[Slice] = field(default_factory=list)
    number: int = 0
    first: int = 0
    last: int = 0
    count: int = 0
    size: int = 0
    last_timestamp_ns: int = 0
    removed: RemovedTable = field(default_factory=RemovedTable)
    removed_size: int = 0
    removed_damaged: bool = False
    new_holes: list[tuple[int, int]] = field(default_factory=list)
    replay_follows: bool = False
    subscriptions: SubscriptionTable = field(default_factory=SubscriptionTable)
    subscriptions_size: int = 0
    subscriptions_damaged: bool = False


class ChannelRecovery:
    """Of one channel."""

    def __init__(
        self, directory: str, name: bytes, damage: Damage, seal: ChannelSeal | None, *, replay_follows: bool = False
    ) -> None:
        """
        Args:
            directory: of the channel.
            name: of the channel.
            damage: judges what is wrong, and takes the findings.
            seal: what the channel was when the server stopped, None if that is not known.
            replay_follows: whether this server, and no other, wrote here last, and what may be missing comes again.
        """
        self._replay_follows = replay_follows
        self._seal = seal
        self._directory = directory
        self._name = name
        self._damage = damage
        self._found = RecoveredChannel()
        self._file = ""  # relative to the root, for the original's error texts

    def recover(self) -> RecoveredChannel:
        """
        Raises:
            CorruptionError: with `strict`.
            StoreError: the directory cannot be read.
        """
        found = self._found
        found.replay_follows = self._replay_follows
        found.removed, found.removed_size, found.removed_damaged = read_removed(self._directory, self._damage)
        try:
            recovered = self._recover_slices()
            # Before a replay the messages may be others than they were, and what was dropped of them still is.
            if not self._replay_follows and not self._is_witness_true(recovered):
                path = os.path.join(self._directory, REMOVED_FILE)
                text = f"File {quoted(path)} speaks of other messages than the channel has, and is ignored"
                self._damage.tell(Severity.WARNING, text, path)
                lost_last = max(each.lost_last for each in recovered)
                found.removed, found.removed_damaged = RemovedTable(), True
                for start, stop in found.new_holes:
                    found.removed.holes.add(start, stop)
                recovered = self._recover_slices()
                self._raise_last(lost_last)
        except CorruptionError as error:
            place = f"[{bare(self._name)}](file: {quoted(self._file)})"
            raise CorruptionError(f"unable to recover message store for {place}: {error}") from error
        self._sum_up(recovered)
        try:
            self._recover_subscriptions()
        except CorruptionError as error:
            text = f"unable to recover subscription store for [{bare(self._name)}]: {error}"
            raise CorruptionError(text) from error
        if self._seal is not None:
            self._compare(self._seal)
        return found

    def _compare(self, seal: ChannelSeal) -> None:
        """Tell what is shorter than it was when the server stopped; what was used before is not used again."""
        found = self._found
        for name, size, sealed in (
            (SUBSCRIPTIONS_FILE, found.subscriptions_size, seal.subscriptions_size),
            (REMOVED_FILE, found.removed_size, seal.removed_size),
        ):
            self._damage.compare_size(os.path.join(self._directory, name), size, sealed)
        if seal.last > max(found.last, found.removed.last):
            lost = f"messages up to {seal.last} were there, {found.last or 'none'} is the last one now"
            self._damage.tell(Severity.ERROR, f"Channel {quoted(self._name)}: {lost}", self._directory)
        self._raise_last(seal.last)
        table = found.subscriptions
        if seal.highest_subscription_id > table.highest_id:
            table.highest_id = seal.highest_subscription_id
            found.subscriptions_damaged = True

    def _recover_slices(self) -> list[RecoveredSlice]:
        names = self._damage.files.listdir(self._directory)
        recovery = self._slice_recovery()
        recovered: list[RecoveredSlice] = []
        present = set(names)
        for name in names:
            if not name.startswith(PREFIX) or not name.endswith(DATA_SUFFIX):
                continue
            number = slice_number(name)
            if number is None:
                self._file = name
                error = f"message log has an invalid name: {name}"
                path = os.path.join(self._directory, name)
                if self._damage.options.strict:
                    raise CorruptionError(error)
                self._damage.tell(Severity.ERROR, f"File {quoted(path)}: {error}; it is left alone", path)
                continue
            index_name = f"{PREFIX}{number}{INDEX_SUFFIX}"
            try:
                recovered.append(recovery.recover(Slice(self._directory, number), index_name in present))
            except CorruptionError:
                self._file = os.path.join(os.fsdecode(self._name), os.path.basename(recovery.opened))
                raise
        self._remove_stale_indexes(present)
        recovered.sort(key=lambda each: (each.slice.first, each.slice.number))
        return recovered

    def _slice_recovery(self) -> SliceRecovery:
        return SliceRecovery(self._name, self._damage, self._found.removed, self._found.new_holes)

    def _remove_stale_indexes(self, present: set[str]) -> None:
        """An index without its data file: the original would append to it and break the channel."""
        for name in sorted(present):
            data_name = name[: -len(INDEX_SUFFIX)] + DATA_SUFFIX
            if not (name.startswith(PREFIX) and name.endswith(INDEX_SUFFIX)) or data_name in present:
                continue
            if slice_number(data_name) is None:
                continue
            path = os.path.join(self._directory, name)
            size, last = self._last_in_index(path)
            if size > FILE_HEADER_BYTES:
                what = (
                    f"its data file is missing; messages up to {last} are lost" if last else "its data file is missing"
                )
                self._damage.keep(path, 0, size, what)
                self._raise_last(last)
            self._damage.files.unlink(path)

    def _last_in_index(self, path: str) -> tuple[int, int]:
        file = self._damage.files.open_read(path)
        try:
            size = file.size()
            count = max(0, size - FILE_HEADER_BYTES) // INDEX_ENTRY_BYTES
            run = IndexRun(_entry(file, count - 1) if count else b"")
            return size, run.sequence_at(0) if run.keep_sound(self._damage.checksum) else 0
        finally:
            file.close()

    def _raise_last(self, last: int) -> None:
        """Remember the highest sequence that was ever stored, since its message is lost."""
        removed = self._found.removed
        if last > max(removed.last, self._found.last):
            removed.last = last
            self._found.removed_damaged = True

    def _is_witness_true(self, recovered: list[RecoveredSlice]) -> bool:
        """Whether `removed.stan` was written about these slices."""
        removed = self._found.removed
        if any(start <= removed.witness < stop for start, stop in self._found.new_holes):
            return True  # what it could be compared with was lost, and a filler is in its place
        for each in recovered:
            which = each.slice
            if not which.count or not which.first <= removed.witness <= which.last:
                continue
            if not which.is_dense:
                return True
            file = self._damage.files.open_read(which.index_path)
            try:
                run = IndexRun(_entry(file, removed.witness - which.first))
            finally:
                file.close()
            return run.count == 0 or run.timestamp_at(0) == removed.witness_timestamp_ns
        return True

    def _sum_up(self, recovered: list[RecoveredSlice]) -> None:
        found = self._found
        for each in recovered:
            self._raise_last(each.lost_last)
        present = [each for each in recovered if each.slice.count]
        self._part_overlapping(present)
        present = [each for each in present if each.slice.count]
        found.slices = [each.slice for each in present]
        found.number = max((each.number for each in found.slices), default=0)
        found.count = sum(each.live_count for each in present)
        found.size = sum(each.live_bytes for each in present)
        if not present:
            return
        found.last = found.slices[-1].last
        found.last_timestamp_ns = found.slices[-1].last_timestamp_ns
        found.first = min(max(found.slices[0].first, found.removed.dropped_until() + 1), found.last + 1)

    def _part_overlapping(self, present: list[RecoveredSlice]) -> None:
        """Let no sequence be in two slices: the later slice has it."""
        for position in range(len(present) - 1, 0, -1):
            which, first = present[position - 1].slice, present[position].slice.first
            if which.last < first:
                continue
            file = self._damage.files.open_read(which.index_path)
            try:
                count = which.count
                while count and IndexRun(_entry(file, count - 1)).sequence_at(0) >= first:
                    count -= 1
            finally:
                file.close()
            text = f"File {quoted(which.data_path)}: messages {first} to {which.last} are in the next slice too"
            self._damage.tell(Severity.WARNING, text, which.data_path)
            present[position - 1] = self._slice_recovery().count_again(which, count)

    def _recover_subscriptions(self) -> None:
        found = self._found
        path = os.path.join(self._directory, SUBSCRIPTIONS_FILE)
        records = SubscriptionRecords(self._damage, path)
        found.subscriptions_size, found.subscriptions_damaged = read_typed_file(
            path, self._damage, KIND_MAX, records.take
        )
        records.tell_repeated()
        found.subscriptions = records.table
        found.subscriptions_damaged |= records.mended


def _entry(file: File, entry: int) -> bytes:
    return file.pread(index_size(entry), INDEX_ENTRY_BYTES)
