"""What a database holds, read at the start.

Source: stores specification, section 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.constants import INT64_MAX
from nats_streaming.errors import CorruptionError, StoreError, quoted
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState, decode
from nats_streaming.stores.sql.counting import count_messages
from nats_streaming.stores.sql.ledger import ChannelEntry, Ledger, SubscriptionEntry
from nats_streaming.stores.sql.pending_rows import PendingRow, PendingWriter, read_list
from nats_streaming.stores.sql.schema import SCHEMA_VERSION
from nats_streaming.stores.sql.statements import Statements
from nats_streaming.stores.state import StoredChannel, StoredSubscription, StoreState

_ROWS_AT_ONCE = 1000


@dataclass(slots=True)
class Recovered:
    """
    Attributes:
        state: None for a database that nobody has used.
        deleted: channels marked deleted whose rows are still there.
    """

    state: StoreState | None
    deleted: list[int] = field(default_factory=list)


async def recover(
    connection: AsyncConnection, statements: Statements, writer: PendingWriter, ledger: Ledger
) -> Recovered:
    """Read everything but the messages, and fill the ledger.

    Raises:
        CorruptionError: a row cannot be used; the text names the table and the key.
    """
    state = StoreState()
    tables = statements.tables
    state.server = await _server(connection, tables)
    state.clients = await _clients(connection, tables)
    deleted = await _channels(connection, statements, ledger, state)
    await count_messages(connection, statements, ledger, state)
    await _subscriptions(connection, tables, ledger)
    await _pending(connection, tables, writer, ledger)
    _finish(ledger, state)
    is_new = state.server is None and not state.clients and not state.channels
    return Recovered(None if is_new else state, deleted)


async def _server(connection: AsyncConnection, tables: Any) -> ServerInfo | None:
    server = tables.server
    row = (
        await connection.execute(select(server.c.id, server.c.proto, server.c.version).where(server.c.uniquerow == 1))
    ).first()
    if row is None:
        return None
    if row.version != SCHEMA_VERSION:
        raise StoreError(f"sql: unsupported version: {row.version} (supports [{SCHEMA_VERSION}..{SCHEMA_VERSION}])")
    info = decode(ServerInfo, bytes(row.proto))
    if info is None:
        raise CorruptionError("ServerInfo: column proto cannot be decoded")
    if row.id != info.cluster_id.decode("utf-8", "replace"):
        raise CorruptionError(
            f"sql: id {quoted(row.id)} in column does not match cluster ID in data {quoted(info.cluster_id)}"
        )
    return info


async def _clients(connection: AsyncConnection, tables: Any) -> dict[bytes, ClientInfo]:
    clients = tables.clients
    found: dict[bytes, ClientInfo] = {}
    for row in await connection.execute(select(clients.c.id, clients.c.hbinbox, clients.c.proto)):
        client_id = row.id.encode()
        # Rows of servers before 0.10.0 have no proto.
        info = decode(ClientInfo, bytes(row.proto)) if row.proto else ClientInfo(client_id, row.hbinbox.encode())
        if info is None:
            raise CorruptionError(f"Clients: proto of client {quoted(client_id)} cannot be decoded")
        found[info.id] = info
    return found


async def _channels(
    connection: AsyncConnection, statements: Statements, ledger: Ledger, state: StoreState
) -> list[int]:
    """Fills `state.channels` and the ledger's; returns those marked deleted."""
    channels = statements.tables.channels
    deleted: list[int] = []
    for row in (await connection.execute(select(channels).order_by(channels.c.id))).all():
        ledger.last_channel_id = max(ledger.last_channel_id, row.id)
        if row.deleted:
            deleted.append(row.id)
            continue
        name = row.name.encode()
        if name in ledger.channels:
            raise CorruptionError(
                f"Channels: {quoted(name)} is there twice, with IDs {ledger.channels[name].id} and {row.id}"
            )
        ledger.channels[name] = ChannelEntry(row.id, name, last=row.maxseq or 0)
        state.channels[name] = StoredChannel(last=row.maxseq or 0)
        limits = statements.limit_columns(name)
        if limits != {"maxmsgs": row.maxmsgs, "maxbytes": row.maxbytes, "maxage": row.maxage}:
            await connection.execute(update(channels).where(channels.c.id == row.id).values(**limits))
    return deleted


