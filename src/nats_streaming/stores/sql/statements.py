"""The statements that carry out a plan, the same for every database; all of them inside one transaction.

Each may run again after it ran: rows are deleted by their keys before they are inserted where they may be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.protocol.control_messages import ServerInfo, encode
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.sql.dialects.base import Dialect, MessageRow
from nats_streaming.stores.sql.ledger import ChannelEntry, Totals
from nats_streaming.stores.sql.plan import Plan, Undo
from nats_streaming.stores.sql.schema import SCHEMA_VERSION

PURGE_ROWS: Final = 1000
"""Rows of a deleted channel that go in one transaction, as in the original: others wait for so long."""

_KEYS_MAX = 500  # in one IN list
_CHUNK_BYTES = 4 << 20
_INT32_MAX = 2**31 - 1


class Statements:
    """One per store."""

    def __init__(self, dialect: Dialect, limits: Callable[[bytes], ChannelLimits] | None) -> None:
        """
        Args:
            limits: what holds for a channel of a name: a Go server compares its own with what is stored.
        """
        self._dialect = dialect
        self._limits = limits
        tables = dialect.tables
        self.tables = tables
        channels, messages, subscriptions, pending = (
            tables.channels,
            tables.messages,
            tables.subscriptions,
            tables.pending,
        )
        key: Any = bindparam("k")
        value: Any = bindparam("v")
        self._delete_from = delete(messages).where(messages.c.id == key, messages.c.seq >= value)
        self._delete_before = delete(messages).where(messages.c.id == key, messages.c.seq < value)
        self._delete_channel = delete(channels).where(channels.c.id == key)
        self._mark_channel = update(channels).where(channels.c.id == key).values(deleted=value)
        self._set_last = update(channels).where(channels.c.id == key).values(maxseq=value)
        totals = tables.totals
        self._void_totals = delete(totals).where(totals.c.id == key, totals.c.last >= value)
        self._void_totals_over = delete(totals).where(
            totals.c.id == key, totals.c.first <= bindparam("high"), totals.c.last >= bindparam("low")
        )
        # Those before the channel's first message go, too: nothing else ever removes them.
        self._replace_totals = delete(totals).where(
            totals.c.id == key, or_(totals.c.first >= value, totals.c.first < bindparam("begin"))
        )
        self._delete_totals = delete(totals).where(totals.c.id == key)
        sub: Any = bindparam("s")
        self._delete_subscription = delete(subscriptions).where(subscriptions.c.id == key, subscriptions.c.subid == sub)
        self._mark_subscription = (
            update(subscriptions).where(subscriptions.c.id == key, subscriptions.c.subid == sub).values(deleted=True)
        )
        self._set_last_sent = (
            update(subscriptions).where(subscriptions.c.id == key, subscriptions.c.subid == sub).values(lastsent=value)
        )
        self._delete_pending = delete(pending).where(pending.c.subid == key)
        self._delete_pending_row = delete(pending).where(pending.c.subid == key, pending.c.row == value)
        self._delete_pending_sequence = delete(pending).where(pending.c.subid == key, pending.c.seq == value)
        # Built once: it costs more than carrying them out with nothing to insert.
        self._insert_channel = insert(channels)
        self._insert_subscription = insert(subscriptions)
        self._insert_pending = insert(pending)
        self._insert_client = insert(tables.clients)
        self._insert_totals = insert(totals)
        self._delete_client = delete(tables.clients).where(tables.clients.c.id == key)

    async def undo(self, connection: AsyncConnection, undo: Undo) -> None:
        """Remove what a transaction whose outcome is unknown may have inserted."""
        rows = [{"k": key, "v": first} for key, first in undo.messages.items()]
        await _many(connection, self._delete_from, rows)
        if self.tables.has_totals:
            await _many(connection, self._void_totals, rows)
        for channel_id in undo.created:
            await self._forget_channel(connection, channel_id)
        await _many(connection, self._mark_channel, [{"k": key, "v": False} for key in undo.removed])
        await _many(connection, self._delete_pending_row, [{"k": key, "v": row} for key, row in undo.pending])

    async def _forget_channel(self, connection: AsyncConnection, channel_id: int) -> None:
        """Everything of a channel that was never committed; it cannot be much."""
        tables = self.tables
        totals = (tables.totals,) if tables.has_totals else ()
        for table in (tables.channels, tables.messages, tables.subscriptions, *totals):
            await connection.execute(delete(table).where(table.c.id == channel_id))

    def only_insert(self, plan: Plan) -> list[MessageRow] | None:
        """The rows of a plan that one statement carries out; None if it takes more."""
        if not plan.has_only_messages or sum(last - first for _, _, first, last in plan.runs) >= PURGE_ROWS:
            return None
        portions = list(self._message_rows(plan))
        if len(portions) == 1 and self._dialect.is_one_statement(portions[0]):
            return portions[0]
        return None

    async def execute(self, connection: AsyncConnection, plan: Plan) -> None:
        """Carry out a plan."""
        tables = self.tables
        await _many(connection, self._insert_channel, [self._channel_row(channel) for channel in plan.created])
        await _many(connection, self._mark_channel, [{"k": channel.id, "v": True} for channel in plan.removed])
        await _many(connection, self._delete_from, [{"k": channel.id, "v": first} for channel, first in plan.cut])
        for rows in self._message_rows(plan):
            await self._dialect.insert_messages(connection, rows)
        await _many(connection, self._delete_before, [{"k": key, "v": first} for key, first in plan.trims.items()])
        messages = tables.messages
        for channel_id, sequences in plan.deleted.items():
            for some in _slices(sorted(sequences)):
                await connection.execute(delete(messages).where(messages.c.id == channel_id, messages.c.seq.in_(some)))
        await _many(connection, self._set_last, [{"k": key, "v": item.last} for key, item in plan.last.items()])
        if tables.has_totals:
            await self._totals(connection, plan)
        await self._subscriptions(connection, plan)
        await self._clients(connection, plan)
        if plan.server is not None:
            await connection.execute(delete(tables.server))
            await connection.execute(insert(tables.server), server_row(plan.server))

    async def _totals(self, connection: AsyncConnection, plan: Plan) -> None:
        await _many(connection, self._void_totals, [{"k": channel.id, "v": first} for channel, first in plan.cut])
        void = [{"k": key, "low": low, "high": high} for key, low, high in plan.uncounted]
        await _many(connection, self._void_totals_over, void)
        new = [(channel.id, item) for channel, item in plan.totals]
        replaced = [{"k": channel.id, "v": item.first, "begin": channel.first} for channel, item in plan.totals]
        await _many(connection, self._replace_totals, replaced)
        await self.insert_totals(connection, new)

    async def insert_totals(self, connection: AsyncConnection, new: Sequence[tuple[int, Totals]]) -> None:
        """
        Args:
            new: channel ID and what a row is to tell.
        """
        await _many(
            connection,
            self._insert_totals,
            [
                {
                    "id": channel_id,
                    "first": item.first,
                    "last": item.last,
                    "messages": item.messages,
                    "size": item.size,
                    "timestamp": item.timestamp_ns,
                }
                for channel_id, item in new
            ],
        )

    async def _subscriptions(self, connection: AsyncConnection, plan: Plan) -> None:
        changed = list(plan.subscriptions.values())
        unmarked = [plan.unmarked] if plan.unmarked is not None else []
        gone = [*plan.subscriptions_gone, *unmarked, *((entry.channel.id, entry.id) for entry in changed)]
        await _many(connection, self._delete_subscription, [{"k": key, "s": sub} for key, sub in gone])
        if plan.marked is not None:
            await connection.execute(self._mark_subscription, {"k": plan.marked[0], "s": plan.marked[1]})
        await _many(
            connection,
            self._insert_subscription,
            [
                {
                    "id": entry.channel.id,
                    "subid": entry.id,
                    "lastsent": entry.state.last_sent,
                    "proto": encode(entry.state),
                    "deleted": False,
                }
                for entry in changed
            ],
        )
        await _many(connection, self._delete_pending, [{"k": key} for key in plan.pending_gone])
        await _many(connection, self._delete_pending_sequence, [{"k": key, "v": seq} for key, seq in plan.acked])
        await _many(
            connection,
            self._insert_pending,
            [
                {
                    "subid": row.subscription_id,
                    "row": row.row,
                    "seq": row.sequence,
                    "lastsent": row.last_sent,
                    "pending": row.pending,
                    "acks": row.acks,
                }
                for row in plan.pending
            ],
        )
        await _many(
            connection,
            self._set_last_sent,
            [{"k": entry.channel.id, "s": entry.id, "v": entry.state.last_sent} for entry in plan.last_sent],
        )

    async def _clients(self, connection: AsyncConnection, plan: Plan) -> None:
        if not plan.clients:
            return
        ids = {client_id: client_id.decode("ascii", "replace") for client_id in plan.clients}
        await _many(connection, self._delete_client, [{"k": text} for text in ids.values()])
        # Only rows without a ClientInfo, of very old servers, are read by their inbox.
        await _many(
            connection,
            self._insert_client,
            [
                {
                    "id": ids[client_id],
                    "hbinbox": info.heartbeat_inbox.decode("ascii", "replace"),
                    "proto": encode(info),
                }
                for client_id, info in plan.clients.items()
                if info is not None
            ],
        )

    def _channel_row(self, channel: ChannelEntry) -> dict[str, Any]:
        return {
            "id": channel.id,
            "name": channel.name.decode(),
            "maxseq": 0,
            **self.limit_columns(channel.name),
            "deleted": False,
        }

    def limit_columns(self, name: bytes) -> dict[str, int]:
        """The limits of a channel as its row tells them."""
        if self._limits is None:
            return {"maxmsgs": 0, "maxbytes": 0, "maxage": 0}
        limits = self._limits(name)
        return {
            "maxmsgs": min(limits.max_messages, _INT32_MAX),
            "maxbytes": limits.max_bytes,
            "maxage": limits.max_age_ns,
        }

    def _message_rows(self, plan: Plan) -> Iterator[list[MessageRow]]:
        """The new rows in portions: making one must not hold the loop up for long."""
        rows: list[MessageRow] = []
        size = 0
        for channel, segment, first, last in plan.runs:
            first = max(first, plan.trims.get(channel.id, 0))
            channel_id = channel.id
            for start in range(first, last + 1, PURGE_ROWS):
                found = list(segment.messages(start, min(last, start + PURGE_ROWS - 1)))
                rows += [(channel_id, seq, time_ns, len(data), data) for seq, time_ns, data in found]
                size += sum(len(item[2]) for item in found)
                if len(rows) >= PURGE_ROWS or size >= _CHUNK_BYTES:
                    yield rows
                    rows, size = [], 0
        if rows:
            yield rows

    # What only the database knows.

    async def first_difference(
        self, connection: AsyncConnection, channel: ChannelEntry, segment: Segment, first: int, last: int
    ) -> int:
        """The first of these sequences under which another message is stored; `last + 1` of the channel if none is."""
        messages = self.tables.messages
        start = max(first, channel.first)
        while start <= min(last, channel.last):
            stop = min(last, channel.last, start + PURGE_ROWS - 1)
            found = await connection.execute(
                select(messages.c.seq, messages.c.data)
                .where(messages.c.id == channel.id, messages.c.seq.between(start, stop))
                .order_by(messages.c.seq)
            )
            for sequence, stored in found:
                given = segment.message(sequence)
                if given is not None and given != bytes(stored):
                    return int(sequence)
            start = stop + 1
        return channel.last + 1

    async def purge(self, connection: AsyncConnection, channel_id: int) -> bool:
        """Remove a portion of a channel that is marked deleted; False when nothing of it is left."""
        tables = self.tables
        messages, subscriptions = tables.messages, tables.subscriptions
        bound = await connection.scalar(
            select(messages.c.seq)
            .where(messages.c.id == channel_id)
            .order_by(messages.c.seq)
            .limit(1)
            .offset(PURGE_ROWS - 1)
        )
        if bound is not None:
            await connection.execute(self._delete_before, {"k": channel_id, "v": bound + 1})
            return True
        ids = (
            await connection.scalars(
                select(subscriptions.c.subid).where(subscriptions.c.id == channel_id).limit(PURGE_ROWS)
            )
        ).all()
        for some in _slices(ids):
            await connection.execute(delete(tables.pending).where(tables.pending.c.subid.in_(some)))
            await connection.execute(
                delete(subscriptions).where(subscriptions.c.id == channel_id, subscriptions.c.subid.in_(some))
            )
        if len(ids) == PURGE_ROWS:
            return True
        await connection.execute(delete(messages).where(messages.c.id == channel_id))
        if tables.has_totals:
            await connection.execute(self._delete_totals, {"k": channel_id})
        await connection.execute(self._delete_channel, {"k": channel_id})
        return False


def server_row(info: ServerInfo) -> dict[str, Any]:
    return {
        "uniquerow": 1,
        "id": info.cluster_id.decode("utf-8", "replace"),
        "proto": encode(info),
        "version": SCHEMA_VERSION,
    }


async def _many(connection: AsyncConnection, statement: Any, rows: list[dict[str, Any]]) -> None:
    if len(rows) == 1:
        await connection.execute(statement, rows[0])
    elif rows:
        await connection.execute(statement, rows)


def _slices(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), _KEYS_MAX):
        yield keys[start : start + _KEYS_MAX]
