"""The SQL store beside the Go server's on the same PostgreSQL or MariaDB, alternating in one run; SQLite alone.

    python bench/sql_store.py [--rounds 3] [--messages 20000] [--drivers postgres,mysql,sqlite] [--go-server PATH]

The database servers run with their own defaults, syncs included, in a temporary directory. Over a database
with `--stored` messages in one channel: the time from the start of the process until clients are served, and of that
the time that the server's log gives to recovery.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.file_store import WORKLOADS, Figures, measure_on, table_head, table_rows
from bench.suite.toolchain import GO_SERVER, go_binary
from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.stores.batch import ChannelCreated, ServerPut
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.store_suite import make_run
from tests.support.databases import SERVERS, DatabaseServer
from tests.support.servers import ServerProcess, executable

UNLIMITED = ("-mm", "0", "-mb", "0")
NAMES = ("discover", "pub", "sub", "unsub", "close", "subclose", "ack")


class Place:
    """Databases of one driver."""

    def __init__(self, driver: str, directory: str) -> None:
        self.driver = driver
        self.directory = directory
        self.server: DatabaseServer | None = None
        self.count = 0
        if driver != "sqlite":
            self.server = SERVERS[driver](directory)
            self.server.start()

    def new(self) -> str:
        """The source of a new database with its tables."""
        self.count += 1
        if self.server is None:
            source = os.path.join(self.directory, f"{self.count}.db")
        else:
            source = self.server.source(self.server.create())
        asyncio.run(create_tables({"driver": self.driver, "source": source}))
        return source

    def arguments(self, source: str) -> list[str]:
        return ["-st", "SQL", "-sql_driver", self.driver, "-sql_source", source, *UNLIMITED]

    def close(self) -> None:
        if self.server is not None:
            self.server.close()


async def fill(driver: str, source: str, count: int, size: int) -> None:
    """Store so many messages in one channel, by the store itself."""
    store = SqlStore({"driver": driver, "source": source})
    await store.recover()
    subjects = (f"_STAN.{name}.test-cluster".encode() for name in NAMES)
    store.stage([ServerPut(ServerInfo(b"test-cluster", *subjects)), ChannelCreated(b"bench")])
    for first in range(1, count + 1, 5000):
        store.stage([make_run(b"bench", first, [b"x" * size] * min(5000, count + 1 - first))])
        await store.commit()
    await store.close()


def recovery_seconds(path: str, arguments: list[str]) -> tuple[float, float]:
    """Seconds from the process's start until it serves, and of them those between its log lines about recovery."""
    os.environ["STAN_SERVER_UNDER_TEST"] = path
    server = ServerProcess(*arguments)
    begun = time.monotonic()
    try:
        server.start(300)
        return time.monotonic() - begun, logged_at(server, "Recovered ") - logged_at(server, "Recovering the state")
    finally:
        server.close()


def logged_at(server: ServerProcess, words: str) -> float:
    """When a line was logged, in seconds of the day."""
    found = re.search(r" (\d+):(\d+):(\d+\.\d+) \[INF\] STREAM: " + words, server.log())
    assert found, f"no line {words!r}"
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--drivers", default="postgres,mysql,sqlite")
    parser.add_argument("--go-server")
    parser.add_argument("--only", default="", help="a part of a workload's name, or of `recovery`")
    options = parser.parse_args()
    ours = executable()
    theirs = options.go_server or go_binary(GO_SERVER)
    for driver in options.drivers.split(","):
        directory = tempfile.mkdtemp(prefix="bench-sql-")
        # A database server runs as a user of its own.
        os.chmod(directory, 0o711)
        place = Place(driver, directory)
        try:
            compare(place, ours, theirs if driver != "sqlite" else ours, options)
        finally:
            place.close()
            shutil.rmtree(directory, ignore_errors=True)


def compare(place: Place, ours: str, theirs: str, options: argparse.Namespace) -> None:
    other = "" if theirs != ours else " (the Go server has no such store: the second column is ours again)"
    print(table_head(f"{options.size}-byte messages", options.rounds, place.driver) + other)
    for name, (share, work) in WORKLOADS.items():
        if options.only not in name:
            continue
        count = max(100, int(options.messages * share))
        rounds: list[tuple[Figures, Figures]] = []
        for number in range(options.rounds):
            figures: list[Figures] = []
            for path in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                os.environ["STAN_SERVER_UNDER_TEST"] = path
                server = ServerProcess(*place.arguments(place.new()))
                figures.append(measure_on(server, work, count, options.size))
            rounds.append((figures[0], figures[1]) if number % 2 == 0 else (figures[1], figures[0]))
        print(table_rows(name, rounds), flush=True)
    if options.only in "recovery":
        source = place.new()
        asyncio.run(fill(place.driver, source, options.stored, options.size))
        rounds = []
        # The first read after a load is slower, whoever makes it.
        recovery_seconds(ours, place.arguments(source))
        for _ in range(options.rounds):
            pair = [
                dict(zip(("start s", "recovery s"), recovery_seconds(path, place.arguments(source)), strict=True))
                for path in (ours, theirs)
            ]
            rounds.append((pair[0], pair[1]))
        print(table_rows(f"{options.stored:,} messages stored", rounds), flush=True)


if __name__ == "__main__":
    main()
