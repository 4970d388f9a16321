"""Redelivery: when, how often, with which count, and what an ack prevents."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.raw_client import NatsClient, StanSubscription, refused
from tests.support.servers import free_port, running_server
from tests.support.stan_messages import StartPosition
from tests.support.timing import assert_at, assert_schedule
from tests.support.world import World

ACK_WAIT = 1
"""Seconds: the least that the protocol allows, and what all schedules below are made of."""


@pytest.mark.spec(79, 80)
@pytest.mark.together
async def test_each_message_has_its_own_deadline(world: World) -> None:
    """Due one AckWait after its own sending and every AckWait from then on, until it is acked."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT)
    await client.publish(channel)
    first = await subscription.next()
    await asyncio.sleep(0.4)
    await client.publish(channel)
    await subscription.next()
    deliveries = await subscription.take(4)
    assert_schedule(deliveries, first.stored_at, [(1, 1, 1.0), (2, 1, 1.4), (1, 2, 2.0), (2, 2, 2.4)])
    subscription.ack(1)
    assert_schedule([await subscription.next()], first.stored_at, [(2, 3, 3.4)])
    subscription.ack(2)
    await subscription.quiet(1.2)


@pytest.mark.spec(80)
@pytest.mark.together
@pytest.mark.parametrize("queue", ["", "q"])
@pytest.mark.parametrize("durable", ["", "d"])
async def test_period(world: World, queue: str, durable: str) -> None:
    """Every AckWait for every kind; the distance does not grow."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT, queue=queue, durable=durable)
    await client.publish(channel, b"data", reply=b"the.reply")
    first = await subscription.next()
    deliveries = await subscription.take(3)
    assert_schedule(deliveries, first.stored_at, [(1, 1, 1.0), (1, 2, 2.0), (1, 3, 3.0)])
    for delivery in deliveries:
        assert (delivery.subject, delivery.data, delivery.reply) == (channel.encode(), b"data", b"the.reply")
        assert delivery.timestamp == first.timestamp


@pytest.mark.spec(81)
@pytest.mark.together
async def test_stalled_subscription_gets_only_redeliveries(world: World) -> None:
    """No new message until an ack; then as many as fit."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT, max_in_flight=3)
    await client.publish_many(channel, [b"x"] * 6)
    assert await subscription.repeats(6) == [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1)]
    subscription.ack(2)
    assert await subscription.repeats(1) == [(4, 0)]
    subscription.ack(4)
    subscription.ack(1)
    assert await subscription.repeats(2) == [(5, 0), (6, 0)]
    subscription.ack(5)
    subscription.ack(6)
    subscription.ack(3)
    await subscription.quiet(1.2)


@pytest.mark.spec(82)
@pytest.mark.together
async def test_counts_belong_to_one_subscription(world: World) -> None:
    """Another subscription's first delivery carries none; an ack ends the count."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT)
    await client.publish(channel)
    assert await subscription.repeats(3) == [(1, 0), (1, 1), (1, 2)]
    other = await client.subscribe(channel, ack_wait=ACK_WAIT, start=StartPosition.FIRST)
    assert await other.repeats(1) == [(1, 0)]
    subscription.ack(1)
    assert await other.repeats(1) == [(1, 1)]
    assert await subscription.settled() == []


@pytest.mark.spec(83)
@pytest.mark.together
async def test_each_subscription_gets_its_own_redeliveries(world: World) -> None:
    """What one has acked and the other has not comes again to the other only."""
    client = await world.client()
    other_client = await world.client()
    channel = world.channel()
    one = await client.subscribe(channel, ack_wait=ACK_WAIT)
    two = await other_client.subscribe(channel, ack_wait=ACK_WAIT)
    await client.publish_many(channel, [b"x"] * 4)
    for subscription, acked in ((one, (1, 3)), (two, (2, 4))):
        assert await subscription.sequences(4) == [1, 2, 3, 4]
        for sequence in acked:
            subscription.ack(sequence)
    assert await one.repeats(2) == [(2, 1), (4, 1)]
    assert await two.repeats(2) == [(1, 1), (3, 1)]
    assert await one.settled() == []
    assert await two.settled() == []


@pytest.mark.spec(80)
@pytest.mark.together
async def test_all_that_is_due_comes_in_one_pass(world: World) -> None:
    """There is no cap, whatever the limit of unacked messages is, and the order is that of the deadlines."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT, max_in_flight=3000)
    await client.publish_many(channel, [b"x"] * 3000)
    start = (await subscription.take(3000))[0].stored_at
    deliveries = await subscription.take(3000)
    assert [delivery.repeat for delivery in deliveries] == [(number, 1) for number in range(1, 3001)]
    assert_at(deliveries[0].received_at - start, 1.0)
    assert deliveries[-1].received_at - deliveries[0].received_at < 0.8
    for number in range(1, 3001):
        subscription.ack(number)


@pytest.mark.spec(80)
@pytest.mark.together
async def test_redelivery_does_not_hold_up_new_messages(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT, max_in_flight=100)
    await client.publish(channel)
    assert await subscription.repeats(2) == [(1, 0), (1, 1)]
    await client.publish(channel)
    assert await subscription.settled() == [(2, 0)]
    assert await subscription.repeats(2) == [(1, 2), (2, 1)]


