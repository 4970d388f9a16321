"""Fixtures over `databases`: one server of a kind per session, one database per test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.databases import SERVERS, DatabaseServer
from tests.support.servers import executable


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
    """Arguments of a server on a new database, whose tables `-sql_init` has created.

    Args:
        directory: where an SQLite database goes.
    """
    source = str(directory / "store.db")
    if driver != "sqlite":
        server = servers(driver)
        source = server.source(server.create())
    return initialized(driver, source)


def initialized(driver: str, source: str) -> list[str]:
    """Arguments of a server on this database; `-sql_init` creates its tables."""
    arguments = ["-store", "SQL", "-sql_driver", driver, "-sql_source", source]
    subprocess.run([executable(), *arguments, "-sql_init"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    return arguments
