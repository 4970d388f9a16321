"""The subscriptions of a channel, `subs.dat`: what they are, and what was sent to them and not acked.

    type  meaning                       payload
    1     new                           SubState
    2     changed, keeps its pending    SubState
    3     removed                       1 subscription ID u64
    4     acked                         1 subscription ID u64, 2 sequence u64
    5     sent                          the same

A subscription ID is never used again, not even after a restart: a rewritten file ends, unlike the
original's, with a type 3 record of the highest ID where no subscription has it any more. Both servers
read the highest ID from records of types 1 to 3, and a removal of an unknown one changes nothing.

Source: stores specification, section 2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.control_messages import SubscriptionState, encode
from nats_streaming.stores.file.compaction import CompactionRule
from nats_streaming.stores.file.record import Checksum, put_pairs, put_record
from nats_streaming.stores.file.record_log import RecordLog
from nats_streaming.stores.state import StoredSubscription

FILE_NAME = "subs.dat"
NEW, CHANGED, REMOVED, ACKED, SENT = 1, 2, 3, 4, 5
KIND_MAX = SENT


class SubscriptionTable:
    """What the records of a file amount to, and how many of them are void.

    Attributes:
        stored: by ID.
        highest_id: ever seen.
        records: of types 1, 2 and 5.
        freed: those of them that later ones made void.
    """

    def __init__(self) -> None:
        self.stored: dict[int, StoredSubscription] = {}
        self.highest_id = 0
        self.records = 0
        self.freed = 0

    def put(self, state: SubscriptionState) -> None:
        self.highest_id = max(self.highest_id, state.id)
        self.records += 1
        known = self.stored.get(state.id)
        if known is None:
            self.stored[state.id] = StoredSubscription(state)
        else:
            known.state = state
            self.freed += 1

    def remove(self, subscription_id: int) -> None:
        self.highest_id = max(self.highest_id, subscription_id)
        known = self.stored.pop(subscription_id, None)
        if known is not None:
            self.freed += 1 + len(known.pending)

    def image(self, out: ByteBuffer, checksum: Checksum) -> None:
        """Write the records a fresh file needs."""
        for subscription_id, stored in self.stored.items():
            put_record(out, NEW, encode(stored.state), checksum)
            put_pairs(out, SENT, subscription_id, sorted(stored.pending), checksum)
        if self.highest_id and self.highest_id not in self.stored:
            put_record(out, REMOVED, removal(self.highest_id), checksum)

    def renewed(self) -> None:
        """Count as after a rewrite."""
        self.records = sum(1 + len(stored.pending) for stored in self.stored.values())
        self.freed = 0


class SubscriptionLog:
    """`subs.dat` of one channel. Not thread-safe: its channel has the lock."""

    def __init__(self, table: SubscriptionTable, rule: CompactionRule, checksum: Checksum) -> None:
        self.table = table
        self._rule = rule
        self._checksum = checksum

    def attach(self, log: RecordLog) -> None:
        """Say where records go; before anything else."""
        self.log = log

    def image(self, out: ByteBuffer) -> None:
        self.table.image(out, self._checksum)

    def put(self, state: SubscriptionState) -> None:
        """New or changed; the same again writes nothing."""
        known = self.table.stored.get(state.id)
        if known is not None and known.state == state:
            return
        self.table.put(replace(state))
        self.log.put(NEW if known is None else CHANGED, encode(state))

    def remove(self, subscription_id: int) -> None:
        if subscription_id not in self.table.stored:
            return
        self.table.remove(subscription_id)
        self.log.put(REMOVED, removal(subscription_id))
        self._compact_if_due()

    def sent(self, subscription_id: int, sequences: Sequence[int]) -> None:
        stored = self.table.stored.get(subscription_id)
        if stored is None:
            return
        # What is pending already may yet tell how far the subscription is: a change took that back.
        last_sent = stored.state.last_sent
        fresh = [each for each in sequences if each not in stored.pending or each > last_sent]
        if not fresh:
            return
        stored.pending.update(fresh)
        stored.state.last_sent = max(stored.state.last_sent, *fresh)
        self.table.records += len(fresh)
        self.log.put_pairs(SENT, subscription_id, fresh)

    def acked(self, subscription_id: int, sequences: Sequence[int]) -> None:
        stored = self.table.stored.get(subscription_id)
        if stored is None:
            return
        known = [sequence for sequence in sequences if sequence in stored.pending]
        if not known:
            return
        stored.pending.difference_update(known)
        self.table.freed += len(known)
        self.log.put_pairs(ACKED, subscription_id, known)
        self._compact_if_due()

    def _compact_if_due(self) -> None:
        if self._rule.is_due(self.log.size - 4, self.table.records, self.table.freed):
            self.log.rewrite()
            self.table.renewed()
            self._rule.done()


def removal(subscription_id: int) -> bytes:
    """Payload of type 3."""
    out = ByteBuffer(16)
    out.put_byte(0x08)
    out.put_varint(subscription_id)
    return out.take()
