"""Publishing: what is refused, what is stored, and in which order acks and messages come."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support import stan_messages as stan
from tests.support import texts
from tests.support.raw_client import NatsClient, StanClient, refused
from tests.support.servers import running_server
from tests.support.stan_messages import GARBAGE, StanMessage, StartPosition, decode_canonical
from tests.support.world import World

INVALID_CHANNELS = ["", ".", ".a", "a.", "a..b", "a/b", "/", "*", ">", "a.*", "a.>", "a*b", "a>b.c", "*.a"]
VALID_CHANNELS = ["a b", " ", "a\tb", "a\\b", "a:b", "$a", "\u00e9\u4e2d", "_STAN.x", "a.b.c", "-", "\x01", "a" * 500]


async def publish_request(nats: NatsClient, payload: bytes, subject: str = "anything") -> StanMessage:
    """Send any bytes as a publish and return the PubAck."""
    answer = await nats.request(f"_STAN.pub.test-cluster.{subject}", payload)
    return decode_canonical(stan.PubAck, answer.payload)


async def reader_of(world: World, channel: str | bytes) -> list[bytes]:
    """All payloads in a channel."""
    client = await world.client()
    last = await client.subscribe(channel, start=StartPosition.LAST_RECEIVED)
    count = (await last.next()).sequence
    subscription = await client.subscribe(channel, start=StartPosition.FIRST, max_in_flight=count + 1)
    return [delivery.data for delivery in await subscription.take(count)]


@pytest.mark.spec(25)
@pytest.mark.parametrize("payload", [b"", *(payload for payload in GARBAGE if payload != b"\x08\x01")])
async def test_undecodable_publish(world: World, payload: bytes) -> None:
    assert await publish_request(await world.nats(), payload) == stan.PubAck(error=texts.INVALID_PUBLISH.encode())
    line = r"Unable to unmarshal PubMsg: " if payload else "Received invalid client publish message"
    await world.logged(rf"\[ERR\] STREAM: {line}")


@pytest.mark.spec(25)
async def test_control_message_on_a_publish_subject_is_ignored(world: World) -> None:
    """What is no PubMsg but a control message between servers gets no answer."""
    control = stan.CtrlMsg(MsgType=1, ServerID=b"someone", Data=b"x").SerializeToString()
    await (await world.nats()).unanswered("_STAN.pub.test-cluster.foo", control)


@pytest.mark.spec(25)
async def test_publish_without_guid(world: World) -> None:
    client = await world.client()
    message = stan.PubMsg(clientID=client.client_id, connID=client.conn_id, subject=b"foo")
    ack = await publish_request(client.nats, message.SerializeToString())
    assert ack == stan.PubAck(error=texts.INVALID_PUBLISH.encode())


@pytest.mark.spec(25)
async def test_publish_of_unknown_client_echoes_the_guid(world: World) -> None:
    for identity in ({"clientID": b"nobody"}, {"connID": b"nobody"}, {}):
        message = stan.PubMsg(guid=b"the guid", subject=b"foo", **identity)
        ack = await publish_request(await world.nats(), message.SerializeToString())
        assert ack == stan.PubAck(guid=b"the guid", error=texts.INVALID_PUBLISH.encode())


@pytest.mark.spec(25, 27)
@pytest.mark.parametrize("channel", INVALID_CHANNELS)
async def test_publish_to_invalid_channel(world: World, channel: str) -> None:
    client = await world.client()
    assert await refused(client.publish(channel, nats_subject="_STAN.pub.test-cluster.x")) == texts.INVALID_PUBLISH


@pytest.mark.spec(27)
@pytest.mark.parametrize("channel", INVALID_CHANNELS)
async def test_subscribe_to_invalid_channel(world: World, channel: str) -> None:
    assert await refused((await world.client()).subscribe(channel)) == texts.INVALID_SUBJECT


NO_TEXT = pytest.param(b"\xff\xfe\x80", marks=pytest.mark.name_of_bytes)


@pytest.mark.spec(27, 105)
@pytest.mark.parametrize("channel", [*(channel.encode() for channel in VALID_CHANNELS), NO_TEXT])
async def test_valid_channel(world: World, channel: bytes) -> None:
    """Anything else is a channel name; also what is no NATS subject, since field 3 alone decides."""
    client = await world.client()
    subscription = await client.subscribe(channel)
    await client.publish(channel, b"x", nats_subject="_STAN.pub.test-cluster.x")
    delivery = await subscription.next()
    assert (delivery.subject, delivery.data) == (channel, b"x")


@pytest.mark.spec(26)
async def test_channel_comes_from_the_message_not_from_the_nats_subject(world: World) -> None:
    client = await world.client()
    named, addressed = world.channel(), world.channel()
    await client.publish(named, b"1", nats_subject=f"_STAN.pub.test-cluster.{addressed}")
    assert await reader_of(world, named) == [b"1"]
    await world.logged(f'Channel "{named}" has been created')
    assert f'"{addressed}"' not in world.log()


@pytest.mark.spec(28)
async def test_channels_that_differ_only_by_case(world: World) -> None:
    client = await world.client()
    lower = world.channel()
    existing, clashing = lower.capitalize(), lower
    await client.publish(existing, b"1")
    assert await refused(client.publish(clashing)) == texts.case_clash(clashing, existing)
    assert await refused(client.subscribe(clashing)) == texts.case_clash(clashing, existing)
    assert await refused(client.subscribe(lower.upper())) == texts.case_clash(lower.upper(), existing)
    await client.publish(existing, b"2")
    assert await reader_of(world, existing) == [b"1", b"2"]
    line = rf'Error processing message for subject "_STAN\.pub\.test-cluster\.{clashing}": rejecting channel'
    await world.logged(rf"\[Client:{client.client_id.decode()}\] {line}")


@pytest.mark.spec(30)
@pytest.mark.parametrize(
    "arguments",
    [("-io_batch_size", "1024"), ("-io_batch_size", "50"), ("-io_batch_size", "0"), ("-io_sleep_time", "500")],
    ids=lambda arguments: "".join(arguments),
)
async def test_batch_sizes(arguments: tuple[str, ...]) -> None:
    """Whatever the batches, everything is stored and acked in order."""
    with running_server(*arguments) as server:
        world = World(server)
        client = await world.client()
        payloads = [b"%d" % number for number in range(1024 + 100)]
        guids = await client.publish_many("foo", payloads)
        assert guids == [b"g%d" % number for number in range(1, len(payloads) + 1)]
        assert await reader_of(world, "foo") == payloads
        await world.close()


@pytest.mark.spec(31)
async def test_success_acks_come_in_order_and_no_error_ack_is_lost(world: World) -> None:
    """The error ack itself may overtake the success acks of its batch."""
    client = await world.client()
    channels = [world.channel(), world.channel(), world.channel()]
    await client.publish(channels[0].capitalize())
    expected, bad = [], []
    for number in range(300):
        if number % 10 == 3:
            bad.append(client.publish_nowait(channels[0], b"%d" % number))
        else:
            expected.append(client.publish_nowait(channels[1 + number % 2], b"%d" % number))
    acks = await client.take_acks(300)
    assert [ack.guid for ack in acks if not ack.error] == expected
    clash = texts.case_clash(channels[0], channels[0].capitalize()).encode()
    assert [(ack.guid, ack.error) for ack in acks if ack.error] == [(guid, clash) for guid in bad]


@pytest.mark.spec(31)
async def test_messages_of_one_publisher_keep_their_order_and_sequences_have_no_gaps(world: World) -> None:
    """Refused messages consume no sequence."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, max_in_flight=10_000)
    for number in range(2000):
        client.publish_nowait(channel, b"%d" % number)
        if number % 7 == 0:
            client.publish_nowait(channel, guid=b"", nats_subject=f"_STAN.pub.test-cluster.{channel}")
    deliveries = await subscription.take(2000)
    assert [delivery.sequence for delivery in deliveries] == list(range(1, 2001))
    assert [delivery.data for delivery in deliveries] == [b"%d" % number for number in range(2000)]


