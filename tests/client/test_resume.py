"""What a client survives: cut connections, restarted servers with and without their state, a taken client ID."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nats_streaming.client import (
    Client,
    ConnectError,
    ConnectionLost,
    Resumed,
    Subscription,
    SubscriptionError,
    connect,
)
from tests.support.proxy import Proxy
from tests.support.servers import ServerProcess, free_port, running_nats


class Watched:
    """What a client told through its callbacks."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.resumes: list[Resumed] = []
        self.errors: list[Exception] = []
        self._changed = asyncio.Event()

    def on_resume(self, resumed: Resumed) -> None:
        self.resumes.append(resumed)
        self._changed.set()

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self._changed.set()

    async def resumed(self, count: int = 1) -> Resumed:
        while len(self.resumes) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.resumes[-1]

    async def told(self, text: str) -> None:
        while not any(text in str(error) for error in self.errors):
            self._changed.clear()
            await self._changed.wait()

    async def connect(self, url: str, client_id: str, **options: object) -> Client:
        return await connect(
            "test-cluster", client_id, servers=url, on_disconnect=self.lost.append, on_resume=self.on_resume,
            on_error=self.on_error, **options,  # type: ignore[arg-type]
        )  # fmt: skip


async def numbers(sub: Subscription, count: int) -> list[int]:
    return [int((await anext(sub)).data) for _ in range(count)]


async def publish(stan: Client, channel: str, first: int, stop: int) -> None:
    await stan.publish_many(channel, (b"%d" % number for number in range(first, stop)))


@pytest.mark.parametrize("transport", ["native", "nats-py"])
async def test_a_cut_connection(url: str, server: ServerProcess, name: str, transport: str) -> None:
    watched = Watched()
    async with Proxy(server.port) as proxy:
        stan = await watched.connect(proxy.url, name, transport=transport)
        plain = await stan.subscribe(name, start="first")
        durable = await stan.subscribe(name, start="first", durable="d", manual_acks=True)
        await publish(stan, name, 1, 4)
        assert await numbers(plain, 3) == [1, 2, 3]
        held = [await anext(durable) for _ in range(3)]
        await held[0].ack()
        await stan.flush()
        proxy.cut()
        await held[1].ack()  # kept for the new session
        await publish(stan, name, 4, 6)  # waits for it
        resumed = await watched.resumed()
        assert resumed.subscriptions == 2
        assert not resumed.state_lost
        assert await numbers(plain, 2) == [4, 5]
        later = [await anext(durable)]
        while later[-1].sequence != 5:
            later.append(await anext(durable))
        # 2 may come again, since its ack could only follow the server's sending it again.
        assert [(message.sequence, message.redelivered) for message in later if message.sequence != 2] == [
            (3, True), (4, False), (5, False),
        ]  # fmt: skip
        await stan.close()
    assert len(watched.lost) == 1


async def test_publishes_without_ack_are_sent_again_in_order(url: str, server: ServerProcess, name: str) -> None:
    watched = Watched()
    async with Proxy(server.port) as proxy:
        stan = await watched.connect(proxy.url, name)
        await stan.publish(name, b"0")
        proxy.refuse()
        pending = [asyncio.create_task(stan.publish(name, b"%d" % number)) for number in range(1, 50)]
        while not watched.lost:
            await asyncio.sleep(0.001)
        proxy.accept()
        await asyncio.gather(*pending)
        sub = await stan.subscribe(name, start="first")
        assert await numbers(sub, 50) == list(range(50))
        await stan.close()


@pytest.mark.parametrize("kind", ["ours-FILE", "go-FILE"])
async def test_a_killed_server_that_comes_back_with_its_store(
    start: Callable[..., ServerProcess], name: str, kind: str
) -> None:
    watched = Watched()
    server = start(kind)
    stan = await watched.connect(f"nats://127.0.0.1:{server.port}", name)
    plain = await stan.subscribe(name)
    durable = await stan.subscribe(name, durable="d", manual_acks=True)
    await publish(stan, name, 1, 4)
    assert await numbers(plain, 3) == [1, 2, 3]
    for _ in range(3):
        await (await anext(durable)).ack()
    server.kill()
    waiting = asyncio.create_task(publish(stan, name, 4, 6))
    await asyncio.to_thread(server.start)
    await waiting
    assert await numbers(plain, 2) == [4, 5]
    got = [await anext(durable)]
    while got[-1].data != b"5":
        got.append(await anext(durable))
    assert [int(message.data) for message in got if not message.redelivered] == [4, 5]
    assert not watched.resumes[-1].state_lost
    await stan.close()


