"""The store suite on every database, in both notations of pending rows, and with one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.stores.api import Store
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.store_suite import StoreSuite
from tests.support.databases import DatabaseServer


class SqlSuite(StoreSuite):
    """Each directory of a test is a database."""

    driver = ""
    extra: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @pytest.fixture(autouse=True)
    def _databases(self, database_servers: Callable[[str], DatabaseServer]) -> Iterator[None]:
        self.server = database_servers(self.driver)
        self.databases: dict[Path, str] = {}
        yield
        for name in self.databases.values():
            self.server.drop(name)

    def options(self, directory: Path) -> dict[str, Any]:
        name = self.databases.get(directory)
        if name is None:
            name = self.databases[directory] = self.server.create()
        return {"driver": self.driver, "source": self.server.source(name), **self.extra}

    def open_store(self, directory: Path) -> Store:
        options = self.options(directory)
        return InitializedStore(options)


class InitializedStore(SqlStore):
    """Creates its tables when it is first used, as an operator did before."""

    async def _prepare(self) -> None:
        await create_tables({"driver": self._options.driver, "source": self._options.source})
        await super()._prepare()


class TestPostgres(SqlSuite):
    driver = "postgres"


class TestPostgresOneConnection(SqlSuite):
    driver = "postgres"
    extra = {"max_open_conns": 1, "no_caching": True}  # noqa: RUF012


class TestMySql(SqlSuite):
    driver = "mysql"


class TestMySqlOneConnection(SqlSuite):
    driver = "mysql"
    extra = {"max_open_conns": 1, "no_caching": True}  # noqa: RUF012


class TestSqlite(StoreSuite):
    driver = "sqlite"

    def open_store(self, directory: Path) -> Store:
        return SqlStore({"driver": "sqlite", "source": str(directory / "store.db")})


class TestSqliteOneConnection(StoreSuite):
    driver = "sqlite"

    def open_store(self, directory: Path) -> Store:
        return SqlStore(
            {
                "driver": "sqlite",
                "source": str(directory / "store.db"),
                "max_open_conns": 1,
                "no_caching": True,
                "fault_tolerant": True,
            }
        )
