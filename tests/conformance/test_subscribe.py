"""Subscribing: what is refused and in which order, the response, unsubscribing, and acks that hit nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import stan_messages as stan
from tests.support import texts
from tests.support.raw_client import Delivery, NatsMessage, StanClient, StanSubscription, refused
from tests.support.stan_messages import GARBAGE, StanMessage, StartPosition, decode_canonical
from tests.support.world import World

KINDS: dict[str, dict[str, Any]] = {
    "regular": {},
    "durable": {"durable": "d"},
    "queue": {"queue": "q"},
    "durable queue": {"durable": "d", "queue": "q"},
}
all_kinds = pytest.mark.parametrize("kind", KINDS)


async def subscribe_request(client: StanClient, payload: bytes) -> StanMessage:
    answer = await client.nats.request("_STAN.sub.test-cluster", payload)
    return decode_canonical(stan.SubscriptionResponse, answer.payload)


@pytest.mark.spec(38)
@pytest.mark.parametrize("payload", GARBAGE)
async def test_undecodable_subscribe(world: World, payload: bytes) -> None:
    response = await subscribe_request(await world.client(), payload)
    assert response == stan.SubscriptionResponse(error=texts.INVALID_SUBSCRIBE.encode())
    await world.logged(r"\[ERR\] STREAM: Invalid Subscription request from _STAN\.sub\.test-cluster: ")


@pytest.mark.spec(38)
async def test_empty_subscribe(world: World) -> None:
    """An empty payload is a request with all defaults: the client ID is what it misses first."""
    response = await subscribe_request(await world.client(), b"")
    assert response == stan.SubscriptionResponse(error=texts.CLIENT_MISSING.encode())
    await world.logged("Missing ClientID in subscription request from _STAN.sub.test-cluster")


@pytest.mark.spec(38)
async def test_order_of_the_checks(world: World) -> None:
    """All is wrong at first; mending one field at a time shows the next complaint."""
    client = await world.client()
    channel = world.channel()
    wrong: dict[str, Any] = {
        "clientID": b"",
        "ackWaitInSecs": 0,
        "maxInFlight": 0,
        "startPosition": 5,
        "subject": b"a..b",
        "qGroup": b"q",
        "durableName": b"d:d",
    }
    steps: list[tuple[str, Any, str]] = [
        ("clientID", b"nobody", texts.CLIENT_MISSING),
        ("ackWaitInSecs", 1, texts.INVALID_ACK_WAIT),
        ("maxInFlight", 1, texts.INVALID_MAX_IN_FLIGHT),
        ("startPosition", 4, texts.INVALID_START),
        ("subject", channel.encode(), texts.INVALID_SUBJECT),
        ("clientID", client.client_id, texts.UNKNOWN_CLIENT),
        ("durableName", b"dd", texts.QUEUE_DURABLE_COLON),
    ]
    for field, right, complaint in steps:
        response = await subscribe_request(client, stan.SubscriptionRequest(**wrong).SerializeToString())
        assert response == stan.SubscriptionResponse(error=complaint.encode())
        wrong[field] = right
    response = await subscribe_request(client, stan.SubscriptionRequest(**wrong).SerializeToString())
    assert not response.error
    assert response.ackInbox


@pytest.mark.spec(38)
@pytest.mark.parametrize(
    ("fields", "complaint", "line"),
    [
        ({"ackWaitInSecs": 0}, texts.INVALID_ACK_WAIT, r"Invalid AckWait \(0\) in subscription request from _STA"),
        ({"ackWaitInSecs": -1}, texts.INVALID_ACK_WAIT, r"Invalid AckWait \(-1\) in subscription request"),
        ({"maxInFlight": 0}, texts.INVALID_MAX_IN_FLIGHT, r"Invalid MaxInflight \(0\)"),
        ({"maxInFlight": -5}, texts.INVALID_MAX_IN_FLIGHT, r"Invalid MaxInflight \(-5\)"),
        ({"startPosition": 5}, texts.INVALID_START, r"Invalid StartPosition \(5\)"),
        ({"startPosition": -1}, texts.INVALID_START, r"Invalid StartPosition \(-1\)"),
        ({"subject": b"a..b"}, texts.INVALID_SUBJECT, r'Invalid channel "a\.\.b"'),
        ({"subject": b""}, texts.INVALID_SUBJECT, r'Invalid channel ""'),
    ],
)
async def test_invalid_field(world: World, fields: dict[str, Any], complaint: str, line: str) -> None:
    client = await world.client()
    assert await refused(client.subscribe(world.channel(), **fields)) == complaint
    await world.logged(rf"\[ERR\] STREAM: \[Client:{client.client_id.decode()}\] {line}")


@pytest.mark.spec(38)
async def test_durable_name_with_colon(world: World) -> None:
    """Refused together with a queue group only; the channel has been created by then."""
    client = await world.client()
    channel = world.channel()
    assert await refused(client.subscribe(channel, queue="q", durable="a:b")) == texts.QUEUE_DURABLE_COLON
    await world.logged(f'Channel "{channel}" has been created')
    await world.logged(rf'Unable to create subscription on "{channel}": stan: durable name of a durable queue')
    await client.subscribe(channel, durable="a:b")


@pytest.mark.spec(38)
async def test_large_values_have_no_upper_bound(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=2**31 - 1, max_in_flight=2**31 - 1)
    await client.publish(channel)
    assert await subscription.sequences(1) == [1]


@pytest.mark.spec(38)
@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (b"\x30\x81\x80\x80\x80\x10", ""),  # ackWaitInSecs = 2**32 + 1
        (b"\x30\x80\x80\x80\x80\x10", texts.INVALID_ACK_WAIT),  # 2**32
        (b"\x30\xff\xff\xff\xff\x0f", texts.INVALID_ACK_WAIT),  # -1, in five bytes
        (b"\x28" + b"\xff" * 9 + b"\x01", texts.INVALID_MAX_IN_FLIGHT),  # -1, in ten bytes
        (b"\x50\x84\x80\x80\x80\x10", ""),  # startPosition = 2**32 + 4
        (b"\x52\x01\x01", texts.INVALID_SUBSCRIBE),  # startPosition as bytes
    ],
)
async def test_numbers_are_cut_to_32_bits(world: World, extra: bytes, complaint: str) -> None:
    client = await world.client()
    request = stan.SubscriptionRequest(
        clientID=client.client_id, subject=world.channel().encode(), inbox=b"inbox", maxInFlight=1, ackWaitInSecs=1
    )
    response = await subscribe_request(client, request.SerializeToString() + extra)
    assert response.error.decode() == complaint


@pytest.mark.spec(39)
@all_kinds
async def test_subscribe_of_unknown_client_creates_nothing(world: World, kind: str) -> None:
    client = await world.client()
    channel = world.channel()
    assert await refused(client.subscribe(channel, clientID=b"nobody", **KINDS[kind])) == texts.UNKNOWN_CLIENT
    request = stan.UnsubscribeRequest(clientID=client.client_id, subject=channel.encode(), inbox=b"x")
    answer = await client.nats.request("_STAN.unsub.test-cluster", request.SerializeToString())
    assert answer.payload == stan.SubscriptionResponse(error=texts.UNKNOWN_CHANNEL.encode()).SerializeToString()


@pytest.mark.spec(44)
@all_kinds
async def test_response_precedes_messages(world: World, kind: str) -> None:
    """Reply and inbox are one subject, and someone publishes all the while: the response is first nevertheless."""
    publisher = await world.client()
    client = await world.client()
    publishing = True

    async def publish(channel: str) -> None:
        while publishing:
            await publisher.publish_many(channel, [b"x"] * 20)

    async def one_round(channel: str) -> None:
        inbox = client.nats.new_inbox()
        arrivals = client.nats.subscribe(inbox)
        request = stan.SubscriptionRequest(
            clientID=client.client_id,
            subject=channel.encode(),
            qGroup=KINDS[kind].get("queue", "").encode(),
            durableName=KINDS[kind].get("durable", "").encode(),
            inbox=inbox,
            maxInFlight=100,
            ackWaitInSecs=30,
            startPosition=StartPosition.FIRST,
        )
        client.nats.publish("_STAN.sub.test-cluster", request.SerializeToString(), inbox)
        response = decode_canonical(stan.SubscriptionResponse, (await arrivals.next()).payload)
        assert response.ackInbox
        assert Delivery.of(await arrivals.next()).sequence == 1
        assert Delivery.of(await arrivals.next()).sequence == 2

    channels = [world.channel() for _ in range(10)]
    for channel in channels:
        await publisher.publish_many(channel, [b"x"] * 2)
    writer = asyncio.gather(*(publish(channel) for channel in channels[:1]))
    await asyncio.gather(*(one_round(channel) for channel in channels))
    publishing = False
    await writer


@pytest.mark.spec(44)
async def test_ack_right_after_the_response_is_not_lost(world: World) -> None:
    """The ack inbox is alive when the response arrives."""
    client = await world.client()
    for _ in range(20):
        channel = world.channel()
        await client.publish(channel)
        subscription = await client.subscribe(channel, durable="d", start=StartPosition.FIRST, auto_ack=True)
        await subscription.next()
        await subscription.close()
        resumed = await client.subscribe(channel, durable="d")
        await client.publish(channel)
        assert await resumed.repeats(1) == [(2, 0)]


@pytest.mark.spec(47)
@all_kinds
@pytest.mark.parametrize("way", ["close", "unsubscribe"])
async def test_leave_by_message_inbox(world: World, kind: str, way: str) -> None:
    """What a client does that saw no response to its subscribe."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, **KINDS[kind])
    leave = subscription.close if way == "close" else subscription.unsubscribe
    await leave(inbox=subscription.inbox)
    await client.publish(channel)
    assert await subscription.settled() == []
    assert await refused(leave()) == texts.INVALID_SUBSCRIPTION


