"""Limits: of channels, subscriptions, messages, bytes and age, and the deletion of idle channels."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support import stan_messages as stan
from tests.support import texts
from tests.support.raw_client import StanClient, refused
from tests.support.servers import running_server
from tests.support.stan_messages import StartPosition
from tests.support.timing import assert_at
from tests.support.world import World

KINDS: dict[str, dict[str, str]] = {
    "regular": {},
    "durable": {"durable": "new"},
    "queue": {"queue": "new"},
    "durable queue": {"durable": "new", "queue": "new"},
}
limit_3_messages = pytest.mark.server_arguments("-SD", "-mc", "0", "-mm", "3")
idle_300_ms = pytest.mark.server_arguments("-SD", "-mc", "0", "-mi", "300ms")


async def remaining(client: StanClient, channel: str) -> list[int]:
    """The sequences a channel holds, and proof that there are no more."""
    subscription = await client.subscribe(channel, start=StartPosition.FIRST, max_in_flight=100_000)
    await client.publish(channel, b"fence")
    sequences = [sequence for sequence, _ in await subscription.settled()]
    await subscription.unsubscribe()
    return sequences[:-1]


@pytest.mark.spec(29)
async def test_too_many_channels() -> None:
    """Refused to publishers and subscribers alike, and not created; the existing channel is not affected."""
    with running_server("-SD", "-mc", "1") as server:
        world = World(server)
        client = await world.client()
        await client.publish("one")
        assert await refused(client.publish("two")) == texts.TOO_MANY_CHANNELS
        await world.logged(r'\[ERR\] STREAM: Creating channel "two" failed: too many channels')
        for kind in KINDS.values():
            assert await refused(client.subscribe("two", **kind)) == texts.TOO_MANY_CHANNELS  # type: ignore[arg-type]
        await world.logged('Unable to create subscription on "two": too many channels')
        client.nats.publish("_INBOX.none", stan.Ack(subject=b"two", sequence=1).SerializeToString())
        request = stan.UnsubscribeRequest(clientID=client.client_id, subject=b"two", inbox=b"x").SerializeToString()
        answer = await client.nats.request("_STAN.unsub.test-cluster", request)
        assert stan.SubscriptionResponse.FromString(answer.payload).error.decode() == texts.UNKNOWN_CHANNEL
        subscription = await client.subscribe("one", start=StartPosition.FIRST)
        await client.publish("one")
        assert await subscription.sequences(2) == [1, 2]
        assert 'Channel "two" has been created' not in world.log()
        await world.close()


@pytest.mark.spec(29)
async def test_default_limit_of_channels() -> None:
    with running_server() as server:
        world = World(server)
        client = await world.client()
        for number in range(100):
            await client.publish(f"channel.{number}")
        assert await refused(client.publish("channel.100")) == texts.TOO_MANY_CHANNELS
        await world.close()


@pytest.mark.spec(45)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-msu", "1")
async def test_too_many_subscriptions(world: World) -> None:
    """Every kind counts as one and is refused as one more; the limit is per channel; leaving makes room."""
    client = await world.client()
    for holder in KINDS.values():
        channel = world.channel()
        names = {key: f"the-{value}" for key, value in holder.items()}
        subscription = await client.subscribe(channel, **names)  # type: ignore[arg-type]
        for kind in KINDS.values():
            attempt = client.subscribe(channel, **kind)  # type: ignore[arg-type]
            assert await refused(attempt) == texts.TOO_MANY_SUBSCRIPTIONS
        await world.logged(f'Unable to create subscription on "{channel}": too many subscriptions per channel')
        await client.publish(channel)
        assert await subscription.sequences(1) == [1]
        await subscription.unsubscribe()
        await client.subscribe(channel)


@pytest.mark.spec(46, 63)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-msu", "3")
async def test_offline_durables_count(world: World) -> None:
    """They and an empty durable group block new subscriptions, but may be resumed; unsubscribing frees the place."""
    client = await world.client()
    channel = world.channel()
    for names in ({"durable": "a"}, {"durable": "b"}, {"durable": "c", "queue": "q"}):
        await (await client.subscribe(channel, **names)).close()  # type: ignore[arg-type]
    for kind in KINDS.values():
        assert await refused(client.subscribe(channel, **kind)) == texts.TOO_MANY_SUBSCRIPTIONS  # type: ignore[arg-type]
    resumed = [await client.subscribe(channel, durable="a"), await client.subscribe(channel, durable="c", queue="q")]
    assert await refused(client.subscribe(channel)) == texts.TOO_MANY_SUBSCRIPTIONS
    assert await refused(client.subscribe(channel, durable="c", queue="q")) == texts.TOO_MANY_SUBSCRIPTIONS
    for subscription in resumed:
        await subscription.unsubscribe()
        await client.subscribe(channel)
        assert await refused(client.subscribe(channel)) == texts.TOO_MANY_SUBSCRIPTIONS


@pytest.mark.spec(89)
@limit_3_messages
async def test_message_limit(world: World) -> None:
    """The newest three remain; the warning comes once per channel, with the state after the removal."""
    client = await world.client()
    for _ in range(6):
        await client.publish("bar", b"x")
    line = (
        r'\[WRN\] STREAM: Reached limits for store "bar" \(msgs=3/3 bytes=60 B/976\.56 MB\), '
        r"dropping old messages to make room for new ones\n"
    )
    await world.logged(line)
    subscription = await client.subscribe("bar", start=StartPosition.FIRST)
    assert await subscription.sequences(3) == [4, 5, 6]
    other = await client.subscribe("bar", start=StartPosition.SEQUENCE_START, sequence=2)
    assert await other.sequences(3) == [4, 5, 6]
    assert world.log().count("Reached limits for store") == 1


@pytest.mark.spec(89)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-mb", "100")
async def test_byte_limit(world: World) -> None:
    """A message counts as its encoded size. The latest stays even if it alone is too large."""
    client = await world.client()
    for _ in range(8):
        await client.publish("bar", b"x")
    await world.logged(r'Reached limits for store "bar" \(msgs=5/1000000 bytes=100 B/100 B\), dropping old messages')
    subscription = await client.subscribe("bar", start=StartPosition.FIRST)
    assert await subscription.sequences(5) == [4, 5, 6, 7, 8]
    await client.publish("bar", b"x" * 500)
    assert await subscription.sequences(1) == [9]
    late = await client.subscribe("bar", start=StartPosition.FIRST)
    assert await late.sequences(1) == [9]
    await client.publish("bar", b"x")
    assert await late.sequences(1) == [10]
    later = await client.subscribe("bar", start=StartPosition.FIRST)
    assert await later.sequences(1) == [10]


@pytest.mark.spec(89)
@pytest.mark.server_arguments("-SD", "-mc", "0", "-mm", "0", "-mb", "0")
async def test_zero_means_unlimited(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish_many(channel, [b"x" * 100] * 3000)
    assert await remaining(client, channel) == list(range(1, 3001))


@pytest.mark.spec(91)
@limit_3_messages
@pytest.mark.parametrize("names", [{"durable": "d"}, {"durable": "d", "queue": "q"}], ids=str)
async def test_removed_messages_are_skipped(world: World, names: dict[str, str]) -> None:
    """Who was offline goes on at the oldest message that is left, without being told."""
    client = await world.client()
    channel = world.channel()
    await (await client.subscribe(channel, **names)).close()  # type: ignore[arg-type]
    await client.publish_many(channel, [b"x"] * 5)
    resumed = await client.subscribe(channel, **names)  # type: ignore[arg-type]
    assert await resumed.sequences(3) == [3, 4, 5]
    assert await resumed.settled() == []


@pytest.mark.spec(91)
@limit_3_messages
async def test_stalled_subscriber_skips_removed_messages(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    plain = await client.subscribe(channel, max_in_flight=1)
    member = await client.subscribe(channel, queue="q", max_in_flight=1)
    for _ in range(7):
        await client.publish(channel)
    for subscription in (plain, member):
        assert await subscription.sequences(1) == [1]
        subscription.ack(1)
        assert await subscription.sequences(1) == [5]


@pytest.mark.spec(91)
@limit_3_messages
async def test_limits_act_on_a_pipeline(world: World) -> None:
    """An idle subscriber may miss messages of a batch that exceeds the limit, but never the last three."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel)
    await client.publish_many(channel, [b"x"] * 70)
    sequences = [sequence for sequence, _ in await subscription.settled()]
    assert sequences == sorted(set(sequences))
    assert sequences[-3:] == [68, 69, 70]


