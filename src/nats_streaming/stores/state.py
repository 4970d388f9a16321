"""What all batches so far amount to: the reference model of a store.

The MEMORY store is this and nothing else; other stores use it to recover from a journal, and tests
compare stores with it. Applying a batch twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    ClientPut,
    ClientRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    ServerPut,
    Settled,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)
from nats_streaming.stores.segment import SEGMENT_SLOTS, Segment


@dataclass(slots=True)
class StoredSubscription:
    """A subscription with what was sent to it and not acked."""

    state: SubscriptionState
    pending: set[int] = field(default_factory=set)


@dataclass(slots=True)
class StoredChannel:
    """The messages and subscriptions of a channel.

    A store that keeps messages elsewhere leaves `segments` empty and fills in the rest.

    Attributes:
        first: `last + 1` when every message has gone; both are 0 while nothing was ever stored.
        count: messages that exist, holes not counted.
        size: their encoded bytes, without what a store counts beside.
        last_timestamp_ns: of the newest message ever stored, 0 if it is not known.
        last_subscription_id: the highest ever used, because IDs are not used again.
    """

    segments: list[Segment] = field(default_factory=list)
    first: int = 0
    last: int = 0
    count: int = 0
    size: int = 0
    last_timestamp_ns: int = 0
    last_subscription_id: int = 0
    subscriptions: dict[int, StoredSubscription] = field(default_factory=dict)

    def add(self, segment: Segment, first: int, last: int) -> None:
        """Take `first` to `last` over: the segment itself where it can be kept, a copy otherwise.

        What is known already is skipped. Other messages under known sequences replace those and all behind
        them: they came with a commit that failed, after which the engine used the sequences again.
        """
        if first > self.last > 0 and self.segments and self.segments[-1] is segment:
            self._count(segment, first, last, 1)
            self.last = last
            self.last_timestamp_ns = max(self.last_timestamp_ns, segment.timestamp_at(last - segment.base))
            return
        if first <= self.last:
            if self.segments and self.segments[-1] is segment:
                self._follow_shared_tail(first)
            else:
                first = self._first_difference(segment, first, last)
                self._cut_back(first)
        if first > last:
            return
        tail = self.segments[-1] if self.segments else None
        if tail is not segment:
            if segment.base < first:
                segment = copy_run(segment, first, last)
            self.segments.append(segment)
        if self.first == 0:
            self.first = first
        self._count(segment, max(first, self.first), last, 1)
        self.last = last
        self.last_timestamp_ns = max(self.last_timestamp_ns, segment.timestamp_at(last - segment.base))

    def _first_difference(self, segment: Segment, first: int, last: int) -> int:
        for sequence in range(max(first, self.first), min(last, self.last) + 1):
            mine = self.segment_of(sequence)
            known = mine.message(sequence) if mine is not None else None
            given = segment.message(sequence)
            if known is not None and given is not None and known != given:
                return sequence
        return self.last + 1

    def _cut_back(self, first: int) -> None:
        """Forget every message from `first` on."""
        while self.segments and self.segments[-1].base + len(self.segments[-1]) > first:
            segment = self.segments[-1]
            start = max(first, segment.base)
            end = min(self.last, segment.base + len(segment) - 1)
            self._count(segment, max(start, self.first), end, -1)
            if start > segment.base:
                segment.truncate(first - segment.base)
            else:
                self.segments.pop()
        self.last = min(self.last, first - 1)

    def _follow_shared_tail(self, first: int) -> None:
        """The engine took messages back, out of a segment that it shares with us, and fills it anew from `first`."""
        self.last = first - 1
        self.count = self.size = 0
        for segment in self.segments:
            end = min(self.last, segment.base + len(segment) - 1)
            self._count(segment, max(segment.base, self.first), end, 1)

    def trim(self, first: int) -> None:
        """Let go of every message before `first`."""
        first = max(self.first, min(first, self.last + 1))
        for segment in self.segments:
            if segment.base >= first:
                break
            self._count(segment, max(self.first, segment.base), min(first, segment.base + len(segment)) - 1, -1)
        self.first = first
        keep = 0
        while keep < len(self.segments) and self.segments[keep].base + len(self.segments[keep]) <= self.first:
            keep += 1
        del self.segments[:keep]

    def delete(self, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            segment = self.segment_of(sequence)
            if segment is not None:
                self._count(segment, sequence, sequence, -1)
                segment.delete(sequence)

    def _count(self, segment: Segment, first: int, last: int, sign: int) -> None:
        """Count the messages from `first` to `last` in (1) or out (-1)."""
        self.count += sign * segment.live_count(first, last)
        self.size += sign * segment.live_size(first, last)

    def segment_of(self, sequence: int) -> Segment | None:
        """The segment that has a sequence which exists or is a hole, None otherwise."""
        if not self.first <= sequence <= self.last:
            return None
        low, high = 0, len(self.segments)
        while low < high:
            middle = (low + high) // 2
            if self.segments[middle].base + len(self.segments[middle]) <= sequence:
                low = middle + 1
            else:
                high = middle
        if low == len(self.segments) or self.segments[low].base > sequence:
            return None
        return self.segments[low]


def copy_run(segment: Segment, first: int, last: int) -> Segment:
    """A new segment with the slots from `first` to `last`."""
    copied = Segment(first)
    for sequence in range(first, last + 1):
        index = sequence - segment.base
        copied.append(segment.message(sequence) or b"", segment.timestamp_at(index))
    return copied


def hole_run(first: int, stop: int) -> Segment:
    """A new segment that has `first` to `stop - 1` as holes, or as many of them as it takes."""
    holes = Segment(first)
    for _ in range(min(stop - first, SEGMENT_SLOTS)):
        holes.append(b"", 0)
    return holes


@dataclass(slots=True)
class StoreState:
    """Everything a store holds. Nothing in it waits for I/O."""

    server: ServerInfo | None = None
    clients: dict[bytes, ClientInfo] = field(default_factory=dict)
    channels: dict[bytes, StoredChannel] = field(default_factory=dict)

    def apply(self, records: Iterable[Record]) -> None:
        """Apply one batch. Records that name an unknown subscription are ignored, as in the original."""
        channels = self.channels
        for record in records:
            # Before the others, and by hand: where each message goes to another channel, there are as many.
            if isinstance(record, Messages):
                stored = channels.get(record.channel) or self._channel(record.channel)
                stored.add(record.segment, record.first, record.last)
                continue
            match record:
                case Trimmed(channel, first):
                    self._channel(channel).trim(first)
                case Deleted(channel, sequences):
                    self._channel(channel).delete(sequences)
                case ChannelCreated(channel):
                    self._channel(channel)
                case ChannelRemoved(channel):
                    self.channels.pop(channel, None)
                case ClientPut(info):
                    self.clients[info.id] = info
                case ClientRemoved(client_id):
                    self.clients.pop(client_id, None)
                case ServerPut(server):
                    self.server = server
                case Settled():
                    continue  # a note of a journal
                case _:
                    self._apply_to_subscription(record)

    def _channel(self, name: bytes) -> StoredChannel:
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = StoredChannel()
        return channel

    def _apply_to_subscription(self, record: SubscriptionPut | SubscriptionRemoved | Sent | Acked) -> None:
        channel = self._channel(record.channel)
        subscriptions = channel.subscriptions
        if isinstance(record, SubscriptionPut):
            channel.last_subscription_id = max(channel.last_subscription_id, record.state.id)
            known = subscriptions.get(record.state.id)
            if known is None:
                subscriptions[record.state.id] = StoredSubscription(record.state)
            else:
                known.state = record.state
            return
        if isinstance(record, SubscriptionRemoved):
            subscriptions.pop(record.subscription_id, None)
            return
        stored = subscriptions.get(record.subscription_id)
        if stored is None:
            return
        if isinstance(record, Sent):
            stored.pending.update(record.sequences)
            stored.state.last_sent = max([stored.state.last_sent, *record.sequences])
        else:
            stored.pending.difference_update(record.sequences)
