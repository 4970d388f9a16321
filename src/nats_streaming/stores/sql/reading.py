"""Messages out of the database: a run of them as a segment, and the first one of a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.segment import SEGMENT_BYTES, SEGMENT_SLOTS, Segment
from nats_streaming.stores.sql.schema import Tables


async def read_messages(
    connection: AsyncConnection, tables: Tables, channel_id: int, first: int, last: int, count: int
) -> Segment | None:
    """Slots from `first` on, holes included; None when there is nothing from there to `last`.

    Args:
        last: nothing behind it exists.
        count: slots at most; fewer where the messages are large.
    """
    messages = tables.messages
    stop = min(last, first + min(max(count, 1), SEGMENT_SLOTS) - 1)
    sizes = (
        await connection.execute(
            select(messages.c.seq, messages.c.size)
            .where(messages.c.id == channel_id, messages.c.seq.between(first, stop))
            .order_by(messages.c.seq)
        )
    ).all()
    if not sizes:
        following = await connection.scalar(
            select(func.min(messages.c.seq)).where(
                messages.c.id == channel_id, messages.c.seq > stop, messages.c.seq <= last
            )
        )
        return _segment([], first, stop) if following is not None else None
    bound = _bound(sizes)
    rows = (
        await connection.execute(
            select(messages.c.seq, messages.c.timestamp, messages.c.data)
            .where(messages.c.id == channel_id, messages.c.seq.between(first, bound))
            .order_by(messages.c.seq)
        )
    ).all()
    return _segment(rows, first, stop if bound == sizes[-1][0] else bound)


def _bound(sizes: Sequence[Any]) -> int:
    """The last sequence that still fits into a segment."""
    total = 0
    bound = int(sizes[0][0])
    for sequence, size in sizes:
        total += int(size)
        if total > SEGMENT_BYTES and sequence != sizes[0][0]:
            break
        bound = int(sequence)
    return bound


def _segment(rows: Sequence[Any], first: int, stop: int) -> Segment:
    segment = Segment(first)
    next_sequence = first
    # A hole has the time of the message before it: times never decrease, and searches go by them.
    before_ns = int(rows[0][1]) if rows else 0
    for sequence, timestamp_ns, data in rows:
        while next_sequence < sequence:
            segment.append(b"", before_ns)
            next_sequence += 1
        segment.append(bytes(data), int(timestamp_ns))
        before_ns = int(timestamp_ns)
        next_sequence += 1
    while next_sequence <= stop:
        segment.append(b"", before_ns)
        next_sequence += 1
    return segment


async def find_time(
    connection: AsyncConnection, tables: Tables, channel_id: int, first: int, last: int, timestamp_ns: int
) -> int:
    """The first sequence from `first` to `last` whose timestamp is not below; `last + 1` when there is none.

    Halves the range by the primary key: an index on timestamps is over all channels, and a search along the key
    would pass every older message.
    """
    messages = tables.messages
    low, high = first, last + 1
    best = last + 1
    while low < high:
        middle = (low + high) // 2
        found = (
            await connection.execute(
                select(messages.c.seq, messages.c.timestamp)
                .where(messages.c.id == channel_id, messages.c.seq >= middle, messages.c.seq < high)
                .order_by(messages.c.seq)
                .limit(1)
            )
        ).first()
        if found is not None and int(found[1]) < timestamp_ns:
            low = int(found[0]) + 1
            continue
        if found is not None:
            best = int(found[0])
        high = middle
    return best
