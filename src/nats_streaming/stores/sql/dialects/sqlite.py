"""SQLite, by aiosqlite: a file of ours alone, with a thread per connection. The Go server has no such store."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.root_lock import RootLock
from nats_streaming.stores.sql.dialects.base import Dialect, MessageRow, driver_of
from nats_streaming.stores.sql.schema import Tables
from nats_streaming.stores.sql.source import Source

# FULL: in WAL mode NORMAL loses acknowledged commits at a power cut.
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 67108864")


class SqliteDialect(Dialect):
    """See `base.Dialect`. The lock is one on a file beside the database's, so it ends with the process."""

    url = "sqlite+aiosqlite://"
    driver_module = "aiosqlite"
    driver_distribution = "aiosqlite"
    creates_tables = True
    begin = "BEGIN IMMEDIATE"

    def __init__(self, source: Source, insert_rows: int = 0) -> None:
        super().__init__(source, insert_rows)
        directory, name = os.path.split(os.path.abspath(source.database))
        self._lock = RootLock(Files(), directory, f"{name}.lock")

    def make_tables(self) -> Tables:
        return Tables(lower_case=False, time_index=False)

    async def connect(self) -> Any:
        import aiosqlite

        connection = await aiosqlite.connect(
            self.source.database, timeout=self.source.statement_timeout_s, isolation_level=None
        )
        for pragma in _PRAGMAS:
            await connection.execute(f"PRAGMA {pragma}")
        return connection

    async def run(self, connection: AsyncConnection, statement: str) -> None:
        await driver_of(connection).execute(statement)

    async def insert_messages(self, connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
        await driver_of(connection).executemany(
            "INSERT INTO Messages (id, seq, timestamp, size, data) VALUES (?, ?, ?, ?, ?)", rows
        )

    def is_one_statement(self, rows: Sequence[MessageRow]) -> bool:
        return len(rows) == 1

    async def take_session_lock(self, connection: AsyncConnection) -> bool:
        del connection
        return await asyncio.to_thread(self._lock.acquire)

    def release_session_lock(self) -> None:
        self._lock.release()

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        return (sqlite3.Error,)

    def is_refusal(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.Error)

    def is_conflict(self, error: BaseException) -> bool:
        return "database is locked" in str(getattr(error, "orig", error))
