"""Connecting, duplicate client IDs, connection IDs, and closing."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support import stan_messages as stan
from tests.support import texts
from tests.support.raw_client import NoRespondersError, StanClient, StanError, connect_request, refused, unique
from tests.support.stan_messages import GARBAGE, StartPosition
from tests.support.world import World

OWNER_PROBE_SECONDS = 0.5
INSTANT_SECONDS = 0.45
"""Below the time of a probe that runs into its timeout."""


@pytest.mark.spec(1)
@pytest.mark.parametrize("client_id", ["id", "id_x", "id-x", "0", "_", "-", "A" * 1000])
async def test_valid_client_id(world: World, client_id: str) -> None:
    client = await world.client(client_id)
    await client.publish(world.channel())


@pytest.mark.spec(1)
@pytest.mark.parametrize(
    "client_id",
    [
        b"",
        b"id x",
        b"id:x",
        b"id,x",
        b"id.x",
        b"id!@#",
        b"id\n",
        b" id",
        b"\x00",
        "\u00e9".encode(),
        "\u0663".encode(),
        b"\xff",
    ],
)
async def test_invalid_client_id(world: World, client_id: bytes) -> None:
    """Also refused: a trailing line feed, and digits and letters beyond ASCII."""
    assert await refused(StanClient.connect(await world.nats(), client_id)) == texts.INVALID_CLIENT_ID


@pytest.mark.spec(2)
@pytest.mark.parametrize("payload", [b"", *GARBAGE])
async def test_undecodable_connect(world: World, payload: bytes) -> None:
    response = await connect_request(await world.nats(), payload)
    assert response == stan.ConnectResponse(error=texts.INVALID_CONNECT.encode())


@pytest.mark.spec(3)
async def test_connect_without_heartbeat_inbox(world: World) -> None:
    request = stan.ConnectRequest(clientID=world.name().encode(), protocol=1)
    response = await connect_request(await world.nats(), request)
    assert response.error.decode() == texts.INVALID_CONNECT


@pytest.mark.spec(3)
async def test_missing_heartbeat_inbox_is_reported_before_a_bad_client_id(world: World) -> None:
    response = await connect_request(await world.nats(), stan.ConnectRequest(clientID=b"bad id"))
    assert response.error.decode() == texts.INVALID_CONNECT


@pytest.mark.spec(4)
async def test_response_to_protocol_0(world: World) -> None:
    """No ping subject and no ping values, whatever values the request has."""
    nats = await world.nats()
    request = stan.ConnectRequest(clientID=world.name().encode(), heartbeatInbox=b"hb", pingInterval=7, pingMaxOut=8)
    assert await connect_request(nats, request) == stan.ConnectResponse(
        pubPrefix=b"_STAN.pub.test-cluster",
        subRequests=b"_STAN.sub.test-cluster",
        unsubRequests=b"_STAN.unsub.test-cluster",
        closeRequests=b"_STAN.close.test-cluster",
        subCloseRequests=b"_STAN.subclose.test-cluster",
        protocol=1,
    )


@pytest.mark.spec(4, 5)
@pytest.mark.parametrize("protocol", [1, 2, 77])
@pytest.mark.parametrize(("interval", "max_out"), [(5, 3), (-300, -1), (0, 0), (2**31 - 1, 2**31 - 1), (-(2**31), 2)])
async def test_response_to_protocol_1_and_later(world: World, protocol: int, interval: int, max_out: int) -> None:
    """Ping values come back as they were sent; a zero is absent while the ping subject is still there."""
    client = await world.client(protocol=protocol, ping_interval=interval, ping_max_out=max_out)
    assert client.connect_response == stan.ConnectResponse(
        pubPrefix=b"_STAN.pub.test-cluster",
        subRequests=b"_STAN.sub.test-cluster",
        unsubRequests=b"_STAN.unsub.test-cluster",
        closeRequests=b"_STAN.close.test-cluster",
        subCloseRequests=b"_STAN.subclose.test-cluster",
        pingRequests=b"_STAN.discover.test-cluster.pings",
        pingInterval=interval,
        pingMaxOut=max_out,
        protocol=1,
    )


@pytest.mark.spec(4)
async def test_unknown_fields_of_a_connect_request_are_skipped(world: World) -> None:
    request = stan.ConnectRequest(clientID=world.name().encode(), heartbeatInbox=b"hb", protocol=1).SerializeToString()
    response = await connect_request(await world.nats(), request + b"\xa2\x06\x03abc" + b"\x98\x06\x01")
    assert not response.error


@pytest.mark.spec(4)
async def test_protocol_0_client_works_without_connection_id(world: World) -> None:
    client = await world.client(protocol=0, conn_id=b"")
    channel = world.channel()
    subscription = await client.subscribe(channel)
    await client.publish(channel, b"x")
    assert await subscription.sequences(1) == [1]
    await subscription.unsubscribe()
    await client.close()


@pytest.mark.spec(6)
async def test_live_client_keeps_its_id(world: World) -> None:
    """The owner is asked by an empty request to its heartbeat inbox; it answers, so the newcomer is refused at once."""
    owner = await world.client()
    started = time.monotonic()
    assert await refused(world.client(owner.client_id)) == texts.DUPLICATE_CLIENT
    assert time.monotonic() - started < INSTANT_SECONDS
    probe = owner.heartbeats.get_nowait()
    assert probe.payload == b""
    assert probe.reply
    await owner.ping()
    await owner.publish(world.channel())


@pytest.mark.spec(6)
async def test_same_connection_id_is_a_duplicate_too(world: World) -> None:
    owner = await world.client()
    assert await refused(world.client(owner.client_id, conn_id=owner.conn_id)) == texts.DUPLICATE_CLIENT
    await owner.publish(world.channel())


@pytest.mark.spec(7)
async def test_crashed_clients_reconnect_with_their_ids(world: World) -> None:
    """Ten clients lose NATS. No responders on their heartbeat inboxes: each is replaced at once by its new self."""
    ids = [world.name() for _ in range(10)]
    for client in [await world.client(client_id) for client_id in ids]:
        await client.nats.close()
    started = time.monotonic()
    renewed = await asyncio.gather(*(world.client(client_id) for client_id in ids))
    assert time.monotonic() - started < 5
    channel = world.channel()
    await asyncio.gather(*(client.publish(channel) for client in renewed))
    for client in renewed:
        assert await refused(world.client(client.client_id)) == texts.DUPLICATE_CLIENT
        assert client.heartbeats.qsize() == 1, "the probe went to the new heartbeat inbox"


@pytest.mark.spec(7)
async def test_vanished_owner_is_replaced_without_the_probe_timeout(world: World) -> None:
    owner = await world.client()
    await owner.nats.close()
    nats = await world.nats()
    started = time.monotonic()
    await world.client(owner.client_id, nats=nats)
    assert time.monotonic() - started < INSTANT_SECONDS


@pytest.mark.spec(8, 9)
async def test_takeover_of_a_mute_owner(world: World) -> None:
    """Of three newcomers one wins after 500 ms, the others are refused at once; another ID is not delayed."""
    owner = await world.client(answering=False)
    loop = asyncio.get_running_loop()
    connections = [await world.nats() for _ in range(4)]
    started = loop.time()

    async def attempt(index: int) -> tuple[str, float]:
        try:
            await world.client(owner.client_id, nats=connections[index])
        except StanError as error:
            return str(error), loop.time() - started
        return "", loop.time() - started

    async def stranger() -> float:
        await world.client(nats=connections[3])
        return loop.time() - started

    *attempts, stranger_seconds = await asyncio.gather(attempt(0), attempt(1), attempt(2), stranger())
    assert stranger_seconds < INSTANT_SECONDS
    outcomes = sorted(outcome for outcome in attempts if isinstance(outcome, tuple))
    assert [text for text, _ in outcomes] == ["", texts.DUPLICATE_CLIENT, texts.DUPLICATE_CLIENT]
    assert OWNER_PROBE_SECONDS - 0.02 < outcomes[0][1] < OWNER_PROBE_SECONDS + 0.4
    assert max(seconds for _, seconds in outcomes[1:]) < INSTANT_SECONDS


@pytest.mark.spec(9)
async def test_owner_that_answers_within_the_probe_time_stays(world: World) -> None:
    owner = await world.client(answering=False)
    newcomer = asyncio.create_task(refused(world.client(owner.client_id)))
    probe = await owner.heartbeats.get()
    await asyncio.sleep(0.25)
    owner.nats.publish(probe.reply, b"any content counts")
    assert await newcomer == texts.DUPLICATE_CLIENT
    await owner.ping()


@pytest.mark.spec(10)
async def test_replaced_client(world: World) -> None:
    """Its connection ID is void; what goes by client ID still works, even the close of its successor."""
    channel = world.channel()
    old = await world.client(answering=False)
    old_subscription = await old.subscribe(channel)
    new = await world.client(old.client_id)
    assert await refused(old.ping()) == texts.NOT_REGISTERED
    assert await refused(old.publish(channel)) == texts.INVALID_PUBLISH
    assert await refused(old_subscription.close()) == texts.INVALID_SUBSCRIPTION
    await new.ping()
    await new.publish(channel)
    assert await old_subscription.settled() == [], "the subscription went with the old client"

    subscription = await old.subscribe(channel, start=StartPosition.FIRST)
    assert await subscription.sequences(1) == [1]
    await old.close()
    assert await refused(new.ping()) == texts.NOT_REGISTERED
    assert await refused(new.publish(channel)) == texts.INVALID_PUBLISH


@pytest.mark.spec(11)
async def test_publish_is_checked_by_connection_id(world: World) -> None:
    """With a connection ID the client ID is not looked at; without one it decides."""
    client = await world.client()
    other = await world.client()
    channel = world.channel()
    await client.publish(channel, clientID=b"")
    await client.publish(channel, clientID=b"nobody")
    await client.publish(channel, connID=b"")
    await client.publish(channel, clientID=client.client_id, connID=other.conn_id)
    assert await refused(client.publish(channel, connID=b"wrong")) == texts.INVALID_PUBLISH
    assert await refused(client.publish(channel, clientID=b"", connID=b"")) == texts.INVALID_PUBLISH
    assert await refused(client.publish(channel, clientID=b"nobody", connID=b"")) == texts.INVALID_PUBLISH
    reader = await client.subscribe(channel, start=StartPosition.FIRST)
    assert await reader.sequences(4) == [1, 2, 3, 4]


@pytest.mark.spec(11)
async def test_connection_id_belongs_to_its_latest_user(world: World) -> None:
    """Uniqueness is not enforced: when the later of two clients leaves, the first one's entry is gone as well."""
    channel = world.channel()
    shared = unique("shared")
    first = await world.client(conn_id=shared)
    second = await world.client(conn_id=shared)
    await first.publish(channel)
    await second.close()
    assert await refused(first.publish(channel)) == texts.INVALID_PUBLISH
    assert await refused(first.ping()) == texts.NOT_REGISTERED
    await first.publish(channel, connID=b"")


