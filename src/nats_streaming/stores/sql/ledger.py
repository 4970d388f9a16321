"""What the database holds, as far as the store must know it to write the next batch. No I/O.

The ledger says what the database should hold once everything staged is committed; what a failed commit may have
left behind is told by marks, and the next batch writes it anew.

Source: stores specification, sections 4.2 and 4.3 (the life of rows).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.segment import Segment

TOTALS_MESSAGES: Final = 1024
"""From so many messages on they get a row in MessageTotals; fewer are counted by the next start."""


class Totals(NamedTuple):
    """What lies from one sequence of a channel to another.

    Attributes:
        timestamp_ns: of the message `last`; 0 when there is none.
        stored: whether a row of MessageTotals tells this.
    """

    first: int
    last: int
    messages: int = 0
    size: int = 0
    timestamp_ns: int = 0
    stored: bool = False

    def with_run(self, segment: Segment, first: int, last: int) -> Totals:
        """With the slots from `first` to `last` behind it."""
        index = last - segment.base
        return Totals(
            self.first,
            last,
            self.messages + segment.live_count(first, last),
            self.size + segment.live_size(first, last),
            segment.timestamp_at(index) if segment.size_at(index) else 0,
        )


NO_TOTALS: Final = Totals(1, 0)


@dataclass(slots=True, eq=False)
class SubscriptionEntry:
    """
    Attributes:
        state: its `last_sent` is kept up to date.
        pending: sent and not acked.
        rows: its rows in SubsPending.
        next_row: number of the next one.
        rewrite: its rows there are not what this server would have written: replace all of them.
    """

    channel: ChannelEntry
    state: SubscriptionState
    pending: set[int] = field(default_factory=set)
    rows: int = 0
    next_row: int = 1
    rewrite: bool = False

    @property
    def id(self) -> int:
        return self.state.id


@dataclass(slots=True, eq=False)
class ChannelEntry:
    """
    Attributes:
        id: in the table Channels.
        first, last: as in `stores.state.StoredChannel`, with what is staged.
        readable_first, readable_last: the same as far as it is committed; nothing else may be read, for rows of a
            commit that failed may lie behind it.
        tail: the newest messages, of which no row of MessageTotals tells, or one that may still grow.
    """

    id: int
    name: bytes
    first: int = 0
    last: int = 0
    readable_first: int = 0
    readable_last: int = 0
    tail: Totals = NO_TOTALS
    subscriptions: dict[int, SubscriptionEntry] = field(default_factory=dict)


class Ledger:
    """
    Attributes:
        channels: by name.
        last_channel_id: the highest ever used, those of deleted channels included.
        last_subscription_id: the highest ever used in any channel.
        marker: channel and ID of a subscription that is gone and whose row, marked deleted, keeps the highest ID.
    """

    def __init__(self) -> None:
        self.channels: dict[bytes, ChannelEntry] = {}
        self.last_channel_id = 0
        self.last_subscription_id = 0
        self.marker: tuple[int, int] | None = None

    def open(self, name: bytes) -> tuple[ChannelEntry, bool]:
        """The channel of a name and whether it is new."""
        channel = self.channels.get(name)
        if channel is not None:
            return channel, False
        self.last_channel_id += 1
        channel = self.channels[name] = ChannelEntry(self.last_channel_id, name)
        return channel, True
