"""What the store asks of a database beyond the common statements.

One instance per store. Methods that take a connection run inside its transaction, if there is one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.errors import ConfigError
from nats_streaming.stores.sql.schema import Tables
from nats_streaming.stores.sql.source import Source

MessageRow = tuple[int, int, int, int, bytes]
"""A row of Messages: channel id, sequence, timestamp, size, MsgProto."""


class Dialect(ABC):
    """
    Attributes:
        url: names SQLAlchemy's dialect and driver, and nothing else.
        driver_module, driver_distribution: what is imported, and how pip calls it.
        creates_tables: whether a new database gets its tables without being asked for.
        begin: the statement that begins a transaction in which something is written.
        lock_row_table: statements before the row of StoreLock is looked for: it has no key, and two servers that
            find none must not insert two.
    """

    url: ClassVar[str]
    driver_module: ClassVar[str]
    driver_distribution: ClassVar[str]
    creates_tables: ClassVar[bool] = False
    begin: ClassVar[str] = "BEGIN"
    lock_row_table: ClassVar[tuple[str, ...]] = ()

    def __init__(self, source: Source, insert_rows: int = 0) -> None:
        """
        Args:
            insert_rows: messages of one INSERT statement at most, 0 for our choice.
        """
        self.source = source
        self.insert_rows = insert_rows
        self.tables = self.make_tables()

    @abstractmethod
    def make_tables(self) -> Tables: ...

    @abstractmethod
    async def connect(self) -> Any:
        """A connection of the driver. May raise whatever the driver raises."""

    @abstractmethod
    async def run(self, connection: AsyncConnection, statement: str) -> None:
        """Carry out a statement without parameters and rows."""

    @abstractmethod
    async def insert_messages(self, connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
        """Add rows whose keys are free; there is at least one."""

    @abstractmethod
    def is_one_statement(self, rows: Sequence[MessageRow]) -> bool:
        """Whether `insert_messages` adds all of these or none of them, outside of a transaction, too."""

    @abstractmethod
    async def take_session_lock(self, connection: AsyncConnection) -> bool:
        """Lock the whole store for as long as this connection lives; False while another session has it."""

    async def end_when_idle(self, connection: AsyncConnection, seconds: int) -> None:
        """Have the database end this session, and roll back, when it waits for a statement for so long."""
        del connection, seconds

    def release_session_lock(self) -> None:  # noqa: B027 - most need nothing
        """What the end of the connection does not release; may be called without a lock."""

    async def inspect(self, connection: AsyncConnection) -> int:
        """Look at tables that exist; returns the longest message in bytes that fits, 0 if nothing bounds it."""
        del connection
        return 0

    async def migrate(self, connection: AsyncConnection) -> list[str]:
        """Bring tables that a Go server's scripts have created up to ours; returns what was changed, for people."""
        del connection
        return []

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        """The driver's own base exceptions; none while it is not installed."""
        return ()

    def is_refusal(self, error: BaseException) -> bool:
        """Whether the database has answered, by one of the driver's own exceptions, and the session goes on."""
        del error
        return False

    def is_conflict(self, error: BaseException) -> bool:
        """Whether the transaction may succeed if it is tried again: a deadlock, a lock, a row of a dying session."""
        del error
        return False

    def check_driver(self) -> None:
        """
        Raises:
            ConfigError: the driver is not installed; the text says how to.
        """
        import importlib

        try:
            importlib.import_module(self.driver_module)
        except ImportError as error:
            raise ConfigError(
                f"the SQL store needs {self.driver_distribution} for {self.source.driver}: pip install"
                f" 'nats-streaming-server[sql]' ({error})",
                option="sql_driver",
            ) from error


def driver_of(connection: AsyncConnection) -> Any:
    """The driver's own connection: what is done for each commit goes past SQLAlchemy, which costs more than it."""
    assert connection.sync_connection is not None
    return connection.sync_connection.connection.driver_connection


def make_dialect(source: Source, insert_rows: int) -> Dialect:
    """The dialect of a source; only its module is loaded."""
    if source.driver == "postgres":
        from nats_streaming.stores.sql.dialects.postgres import PostgresDialect

        return PostgresDialect(source, insert_rows)
    if source.driver == "mysql":
        from nats_streaming.stores.sql.dialects.mysql import MySqlDialect

        return MySqlDialect(source, insert_rows)
    from nats_streaming.stores.sql.dialects.sqlite import SqliteDialect

    return SqliteDialect(source, insert_rows)
