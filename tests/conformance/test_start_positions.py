"""Where a subscription begins: every start position on channels that are fresh, in use, and emptied by age."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.raw_client import StanClient, StanSubscription
from tests.support.servers import running_server
from tests.support.stan_messages import StartPosition
from tests.support.world import World

DAY_NS = 24 * 3600 * 10**9
HALF_GAP_NS = 100_000_000
"""A request may take this long without changing which message a start time means."""


@dataclass(frozen=True)
class Start:
    """One start position, as the request states it."""

    position: StartPosition
    sequence: int = 0
    delta_ns: int = 0

    def __str__(self) -> str:
        return f"{self.position.name}-{self.sequence}-{self.delta_ns}"

    async def subscribe(self, client: StanClient, channel: str, **options: Any) -> StanSubscription:
        return await client.subscribe(
            channel, start=self.position, sequence=self.sequence, delta_ns=self.delta_ns, max_in_flight=100, **options
        )


NEW_ONLY = Start(StartPosition.NEW_ONLY)
LAST = Start(StartPosition.LAST_RECEIVED)
FIRST = Start(StartPosition.FIRST)
EVERY_START = [
    NEW_ONLY,
    LAST,
    FIRST,
    Start(StartPosition.SEQUENCE_START),
    Start(StartPosition.SEQUENCE_START, sequence=1),
    Start(StartPosition.SEQUENCE_START, sequence=2),
    Start(StartPosition.SEQUENCE_START, sequence=100),
    Start(StartPosition.SEQUENCE_START, sequence=2**64 - 1),
    Start(StartPosition.TIME_DELTA_START),
    Start(StartPosition.TIME_DELTA_START, delta_ns=DAY_NS),
    Start(StartPosition.TIME_DELTA_START, delta_ns=-DAY_NS),
]
KINDS: list[dict[str, str]] = [{}, {"durable": "d"}, {"queue": "q"}, {"queue": "q", "durable": "d"}]


@pytest.mark.spec(40, 41, 42)
@pytest.mark.parametrize("start", EVERY_START, ids=str)
async def test_fresh_channel(world: World, start: Start) -> None:
    """Every start, possible or not, means message 1 and what follows."""
    client = await world.client()
    channel = world.channel()
    subscription = await start.subscribe(client, channel)
    await client.publish_many(channel, [b"x"] * 3)
    assert await subscription.sequences(3) == [1, 2, 3]


@pytest.mark.spec(40, 41, 42)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (NEW_ONLY, [9]),
        (LAST, [8, 9]),
        (FIRST, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Start(StartPosition.SEQUENCE_START, sequence=0), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Start(StartPosition.SEQUENCE_START, sequence=1), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Start(StartPosition.SEQUENCE_START, sequence=6), [6, 7, 8, 9]),
        (Start(StartPosition.SEQUENCE_START, sequence=8), [8, 9]),
        (Start(StartPosition.SEQUENCE_START, sequence=9), [9]),
        (Start(StartPosition.SEQUENCE_START, sequence=100), [9]),
        (Start(StartPosition.SEQUENCE_START, sequence=2**64 - 1), [9]),
        (Start(StartPosition.TIME_DELTA_START, delta_ns=0), [9]),
        (Start(StartPosition.TIME_DELTA_START, delta_ns=-DAY_NS), [9]),
        (Start(StartPosition.TIME_DELTA_START, delta_ns=DAY_NS), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        # Start sequence and time are looked at in their own modes only.
        (Start(StartPosition.NEW_ONLY, sequence=3, delta_ns=DAY_NS), [9]),
        (Start(StartPosition.FIRST, sequence=3, delta_ns=1), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Start(StartPosition.SEQUENCE_START, sequence=8, delta_ns=DAY_NS), [8, 9]),
        (Start(StartPosition.TIME_DELTA_START, sequence=3, delta_ns=0), [9]),
    ],
    ids=str,
)
async def test_channel_in_use(world: World, kind: dict[str, str], start: Start, expected: list[int]) -> None:
    """Eight messages. A sequence beyond the last means new messages only, however far beyond."""
    client = await world.client()
    channel = world.channel()
    await client.publish_many(channel, [b"x"] * 8)
    subscription = await start.subscribe(client, channel, **kind)
    await client.publish(channel)
    assert await subscription.sequences(len(expected)) == expected
    assert await subscription.settled() == []


@pytest.mark.spec(42)
async def test_time_between_messages(world: World) -> None:
    """The first message whose timestamp is not before the moment asked for."""
    client = await world.client()
    channel = world.channel()
    reader = await client.subscribe(channel)
    timestamps = []
    for _ in range(4):
        await client.publish(channel)
        timestamps.append((await reader.next()).timestamp)
        await asyncio.sleep(2 * HALF_GAP_NS / 1e9)
    for number, timestamp in enumerate(timestamps, start=1):
        start = Start(StartPosition.TIME_DELTA_START, delta_ns=time.time_ns() - timestamp + HALF_GAP_NS)
        subscription = await start.subscribe(client, channel)
        assert (await subscription.next()).sequence == number
    start = Start(StartPosition.TIME_DELTA_START, delta_ns=time.time_ns() - timestamps[-1] - HALF_GAP_NS)
    subscription = await start.subscribe(client, channel)
    await client.publish(channel)
    assert (await subscription.next()).sequence == 5


@pytest.mark.spec(43)
async def test_channel_emptied_by_age() -> None:
    """Three messages have expired: every start, even message 2, means message 4, and sequences go on."""
    with running_server("-ma", "100ms", "-mc", "0") as server:
        world = World(server)
        client = await world.client()
        channels = {start: world.channel() for start in EVERY_START}
        for channel in channels.values():
            await client.publish_many(channel, [b"x"] * 3)
        probe = world.channel()
        await client.publish(probe)
        while (await (await client.subscribe(probe, start=StartPosition.FIRST)).settled()) != []:
            await asyncio.sleep(0.02)
        subscriptions = [await start.subscribe(client, channel) for start, channel in channels.items()]
        for channel in channels.values():
            await client.publish(channel)
        assert [await subscription.sequences(1) for subscription in subscriptions] == [[4]] * len(EVERY_START)
        await world.close()
