"""What a plain start does not load: each of these is a megabyte or so of every server, or makes every start slower."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import ServerProcess

Start = Callable[..., ServerProcess]

NOT_LOADED = frozenset((
    "_hashlib", "_ssl", "aiohttp", "argparse", "asyncpg", "cryptography", "decimal", "difflib", "email", "hashlib",
    "http", "importlib.metadata", "ipaddress", "multiprocessing", "nats", "nkeys", "pathlib", "platform",
    "prometheus_client", "random", "rich", "shutil", "sqlalchemy", "tempfile", "tomllib", "typer", "unittest",
    "urllib.parse", "yarl",
))  # fmt: skip

IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="there OpenSSL stays")
def test_a_start_on_a_file_store(start: Start, tmp_path: Path) -> None:
    for _ in range(2):  # a new directory, and one to recover
        server = start("-st", "FILE", "-dir", str(tmp_path), environment={"PYTHONPROFILEIMPORTTIME": "1"})
        loaded = set(IMPORTED.findall(server.log()))
        assert {"asyncio", "nats_streaming.stores.file.store", "nats_streaming.streaming.engine"} <= loaded
        assert sorted(loaded & NOT_LOADED) == []
        server.stop()


def test_encryption_of_connections_is_there_for_who_may_want_it(start: Start) -> None:
    server = start("-m", "-1", environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert {"ssl", "_ssl"} <= set(IMPORTED.findall(server.log()))
