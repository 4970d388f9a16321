"""Heartbeats: when they come, whom they purge, and what a client's ping has to do with them."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support import stan_messages as stan
from tests.support import texts
from tests.support.raw_client import NatsMessage, StanClient, refused
from tests.support.stan_messages import StartPosition
from tests.support.timing import assert_at
from tests.support.world import World

INTERVAL, TIMEOUT, FAIL_COUNT = 0.4, 0.1, 2
SERVER_ARGUMENTS = ("-SD", "-mc", "0", "-hbi", "400ms", "-hbt", "100ms", "-hbf", str(FAIL_COUNT))
MUTE_SECONDS = (INTERVAL + TIMEOUT) * (FAIL_COUNT + 1)
"""How long a client lives that is there but answers nothing."""
VANISHED_SECONDS = INTERVAL * (FAIL_COUNT + 1)
"""How long a client lives whose heartbeat inbox nobody listens on: the server learns that at once."""

patient_server = pytest.mark.server_arguments("-SD", "-mc", "0", "-hbi", "200ms", "-hbt", "100ms", "-hbf", "50")
"""A server on which clients fail heartbeats soon and are purged late."""


async def purged(world: World, client: StanClient) -> float:
    """Wait until the server has given the client up; the moment of it. A ping would bring it forward."""
    await world.logged(rf"\[ERR\] STREAM: \[Client:{client.client_id.decode()}\] Timed out on heartbeats\n")
    moment = time.monotonic()
    probe = StanClient(await world.nats(), client.client_id, client.conn_id, client.cluster)
    assert await refused(probe.ping()) == texts.NOT_REGISTERED
    return moment


async def ping_on(client: StanClient) -> None:
    """Ping until that is refused."""
    while True:
        await client.ping()
        await asyncio.sleep(0.05)


async def next_heartbeat(client: StanClient, seconds: float = 2.0) -> NatsMessage:
    async with asyncio.timeout(seconds):
        return await client.heartbeats.get()


@pytest.mark.spec(16, 18)
@pytest.mark.together
async def test_cadence_and_survival(world: World) -> None:
    """Empty requests, the first one interval after the connect; who answers them stays."""
    client = await world.client()
    previous = time.monotonic()
    for _ in range(5):
        heartbeat = await next_heartbeat(client)
        assert heartbeat.payload == b""
        assert heartbeat.reply
        assert heartbeat.subject == client.heartbeat_inbox
        assert_at(heartbeat.received_at - previous, INTERVAL)
        previous = heartbeat.received_at
    await client.ping()
    await client.publish(world.channel())


@pytest.mark.spec(16)
@pytest.mark.together
async def test_one_answer_resets_the_count(world: World) -> None:
    """Only failures in a row count: every third heartbeat answered is enough."""
    client = await world.client(answering=False)
    for number in range(1, 7):
        heartbeat = await next_heartbeat(client)
        if number % 3 == 0:
            client.nats.publish(heartbeat.reply, b"whatever")
    await client.publish(world.channel())


@pytest.mark.spec(17)
@pytest.mark.together
async def test_vanished_client_is_purged(world: World) -> None:
    """Its plain subscription goes, its durable waits for it."""
    client = await world.client()
    channel = world.channel()
    connected = time.monotonic()
    await client.subscribe(channel)
    durable = await client.subscribe(channel, durable="d")
    await client.publish(channel)
    assert await durable.sequences(1) == [1]
    await client.nats.close()
    assert_at(await purged(world, client) - connected, VANISHED_SECONDS)
    name = client.client_id.decode()
    await world.logged(rf"\[Client:{name}\] Removed subscription, subject={channel}, ")
    await world.logged(rf"\[Client:{name}\] Suspended durable subscription, subject={channel}, ")
    renewed = await world.client(name)
    resumed = await renewed.subscribe(channel, durable="d")
    assert await resumed.repeats(1) == [(1, 1)]


@pytest.mark.spec(17)
@pytest.mark.together
async def test_mute_client_is_purged(world: World) -> None:
    client = await world.client(answering=False)
    subscription = await client.subscribe(world.channel())
    connected = time.monotonic()
    assert_at(await purged(world, client) - connected, MUTE_SECONDS)
    assert client.heartbeats.qsize() == FAIL_COUNT + 1
    assert await refused(client.publish(subscription.channel)) == texts.INVALID_PUBLISH
    assert await refused(client.close()) == texts.UNKNOWN_CLIENT
    publisher = await world.client()
    await publisher.publish(subscription.channel)
    assert await subscription.settled() == []


@pytest.mark.spec(7)
@pytest.mark.together
async def test_heartbeats_follow_a_client_that_reconnects(world: World) -> None:
    """They go to the new inbox, and the failures of the old connection are forgotten."""
    clients = [await world.client() for _ in range(10)]
    for client in clients:
        await client.nats.close()
    await asyncio.sleep(INTERVAL * FAIL_COUNT + 0.1)
    renewed = await asyncio.gather(*(world.client(client.client_id) for client in clients))
    for client in renewed:
        first = await next_heartbeat(client)
        second = await next_heartbeat(client)
        assert first.subject == second.subject == client.heartbeat_inbox
    await asyncio.sleep(0.1)
    for client in renewed:
        await client.ping()


@pytest.mark.spec(17)
@pytest.mark.together
async def test_messages_of_a_purged_queue_member_are_handed_over(world: World) -> None:
    leaving = await world.client()
    staying = await world.client()
    channel = world.channel()
    leaver = await leaving.subscribe(channel, queue="q", ack_wait=60)
    stayer = await staying.subscribe(channel, queue="q", ack_wait=60)
    connected = time.monotonic()
    await staying.publish(channel)
    assert await leaver.sequences(1) == [1]
    await leaving.nats.close()
    delivery = await stayer.next()
    assert delivery.repeat == (1, 1)
    assert_at(delivery.received_at - connected, VANISHED_SECONDS + 0.1)


@pytest.mark.spec(19)
@pytest.mark.together
@pytest.mark.server_arguments("-SD", "-mc", "0", "-hbi", "1s", "-hbt", "100ms", "-hbf", "2")
async def test_ping_of_a_failing_client_brings_a_heartbeat(world: World) -> None:
    """Immediately, not an interval later; answering it clears the failures."""
    client = await world.client(answering=False)
    for _ in range(2):
        await next_heartbeat(client)
    await asyncio.sleep(TIMEOUT + 0.1)
    assert client.heartbeats.empty()
    pinged = time.monotonic()
    client.answering = True
    await client.ping()
    heartbeat = await next_heartbeat(client)
    assert heartbeat.received_at - pinged < 0.3
    client.answering = False
    for _ in range(2):
        await next_heartbeat(client)
    await asyncio.sleep(TIMEOUT + 0.1)
    await client.ping()


@pytest.mark.spec(19)
@pytest.mark.together
@pytest.mark.server_arguments("-SD", "-mc", "0", "-hbi", "1s", "-hbt", "100ms", "-hbf", "2")
async def test_pings_do_not_replace_heartbeats(world: World) -> None:
    """A healthy client's ping brings no extra heartbeat; a mute client is purged however much it pings."""
    healthy = await world.client()
    await healthy.ping()
    await asyncio.sleep(0.3)
    assert healthy.heartbeats.empty()
    mute = await world.client(answering=False)
    assert await refused(ping_on(mute)) == texts.NOT_REGISTERED