@pytest.mark.spec(12)
async def test_close_of_unknown_client(world: World) -> None:
    client = await world.client()
    nats = await world.nats()
    subject = client.connect_response.closeRequests
    for payload in (b"", stan.CloseRequest(clientID=b"nobody").SerializeToString()):
        answer = await nats.request(subject, payload)
        assert answer.payload == stan.CloseResponse(error=texts.UNKNOWN_CLIENT.encode()).SerializeToString()
    await world.logged('Unknown client "nobody" in close request')
    await client.close()
    assert await refused(client.close()) == texts.UNKNOWN_CLIENT


@pytest.mark.spec(12)
@pytest.mark.parametrize("payload", GARBAGE)
async def test_undecodable_close(world: World, payload: bytes) -> None:
    answer = await (await world.nats()).request("_STAN.close.test-cluster", payload)
    assert answer.payload == stan.CloseResponse(error=texts.INVALID_CLOSE.encode()).SerializeToString()


@pytest.mark.spec(12)
async def test_close_frees_the_client_id(world: World) -> None:
    client = await world.client()
    await client.close()
    nats = await world.nats()
    started = time.monotonic()
    await world.client(client.client_id, nats=nats)
    assert time.monotonic() - started < INSTANT_SECONDS
    assert client.heartbeats.empty(), "nobody to probe"