@pytest.mark.parametrize("kind", ["ours", "go"])
async def test_a_restarted_server_that_has_forgotten_everything(
    start: Callable[..., ServerProcess], name: str, kind: str
) -> None:
    """What others published before this client was back has low sequences again, and is not lost."""
    watched = Watched()
    server = start(kind)
    url = f"nats://127.0.0.1:{server.port}"
    async with Proxy(server.port) as proxy:
        stan = await watched.connect(proxy.url, name)
        plain = await stan.subscribe(name)
        durable = await stan.subscribe(name, durable="d", ack_wait=1, manual_acks=True)
        await publish(stan, name, 1, 11)
        assert await numbers(plain, 10) == list(range(1, 11))
        held = [await anext(durable) for _ in range(10)]
        for message in held[2:]:
            await message.ack()
        proxy.refuse()
        while not watched.lost:
            await asyncio.sleep(0.001)
        await held[0].ack()
        server.kill()
        await asyncio.to_thread(server.start)
        async with connect("test-cluster", "other", servers=url) as other:
            await publish(other, name, 11, 14)
        proxy.accept()
        assert (await watched.resumed()).state_lost
        await publish(stan, name, 14, 16)
        assert await numbers(plain, 5) == [11, 12, 13, 14, 15]
        await held[1].ack()
        assert await numbers(durable, 5) == [11, 12, 13, 14, 15]
        # Acks of the old channel must not ack the new one's messages of the same sequences.
        again = [await anext(durable) for _ in range(5)]
        assert [(int(message.data), message.redelivered) for message in again] == [
            (number, True) for number in range(11, 16)
        ]
        await stan.close()


async def test_a_client_id_taken_over_and_given_back(url: str, server: ServerProcess, name: str) -> None:
    watched = Watched()
    async with Proxy(server.port) as proxy:
        stan = await watched.connect(proxy.url, name)
        sub = await stan.subscribe(name, durable="d", manual_acks=True)
        await publish(stan, name, 1, 4)
        for message in [await anext(sub) for _ in range(3)][:2]:
            await message.ack()
        await stan.flush()
        proxy.refuse()
        async with connect("test-cluster", name, servers=url) as usurper:
            proxy.accept()
            await watched.told("stan: clientID already registered")
            theirs = await usurper.subscribe(name, durable="d", manual_acks=True)
            message = await anext(theirs)
            assert (message.sequence, message.redelivered) == (3, True)
            await publish(usurper, name, 4, 6)
        assert (await watched.resumed()).state_lost
        got = {(await anext(sub)).sequence for _ in range(3)}
        assert got == {3, 4, 5}
        await publish(stan, name, 6, 7)
        await stan.close()


async def test_a_zombie_does_not_close_its_successor(url: str, server: ServerProcess, name: str) -> None:
    """A close request names only the client ID, so a client that was replaced must not send one."""
    stan = await connect("test-cluster", name, servers=url, auto_resume=False, stan_ping_interval=60)
    stan.session.end()  # as if its process had been frozen when the server asked whether it lives
    async with connect("test-cluster", name, servers=url) as successor:
        await stan.close()
        await successor.publish(name, b"still here")
        await successor.session.ping(5)


@pytest.mark.parametrize("kind", ["ours-FILE", "go-FILE", "ours"])
async def test_the_streaming_server_restarts_and_nats_stays(
    start: Callable[..., ServerProcess], tmp_path: Path, name: str, kind: str
) -> None:
    """No connection is lost; only publishes that nobody takes, or pings, tell."""
    watched = Watched()
    with running_nats(tmp_path) as port:
        server = start(kind, "-ns", f"nats://127.0.0.1:{port}", external=True)
        stan = await watched.connect(f"nats://127.0.0.1:{port}", name, stan_ping_interval=1)
        sub = await stan.subscribe(name)
        await publish(stan, name, 1, 4)
        assert await numbers(sub, 3) == [1, 2, 3]
        server.kill()
        waiting = asyncio.create_task(publish(stan, name, 4, 7))
        while not watched.lost:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.start)
        await waiting
        assert await numbers(sub, 3) == [4, 5, 6]
        await stan.close()


