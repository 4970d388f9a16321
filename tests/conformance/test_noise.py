"""Hostile and strange bytes on every subject of the protocol, while somebody else goes on working."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.support import stan_messages as stan
from tests.support import texts
from tests.support.raw_client import as_bytes, refused
from tests.support.stan_messages import StartPosition
from tests.support.world import World

SEED = 20_250_601
SUBJECTS = {
    "_STAN.discover.test-cluster": stan.ConnectRequest,
    "_STAN.discover.test-cluster.pings": stan.Ping,
    "_STAN.pub.test-cluster.noise": stan.PubMsg,
    "_STAN.sub.test-cluster": stan.SubscriptionRequest,
    "_STAN.unsub.test-cluster": stan.UnsubscribeRequest,
    "_STAN.subclose.test-cluster": stan.UnsubscribeRequest,
    "_STAN.close.test-cluster": stan.CloseRequest,
}


async def work(world: World, begun: asyncio.Event, stop: asyncio.Event) -> int:
    """Publish, receive and ack until told to stop; everything must come through in order. The number of messages."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, max_in_flight=10, auto_ack=True)
    count = 0
    while not stop.is_set():
        await client.publish_many(channel, [b"%d" % (count + index) for index in range(10)])
        deliveries = await subscription.take(10)
        assert [delivery.data for delivery in deliveries] == [b"%d" % (count + index) for index in range(10)]
        count += 10
        await client.ping()
        begun.set()
    return count


async def make_noise_beside_work(world: World, frames: list[tuple[str, bytes]]) -> None:
    """Send the frames, half of them as requests, and check that neither the work nor the server suffers."""
    nats = await world.nats()
    begun, stop = asyncio.Event(), asyncio.Event()
    working = asyncio.create_task(work(world, begun, stop))
    try:
        async with asyncio.timeout(10):
            await begun.wait()
        inbox = nats.new_inbox()
        nats.subscribe(inbox, lambda _: None)
        for index, (subject, payload) in enumerate(frames):
            nats.publish(subject, payload, inbox if index % 2 else b"")
            if len(payload) > 10_000 or index % 100 == 0:
                await nats.flush()
        await nats.flush()
        assert nats.errors == []
    finally:
        stop.set()
        count = await working
    assert count > 0
    newcomer = await world.client()
    await newcomer.publish(world.channel())


@pytest.mark.spec(2, 25)
async def test_a_mebibyte_of_noise_to_each_subject(world: World) -> None:
    generator = random.Random(SEED)
    subscription = await (await world.client()).subscribe(world.channel())
    subjects = [*SUBJECTS, subscription.ack_inbox.decode()]
    frames = []
    for subject in subjects:
        frames.append((subject, generator.randbytes(1 << 20)))
        frames.append((subject, bytes(1 << 20)))
        frames.append((subject, b"\x0a\xf8\xff\x3f" + b"a" * ((1 << 20) - 8)))  # a field of almost a mebibyte
    await make_noise_beside_work(world, frames)


@pytest.mark.spec(2, 25, 50)
async def test_small_noise_to_each_subject(world: World) -> None:
    generator = random.Random(SEED)
    subscription = await (await world.client()).subscribe(world.channel())
    subjects = [*SUBJECTS, subscription.ack_inbox.decode()]
    frames = []
    for _ in range(300):
        for subject in subjects:
            frames.append((subject, generator.randbytes(generator.randrange(40))))
    await make_noise_beside_work(world, frames)


@pytest.mark.spec(25, 38)
async def test_damaged_requests(world: World) -> None:
    """Valid requests of a living client with a few bytes changed, cut off or added."""
    generator = random.Random(SEED)
    victim = await world.client()
    fields: dict[str, Any] = {
        "clientID": victim.client_id,
        "connID": victim.conn_id,
        "heartbeatInbox": b"_INBOX.none",
        "subject": b"damaged",
        "guid": b"guid",
        "data": b"data",
        "inbox": b"_INBOX.none",
        "maxInFlight": 10,
        "ackWaitInSecs": 30,
    }
    frames = []
    for subject, message_class in SUBJECTS.items():
        names = [field.name for field in message_class.DESCRIPTOR.fields if field.name in fields]
        valid = message_class(**{name: fields[name] for name in names}).SerializeToString()
        for _ in range(200):
            payload = bytearray(valid)
            for _ in range(generator.randrange(1, 4)):
                payload[generator.randrange(len(payload))] = generator.randrange(256)
            cut = generator.randrange(len(payload) + 1)
            frames.append((subject, bytes(payload[:cut] if generator.random() < 0.3 else payload)))
    await make_noise_beside_work(world, frames)


@pytest.mark.spec(50)
async def test_noise_as_acks_harms_no_subscription(world: World) -> None:
    generator = random.Random(SEED)
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, max_in_flight=1)
    await client.publish_many(channel, [b"x"] * 2)
    assert await subscription.sequences(1) == [1]
    for _ in range(500):
        client.nats.publish(subscription.ack_inbox, b"\xff" + generator.randbytes(generator.randrange(30)))
    await client.publish(channel)
    assert await subscription.settled() == []
    subscription.ack(1)
    assert await subscription.sequences(1) == [2]


@pytest.mark.spec(105)
@pytest.mark.parametrize(
    "head", [b"text", pytest.param(b"\xfe", marks=pytest.mark.name_of_bytes)], ids=["text", "bytes"]
)
async def test_strings_need_not_be_text(world: World, head: bytes) -> None:
    """Guid, inboxes, connection ID, channel, queue group, durable name and reply are bytes, and come back as such."""
    nats = await world.nats()
    raw = b"\xff\xfe\x80" + as_bytes(world.name())
    client = await world.client(nats=nats, conn_id=raw)
    channel = head + b"." + (as_bytes(world.channel()) if head.isascii() else raw)
    for names in ({}, {"queue": raw}, {"durable": raw}, {"queue": raw, "durable": raw + b"x"}):
        inbox = b"inbox.\xff\xfe." + as_bytes(world.name())
        subscription = await client.subscribe(channel, inbox=inbox, start=StartPosition.NEW_ONLY, **names)  # type: ignore[arg-type]
        ack = await client.publish(channel, b"\xff", guid=raw, reply=raw, nats_subject="_STAN.pub.test-cluster.x")
        assert ack.guid == raw
        delivery = await subscription.next()
        assert (delivery.subject, delivery.reply, delivery.data) == (channel, raw, b"\xff")
        subscription.ack(delivery)
        await subscription.close()
    await client.ping()


@pytest.mark.spec(105)
async def test_heartbeat_inbox_need_not_be_text(world: World) -> None:
    """The owner is probed on an inbox of arbitrary bytes."""
    nats = await world.nats()
    name = world.name().encode()
    inbox = b"hb.\xff\xfe." + name
    probes = nats.subscribe(inbox)
    request = stan.ConnectRequest(clientID=name, heartbeatInbox=inbox, connID=b"\xff", protocol=1).SerializeToString()
    await nats.request("_STAN.discover.test-cluster", request)
    newcomer = asyncio.create_task(refused(world.client(name)))
    probe = await probes.next()
    nats.publish(probe.reply)
    assert await newcomer == texts.DUPLICATE_CLIENT