@pytest.mark.spec(32)
async def test_subscriber_gets_the_message_before_the_publisher_its_ack(world: World) -> None:
    """On one connection, alone and in a pipeline: when the ack of a message is there, so is the message."""
    client = await world.client()
    channel = world.channel()
    nats = client.nats
    arrivals: list[tuple[str, bytes]] = []
    inbox, acks = nats.new_inbox(), nats.new_inbox()
    nats.subscribe(acks, lambda message: arrivals.append(("ack", stan.PubAck.FromString(message.payload).guid)))
    subscription = await client.subscribe(channel, inbox=inbox, max_in_flight=1000)
    nats.subscribe(inbox, lambda message: arrivals.append(("msg", stan.MsgProto.FromString(message.payload).data)))

    def publish(number: int) -> None:
        text = b"%d" % number
        message = stan.PubMsg(clientID=client.client_id, guid=text, subject=channel.encode(), data=text)
        nats.publish(f"_STAN.pub.test-cluster.{channel}", message.SerializeToString(), acks)

    publish(0)
    await subscription.next()
    await client.publish(channel, b"fence")
    assert arrivals[:2] == [("msg", b"0"), ("ack", b"0")]
    arrivals.clear()
    for number in range(1, 301):
        publish(number)
    await client.publish(channel, b"fence")
    for number in range(1, 301):
        assert arrivals.index(("msg", b"%d" % number)) < arrivals.index(("ack", b"%d" % number))


