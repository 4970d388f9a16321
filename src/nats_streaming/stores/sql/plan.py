"""From the records of a batch to the rows that change: everything that is decided before the database is asked.

A plan can be carried out again after it was carried out, or may have been: `undo` holds what removes its own
inserts. The ledger is brought up to date while planning; `roll_back` takes back what a failed commit leaves open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo
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
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.sql.ledger import TOTALS_MESSAGES, ChannelEntry, Ledger, SubscriptionEntry, Totals
from nats_streaming.stores.sql.pending_rows import Change, PendingRow, PendingWriter


@dataclass(slots=True)
class Undo:
    """What a commit whose outcome is unknown may have left: to be removed before anything is written.

    Attributes:
        messages: channel ID to the first sequence that may be there and must not.
        created: IDs of channels.
        removed: IDs of channels that may be marked deleted.
        pending: subscription ID and row.
    """

    messages: dict[int, int] = field(default_factory=dict)
    created: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    pending: list[tuple[int, int]] = field(default_factory=list)

    def add(self, other: Undo) -> None:
        for channel_id, first in other.messages.items():
            self.messages[channel_id] = min(first, self.messages.get(channel_id, first))
        self.created += other.created
        self.removed += other.removed
        self.pending += other.pending

    def __bool__(self) -> bool:
        return bool(self.messages or self.created or self.removed or self.pending)


@dataclass(slots=True)
class Plan:
    """Rows to change, in the order of the attributes.

    Attributes:
        created: new channels.
        removed: channels to mark deleted.
        cut: channel and the first sequence that goes, with everything behind it: other messages come instead.
        runs: new messages.
        trims: channel ID to its new first sequence.
        deleted: channel ID to sequences.
        last: channels whose last sequence no row tells.
        uncounted: channel ID and the first and last sequence of what is deleted: totals over it are void.
        totals: channel and what lies at its end, to be told by one row.
        subscriptions_gone: channel and subscription IDs, to delete.
        marked, unmarked: the same of the row to mark deleted instead, and of the one that need not stay any more.
        subscriptions: to write anew.
        pending_gone: subscriptions that lose all their pending rows.
        acked: subscription ID and sequence whose single rows go.
        pending: new rows.
        last_sent: subscriptions whose row must tell it.
        clients: by ID; None for one that left.
        undo: see above.
    """

    created: list[ChannelEntry] = field(default_factory=list)
    removed: list[ChannelEntry] = field(default_factory=list)
    cut: list[tuple[ChannelEntry, int]] = field(default_factory=list)
    runs: list[tuple[ChannelEntry, Segment, int, int]] = field(default_factory=list)
    trims: dict[int, int] = field(default_factory=dict)
    deleted: dict[int, set[int]] = field(default_factory=dict)
    last: dict[int, ChannelEntry] = field(default_factory=dict)
    uncounted: list[tuple[int, int, int]] = field(default_factory=list)
    totals: list[tuple[ChannelEntry, Totals]] = field(default_factory=list)
    subscriptions_gone: list[tuple[int, int]] = field(default_factory=list)
    marked: tuple[int, int] | None = None
    unmarked: tuple[int, int] | None = None
    subscriptions: dict[int, SubscriptionEntry] = field(default_factory=dict)
    pending_gone: list[int] = field(default_factory=list)
    acked: list[tuple[int, int]] = field(default_factory=list)
    pending: list[PendingRow] = field(default_factory=list)
    last_sent: list[SubscriptionEntry] = field(default_factory=list)
    clients: dict[bytes, ClientInfo | None] = field(default_factory=dict)
    server: ServerInfo | None = None
    undo: Undo = field(default_factory=Undo)

    @property
    def has_only_messages(self) -> bool:
        """Whether new messages are all there is to write."""
        rows = (self.created, self.removed, self.cut, self.trims, self.deleted, self.last, self.totals)
        of_subscriptions = (self.subscriptions_gone, self.marked, self.unmarked, self.subscriptions, self.last_sent)
        pending = (self.pending_gone, self.acked, self.pending)
        others = (*rows, *of_subscriptions, *pending, self.uncounted, self.clients, self.server)
        return bool(self.runs) and not any(others)


class Planner:
    """Plans one batch after the other; remembers what a failed one leaves to be done."""

    def __init__(self, ledger: Ledger, writer: PendingWriter) -> None:
        self.ledger = ledger
        self._writer = writer
        self._positions: dict[ChannelEntry, tuple[int, int, Totals]] = {}
        self._created: list[ChannelEntry] = []
        self._removed: list[ChannelEntry] = []
        self._touched: dict[int, SubscriptionEntry] = {}
        self._gone: list[tuple[int, int]] = []
        self._left_touched: dict[int, SubscriptionEntry] = {}
        self._left_gone: list[tuple[int, int]] = []
        self._left_undo = Undo()

    # One batch.

    def begin(self) -> Undo:
        """Begin a batch; returns what earlier ones that failed have left to be removed."""
        self._positions = {}
        self._created = []
        self._removed = []
        self._touched = {}
        self._gone = []
        return self._left_undo

    def plan(self, records: Sequence[Record], start: int) -> tuple[Plan, int]:
        """Plan records from index `start` on.

        Returns:
            The plan and the index of the record it ends before: a `Messages` with a sequence that is known already,
            which only the database can compare, or the end.
        """
        plan = Plan()
        changes: dict[int, Change] = {}
        if start == 0:
            self._take_up(plan, changes)
        index = start
        while index < len(records):
            record = records[index]
            if isinstance(record, Messages):
                channel = self._open(plan, record.channel)
                if record.first <= channel.last:
                    break
                self.add_run(plan, channel, record.segment, record.first, record.last)
            else:
                self._add(plan, changes, record)
            index += 1
        for change in changes.values():
            self._writer.write(plan, change)
        for channel in {id(run[0]): run[0] for run in plan.runs}.values():
            if channel.tail.messages >= TOTALS_MESSAGES:
                self._count(plan, channel)
        return plan, index

    def count_tails(self) -> Plan:
        """A plan that leaves nothing for the next start to count."""
        plan = Plan()
        self.begin()
        for channel in self.ledger.channels.values():
            if channel.tail.messages and not channel.tail.stored:
                self._count(plan, channel)
        return plan

    def _count(self, plan: Plan, channel: ChannelEntry) -> None:
        """Have the tail told by a row, if it is whole."""
        tail = channel.tail
        if tail.first < channel.first:
            channel.tail = Totals(tail.last + 1, tail.last)
        elif tail.timestamp_ns:
            plan.totals.append((channel, tail))
            channel.tail = Totals(tail.last + 1, tail.last)

    def _take_up(self, plan: Plan, changes: dict[int, Change]) -> None:
        """What a failed commit has left: subscriptions of which nobody knows what is stored."""
        plan.subscriptions_gone += [key for key in self._left_gone if key != self.ledger.marker]
        plan.pending_gone += [subscription_id for _, subscription_id in self._left_gone]
        if self.ledger.marker in self._left_gone:
            plan.marked = self.ledger.marker
        for entry in self._left_touched.values():
            if self._is_known(entry):
                self._touch(changes, entry)
                plan.subscriptions[entry.id] = entry

    def _is_known(self, entry: SubscriptionEntry) -> bool:
        return (
            entry.channel.subscriptions.get(entry.id) is entry
            and self.ledger.channels.get(entry.channel.name) is entry.channel
        )

    def _open(self, plan: Plan, name: bytes) -> ChannelEntry:
        channel, is_new = self.ledger.open(name)
        if is_new:
            plan.created.append(channel)
            plan.undo.created.append(channel.id)
            self._created.append(channel)
        return channel

    def _remember(self, channel: ChannelEntry) -> None:
        self._positions.setdefault(channel, (channel.first, channel.last, channel.tail))

    def add_run(self, plan: Plan, channel: ChannelEntry, segment: Segment, first: int, last: int) -> None:
        """Messages behind everything that is known."""
        self._remember(channel)
        plan.runs.append((channel, segment, first, last))
        plan.undo.messages.setdefault(channel.id, first)
        if channel.first == 0:
            channel.first = first
        channel.last = last
        channel.tail = channel.tail.with_run(segment, first, last)
        if segment.size_at(last - segment.base):
            plan.last.pop(channel.id, None)
        else:
            plan.last[channel.id] = channel

    def cut_back(self, plan: Plan, channel: ChannelEntry, first: int) -> None:
        """Everything from `first` on is replaced by what follows."""
        self._remember(channel)
        plan.cut.append((channel, first))
        plan.undo.messages[channel.id] = min(first, plan.undo.messages.get(channel.id, first))
        channel.last = min(channel.last, first - 1)
        channel.readable_last = min(channel.readable_last, channel.last)
        channel.tail = Totals(first, first - 1)
        plan.last[channel.id] = channel

    def _add(self, plan: Plan, changes: dict[int, Change], record: Record) -> None:
        match record:
            case Trimmed(name, first):
                self._trim(plan, self._open(plan, name), first)
            case Deleted(name, sequences):
                self._delete(plan, self._open(plan, name), sequences)
            case ChannelCreated(name):
                self._open(plan, name)
            case ChannelRemoved(name):
                self._remove(plan, changes, name)
            case SubscriptionPut(name, _):
                self._put(plan, changes, self._open(plan, name), record)
            case SubscriptionRemoved(name, subscription_id):
                self._unsubscribe(plan, changes, self._open(plan, name), subscription_id)
            case Sent(name, subscription_id, sequences):
                entry = self._open(plan, name).subscriptions.get(subscription_id)
                if entry is not None:
                    self._touch(changes, entry).send(sequences)
                    entry.state.last_sent = max([entry.state.last_sent, *sequences])
            case Acked(name, subscription_id, sequences):
                entry = self._open(plan, name).subscriptions.get(subscription_id)
                if entry is not None:
                    self._touch(changes, entry).ack(sequences)
            case ClientPut(info):
                plan.clients[info.id] = info
            case ClientRemoved(client_id):
                plan.clients[client_id] = None
            case ServerPut(server):
                plan.server = server
            case Messages():
                raise AssertionError("messages are planned by `plan`")

    def _trim(self, plan: Plan, channel: ChannelEntry, first: int) -> None:
        first = max(channel.first, min(first, channel.last + 1))
        if first <= channel.first:
            return
        self._remember(channel)
        channel.first = first
        plan.trims[channel.id] = first
        if first > channel.last:
            plan.last[channel.id] = channel

    def _delete(self, plan: Plan, channel: ChannelEntry, sequences: Iterable[int]) -> None:
        known = {sequence for sequence in sequences if channel.first <= sequence <= channel.last}
        if known:
            self._remember(channel)
            plan.deleted.setdefault(channel.id, set()).update(known)
            plan.uncounted += [(channel.id, low, high) for low, high in _stretches(known)]
            if max(known) >= channel.tail.first:
                channel.tail = Totals(channel.last + 1, channel.last)
            if channel.last in known:
                plan.last[channel.id] = channel

    def _remove(self, plan: Plan, changes: dict[int, Change], name: bytes) -> None:
        channel = self.ledger.channels.pop(name, None)
        if channel is None:
            return
        plan.removed.append(channel)
        plan.undo.removed.append(channel.id)
        self._removed.append(channel)
        for subscription_id in channel.subscriptions:
            changes.pop(subscription_id, None)
            plan.subscriptions.pop(subscription_id, None)

    # Subscriptions.

    def _touch(self, changes: dict[int, Change], entry: SubscriptionEntry) -> Change:
        change = changes.get(entry.id)
        if change is None:
            change = changes[entry.id] = Change(entry, entry.state.last_sent)
            self._touched[entry.id] = entry
        return change

    def _put(self, plan: Plan, changes: dict[int, Change], channel: ChannelEntry, record: SubscriptionPut) -> None:
        state = record.state
        entry = channel.subscriptions.get(state.id)
        if entry is None:
            entry = channel.subscriptions[state.id] = SubscriptionEntry(channel, replace(state))
        else:
            self._touch(changes, entry)
            if state.last_sent < entry.state.last_sent:
                entry.rewrite = True  # a row of it may tell the higher one
            entry.state = replace(state)
        self._touch(changes, entry)
        plan.subscriptions[state.id] = entry
        ledger = self.ledger
        if ledger.marker == (channel.id, state.id):
            ledger.marker = plan.marked = None
        if state.id > ledger.last_subscription_id:
            ledger.last_subscription_id = state.id
            if ledger.marker:
                plan.unmarked, ledger.marker = ledger.marker, None

    def _unsubscribe(self, plan: Plan, changes: dict[int, Change], channel: ChannelEntry, subscription_id: int) -> None:
        entry = channel.subscriptions.pop(subscription_id, None)
        changes.pop(subscription_id, None)
        plan.subscriptions.pop(subscription_id, None)
        if entry is None:
            return
        key = (channel.id, subscription_id)
        plan.pending_gone.append(subscription_id)
        self._gone.append(key)
        if subscription_id == self.ledger.last_subscription_id:
            # Its row stays, or the next start would use the ID again.
            plan.marked = self.ledger.marker = key
        else:
            plan.subscriptions_gone.append(key)

    # The outcome.

    def committed(self) -> list[ChannelEntry]:
        """The batch is durable; returns the channels whose rows are to be removed now."""
        self._left_touched = {}
        self._left_gone = []
        self._left_undo = Undo()
        for channel in (*self._positions, *self._created):
            channel.readable_first, channel.readable_last = channel.first, channel.last
        return self._removed

    def roll_back(self, plans: Iterable[Plan]) -> None:
        """Nobody knows whether the batch is durable: its messages are void, its facts will come again."""
        for channel, (first, last, tail) in self._positions.items():
            channel.first, channel.last, channel.tail = first, last, tail
            channel.readable_last = last
        for channel in self._created:
            if self.ledger.channels.get(channel.name) is channel:
                del self.ledger.channels[channel.name]
        for channel in self._removed:
            if channel not in self._created:
                self.ledger.channels[channel.name] = channel
                self._touched |= channel.subscriptions
        for entry in self._touched.values():
            entry.rewrite = True
        self._left_touched |= self._touched
        self._left_gone += self._gone
        for plan in plans:
            self._left_undo.add(plan.undo)


def _stretches(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of sequences that lie close together: no stretch is much longer than a row of totals covers."""
    found: dict[int, tuple[int, int]] = {}
    for sequence in sequences:
        low, high = found.get(sequence // TOTALS_MESSAGES, (sequence, sequence))
        found[sequence // TOTALS_MESSAGES] = (min(low, sequence), max(high, sequence))
    return list(found.values())
