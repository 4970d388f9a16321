"""The debug and trace lines that operators and other programs look for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.raw_client import StanSubscription, refused
from tests.support.stan_messages import StartPosition
from tests.support.world import World

SERVER_ARGUMENTS = ("-SDV", "-mc", "0")


@pytest.mark.spec(104)
async def test_client_lines(world: World) -> None:
    client = await world.client()
    name, inbox = client.client_id.decode(), client.heartbeat_inbox.decode()
    line_start = r"\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[DBG\] STREAM: "
    await world.logged(line_start + rf"\[Client:{name}\] Connected \(Inbox={inbox}\)\n")
    await refused(world.client(name))
    await world.logged(line_start + rf"\[Client:{name}\] Connect failed; already connected\n")
    client.answering = False
    renewed = await world.client(name)
    await world.logged(
        line_start
        + rf"\[Client:{name}\] Closed \(Inbox={inbox}\)\n"
        + line_start
        + rf"\[Client:{name}\] Replaced old client \(Inbox={renewed.heartbeat_inbox.decode()}\)\n"
    )
    await renewed.close()
    await world.logged(line_start + rf"\[Client:{name}\] Closed \(Inbox={renewed.heartbeat_inbox.decode()}\)\n")


@pytest.mark.spec(104)
async def test_connect_refusals(world: World) -> None:
    nats = await world.nats()
    await nats.request("_STAN.discover.test-cluster", b"\x0a\x02ab")
    await world.logged(r"\[ERR\] STREAM: \[Client:\?\] Invalid conn request: ClientID=ab, Inbox=, err=")
    await refused(world.client("a.b"))
    await world.logged(
        r"\[ERR\] STREAM: \[Client:a\.b\] Invalid ClientID, only alphanumeric and `-` or `_` characters allow"
    )


async def leave(subscription: StanSubscription, way: str) -> None:
    if way == "connection":
        await subscription.client.close()
    elif way == "close":
        await subscription.close()
    else:
        await subscription.unsubscribe()


def lines_about(world: World, subscription: StanSubscription) -> list[str]:
    """The debug lines about one subscription, `@` standing for its channel and inbox."""
    name = subscription.client.client_id.decode()
    where = f"subject={subscription.channel.decode()}, inbox={subscription.inbox.decode()},"
    lines = re.findall(rf"\[DBG\] STREAM: \[Client:{name}\] (.*)\n", world.log())
    return [line.replace(where, "@") for line in lines if where in line]


@pytest.mark.spec(104)
@pytest.mark.parametrize("way", ["close", "unsubscribe", "connection"])
@pytest.mark.parametrize(
    ("names", "kind", "extra", "lasting"),
    [
        ({}, "subscription", "", False),
        ({"durable": "d"}, "durable subscription", " durable=d,", True),
        ({"queue": "q"}, "queue subscription", " queue=q,", False),
        ({"durable": "d", "queue": "q"}, "durable queue subscription", " queue=d:q,", True),
    ],
    ids=str,
)
async def test_subscription_lines(
    world: World, names: dict[str, str], kind: str, extra: str, lasting: bool, way: str
) -> None:
    """From its start to its end, with a second member in between, and resumed where it lasts."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, **names)  # type: ignore[arg-type]
    if "queue" in names:
        member = await client.subscribe(channel, **names)  # type: ignore[arg-type]
        await leave(member, "unsubscribe" if way == "connection" else way)
        second = world.subscription_id(channel, 2)
        assert lines_about(world, member) == [
            f"Added member to {kind}, @{extra} subid={second}",
            f"Removed member from {kind}, @{extra} subid={second}",
        ]
    await leave(subscription, way)
    suspended = lasting and way != "unsubscribe"
    first = world.subscription_id(channel)
    assert lines_about(world, subscription) == [
        f"Started new {kind}, @{extra} subid={first}, sending new-only, seq=1",
        f"{'Suspended' if suspended else 'Removed'} {kind}, @{extra} subid={first}",
    ]
    if suspended:
        renewed = client if way == "close" else await world.client(client.client_id, nats=client.nats)
        resumed = await renewed.subscribe(channel, **names)  # type: ignore[arg-type]
        assert lines_about(world, resumed) == [f"Resumed {kind}, @{extra} subid={first}"]


@pytest.mark.spec(104)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start": StartPosition.NEW_ONLY}, "new-only, seq=9"),
        ({"start": StartPosition.LAST_RECEIVED}, "last message, seq=8"),
        ({"start": StartPosition.FIRST}, "from beginning, seq=1"),
        ({"start": StartPosition.SEQUENCE_START, "sequence": 5}, "from sequence, asked_seq=5 actual_seq=5"),
        ({"start": StartPosition.SEQUENCE_START, "sequence": 100}, "from sequence, asked_seq=100 actual_seq=9"),
    ],
    ids=str,
)
async def test_start_position_lines(world: World, options: dict[str, int], expected: str) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish_many(channel, [b"x"] * 8)
    subscription = await client.subscribe(channel, **options)  # type: ignore[arg-type]
    subid = world.subscription_id(channel)
    assert lines_about(world, subscription) == [f"Started new subscription, @ subid={subid}, sending {expected}"]


@pytest.mark.spec(104)
async def test_start_time_line(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish(channel)
    hour_ns = 3600 * 10**9
    subscription = await client.subscribe(channel, start=StartPosition.TIME_DELTA_START, delta_ns=hour_ns)
    (line,) = lines_about(world, subscription)
    subid = world.subscription_id(channel)
    shape = rf"Started new subscription, @ subid={subid}, sending from time time='(.*) \+0000 UTC' seq=1"
    match = re.fullmatch(shape, line)
    assert match
    seconds, _, fraction = match[1].partition(".")
    assert 0 <= len(fraction) <= 9
    moment = datetime.strptime(seconds, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - timedelta(hours=1) - moment).total_seconds()) < 3


@pytest.mark.spec(104)
async def test_trace_lines(world: World) -> None:
    """Of one message from the publisher to the ack of its redelivery, in this order."""
    client = await world.client()
    name, channel = client.client_id.decode(), world.channel()
    subscription = await client.subscribe(channel, ack_wait=1)
    await client.publish(channel, guid=b"the-guid")
    assert await subscription.repeats(2) == [(1, 0), (1, 1)]
    subscription.ack(1)
    subid = world.subscription_id(channel)
    await world.logged(rf"Processing ack for subid={subid}, subject={channel}, seq=1")
    lines = re.findall(rf"\[TRC\] STREAM: \[Client:{name}\] (.*)\n", world.log())
    assert lines == [
        f"Received message from publisher subj={channel} guid=the-guid",
        f"Delivering msg to subid={subid}, subject={channel}, seq=1",
        f"Acking Publisher subj={channel} guid=the-guid",
        f"Redelivering msg to subid={subid}, subject={channel}, seq=1",
        f"Processing ack for subid={subid}, subject={channel}, seq=1",
    ]