@pytest.mark.spec(33)
async def test_long_guid(world: World) -> None:
    client = await world.client()
    await client.publish(world.channel(), guid=b"0123456789" * 10_000)


@pytest.mark.spec(34)
async def test_same_guid_twice_is_stored_twice(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    await client.publish(channel, b"1", guid=b"same")
    await client.publish(channel, b"2", guid=b"same")
    assert await reader_of(world, channel) == [b"1", b"2"]


@pytest.mark.spec(35)
async def test_publish_without_reply(world: World) -> None:
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel)
    message = stan.PubMsg(clientID=client.client_id, guid=b"g", subject=channel.encode(), data=b"x")
    client.nats.publish(f"_STAN.pub.test-cluster.{channel}", message.SerializeToString())
    assert (await subscription.next()).data == b"x"


@pytest.mark.spec(37)
async def test_timestamps(world: World) -> None:
    """Unix time in nanoseconds, never decreasing within a channel."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel, max_in_flight=2000)
    before = time.time_ns()
    await client.publish_many(channel, [b"x"] * 1000)
    await client.publish(channel)
    after = time.time_ns()
    timestamps = [delivery.timestamp for delivery in await subscription.take(1001)]
    assert timestamps == sorted(timestamps)
    assert before <= timestamps[0]
    assert timestamps[-1] <= after


@pytest.mark.spec(35)
async def test_first_delivery_on_the_wire(world: World) -> None:
    """Sequence, subject, reply, data and timestamp, and nothing of the publisher; the checksum is not kept either."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel)
    await client.publish(channel, b"data", reply=b"the.reply", sha256=b"0" * 32, guid=b"secret-guid")
    delivery = await subscription.next()
    expected = stan.MsgProto(
        sequence=1, subject=channel.encode(), reply=b"the.reply", data=b"data", timestamp=delivery.timestamp
    )
    assert delivery.payload == expected.SerializeToString()
    await client.publish(channel)
    delivery = await subscription.next()
    expected = stan.MsgProto(sequence=2, subject=channel.encode(), timestamp=delivery.timestamp)
    assert delivery.payload == expected.SerializeToString()


