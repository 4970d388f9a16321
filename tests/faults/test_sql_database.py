"""A database that is cut off in the middle of a transaction, slow, or out of space: nothing acknowledged is lost,
nothing is there twice, nobody else is harmed, and service goes on when the fault is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_file_kill import CHANNELS, Ledger, check, check_durable, connect, consume, publish
from tests.support.database_fixtures import database_servers, initialized
from tests.support.databases import SERVERS, DatabaseServer
from tests.support.proxy import Proxy
from tests.support.raw_client import StanClient, StanError
from tests.support.servers import ServerProcess
from tests.support.small_disk import SmallDisk
from tests.support.stan_messages import StartPosition

__all__ = ["database_servers"]

DRIVERS = ["postgres", "mysql"]
CUTS = 5
DELAY_S = 0.3
PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def through_a_proxy(database: DatabaseServer, *arguments: str) -> AsyncIterator[tuple[ServerProcess, Proxy]]:
    """A server on a new database, which it reaches by a proxy only."""
    name = database.create()
    initialized(database.driver, database.source(name))
    async with Proxy(database.port) as proxy:
        source = database.source(name).replace(f":{database.port}", f":{proxy.port}")
        server = ServerProcess("-store", "SQL", "-sql_driver", database.driver, "-sql_source", source, *arguments)
        try:
            await asyncio.to_thread(server.start)
            yield server, proxy
        except BaseException:
            print(server.log()[-10_000:])  # noqa: T201
            raise
        finally:
            await asyncio.to_thread(server.close)


class Cutter:
    """Cuts the connection in the transaction that brings a message with a mark.

    Attributes:
        done: it did.
    """

    def __init__(self, proxy: Proxy, driver: str, mark: bytes, when: str) -> None:
        """
        Args:
            when: `insert`, the message does not arrive; `answer`, it does, and the answer does not; `commit`, the
                commit does, and its answer does not.
        """
        self.done = asyncio.Event()
        self._driver = driver
        self._mark = mark
        self._when = when
        self._seen: dict[int, bytes] = defaultdict(bytes)
        self._marked: int | None = None
        self._is_over = False
        proxy.lets_request = self.request
        proxy.lets_response = self.response

    def request(self, connection: int, data: bytes) -> bool:
        if self.done.is_set() or self._marked not in (None, connection):
            return True
        # Of several connections, each in chunks: what is looked for may be in two of them.
        seen = self._seen[connection] + data
        if self._marked is None and self._mark in seen:
            self._marked = connection
            self._is_over = self._when == "answer"
            if self._when == "insert":
                return self._cut()
            seen = seen.partition(self._mark)[2]
        if self._marked is not None and self._when == "commit" and self._driver == "mysql" and b"COMMIT" in seen:
            self._is_over = True
        self._seen[connection] = seen[-len(self._mark) :]
        return True

    def response(self, connection: int, data: bytes) -> bool:
        if self.done.is_set() or connection != self._marked:
            return True
        if self._when == "commit" and self._driver == "postgres" and b"COMMIT\0" in data:
            self._is_over = True
        return True if not self._is_over else self._cut()

    def _cut(self) -> bool:
        self.done.set()
        return False


@pytest.mark.store_spec(74)
@pytest.mark.parametrize("driver", DRIVERS)
async def test_the_connection_is_cut_in_mid_transaction(
    driver: str, database_servers: Callable[[str], DatabaseServer]
) -> None:
    """Wherever it is: the transaction is carried out again, once, and the publishers see no more than a delay."""
    ledger = Ledger()
    async with through_a_proxy(database_servers(driver)) as (server, proxy):
        clients = [await connect(server.port, name) for name in (b"publisher", b"consumer", b"marker")]
        publisher, consumer, marker = clients

        async def cut(number: int, when: str, channel: bytes) -> None:
            payload = f"<the {number}th, cut at its {when}>".encode()
            cutter = Cutter(proxy, driver, payload, when)
            async with asyncio.timeout(PATIENCE_S):
                await marker.publish(channel, payload)
            assert cutter.done.is_set()
            ledger.acknowledged[channel].add(payload)

        await marker.publish(CHANNELS[1], b"")
        # While nothing else happens a message is stored by one statement, whose answer is that of its commit.
        await cut(-1, "answer", CHANNELS[1])
        jobs = [
            asyncio.create_task(publish(publisher, ledger, random.Random(driver))),
            asyncio.create_task(consume(consumer, ledger)),
        ]
        for number in range(CUTS):
            await cut(number, "insert", CHANNELS[1])
            await cut(number, "answer", CHANNELS[1])
            # A new channel takes several statements and a commit, whatever else is in the batch.
            await cut(number, "commit", b"new.%d" % number)
        for job in jobs:
            assert not job.done(), job
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for client in clients:
            await client.close()
            await client.nats.close()
        await check(server, ledger)
        await check_durable(server, ledger)
        assert await asyncio.to_thread(server.stop, signal.SIGINT) == 0
        assert "[ERR]" not in server.log()


@pytest.mark.store_spec(74)
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_slow_database(driver: str, database_servers: Callable[[str], DatabaseServer]) -> None:
    """Publishers wait for it; heartbeats, pings and deliveries of what is there do not."""
    heartbeats = ("-hbi", "200ms", "-hbt", "5s", "-hbf", "2")
    async with through_a_proxy(database_servers(driver), *heartbeats) as (server, proxy):
        publisher, bystander = [await connect(server.port, name) for name in (b"publisher", b"bystander")]
        await publisher.publish_many("foo", [b"%d" % number for number in range(100)])
        subscription = await bystander.subscribe("foo", start=StartPosition.FIRST, max_in_flight=10)
        assert await subscription.sequences(10) == list(range(1, 11))
        proxy.delay_s = DELAY_S
        begun = time.monotonic()
        waiting = asyncio.create_task(publisher.publish_many("foo", [b"slow"] * 20))
        beats = bystander.heartbeats.qsize()
        longest = 0.0
        last = 10
        while not waiting.done():
            asked = time.monotonic()
            await bystander.ping()
            if last < 100:
                last += 1
                subscription.ack(last - 10)
                assert (await subscription.next()).sequence == last
            longest = max(longest, time.monotonic() - asked)
            await asyncio.sleep(0.02)
        await waiting
        took = time.monotonic() - begun
        assert took >= 2 * DELAY_S, "there and back at least"
        assert longest < 1.5 * DELAY_S, "less than there and back"
        assert bystander.heartbeats.qsize() - beats >= took / 0.4, (
            "one every fifth of a second, and half of them is enough"
        )
        assert last > 20
        proxy.delay_s = 0.0
        async with asyncio.timeout(PATIENCE_S):
            while await is_slow(publisher):
                pass
        log = server.log()
        assert "[ERR]" not in log
        assert "[WRN]" not in log


async def is_slow(client: StanClient) -> bool:
    asked = time.monotonic()
    await client.publish("foo", b"fast again?")
    return time.monotonic() - asked > DELAY_S / 2


@pytest.fixture
def full_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DatabaseServer, SmallDisk]]:
    """A database whose data lie on a small disk."""
    disk = SmallDisk(tmp_path, 256 << 20)
    try:
        database = SERVERS[request.param](disk=disk)
        try:
            database.start()
            yield database, disk
        finally:
            database.close()
    finally:
        disk.close()


@pytest.mark.parametrize("full_database", DRIVERS, indirect=True)
async def test_a_database_out_of_space(full_database: tuple[DatabaseServer, SmallDisk]) -> None:
    """Publishers get errors that say so, what was acked is there, and with room again all goes on."""
    database, disk = full_database
    name = database.create()
    arguments = initialized(database.driver, database.source(name))
    server = ServerProcess(*arguments).start()
    try:
        client = await connect(server.port, b"client")
        acked = [b"%d" % number for number in range(20)]
        await client.publish_many("foo", acked)
        disk.fill()
        error = ""
        async with asyncio.timeout(PATIENCE_S):
            while not error:
                message = os.urandom(600_000)
                try:
                    await client.publish("foo", message)
                except StanError as refusal:
                    error = str(refusal)
                else:
                    acked.append(message)
        assert "No space left on device" in error or "is full" in error or "cannot be reached" in error, error
        await client.ping()
        disk.free()
        if database.process is not None and database.process.poll() is not None:
            # MariaDB ends itself when there is no room to roll back; whoever makes room starts it again.
            database.start()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(StanError):
                    await client.publish("foo", b"room again")
                    acked.append(b"room again")
                    break
                await asyncio.sleep(0.05)
        subscription = await client.subscribe("foo", start=StartPosition.FIRST, max_in_flight=10_000)
        found: list[bytes] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < len(acked):
                delivery = await subscription.next()
                assert delivery.sequence == len(found) + 1
                found.append(delivery.data)
        assert found == acked
    finally:
        server.close()
