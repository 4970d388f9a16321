"""A publisher and a subscriber, by their public API alone, while everything under them breaks again and again.

The server is killed and restarted, NATS connections are cut, client IDs are taken over. Nothing that was acknowledged
to the publisher may be missing, in the channel or at the subscriber, and the order must be that of publishing.
`--rounds 200 --messages 1000000` makes it long.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import pytest

from nats_streaming.client import Client, connect
from tests.support.proxy import Proxy
from tests.support.servers import ServerProcess

logger = logging.getLogger(__name__)

CHANNEL = "chaos"
BURST = 20
BURST_SECONDS = 0.01


class Pair:
    """The publisher and the subscriber, and what they know at the end."""

    def __init__(self, publisher: Client, subscriber: Client) -> None:
        self.publisher = publisher
        self.subscriber = subscriber
        self.published = 0
        self.processed: dict[int, int] = {}  # number -> how often
        self.order: list[int] = []
        self.is_finishing = False
        self.progress = asyncio.Condition()

    async def publish(self, least: int) -> None:
        """Publish numbers until told to finish, and see every ack."""
        pending = []
        while not self.is_finishing or self.published < least:
            for _ in range(BURST):
                pending.append(await self.publisher.publish_async(CHANNEL, b"%d" % self.published))
                self.published += 1
            await asyncio.sleep(BURST_SECONDS)
            while pending and pending[0].done:
                pending.pop(0).result()
            async with self.progress:
                self.progress.notify_all()
        for one in pending:
            await one

    async def process(self) -> None:
        sub = await self.subscriber.subscribe(
            CHANNEL, start="first", durable="d", max_in_flight=64, ack_wait=5, manual_acks=True
        )
        async for message in sub:
            number = int(message.data)
            if number not in self.processed:
                self.order.append(number)
            self.processed[number] = self.processed.get(number, 0) + 1
            await message.ack()
            async with self.progress:
                self.progress.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.progress:
            await self.progress.wait_for(condition)

    async def goes_on(self) -> None:
        """Wait until both have gone a step on since now."""
        published, processed = self.published, len(self.processed)
        await self.until(lambda: self.published > published and len(self.processed) > processed)


async def take_over(url: str, proxy: Proxy, client: Client, rng: random.Random) -> None:
    """Another process takes the client ID while this one is cut off, and keeps it a while after it is back."""
    proxy.refuse()
    while client.is_connected:
        await asyncio.sleep(0.001)
    async with connect("test-cluster", client.client_id, servers=url):
        proxy.accept()
        await asyncio.sleep(rng.uniform(0.05, 0.3))


@pytest.mark.parametrize("kind", ["ours-FILE", "go-FILE"])
@pytest.mark.timeout_seconds(600)
async def test_nothing_is_lost(start: Callable[..., ServerProcess], request: pytest.FixtureRequest, kind: str) -> None:
    rounds = int(request.config.option.rounds)
    if kind == "go-FILE":
        rounds = max(1, rounds // 4)  # what is tested is the client, and the Go server starts slowly
    rng = random.Random(seed := random.SystemRandom().randrange(2**32))
    logger.info("seed %d", seed)
    server = start(kind, "-mm", "0", "-mb", "0")
    url = f"nats://127.0.0.1:{server.port}"
    resumes: list[object] = []
    errors: list[Exception] = []
    async with Proxy(server.port) as first, Proxy(server.port) as second:
        publisher = await connect(
            "test-cluster", "publisher", servers=first.url, max_pub_acks_inflight=500, on_resume=resumes.append,
            on_error=errors.append, stan_ping_interval=1,
        )  # fmt: skip
        subscriber = await connect(
            "test-cluster", "subscriber", servers=second.url, on_resume=resumes.append, on_error=errors.append,
            stan_ping_interval=1,
        )  # fmt: skip
        pair = Pair(publisher, subscriber)
        publishing = asyncio.create_task(pair.publish(int(request.config.option.messages)))
        processing = asyncio.create_task(pair.process())
        faults = ["kill", "cut"] * rounds + ["take over"] * max(2, rounds // 5)
        rng.shuffle(faults)
        for fault in faults:
            await pair.goes_on()
            await asyncio.sleep(rng.uniform(0, 0.05))
            if fault == "kill":
                server.kill()
                await asyncio.to_thread(server.start)
            elif fault == "cut":
                for proxy in (first, second):
                    if rng.random() < 0.7:
                        proxy.cut()
            else:
                proxy, client = rng.choice([(first, publisher), (second, subscriber)])
                await take_over(url, proxy, client, rng)
            for task in (publishing, processing):
                assert not task.done(), await task
        await pair.goes_on()
        pair.is_finishing = True
        await publishing
        everything = set(range(pair.published))
        await pair.until(lambda: pair.processed.keys() == everything)
        assert pair.order == sorted(pair.order)
        assert len(resumes) >= rounds
        await subscriber.close()
        await processing
        await in_the_channel(publisher, pair.published)
        await publisher.close()
    repeats = sum(pair.processed.values()) - pair.published
    logger.info(
        "%s: %d messages, %d faults, %d resumes, %d repeats",
        kind, pair.published, len(faults), len(resumes), repeats,
    )  # fmt: skip


async def in_the_channel(client: Client, count: int) -> None:
    """Every number is stored, and the first copies are in order: sending again changes no order."""
    seen: list[int] = []
    known: set[int] = set()
    sub = await client.subscribe(CHANNEL, start="first", max_in_flight=4096)
    async with asyncio.timeout(60):
        while len(known) < count:
            number = int((await anext(sub)).data)
            if number not in known:
                known.add(number)
                seen.append(number)
    assert seen == list(range(count))
