"""Limits per channel, which only a configuration file can set: names, wildcards, what is inherited and what 0 means."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support import texts
from tests.support.raw_client import StanClient, refused, unique
from tests.support.stan_messages import StartPosition
from tests.support.world import World

SERVER_ARGUMENTS = ("-c", str(Path(__file__).with_name("channel_limits.conf")))


async def keeps(client: StanClient, channel: str, published: int, left: list[int], payload: bytes = b"x") -> None:
    """Publish so many messages at once, and see which are left."""
    await client.publish_many(channel, [payload] * published)
    subscription = await client.subscribe(channel, start=StartPosition.FIRST, max_in_flight=100)
    assert await subscription.sequences(len(left)) == left
    assert await subscription.settled() == []
    await subscription.unsubscribe()


@pytest.mark.spec(90)
@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("other.{}", [4, 5, 6, 7, 8]),
        ("wide.{}", [6, 7, 8]),
        ("wide.{}.deep.deeper", [6, 7, 8]),
        ("wide.all.{}", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("wide.all", [6, 7, 8]),
        ("many.{}", [4, 5, 6, 7, 8]),
        ("many.{}.deeper", [4, 5, 6, 7, 8]),
        ("Exact", [8]),
        ("Exact.{}", [4, 5, 6, 7, 8]),
    ],
)
async def test_messages(world: World, pattern: str, left: list[int]) -> None:
    """The narrowest pattern that says something counts; 0 is unlimited whatever the wider ones say."""
    await keeps(await world.client(), pattern.format(unique("c")), 8, left)


@pytest.mark.spec(90)
async def test_bytes_with_inherited_messages(world: World) -> None:
    """What a pattern leaves out comes from the wider patterns that match it, and from no others."""
    client = await world.client()
    await keeps(client, f"wide.x.bytes.{unique('c')}", 8, [6, 7, 8], b"x")
    await keeps(client, f"wide.x.bytes.{unique('c')}", 8, [8], b"x" * 100)
    # `wide.all.>` is the narrowest here, and `wide.*.bytes.*` is none of those it inherits from.
    await keeps(client, f"wide.all.bytes.{unique('c')}", 8, [1, 2, 3, 4, 5, 6, 7, 8], b"x" * 100)


@pytest.mark.spec(90)
async def test_age_with_inherited_messages(world: World) -> None:
    client = await world.client()
    channel = f"wide.all.age.{unique('c')}"
    await keeps(client, channel, 8, [1, 2, 3, 4, 5, 6, 7, 8])
    await asyncio.sleep(0.45)
    late = await client.subscribe(channel, start=StartPosition.FIRST)
    assert await late.settled() == []


@pytest.mark.spec(90)
@pytest.mark.parametrize(
    ("pattern", "limit"), [("other.{}", 2), ("wide.{}", 1), ("wide.all.{}", 1), ("wide.all.age.{}", 1), ("many.{}", 9)]
)
async def test_subscriptions(world: World, pattern: str, limit: int) -> None:
    client = await world.client()
    channel = pattern.format(unique("c"))
    for _ in range(limit):
        await client.subscribe(channel)
    if limit < 9:
        assert await refused(client.subscribe(channel)) == texts.TOO_MANY_SUBSCRIPTIONS


@pytest.mark.spec(90)
async def test_inactivity(world: World) -> None:
    client = await world.client()
    channel = f"idle.{unique('c')}"
    await client.publish("idle.kept")
    await client.publish("other.than.idle")
    await client.publish(channel)
    await world.logged(f'Channel "{channel}" has been deleted')
    await keeps(client, "idle.kept", 1, [1, 2])
    await keeps(client, "other.than.idle", 1, [1, 2])
    await keeps(client, channel, 1, [1])
