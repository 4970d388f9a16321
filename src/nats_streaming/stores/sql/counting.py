"""How many messages of what size each channel holds, at the start, without reading them all.

Rows of MessageTotals tell it for stretches of sequences; what they do not tell is counted, and told from then on. A
row is believed if the last message that it speaks of is there, with its time: whoever writes to these tables, a Go
server, too, removes messages only in order from the first on, and gives a new one a new time. Deleting single
messages is ours alone, and removes the rows over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Integer, bindparam, delete, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.sql.ledger import TOTALS_MESSAGES, ChannelEntry, Ledger, Totals
from nats_streaming.stores.sql.statements import Statements
from nats_streaming.stores.state import StoreState

_GAPS_AT_ONCE: Final = 100  # of one statement; SQLite takes 500
_SHIFT: Final = TOTALS_MESSAGES.bit_length() - 1


@dataclass(slots=True)
class _Channel:
    """
    Attributes:
        first, last, timestamp_ns: of its messages.
        told: totals that hold, by sequence.
    """

    entry: ChannelEntry
    first: int
    last: int
    timestamp_ns: int
    told: list[Totals] = field(default_factory=list)

    def gaps(self) -> Iterator[tuple[int, int]]:
        """First and last sequence of what is not told."""
        first = self.first
        for totals in self.told:
            if totals.first > first:
                yield first, totals.first - 1
            first = totals.last + 1
        if first <= self.last:
            yield first, self.last


async def count_messages(
    connection: AsyncConnection, statements: Statements, ledger: Ledger, state: StoreState
) -> None:
    """Fill in count, size and ends of `state.channels`, and the tails of the ledger's."""
    tables = statements.tables
    channels = await _ends(connection, tables, ledger)
    if tables.has_totals:
        await _count_the_rest(connection, statements, channels)
    else:
        for channel_id, totals in await _count_all(connection, tables, by_stretch=False):
            if channel_id in channels:
                channels[channel_id].told = [totals]
    for item in channels.values():
        channel = state.channels[item.entry.name]
        channel.count = sum(totals.messages for totals in item.told)
        channel.size = sum(totals.size for totals in item.told)
        channel.first, channel.last = item.first, max(item.last, channel.last)
        channel.last_timestamp_ns = item.timestamp_ns
        newest = item.told[-1] if item.told else None
        is_open = newest is not None and newest.last == item.last and newest.messages < TOTALS_MESSAGES
        item.entry.tail = newest if newest is not None and is_open else Totals(item.last + 1, item.last)


async def _ends(connection: AsyncConnection, tables: Any, ledger: Ledger) -> dict[int, _Channel]:
    """Channels with messages, by ID. Each end is one look at the primary key."""
    messages, channels = tables.messages, tables.channels

    def end(column: Any, order: Any) -> Any:
        found = select(column).where(messages.c.id == channels.c.id).order_by(order).limit(1)
        return found.correlate(channels).scalar_subquery()

    newest = messages.c.seq.desc()
    rows = await connection.execute(
        select(
            channels.c.id, end(messages.c.seq, messages.c.seq), end(messages.c.seq, newest),
            end(messages.c.timestamp, newest),
        )
    )  # fmt: skip
    by_id = {entry.id: entry for entry in ledger.channels.values()}
    return {
        key: _Channel(by_id[key], int(first), int(last), int(timestamp or 0))
        for key, first, last, timestamp in rows
        if key in by_id and first is not None
    }


async def _count_the_rest(connection: AsyncConnection, statements: Statements, channels: dict[int, _Channel]) -> None:
    tables = statements.tables
    stale = await _read_totals(connection, tables, channels)
    gaps = [(key, *gap) for key, channel in channels.items() for gap in channel.gaps()]
    missing = sum(last - first + 1 for _, first, last in gaps)
    if 2 * missing > sum(channel.last - channel.first + 1 for channel in channels.values()):
        # One pass over everything is less than the half of it by key.
        await connection.execute(delete(tables.totals))
        found = await _count_all(connection, tables, by_stretch=True)
        for channel in channels.values():
            channel.told = []
    else:
        remove = delete(tables.totals).where(
            tables.totals.c.id == bindparam("k"), tables.totals.c.first == bindparam("v")
        )
        if stale:
            await connection.execute(remove, [{"k": key, "v": first} for key, first in stale])
        found = await _count_gaps(connection, tables, gaps)
    found = [item for item in found if item[0] in channels]
    await statements.insert_totals(connection, found)
    for key, totals in found:
        channels[key].told.append(totals)
    for channel in channels.values():
        channel.told.sort()


async def _read_totals(
    connection: AsyncConnection, tables: Any, channels: dict[int, _Channel]
) -> list[tuple[int, int]]:
    """Fill `told` with what holds; returns the keys of the other rows."""
    totals, messages = tables.totals, tables.messages
    of_last = (
        select(messages.c.timestamp)
        .where(messages.c.id == totals.c.id, messages.c.seq == totals.c.last)
        .correlate(totals)
        .scalar_subquery()
    )
    stale: list[tuple[int, int]] = []
    for row in await connection.execute(select(totals, of_last.label("found")).order_by(totals.c.id, totals.c.first)):
        channel = channels.get(row.id)
        is_held = channel is not None and row.found == row.timestamp and row.first >= channel.first
        if channel is None or not is_held or (channel.told and channel.told[-1].last >= row.first):
            stale.append((row.id, row.first))
            continue
        channel.told.append(
            Totals(int(row.first), int(row.last), int(row.messages), int(row.size), int(row.timestamp), stored=True)
        )
    return stale


async def _count_all(connection: AsyncConnection, tables: Any, *, by_stretch: bool) -> list[tuple[int, Totals]]:
    """Channel IDs and what they hold, in one pass.

    Args:
        by_stretch: in pieces that a row of totals is meant for, not a whole channel at once.
    """
    messages = tables.messages
    stretch = [messages.c.seq.bitwise_rshift(literal(_SHIFT, Integer))] if by_stretch else []
    rows = await connection.execute(_select(messages, messages.c.id).group_by(messages.c.id, *stretch))
    return [_totals(row) for row in rows]


async def _count_gaps(
    connection: AsyncConnection, tables: Any, gaps: list[tuple[int, int, int]]
) -> list[tuple[int, Totals]]:
    messages = tables.messages
    found: list[tuple[int, Totals]] = []
    for start in range(0, len(gaps), _GAPS_AT_ONCE):
        parts = [
            _select(messages, messages.c.id)
            .where(messages.c.id == key, messages.c.seq.between(first, last))
            .group_by(messages.c.id, (messages.c.seq - first).bitwise_rshift(literal(_SHIFT, Integer)))
            for key, first, last in gaps[start : start + _GAPS_AT_ONCE]
        ]
        found += [_totals(row) for row in await connection.execute(union_all(*parts))]
    return found


def _select(messages: Any, key: Any) -> Any:
    return select(
        key,
        func.min(messages.c.seq),
        func.max(messages.c.seq),
        func.count(),
        func.sum(messages.c.size),
        func.max(messages.c.timestamp),
    )


def _totals(row: Any) -> tuple[int, Totals]:
    key, first, last, messages, size, timestamp_ns = row
    return int(key), Totals(int(first), int(last), int(messages), int(size), int(timestamp_ns), stored=True)
