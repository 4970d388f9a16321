"""Publishing: acks, errors that carry the guid, the window at which publishing waits, batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from nats_streaming.client import (
    AckTimeout,
    ConnectionClosed,
    ConnectionLost,
    PublishAck,
    PublishError,
    connect,
)
from tests.support.raw_client import NatsClient
from tests.support.servers import ServerProcess


@pytest.mark.parametrize("transport", ["native", "nats-py"])
async def test_publish_waits_for_the_ack(url: str, name: str, transport: str) -> None:
    async with connect("test-cluster", name, servers=url, transport=transport) as stan:  # type: ignore[arg-type]
        ack = await stan.publish(name, b"one")
        assert isinstance(ack, PublishAck)
        assert ack.channel == name
        second = await stan.publish(name, b"")
        assert second.guid != ack.guid
        sub = await stan.subscribe(name, start="first")
        assert [(await anext(sub)).data for _ in range(2)] == [b"one", b""]


async def test_pending_publishes_are_awaited_in_any_order_and_more_than_once(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        pending = [await stan.publish_async(name, b"%d" % number) for number in range(100)]
        last = await pending[-1]
        assert last == await pending[-1] == pending[-1].result()
        assert [ack.guid for ack in await asyncio.gather(*pending)] == [one.guid for one in pending]
        assert stan.pending_count == 0


async def test_a_refused_message_raises_with_its_guid_and_the_servers_text(url: str, name: str) -> None:
    async with connect("test-cluster", name, servers=url) as stan:
        await stan.publish(name, b"")
        pending = await stan.publish_async(name.upper(), b"")
        with pytest.raises(PublishError, match="different cases not allowed") as caught:
            await pending
        assert caught.value.guid == pending.guid
        assert caught.value.channel == name.upper()


async def test_what_can_be_published(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        mutable = bytearray(b"12")
        pending = await stan.publish_async(name, mutable)
        mutable[0] = 0
        await pending
        await stan.publish(name, memoryview(b"345")[1:])
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError, match="bytes, bytearray or memoryview"):
                await stan.publish(name, wrong)  # type: ignore[arg-type]
        sub = await stan.subscribe(name, start="first")
        assert [(await anext(sub)).data for _ in range(2)] == [b"12", b"45"]


@pytest.mark.parametrize("channel", ["", ".a", "a.", "a..b", "a/b", "a.*", "a.>", "a b", "a\r\nPUB b 0\r\n"])
async def test_a_channel_name_that_cannot_be_is_refused_here(ours: str, name: str, channel: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        with pytest.raises(PublishError, match="channel name"):
            await stan.publish(channel, b"")


async def test_a_message_larger_than_nats_takes_is_refused_here(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        with pytest.raises(PublishError, match="NATS takes 1048576"):
            await stan.publish(name, bytes(1024 * 1024))
        await stan.publish(name, bytes(1024 * 1024 - 200))


class SilentServer:
    """Takes connects and never acks a publish until told to."""

    def __init__(self, nats: NatsClient) -> None:
        self.nats = nats
        self.publishes: list[tuple[bytes, bytes]] = []

    @classmethod
    async def start(cls, port: int, cluster: str) -> SilentServer:
        from tests.support import stan_messages as stan

        server = cls(await NatsClient.connect(port))
        subjects = {
            "pubPrefix": f"_T.pub.{cluster}", "subRequests": f"_T.sub.{cluster}",
            "unsubRequests": f"_T.unsub.{cluster}", "closeRequests": f"_T.close.{cluster}",
            "subCloseRequests": f"_T.subclose.{cluster}",
        }  # fmt: skip
        response = stan.ConnectResponse(**{key: value.encode() for key, value in subjects.items()})

        def on_connect(message: object) -> None:
            server.nats.publish(message.reply, response.SerializeToString())  # type: ignore[attr-defined]

        def on_close(message: object) -> None:
            server.nats.publish(message.reply, b"")  # type: ignore[attr-defined]

        def on_publish(message: object) -> None:
            guid = stan.PubMsg.FromString(message.payload).guid  # type: ignore[attr-defined]
            server.publishes.append((guid, message.reply))  # type: ignore[attr-defined]

        server.nats.subscribe(f"_STAN.discover.{cluster}".encode(), on_connect)
        server.nats.subscribe(f"_T.close.{cluster}".encode(), on_close)
        server.nats.subscribe(f"_T.pub.{cluster}.>".encode(), on_publish)
        await server.nats.flush()
        return server

    def ack(self, number: int) -> None:
        from tests.support import stan_messages as stan

        guid, reply = self.publishes[number]
        self.nats.publish(reply, stan.PubAck(guid=guid).SerializeToString())

    async def wait_for(self, count: int) -> None:
        while len(self.publishes) < count:
            await asyncio.sleep(0.002)


@pytest.fixture
def silent(ours: str) -> Callable[..., object]:
    port = int(ours.rpartition(":")[2])

    async def start(cluster: str) -> SilentServer:
        return await SilentServer.start(port, cluster)

    return start


async def test_publishing_waits_at_the_window_and_goes_on_with_an_ack(ours: str, name: str, silent: Callable) -> None:  # type: ignore[type-arg]
    server: SilentServer = await silent(name)
    async with connect(name, name, servers=ours, max_pub_acks_inflight=3, close_timeout=0) as stan:
        first = [await stan.publish_async("c", b"") for _ in range(3)]
        fourth = asyncio.create_task(stan.publish_async("c", b""))
        fifth = asyncio.create_task(stan.publish_async("c", b""))
        await server.wait_for(3)
        assert not fourth.done()
        assert stan.pending_count == 3
        fourth.cancel()  # a cancelled waiter does not keep the place
        server.ack(1)
        pending = await fifth
        assert first[1].done
        assert not first[0].done
        for number in (0, 2):
            server.ack(number)
        await server.wait_for(4)
        server.ack(3)
        await asyncio.gather(*first, pending)
    await server.nats.close()


async def test_publishing_waits_at_the_windows_bytes(ours: str, name: str, silent: Callable) -> None:  # type: ignore[type-arg]
    server: SilentServer = await silent(name)
    async with connect(name, name, servers=ours, max_pub_bytes_inflight=1000, close_timeout=0) as stan:
        await stan.publish_async("c", bytes(1000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stan.publish_async("c", b""), 0.05)
        await server.wait_for(1)
        server.ack(0)
        last = await stan.publish_async("c", b"")
        await server.wait_for(2)
        server.ack(1)
        await last
    await server.nats.close()


async def test_no_ack_in_time_is_an_ack_timeout_and_frees_the_window(ours: str, name: str, silent: Callable) -> None:  # type: ignore[type-arg]
    server: SilentServer = await silent(name)
    async with connect(name, name, servers=ours, ack_timeout=0.2, auto_resume=False) as stan:
        with pytest.raises(AckTimeout) as caught:
            await stan.publish("c", b"")
        await server.wait_for(1)
        assert [guid for guid, _ in server.publishes] == [caught.value.guid.encode()]
        assert stan.pending_count == 0
        server.ack(0)  # late: nobody minds
    await server.nats.close()


async def test_an_unacked_publish_is_sent_again_under_its_guid_before_it_times_out(
    ours: str,
    name: str,
    silent: Callable,  # type: ignore[type-arg]
) -> None:
    server: SilentServer = await silent(name)
    async with connect(name, name, servers=ours, ack_timeout=2) as stan:
        pending = await stan.publish_async("c", b"")
        await server.wait_for(2)
        assert server.publishes[0] == server.publishes[1]
        server.ack(1)
        await pending
    await server.nats.close()


async def test_cancelling_publish_leaves_the_rest_alone(ours: str, name: str, silent: Callable) -> None:  # type: ignore[type-arg]
    server: SilentServer = await silent(name)
    async with connect(name, name, servers=ours, close_timeout=0) as stan:
        pending = await stan.publish_async("c", b"")
        waiting = [asyncio.ensure_future(_wait(pending)) for _ in range(3)]
        await server.wait_for(1)
        waiting[1].cancel()
        server.ack(0)
        await asyncio.wait(waiting)
        assert [task.cancelled() for task in waiting] == [False, True, False]
    await server.nats.close()


async def _wait(pending: object) -> None:
    await pending  # type: ignore[misc]


async def test_close_waits_for_acks_up_to_its_deadline(ours: str, name: str, silent: Callable) -> None:  # type: ignore[type-arg]
    server: SilentServer = await silent(name)
    stan = await connect(name, name, servers=ours, close_timeout=20)
    pending = await stan.publish_async("c", b"")
    closing = asyncio.create_task(stan.close())
    await server.wait_for(1)
    assert not closing.done()
    server.ack(0)
    await closing
    assert pending.result()
    with pytest.raises(ConnectionClosed):
        await stan.publish("c", b"")

    stan = await connect(name, name, servers=ours, close_timeout=0.1)
    pending = await stan.publish_async("c", b"")
    await stan.close()
    await stan.close()
    with pytest.raises(ConnectionClosed):
        await pending
    await server.nats.close()


async def test_an_error_that_nobody_awaits_is_reported(ours: str, name: str) -> None:
    errors: list[Exception] = []
    async with connect("test-cluster", name, servers=ours, on_error=errors.append) as stan:
        await stan.publish(name, b"")
        await stan.publish_async(name.upper(), b"")
        await stan.flush()
    assert [type(error) for error in errors] == [PublishError]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_batch_is_stored_in_order(url: str, name: str, is_async: bool) -> None:
    async def messages() -> AsyncIterator[bytes]:
        for number in range(3000):
            yield b"%d" % number

    async with connect("test-cluster", name, servers=url, max_pub_acks_inflight=100) as stan:
        count = await stan.publish_many(name, messages() if is_async else (b"%d" % number for number in range(3000)))
        assert count == 3000
        sub = await stan.subscribe(name, start="first")
        assert [int((await anext(sub)).data) for _ in range(3000)] == list(range(3000))


async def test_a_batch_names_what_was_not_stored(ours: str, name: str) -> None:
    async with connect("test-cluster", name, servers=ours) as stan:
        await stan.publish(name, b"")
        with pytest.raises(ExceptionGroup, match="2 of 2 messages") as caught:
            await stan.publish_many(name.upper(), [b"", b""])
        assert [type(error) for error in caught.value.exceptions] == [PublishError, PublishError]


async def test_told_not_to_resume_a_lost_connection_is_an_error_everywhere(
    start: Callable[..., ServerProcess], name: str
) -> None:
    server = start("ours")
    stan = await connect("test-cluster", name, servers=f"nats://127.0.0.1:{server.port}", auto_resume=False)
    sub = await stan.subscribe(name)
    taking = asyncio.ensure_future(anext(sub))
    await asyncio.sleep(0)
    server.kill()
    with pytest.raises(ConnectionLost):
        await taking
    with pytest.raises(ConnectionLost):
        await stan.publish(name, b"")
    with pytest.raises(ConnectionLost):
        await anext(sub)
    with pytest.raises(ConnectionLost):
        await stan.subscribe(name)
    await stan.close()
