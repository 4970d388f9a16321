"""How long a monitoring page holds up everybody else: the longest step, in CPU time of the event loop's thread.

python bench/monitoring.py [--channels 10000] [--subscriptions 10000]

A real engine with one client. CPU time, because on a machine that does other things the clock on the wall says
nothing about us. Shown for each page: its size, its CPU time as a whole, and its longest step.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.suite.arguments import count
from nats_streaming.clock import SystemClock
from nats_streaming.monitor import pages
from nats_streaming.monitor.metrics import Counters, MetricsPage
from nats_streaming.monitor.output import Output
from nats_streaming.monitor.query import Query
from nats_streaming.monitor.snapshot import Problem
from nats_streaming.server.engine_source import EngineSource
from nats_streaming.server.settings.options import Options
from nats_streaming.server.version import build_kind
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.streaming.start_position import FIRST
from nats_streaming.testing.engine_driver import DriverOptions, EngineDriver

_ALL = Query(limit=10**9, subscriptions=True)


class _Measured:
    """What `MetricsPage` wants to know beside the source."""

    def __init__(self, source: EngineSource) -> None:
        self._source = source

    def source(self) -> EngineSource:
        return self._source

    def problems(self) -> list[Problem]:
        return []

    def counters(self) -> Counters:
        return Counters()

    def nats_server_id(self) -> str:
        return "bench"

    def nats_pid(self) -> int | None:
        return None

    def disk_free_bytes(self) -> int | None:
        return None


def large_engine(channels: int, subscriptions: int) -> EngineDriver:
    """An engine with a message in each channel, and with subscriptions spread over them."""
    driver = EngineDriver(MemoryStore(), DriverOptions(limits=StoreLimits(max_channels=0)))
    driver.connect("bench")
    for number in range(channels):
        driver.publish("bench", f"channel-{number:05}", b"x")
        driver.take_frames()  # looked through at every step
    for number in range(subscriptions):
        driver.subscribe("bench", f"channel-{number % channels:05}", start=FIRST)
        driver.take_frames()
    return driver


async def measure(write: Callable[[Output], Awaitable[None]]) -> tuple[int, float, float]:
    """Bytes, CPU milliseconds as a whole, and CPU milliseconds of the longest step."""
    size = 0
    steps: list[float] = []

    async def send(pieces: list[str]) -> None:
        nonlocal size
        size += sum(map(len, pieces))
        pieces.clear()

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            steps.append(time.thread_time() - before)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    output = Output(send)
    await write(output)
    await send(output.pieces)
    await asyncio.sleep(0)
    ticking.cancel()
    return size, sum(steps) * 1000, max(steps) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=count, default=10_000)
    parser.add_argument("--subscriptions", type=count, default=10_000)
    options = parser.parse_args()
    driver = large_engine(options.channels, options.subscriptions)
    source = EngineSource(
        driver.engine, Options(), store_name="MEMORY", server_id="bench", start_ns=0, state=lambda: "STANDALONE"
    )
    clock = SystemClock()
    # As the executable does once it serves.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    print(f"{build_kind()} build, {options.channels:,} channels, {options.subscriptions:,} subscriptions")
    pages_and_queries = {
        "serverz": (pages.serverz, Query()),
        "storez": (pages.storez, Query()),
        "channelsz": (pages.channelsz, Query()),
        "channelsz, all names": (pages.channelsz, Query(limit=10**9)),
        "channelsz?subs=1": (pages.channelsz, Query(subscriptions=True)),
        "channelsz?subs=1, all": (pages.channelsz, _ALL),
        "clientsz?subs=1": (pages.clientsz, _ALL),
    }
    for name, (page, query) in pages_and_queries.items():
        show(name, asyncio.run(measure(lambda output, page=page, query=query: page(source, query, clock, output))))  # type: ignore[misc]
    for limit in (1000, options.channels):
        metrics = MetricsPage(_Measured(source), limit, limit)
        show(f"metrics, {limit:,} channels", asyncio.run(measure(metrics.write)))


def show(name: str, measured: tuple[int, float, float]) -> None:
    size, whole_ms, longest_ms = measured
    print(f"{name:26} {size:>12,} bytes   {whole_ms:7.1f} ms CPU   longest step {longest_ms:5.2f} ms")


if __name__ == "__main__":
    main()
