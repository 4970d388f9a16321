"""What is committed and not yet in the channel files: what is to be written there, and what reads find here."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from nats_streaming.stores.batch import ChannelCreated, ChannelRemoved, Deleted, Messages, Record, Settled, Trimmed
from nats_streaming.stores.segment import Segment


@dataclass(slots=True)
class _Run:
    """Messages in one segment; `number` is the batch that brought the last of them."""

    number: int
    segment: Segment
    first: int
    last: int


@dataclass(slots=True)
class _Channel:
    """Runs in ascending order.

    Attributes:
        last: the highest sequence ever committed, as far as this run of the server knows.
        first: what is before is gone.
        read_after: reads must wait until this batch is in the files; 0 when they need not.
    """

    last: int = 0
    first: int = 0
    read_after: int = 0
    runs: list[_Run] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    number: int
    records: Sequence[Record]
    size: int


class Unapplied:
    """Belongs to the event loop.

    Attributes:
        size: bytes of the batches, as encoded.
    """

    def __init__(self) -> None:
        self.size = 0
        self._batches: deque[_Batch] = deque()
        self._channels: dict[bytes, _Channel] = {}
        self._removals: dict[bytes, int] = {}
        self._journaled: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def restore(self, channel: bytes, last: int) -> None:
        """The files hold a channel up to `last`."""
        self._channels[channel] = _Channel(last=last)

    def forgotten(self, number: int) -> None:
        """Batches up to this one are not in the journal any more."""
        self._removals = {name: at for name, at in self._removals.items() if at > number}
        self._journaled = {name: at for name, at in self._journaled.items() if at > number}

    def removes(self, name: bytes) -> bool:
        """Whether a replay of the journal would remove a channel of this name."""
        return name in self._removals

    def stores(self, name: bytes) -> bool:
        """Whether a replay of the journal would store messages of this channel."""
        return name in self._journaled

    def concerns(self, name: bytes) -> bool:
        """Whether anything here must come to the files of this channel before messages behind it."""
        channel = self._channels.get(name)
        return channel is not None and (bool(channel.runs) or self.read_after(name) > 0)

    def stored(self, name: bytes, last: int) -> None:
        """Messages up to `last`, the next ones of a channel that nothing here concerns, came to the files at once."""
        self._channel(name).last = last

    def add(self, number: int, records: Sequence[Record], size: int) -> None:
        """A batch was committed."""
        self._batches.append(_Batch(number, records, size))
        self.size += size
        for record in records:
            if isinstance(record, Messages):
                self._add_messages(number, record)
                self._journaled[record.channel] = number
            elif isinstance(record, Settled) and record.last:
                self._journaled.pop(record.channel, None)
            elif isinstance(record, Trimmed):
                channel = self._channel(record.channel)
                channel.first = max(channel.first, min(record.first, channel.last + 1))
            elif isinstance(record, Deleted | ChannelCreated):
                self._channel(record.channel).read_after = number
            elif isinstance(record, ChannelRemoved):
                self._channels[record.channel] = _Channel(read_after=number)
                self._removals[record.channel] = number

    def _channel(self, name: bytes) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel()
        return channel

    def _add_messages(self, number: int, record: Messages) -> None:
        channel = self._channel(record.channel)
        if record.first <= channel.last:
            # Twice the same, or others in their place: the files sort that out.
            channel.read_after = number
            channel.runs.clear()
        elif channel.runs and channel.runs[-1].segment is record.segment and channel.last + 1 == record.first:
            channel.runs[-1].number = number
            channel.runs[-1].last = record.last
        else:
            channel.runs.append(_Run(number, record.segment, record.first, record.last))
        channel.last = max(channel.last, record.last)

    def peek(self, size: int) -> tuple[int, list[Sequence[Record]]]:
        """The oldest batches, together about `size` bytes, and the number of the last of them."""
        number = 0
        taken: list[Sequence[Record]] = []
        for batch in self._batches:
            if size <= 0:
                break
            size -= batch.size
            number = batch.number
            taken.append(batch.records)
        return number, taken

    def applied(self, number: int) -> None:
        """The files hold everything up to this batch."""
        touched: set[bytes] = set()
        while self._batches and self._batches[0].number <= number:
            batch = self._batches.popleft()
            self.size -= batch.size
            touched.update(record.channel for record in batch.records if isinstance(record, Messages))
        for name in touched:
            channel = self._channels.get(name)
            if channel is None:
                continue
            keep = 0
            while keep < len(channel.runs) and channel.runs[keep].number <= number:
                keep += 1
            del channel.runs[:keep]

    def oldest(self) -> int:
        """Number of the oldest batch, 0 when there is none."""
        return self._batches[0].number if self._batches else 0

    def read_after(self, name: bytes) -> int:
        """The batch for which reads of this channel must wait, 0 for none."""
        channel = self._channels.get(name)
        if channel is None or not self._batches or channel.read_after < self._batches[0].number:
            return 0
        return channel.read_after

    def find(self, name: bytes, sequence: int) -> Segment | None:
        """The segment that holds a message which is not in the files yet."""
        channel = self._channels.get(name)
        if channel is None or not channel.runs:
            return None
        sequence = max(sequence, channel.first)
        at = bisect_left(channel.runs, sequence, key=lambda run: run.last)
        if at == len(channel.runs) or channel.runs[at].first > sequence:
            return None
        return channel.runs[at].segment

    def has_after(self, name: bytes, sequence: int) -> bool:
        """Whether messages behind `sequence` wait here."""
        channel = self._channels.get(name)
        return channel is not None and bool(channel.runs) and channel.runs[-1].last > sequence

    def first_of(self, name: bytes) -> int:
        """Messages before this one are gone."""
        channel = self._channels.get(name)
        return channel.first if channel is not None else 0

    def last_of(self, name: bytes) -> int:
        """The highest sequence known, 0 for none."""
        channel = self._channels.get(name)
        return channel.last if channel is not None else 0

    def find_time(self, name: bytes, timestamp_ns: int) -> tuple[int, int]:
        """A search by time.

        Returns:
            The first sequence here that is not older, `last + 1` if there is none; and the first sequence
            here, which is behind everything in the files. Both 0 when nothing is here.
        """
        channel = self._channels.get(name)
        if channel is None or not channel.runs:
            return 0, 0
        found = channel.last + 1
        for run in channel.runs:
            index = run.segment.first_at_or_after(timestamp_ns)
            if run.segment.base + index <= run.last:
                found = max(run.segment.base + index, run.first)
                break
        return max(found, channel.first), channel.runs[0].first