@pytest.mark.spec(47)
async def test_close_by_message_inbox_without_reply(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, max_in_flight=1)
    request = stan.UnsubscribeRequest(clientID=client.client_id, subject=channel.encode(), inbox=subscription.inbox)
    client.nats.publish("_STAN.subclose.test-cluster", request.SerializeToString())
    await world.logged(rf"\[Client:{client.client_id.decode()}\] Removed subscription, subject={channel},")
    await client.publish(channel)
    assert await subscription.settled() == []


@pytest.mark.spec(48)
@pytest.mark.parametrize("subject", ["_STAN.unsub.test-cluster", "_STAN.subclose.test-cluster"])
@pytest.mark.parametrize("payload", GARBAGE)
async def test_undecodable_unsubscribe(world: World, subject: str, payload: bytes) -> None:
    answer = await (await world.nats()).request(subject, payload)
    assert answer.payload == stan.SubscriptionResponse(error=texts.INVALID_UNSUBSCRIBE.encode()).SerializeToString()
    await world.logged(rf"Invalid {'unsub' if '.unsub.' in subject else 'sub close'} request from {subject}")


@pytest.mark.spec(48)
@all_kinds
@pytest.mark.parametrize("way", ["close", "unsubscribe"])
async def test_unsubscribe_errors(world: World, kind: str, way: str) -> None:
    """Channel, then inbox, then client are checked; a success is an empty answer, and a second time fails."""
    client = await world.client()
    stranger = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, **KINDS[kind])
    leave = subscription.close if way == "close" else subscription.unsubscribe
    what = "sub close" if way == "close" else "unsub"
    name = client.client_id.decode()
    assert await refused(leave(subject=b"no-channel", inbox=b"no-inbox", clientID=b"")) == texts.UNKNOWN_CHANNEL
    assert await refused(leave(subject=b"")) == texts.UNKNOWN_CHANNEL
    assert await refused(leave(inbox=b"no-inbox", clientID=b"nobody")) == texts.INVALID_SUBSCRIPTION
    assert await refused(leave(inbox=b"")) == texts.INVALID_SUBSCRIPTION
    assert await refused(leave(clientID=b"nobody")) == texts.UNKNOWN_CLIENT
    assert await refused(leave(clientID=b"")) == texts.UNKNOWN_CLIENT
    assert await refused(leave(clientID=stranger.client_id)) == texts.UNKNOWN_CLIENT
    await client.publish(channel)
    assert await subscription.sequences(1) == [1], "still subscribed"
    await leave()
    assert await refused(leave()) == texts.INVALID_SUBSCRIPTION
    assert await refused(leave(subject=b"no-channel")) == texts.UNKNOWN_CHANNEL
    await world.logged(rf"\[Client:{name}\] {what} request for unknown channel no-channel")
    await world.logged(rf"\[Client:nobody\] {what} request for unknown inbox no-inbox")
    await world.logged(rf"\[Client:nobody\] {what} request for unknown client")


