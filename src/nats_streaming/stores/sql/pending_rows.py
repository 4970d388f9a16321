"""What was sent and not acked, as rows of SubsPending: in the original's two notations.

    caching      one row per subscription and batch: pending and acks are JSON arrays, acks refer to earlier rows
    no_caching   one row per message

A Go server in the same mode goes on with them. Rows of the other mode are replaced when their subscription is
next written, so that acks for them are stored, too.

Source: stores specification, section 4.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from nats_streaming.constants import INT64_MAX
from nats_streaming.errors import CorruptionError
from nats_streaming.stores.sql.ledger import SubscriptionEntry

if TYPE_CHECKING:
    from nats_streaming.stores.sql.plan import Plan

LIST_MAX: Final = 2000
"""Sequences of one array, as in the original: with 19 digits each they fit into the 64 KiB of MySQL's BLOB."""

ROWS_MAX: Final = 16
"""Rows of one subscription before they are rewritten as one: else an old unacked message would keep all later ones."""


class PendingRow(NamedTuple):
    subscription_id: int
    row: int
    sequence: int
    last_sent: int
    pending: bytes | None
    acks: bytes | None


@dataclass(slots=True)
class Change:
    """What a batch does to the pending messages of one subscription.

    Attributes:
        added, removed: against what is stored.
        last_sent: before the batch.
    """

    entry: SubscriptionEntry
    last_sent: int
    added: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)

    def send(self, sequences: Iterable[int]) -> None:
        fresh = set(sequences) - self.entry.pending
        self.entry.pending |= fresh
        again = fresh & self.removed
        self.removed -= again
        self.added |= fresh - again

    def ack(self, sequences: Iterable[int]) -> None:
        hit = self.entry.pending.intersection(sequences)
        self.entry.pending -= hit
        early = hit & self.added
        self.added -= early
        self.removed |= hit - early


class PendingWriter(Protocol):
    """One of the two notations."""

    def write(self, plan: Plan, change: Change) -> None:
        """Put into the plan what makes the rows of a subscription say what its entry says."""
        ...

    def is_native(self, row: PendingRow) -> bool:
        """Whether a stored row is of this notation."""
        ...


class ListRows:
    """See the module: caching."""

    def write(self, plan: Plan, change: Change) -> None:
        entry = change.entry
        added, removed = change.added, change.removed
        cleared = False
        if entry.rewrite or ((added or removed) and (not entry.pending or entry.rows >= ROWS_MAX)):
            if entry.rows or entry.rewrite:
                plan.pending_gone.append(entry.id)
                cleared = True
            entry.rows = 0
            entry.rewrite = False
            added, removed = entry.pending, set()
        if added or removed:
            for pending, acks in zip_longest(_chunks(added), _chunks(removed), fillvalue=b""):
                _append(plan, entry, 0, entry.state.last_sent, pending, acks)
                entry.rows += 1
        elif (cleared or entry.state.last_sent != change.last_sent) and entry.id not in plan.subscriptions:
            plan.last_sent.append(entry)

    def is_native(self, row: PendingRow) -> bool:
        return row.sequence == 0


class SingleRows:
    """See the module: no_caching."""

    def write(self, plan: Plan, change: Change) -> None:
        entry = change.entry
        added: Iterable[int] = change.added
        if entry.rewrite or (change.removed and not entry.pending):
            plan.pending_gone.append(entry.id)
            entry.rewrite = False
            added = entry.pending
        else:
            plan.acked += [(entry.id, sequence) for sequence in sorted(change.removed)]
        for sequence in sorted(added):
            _append(plan, entry, sequence, 0, None, None)
        entry.rows = len(entry.pending)
        if (entry.state.last_sent != change.last_sent or change.removed) and entry.id not in plan.subscriptions:
            plan.last_sent.append(entry)

    def is_native(self, row: PendingRow) -> bool:
        return row.sequence > 0


def _append(
    plan: Plan, entry: SubscriptionEntry, sequence: int, last_sent: int, pending: bytes | None, acks: bytes | None
) -> None:
    row = entry.next_row
    entry.next_row += 1
    plan.pending.append(PendingRow(entry.id, row, sequence, last_sent, pending, acks))
    plan.undo.pending.append((entry.id, row))


def _chunks(sequences: Iterable[int]) -> list[bytes]:
    """JSON arrays; an absent one is empty, which the original's code expects and is not NULL."""
    ordered = sorted(sequences)
    return [
        json.dumps(ordered[start : start + LIST_MAX], separators=(",", ":")).encode()
        for start in range(0, len(ordered), LIST_MAX)
    ]


def read_list(blob: bytes | None, place: str) -> list[int]:
    """The sequences of an array.

    Args:
        place: for the error: table, column and key.

    Raises:
        CorruptionError: it is none.
    """
    if not blob:
        return []
    try:
        found = json.loads(bytes(blob))
    except ValueError as error:
        raise CorruptionError(f"{place} is no JSON array: {error}") from error
    # A Go server writes null for a list that it never made.
    if found is None:
        return []
    if not isinstance(found, list) or not all(type(item) is int and 0 < item <= INT64_MAX for item in found):
        raise CorruptionError(f"{place} is no array of sequences")
    return found
