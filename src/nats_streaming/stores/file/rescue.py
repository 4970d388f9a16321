"""A journal that a Go server has passed over: what of it can still be brought to the channel files.

This server crashed, a Go server opened the directory and wrote, and now this server is back. The Go server knew
nothing of what was in the journal only, and may have used the same sequences for messages of its own. Nothing that
either of the two has acknowledged may get lost:

    the Go server's     all it has written stays as it is: messages, subscriptions, clients
    ours                messages that are in the journal only are stored: under their own sequences where nobody
                        has used those, else behind everything, under the next ones. Durables that are in the
                        journal only are stored, and go back to where the two histories part.

What else the journal says, how far other subscriptions had come, who was registered, what was removed, is as the
Go server has it: messages may be delivered again. Applying the outcome twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import bare
from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.protocol.protobuf import FIELD, FieldReader
from nats_streaming.protocol.stan_messages import length_field, put_message
from nats_streaming.stores.batch import (
    ChannelCreated,
    ChannelRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    ServerPut,
    SubscriptionPut,
    Trimmed,
)
from nats_streaming.stores.file.channel_files import ChannelFiles
from nats_streaming.stores.file.findings import CorruptMessageError, Finding, Severity
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoredChannel, StoredSubscription, StoreState

_READ_SLOTS = 1 << 12
_REPLY_FIELD, _DATA_FIELD = 3, 4


_Identity = tuple[bytes, bytes, bytes]


@dataclass(slots=True)
class _Journaled:
    """What the journal says of one channel since it was created last: what `StoreState` does not keep."""

    first: int = 0  # of its messages
    trimmed: int = 0
    deleted: list[int] = field(default_factory=list)


class Rescue:
    """Compares a journal with the channel files. One per start.

    Attributes:
        findings: what was done, for the log.
    """

    def __init__(self, root: RootFiles, found: StoreState | None) -> None:
        """
        Args:
            root: recovered, nothing applied to it yet.
            found: what `root` has recovered.
        """
        self.findings: list[Finding] = []
        self._root = root
        self._found = found or StoreState()
        self._journal = StoreState()
        self._journaled: dict[bytes, _Journaled] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Take one batch of the journal over, the oldest first."""
        self._journal.apply(records)
        for record in records:
            match record:
                case Messages(name, _, first, _):
                    channel = self._of(name)
                    channel.first = channel.first or first
                case Trimmed(name, first):
                    self._of(name).trimmed = first
                case Deleted(name, sequences):
                    self._of(name).deleted += sequences
                case ChannelRemoved(name):
                    self._journaled.pop(name, None)

    def _of(self, name: bytes) -> _Journaled:
        return self._journaled.setdefault(name, _Journaled())

    def records(self) -> list[Record]:
        """What is to be applied now, instead of everything that was taken."""
        out: list[Record] = []
        if self._journal.server is not None and self._found.server is None:
            out.append(ServerPut(self._journal.server))
        for name, ours in self._journal.channels.items():
            out += self._channel(name, ours)
        return out

    def _channel(self, name: bytes, ours: StoredChannel) -> Iterable[Record]:
        said = self._of(name)
        files = self._root.channel(name)
        last = files.last_sequence if files is not None else 0
        out: list[Record] = [ChannelCreated(name)]
        fork = self._fork(files, ours, said.first)
        if fork:
            not_before_ns = self._found.channels[name].last_timestamp_ns
            out += _behind(name, ours, fork, last, not_before_ns)
            moved = sum(record.last - record.first + 1 for record in out if isinstance(record, Messages))
            text = f"from message {fork} on another server has gone its own way: {moved} messages that only the"
            text += f" journal had are now {last + 1} to {last + moved}" if moved else " journal, which has none there"
            self._tell(Severity.ERROR, name, text)
        else:
            runs = [run for segment in ours.segments if (run := _run(name, segment, ours, last + 1)) is not None]
            out += runs
            if said.trimmed > 1:
                out.append(Trimmed(name, said.trimmed))
            if said.deleted:
                out.append(Deleted(name, said.deleted))
            restored = sum(run.last - run.first + 1 for run in runs)
            if restored:
                self._tell(Severity.WARNING, name, f"{restored} messages that only the journal had are stored")
        out += self._durables(name, ours, fork)
        return out

    def _fork(self, files: ChannelFiles | None, ours: StoredChannel, first: int) -> int:
        """The first of our sequences that the files have for something else; 0 for none."""
        if files is None or not first:
            return 0
        if files.last_sequence < first - 1:
            return first  # what was before is not there any more: another channel of this name
        sequence = max(first, files.first_sequence)
        stop = min(ours.last, files.last_sequence) + 1
        while sequence < stop:
            try:
                segment = files.read(sequence, min(stop - sequence, _READ_SLOTS))
            except CorruptMessageError:
                sequence += 1
                continue
            if segment is None:
                break
            following = min(stop, segment.base + len(segment))
            for each in range(sequence, following):
                theirs, source = segment.message(each), ours.segment_of(each)
                mine = source.message(each) if source is not None else None
                if theirs is not None and mine is not None and theirs != mine:
                    return each
            sequence = following
        return 0

    def _durables(self, name: bytes, ours: StoredChannel, fork: int) -> Iterable[Record]:
        """Durables that the files do not have, at the place where they have not missed anything."""
        there = self._found.channels.get(name, StoredChannel())
        known = {_identity(each.state) for each in there.subscriptions.values()}
        missing: dict[_Identity, StoredSubscription] = {}
        for stored in ours.subscriptions.values():
            identity = _identity(stored.state)
            if not stored.state.is_durable or identity in known:
                continue
            one = missing.setdefault(identity, stored)
            one.state.last_sent = max(one.state.last_sent, stored.state.last_sent)
            one.pending |= stored.pending
        highest = max(there.last_subscription_id, ours.last_subscription_id)
        for number, stored in enumerate(missing.values(), highest + 1):
            text = f"durable {bare(stored.state.durable_name or stored.state.queue_group)} was in the journal only"
            self._tell(Severity.WARNING, name, f"{text} and is stored")
            yield from _durable(name, stored, number, fork)

    def _tell(self, severity: Severity, name: bytes, text: str) -> None:
        self.findings.append(Finding(severity, f"Channel {bare(name)}: {text}", channel=name))


