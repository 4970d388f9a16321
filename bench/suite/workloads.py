"""What is measured of both servers: each workload once over MEMORY and once over FILE, with file_sync on.

Figures of a rate are messages published per second until the last one was acked and delivered to everyone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bench.loadgen import Client, Frames
from bench.suite import stan_bench
from bench.suite.figures import RATE, START, Figures, latency_figures
from bench.suite.load import Party, Publisher, Reader, Subscriber, drive
from bench.suite.servers import FILE, MEMORY, Server, Side

OWN, STAN_BENCH = "own", "stan-bench"
SIZE = 128
WINDOW = 1000  # publishes without an ack, of each publisher
IN_FLIGHT = 1024  # the default of the Go client
CHANNEL = b"bench"
BLOCK = 2000  # frames made before
SOCKET_SECONDS_MAX = 60.0
WARM_UP = 2000  # publishes that do not count, to a channel of their own


@dataclass(frozen=True)
class Setting:
    """What a workload is told of the run.

    Attributes:
        serve: starts a server of this side on an empty store.
        count: messages.
        deadline: of `time.monotonic()`.
        generator: path of stan-bench.
    """

    side: Side
    serve: Callable[[], AbstractContextManager[Server]]
    count: int
    deadline: float
    generator: str = ""


Measure = Callable[[Setting], Figures]


@dataclass(frozen=True)
class Workload:
    """Something to measure.

    Attributes:
        name: what `--only` selects it by.
        counts: messages by store; of those without a count it is not measured.
        limit_s: of one round on one server.
    """

    name: str
    title: str
    measure: Measure
    counts: dict[str, int]
    load: str = OWN
    limit_s: float = 60.0
    is_headline: bool = field(default=False, kw_only=True)


def connect(server: Server, client_id: bytes) -> Client:
    return Client(server.port, client_id, timeout_s=SOCKET_SECONDS_MAX)


def frames(client: Client, size: int, channels: Sequence[bytes] = (CHANNEL,), count: int = BLOCK) -> Frames:
    """A block of publishes round robin over the channels, so long that it can be sent over and over."""
    rows = max(1, min(count, BLOCK) // len(channels))
    return Frames(
        client.publish_frames(channel, 1, size, row * len(channels) + index)
        for row in range(rows)
        for index, channel in enumerate(channels)
    )


def warm_up(server: Server, deadline: float) -> None:
    client = connect(server, b"warm-up")
    drive([Publisher(client, frames(client, SIZE, (b"warm-up",)), WARM_UP, WINDOW)], deadline)
    client.link.close()


def share(count: int, parts: int) -> int:
    return max(1, count // parts)


def timed(server: Server, parties: Sequence[Party], count: int, deadline: float) -> Figures:
    server.begin()
    seconds = drive(parties, deadline)
    return {RATE: count / seconds, **server.used(count)}


def publishing(publishers: int, size: int = SIZE, window: int = WINDOW, channels: int = 1) -> Measure:
    """So many publishers, each with a window of its own, round robin over the channels."""

    def measure(setting: Setting) -> Figures:
        with setting.serve() as server:
            warm_up(server, setting.deadline)
            each = share(setting.count, publishers)
            names = [CHANNEL] if channels == 1 else [b"bench.%d" % number for number in range(channels)]
            parties: list[Party] = []
            block = max(64, min(BLOCK, BLOCK * SIZE * 8 // size))
            for number in range(publishers):
                client = connect(server, b"pub-%d" % number)
                if channels > 1:  # a channel is made once and published to often
                    drive([Publisher(client, frames(client, size, names), channels, WINDOW)], setting.deadline)
                parties.append(Publisher(client, frames(client, size, names, block), each, window))
            return timed(server, parties, each * publishers, setting.deadline)

    return measure


def latency(publishers: int) -> Measure:
    """Publishers that wait for each ack."""

    def measure(setting: Setting) -> Figures:
        with setting.serve() as server:
            warm_up(server, setting.deadline)
            each = share(setting.count, publishers)
            clients = [connect(server, b"pub-%d" % number) for number in range(publishers)]
            parties = [Publisher(client, frames(client, SIZE, count=each), each, 1) for client in clients]
            found = timed(server, parties, each * publishers, setting.deadline)
            return latency_figures([seconds for party in parties for seconds in party.latencies]) | found

    return measure


def fan_out(publishers: int, subscribers: int, queue: bytes = b"") -> Measure:
    """Every subscriber gets every message; the members of a queue group share them."""

    def measure(setting: Setting) -> Figures:
        with setting.serve() as server:
            warm_up(server, setting.deadline)
            each = share(setting.count, publishers)
            count = each * publishers
            taken = [0]
            parties: list[Party] = []
            for number in range(subscribers):
                client = connect(server, b"sub-%d" % number)
                inbox = client.subscribe(CHANNEL, IN_FLIGHT, queue=queue)
                if queue:
                    parties.append(Reader(client, CHANNEL, {2: inbox}, count, taken))
                else:
                    parties.append(Subscriber(client, CHANNEL, inbox, count))
            for number in range(publishers):
                client = connect(server, b"pub-%d" % number)
                parties.append(Publisher(client, frames(client, SIZE), each, WINDOW))
            return timed(server, parties, count, setting.deadline)

    return measure


def go_client(publishers: int, subscribers: int = 0, *, sync: bool = False, queue: str = "") -> Measure:
    """The same with stan-bench, what a user of the Go client sees."""

    def measure(setting: Setting) -> Figures:
        with setting.serve() as server:
            warm_up(server, setting.deadline)
            line = stan_bench.arguments(
                server.port, setting.count, SIZE,
                publishers=publishers, subscribers=subscribers, window=WINDOW, sync=sync, queue=queue,
            )  # fmt: skip
            server.begin()
            output = stan_bench.run(setting.generator, line, setting.deadline - time.monotonic())
            deliveries = min(1, subscribers) if queue else subscribers
            return {RATE: stan_bench.published_rate(output, deliveries), **server.used(setting.count)}

    return measure


def replay(*, cold: bool) -> Measure:
    """One subscriber from the first message on; cold: after a restart, the files out of the system's cache."""

    def measure(setting: Setting) -> Figures:
        with setting.serve() as server:
            client = connect(server, b"fill")
            drive([Publisher(client, frames(client, SIZE), setting.count, 4 * WINDOW)], setting.deadline)
            client.link.close()
            started: Figures = {}
            if cold:
                server.restart_cold()
                started = {START: server.start_seconds}
            client = connect(server, b"replay")
            # What is sent before the clock starts, while the acks are made, is at most one window of max in flight.
            party = Subscriber(client, CHANNEL, client.subscribe(CHANNEL, IN_FLIGHT), setting.count)
            return started | timed(server, [party], setting.count, setting.deadline)

    return measure