@pytest.mark.spec(92)
@pytest.mark.together
@limit_3_messages
async def test_removed_messages_are_not_redelivered(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=1)
    member = await client.subscribe(channel, queue="q", ack_wait=1)
    for _ in range(4):
        await client.publish(channel)
    for receiver in (subscription, member):
        assert await receiver.repeats(7) == [(1, 0), (2, 0), (3, 0), (4, 0), (2, 1), (3, 1), (4, 1)]
        for sequence in (2, 3, 4):
            receiver.ack(sequence)


@pytest.mark.spec(93)
@pytest.mark.together
@pytest.mark.server_arguments("-SD", "-mc", "0", "-ma", "500ms")
@pytest.mark.parametrize("queue", ["", "q"])
async def test_stalled_on_expired_messages(world: World, queue: str) -> None:
    """The tick of AckWait finds them gone and releases the subscription; they are not repeated."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, ack_wait=1, max_in_flight=2, queue=queue)
    await client.publish_many(channel, [b"x"] * 2)
    deliveries = await subscription.take(2)
    await asyncio.sleep(0.75)
    await client.publish(channel)
    delivery = await subscription.next()
    assert delivery.repeat == (3, 0)
    assert delivery.received_at - deliveries[0].stored_at < 1.4, "at the tick, or sooner"


@pytest.mark.spec(92)
@pytest.mark.together
@pytest.mark.server_arguments("-SD", "-mc", "0", "-ma", "500ms")
async def test_expired_messages_are_not_redelivered_on_resume(world: World) -> None:
    """Messages live as long as the limit says; an offline durable's unacked ones may be gone when it is back."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d")
    await client.publish(channel)
    await asyncio.sleep(0.3)
    early = await client.subscribe(channel, start=StartPosition.FIRST)
    assert await early.sequences(1) == [1], "it has not expired yet"
    await durable.close()
    await asyncio.sleep(0.4)
    late = await client.subscribe(channel, start=StartPosition.FIRST)
    resumed = await client.subscribe(channel, durable="d")
    await client.publish(channel)
    assert await resumed.repeats(1) == [(2, 0)]
    assert await late.repeats(1) == [(2, 0)]


