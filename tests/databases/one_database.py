"""One database of a test, whichever of the three it is: stores on it, and its rows as anybody else sees them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.source import parse_source
from nats_streaming.stores.sql.store import SqlStore
from tests.support.databases import DatabaseServer

Row = tuple[Any, ...]


class OneDatabase:
    """Made with our tables, removed by `drop`.

    Attributes:
        driver, source: as the server's options have them.
        server: None for SQLite.
    """

    def __init__(self, driver: str, servers: Callable[[str], DatabaseServer], directory: Path) -> None:
        self.driver = driver
        self.server = None if driver == "sqlite" else servers(driver)
        self.name = ""
        self.source = str(directory / "store.db")
        if self.server is not None:
            self.name = self.server.create()
            self.source = self.server.source(self.name)
        asyncio.run(create_tables({"driver": driver, "source": self.source}))

    def store(self, **options: Any) -> SqlStore:
        """A store that has not recovered yet."""
        return SqlStore({"driver": self.driver, "source": self.source, **options})

    async def rows(self, statement: str) -> list[Row]:
        """Run a statement on a connection of its own. Write `{row}` for the column of that name."""
        statement = statement.format(row="`row`" if self.driver == "mysql" else '"row"')
        if self.driver == "sqlite":
            with sqlite3.connect(self.source) as connection:
                found: Any = connection.execute(statement).fetchall()
            connection.close()
        elif self.driver == "postgres":
            found = await self._from_postgres(statement)
        else:
            found = await self._from_mysql(statement)
        return [tuple(map(_plain, row)) for row in found]

    async def _from_postgres(self, statement: str) -> Any:
        import asyncpg

        connection = await asyncpg.connect(self.source)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    async def _from_mysql(self, statement: str) -> Any:
        import asyncmy

        source = parse_source(self.driver, self.source)
        connection: Any = await asyncmy.connect(
            host=source.host,
            port=source.port,
            user=source.user,
            password=source.password,
            database=self.name,
            autocommit=True,
        )
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                return await cursor.fetchall()
        finally:
            await connection.ensure_closed()

    def drop(self) -> None:
        if self.server is not None:
            self.server.drop(self.name)


def _plain(value: Any) -> Any:
    """One type per kind of value, whatever the driver gives."""
    if isinstance(value, bool | Decimal):
        return int(value)
    return bytes(value) if isinstance(value, bytearray | memoryview) else value