TOLERATED = {
    "unknown varint": b"\x98\x06\x01",
    "unknown varint of ten bytes": b"\x98\x06" + b"\xff" * 9 + b"\x01",
    "unknown overlong varint": b"\x98\x06\x81\x80\x80\x00",
    "unknown fixed32": b"\x95\x06" + bytes(4),
    "unknown fixed64": b"\x91\x06" + bytes(8),
    "unknown bytes": b"\xa2\x06\x03abc",
    "unknown group": b"\x9b\x06\x08\x01\x9c\x06",
    "unknown nested group": b"\x9b\x06\x9b\x06\x9c\x06\x9c\x06",
    "overlong tag of data": b"\xaa\x80\x00\x01x",
    "overlong length of data": b"\x2a\x81\x00x",
    "sha256 of any length": b"\x52\x01a",
}
"""Additions to a valid publish which leave it valid."""
FATAL = {
    "varint of eleven bytes": b"\x98\x06" + b"\xff" * 10 + b"\x01",
    "end of a group that never began": b"\x9c\x06",
    "field number 0": b"\x00\x01",
    "wire type 6": b"\x9e\x06\x01",
    "wire type 7": b"\x9f\x06\x01",
    "field number beyond 32 bits": b"\xf8\xff\xff\xff\x7f\x01",
    "tag of ten bytes": b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01",
    "subject as varint": b"\x18\x01",
    "data as fixed32": b"\x2d" + bytes(4),
    "guid as fixed64": b"\x11" + bytes(8),
    "client ID as group": b"\x0b\x0c",
    "sha256 as varint": b"\x50\x01",
    "negative length": b"\x2a" + b"\xff" * 9 + b"\x01",
    "negative length of unknown bytes": b"\xa2\x06" + b"\xff" * 9 + b"\x01",
}
"""Additions anywhere in a valid publish which spoil it: also a field the server knows with a wire type it does not."""
FATAL_AT_THE_END = {
    "truncated fixed32": b"\x95\x06" + bytes(3),
    "truncated fixed64": b"\x91\x06" + bytes(7),
    "group without end": b"\x9b\x06\x08\x01",
    "length beyond the end": b"\x2a\x05abc",
    "unknown length beyond the end": b"\xa2\x06\x05abc",
    "tag without value": b"\x2a",
    "half a tag": b"\xaa",
}


@pytest.mark.spec(25)
async def test_wire_format(world: World) -> None:
    """What is no protobuf is refused as a whole; what is merely unusual or unknown does no harm."""
    client = await world.client()
    channel = world.channel()
    valid = stan.PubMsg(clientID=client.client_id, guid=b"g", subject=channel.encode(), data=b"x").SerializeToString()
    for name, extra in TOLERATED.items():
        for payload in (valid + extra, extra + valid):
            assert await publish_request(client.nats, payload) == stan.PubAck(guid=b"g"), name
    for name, extra in (FATAL | FATAL_AT_THE_END).items():
        ack = await publish_request(client.nats, valid + extra)
        assert ack.error.decode() == texts.INVALID_PUBLISH, name
    for name, extra in FATAL.items():
        ack = await publish_request(client.nats, extra + valid)
        assert ack == stan.PubAck(error=texts.INVALID_PUBLISH.encode()), name
    assert await reader_of(world, channel) == [b"x"] * 2 * len(TOLERATED)


@pytest.mark.spec(25)
async def test_guid_before_the_damage_is_echoed(world: World) -> None:
    """The publisher learns which of its messages was refused if the guid could be read."""
    client = await world.client()
    valid = stan.PubMsg(clientID=client.client_id, guid=b"g", subject=b"foo", data=b"x").SerializeToString()
    for name, extra in (FATAL | FATAL_AT_THE_END).items():
        ack = await publish_request(client.nats, valid + extra)
        assert ack == stan.PubAck(guid=b"g", error=texts.INVALID_PUBLISH.encode()), name


