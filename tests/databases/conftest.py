"""Which databases: SQLite everywhere, the others as real servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database_fixtures import database_servers
from tests.support.databases import memory_directory

__all__ = ["database_servers", "tmp_path"]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory where a sync costs nothing: the suites make thousands of commits."""
    directory = Path(tempfile.mkdtemp(dir=memory_directory()))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
