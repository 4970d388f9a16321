"""PostgreSQL, by asyncpg. Names are lower case; many messages at once go by COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.sql.dialects.base import Dialect, MessageRow
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

    async def insert_messages(self, connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
        if self.insert_rows:
            await self._insert_in_statements(connection, rows, min(self.insert_rows, _PARAMETERS_MAX // 5))
        elif len(rows) >= COPY_ROWS:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await driver.copy_records_to_table("messages", records=rows, columns=_COLUMNS)
        elif len(rows) == 1:
            await connection.exec_driver_sql(_INSERT + "($1, $2, $3, $4, $5)", rows[0])
        else:
            await connection.exec_driver_sql(_INSERT + "($1, $2, $3, $4, $5)", list(rows))

    async def _insert_in_statements(self, connection: AsyncConnection, rows: Sequence[MessageRow], limit: int) -> None:
        for start in range(0, len(rows), limit):
            some = rows[start : start + limit]
            values = ", ".join(
                f"(${5 * index + 1}, ${5 * index + 2}, ${5 * index + 3}, ${5 * index + 4}, ${5 * index + 5})"
                for index in range(len(some))
            )
            await connection.exec_driver_sql(_INSERT + values, tuple(value for row in some for value in row))

    async def take_session_lock(self, connection: AsyncConnection) -> bool:
        return bool(await connection.scalar(text(f"SELECT pg_try_advisory_lock({_LOCK_KEY})")))

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

        # The last one is what a COPY raises on a connection that died while it was used.
        return (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

    def is_conflict(self, error: BaseException) -> bool:
        # COPY goes past SQLAlchemy, so the error may be the driver's own.
        return getattr(getattr(error, "orig", error), "sqlstate", "") in _CONFLICTS