@pytest.mark.spec(20)
@pytest.mark.together
async def test_ping_answers(world: World) -> None:
    """Only the connection ID counts. Nothing at all answers what is empty or cannot be decoded."""
    client = await world.client()
    subject = client.connect_response.pingRequests
    answer = await client.nats.request(subject, stan.Ping(connID=client.conn_id).SerializeToString())
    assert answer.payload == b""
    refusal = stan.PingResponse(error=texts.NOT_REGISTERED.encode()).SerializeToString()
    for payload in (stan.Ping(connID=b"nobody").SerializeToString(), b"\x0a\x00", b"\x12\x03abc"):
        assert (await client.nats.request(subject, payload)).payload == refusal
    await asyncio.gather(*(client.nats.unanswered(subject, payload) for payload in (b"", *stan.GARBAGE)))
    await client.close()
    assert await refused(client.ping()) == texts.NOT_REGISTERED


@pytest.mark.spec(21)
@pytest.mark.together
@patient_server
async def test_failing_client_gets_new_messages_but_no_redeliveries(world: World) -> None:
    """Until it answers a heartbeat again; then the next tick of AckWait brings them."""
    client = await world.client(answering=False)
    publisher = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=1)
    await publisher.publish(channel)
    start = (await subscription.next()).stored_at
    name = client.client_id.decode()
    subid = world.subscription_id(channel)
    await world.logged(
        rf"\[DBG\] STREAM: \[Client:{name}\] Skipping redelivery to subid={subid} due to missed client heartbeat"
    )
    assert_at(time.monotonic() - start, 1.0)
    await publisher.publish(channel)
    assert await subscription.settled() == [(2, 0)]
    client.answering = True
    deliveries = await subscription.take(2)
    assert [delivery.repeat for delivery in deliveries] == [(1, 1), (2, 1)]
    assert_at(deliveries[0].received_at - start, 2.0)