@pytest.mark.spec(85)
@pytest.mark.together
async def test_acks_in_the_middle_of_a_redelivery(world: World) -> None:
    """All is acked when the first redelivery arrives: each message came at most once more, and never again."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=ACK_WAIT, max_in_flight=2000)
    await client.publish_many(channel, [b"x"] * 2000)
    await subscription.sequences(2000)
    first = await subscription.next()
    for number in range(1, 2001):
        subscription.ack(number)
    await client.publish(channel)
    await asyncio.sleep(0.5)
    seen = [first.repeat, *subscription.waiting()]
    assert all(count <= 1 for _, count in seen)
    assert len(set(seen)) == len(seen)
    subscription.ack(2001)
    await subscription.quiet(1.2)


@pytest.mark.spec(86)
@pytest.mark.together
async def test_closing_while_messages_become_due(world: World) -> None:
    """A hundred subscriptions close around the moment of their first redelivery: nothing comes after the answer."""
    client = await world.client()
    publisher = await world.client()

    async def one(index: int) -> None:
        channel = world.channel()
        kind = [{}, {"queue": "q"}, {"durable": "d"}, {"queue": "q", "durable": "d"}][index % 4]
        subscription = await client.subscribe(channel, ack_wait=ACK_WAIT, **kind)  # type: ignore[arg-type]
        await publisher.publish(channel)
        await subscription.next()
        await asyncio.sleep(0.95 + index / 1000)
        await (subscription.close() if index % 2 else subscription.unsubscribe())
        arrived = subscription.waiting()
        assert arrived in ([], [(1, 1)])
        await subscription.quiet(0.2)

    await asyncio.gather(*(one(index) for index in range(100)))


@pytest.mark.spec(77)
@pytest.mark.together
async def test_ack_of_the_original_receiver_after_reassignment(world: World) -> None:
    """The message has moved to the other queue member; the first one's ack still ends it."""
    client = await world.client()
    channel = world.channel()
    one = await client.subscribe(channel, queue="q", ack_wait=ACK_WAIT)
    two = await client.subscribe(channel, queue="q", ack_wait=ACK_WAIT)
    await client.publish(channel)
    assert await one.repeats(1) == [(1, 0)]
    assert await two.repeats(1) == [(1, 1)]
    one.ack(1)
    await asyncio.gather(one.quiet(1.3), two.quiet(1.3))


@pytest.mark.spec(78)
@pytest.mark.together
async def test_count_of_a_group_goes_on_across_its_members(world: World) -> None:
    """The redelivery goes to the member with the fewest unacked messages, so here to each in turn."""
    client = await world.client()
    channel = world.channel()
    one = await client.subscribe(channel, queue="q", ack_wait=ACK_WAIT)
    two = await client.subscribe(channel, queue="q", ack_wait=ACK_WAIT)
    await client.publish(channel)
    start = (await one.next()).stored_at
    assert_schedule([await two.next()], start, [(1, 1, 1.0)])
    assert_schedule([await one.next()], start, [(1, 2, 2.0)])
    assert_schedule([await two.next()], start, [(1, 3, 3.0)])
    two.ack(1)


@pytest.mark.spec(70)
@pytest.mark.together
async def test_deadline_follows_the_ack_wait_of_the_receiving_member(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    quick = await client.subscribe(channel, queue="q", ack_wait=1)
    slow = await client.subscribe(channel, queue="q", ack_wait=2)
    await client.publish(channel)
    start = (await quick.next()).stored_at
    assert_schedule([await slow.next()], start, [(1, 1, 1.0)])
    assert_schedule([await quick.next()], start, [(1, 2, 3.0)])
    assert_schedule([await slow.next()], start, [(1, 3, 4.0)])


@pytest.mark.spec(70)
@pytest.mark.together
async def test_message_of_a_leaver_with_a_long_ack_wait(world: World) -> None:
    """It comes to the other member about 100 ms after the leave, and again after that member's AckWait."""
    client = await world.client()
    channel = world.channel()
    slow = await client.subscribe(channel, queue="q", ack_wait=60)
    quick = await client.subscribe(channel, queue="q", ack_wait=1)
    await client.publish(channel)
    await slow.next()
    left = time.monotonic()
    await slow.close()
    assert_schedule(await quick.take(2), left, [(1, 1, 0.1), (1, 2, 1.1)])


def nats_server_executable() -> str:
    """The plain NATS server, installed beside this Python."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found is not None, "nats-server is not installed in this environment"
    return found


@contextmanager
def running_nats(port: int) -> Iterator[None]:
    with subprocess.Popen(
        [nats_server_executable(), "-a", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.kill()


async def connect_when_up(port: int) -> NatsClient:
    deadline = time.monotonic() + 10
    while True:
        try:
            return await NatsClient.connect(port)
        except OSError:
            assert time.monotonic() < deadline, "no NATS server"
            await asyncio.sleep(0.02)


@pytest.mark.spec(87)
async def test_no_burst_after_nats_was_away() -> None:
    """NATS is down for several AckWaits. The client comes back to its inbox: one redelivery, and none once acked."""
    port = free_port()
    with running_nats(port):
        await (await connect_when_up(port)).close()
        server_context = running_server("-ns", f"nats://127.0.0.1:{port}", port=port, external=True)
        server = server_context.__enter__()
        world = World(server)
        client = await world.client()
        subscription = await client.subscribe("foo", ack_wait=ACK_WAIT)
        await client.publish("foo")
        start = (await subscription.next()).stored_at
    try:
        await client.nats.disconnected.wait()
        await asyncio.sleep(max(0.0, start + 2.4 - time.monotonic()))
        with running_nats(port):
            nats = await connect_when_up(port)
            arrivals = nats.subscribe(subscription.inbox)
            renewed = StanSubscription(client, b"foo", arrivals, auto_ack=False)
            renewed.start(subscription.ack_inbox, 0.0)
            client.nats = nats
            delivery = await renewed.next()
            assert delivery.sequence == 1
            assert delivery.redelivered
            renewed.ack(delivery)
            await renewed.quiet(1.3)
            await client.ping()
            assert await refused(client.subscribe("bad..name")) == "stan: invalid subject"
            await nats.close()
        await world.close()
    finally:
        server_context.__exit__(None, None, None)
