"""Durable subscriptions: suspended, resumed, replaced, removed."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import texts
from tests.support.raw_client import StanClient, refused
from tests.support.stan_messages import StartPosition
from tests.support.timing import assert_schedule
from tests.support.world import World


async def reconnect(world: World, client: StanClient) -> StanClient:
    """Close the STAN connection and connect again with the same client ID."""
    await client.close()
    return await world.client(client.client_id, nats=client.nats)


@pytest.mark.spec(52)
@pytest.mark.parametrize("crash", [False, True], ids=["close", "crash"])
async def test_resume_after_reconnect(world: World, crash: bool) -> None:
    """Three times over: it goes on where it stood."""
    client = await world.client()
    publisher = await world.client()
    channel = world.channel()
    for number in range(3):
        durable = await client.subscribe(channel, durable="d", start=StartPosition.FIRST, auto_ack=True)
        await publisher.publish_many(channel, [b"x"] * 2)
        assert await durable.sequences(2) == [2 * number + 1, 2 * number + 2]
        if crash:
            await client.nats.flush()
            await client.nats.close()
            client = await world.client(client.client_id)
        else:
            client = await reconnect(world, client)


@pytest.mark.spec(52)
async def test_messages_published_meanwhile_wait(world: World) -> None:
    client = await world.client()
    publisher = await world.client()
    channel = world.channel()
    await client.subscribe(channel, durable="d")
    client = await reconnect(world, client)
    await publisher.publish_many(channel, [b"x"] * 5)
    resumed = await client.subscribe(channel, durable="d", auto_ack=True)
    assert await resumed.sequences(5) == [1, 2, 3, 4, 5]


@pytest.mark.spec(53)
async def test_active_durable_is_not_given_away(world: World) -> None:
    client = await world.client()
    other = await world.client()
    channel = world.channel()
    first = await client.subscribe(channel, durable="d")
    assert await refused(client.subscribe(channel, durable="d")) == texts.DUPLICATE_DURABLE
    await world.logged(f'Unable to create subscription on "{channel}": stan: duplicate durable registration')
    theirs = await other.subscribe(channel, durable="d")
    group = await client.subscribe(channel, durable="d", queue="q")
    elsewhere = await client.subscribe(world.channel(), durable="d")
    await client.publish(channel)
    for subscription in (first, theirs, group):
        assert await subscription.sequences(1) == [1]
    await elsewhere.unsubscribe()


@pytest.mark.spec(53)
@pytest.mark.better_than_original("the original joins client ID, channel and durable name by a dash")
async def test_dashes_do_not_confuse_durables(world: World) -> None:
    """Client `x`, durable `s-d` and client `x-s`, durable `d` on channel `s` are two durables."""
    short = await world.client()
    suffix = world.channel()
    long = await world.client(f"{short.client_id.decode()}-{suffix}")
    await short.subscribe(suffix, durable=f"{suffix}-d")
    await long.subscribe(suffix, durable="d")


@pytest.mark.spec(54)
async def test_only_unacked_messages_come_again(world: World) -> None:
    """Each time with a new ack inbox; what is sent to the old one is lost; counts go on."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", max_in_flight=10)
    await client.publish_many(channel, [b"x"] * 5)
    assert await durable.sequences(5) == [1, 2, 3, 4, 5]
    for sequence in (2, 4):
        durable.ack(sequence)
    await durable.close()
    resumed = await client.subscribe(channel, durable="d")
    assert resumed.ack_inbox != durable.ack_inbox
    assert await resumed.repeats(3) == [(1, 1), (3, 1), (5, 1)]
    durable.ack(1)
    resumed.ack(3)
    client = await reconnect(world, client)
    again = await client.subscribe(channel, durable="d")
    assert len({durable.ack_inbox, resumed.ack_inbox, again.ack_inbox}) == 3
    assert await again.repeats(2) == [(1, 2), (5, 2)]
    await client.publish(channel)
    assert await again.sequences(1) == [6]
    assert await again.settled() == []
    assert await durable.settled() == []
    assert await resumed.settled() == []