async def test_a_resume_that_takes_too_long(ours: str, name: str) -> None:
    async with Proxy(int(ours.rpartition(":")[2])) as proxy:
        stan = await connect("test-cluster", name, servers=proxy.url, resume_timeout=0.3)
        sub = await stan.subscribe(name)
        proxy.refuse()
        with pytest.raises(ConnectionLost, match=r"not resumed within 0\.3 s"):
            await anext(sub)
        with pytest.raises(ConnectionLost):
            await stan.publish(name, b"")
        assert stan.is_closed
        await stan.close()


async def test_subscribing_during_a_resume_waits_for_it(ours: str, name: str) -> None:
    watched = Watched()
    async with Proxy(int(ours.rpartition(":")[2])) as proxy:
        stan = await watched.connect(proxy.url, name)
        proxy.refuse()
        while not watched.lost:
            await asyncio.sleep(0.001)
        subscribing = asyncio.create_task(stan.subscribe(name, start="first"))
        await asyncio.sleep(0)
        proxy.accept()
        sub = await subscribing
        await stan.publish(name, b"1")
        assert await numbers(sub, 1) == [1]
        await stan.close()


async def test_nothing_came_yet_and_nothing_is_missed(url: str, server: ServerProcess, name: str) -> None:
    """`new` means since the subscription, not since the resume."""
    watched = Watched()
    async with Proxy(server.port) as proxy:
        stan = await watched.connect(proxy.url, name)
        sub = await stan.subscribe(name)
        await asyncio.sleep(0.05)
        proxy.refuse()
        async with connect("test-cluster", "other", servers=url) as other:
            await publish(other, name, 1, 4)
        proxy.accept()
        assert await numbers(sub, 3) == [1, 2, 3]
        await stan.close()


async def test_a_callback_of_ours_that_raises_is_told_to_the_loop(ours: str, name: str) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    watched = Watched()

    async def on_disconnect(_reason: str) -> None:
        raise LookupError("in a callback")

    async with Proxy(int(ours.rpartition(":")[2])) as proxy:
        stan = await connect(
            "test-cluster", name, servers=proxy.url, on_disconnect=on_disconnect, on_resume=watched.on_resume
        )
        proxy.cut()
        await watched.resumed()
        await stan.close()
    assert [repr(context["exception"]) for context in told] == ["LookupError('in a callback')"]


async def test_connecting_where_nobody_is(ours: str, name: str) -> None:
    with pytest.raises(ConnectError, match="no servers available"):
        await connect("test-cluster", name, servers=f"nats://127.0.0.1:{free_port()}")
    with pytest.raises(Exception, match="the streaming server is not there"):
        await connect("other-cluster", name, servers=ours)
    with pytest.raises(ConnectError, match="invalid clientID"):
        await connect("test-cluster", "not an ID", servers=ours)
    async with connect("test-cluster", name, servers=ours):
        with pytest.raises(ConnectError, match="stan: clientID already registered"):
            await connect("test-cluster", name, servers=ours)


async def test_a_subscription_refused_at_a_resume_ends_with_the_reason(
    start: Callable[..., ServerProcess], name: str
) -> None:
    server = start("ours", "-msu", "1")
    watched = Watched()
    async with Proxy(server.port) as proxy:
        stan = await watched.connect(proxy.url, name)
        sub = await stan.subscribe(name)
        proxy.refuse()
        # The usurper takes the ID, which closes the subscription, and leaves a durable that counts.
        async with connect("test-cluster", name, servers=f"nats://127.0.0.1:{server.port}") as usurper:
            await usurper.subscribe(name, durable="d")
        proxy.accept()
        with pytest.raises(SubscriptionError, match="too many subscriptions per channel"):
            await anext(sub)
        await stan.publish(name, b"")
        await stan.close()


async def test_told_not_to_resume_a_replaced_client_is_ended_by_a_ping(url: str, name: str) -> None:
    stan = await connect("test-cluster", name, servers=url, auto_resume=False, stan_ping_interval=1)
    sub = await stan.subscribe(name)
    stan.session.end()  # as if its process had been frozen when the server asked whether it lives
    async with connect("test-cluster", name, servers=url):
        with pytest.raises(ConnectionLost, match="client has been replaced or is no longer registered"):
            await anext(sub)
        await stan.close()
        left = [task for task in asyncio.all_tasks() if "nats-streaming" in task.get_name()]
        assert len(left) == 1, "only the successor's ping"
