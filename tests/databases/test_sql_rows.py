"""What the suite does not see: rows, locks, and commits whose outcome nobody knows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.errors import CorruptionError, StoreError
from nats_streaming.protocol.control_messages import ServerInfo, SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    Record,
    Sent,
    ServerPut,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.database import SqlError
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.store_suite import contents_of, make_run
from tests.support.databases import DatabaseServer


def sqlite_store(path: Path, **options: Any) -> SqlStore:
    return SqlStore({"driver": "sqlite", "source": str(path / "store.db"), **options})


async def put(store: SqlStore, *records: Record) -> None:
    store.stage(list(records))
    await store.commit()


async def reopened(store: SqlStore, path: Path, **options: Any) -> tuple[SqlStore, StoreState]:
    await store.close()
    store = sqlite_store(path, **options)
    state = await store.recover()
    assert state is not None
    return store, state


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path / "store.db") as connection:
        return connection.execute(statement).fetchall()


def subscription(number: int) -> SubscriptionPut:
    return SubscriptionPut(b"foo", SubscriptionState(id=number, inbox=b"i", is_durable=True))


@pytest.mark.store_spec(63)
def test_the_server_row_must_fit(tmp_path: Path) -> None:
    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, ServerPut(ServerInfo(b"first")), ServerPut(ServerInfo(b"last")))
        await store.close()
        assert rows(tmp_path, "SELECT uniquerow, id, version FROM ServerInfo") == [(1, "last", 1)]
        for change, error, complaint in (
            ("version = 2", StoreError, r"sql: unsupported version: 2 \(supports \[1\.\.1\]\)"),
            (
                "version = 1, id = 'x'",
                CorruptionError,
                'sql: id "x" in column does not match cluster ID in data "last"',
            ),
        ):
            rows(tmp_path, f"UPDATE ServerInfo SET {change}")
            store = sqlite_store(tmp_path)
            with pytest.raises(error, match=complaint):
                await store.recover()
            await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(63)
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_missing_tables(driver: str, database_servers: Callable[[str], DatabaseServer]) -> None:
    server = database_servers(driver)
    name = server.create()

    async def body() -> None:
        store = SqlStore({"driver": driver, "source": server.source(name)})
        with pytest.raises(StoreError, match=r"has no table .*[Mm]essages.*--sql_init"):
            await store.recover()
        await store.close()

    asyncio.run(body())
    server.drop(name)


@pytest.mark.store_spec(65)
def test_rows_of_what_is_pending(tmp_path: Path) -> None:
    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 9), subscription(1))
        await put(store, Sent(b"foo", 1, [1, 2]))
        query = "SELECT seq, lastsent, pending, acks FROM SubsPending ORDER BY row"
        assert rows(tmp_path, query) == [(0, 2, b"[1,2]", b"")]
        await put(store, Acked(b"foo", 1, [1]))
        assert rows(tmp_path, query) == [(0, 2, b"[1,2]", b""), (0, 2, b"", b"[1]")]
        await put(store, Acked(b"foo", 1, [2]))
        assert rows(tmp_path, query) == []
        await put(store, Sent(b"foo", 1, [3]), Acked(b"foo", 1, [3]))
        assert rows(tmp_path, query) == []
        assert rows(tmp_path, "SELECT lastsent FROM Subscriptions") == [(3,)]
        # An old message stays unacked: the rows behind it must not pile up.
        await put(store, Sent(b"foo", 1, [4]))
        for _ in range(50):
            await put(store, Sent(b"foo", 1, [5]))
            await put(store, Acked(b"foo", 1, [5]))
        assert len(rows(tmp_path, query)) <= 17
        store, state = await reopened(store, tmp_path)
        assert state.channels[b"foo"].subscriptions[1].pending == {4}
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(66)
def test_rows_of_the_other_mode_are_acked_for_good(tmp_path: Path) -> None:
    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 9), subscription(1), Sent(b"foo", 1, [1, 2, 3, 4]))
        pending = {1, 2, 3, 4}
        for acked, mode in ((1, True), (2, False), (3, True)):
            store, state = await reopened(store, tmp_path, no_caching=mode)
            assert state.channels[b"foo"].subscriptions[1].pending == pending
            await put(store, Acked(b"foo", 1, [acked]))
            pending.discard(acked)
        assert rows(tmp_path, "SELECT seq, pending FROM SubsPending") == [(4, None)]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(67)
def test_the_highest_id_is_not_used_again(tmp_path: Path) -> None:
    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, ChannelCreated(b"foo"), *[subscription(number) for number in (1, 2, 3)])
        await put(store, SubscriptionRemoved(b"foo", 2), SubscriptionRemoved(b"foo", 3))
        assert rows(tmp_path, "SELECT subid, deleted FROM Subscriptions ORDER BY subid") == [(1, 0), (3, 1)]
        store, state = await reopened(store, tmp_path)
        assert state.channels[b"foo"].last_subscription_id == 3
        assert list(state.channels[b"foo"].subscriptions) == [1]
        await put(store, subscription(4))
        assert rows(tmp_path, "SELECT subid, deleted FROM Subscriptions ORDER BY subid") == [(1, 0), (4, 0)]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(68)
def test_a_position_behind_the_messages_raises_the_last_sequence(tmp_path: Path) -> None:
    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 3), subscription(1), Sent(b"foo", 1, [3]), Trimmed(b"foo", 4))
        assert rows(tmp_path, "SELECT maxseq FROM Channels") == [(3,)]
        rows(tmp_path, "UPDATE Subscriptions SET lastsent = 9")
        store, state = await reopened(store, tmp_path)
        assert (state.channels[b"foo"].first, state.channels[b"foo"].last) == (10, 9)
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(71)
def test_a_removed_channel_leaves_no_row(tmp_path: Path) -> None:
    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 2500), subscription(1), Sent(b"foo", 1, [1]))
        await put(store, make_run(b"bar", 1, [b"x"]))
        await put(store, ChannelRemoved(b"foo"))
        assert store._purging is not None
        await store._purging
        counts = [
            rows(tmp_path, f"SELECT count(*) FROM {table}")[0][0]
            for table in ("Channels", "Messages", "Subscriptions", "SubsPending")
        ]
        assert counts == [1, 1, 0, 0]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(72)
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_bulk_insert_limit(driver: str, database_servers: Callable[[str], DatabaseServer]) -> None:
    server = database_servers(driver)
    name = server.create()
    options = {"driver": driver, "source": server.source(name), "bulk_insert_limit": 10}

    async def body() -> None:
        await create_tables(options)
        store = SqlStore(options)
        await store.recover()
        first = 1
        for count in (126, 8, 1):
            run = make_run(b"foo", first, [b"\x00'\\\xff%d" % number for number in range(count)])
            await put(store, run)
            segment = await store.read(b"foo", first, count)
            assert segment is not None
            assert contents_of(segment, first, run.last) == contents_of(run.segment, first, run.last)
            first = run.last + 1
        await store.close()

    asyncio.run(body())
    server.drop(name)


@pytest.mark.store_spec(73)
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_a_server_that_lost_the_lock_writes_nothing(
    driver: str, database_servers: Callable[[str], DatabaseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nats_streaming.stores.sql.lock.STEAL_S", 0.3)
    monkeypatch.setattr("nats_streaming.stores.sql.lock.STEAL_DEAD_S", 0.1)
    server = database_servers(driver)
    name = server.create()
    options = {"driver": driver, "source": server.source(name), "fault_tolerant": True}

    def tick() -> int:
        table = "StoreLock" if driver == "mysql" else "storelock"
        return int(server.execute(f"SELECT tick FROM {table}", name))

    async def taken_over(store: SqlStore) -> None:
        async with asyncio.timeout(20):
            while not await store.try_lock():
                await asyncio.sleep(0.05)

    async def body() -> None:
        await create_tables({key: options[key] for key in ("driver", "source")})
        active, standby = SqlStore(options), SqlStore(options)
        assert await active.try_lock()
        await active.recover()
        await put(active, make_run(b"foo", 1, [b"one"]))
        before = tick()
        assert not await standby.try_lock()
        assert await active.try_lock()
        assert tick() == before + 1
        assert not await standby.try_lock()
        # It hangs, and another server takes over; when it goes on, it must not write.
        await taken_over(standby)
        state = await standby.recover()
        assert state is not None
        assert state.channels[b"foo"].last == 1
        active.stage([make_run(b"foo", 2, [b"too late"])])
        with pytest.raises(StoreError, match="lost store lock"):
            await active.commit()
        assert not await active.try_lock()
        active.stage([make_run(b"foo", 2, [b"too late again"])])
        with pytest.raises(StoreError, match="lost store lock"):
            await active.commit()
        active.abandon()
        await put(standby, make_run(b"foo", 2, [b"two"]))
        await active.close()
        # A clean end frees it at once.
        await standby.close()
        third = SqlStore(options)
        assert await third.try_lock()
        state = await third.recover()
        assert state is not None
        assert state.channels[b"foo"].last == 2
        await third.close()

    asyncio.run(body())
    server.drop(name)


@pytest.mark.store_spec(74)
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_a_database_that_does_not_answer(driver: str, database_servers: Callable[[str], DatabaseServer]) -> None:
    server = database_servers(driver)
    name = server.create()
    join = "&" if "?" in server.source(name) else "?"
    source = server.source(name).replace("30s", "1s") + ("" if driver == "mysql" else f"{join}readTimeout=1s")

    async def body() -> None:
        await create_tables({"driver": driver, "source": server.source(name)})
        store = SqlStore({"driver": driver, "source": source})
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"one"]))
        server.pause()
        try:
            async with asyncio.timeout(20):
                store.stage([make_run(b"foo", 2, [b"two"])])
                with pytest.raises(StoreError):
                    await store.commit()
        finally:
            server.resume()
        run = make_run(b"foo", 2, [b"again"])
        async with asyncio.timeout(20):
            while True:
                try:
                    await put(store, run)
                    break
                except StoreError:
                    await asyncio.sleep(0.05)
        segment = await store.read(b"foo", 2, 5)
        assert segment is not None
        assert contents_of(segment, 2, 9) == contents_of(run.segment, 2, 2)
        await store.close()

    asyncio.run(body())
    server.drop(name)


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("times", [1, 99], ids=["once", "until it gives up"])
def test_a_commit_whose_outcome_is_unknown(
    tmp_path: Path, applied: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks at COMMIT, which has taken effect or not; whatever is true, nothing is there twice."""

    async def body() -> None:
        store = sqlite_store(tmp_path)
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 5), subscription(1), Sent(b"foo", 1, [1, 2]))
        real = store._database.transaction
        left = times

        @asynccontextmanager
        async def breaking() -> AsyncIterator[AsyncConnection]:
            nonlocal left
            left -= 1
            async with real() as connection:
                yield connection
                if left >= 0 and not applied:
                    raise ConnectionResetError("injected")
            if left >= 0:
                raise SqlError("injected", may_pass=True)

        monkeypatch.setattr(store._database, "transaction", breaking)
        batch: list[Record] = [
            make_run(b"foo", 6, [b"y"] * 3),
            ChannelCreated(b"new"),
            make_run(b"new", 1, [b"z"]),
            SubscriptionPut(b"new", SubscriptionState(id=2, inbox=b"j")),
            Sent(b"new", 2, [1]),
            Sent(b"foo", 1, [3]),
            Acked(b"foo", 1, [1]),
        ]
        store.stage(batch)
        if times == 1:
            await store.commit()
        else:
            with pytest.raises(StoreError):
                await store.commit()
        monkeypatch.undo()
        if times > 1:
            # The engine refused the messages, and stages the facts again with other messages.
            batch[0] = make_run(b"foo", 6, [b"instead"])
            batch[2] = make_run(b"new", 1, [b"other"])
            store.stage(batch)
            await store.commit()
        store, state = await reopened(store, tmp_path)
        assert state.channels[b"foo"].last == (8 if times == 1 else 6)
        assert state.channels[b"foo"].subscriptions[1].pending == {2, 3}
        assert state.channels[b"new"].subscriptions[2].pending == {1}
        assert rows(tmp_path, "SELECT name FROM Channels ORDER BY name") == [("foo",), ("new",)]
        assert rows(tmp_path, "SELECT count(*) FROM Messages") == [(9 if times == 1 else 7,)]
        segment = await store.read(b"new", 1, 1)
        assert segment is not None
        assert (b"z" if times == 1 else b"other") in (segment.message(1) or b"")
        await store.close()

    asyncio.run(body())