@pytest.mark.spec(94)
@pytest.mark.together
@idle_300_ms
async def test_idle_channel_is_deleted(world: World) -> None:
    """300 ms after the last message. The name is unknown then, and a new channel of that name begins at 1."""
    client = await world.client()
    channel = world.channel()
    await client.publish_many(channel, [b"x"] * 3)
    created = time.monotonic()
    await world.logged(rf'\[DBG\] STREAM: Channel "{channel}" delete timer set to fire in 300ms')
    await world.logged(rf'\[DBG\] STREAM: Channel "{channel}" is being deleted')
    await world.logged(rf'\[INF\] STREAM: Channel "{channel}" has been deleted')
    assert_at(time.monotonic() - created, 0.3)
    request = stan.UnsubscribeRequest(clientID=client.client_id, subject=channel.encode(), inbox=b"x")
    answer = await client.nats.request("_STAN.unsub.test-cluster", request.SerializeToString())
    assert stan.SubscriptionResponse.FromString(answer.payload).error.decode() == texts.UNKNOWN_CHANNEL
    subscription = await client.subscribe(channel, start=StartPosition.FIRST)
    await client.publish(channel)
    assert await subscription.sequences(1) == [1]


@pytest.mark.spec(94)
@pytest.mark.together
@idle_300_ms
async def test_active_subscription_keeps_its_channel(world: World) -> None:
    """Even without messages; the time begins when the last of them is gone."""
    client = await world.client()
    channel = world.channel()
    plain = await client.subscribe(channel)
    member = await client.subscribe(channel, queue="q")
    await client.publish(channel)
    await asyncio.sleep(0.7)
    await plain.unsubscribe()
    await asyncio.sleep(0.5)
    await client.publish(channel)
    assert await member.sequences(2) == [1, 2]
    await member.close()
    closed = time.monotonic()
    await world.logged(f'Channel "{channel}" has been deleted')
    assert_at(time.monotonic() - closed, 0.3)


@pytest.mark.spec(94)
@pytest.mark.together
@idle_300_ms
async def test_publishing_keeps_a_channel(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    for _ in range(10):
        await client.publish(channel)
        await asyncio.sleep(0.1)
    await client.publish(channel)
    published = time.monotonic()
    assert await remaining(client, channel) == list(range(1, 12))
    await world.logged(f'Channel "{channel}" has been deleted')
    assert_at(time.monotonic() - published, 0.3)


@pytest.mark.spec(94)
@pytest.mark.together
@idle_300_ms
@pytest.mark.parametrize("queue", ["", "q"])
async def test_offline_durable_goes_with_its_channel(world: World, queue: str) -> None:
    """It does not keep the channel. One of the same name later is new; acks for the old one hit nothing."""
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d", queue=queue)
    await client.publish_many(channel, [b"x"] * 2)
    await durable.sequences(2)
    await durable.close()
    await world.logged(f'Channel "{channel}" has been deleted')
    new = await client.subscribe(channel, durable="d", queue=queue)
    await client.publish(channel)
    assert await new.repeats(1) == [(1, 0)]


@pytest.mark.spec(94)
@pytest.mark.together
@idle_300_ms
async def test_subscribing_stops_the_timer(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish(channel)
    await asyncio.sleep(0.15)
    subscription = await client.subscribe(channel)
    await world.logged(rf'\[DBG\] STREAM: Channel "{channel}" delete timer stopped')
    await asyncio.sleep(0.5)
    await client.publish(channel)
    assert await subscription.sequences(1) == [2]


@pytest.mark.spec(94)
@pytest.mark.together
@idle_300_ms
async def test_subscribing_while_the_channel_goes(world: World) -> None:
    """Around the moment of deletion: refused as being deleted, or subscribed to a channel that works."""
    client = await world.client()

    async def one(index: int) -> None:
        channel = world.channel()
        await client.publish(channel)
        await asyncio.sleep(0.28 + index / 1000)
        subscription = await client.subscribe(channel)
        await client.publish(channel)
        assert (await subscription.next()).sequence in (1, 2)

    outcomes = await asyncio.gather(*(one(index) for index in range(40)), return_exceptions=True)
    assert {str(outcome) for outcome in outcomes if outcome is not None} <= {"stan: channel is being deleted"}