def _durable(name: bytes, stored: StoredSubscription, number: int, fork: int) -> Iterable[Record]:
    state, pending = replace(stored.state, id=number, is_closed=True), sorted(stored.pending)
    if state.queue_group:
        state.client_id, state.is_closed = b"", False  # so it stands for a group without members
    if fork:
        state.last_sent = min(state.last_sent, fork - 1)
        pending = [sequence for sequence in pending if sequence < fork]
    yield SubscriptionPut(name, state)
    if pending:
        yield Sent(name, number, pending)


def _identity(state: SubscriptionState) -> _Identity:
    """What makes two records speak of the same durable: a member of a durable group is any other member."""
    return (b"" if state.queue_group else state.client_id, state.durable_name, state.queue_group)


def _run(name: bytes, segment: Segment, ours: StoredChannel, begin: int) -> Messages | None:
    first = max(begin, segment.base)
    last = min(ours.last, segment.base + len(segment) - 1)
    return Messages(name, segment, first, last) if first <= last else None


def _behind(name: bytes, ours: StoredChannel, fork: int, last: int, not_before_ns: int) -> list[Messages]:
    """Our messages from `fork` on, encoded anew with the sequences behind `last`; their times never go back."""
    runs: list[Messages] = []
    subject = length_field(2, name)
    for source in ours.segments:
        for _, timestamp_ns, message in source.messages(max(fork, ours.first, source.base), ours.last):
            last += 1
            timestamp_ns = max(timestamp_ns, not_before_ns)
            encoded = _renumbered(message, last, subject, timestamp_ns)
            if not runs or not runs[-1].segment.has_room(len(encoded)):
                runs.append(Messages(name, Segment(last), last, last))
            runs[-1].segment.append(encoded, timestamp_ns)
            runs[-1].last = last
    return runs


def _renumbered(message: bytes, sequence: int, subject: bytes, timestamp_ns: int) -> bytes:
    reader = FieldReader()
    reader.open(message, 0, len(message))
    reply = data = (0, 0)
    while reader.next_field() == FIELD:
        if reader.number == _REPLY_FIELD:
            reply = (reader.start, reader.stop)
        elif reader.number == _DATA_FIELD:
            data = (reader.start, reader.stop)
    out = ByteBuffer(len(message) + 16)
    put_message(out, sequence, subject, message, *reply, *data, timestamp_ns)
    return out.take()