@pytest.mark.spec(13)
async def test_close_right_after_a_pipeline_of_publishes(world: World) -> None:
    """All of them were received before the close, so all are stored and acked."""
    client = await world.client()
    channel = world.channel()
    for number in range(1000):
        client.publish_nowait(channel, b"%d" % number)
    await client.close()
    assert not [ack for ack in await client.take_acks(1000) if ack.error]
    reader = await world.client()
    subscription = await reader.subscribe(channel, start=StartPosition.FIRST, max_in_flight=2000)
    deliveries = await subscription.take(1000)
    assert [delivery.data for delivery in deliveries] == [b"%d" % number for number in range(1000)]


@pytest.mark.spec(14)
@pytest.mark.parametrize("leaving", ["close", "connection"])
async def test_ack_right_before_leaving_a_durable_counts(world: World, leaving: str) -> None:
    nats = await world.nats()
    publisher = await world.client()

    async def one_round() -> None:
        channel = world.channel()
        client = await world.client(nats=nats)
        durable = await client.subscribe(channel, durable="d")
        await publisher.publish(channel)
        durable.ack(await durable.next())
        await (durable.close() if leaving == "close" else client.close())
        if leaving == "connection":
            client = await world.client(client.client_id, nats=nats)
        resumed = await client.subscribe(channel, durable="d")
        await publisher.publish(channel)
        assert await resumed.repeats(1) == [(2, 0)], "the acked message came back"

    await asyncio.gather(*(one_round() for _ in range(50)))


