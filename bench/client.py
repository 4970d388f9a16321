"""The Python client against our server, memory store, 128 bytes: publishing, consuming, and memory over a soak.

    python bench/client.py [--messages 200000] [--rounds 3] [--soak 0] [--transport native] [--old]

Rates are of one client process on uvloop, its CPU time per message beside them. `--soak 10000000` publishes and
consumes that many and prints the client's memory as it goes. `--old` measures asyncio-nats-streaming 0.4.0, too, on the
old Python that the interop tests prepare.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.suite.arguments import count
from bench.suite.processes import resident_bytes
from nats_streaming.client import connect
from tests.interop.prepare import prepare
from tests.support.servers import ServerProcess, running_server

DATA = bytes(128)
CONSUME_IN_FLIGHT = 4096


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def publish(url: str, count: int, transport: str) -> tuple[float, float]:
    """Messages per second and CPU microseconds per message of `publish_async`, all acked."""
    async with connect("test-cluster", "bench", servers=url, transport=transport) as stan:  # type: ignore[arg-type]
        began, used = time.perf_counter(), cpu_s()
        for _ in range(count):
            await stan.publish_async("bench", DATA)
        await stan.flush()
        return count / (time.perf_counter() - began), (cpu_s() - used) / count * 1e6


async def consume(url: str, count: int, transport: str, *, manual: bool) -> tuple[float, float]:
    """The same of taking and acking what is stored."""
    async with connect("test-cluster", "bench", servers=url, transport=transport) as stan:  # type: ignore[arg-type]
        began, used = time.perf_counter(), cpu_s()
        sub = await stan.subscribe("bench", start="first", max_in_flight=CONSUME_IN_FLIGHT, manual_acks=manual)
        left = count
        async for message in sub:
            if manual:
                await message.ack()
            left -= 1
            if left == 0:
                break
        return count / (time.perf_counter() - began), (cpu_s() - used) / count * 1e6


async def soak(url: str, count: int) -> None:
    """Publish and consume at once, and print what the client's memory does."""
    async with connect("test-cluster", "soak", servers=url) as stan:
        sub = await stan.subscribe("soak", max_in_flight=CONSUME_IN_FLIGHT, manual_acks=True)

        async def take() -> None:
            taken = 0
            async for message in sub:
                await message.ack()
                taken += 1
                if taken % max(1, count // 20) == 0:
                    print(f"  {taken:>10,} messages: {resident_bytes([os.getpid()]) / 1e6:7.1f} MB", flush=True)
                if taken == count:
                    return

        taking = asyncio.create_task(take())
        await stan.publish_many("soak", (DATA for _ in range(count)))
        await taking


def run(work: object) -> tuple[float, float]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)  # type: ignore[arg-type, no-any-return]
    return uvloop.run(work)  # type: ignore[arg-type, no-any-return]


OLD_CLIENT = """
import asyncio, sys, time
from nats.aio.client import Client as NatsClient
from stan.aio.client import Client as StanClient

async def main(url, count):
    nats, stan = NatsClient(), StanClient()
    await nats.connect(servers=[url])
    await stan.connect("test-cluster", "old", nats=nats, max_pub_acks_inflight=16384)
    done, acks = asyncio.Event(), 0
    async def on_ack(ack):
        nonlocal acks
        acks += 1
        if acks == count: done.set()
    began = time.perf_counter()
    for _ in range(count):
        await stan.publish("old", bytes(128), ack_handler=on_ack)
    await done.wait()
    published = count / (time.perf_counter() - began)
    done, taken = asyncio.Event(), 0
    async def on_message(message):
        nonlocal taken
        taken += 1
        if taken == count: done.set()
    began = time.perf_counter()
    await stan.subscribe("old", cb=on_message, deliver_all_available=True, max_inflight=4096)
    await done.wait()
    print(published, count / (time.perf_counter() - began))
    await stan.close()
    await nats.close()

asyncio.get_event_loop().run_until_complete(main(sys.argv[1], int(sys.argv[2])))
"""


def old_client(url: str, count: int) -> tuple[float, float]:
    """Publishes and consumes per second of asyncio-nats-streaming."""
    python = prepare("python").command[0]
    done = subprocess.run(
        [python, "-I", "-c", OLD_CLIENT, url, str(count)], capture_output=True, text=True, check=True, timeout=600
    )
    published, consumed = done.stdout.split()
    return float(published), float(consumed)


def fresh_server() -> ServerProcess:
    return ServerProcess("-mm", "0", "-mb", "0").start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=count, default=200_000)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--transport", default="native", choices=["native", "nats-py"])
    parser.add_argument("--old", action="store_true")
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        with running_server("-mm", "0", "-mb", "0") as server:
            url = f"nats://127.0.0.1:{server.port}"
            rows.setdefault("publish_async", []).append(run(publish(url, options.messages, options.transport)))
            for name, manual in (("consume, automatic acks", False), ("consume, manual acks", True)):
                result = run(consume(url, options.messages, options.transport, manual=manual))
                rows.setdefault(name, []).append(result)
            if options.old:
                published, consumed = old_client(url, max(1, options.messages // 4))
                rows.setdefault("old client: publish", []).append((published, 0.0))
                rows.setdefault("old client: consume", []).append((consumed, 0.0))
    print(f"{options.transport}, {options.messages:,} messages of {len(DATA)} bytes; medians (min..max)")
    for name, results in rows.items():
        rates, costs = [rate for rate, _ in results], [cost for _, cost in results]
        print(
            f"{name:26} {statistics.median(rates):10,.0f}/s ({min(rates):,.0f}..{max(rates):,.0f})"
            f"   {statistics.median(costs):5.2f} us CPU"
        )
    if options.soak:
        print(f"soak, {options.soak:,} messages:")
        with running_server("-mm", "100000") as server:
            run(soak(f"nats://127.0.0.1:{server.port}", options.soak))


if __name__ == "__main__":
    main()
