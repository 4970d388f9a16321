"""Connections to one database: made when needed, bounded in number, thrown away when in doubt.

One connection writes, others read beside it; with one connection in all they take turns. While the database is
away every call fails at once, and attempts to reach it are spaced out. Driver errors become `SqlError` here and
nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from nats_streaming.errors import StoreError
from nats_streaming.stores.sql.dialects.base import Dialect

_log = logging.getLogger("nats_streaming")

CONNECTIONS: Final = 5
"""Where the operator sets no number: one writes, the others read."""

RETRY_S: Final = 0.1
RETRY_MAX_S: Final = 2.0
_CLOSE_S = 5.0

R = TypeVar("R")


class SqlError(StoreError):
    """The database refused or could not be reached.

    Attributes:
        may_pass: the same transaction may succeed if it is tried again at once: a connection was lost or there was
            a conflict.
    """

    def __init__(self, text: str, *, may_pass: bool = False) -> None:
        super().__init__(text)
        self.may_pass = may_pass


class Database:
    """
    Attributes:
        dialect: what is particular about it.
        failure: why it cannot be reached, "" while it can.
        on_writer: called with each new writing connection, before anything is written.
    """

    def __init__(self, dialect: Dialect, connections: int) -> None:
        """
        Args:
            connections: at a time; 0 or less for our choice.
        """
        self.dialect = dialect
        self.on_writer: Callable[[AsyncConnection], Awaitable[None]] | None = None
        self._connections = connections if connections > 0 else CONNECTIONS
        self._engine: AsyncEngine | None = None
        self._writer: AsyncConnection | None = None
        self._writing = asyncio.Lock()
        self._retry_s = 0.0
        self._retry_at = 0.0
        self.failure = ""
        self._errors = _driver_errors(dialect)

    # Writing.

    @asynccontextmanager
    async def transaction(
        self, *, is_one_statement: Callable[[], bool] | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction on the writing connection; one at a time, others wait.

        Args:
            is_one_statement: asked when the database has been reached: whether a single statement is all that will
                be carried out, which is a transaction by itself.

        Raises:
            SqlError: it was rolled back, or its outcome is unknown.
        """
        async with self._writing:
            connection = await self._open_writer()
            begun = False
            try:
                if is_one_statement is None or not is_one_statement():
                    begun = True
                    await self.dialect.run(connection, self.dialect.begin)
                yield connection
                if begun:
                    await self.dialect.run(connection, "COMMIT")
            except BaseException as error:
                if begun or not self._is_refusal(error):
                    await self._after_failure(connection, error)
                if isinstance(error, self._errors):
                    raise self._sql_error(error) from error
                raise

    async def _open_writer(self) -> AsyncConnection:
        if self._writer is not None:
            return self._writer
        self._wait_for_retry()
        connection: AsyncConnection | None = None
        try:
            connection = await self._connect()
            if self.on_writer is not None:
                await self.on_writer(connection)
        except self._errors as error:
            if connection is not None:
                await self._drop(connection)
            raise self._unreachable(error) from error
        except BaseException:
            if connection is not None:
                await self._drop(connection)
            raise
        self._reached()
        self._writer = connection
        return connection

    async def _after_failure(self, connection: AsyncConnection, error: BaseException) -> None:
        """Keep the connection only if it says that it has rolled back."""
        if isinstance(error, StoreError) or self._is_refusal(error):
            try:
                await self.dialect.run(connection, "ROLLBACK")
            except self._errors as rollback_error:
                _log.debug("sql: rolling back: %s", describe(rollback_error))
            else:
                return
        self._writer = None
        await self._drop(connection)

    def _is_refusal(self, error: BaseException) -> bool:
        """Whether the database has answered and its session goes on."""
        if isinstance(error, DBAPIError):
            return not error.connection_invalidated
        return self.dialect.is_refusal(error)

    # Reading.

    async def query(self, read: Callable[[AsyncConnection], Awaitable[R]]) -> R:
        """Read something; once more on a fresh connection if the first one turns out to be dead.

        Raises:
            SqlError: it cannot be read.
        """
        try:
            return await self._query_once(read)
        except SqlError as error:
            if not error.may_pass:
                raise
            return await self._query_once(read)

    async def _query_once(self, read: Callable[[AsyncConnection], Awaitable[R]]) -> R:
        if self._connections == 1:
            async with self._writing:
                writer = await self._open_writer()
                try:
                    return await read(writer)
                except BaseException as error:
                    self._writer = None
                    await self._drop(writer)
                    if isinstance(error, self._errors):
                        raise self._sql_error(error) from error
                    raise
        self._wait_for_retry()
        try:
            connection = await self._connect()
        except self._errors as error:
            raise self._unreachable(error) from error
        self._reached()
        try:
            found = await read(connection)
        except BaseException as error:
            await self._drop(connection)
            if isinstance(error, self._errors):
                raise self._sql_error(error) from error
            raise
        await connection.close()
        return found

    # Connections.

    async def _connect(self) -> AsyncConnection:
        if self._engine is None:
            self.dialect.check_driver()
            source = self.dialect.source
            self._engine = create_async_engine(
                self.dialect.url,
                async_creator=self.dialect.connect,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=self._connections,
                max_overflow=0,
                pool_timeout=source.connect_timeout_s + source.statement_timeout_s,
                # Transactions are begun and ended by name: a driver that begins one by itself differs in when.
                isolation_level="AUTOCOMMIT",
                skip_autocommit_rollback=True,
                pool_reset_on_return=None,
                # Parameters are people's messages, and errors go into log lines.
                hide_parameters=True,
            )
        async with asyncio.timeout(self.dialect.source.connect_timeout_s + self.dialect.source.statement_timeout_s):
            return await self._engine.connect()

    async def _drop(self, connection: AsyncConnection) -> None:
        """Close hard; nobody knows what state it is in."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await connection.invalidate()
                await connection.close()
        except self._errors as error:
            _log.debug("sql: closing a connection: %s", describe(error))

    def _wait_for_retry(self) -> None:
        if self.failure and asyncio.get_running_loop().time() < self._retry_at:
            raise SqlError(self.failure)

    def _unreachable(self, error: BaseException) -> SqlError:
        self._retry_s = min(max(self._retry_s * 2, RETRY_S), RETRY_MAX_S)
        self._retry_at = asyncio.get_running_loop().time() + self._retry_s
        self.failure = f"sql: {self.dialect.source.place()} cannot be reached: {describe(error)}"
        return SqlError(self.failure)

    def _reached(self) -> None:
        self.failure = ""
        self._retry_s = 0.0

    def _sql_error(self, error: BaseException) -> SqlError:
        lost = not (isinstance(error, SQLAlchemyError) or self.dialect.is_refusal(error))
        lost = lost or getattr(error, "connection_invalidated", False)
        if isinstance(error, TimeoutError):
            text = f"no answer within {self.dialect.source.statement_timeout_s:g} s"
            return SqlError(f"sql: {self.dialect.source.place()}: {text}")
        return SqlError(
            f"sql: {self.dialect.source.place()}: {describe(error)}",
            may_pass=lost or self.dialect.is_conflict(error),
        )

    async def close(self) -> None:
        """Close every connection; what runs on one ends in an error. Idempotent."""
        writer, self._writer = self._writer, None
        engine, self._engine = self._engine, None
        if engine is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                if writer is not None:
                    await writer.close()
                await engine.dispose()
        except self._errors as error:
            _log.debug("sql: closing: %s", describe(error))


def _driver_errors(dialect: Dialect) -> tuple[type[BaseException], ...]:
    """What a driver may raise past SQLAlchemy: while it connects, and where we call it directly."""
    return (SQLAlchemyError, OSError, TimeoutError, EOFError, *dialect.driver_errors())


def describe(error: BaseException) -> str:
    """What the database or the driver says, without statement and parameters."""
    original = getattr(error, "orig", None) or error
    original = original.__cause__ if isinstance(original, Exception) and original.__cause__ else original
    arguments: Any = getattr(original, "args", ())
    if len(arguments) == 2 and isinstance(arguments[0], int) and not isinstance(original, OSError):
        return f"Error {arguments[0]}: {arguments[1]}"
    return " ".join(str(original).split()) or type(original).__name__
