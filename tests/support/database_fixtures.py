"""Fixtures over `databases`: one server of a kind per session, one database per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

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
