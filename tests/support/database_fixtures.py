"""Fixtures over `databases`: one server of a kind per session, one database per test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nats_streaming.stores.sql.create import create_tables
from tests.support.databases import SERVERS, DatabaseServer


@pytest.fixture(scope="session")
def database_servers() -> Iterator[Callable[[str], DatabaseServer]]:
    """Database servers by driver, started when first asked for."""
    running: dict[str, DatabaseServer] = {}

    def server(driver: str) -> DatabaseServer:
        if driver not in running:
            made = SERVERS[driver]()
            running[driver] = made
            made.start()
        return running[driver]

    yield server
    for database in running.values():
        database.close()


def sql_arguments(driver: str, servers: Callable[[str], DatabaseServer], directory: Path) -> list[str]:
    """Arguments of a server on a new database with its tables.

    Args:
        directory: where an SQLite database goes.
    """
    source = str(directory / "store.db")
    if driver != "sqlite":
        server = servers(driver)
        source = server.source(server.create())
    return initialized(driver, source)


def initialized(driver: str, source: str) -> list[str]:
    """Arguments of a server on this database, in which the tables are created as by `-sql_init`."""
    # In this process, which has what it takes, and beside its event loop, if it runs one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, create_tables({"driver": driver, "source": source})).result()
    return server_arguments(driver, source)


def server_arguments(driver: str, source: str) -> list[str]:
    """What names a database on a server's command line."""
    return ["-store", "SQL", "-sql_driver", driver, "-sql_source", source]
