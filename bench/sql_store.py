"""The SQL store beside the Go server's on the same PostgreSQL or MariaDB, alternating in one run; SQLite alone.

    python bench/sql_store.py [--rounds 3] [--messages 20000] [--drivers postgres,mysql,sqlite]

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
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.suite import page
from bench.suite.figures import Figures, spread
from bench.suite.runner import Plan, measure_part
from bench.suite.servers import Server, Side, serving
from bench.suite.toolchain import GO_SERVER, go_binary
from bench.suite.workloads import SIZE, WORKLOADS
from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.stores.batch import ChannelCreated, ServerPut
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.store_suite import make_run
from tests.support.databases import SERVERS, DatabaseServer
from tests.support.servers import executable

SHARES = {"publish-1": 1.0, "channels-100": 0.4, "1-to-1": 0.6, "sync-1": 0.02}
"""Workloads of the benchmark, and their parts of --messages."""

RECOVERING = "Recovering the state"
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
        return ["-st", "SQL", "-sql_driver", self.driver, "-sql_source", source]

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


def recovery_seconds(side: Side, arguments: list[str], directory: Path) -> Figures:
    """Seconds from the process's start until it serves, and of them those between its log lines about recovery."""
    with serving(Server(side, arguments, directory)) as server:
        log = server.log()
        return {
            "start s": server.start_seconds,
            "recovery s": logged_at(log, "Recovered ") - logged_at(log, RECOVERING),
        }


def logged_at(log: str, words: str) -> float:
    """When a line was logged, in seconds of the day."""
    found = re.search(r" (\d+):(\d+):(\d+\.\d+) \[INF\] STREAM: " + words, log)
    assert found, f"no line {words!r}"
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--drivers", default="postgres,mysql,sqlite")
    parser.add_argument("--only", default="", help="a part of a workload's name, or of `recovery`")
    options = parser.parse_args()
    ours, theirs = Side("ours", executable()), Side("Go", go_binary(GO_SERVER))
    for driver in options.drivers.split(","):
        directory = tempfile.mkdtemp(prefix="bench-sql-")
        # A database server runs as a user of its own.
        os.chmod(directory, 0o711)
        place = Place(driver, directory)
        try:
            # The Go server has no SQLite.
            compare(place, [ours] if driver == "sqlite" else [ours, theirs], options)
        finally:
            place.close()
            shutil.rmtree(directory, ignore_errors=True)


def compare(place: Place, sides: list[Side], options: argparse.Namespace) -> None:
    print(f"\n{place.driver}, {SIZE}-byte messages, {options.rounds} rounds\n")
    directory = Path(place.directory)
    plan = Plan(sides, directory, options.rounds, 1.0)
    parts = []
    for workload in WORKLOADS:
        if workload.name in SHARES and options.only in workload.name:
            counts = {place.driver: int(options.messages * SHARES[workload.name])}
            parts.append(
                measure_part(
                    plan, replace(workload, counts=counts), place.driver, sides,
                    lambda side: serving(Server(side, place.arguments(place.new()), directory)),
                )
            )  # fmt: skip
    print(f"\n{page.side_by_side(parts)}")
    if options.only in "recovery":
        source = place.new()
        asyncio.run(fill(place.driver, source, options.stored, SIZE))
        arguments = place.arguments(source)
        # The first read after a load is slower, whoever makes it.
        recovery_seconds(sides[0], arguments, directory)
        rounds = [[recovery_seconds(side, arguments, directory) for side in sides] for _ in range(options.rounds)]
        rows = [
            [figure, *(spread([row[index][figure] for row in rounds]).text(2) for index in range(len(sides)))]
            for figure in rounds[0][0]
        ]
        print(page.table([f"{options.stored:,} messages stored", *(side.name for side in sides)], rows, left=1))


if __name__ == "__main__":
    main()