@pytest.mark.spec(25)
async def test_last_of_repeated_fields_counts(world: World) -> None:
    """As everywhere in protobuf: fields in any order, and the last value of one that comes twice."""
    client = await world.client()
    channel = world.channel()
    parts = [
        stan.PubMsg(**{field: value}).SerializeToString()
        for field, value in (
            ("data", b"first"),
            ("subject", channel.encode()),
            ("guid", b"old"),
            ("data", b"second"),
            ("clientID", client.client_id),
            ("guid", b"new"),
        )
    ]
    assert await publish_request(client.nats, b"".join(parts)) == stan.PubAck(guid=b"new")
    assert await reader_of(world, channel) == [b"second"]


@pytest.mark.spec(35)
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 65_536, 1_000_000])
async def test_payload_sizes(world: World, size: int) -> None:
    """Around the steps in the length of a length."""
    client = await world.client()
    channel = world.channel()
    subscription = await client.subscribe(channel)
    data = bytes(index * 7 % 256 for index in range(min(size, 4096))) * (size // 4096 + 1)
    await client.publish(channel, data[:size])
    delivery = await subscription.next()
    assert delivery.data == data[:size]


@pytest.mark.spec(35)
@pytest.mark.better_than_original("the original never gets past a message whose delivery exceeds max_payload")
async def test_message_too_large_to_deliver_blocks_nobody(world: World) -> None:
    """Its publish just fits into NATS' max_payload, its delivery would not. Whether it is refused or skipped: go on."""
    client = await world.client("o1", conn_id=b"")
    channel = "o"
    subscription = await client.subscribe(channel)
    limit = int(client.nats.info["max_payload"])
    frame = stan.PubMsg(clientID=client.client_id, guid=b"g", subject=channel.encode(), data=b"x" * 100_000)
    spare = limit - len(frame.SerializeToString())
    frame.data += b"x" * (spare - 1) if len(frame.data) + spare < 2**21 else b""
    assert limit - 1 <= len(frame.SerializeToString()) <= limit
    await publish_request(client.nats, frame.SerializeToString(), channel)
    await client.publish(channel, b"next")
    delivery = await subscription.next(2)
    assert delivery.data == b"next"


@pytest.mark.spec(10, 25)
async def test_clients_of_a_server_without_memory_are_unknown() -> None:
    """After a restart with the memory store: an old client fails with the texts of a replaced one."""
    with running_server() as server:
        world = World(server)
        old = await world.client()
        await old.publish("foo")
        assert server.stop() == 143
        await old.nats.disconnected.wait()
        server.start()
        zombie = StanClient(await world.nats(), old.client_id, old.conn_id, old.cluster)
        zombie.connect_response = old.connect_response
        assert await refused(zombie.ping()) == texts.NOT_REGISTERED
        message = stan.PubMsg(clientID=old.client_id, connID=old.conn_id, guid=b"g", subject=b"foo")
        ack = await publish_request(zombie.nats, message.SerializeToString())
        assert ack == stan.PubAck(guid=b"g", error=texts.INVALID_PUBLISH.encode())
        assert await refused(zombie.close()) == texts.UNKNOWN_CLIENT
        await world.close()


@pytest.mark.spec(32, 36)
async def test_shutdown_under_load_acks_nothing_falsely() -> None:
    """Until the end: no ack carries an error, acks are a prefix in order, and each message preceded its ack."""
    with running_server() as server:
        world = World(server)
        client = await world.client()
        subscription = await client.subscribe("foo", max_in_flight=1_000_000)
        guids = [client.publish_nowait("foo", b"x" * 64) for _ in range(20_000)]
        await client.take_acks(1)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        await client.nats.disconnected.wait()
        assert await stopping == 143
        acked = [client.acks.get_nowait() for _ in range(client.acks.qsize())]
        assert not [ack for ack in acked if ack.error]
        assert [ack.guid for ack in acked] == guids[1 : len(acked) + 1]
        assert len(subscription.waiting()) >= len(acked) + 1
        await world.close()
