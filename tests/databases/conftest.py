"""Which databases: SQLite everywhere, the others as real servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.database_fixtures import database_servers
from tests.support.databases import DatabaseServer, memory_directory
from tests.support.store_entries import DATABASES

from .one_database import OneDatabase

__all__ = ["database_servers", "tmp_path"]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory where a sync costs nothing: the suites make thousands of commits."""
    directory = Path(tempfile.mkdtemp(dir=memory_directory()))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=DATABASES)
def database(
    request: pytest.FixtureRequest, database_servers: Callable[[str], DatabaseServer], tmp_path: Path
) -> Iterator[OneDatabase]:
    """Each of the three in turn."""
    made = OneDatabase(request.param, database_servers, tmp_path)
    yield made
    made.drop()
