"""The SQL store: one transaction per batch, over all channels, into the tables of the original.

    stage -> commit ──▶ plan (ledger) ──▶ one transaction ──▶ durable
             read   ◀── other connections, beside the commit

A transaction whose outcome nobody knows, because the connection broke while it committed, is carried out again on
the next connection: first what it may have inserted is removed. While the database is away commits fail at once;
what a failed one may have left is removed by the next that succeeds. So nothing is applied twice, and nothing is
acknowledged that is not known to be there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.stores.api import Capabilities
from nats_streaming.stores.batch import Messages, Record
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.sql.database import Database, SqlError, describe
from nats_streaming.stores.sql.dialects.base import MessageRow, make_dialect
from nats_streaming.stores.sql.ledger import Ledger
from nats_streaming.stores.sql.lock import StoreLock
from nats_streaming.stores.sql.options import SqlOptions
from nats_streaming.stores.sql.pending_rows import ListRows, PendingWriter, SingleRows
from nats_streaming.stores.sql.plan import Plan, Planner
from nats_streaming.stores.sql.reading import find_time, read_messages
from nats_streaming.stores.sql.recovery import recover
from nats_streaming.stores.sql.schema import NAME_BYTES_MAX
from nats_streaming.stores.sql.source import parse_source
from nats_streaming.stores.sql.statements import Statements
from nats_streaming.stores.state import StoreState

_log = logging.getLogger("nats_streaming")

ATTEMPTS: Final = 3
"""Of one commit, as long as the database can be reached: after a restart of it the first finds a dead connection."""

_PURGE_RETRY_S = 1.0
_TAILS_S = 3.0  # at the end; an operator waits for it


class SqlStore:
    """See `stores.api.Store`.

    Options: the attributes of `SqlOptions`; `limits`, what holds for a channel of a name; `fault_tolerant`, whether
    the server is one of a group.
    """

    name = "SQL"

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = _sql_options(options)
        self._options.check()
        self.capabilities = Capabilities(
            recoverable=True,
            exclusive_lock=True,
            shared_subscription_ids=True,
            name_bytes_max=NAME_BYTES_MAX,
        )
        source = parse_source(self._options.driver, self._options.source)
        self._dialect = make_dialect(source, self._options.bulk_insert_limit)
        self._dialect.check_driver()
        self._database = Database(self._dialect, self._options.max_open_conns)
        self._lock = StoreLock(self._database, uses_row=bool(options.get("fault_tolerant")))
        self._statements = Statements(self._dialect, options.get("limits"))
        writer: PendingWriter = SingleRows() if self._options.no_caching else ListRows()
        self._pending_writer = writer
        self._ledger = Ledger()
        self._planner = Planner(self._ledger, writer)
        self._staged: list[Record] = []
        self._prepared = False
        self._recovered = False
        self._purges: list[int] = []
        self._purging: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._abandoned = False

    @property
    def failure(self) -> str:
        """Why the database cannot be reached at the moment."""
        return self._database.failure

    # Beginning.

    async def try_lock(self) -> bool:
        self._refuse_closed()
        await self._prepare()
        return await self._lock.try_lock()

    async def recover(self) -> StoreState | None:
        if self._lock.asks_database:
            # Somebody may have created a table while this server stood by.
            self._prepared = False
        await self._prepare()
        tables = self._dialect.tables
        if not tables.has_totals:
            _log.warning(
                "sql: %s has no table %s, so a start counts all messages; nats-streaming-server --sql_init creates it",
                self._dialect.source.place(),
                tables.totals.name,
            )
        async with self._database.transaction() as connection:
            await self._lock.check(connection)
            recovered = await recover(connection, self._statements, self._pending_writer, self._ledger)
            message_bytes_max = await self._dialect.inspect(connection)
        self.capabilities = replace(self.capabilities, message_bytes_max=message_bytes_max)
        self._purge(recovered.deleted)
        self._recovered = True
        return recovered.state

    async def _prepare(self) -> None:
        """See that the tables are there."""
        if self._prepared:
            return
        tables = self._dialect.tables
        async with self._database.transaction() as connection:
            if self._dialect.creates_tables:
                await connection.run_sync(tables.metadata.create_all)
            present = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        tables.has_totals = tables.totals.name in present
        missing = [table.name for table in tables.needed() if table.name not in present]
        if missing:
            raise StoreError(
                f"sql: {self._dialect.source.place()} has no table {', '.join(missing)}: create them with"
                " nats-streaming-server --sql_init and the same options"
            )
        self._prepared = True

    def _refuse_closed(self) -> None:
        if self._closed or self._abandoned:
            raise StoreError("the SQL store is closed")

    # Committing.

    def stage(self, records: Sequence[Record]) -> None:
        self._staged.extend(records)

    async def commit(self) -> None:
        staged, self._staged = self._staged, []
        if not staged:
            return
        self._refuse_closed()
        commit = _Commit(self, staged)
        try:
            await commit.run()
        except BaseException:
            self._planner.roll_back(commit.plans)
            raise
        removed = self._planner.committed()
        if removed:
            self._purge([channel.id for channel in removed])

    # Reading.

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        entry = self._ledger.channels.get(channel)
        if entry is None:
            return None
        last = entry.readable_last
        if first > last:
            return None
        if first < entry.readable_first:
            # Trimmed in the meantime; its row may still be there if the commit is under way.
            hole = Segment(first)
            hole.append(b"", 0)
            return hole
        tables = self._dialect.tables
        return await self._database.query(
            lambda connection: read_messages(connection, tables, entry.id, first, last, count)
        )

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        entry = self._ledger.channels.get(channel)
        if entry is None:
            return 1
        first, last = max(entry.readable_first, 1), entry.readable_last
        tables = self._dialect.tables
        return await self._database.query(
            lambda connection: find_time(connection, tables, entry.id, first, last, timestamp_ns)
        )

    # Removing what is marked deleted.

    def _purge(self, channel_ids: list[int]) -> None:
        self._purges += channel_ids
        if self._purges and self._purging is None:
            self._purging = asyncio.get_running_loop().create_task(self._purge_all(), name="sql store: purge")
            self._purging.add_done_callback(self._on_purge_end)

    async def _purge_all(self) -> None:
        """In portions, each a transaction of its own, between those of commits."""
        while self._purges and not (self._closed or self._abandoned):
            channel_id = self._purges[0]
            try:
                async with self._database.transaction() as connection:
                    await self._lock.check(connection)
                    more = await self._statements.purge(connection, channel_id)
            except StoreError as error:
                _log.error("Unable to completely delete channel with ID %d, trying again: %s", channel_id, error)
                await asyncio.sleep(_PURGE_RETRY_S)
                continue
            if not more:
                self._purges.remove(channel_id)

    def _on_purge_end(self, task: asyncio.Task[None]) -> None:
        self._purging = None
        if not task.cancelled() and task.exception() is not None:
            # The rows are marked: the next start removes them.
            _log.error("bug: removing a deleted channel ended in an error", exc_info=task.exception())

    # Ending.

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._staged = []
        if self._purging is not None:
            # What is left is marked, and goes at the next start.
            await asyncio.wait({self._purging})
        if self._recovered and not (self._abandoned or self._database.failure):
            await self._count_tails()
        try:
            await self._lock.release()
        except StoreError as error:
            _log.error("Closing the SQL store: %s", error)
        await self._database.close()

    async def _count_tails(self) -> None:
        """Spare the next start the counting; what is not told here it counts."""
        if not self._dialect.tables.has_totals:
            return
        try:
            async with asyncio.timeout(_TAILS_S), self._database.transaction() as connection:
                await self._lock.check(connection)
                await self._statements.execute(connection, self._planner.count_tails())
        except (StoreError, TimeoutError) as error:
            _log.warning("sql: totals are not written, the next start counts the newest messages: %s", describe(error))

    def abandon(self) -> None:
        """Write nothing more; another server may be the one now. `close` is still due."""
        self._abandoned = True
        self._lock.held = False
        # What is under way is rolled back; the threads of SQLite's connections would keep the process from ending.
        self._closing = asyncio.get_running_loop().create_task(self._database.close(), name="SQL store: close")


class _Commit:
    """One batch on its way; `plans` are those made so far, the ledger is as far as they are."""

    def __init__(self, store: SqlStore, records: Sequence[Record]) -> None:
        self.plans: list[Plan] = []
        self._records = records
        self._database = store._database
        self._lock = store._lock
        self._statements = store._statements
        self._planner = store._planner
        self._ledger = store._ledger
        self._next = 0
        self._alone: list[MessageRow] | None = None
        self._is_repeated = False
        self._left = self._planner.begin()

    async def run(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._database.transaction(is_one_statement=self._plan) as connection:
                    await self._lock.check(connection)
                    if self._alone is not None:
                        await self._database.dialect.insert_messages(connection, self._alone)
                    else:
                        await self._carry_out(connection)
                return
            except SqlError as error:
                if not error.may_pass or attempt == ATTEMPTS:
                    raise
                _log.debug("sql: attempt %d of a commit: %s", attempt, error)

    def _plan(self) -> bool:
        """Plan the first part; returns whether it is all there is to do, and one statement does it."""
        self._alone = None
        self._is_repeated = bool(self.plans)
        if self._is_repeated:
            return False
        plan, self._next = self._planner.plan(self._records, 0)
        self.plans.append(plan)
        if self._next == len(self._records) and not self._left and not self._lock.asks_database:
            self._alone = self._statements.only_insert(plan)
        return self._alone is not None

    async def _carry_out(self, connection: AsyncConnection) -> None:
        if self._left:
            await self._statements.undo(connection, self._left)
        for plan in self.plans if self._is_repeated else ():
            # An earlier attempt, whose outcome is unknown.
            await self._statements.undo(connection, plan.undo)
        for plan in self.plans:
            await self._statements.execute(connection, plan)
        records = self._records
        while self._next < len(records):
            record = records[self._next]
            assert isinstance(record, Messages)
            await self._replace(connection, record)
            self._next += 1
            if self._next < len(records):
                plan, self._next = self._planner.plan(records, self._next)
                self.plans.append(plan)
                await self._statements.execute(connection, plan)

    async def _replace(self, connection: AsyncConnection, record: Messages) -> None:
        """Messages under known sequences: skip those that are there, let others replace all behind them."""
        channel = self._ledger.channels[record.channel]
        first = await self._statements.first_difference(connection, channel, record.segment, record.first, record.last)
        plan = Plan()
        if first <= channel.last:
            self._planner.cut_back(plan, channel, first)
        if first <= record.last:
            self._planner.add_run(plan, channel, record.segment, first, record.last)
        self.plans.append(plan)
        await self._statements.execute(connection, plan)


def _sql_options(options: dict[str, Any]) -> SqlOptions:
    known = {field.name for field in fields(SqlOptions)}
    for name in options:
        if name not in known and name not in ("limits", "fault_tolerant"):
            raise ConfigError(f"the SQL store has no option {name!r}", option=name)
    return SqlOptions(**{name: value for name, value in options.items() if name in known})
