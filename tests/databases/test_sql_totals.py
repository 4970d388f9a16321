"""Counts and sizes at the start: told by MessageTotals where that holds, counted where it does not, never wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.batch import ChannelRemoved, Deleted, Record, Sent, SubscriptionPut, Trimmed
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.database import SqlError
from nats_streaming.stores.sql.ledger import TOTALS_MESSAGES
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.stores.state import StoredChannel
from nats_streaming.testing.store_suite import make_run
from tests.support.databases import DatabaseServer

from .one_database import OneDatabase

FOO = b"foo"


class World:
    """A database and the stores that a test opens on it."""

    def __init__(self, database: OneDatabase) -> None:
        self.database = database
        self.rows = database.rows
        self.stores: list[SqlStore] = []

    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """The body of a test. Its stores are closed if it fails, too: their threads keep pytest from ending."""

        async def all_of_it() -> None:
            try:
                await body()
            finally:
                for store in self.stores:
                    await store.close()

        asyncio.run(all_of_it())

    def store(self) -> SqlStore:
        self.stores.append(self.database.store())
        return self.stores[-1]

    async def recovered(self) -> tuple[SqlStore, StoredChannel]:
        """A store on it, and what it found of the channel; its figures are those of the rows."""
        store = self.store()
        state = await store.recover()
        assert state is not None
        channel = state.channels[FOO]
        ((count, size, first, last),) = await self.rows(
            "SELECT count(*), COALESCE(sum(size), 0), COALESCE(min(seq), 0), COALESCE(max(seq), 0) FROM Messages"
        )
        assert (channel.count, channel.size) == (count, size)
        if count:
            assert (channel.first, channel.last) == (first, last)
        return store, channel

    async def untold(self) -> int:
        """Messages over which there is no row of totals."""
        told = "SELECT 1 FROM MessageTotals t WHERE t.id = m.id AND m.seq BETWEEN t.first AND t.last"
        ((count,),) = await self.rows(f"SELECT count(*) FROM Messages m WHERE NOT EXISTS ({told})")
        return int(count)


@pytest.fixture
def world(database: OneDatabase) -> World:
    return World(database)


@pytest.fixture
def sqlite(database_servers: Callable[[str], DatabaseServer], tmp_path: Path) -> World:
    return World(OneDatabase("sqlite", database_servers, tmp_path))


async def put(store: SqlStore, *records: Record) -> None:
    store.stage(list(records))
    await store.commit()


async def crash(store: SqlStore) -> None:
    store.abandon()
    await store.close()


def bodies(count: int, tag: bytes = b"x") -> list[bytes]:
    return [tag * (1 + number % 7) for number in range(count)]


def test_a_start_after_a_clean_end_counts_nothing(world: World) -> None:
    async def body() -> None:
        store = world.store()
        await store.recover()
        for first in range(1, 5001, 500):
            await put(store, make_run(FOO, first, bodies(500)))
        await put(store, make_run(FOO, 5001, bodies(7)))
        await store.close()
        assert await world.untold() == 0
        assert await world.rows("SELECT count(*) FROM MessageTotals") == [(4,)]
        ((size,),) = await world.rows("SELECT sum(size) FROM Messages")
        # No server changes a row, so this one tells whether rows were counted.
        await world.rows("UPDATE Messages SET size = size + 1000 WHERE seq IN (1, 2500, 5007)")
        store = world.store()
        state = await store.recover()
        assert state is not None
        channel = state.channels[FOO]
        assert (channel.first, channel.last, channel.count, channel.size) == (1, 5007, 5007, size)
        await store.close()

    world.run(body)


def test_what_was_written_since_is_counted(world: World) -> None:
    """After a crash, after a Go server, and at the front, where messages have gone."""

    async def body() -> None:
        store = world.store()
        await store.recover()
        for first in range(1, 4001, 800):
            await put(store, make_run(FOO, first, bodies(800)))
        await put(store, Trimmed(FOO, 1501))
        await crash(store)
        assert await world.untold() == 800
        store, _ = await world.recovered()
        assert await world.untold() == 0
        await put(store, make_run(FOO, 4001, bodies(30)))
        await store.close()
        store, channel = await world.recovered()
        assert (channel.first, channel.last) == (1501, 4030)
        await store.close()
        assert await world.untold() == 0

    world.run(body)


def test_an_end_does_not_wait_for_the_database(
    database_servers: Callable[[str], DatabaseServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not tell is counted."""
    monkeypatch.setattr("nats_streaming.stores.sql.store._TAILS_S", 0.3)
    monkeypatch.setattr("nats_streaming.stores.sql.database._CLOSE_S", 0.3)
    world = World(OneDatabase("postgres", database_servers, tmp_path))
    server = world.database.server
    assert server is not None

    async def body() -> None:
        store = world.store()
        await store.recover()
        await put(store, make_run(FOO, 1, bodies(300)))
        server.pause()
        try:
            async with asyncio.timeout(10):
                await store.close()
        finally:
            server.resume()
        assert await world.untold() == 300
        store, _ = await world.recovered()
        await store.close()
        assert await world.untold() == 0

    world.run(body)
    world.database.drop()


