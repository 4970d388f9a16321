"""Subscribing: start positions, acks, durables, queue groups, callbacks, and how a subscription ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nats_streaming.client import (
    AtTime,
    Client,
    Message,
    Sequence,
    Since,
    Start,
    Subscription,
    SubscriptionClosed,
    SubscriptionError,
    connect,
)


async def take(sub: Subscription, count: int) -> list[Message]:
    return [await anext(sub) for _ in range(count)]


async def sequences(sub: Subscription, count: int) -> list[int]:
    return [message.sequence for message in await take(sub, count)]


async def quiet(sub: Subscription, seconds: float = 0.1) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sub.next(), seconds)


async def filled(stan: Client, channel: str, count: int) -> None:
    assert await stan.publish_many(channel, (b"%d" % number for number in range(1, count + 1))) == count


async def test_a_message_has_what_the_server_stored(url: str, name: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with connect("test-cluster", name, servers=url) as stan:
        await stan.publish(name, b"\x00data")
        sub = await stan.subscribe(name, start="first")
        message = await anext(sub)
        assert (message.channel, message.sequence, message.data) == (name, 1, b"\x00data")
        assert (message.redelivered, message.redelivery_count, message.reply) == (False, 0, "")
        assert before < message.time < datetime.now(UTC)
        assert message.time.tzinfo is UTC
        assert message.time_ns == message.timestamp_ns
        assert message.time == datetime.fromtimestamp(message.time_ns // 1000 / 1_000_000, UTC)


@pytest.mark.parametrize(
    ("start", "first"),
    [("first", 1), ("last", 5), (Sequence(3), 3), (Sequence(99), 6), ("new", 6), (timedelta(hours=1), 1)],
)
async def test_start_positions(url: str, name: str, start: Start, first: int) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 5)
        sub = await stan.subscribe(name, start=start)
        await stan.publish(name, b"6")
        assert (await anext(sub)).sequence == first


async def test_start_at_a_moment_keeps_nanoseconds(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 3)
        await asyncio.sleep(1.0)
        await stan.publish(name, b"4")
        messages = await take(await stan.subscribe(name, start="first"), 4)
        # The request needs a moment to arrive, and the server counts back from then.
        between_ns = messages[3].time_ns - 950_000_000
        assert (await anext(await stan.subscribe(name, start=AtTime(between_ns)))).sequence == 4
        moment = messages[3].time - timedelta(milliseconds=950)
        assert (await anext(await stan.subscribe(name, start=moment))).sequence == 4
        elsewhere = moment.astimezone(timezone(timedelta(hours=-7)))
        assert (await anext(await stan.subscribe(name, start=elsewhere))).sequence == 4
        age_ns = int((datetime.now(UTC) - messages[0].time) / timedelta(microseconds=1)) * 1000 + 10**9
        assert (await anext(await stan.subscribe(name, start=Since(age_ns)))).sequence == 1


@pytest.mark.parametrize(
    ("start", "kind", "text"),
    [
        (17, TypeError, r"say Sequence\(17\)"),
        ("beginning", ValueError, '"new", "first" or "last"'),
        (datetime(2026, 1, 1), ValueError, "no time zone"),
        (None, TypeError, "not None"),
        (True, TypeError, "not True"),
    ],
)
async def test_what_is_no_start_position(ours: str, name: str, start: Start, kind: type[Exception], text: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        with pytest.raises(kind, match=text):
            await stan.subscribe(name, start=start)


async def test_arguments_are_checked_here(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        with pytest.raises(ValueError, match="max_in_flight"):
            await stan.subscribe(name, max_in_flight=0)
        with pytest.raises(ValueError, match="ack_wait"):
            await stan.subscribe(name, ack_wait=0.5)
    with pytest.raises(ValueError, match="between 1 and"):
        Sequence(0)
    with pytest.raises(ValueError, match="max_pub_acks_inflight"):
        connect("test-cluster", name, max_pub_acks_inflight=0)
    with pytest.raises(TypeError, match="no option verbosity"):
        connect("test-cluster", name, verbosity=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="native transport does not know no_echo"):
        connect("test-cluster", name, transport="native", no_echo=True)


async def test_manual_acks_hold_delivery_at_max_in_flight(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 5)
        sub = await stan.subscribe(name, start="first", max_in_flight=2, manual_acks=True)
        first, second = await take(sub, 2)
        await quiet(sub)
        await second.ack()
        third = await anext(sub)
        assert third.sequence == 3
        await second.ack()  # again: nothing happens
        await quiet(sub)
        first.ack_nowait()
        assert (await anext(sub)).sequence == 4


async def test_what_is_not_acked_comes_again_and_says_so(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 2)
        sub = await stan.subscribe(name, start="first", ack_wait=timedelta(seconds=1), manual_acks=True)
        await (await take(sub, 2))[0].ack()
        again = await anext(sub)
        assert (again.sequence, again.redelivered, again.redelivery_count) == (2, True, 1)
        await again.ack()
        await quiet(sub, 1.3)


async def test_automatic_acks_follow_processing(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 3)
        async with await stan.subscribe(name, start="first", durable="d", max_in_flight=1) as sub:
            async for message in sub:
                if message.sequence == 3:
                    break  # as if its processing had failed: it was never asked for the next
        sub = await stan.subscribe(name, durable="d")
        message = await anext(sub)
        assert (message.sequence, message.redelivered) == (3, True)


async def test_a_durable_goes_on_where_it_was_until_it_is_unsubscribed(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 3)
        sub = await stan.subscribe(name, start="first", durable="d", manual_acks=True)
        for message in await take(sub, 2):
            await message.ack()
        await sub.close()
        assert sub.is_closed
    async with connect("test-cluster", name, servers=url) as stan:
        sub = await stan.subscribe(name, start="first", durable="d", manual_acks=True)
        message = await anext(sub)
        assert message.sequence == 3
        await message.ack()
        await sub.unsubscribe()
        sub = await stan.subscribe(name, start="first", durable="d")
        assert (await anext(sub)).sequence == 1


async def test_a_queue_group_shares_the_messages(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        members = [
            await stan.subscribe(name, queue="group", durable="d", max_in_flight=2, manual_acks=True) for _ in range(2)
        ]
        await filled(stan, name, 4)
        assert sorted(await sequences(members[0], 2) + await sequences(members[1], 2)) == [1, 2, 3, 4]
        await members[0].close()  # what it had goes to the other
        assert {message.sequence for message in await take(members[1], 2)}.isdisjoint(
            {message.sequence for message in members[1]._intake.waiting}
        )


async def test_callbacks_plain_and_coroutine(url: str, name: str) -> None:
    got: asyncio.Queue[Message] = asyncio.Queue()

    async def on_message(message: Message) -> None:
        await got.put(message)

    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 2)
        await stan.subscribe(name, on_message, start="first")
        await stan.subscribe(name, got.put_nowait, start="first")
        assert sorted([(await got.get()).sequence for _ in range(4)]) == [1, 1, 2, 2]


async def test_a_callback_that_raises_is_reported_and_its_message_comes_again(ours: str, name: str) -> None:
    errors: list[Exception] = []
    processed = asyncio.Event()

    async def on_message(message: Message) -> None:
        if not message.redelivered:
            raise LookupError("no such order")
        processed.set()

    async with connect("test-cluster", name, servers=ours, on_error=errors.append) as stan:
        await stan.subscribe(name, on_message, ack_wait=1)
        await stan.publish(name, b"")
        await processed.wait()
    assert [repr(error) for error in errors] == ["LookupError('no such order')"]


async def test_closing_ends_the_iteration_and_makes_acks_an_error(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        await filled(stan, name, 2)
        sub = await stan.subscribe(name, start="first", manual_acks=True)
        message = await anext(sub)
        waiting = asyncio.create_task(_count(sub))
        await sub.close()
        assert await waiting <= 1
        assert [later async for later in sub] == []
        with pytest.raises(SubscriptionClosed, match="cannot be acked"):
            await message.ack()
        await sub.close()
        sub = await stan.subscribe(name)
        waiting = asyncio.create_task(_count(sub))
        await asyncio.sleep(0)
    assert await waiting == 0, "closing the client ends it, too"


async def _count(sub: Subscription) -> int:
    return len([message async for message in sub])


async def test_draining_finishes_what_is_here(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await filled(stan, name, 20)
        sub = await stan.subscribe(name, start="first", durable="d", max_in_flight=5)
        first = await anext(sub)
        draining = asyncio.create_task(sub.drain())
        rest = [message.sequence async for message in sub]
        await draining
        done = [first.sequence, *rest]
        assert done == list(range(1, len(done) + 1))
        sub = await stan.subscribe(name, durable="d")
        assert sorted(set(await sequences(sub, 20 - len(done)))) == list(range(len(done) + 1, 21))


async def test_draining_after_a_break_and_after_a_failed_callback_does_not_wait_for_ever(ours: str, name: str) -> None:
    errors: list[Exception] = []
    async with connect("test-cluster", name, servers=ours, on_error=errors.append) as stan:
        await filled(stan, name, 1)
        sub = await stan.subscribe(name, start="first", durable="d")
        async for _ in sub:
            break
        await sub.drain()
        sub = await stan.subscribe(name, durable="d")
        assert (await anext(sub)).redelivered
        await sub.close()
        sub = await stan.subscribe(name, lambda _message: 1 // 0, durable="d")
        while not errors:
            await asyncio.sleep(0.001)
        await sub.drain()


async def test_draining_the_client_closes_it(ours: str, name: str) -> None:
    done: list[int] = []
    stan = await connect("test-cluster", name, servers=ours)
    await stan.subscribe(name, lambda message: done.append(message.sequence), start="first")
    await filled(stan, name, 10)
    while len(done) < 10:
        await asyncio.sleep(0.001)
    await stan.drain()
    assert stan.is_closed


async def test_the_servers_refusals_keep_their_text(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await stan.subscribe(name, durable="d")
        with pytest.raises(SubscriptionError, match="stan: duplicate durable registration"):
            await stan.subscribe(name, durable="d")
        with pytest.raises(SubscriptionError, match="stan: invalid subject"):
            await stan.subscribe("a..b")


async def test_cancelling_a_wait_loses_nothing(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        sub = await stan.subscribe(name, start="first")
        got: list[int] = []
        publishing = asyncio.create_task(stan.publish_many(name, [b""] * 300))
        while len(got) < 300:
            task = asyncio.ensure_future(anext(sub))
            await asyncio.sleep(0)
            if not task.done():
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                got.append(task.result().sequence)
        assert got == list(range(1, 301))
        await publishing


async def test_a_slow_consumer_has_only_max_in_flight_waiting(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        await filled(stan, name, 1000)
        sub = await stan.subscribe(name, start="first", max_in_flight=10, ack_wait=1, manual_acks=True)
        first = await anext(sub)
        await asyncio.sleep(2.5)  # longer than two redeliveries of everything
        assert len(sub._intake.waiting) <= 11
        assert sub.overflow_count == 0
        await first.ack()
        assert len(set(await sequences(sub, 9))) == 9