async def _subscriptions(connection: AsyncConnection, tables: Any, ledger: Ledger) -> None:
    subscriptions = tables.subscriptions
    by_id = {entry.id: entry for entry in ledger.channels.values()}
    stale: list[tuple[int, int]] = []
    for row in await connection.execute(select(subscriptions).order_by(subscriptions.c.subid)):
        subscription_id = int(row.subid)
        ledger.last_subscription_id = max(ledger.last_subscription_id, subscription_id)
        channel = by_id.get(row.id)
        if row.deleted:
            stale.append((row.id, subscription_id))
            continue
        if channel is None:
            continue
        state = decode(SubscriptionState, bytes(row.proto))
        place = f"Subscriptions: id {row.id}, subid {subscription_id}"
        if state is None:
            raise CorruptionError(f"{place}: proto cannot be decoded")
        if state.id != subscription_id or state.last_sent > INT64_MAX:
            raise CorruptionError(f"{place}: proto is of subscription {state.id}, last sent {state.last_sent}")
        state.last_sent = max(state.last_sent, int(row.lastsent or 0))
        channel.subscriptions[subscription_id] = SubscriptionEntry(channel, state)
    for key in stale:
        if key[1] == ledger.last_subscription_id:
            ledger.marker = key
        else:
            await connection.execute(
                delete(subscriptions).where(subscriptions.c.id == key[0], subscriptions.c.subid == key[1])
            )


async def _pending(connection: AsyncConnection, tables: Any, writer: PendingWriter, ledger: Ledger) -> None:
    pending = tables.pending
    by_id = {entry.id: entry for channel in ledger.channels.values() for entry in channel.subscriptions.values()}
    rows = await connection.execute(
        select(
            pending.c.subid, pending.c.row, pending.c.seq, pending.c.lastsent, pending.c.pending, pending.c.acks
        ).order_by(pending.c.subid, pending.c.row)
    )
    while found := rows.fetchmany(_ROWS_AT_ONCE):
        for item in found:
            row = PendingRow(*item)
            entry = by_id.get(int(row.subscription_id))
            if entry is not None:
                _add_row(entry, row, writer)


def _add_row(entry: SubscriptionEntry, row: PendingRow, writer: PendingWriter) -> None:
    place = f"SubsPending: subid {row.subscription_id}, row {row.row}"
    sequence, last_sent = int(row.sequence or 0), int(row.last_sent or 0)
    entry.rows += 1
    entry.next_row = max(entry.next_row, int(row.row) + 1)
    entry.state.last_sent = max(entry.state.last_sent, sequence, last_sent)
    entry.rewrite = entry.rewrite or not writer.is_native(row)
    if sequence:
        entry.pending.add(sequence)
        return
    entry.pending.difference_update(read_list(row.acks, f"{place}: column acks"))
    entry.pending.update(read_list(row.pending, f"{place}: column pending"))


def _finish(ledger: Ledger, state: StoreState) -> None:
    """The last sequence is what any table tells, and everything goes to the caller in objects of its own."""
    for name, channel in state.channels.items():
        entry = ledger.channels[name]
        sent = (item.state.last_sent for item in entry.subscriptions.values())
        channel.last = max(channel.last, *sent, 0)
        if channel.count == 0 and channel.last:
            channel.first = channel.last + 1
        entry.first, entry.last = channel.first, channel.last
        entry.readable_first, entry.readable_last = channel.first, channel.last
        channel.last_subscription_id = ledger.last_subscription_id
        channel.subscriptions = {
            item.id: StoredSubscription(replace(item.state), set(item.pending)) for item in entry.subscriptions.values()
        }
