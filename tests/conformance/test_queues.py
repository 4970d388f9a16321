"""Queue groups: who gets a message, what happens to a leaver's messages, and durable groups."""

from __future__ import annotations

import asyncio
import time
from itertools import chain

import pytest

from tests.support.raw_client import StanSubscription
from tests.support.stan_messages import StartPosition
from tests.support.world import World

HAND_OVER_SECONDS = 0.1
"""After a member has left, its unacked messages come to others about this much later."""


async def take_shared(subscriptions: list[StanSubscription], count: int, seconds: float = 15.0) -> list[list[int]]:
    """Take `count` messages from a group, whoever gets them; the sequences by member."""
    taken: list[list[int]] = [[] for _ in subscriptions]
    done = asyncio.Event()

    async def take(index: int) -> None:
        while True:
            taken[index].append((await subscriptions[index].next(seconds)).sequence)
            if sum(map(len, taken)) == count:
                done.set()

    tasks = [asyncio.create_task(take(index)) for index in range(len(subscriptions))]
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return taken


@pytest.mark.spec(64)
async def test_idle_members_take_turns(world: World) -> None:
    """Three members with room for two each share six of nine messages; the seventh is for the first who acks."""
    client = await world.client()
    channel = world.channel()
    members = [await client.subscribe(channel, queue="q", max_in_flight=2) for _ in range(3)]
    for _ in range(9):
        await client.publish(channel)
    assert [await member.sequences(2) for member in members] == [[1, 4], [2, 5], [3, 6]]
    assert [await member.settled() for member in members] == [[], [], []]
    members[1].ack(2)
    assert await members[1].sequences(1) == [7]
    members[2].ack(6)
    assert await members[2].sequences(1) == [8]


