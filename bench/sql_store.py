"""The SQL store beside the Go server's on the same PostgreSQL or MariaDB, alternating in one run; SQLite alone.

    python bench/sql_store.py [--rounds 3] [--messages 20000] [--drivers postgres,mysql,sqlite]

The database servers run with their own defaults, syncs included, in a temporary directory. Starts are those over a
database with `--stored` messages in one and in a hundred channels, the server before having been killed: the time from
the start of the process until a client's first connect is answered, and of that the time that the server's log gives
to recovery. "uncounted" are starts that find no totals of ours, as the first one behind a Go server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.loadgen import Client
from bench.suite import page
from bench.suite.arguments import count
from bench.suite.figures import Figures, ratios, spread
from bench.suite.runner import Plan, measure_part
from bench.suite.servers import Server, Side, serving
from bench.suite.toolchain import GO_SERVER, go_binary
from bench.suite.workloads import SIZE, WORKLOADS
from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.stores.batch import ServerPut
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.store_suite import make_run
from tests.support.databases import SERVERS, DatabaseServer
from tests.support.servers import executable

SHARES = {"publish-1": 1.0, "channels-100": 0.4, "1-to-1": 0.6, "sync-1": 0.02}
"""Workloads of the benchmark, and their parts of --messages."""

STORED_CHANNELS = (1, 100)
"""Among how many channels `--stored` messages are divided for the starts."""

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

    def forget_totals(self, source: str) -> None:
        """Empty our table beside the Go server's."""
        if self.server is not None:
            self.server.execute("DELETE FROM MessageTotals", source.rsplit("/", 1)[1].split("?")[0])
            return
        with contextlib.closing(sqlite3.connect(source)) as connection, connection:
            connection.execute("DELETE FROM MessageTotals")

    def close(self) -> None:
        if self.server is not None:
            self.server.close()


async def fill(driver: str, source: str, count: int, channels: int) -> None:
    """Store so many messages, by the store itself."""
    store = SqlStore({"driver": driver, "source": source})
    await store.recover()
    subjects = (f"_STAN.{name}.test-cluster".encode() for name in NAMES)
    store.stage([ServerPut(ServerInfo(b"test-cluster", *subjects))])
    portion = min(5000, count // channels)
    for first in range(1, count // channels + 1, portion):
        for number in range(channels):
            store.stage([make_run(b"bench.%d" % number, first, [b"x" * SIZE] * portion)])
            await store.commit()
    await store.close()


def measure_start(side: Side, arguments: list[str], directory: Path) -> Figures:
    begun = time.perf_counter()
    with serving(Server(side, arguments, directory)) as server:
        # A new one each time: the server remembers those of earlier rounds.
        Client(server.port, b"first-%d" % time.monotonic_ns()).link.close()
        connected = time.perf_counter() - begun
        log = server.log()
        recovery = logged_at(log, "Recovered ") - logged_at(log, RECOVERING)
        return {"first connect, ms": connected * 1000, "recovery by the log, ms": recovery * 1000}


def logged_at(log: str, words: str) -> float:
    """When a line was logged, in seconds of the day."""
    # The Go server may say that it recovers twice; the first time is before it has connected to the database.
    found = re.findall(r" (\d+):(\d+):(\d+\.\d+) \[INF\] STREAM: " + words, log)
    assert found, f"no line {words!r}"
    hours, minutes, seconds = found[-1]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--messages", type=count, default=20_000)
    parser.add_argument("--stored", type=count, default=1_000_000)
    parser.add_argument("--drivers", default="postgres,mysql,sqlite")
    parser.add_argument("--only", default="", help="a part of a workload's name, or of `recovery`")
    options = parser.parse_args()
    if options.stored < max(STORED_CHANNELS):
        parser.error(f"--stored must be at least {max(STORED_CHANNELS)}: each channel holds some")
    ours, theirs = Side("ours", executable()), Side("Go", go_binary(GO_SERVER))
    for driver in options.drivers.split(","):
        directory = tempfile.mkdtemp(prefix="bench-sql-")
        # A database server runs as a user of its own.
        os.chmod(directory, 0o711)
        place = Place(driver, directory)
        try:
            # The Go server has no SQLite.
            sides = [ours] if driver == "sqlite" else [ours, theirs]
            print(f"\n{driver}, {SIZE}-byte messages, {options.rounds} rounds; load average {os.getloadavg()[0]:.1f}\n")
            compare_work(place, sides, options)
            if options.only in "recovery":
                compare_starts(place, sides, options)
        finally:
            place.close()
            shutil.rmtree(directory, ignore_errors=True)


def compare_work(place: Place, sides: list[Side], options: argparse.Namespace) -> None:
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


def compare_starts(place: Place, sides: list[Side], options: argparse.Namespace) -> None:
    directory = Path(place.directory)
    rows: list[list[str]] = []
    for channels in STORED_CHANNELS:
        source = place.new()
        asyncio.run(fill(place.driver, source, options.stored, channels))
        arguments = place.arguments(source)
        # The first read after a load is slower, whoever makes it.
        measure_start(sides[0], arguments, directory)
        for kind in ("", ", uncounted"):
            rounds: list[list[Figures]] = []
            for number in range(options.rounds):
                found: dict[str, Figures] = {}
                # Who goes first alternates: the machine's speed drifts.
                for side in sides if number % 2 == 0 else sides[::-1]:
                    if kind:
                        place.forget_totals(source)
                    found[side.name] = measure_start(side, arguments, directory)
                rounds.append([found[side.name] for side in sides])
            title = f"{options.stored:,} messages in {channels} channel{'s' if channels > 1 else ''}{kind}"
            rows += [start_row(f"{title}: {figure}", figure, rounds) for figure in rounds[0][0]]
    print(f"\n{page.table(['start', *(side.name for side in sides), 'ratio'], rows, left=1)}", flush=True)


def start_row(title: str, figure: str, rounds: list[list[Figures]]) -> list[str]:
    columns = [[row[index][figure] for row in rounds] for index in range(len(rounds[0]))]
    ratio = ratios(columns[0], columns[1]) if len(columns) == 2 else None
    return [title, *(spread(column).text(0) for column in columns), f"{ratio.median:.2f}" if ratio else ""]


if __name__ == "__main__":
    main()