def test_a_database_without_the_table(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        store = world.store()
        await store.recover()
        await put(store, make_run(FOO, 1, bodies(2000)))
        await store.close()
        if world.database.server is None:
            return  # SQLite gets its tables at every start
        await world.rows("DROP TABLE MessageTotals")
        store, _ = await world.recovered()
        assert "sql_init" in caplog.text
        await put(store, make_run(FOO, 2001, bodies(2000)), Deleted(FOO, [5, 3000]))
        await put(store, make_run(FOO, 3900, bodies(5, b"other")))
        await store.close()
        store, _ = await world.recovered()
        await put(store, ChannelRemoved(FOO))
        await store.close()
        done = await create_tables({"driver": world.database.driver, "source": world.database.source})
        assert [line.lower() for line in done] == ["table messagetotals created"]
        await world.rows("DROP TABLE MessageTotals")
        # One of a group looks again when its turn comes: the others keep totals by then.
        store = world.database.store(fault_tolerant=True)
        world.stores.append(store)
        assert await store.try_lock()
        await create_tables({"driver": world.database.driver, "source": world.database.source})
        await store.recover()
        await put(store, make_run(b"bar", 1, bodies(2000)))
        assert await world.rows("SELECT sum(messages) FROM MessageTotals") == [(2000,)]

    world.run(body)


def test_a_channel_that_a_go_server_began_anew(world: World) -> None:
    """Its sequences are used again for other messages, as when all had expired and it forgot the last one."""

    async def body() -> None:
        store = world.store()
        await store.recover()
        await put(store, make_run(FOO, 1, bodies(3000)))
        await store.close()
        assert await world.untold() == 0
        statements = (
            "DELETE FROM Messages",
            "INSERT INTO Messages VALUES " + ", ".join(f"(1, {seq}, {7000 + seq}, 100, 'x')" for seq in range(1, 3001)),
        )
        for statement in statements:
            await world.rows(statement)
        store, channel = await world.recovered()
        assert channel.size == 300_000
        await store.close()
        assert await world.untold() == 0

    world.run(body)


def test_totals_of_a_removed_channel_go(sqlite: World) -> None:
    async def body() -> None:
        store = sqlite.store()
        await store.recover()
        await put(store, make_run(FOO, 1, bodies(2500)), make_run(b"bar", 1, bodies(2500)))
        await put(store, ChannelRemoved(FOO))
        assert store._purging is not None
        await store._purging
        await store.close()
        assert await sqlite.rows("SELECT DISTINCT id FROM MessageTotals") == [(2,)]
        # A Go server that removes a channel leaves them, and may use the ID again.
        for table in ("Messages", "Channels"):
            await sqlite.rows(f"DELETE FROM {table}")
        await sqlite.rows("INSERT INTO Channels (id, name) VALUES (2, 'foo')")
        store, channel = await sqlite.recovered()
        assert (channel.count, channel.size) == (0, 0)
        await store.close()

    sqlite.run(body)


@pytest.mark.parametrize("seed", range(6))
def test_any_history(sqlite: World, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random batches, commits whose outcome is unknown, clean ends and crashes; the seed is the test's parameter."""
    dice = random.Random(seed)
    retries = 0

    async def body() -> None:
        nonlocal retries
        store = sqlite.store()
        await store.recover()
        await put(store, make_run(FOO, 1, bodies(10)), SubscriptionPut(FOO, SubscriptionState(id=1, inbox=b"i")))
        first, last = 1, 10
        for step in range(40):
            tag = b"%d" % step
            records: list[Record] = []
            count = dice.choice([1, 100, 700, 1500, 2600])
            start = last + 1 if dice.random() < 0.8 else dice.randint(max(first, last - 1200), last)
            match dice.randrange(6):
                case 0:
                    first = min(first + dice.choice([1, 900, 5000]), start)
                    records = [make_run(FOO, start, bodies(count, tag)), Trimmed(FOO, first)]
                case 1:
                    gone = [dice.randint(first, start) for _ in range(dice.choice([1, 5]))]
                    records = [make_run(FOO, start, bodies(count, tag)), Deleted(FOO, gone)]
                case 2:
                    records = [make_run(FOO, start, bodies(count, tag)), make_run(b"bar", step + 1, bodies(1))]
                case _:
                    records = [make_run(FOO, start, bodies(count, tag)), Sent(FOO, 1, [start])]
            outcome = dice.choice(["plain", "plain", "applied", "not applied"])
            store.stage(records)
            with monkeypatch.context() as patch:
                if outcome != "plain":
                    break_once(store, patch, applied=outcome == "applied")
                    retries += 1
                await store.commit()
            last = start + count - 1
            if dice.random() < 0.3:
                await (store.close() if dice.random() < 0.5 else crash(store))
                store = sqlite.store()
                state = await store.recover()
                assert state is not None
                await assert_figures(sqlite, 1, state.channels[FOO])
                if b"bar" in state.channels:
                    await assert_figures(sqlite, 2, state.channels[b"bar"])
        await store.close()

    sqlite.run(body)
    assert retries
    ((most,),) = asyncio.run(sqlite.rows("SELECT max(messages) FROM MessageTotals"))
    assert most >= TOTALS_MESSAGES


async def assert_figures(world: World, channel_id: int, channel: StoredChannel) -> None:
    rows = await world.rows(f"SELECT count(*), COALESCE(sum(size), 0) FROM Messages WHERE id = {channel_id}")
    assert rows == [(channel.count, channel.size)]


def break_once(store: SqlStore, patch: pytest.MonkeyPatch, *, applied: bool) -> None:
    """The next transaction ends in a lost connection, after it has taken effect or before."""
    real = store._database.transaction
    left = 1

    def transaction(**options: Any) -> Any:
        nonlocal left
        left -= 1
        return Broken(real(**options), applied) if left == 0 else real(**options)

    patch.setattr(store._database, "transaction", transaction)


class Broken:
    def __init__(self, real: Any, applied: bool) -> None:
        self.real = real
        self.applied = applied

    async def __aenter__(self) -> Any:
        return await self.real.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        if self.applied or error[0] is not None:
            await self.real.__aexit__(*error)
        else:
            lost = ConnectionResetError("injected")
            with pytest.raises(ConnectionResetError):
                await self.real.__aexit__(type(lost), lost, None)
        raise SqlError("injected", may_pass=True)
