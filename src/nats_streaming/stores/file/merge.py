"""Many batches as one: less to write, the same in the end.

What is written behind the journal waits a moment, and in that moment messages of a channel join to longer
runs, and a message that was sent and acked leaves nothing to write but how far its subscription is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    Messages,
    Record,
    Sent,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)


def merge(batches: Iterable[Sequence[Record]]) -> list[Record]:
    """Records that have the same effect as all batches in their order; the records given stay as they are.

    What was sent and acked within them is only acked: it may have been pending before.
    """
    merger = _Merger()
    for records in batches:
        for record in records:
            merger.add(record)
    return merger.finish()


class _Traces:
    """What one subscription was sent and has acked since the last record about itself."""

    def __init__(self) -> None:
        self.sent: set[int] = set()
        self.acked: set[int] = set()
        self.last_sent = 0

    def add_sent(self, sequences: Sequence[int]) -> None:
        # Whole sets at a time: this is done for every message that was delivered.
        self.acked.difference_update(sequences)
        self.sent.update(sequences)
        self.last_sent = max(self.last_sent, *sequences)

    def add_acked(self, sequences: Sequence[int]) -> None:
        self.sent.difference_update(sequences)
        self.acked.update(sequences)

    def records(self, channel: bytes, subscription_id: int) -> list[Record]:
        sent, acked = self.sent, self.acked
        if self.last_sent and self.last_sent not in sent:
            # The highest says how far the subscription is.
            sent = sent | {self.last_sent}
            acked = acked | {self.last_sent}
        found: list[Record] = []
        if sent:
            found.append(Sent(channel, subscription_id, sorted(sent)))
        if acked:
            found.append(Acked(channel, subscription_id, sorted(acked)))
        return found


class _Merger:
    def __init__(self) -> None:
        self._out: list[Record | None] = []
        self._runs: dict[bytes, Messages] = {}
        self._trims: dict[bytes, tuple[int, int]] = {}
        self._traces: dict[bytes, dict[int, _Traces]] = {}

    def add(self, record: Record) -> None:
        match record:
            case Messages():
                self._add_messages(record)
            case Sent(channel, subscription_id, sequences):
                self._trace(channel, subscription_id).add_sent(sequences)
            case Acked(channel, subscription_id, sequences):
                self._trace(channel, subscription_id).add_acked(sequences)
            case Trimmed(channel, first):
                self._trim(channel, first)
            case SubscriptionPut(channel, state):
                self._end_trace(channel, state.id)
                self._out.append(record)
            case SubscriptionRemoved(channel, subscription_id):
                self._end_trace(channel, subscription_id)
                self._out.append(record)
            case ChannelCreated(channel) | ChannelRemoved(channel):
                self._end_channel(channel)
                self._out.append(record)
            case _:
                self._out.append(record)

    def _add_messages(self, record: Messages) -> None:
        run = self._runs.get(record.channel)
        if run is not None and run.segment is record.segment and run.last + 1 == record.first:
            run.last = record.last
            return
        run = Messages(record.channel, record.segment, record.first, record.last)
        self._runs[record.channel] = run
        self._out.append(run)

    def _trim(self, channel: bytes, first: int) -> None:
        earlier = self._trims.get(channel)
        if earlier is not None:
            at, before = earlier
            first = max(first, before)
            self._out[at] = None
        self._trims[channel] = (len(self._out), first)
        self._out.append(Trimmed(channel, first))

    def _trace(self, channel: bytes, subscription_id: int) -> _Traces:
        of_channel = self._traces.setdefault(channel, {})
        trace = of_channel.get(subscription_id)
        if trace is None:
            trace = of_channel[subscription_id] = _Traces()
        return trace

    def _end_trace(self, channel: bytes, subscription_id: int) -> None:
        trace = self._traces.get(channel, {}).pop(subscription_id, None)
        if trace is not None:
            self._out += trace.records(channel, subscription_id)

    def _end_channel(self, channel: bytes) -> None:
        for subscription_id in list(self._traces.get(channel, ())):
            self._end_trace(channel, subscription_id)
        self._runs.pop(channel, None)
        self._trims.pop(channel, None)

    def finish(self) -> list[Record]:
        for channel, of_channel in self._traces.items():
            for subscription_id in list(of_channel):
                self._end_trace(channel, subscription_id)
        return [record for record in self._out if record is not None]
