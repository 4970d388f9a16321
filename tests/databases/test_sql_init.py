"""`-sql_init`, as an operator types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.database_fixtures import server_arguments
from tests.support.databases import DatabaseServer
from tests.support.servers import run_to_end, running_server


@pytest.mark.parametrize("driver", ["sqlite", "postgres", "mysql"])
def test_it_creates_what_a_server_needs_once(
    driver: str, database_servers: Callable[[str], DatabaseServer], tmp_path: Path
) -> None:
    source = str(tmp_path / "store.db")
    if driver != "sqlite":
        server = database_servers(driver)
        source = server.source(server.create())
    arguments = server_arguments(driver, source)
    ended = run_to_end(*arguments, "-sql_init")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert len(lines) == 8
    assert all(line.startswith("table ") and line.endswith(" created") for line in lines)
    again = run_to_end(*arguments, "-sql_init")
    assert again.status == 0
    assert "created" not in again.out
    with running_server(*arguments) as process:
        assert "STREAM: Message store is SQL" in process.log()