def both(memory: int, file: int) -> dict[str, int]:
    return {MEMORY: memory, FILE: file}


SYNC_1, SYNC_50, GO_ASYNC = both(20_000, 3_000), both(60_000, 30_000), both(200_000, 150_000)

WORKLOADS = (
    Workload("publish-1", "publish, 1 publisher", publishing(1), both(800_000, 300_000), is_headline=True),
    Workload("publish-4", "publish, 4 publishers", publishing(4), both(800_000, 300_000), is_headline=True),
    Workload("publish-16", "publish, 16 publishers", publishing(16), both(800_000, 300_000)),
    Workload("sync-1", "publish one at a time, 1 publisher", latency(1), SYNC_1, is_headline=True),
    Workload("sync-50", "publish one at a time, 50 publishers", latency(50), SYNC_50),
    Workload("1-to-1", "1 publisher to 1 subscriber", fan_out(1, 1), both(300_000, 150_000), is_headline=True),
    Workload("1-to-4", "1 publisher to 4 subscribers", fan_out(1, 4), both(80_000, 60_000), is_headline=True),
    Workload("4-to-4", "4 publishers to 4 subscribers", fan_out(4, 4), both(80_000, 60_000)),
    Workload("queue-4", "1 publisher to a queue group of 4", fan_out(1, 4, b"group"), both(100_000, 80_000)),
    Workload(
        "channels-100", "publish round robin to 100 channels", publishing(1, channels=100), both(300_000, 20_000),
        is_headline=True,
    ),
    Workload(
        "channels-1000", "publish round robin to 1,000 channels", publishing(1, channels=1000), both(200_000, 8_000)
    ),
    Workload("payload-16", "publish, 16 bytes", publishing(1, 16), both(800_000, 300_000)),
    Workload("payload-1024", "publish, 1 KiB", publishing(1, 1024), both(200_000, 100_000)),
    Workload("payload-65536", "publish, 64 KiB, 100 without an ack", publishing(1, 65536, 100), both(8_000, 4_000)),
    Workload(
        "replay-warm", "replay, warm", replay(cold=False), both(1_000_000, 1_000_000),
        limit_s=180.0, is_headline=True,
    ),
    Workload(
        "replay-cold", "replay, cold, after a restart", replay(cold=True), {FILE: 1_000_000},
        limit_s=180.0, is_headline=True,
    ),
    Workload("go-publish-1", "publish, 1 publisher", go_client(1), GO_ASYNC, STAN_BENCH, is_headline=True),
    Workload("go-publish-4", "publish, 4 publishers", go_client(4), GO_ASYNC, STAN_BENCH, is_headline=True),
    Workload("go-publish-16", "publish, 16 publishers", go_client(16), GO_ASYNC, STAN_BENCH),
    Workload("go-sync-1", "publish one at a time, 1 publisher", go_client(1, sync=True), SYNC_1, STAN_BENCH),
    Workload(
        "go-sync-50", "publish one at a time, 50 publishers", go_client(50, sync=True), SYNC_50, STAN_BENCH
    ),
    Workload(
        "go-1-to-1", "1 publisher to 1 subscriber", go_client(1, 1), both(100_000, 80_000), STAN_BENCH, is_headline=True
    ),
    Workload(
        "go-1-to-4", "1 publisher to 4 subscribers", go_client(1, 4), both(50_000, 40_000), STAN_BENCH, is_headline=True
    ),
    Workload("go-4-to-4", "4 publishers to 4 subscribers", go_client(4, 4), both(50_000, 40_000), STAN_BENCH),
    Workload(
        "go-queue-4", "1 publisher to a queue group of 4", go_client(1, 4, queue="group"), both(60_000, 50_000),
        STAN_BENCH,
    ),
)  # fmt: skip