@pytest.mark.spec(21)
@pytest.mark.together
@patient_server
async def test_subscription_made_while_failing_is_redelivered(world: World) -> None:
    """The failure is noted on the subscriptions that exist when it begins."""
    client = await world.client(answering=False)
    publisher = await world.client()
    channel = world.channel()
    await next_heartbeat(client)
    await next_heartbeat(client)
    subscription = await client.subscribe(channel, ack_wait=1)
    await publisher.publish(channel)
    assert await subscription.repeats(2, 2.0) == [(1, 0), (1, 1)]


@pytest.mark.spec(22)
@pytest.mark.together
@patient_server
async def test_messages_of_a_failing_queue_member_come_to_the_healthy_one(world: World) -> None:
    """Redeliveries as well as all new messages, as long as there is a healthy one."""
    failing = await world.client(answering=False)
    healthy = await world.client()
    channel = world.channel()
    one = await failing.subscribe(channel, queue="q", ack_wait=1)
    await healthy.publish_many(channel, [b"x"] * 2)
    start = (await one.next()).stored_at
    two = await healthy.subscribe(channel, queue="q", ack_wait=1, auto_ack=True)
    await next_heartbeat(failing)
    await next_heartbeat(failing)
    await healthy.publish_many(channel, [b"x"] * 5)
    assert await two.sequences(5) == [3, 4, 5, 6, 7]
    deliveries = await two.take(2)
    assert [delivery.repeat for delivery in deliveries] == [(1, 1), (2, 1)]
    assert_at(deliveries[0].received_at - start, 1.0)
    assert await one.settled() == [(2, 0)]
    await two.close()
    await healthy.publish(channel)
    assert await one.settled() == [(8, 0)], "the failing one is better than none"
    assert (8, 1) in await one.repeats(1, 2.0)


@pytest.mark.spec(23)
@pytest.mark.together
@patient_server
@pytest.mark.parametrize("queue", ["", "q"])
async def test_resume_clears_the_failure(world: World, queue: str) -> None:
    """A durable whose client was failing is redelivered again and again once it is resumed."""
    client = await world.client(answering=False)
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", queue=queue, ack_wait=1)
    await client.publish(channel)
    await durable.next()
    await next_heartbeat(client)
    await next_heartbeat(client)
    await client.nats.close()
    renewed = await world.client(client.client_id)
    resumed = await renewed.subscribe(channel, durable="d", queue=queue, ack_wait=1, start=StartPosition.FIRST)
    assert await resumed.repeats(3) == [(1, 1), (1, 2), (1, 3)]


@pytest.mark.spec(95)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-hbi", "200ms", "-hbt", "100ms", "-hbf", "1", "-mi", "300ms")
async def test_inactivity_begins_when_the_last_subscriber_is_gone(world: World) -> None:
    """By a close of its connection, or purged by heartbeats; an offline durable does not keep a channel alive."""
    closing, vanishing = await world.client(), await world.client()
    by_close, by_purge = world.channel(), world.channel()
    await closing.subscribe(by_close, durable="d")
    await vanishing.subscribe(by_purge)
    await closing.close()
    closed = time.monotonic()
    await vanishing.nats.close()
    await world.logged(f'Channel "{by_close}" has been deleted')
    assert_at(time.monotonic() - closed, 0.3)
    await world.logged(f'Channel "{by_purge}" has been deleted')
    assert_at(time.monotonic() - closed, 0.4 + 0.3)
