"""PostgreSQL, by asyncpg. Names are lower case; many messages at once go by COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.sql.dialects.base import Dialect, MessageRow, driver_of
from nats_streaming.stores.sql.dialects.tls import make_context
from nats_streaming.stores.sql.schema import Tables

COPY_ROWS: Final = 32
"""From so many rows on COPY, which takes a round trip more, is faster than an INSERT for each in one flight."""

_INSERT = "INSERT INTO messages (id, seq, timestamp, size, data) VALUES "
_COLUMNS = ("id", "seq", "timestamp", "size", "data")
_LOCK_KEY = "(1314083649::bigint << 32) | 'storelock'::regclass::oid::bigint"
_PARAMETERS_MAX = 32_767

_CONFLICTS = frozenset(
    (
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock not available
        "23505",  # a key that a session not yet dead is inserting
    )
)
# Connection exceptions, operator intervention (the server is being stopped), internal errors.
_SESSION_ENDS = ("08", "57", "XX")
# A dead peer must not keep the lock for the two hours of the system's defaults.
_KEEPALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "3", "tcp_keepalives_count": "3"}


class PostgresDialect(Dialect):
    """See `base.Dialect`."""

    url = "postgresql+asyncpg://"
    driver_module = "asyncpg"
    driver_distribution = "asyncpg"
    lock_row_table = ("LOCK TABLE storelock IN SHARE ROW EXCLUSIVE MODE",)

    def make_tables(self) -> Tables:
        return Tables(lower_case=True, time_index=True)

    async def connect(self) -> Any:
        import asyncpg

        source = self.source
        ssl: Any = False
        if source.tls is not None:
            ssl = "prefer" if source.tls.optional else make_context(source.tls)
        settings = {"application_name": "nats-streaming-server", **_KEEPALIVE, **source.settings}
        if source.socket:
            for name in _KEEPALIVE:
                settings.pop(name)
        return await asyncpg.connect(
            host=source.socket or source.host,
            port=source.port,
            user=source.user,
            password=source.password or None,
            database=source.database,
            timeout=source.connect_timeout_s,
            command_timeout=source.statement_timeout_s,
            ssl=ssl,
            server_settings=settings,
        )

    async def run(self, connection: AsyncConnection, statement: str) -> None:
        await driver_of(connection).execute(statement)

    async def insert_messages(self, connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
        driver = driver_of(connection)
        if self.insert_rows:
            await self._insert_in_statements(driver, rows)
        elif len(rows) >= COPY_ROWS:
            await driver.copy_records_to_table("messages", records=rows, columns=_COLUMNS)
        elif len(rows) == 1:
            await driver.execute(_INSERT + "($1, $2, $3, $4, $5)", *rows[0])
        else:
            await driver.executemany(_INSERT + "($1, $2, $3, $4, $5)", rows)

    def is_one_statement(self, rows: Sequence[MessageRow]) -> bool:
        # The driver's executemany is one transaction.
        return not self.insert_rows or len(rows) <= self._rows_per_statement()

    def _rows_per_statement(self) -> int:
        return min(self.insert_rows, _PARAMETERS_MAX // 5)

    async def _insert_in_statements(self, driver: Any, rows: Sequence[MessageRow]) -> None:
        limit = self._rows_per_statement()
        for start in range(0, len(rows), limit):
            some = rows[start : start + limit]
            values = ", ".join(
                f"(${5 * index + 1}, ${5 * index + 2}, ${5 * index + 3}, ${5 * index + 4}, ${5 * index + 5})"
                for index in range(len(some))
            )
            await driver.execute(_INSERT + values, *(value for row in some for value in row))

    async def take_session_lock(self, connection: AsyncConnection) -> bool:
        return bool(await connection.scalar(text(f"SELECT pg_try_advisory_lock({_LOCK_KEY})")))

    async def end_when_idle(self, connection: AsyncConnection, seconds: int) -> None:
        await connection.exec_driver_sql(f"SET idle_in_transaction_session_timeout = {seconds * 1000}")

    async def migrate(self, connection: AsyncConnection) -> list[str]:
        # Tables of servers before 0.10.0.
        found = await connection.scalar(
            text(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = 'clients'::regclass AND attname = 'proto'"
                " AND NOT attisdropped"
            )
        )
        if found:
            return []
        await connection.execute(text("ALTER TABLE clients ADD proto BYTEA"))
        return ["clients: column proto added"]

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        import asyncpg

        # The last one is what is raised on a connection that died while it was used.
        return (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

    def is_refusal(self, error: BaseException) -> bool:
        import asyncpg

        ended = getattr(error, "sqlstate", None) or "08"
        return isinstance(error, asyncpg.PostgresError) and not ended.startswith(_SESSION_ENDS)

    def is_conflict(self, error: BaseException) -> bool:
        # What goes past SQLAlchemy raises the driver's own errors.
        return getattr(getattr(error, "orig", error), "sqlstate", "") in _CONFLICTS