@pytest.mark.spec(55)
@pytest.mark.parametrize(
    "options",
    [
        {"start": StartPosition.NEW_ONLY},
        {"start": StartPosition.FIRST},
        {"start": StartPosition.LAST_RECEIVED},
        {"start": StartPosition.SEQUENCE_START, "sequence": 2},
        {"start": StartPosition.TIME_DELTA_START, "delta_ns": 3600 * 10**9},
    ],
    ids=str,
)
@pytest.mark.parametrize("queue", ["", "q"])
async def test_start_position_of_a_resume_is_ignored(world: World, options: dict[str, int], queue: str) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish_many(channel, [b"x"] * 4)
    first = await client.subscribe(
        channel, durable="d", queue=queue, start=StartPosition.SEQUENCE_START, sequence=3, auto_ack=True
    )
    assert await first.sequences(2) == [3, 4]
    await first.close()
    await client.publish_many(channel, [b"x"] * 2)
    resumed = await client.subscribe(channel, durable="d", queue=queue, **options)  # type: ignore[arg-type]
    assert await resumed.sequences(2) == [5, 6]


@pytest.mark.spec(56)
@pytest.mark.parametrize("queue", ["", "q"])
async def test_unsubscribe_forgets_and_close_keeps(world: World, queue: str) -> None:
    """A name that was unsubscribed begins anew, at its own start position and without the unacked messages."""
    client = await world.client()
    channel = world.channel()
    first = await client.subscribe(channel, durable="d", queue=queue)
    await client.publish_many(channel, [b"x"] * 2)
    assert await first.sequences(2) == [1, 2]
    first.ack(1)
    await first.close()
    assert await refused(first.unsubscribe()) == texts.INVALID_SUBSCRIPTION, "what is closed must be resumed first"
    resumed = await client.subscribe(channel, durable="d", queue=queue)
    assert await resumed.repeats(1) == [(2, 1)]
    await resumed.unsubscribe()
    await client.publish(channel)
    new = await client.subscribe(channel, durable="d", queue=queue)
    await client.publish(channel)
    assert await new.sequences(1) == [4]
    await new.unsubscribe()
    newest = await client.subscribe(channel, durable="d", queue=queue, start=StartPosition.FIRST)
    assert await newest.sequences(4) == [1, 2, 3, 4]


@pytest.mark.spec(57)
async def test_redeliveries_precede_new_messages_on_resume(world: World) -> None:
    """Also while somebody publishes all the time."""
    client = await world.client()
    publisher = await world.client()
    channel = world.channel()
    for _ in range(5):
        durable = await client.subscribe(channel, durable="d", max_in_flight=10_000)
        await publisher.publish_many(channel, [b"x"] * 50)
        before = len(await durable.take(50))
        await durable.close()
        publishing = asyncio.create_task(publisher.publish_many(channel, [b"x"] * 200))
        resumed = await client.subscribe(channel, durable="d", max_in_flight=10_000)
        await publishing
        deliveries = await resumed.take(before + 200)
        sequences = [delivery.sequence for delivery in deliveries]
        assert sequences == list(range(sequences[0], sequences[0] + 250))
        assert [delivery.redelivered for delivery in deliveries] == [True] * 50 + [False] * 200
        for delivery in deliveries:
            resumed.ack(delivery)
        await resumed.close()


@pytest.mark.spec(58)
async def test_resume_with_a_backlog_and_a_limit(world: World) -> None:
    """Of 210 messages 10 are consumed and 100 in flight when the durable is closed: everything comes, in order."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", max_in_flight=100)
    await client.publish_many(channel, [b"x"] * 210)
    for delivery in (await durable.take(100))[:10]:
        durable.ack(delivery)
    await durable.sequences(10)
    await durable.close()
    resumed = await client.subscribe(channel, durable="d", max_in_flight=100, auto_ack=True)
    assert await resumed.repeats(200) == [(n, 1) for n in range(11, 111)] + [(n, 0) for n in range(111, 211)]


@pytest.mark.spec(58)
async def test_redeliveries_on_resume_exceed_a_lower_limit(world: World) -> None:
    """All pending ones come at once; new ones only when fewer than the limit are pending."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", max_in_flight=4)
    await client.publish_many(channel, [b"x"] * 6)
    assert await durable.sequences(4) == [1, 2, 3, 4]
    await durable.close()
    resumed = await client.subscribe(channel, durable="d", max_in_flight=2)
    assert await resumed.repeats(4) == [(1, 1), (2, 1), (3, 1), (4, 1)]
    resumed.ack(1)
    resumed.ack(2)
    await client.publish(channel)
    assert await resumed.settled() == []
    resumed.ack(3)
    assert await resumed.sequences(1) == [5]