@pytest.mark.spec(14)
@pytest.mark.parametrize("leaving", ["unsubscribe", "close", "connection"])
async def test_ack_right_before_leaving_a_queue_group_counts(world: World, leaving: str) -> None:
    """The other member would get the message about 100 ms later if it were still pending."""
    nats = await world.nats()
    publisher = await world.client()
    stayer = await world.client(nats=nats)
    stayers = []

    async def one_round() -> None:
        channel = world.channel()
        client = await world.client(nats=nats)
        member = await client.subscribe(channel, queue="q")
        stayers.append(await stayer.subscribe(channel, queue="q"))
        await publisher.publish(channel)
        member.ack(await member.next())
        if leaving == "connection":
            await client.close()
        else:
            await (member.close() if leaving == "close" else member.unsubscribe())

    await asyncio.gather(*(one_round() for _ in range(50)))
    await asyncio.sleep(0.3)
    assert [subscription.waiting() for subscription in stayers] == [[]] * 50


@pytest.mark.spec(14)
async def test_hundred_acks_right_before_the_close(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    durable = await client.subscribe(channel, durable="d")
    await client.publish_many(channel, [b"x"] * 100)
    for delivery in await durable.take(100):
        durable.ack(delivery)
    await client.close()
    again = await world.client(client.client_id)
    resumed = await again.subscribe(channel, durable="d")
    await again.publish(channel)
    assert await resumed.repeats(1) == [(101, 0)]


@pytest.mark.spec(15)
async def test_wrong_cluster_id_has_no_responders(world: World) -> None:
    with pytest.raises(NoRespondersError):
        await StanClient.connect(await world.nats(), world.name(), cluster="another-cluster")


@pytest.mark.spec(15)
async def test_wrong_cluster_id_without_no_responders_support(world: World) -> None:
    nats = await world.nats(no_responders=False)
    with pytest.raises(TimeoutError):
        await connect_request(nats, stan.ConnectRequest(clientID=b"x", heartbeatInbox=b"hb"), "another-cluster", 0.2)


@pytest.mark.spec(2, 35)
async def test_requests_without_reply_are_executed(world: World) -> None:
    """Connect, publish, subscribe and close are carried out; there is just nobody to tell."""
    name = world.name().encode()
    channel = world.channel()
    nats = await world.nats()
    request = stan.ConnectRequest(clientID=name, heartbeatInbox=nats.new_inbox(), connID=name, protocol=1)
    nats.publish("_STAN.discover.test-cluster", request.SerializeToString())
    await world.logged(rf"\[Client:{name.decode()}\] Connected \(Inbox=")
    message = stan.PubMsg(clientID=name, guid=b"g", subject=channel.encode(), data=b"stored", connID=name)
    nats.publish(f"_STAN.pub.test-cluster.{channel}", message.SerializeToString())
    nats.publish("_STAN.close.test-cluster", stan.CloseRequest(clientID=name).SerializeToString())
    await world.logged(rf"\[Client:{name.decode()}\] Closed \(Inbox=")
    reader = await (await world.client()).subscribe(channel, start=StartPosition.FIRST)
    assert (await reader.next()).data == b"stored"