@pytest.mark.spec(64)
async def test_one_member_takes_all_within_its_limit(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    member = await client.subscribe(channel, queue="q", max_in_flight=5)
    await client.publish_many(channel, [b"x"] * 100)
    received = 0
    while received < 100:
        batch = await member.settled() or [(await member.next()).repeat]
        assert len(batch) <= 5
        assert [sequence for sequence, _ in batch] == list(range(received + 1, received + 1 + len(batch)))
        received += len(batch)
        for sequence, _ in batch:
            member.ack(sequence)


@pytest.mark.spec(64)
async def test_idle_members_share_evenly(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    members = [await client.subscribe(channel, queue="q") for _ in range(3)]
    await client.publish_many(channel, [b"x"] * 300)
    shares = await take_shared(members, 300)
    assert [len(share) for share in shares] == [100, 100, 100]
    assert all(share == sorted(share) for share in shares)
    assert sorted(chain.from_iterable(shares)) == list(range(1, 301))


@pytest.mark.spec(64)
async def test_member_with_fewest_unacked_is_chosen(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    busy = await client.subscribe(channel, queue="q")
    await client.publish_many(channel, [b"x"] * 5)
    await busy.sequences(5)
    idle = await client.subscribe(channel, queue="q")
    await client.publish_many(channel, [b"x"] * 5)
    assert await idle.sequences(5) == [6, 7, 8, 9, 10]
    assert await busy.settled() == []


@pytest.mark.spec(64)
async def test_groups_and_plain_subscriptions_do_not_share(world: World) -> None:
    """Every group gets every message once, and so does every plain subscription."""
    client = await world.client()
    channel = world.channel()
    subscriptions = [
        await client.subscribe(channel),
        await client.subscribe(channel, durable="q"),
        await client.subscribe(channel, queue="q"),
        await client.subscribe(channel, queue="r"),
    ]
    await client.publish_many(channel, [b"x"] * 3)
    for subscription in subscriptions:
        assert await subscription.sequences(3) == [1, 2, 3]


@pytest.mark.spec(65)
async def test_stalled_member_does_not_stall_the_group(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    stalled = await client.subscribe(channel, queue="q", max_in_flight=1)
    working = await client.subscribe(channel, queue="q", auto_ack=True)
    await client.publish_many(channel, [b"x"] * 100)
    shares = await take_shared([stalled, working], 100)
    assert len(shares[0]) == 1
    assert len(shares[1]) == 99


@pytest.mark.spec(65)
async def test_stalled_members_stall_the_group_until_acks(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    members = [await client.subscribe(channel, queue="q", max_in_flight=2) for _ in range(2)]
    await client.publish_many(channel, [b"x"] * 10)
    shares = await take_shared(members, 4)
    assert [len(share) for share in shares] == [2, 2]
    await client.publish(channel)
    assert [await member.settled() for member in members] == [[], []]
    members[0].ack(shares[0][0])
    assert await members[0].sequences(1) == [5]
    assert await members[1].settled() == []


@pytest.mark.spec(65)
async def test_ten_thousand_messages_through_four_members(world: World) -> None:
    publisher = await world.client()
    channel = world.channel()
    members = [
        await (await world.client()).subscribe(channel, queue="q", max_in_flight=16, auto_ack=True) for _ in range(4)
    ]
    publishing = asyncio.create_task(publisher.publish_many(channel, [b"x"] * 10_000))
    shares = await take_shared(members, 10_000, 30)
    await publishing
    assert sorted(chain.from_iterable(shares)) == list(range(1, 10_001))
    assert all(share == sorted(share) for share in shares)


@pytest.mark.spec(66)
@pytest.mark.parametrize("durable", ["", "d"])
async def test_start_position_of_a_joiner_is_ignored(world: World, durable: str) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish_many(channel, [b"x"] * 3)
    first = await client.subscribe(channel, queue="q", durable=durable)
    joiner = await client.subscribe(channel, queue="q", durable=durable, start=StartPosition.FIRST)
    await client.publish_many(channel, [b"x"] * 2)
    assert await first.sequences(1) == [4]
    assert await joiner.sequences(1) == [5]
    assert await joiner.settled() == []


@pytest.mark.spec(67)
@pytest.mark.parametrize("way", ["close", "unsubscribe", "connection"])
async def test_group_goes_with_its_last_member(world: World, way: str) -> None:
    """The next subscriber makes a new group, at its own start position and without unacked messages."""
    client = await world.client()
    channel = world.channel()
    member = await client.subscribe(channel, queue="q")
    await client.publish_many(channel, [b"x"] * 3)
    await member.sequences(3)
    if way == "connection":
        await client.close()
        client = await world.client(client.client_id, nats=client.nats)
    else:
        await (member.close() if way == "close" else member.unsubscribe())
    await client.publish(channel)
    again = await client.subscribe(channel, queue="q", start=StartPosition.SEQUENCE_START, sequence=2)
    assert await again.sequences(3) == [2, 3, 4]
    assert await again.settled() == []


@pytest.mark.spec(68)
@pytest.mark.together
@pytest.mark.parametrize("durable", ["", "d"])
@pytest.mark.parametrize("way", ["close", "unsubscribe", "connection"])
async def test_messages_of_a_leaver_are_handed_over(world: World, durable: str, way: str) -> None:
    """In about 100 ms, flagged, beyond the limit of the receiver, and beside its own unacked messages."""
    leaving = await world.client()
    staying = await world.client()
    channel = world.channel()
    leaver = await leaving.subscribe(channel, queue="q", durable=durable, max_in_flight=3)
    stayer = await staying.subscribe(channel, queue="q", durable=durable, max_in_flight=3)
    for _ in range(6):
        await staying.publish(channel)
    assert await leaver.sequences(3) == [1, 3, 5]
    assert await stayer.sequences(3) == [2, 4, 6]
    left = time.monotonic()
    if way == "connection":
        await leaving.close()
    else:
        await (leaver.close() if way == "close" else leaver.unsubscribe())
    deliveries = await stayer.take(3)
    assert sorted(delivery.repeat for delivery in deliveries) == [(1, 1), (3, 1), (5, 1)]
    for delivery in deliveries:
        assert HAND_OVER_SECONDS - 0.05 < delivery.received_at - left < HAND_OVER_SECONDS + 0.5
    await staying.publish(channel)
    assert await stayer.settled() == [], "six unacked are more than its limit"
    for sequence in (1, 2, 3, 4):
        stayer.ack(sequence)
    assert await stayer.sequences(1) == [7]


@pytest.mark.spec(68)
@pytest.mark.together
async def test_messages_of_a_leaver_go_to_several_members(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    leaver = await client.subscribe(channel, queue="q", ack_wait=60)
    await client.publish_many(channel, [b"x"] * 10)
    await leaver.sequences(10)
    stayers = [await client.subscribe(channel, queue="q", ack_wait=60) for _ in range(2)]
    await leaver.close()
    shares = await take_shared(stayers, 10)
    assert sorted(chain.from_iterable(shares)) == list(range(1, 11))
    assert all(shares)


@pytest.mark.spec(69)
async def test_member_leaves_in_mid_stream(world: World) -> None:
    """The other receives everything the leaver has not acked, up to the last message."""
    publisher = await world.client()
    channel = world.channel()
    leaver = await (await world.client()).subscribe(channel, queue="q", max_in_flight=50, auto_ack=True)
    stayer = await (await world.client()).subscribe(channel, queue="q", max_in_flight=50, auto_ack=True)
    publishing = asyncio.create_task(publisher.publish_many(channel, [b"x"] * 2000))
    got = {(await leaver.next()).sequence for _ in range(100)}
    await leaver.close()
    got |= {sequence for sequence, _ in leaver.waiting()}
    await publishing
    async with asyncio.timeout(10):
        while len(got) < 2000:
            got.add((await stayer.next()).sequence)
    assert got == set(range(1, 2001))


@pytest.mark.spec(71)
async def test_durable_group_outlives_its_members(world: World) -> None:
    """After the last member's connection is closed it resumes at the next message; the last unsubscribe removes it."""
    client = await world.client()
    other = await world.client()
    channel = world.channel()
    first = await client.subscribe(channel, queue="q", durable="d", auto_ack=True)
    second = await other.subscribe(channel, queue="q", durable="d", auto_ack=True)
    await other.publish_many(channel, [b"x"] * 4)
    await take_shared([first, second], 4)
    await client.close()
    await other.publish(channel)
    assert await second.sequences(1) == [5]
    await other.close()
    publisher = await world.client()
    await publisher.publish_many(channel, [b"x"] * 2)
    third = await publisher.subscribe(channel, queue="q", durable="d", auto_ack=True)
    assert await third.sequences(2) == [6, 7]
    fourth = await publisher.subscribe(channel, queue="q", durable="d", auto_ack=True)
    await third.unsubscribe()
    await publisher.publish(channel)
    assert await fourth.sequences(1) == [8]
    await fourth.unsubscribe()
    fifth = await publisher.subscribe(channel, queue="q", durable="d", start=StartPosition.FIRST)
    assert await fifth.sequences(8) == list(range(1, 9))


@pytest.mark.spec(72)
async def test_durable_and_plain_group_of_one_name(world: World) -> None:
    """They are two groups, and so are groups of different durable names."""
    client = await world.client()
    channel = world.channel()
    groups = [
        await client.subscribe(channel, queue="q"),
        await client.subscribe(channel, queue="q", durable="d"),
        await client.subscribe(channel, queue="q", durable="e"),
    ]
    await client.publish_many(channel, [b"x"] * 3)
    for group in groups:
        assert await group.sequences(3) == [1, 2, 3]


@pytest.mark.spec(72)
async def test_plain_group_may_name_a_durable_one(world: World) -> None:
    """A queue group called `d:g`, without a durable name, is the durable group d and g."""
    client = await world.client()
    channel = world.channel()
    members = [await client.subscribe(channel, queue="g", durable="d"), await client.subscribe(channel, queue="d:g")]
    await client.publish_many(channel, [b"x"] * 2)
    assert [await member.sequences(1) for member in members] == [[1], [2]]


@pytest.mark.spec(73)
async def test_rejoining_an_empty_durable_group(world: World) -> None:
    """The first member gets all that was left unacked at once, whatever its limit is, and counts go on."""
    client = await world.client()
    channel = world.channel()
    member = await client.subscribe(channel, queue="q", durable="d", ack_wait=60)
    await client.publish_many(channel, [b"x"] * 100)
    await member.sequences(100)
    await client.close()
    other = await world.client()
    again = await other.subscribe(channel, queue="q", durable="d", ack_wait=60, max_in_flight=10)
    assert await again.repeats(100) == [(number, 1) for number in range(1, 101)]
    again.ack(50)
    await again.close()
    await other.publish(channel)
    again = await other.subscribe(channel, queue="q", durable="d", ack_wait=60, max_in_flight=200)
    expected = [(number, 2) for number in range(1, 101) if number != 50]
    assert await again.repeats(100) == [*expected, (101, 0)]


@pytest.mark.spec(73)
async def test_last_member_leaves_what_earlier_leavers_handed_to_it(world: World) -> None:
    """What the first leaver left came to the second as its first repetition, and comes to the next as its second."""
    client = await world.client()
    channel = world.channel()
    one = await client.subscribe(channel, queue="q", durable="d")
    two = await client.subscribe(channel, queue="q", durable="d")
    for _ in range(2):
        await client.publish(channel)
    assert await one.sequences(1) == [1]
    assert await two.sequences(1) == [2]
    await one.close()
    assert await two.repeats(1) == [(1, 1)]
    await two.close()
    three = await client.subscribe(channel, queue="q", durable="d")
    assert await three.repeats(2) == [(1, 2), (2, 1)]


@pytest.mark.spec(74)
@pytest.mark.parametrize("durable", ["", "d"])
async def test_crashed_members_rejoin(world: World, durable: str) -> None:
    """Both hold a message with a long AckWait when they crash; back again, they get all twenty without that wait."""
    publisher = await world.client()
    channel = world.channel()
    keeper = await publisher.subscribe(channel, queue="q", durable=durable, max_in_flight=1, ack_wait=60)
    clients = [await world.client() for _ in range(2)]
    for client in clients:
        await client.subscribe(channel, queue="q", durable=durable, max_in_flight=1, ack_wait=60)
    await publisher.publish_many(channel, [b"x"] * 20)
    await keeper.sequences(1)
    for client in clients:
        await client.nats.close()
    members = []
    for client in clients:
        renewed = await world.client(client.client_id)
        member = await renewed.subscribe(
            channel, queue="q", durable=durable, max_in_flight=1, ack_wait=60, auto_ack=True
        )
        members.append(member)
    await keeper.close()
    started = time.monotonic()
    got: set[int] = set()
    queues = [asyncio.create_task(collect(member, got)) for member in members]
    while len(got) < 20:
        assert time.monotonic() - started < 10, sorted(got)
        await asyncio.sleep(0.01)
    for queue in queues:
        queue.cancel()
    await asyncio.gather(*queues, return_exceptions=True)
    assert got == set(range(1, 21))


async def collect(member: StanSubscription, into: set[int]) -> None:
    while True:
        into.add((await member.next(20)).sequence)