@pytest.mark.spec(49)
async def test_requests_queued_behind_the_close_of_their_client(world: World) -> None:
    """Subscribes sent right behind the close in one go fail as for an unknown client; none of them is left behind."""
    client = await world.client()
    channel = world.channel()
    answers: list[bytes] = []
    done = asyncio.Event()
    reply = client.nats.new_inbox()

    def on_answer(message: NatsMessage) -> None:
        answers.append(message.payload)
        if len(answers) == 50:
            done.set()

    client.nats.subscribe(reply, on_answer)
    await client.close()
    request = stan.SubscriptionRequest(
        clientID=client.client_id, subject=channel.encode(), inbox=reply + b"x", maxInFlight=1, ackWaitInSecs=30
    )
    for _ in range(50):
        client.nats.publish("_STAN.sub.test-cluster", request.SerializeToString(), reply)
    async with asyncio.timeout(10):
        await done.wait()
    assert answers == [stan.SubscriptionResponse(error=texts.UNKNOWN_CLIENT.encode()).SerializeToString()] * 50


@pytest.mark.spec(49)
async def test_requests_racing_the_close_of_their_client(world: World) -> None:
    """Each subscribe either succeeded before the close or gets `unknown clientID`; afterwards nobody is subscribed."""
    client = await world.client()
    channel = world.channel()
    publisher = await world.client()
    subscribing = [asyncio.create_task(client.subscribe(channel)) for _ in range(30)]
    await asyncio.gather(client.close(), *subscribing, return_exceptions=True)
    outcomes = [task.exception() or task.result() for task in subscribing]
    assert {str(outcome) for outcome in outcomes if isinstance(outcome, Exception)} <= {texts.UNKNOWN_CLIENT}
    await publisher.publish(channel)
    for outcome in outcomes:
        if isinstance(outcome, StanSubscription):
            assert await outcome.settled() == []


