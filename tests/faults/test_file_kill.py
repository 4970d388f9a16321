"""`kill -9` at random moments under load: what the server had acknowledged is there, in order, without gaps.

A publisher fills several channels, a durable subscriber acks what it gets from one of them, the server is
killed and started again, many times over one directory. `--long` kills it more often.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.raw_client import NatsClient, StanClient, StanError
from tests.support.servers import ServerProcess
from tests.support.stan_messages import StartPosition

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

CHANNELS = [b"orders", b"a.b", b"events", b"x"]
DURABLE_CHANNEL = CHANNELS[0]
WINDOW = 300  # publishes without an ack
IN_FLIGHT = 200  # messages at the durable subscriber without an ack
_RESTART_SECONDS = 15.0


@dataclass
class Ledger:
    """What the clients know.

    Attributes:
        acknowledged: by channel, the payloads whose ack said yes.
        received: how often each sequence of the durable channel came.
        acked: sequences that the durable subscriber had acked when the server was killed.
        acked_here: those that it had acked since the server was started.
        safe: those whose ack had reached NATS before a publish was sent that the server has acknowledged.
        again: acked sequences that came again later.
        forgotten: those of them that were safe.
        last: sequence of the durable channel, as `check` has found it.
        sizes: what payloads are filled with, bytes.
    """

    acknowledged: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    received: Counter[int] = field(default_factory=Counter)
    acked: set[int] = field(default_factory=set)
    acked_here: set[int] = field(default_factory=set)
    safe: set[int] = field(default_factory=set)
    again: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    last: int = 0
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    sizes: Sequence[int] = (0, 20, 200, 5000)

    def count(self) -> int:
        """Publishes that were acknowledged."""
        return sum(map(len, self.acknowledged.values()))


async def publish(client: StanClient, ledger: Ledger, rng: random.Random) -> None:
    waiting: dict[bytes, tuple[bytes, bytes]] = {}
    while True:
        while len(waiting) < WINDOW:
            channel = rng.choice(CHANNELS)
            payload = b"%d" % next(ledger.numbers) + b"." * rng.choice(ledger.sizes)
            waiting[client.publish_nowait(channel, payload)] = (channel, payload)
        ack = await client.acks.get()
        channel, payload = waiting.pop(ack.guid)
        if not ack.error:
            ledger.acknowledged[channel].add(payload)


async def consume(client: StanClient, ledger: Ledger) -> None:
    subscription = await client.subscribe(
        DURABLE_CHANNEL, durable=b"dur", start=StartPosition.FIRST, max_in_flight=IN_FLIGHT, ack_wait=30
    )
    while True:
        delivery = await subscription.next(3600)
        ledger.received[delivery.sequence] += 1
        if delivery.sequence in ledger.acked:
            ledger.again.append(delivery.sequence)
        if delivery.sequence in ledger.safe:
            ledger.forgotten.append(delivery.sequence)
        subscription.ack(delivery)
        ledger.acked.add(delivery.sequence)
        ledger.acked_here.add(delivery.sequence)


async def secure(consumer: StanClient, publisher: StanClient, ledger: Ledger) -> None:
    """Find out which acks must be on the disk: they ride in the commit of the publishes behind them."""
    while True:
        acked = set(ledger.acked_here)
        await consumer.nats.flush()
        payload = b"%d" % next(ledger.numbers)
        await publisher.publish(CHANNELS[-1], payload)
        ledger.acknowledged[CHANNELS[-1]].add(payload)
        ledger.safe |= acked


async def connect(port: int, client_id: bytes) -> StanClient:
    """Connect, over and over while the server is not there or still asks the earlier client."""
    async with asyncio.timeout(_RESTART_SECONDS):
        while True:
            with contextlib.suppress(OSError, StanError, TimeoutError):
                return await StanClient.connect(await NatsClient.connect(port), client_id)
            await asyncio.sleep(0.02)


async def one_life(server: ServerProcess, ledger: Ledger, rng: random.Random) -> None:
    """Load until the kill."""
    acknowledged = ledger.count()
    ledger.acked_here.clear()
    publisher = await connect(server.port, b"publisher")
    consumer = await connect(server.port, b"consumer")
    prober = await connect(server.port, b"prober")
    jobs = [
        asyncio.create_task(publish(publisher, ledger, rng)),
        asyncio.create_task(consume(consumer, ledger)),
        asyncio.create_task(secure(consumer, prober, ledger)),
    ]
    async with asyncio.timeout(_RESTART_SECONDS):
        while ledger.count() == acknowledged:  # however slow the machine is
            await asyncio.sleep(0.005)
    await asyncio.sleep(rng.choice([0.02, 0.1, 0.3, 0.8]) * (0.5 + rng.random()))
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    # What had been sent before is still read: an ack that arrived counts.
    await asyncio.wait_for(publisher.nats.disconnected.wait(), 10)
    await asyncio.sleep(0)
    for job in jobs:
        job.cancel()
    for outcome in await asyncio.gather(*jobs, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError | ConnectionError | StanError), outcome
    for client in (publisher, consumer, prober):
        await client.nats.close()
        assert client.nats.failure is None


async def wait_until_free(port: int) -> None:
    """The embedded nats-server ends with its parent, a moment later."""
    async with asyncio.timeout(10):
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    return
            await asyncio.sleep(0.01)


async def check(server: ServerProcess, ledger: Ledger) -> int:
    """Read everything; returns how many messages there are."""
    reader = await connect(server.port, b"reader")
    total = 0
    for channel in sorted({*CHANNELS, *ledger.acknowledged}):
        wanted = ledger.acknowledged[channel]
        end = b"%d, the end" % next(ledger.numbers)
        await reader.publish(channel, end)
        subscription = await reader.subscribe(channel, start=StartPosition.FIRST, max_in_flight=10_000, auto_ack=True)
        found: list[bytes] = []
        while not found or found[-1] != end:
            delivery = await subscription.next(_RESTART_SECONDS)
            sequence = len(found) + 1
            assert delivery.sequence == sequence, f"{channel!r}: {delivery.sequence} instead of {sequence}"
            found.append(delivery.data)
        if channel == DURABLE_CHANNEL:
            ledger.last = len(found)
        assert len(set(found)) == len(found), f"{channel!r}: something is there twice"
        lost = wanted - set(found)
        assert not lost, f"{channel!r}: {len(lost)} acknowledged messages are lost, {sorted(lost)[:3]}"
        total += len(found) - 1
    await reader.nats.close()
    return total


async def check_durable(server: ServerProcess, ledger: Ledger) -> None:
    """The durable goes on and gets what it has not had yet; `check` was before."""
    consumer = await connect(server.port, b"consumer")
    job = asyncio.create_task(consume(consumer, ledger))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RESTART_SECONDS):
            while len(ledger.received) < ledger.last:
                await asyncio.sleep(0.02)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    await consumer.nats.close()
    missing = set(range(1, ledger.last + 1)) - set(ledger.received)
    assert not missing, f"never delivered to the durable: {sorted(missing)[:9]}"


async def run(directory: Path, kills: int, seed: int, *arguments: str, sizes: Sequence[int] = Ledger.sizes) -> str:
    rng = random.Random(seed)
    ledger = Ledger(sizes=sizes)
    server = ServerProcess("-st", "FILE", "-dir", str(directory), *arguments)
    try:
        for _ in range(kills):
            server.start()
            await one_life(server, ledger, rng)
            await wait_until_free(server.port)
        server.start()
        total = await check(server, ledger)
        await check_durable(server, ledger)
        assert server.stop(signal.SIGINT) == 0
        left = sorted(path.name for path in directory.glob("journal.*"))
        assert not [name for name in left if name.endswith(".stan")], "a clean stop leaves no journal"
        assert not [name for name in left if name.endswith(".set-aside")], "nobody else was here"
        log = server.log()
        for trouble in ("Traceback (most recent call last)", "bug:", "is damaged"):
            assert trouble not in log, log[-5000:]
    except BaseException:
        print(server.log()[-10_000:])  # noqa: T201
        raise
    finally:
        server.close()
    acknowledged = ledger.count()
    assert acknowledged > 5 * kills
    # An ack that was on its way, or in the commit in hand, when the server was killed.
    assert len(ledger.again) <= kills * IN_FLIGHT
    assert not ledger.forgotten, f"acked before a publish that was acknowledged, came again: {ledger.forgotten[:9]}"
    return (
        f"seed {seed}: {kills} kills, {acknowledged} acknowledged, 0 lost, {total} stored;"
        f" durable: {len(ledger.received)} delivered, {len(ledger.again)} again after their ack,"
        f" none of the {len(ledger.safe)} whose ack came before an acknowledged publish"
    )


def test_kill(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kills = 300 if pytestconfig.getoption("--long") else 20
    print(f"seed {seed}")  # noqa: T201
    print(asyncio.run(run(tmp_path / "data", kills, seed)))  # noqa: T201


def test_kill_while_large_batches_bypass_the_journal(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kills = 100 if pytestconfig.getoption("--long") else 10
    print(f"seed {seed}")  # noqa: T201
    print(asyncio.run(run(tmp_path / "data", kills, seed, sizes=[200, 2000, 8000])))  # noqa: T201


def test_acks_alone_are_soon_on_the_disk(tmp_path: Path) -> None:
    """Nobody publishes, so they have no commit to ride in: they get one of their own within a moment."""
    directory = tmp_path / "data"

    def written() -> int:
        # Without the room that the journal makes for what is to come.
        return sum(len(path.read_bytes().rstrip(b"\0")) for path in directory.glob("journal.*.stan"))

    async def acked_and_killed(server: ServerProcess) -> None:
        client = await connect(server.port, b"consumer")
        await client.publish_many(DURABLE_CHANNEL, [b"x"] * 50)
        subscription = await client.subscribe(DURABLE_CHANNEL, durable=b"dur", start=StartPosition.FIRST)
        deliveries = await subscription.take(50)
        await client.publish(CHANNELS[1], b"")  # what was sent rides in its commit
        seen = written()
        async with asyncio.timeout(_RESTART_SECONDS):
            for delivery in deliveries:
                subscription.ack(delivery)
            while written() < seen + 50:
                await asyncio.sleep(0.005)
        server.kill()
        await client.nats.close()

    async def nothing_comes_again(server: ServerProcess) -> None:
        client = await connect(server.port, b"consumer")
        subscription = await client.subscribe(DURABLE_CHANNEL, durable=b"dur")
        await client.publish(DURABLE_CHANNEL, b"new")
        assert (await subscription.next()).data == b"new"
        await client.nats.close()

    with contextlib.closing(ServerProcess("-st", "FILE", "-dir", str(directory))) as server:
        asyncio.run(acked_and_killed(server.start()))
        asyncio.run(wait_until_free(server.port))
        asyncio.run(nothing_comes_again(server.start()))
