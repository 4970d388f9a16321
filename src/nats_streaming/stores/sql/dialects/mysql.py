"""MySQL and MariaDB, by asyncmy.

Tables that the original's scripts have created bound a message to 64 KiB and compare client IDs without regard to
case; `migrate` mends both.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.sql.dialects.base import Dialect, MessageRow, driver_of
from nats_streaming.stores.sql.dialects.tls import make_context
from nats_streaming.stores.sql.schema import Tables

INSERT_ROWS: Final = 1000

_INSERT = "INSERT INTO Messages (id, seq, timestamp, size, data) VALUES "
_VALUES = "(%s, %s, %s, %s, %s)"
_STATEMENT_BYTES = 256 << 10  # of messages; twice that with escapes is far below every server's max_allowed_packet
_PACKET_REST = 4096  # of a packet, for the statement round the data
_CONFLICTS = frozenset((1205, 1213, 1062))  # lock wait timeout, deadlock, a key of a session not yet dead
_SESSION_ENDS = frozenset((1053, 1077, 1079, 1152, 1184, 1927))  # shutdown, aborted, killed
_CLIENT_ERRORS = range(2000, 3000)  # the driver's own: the connection is lost
_LONGBLOB_BYTES = 2**32 - 1


class MySqlDialect(Dialect):
    """See `base.Dialect`."""

    url = "mysql+asyncmy://"
    driver_module = "asyncmy"
    driver_distribution = "asyncmy"
    begin = "START TRANSACTION"

    def make_tables(self) -> Tables:
        return Tables(lower_case=False, time_index=True, mysql=True)

    async def connect(self) -> Any:
        source = self.source
        context = make_context(source.tls) if source.tls is not None else None
        try:
            connection = await self._connect(context)
        except self.driver_errors() as error:
            if source.tls is None or not _answers_in_clear(error):
                raise
            if not source.tls.optional:
                # Without its cause, which would be told instead.
                raise ConnectionError("the source demands TLS, which the server does not support") from None
            connection = await self._connect(None)
        # Without a strict mode what is too long is cut off, silently.
        await connection.query("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
        for name, value in source.settings.items():
            await connection.query(f"SET SESSION {name} = {value}")
        return connection

    async def _connect(self, context: ssl.SSLContext | None) -> Any:
        import asyncmy

        source = self.source
        address: dict[str, Any] = {"unix_socket": source.socket}
        if not source.socket:
            address = {"host": source.host, "port": source.port}
        return await asyncmy.connect(
            user=source.user,
            password=source.password,
            database=source.database,
            charset="utf8mb4",
            connect_timeout=source.connect_timeout_s,
            read_timeout=source.statement_timeout_s,
            ssl=context,
            binary_prefix=True,
            max_allowed_packet=1 << 30,
            **address,
        )

    async def run(self, connection: AsyncConnection, statement: str) -> None:
        await driver_of(connection).query(statement)

    async def insert_messages(self, connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
        limit = self.insert_rows or INSERT_ROWS
        async with driver_of(connection).cursor() as cursor:
            if self.is_one_statement(rows):
                values = ", ".join([_VALUES] * len(rows))
                await cursor.execute(_INSERT + values, [value for row in rows for value in row])
                return
            for start in range(0, len(rows), limit):
                await cursor.executemany(_INSERT + _VALUES, rows[start : start + limit])

    def is_one_statement(self, rows: Sequence[MessageRow]) -> bool:
        # The driver's executemany makes several statements of what is large.
        limit = self.insert_rows or INSERT_ROWS
        return len(rows) == 1 or (len(rows) <= limit and sum(row[3] for row in rows) <= _STATEMENT_BYTES)

    async def take_session_lock(self, connection: AsyncConnection) -> bool:
        # Its name may have 64 characters; MySQL 9.7 has no MD5 any more.
        name = "CONCAT('nss.', SHA2(DATABASE(), 224))"
        return bool(await connection.scalar(text(f"SELECT GET_LOCK({name}, 0)")) == 1)

    async def end_when_idle(self, connection: AsyncConnection, seconds: int) -> None:
        # Of a transaction alone only MariaDB can ask it.
        await connection.exec_driver_sql(f"SET SESSION wait_timeout = {seconds}")

    async def inspect(self, connection: AsyncConnection) -> int:
        column = await connection.scalar(_column_length("Messages", "data"))
        packet = await connection.scalar(text("SELECT @@max_allowed_packet"))
        # A statement's text may have twice the length of its data, for what must be escaped.
        return min(int(column or _LONGBLOB_BYTES), (int(packet) - _PACKET_REST) // 2)

    async def migrate(self, connection: AsyncConnection) -> list[str]:
        done: list[str] = []
        if int(await connection.scalar(_column_length("Messages", "data")) or 0) < _LONGBLOB_BYTES:
            await connection.execute(text("ALTER TABLE Messages MODIFY data LONGBLOB"))
            done.append("Messages: column data holds messages of any size")
        if await connection.scalar(_column_length("Clients", "proto")) is None:
            await connection.execute(text("ALTER TABLE Clients ADD proto BLOB"))
            done.append("Clients: column proto added")
        collation = await connection.scalar(
            text(
                "SELECT COLLATION_NAME FROM information_schema.COLUMNS"
                " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'Clients' AND COLUMN_NAME = 'id'"
            )
        )
        if not str(collation).endswith("_bin"):
            await connection.execute(
                text("ALTER TABLE Clients MODIFY id VARCHAR(1024) CHARACTER SET ascii COLLATE ascii_bin NOT NULL")
            )
            done.append("Clients: IDs that differ by case are different")
        return done

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        from asyncmy.errors import MySQLError

        return (MySQLError,)

    def is_refusal(self, error: BaseException) -> bool:
        from asyncmy.errors import MySQLError

        code = error.args[0] if isinstance(error, MySQLError) and error.args else None
        return isinstance(code, int) and code >= 1000 and code not in _CLIENT_ERRORS and code not in _SESSION_ENDS

    def is_conflict(self, error: BaseException) -> bool:
        arguments: Any = getattr(getattr(error, "orig", error), "args", ())
        return bool(arguments) and arguments[0] in _CONFLICTS


def _answers_in_clear(error: BaseException) -> bool:
    """Whether a server met our TLS with something else: the driver does not look at what the server offers."""
    cause = error.__cause__
    return isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER"


def _column_length(table: str, column: str) -> Any:
    return text(
        "SELECT CHARACTER_MAXIMUM_LENGTH FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :t AND COLUMN_NAME = :c"
    ).bindparams(t=table, c=column)