@pytest.mark.spec(50)
async def test_acks_that_hit_nothing(world: World) -> None:
    """Unknown channel, undecodable, never sent, twice, zero: at most a log line, and the subscription works on."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, max_in_flight=1)
    await client.publish(channel)
    first = await subscription.next()
    unknown = stan.Ack(subject=b"no-such-channel", sequence=1).SerializeToString()
    client.nats.publish(subscription.ack_inbox, unknown)
    await world.logged("Unable to process ack seq=1, channel no-such-channel not found")
    client.nats.publish(subscription.ack_inbox, b"\xff")
    await world.logged("Unable to unmarshal Ack: ")
    client.nats.publish(subscription.ack_inbox, b"")
    for sequence in (0, 2, 1000, 2**64 - 1):
        subscription.ack(sequence)
    await client.publish(channel)
    assert await subscription.settled() == [], "none of these acked message 1"
    subscription.ack(first)
    subscription.ack(first)
    assert await subscription.sequences(1) == [2]


@pytest.mark.spec(50)
async def test_ack_by_any_holder_of_the_ack_inbox(world: World) -> None:
    """There is no client check, and an ack counts for the subscription whose inbox it is sent to."""
    client = await world.client()
    stranger = await world.nats()
    channel = world.channel()
    one = await client.subscribe(channel, max_in_flight=1)
    two = await client.subscribe(channel, max_in_flight=1)
    await client.publish(channel)
    await client.publish(channel)
    assert [await one.sequences(1), await two.sequences(1)] == [[1], [1]]
    stranger.publish(one.ack_inbox, stan.Ack(subject=channel.encode(), sequence=1).SerializeToString())
    assert await one.sequences(1) == [2]
    assert await two.settled() == []


@pytest.mark.spec(47)
async def test_two_subscriptions_with_one_inbox_both_deliver(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    inbox = client.nats.new_inbox()
    arrivals = client.nats.subscribe(inbox)
    for _ in range(2):
        request = stan.SubscriptionRequest(
            clientID=client.client_id, subject=channel.encode(), inbox=inbox, maxInFlight=5, ackWaitInSecs=30
        )
        assert not (await subscribe_request(client, request.SerializeToString())).error
    await client.publish(channel)
    assert [Delivery.of(await arrivals.next()).sequence for _ in range(2)] == [1, 1]


@pytest.mark.spec(38)
async def test_empty_inbox_is_accepted_and_harms_nobody(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    request = stan.SubscriptionRequest(
        clientID=client.client_id, subject=channel.encode(), maxInFlight=5, ackWaitInSecs=30
    )
    assert not (await subscribe_request(client, request.SerializeToString())).error
    healthy = await client.subscribe(channel)
    await client.publish(channel)
    assert await healthy.sequences(1) == [1]
    name = client.client_id.decode()
    subid = world.subscription_id(channel)
    await world.logged(rf"\[Client:{name}\] Failed sending to subid={subid}, subject={channel}, seq=1, err=")


@pytest.mark.spec(44)
async def test_ack_inboxes_are_all_different(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    inboxes = {(await client.subscribe(channel)).ack_inbox for _ in range(20)}
    assert len(inboxes) == 20