@pytest.mark.spec(58)
async def test_higher_limit_on_resume_takes_effect_at_once(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", max_in_flight=1)
    await client.publish_many(channel, [b"x"] * 5)
    assert await durable.sequences(1) == [1]
    await durable.close()
    resumed = await client.subscribe(channel, durable="d", max_in_flight=5)
    assert await resumed.repeats(5) == [(1, 1), (2, 0), (3, 0), (4, 0), (5, 0)]


@pytest.mark.spec(59)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-replace_durable")
async def test_replace_durable(world: World) -> None:
    """The newcomer takes over, unacked messages included; the first one is closed without being told."""
    client = await world.client()
    channel = world.channel()
    first = await client.subscribe(channel, durable="d")
    await client.publish_many(channel, [b"x"] * 2)
    assert await first.sequences(2) == [1, 2]
    first.ack(1)
    await client.nats.flush()
    second = await client.subscribe(channel, durable="d")
    assert await second.repeats(1) == [(2, 1)]
    await client.publish(channel)
    assert await second.sequences(1) == [3]
    assert await first.settled() == []
    assert await refused(first.close()) == texts.INVALID_SUBSCRIPTION
    assert await refused(first.unsubscribe()) == texts.INVALID_SUBSCRIPTION
    await second.close()
    assert await refused(second.close()) == texts.INVALID_SUBSCRIPTION


@pytest.mark.spec(59)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-replace_durable")
async def test_replace_durable_leaves_queue_groups_alone(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    members = [await client.subscribe(channel, durable="d", queue="q") for _ in range(2)]
    await client.publish_many(channel, [b"x"] * 2)
    assert [await member.sequences(1) for member in members] == [[1], [2]]


@pytest.mark.spec(62)
@pytest.mark.together
async def test_deadlines_after_a_resume(world: World) -> None:
    """The immediate redelivery counts as one: the next is due one new AckWait after the old deadline."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", ack_wait=2)
    await client.publish(channel)
    start = (await durable.next()).stored_at
    await asyncio.sleep(0.3)
    await durable.close()
    resumed = await client.subscribe(channel, durable="d", ack_wait=1)
    assert_schedule(await resumed.take(3), start, [(1, 1, 0.3), (1, 2, 3.0), (1, 3, 4.0)])


@pytest.mark.spec(62)
@pytest.mark.together
async def test_deadlines_after_a_resume_beyond_them(world: World) -> None:
    """Offline for several AckWaits: one redelivery at once, then one every AckWait; no burst to catch up."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", ack_wait=1)
    await client.publish(channel)
    await durable.next()
    await durable.close()
    await asyncio.sleep(2.3)
    resumed = await client.subscribe(channel, durable="d", ack_wait=1)
    deliveries = await resumed.take(3)
    assert_schedule(deliveries, resumed.responded_at, [(1, 1, 0.0), (1, 2, 1.0), (1, 3, 2.0)])
    assert await durable.settled() == [], "an offline durable gets nothing"


@pytest.mark.spec(62)
@pytest.mark.together
async def test_long_deadline_outlives_a_resume(world: World) -> None:
    """Sent with an AckWait of 30 s and resumed with 1 s: after the immediate redelivery there is silence."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", ack_wait=30)
    await client.publish(channel)
    await durable.next()
    await durable.close()
    resumed = await client.subscribe(channel, durable="d", ack_wait=1)
    assert await resumed.repeats(1) == [(1, 1)]
    await resumed.quiet(2.5)
