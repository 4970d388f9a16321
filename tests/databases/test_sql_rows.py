"""What the suite does not see: rows, locks, and commits whose outcome nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.constants import DEFAULT_MAX_BYTES
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
from nats_streaming.stores.limits import ChannelLimits, StoreLimits
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.database import SqlError
from nats_streaming.stores.sql.dialects.base import MessageRow
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.store_suite import contents_of, make_run
from tests.support.databases import DatabaseServer

from .one_database import OneDatabase


async def put(store: SqlStore, *records: Record) -> None:
    store.stage(list(records))
    await store.commit()


async def reopened(store: SqlStore, database: OneDatabase, **options: Any) -> tuple[SqlStore, StoreState]:
    await store.close()
    store = database.store(**options)
    state = await store.recover()
    assert state is not None
    return store, state


def subscription(number: int) -> SubscriptionPut:
    return SubscriptionPut(b"foo", SubscriptionState(id=number, inbox=b"i", is_durable=True))


@pytest.mark.store_spec(63)
def test_the_server_row_must_fit(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, ServerPut(ServerInfo(b"first")), ServerPut(ServerInfo(b"last")))
        await store.close()
        assert await database.rows("SELECT uniquerow, id, version FROM ServerInfo") == [(1, "last", 1)]
        for change, error, complaint in (
            ("version = 2", StoreError, r"sql: unsupported version: 2 \(supports \[1\.\.1\]\)"),
            (
                "version = 1, id = 'x'",
                CorruptionError,
                'sql: id "x" in column does not match cluster ID in data "last"',
            ),
        ):
            await database.rows(f"UPDATE ServerInfo SET {change}")
            store = database.store()
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
def test_rows_of_what_is_pending(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 9), subscription(1))
        await put(store, Sent(b"foo", 1, [1, 2]))
        query = "SELECT seq, lastsent, pending, acks FROM SubsPending ORDER BY {row}"
        assert await database.rows(query) == [(0, 2, b"[1,2]", b"")]
        await put(store, Acked(b"foo", 1, [1]))
        assert await database.rows(query) == [(0, 2, b"[1,2]", b""), (0, 2, b"", b"[1]")]
        await put(store, Acked(b"foo", 1, [2]))
        assert await database.rows(query) == []
        await put(store, Sent(b"foo", 1, [3]), Acked(b"foo", 1, [3]))
        assert await database.rows(query) == []
        assert await database.rows("SELECT lastsent FROM Subscriptions") == [(3,)]
        # An old message stays unacked: the rows behind it must not pile up.
        await put(store, Sent(b"foo", 1, [4]))
        for _ in range(50):
            await put(store, Sent(b"foo", 1, [5]))
            await put(store, Acked(b"foo", 1, [5]))
        assert len(await database.rows(query)) <= 17
        store, state = await reopened(store, database)
        assert state.channels[b"foo"].subscriptions[1].pending == {4}
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(66)
def test_rows_of_the_other_mode_are_acked_for_good(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 9), subscription(1), Sent(b"foo", 1, [1, 2, 3, 4]))
        pending = {1, 2, 3, 4}
        for acked, mode in ((1, True), (2, False), (3, True)):
            store, state = await reopened(store, database, no_caching=mode)
            assert state.channels[b"foo"].subscriptions[1].pending == pending
            await put(store, Acked(b"foo", 1, [acked]))
            pending.discard(acked)
        assert await database.rows("SELECT seq, pending FROM SubsPending") == [(4, None)]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(67)
def test_the_highest_id_is_not_used_again(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, ChannelCreated(b"foo"), *[subscription(number) for number in (1, 2, 3)])
        await put(store, SubscriptionRemoved(b"foo", 2), SubscriptionRemoved(b"foo", 3))
        assert await database.rows("SELECT subid, deleted FROM Subscriptions ORDER BY subid") == [(1, 0), (3, 1)]
        store, state = await reopened(store, database)
        assert state.channels[b"foo"].last_subscription_id == 3
        assert list(state.channels[b"foo"].subscriptions) == [1]
        await put(store, subscription(4))
        assert await database.rows("SELECT subid, deleted FROM Subscriptions ORDER BY subid") == [(1, 0), (4, 0)]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(68)
def test_a_position_behind_the_messages_raises_the_last_sequence(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 3), subscription(1), Sent(b"foo", 1, [3]), Trimmed(b"foo", 4))
        assert await database.rows("SELECT maxseq FROM Channels") == [(3,)]
        await database.rows("UPDATE Subscriptions SET lastsent = 9")
        store, state = await reopened(store, database)
        assert (state.channels[b"foo"].first, state.channels[b"foo"].last) == (10, 9)
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(71)
def test_a_removed_channel_leaves_no_row(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 2500), subscription(1), Sent(b"foo", 1, [1]))
        await put(store, make_run(b"bar", 1, [b"x"]))
        await put(store, ChannelRemoved(b"foo"))
        assert store._purging is not None
        await store._purging
        counts = [
            (await database.rows(f"SELECT count(*) FROM {table}"))[0][0]
            for table in ("Channels", "Messages", "Subscriptions", "SubsPending")
        ]
        assert counts == [1, 1, 0, 0]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(27)
def test_the_row_of_a_channel_tells_its_limits(database: OneDatabase) -> None:
    """A Go server compares them with its own when it takes over."""

    def options(**limits: Any) -> dict[str, Any]:
        per_channel = {b"foo.*": ChannelLimits(max_bytes=7, max_age_ns=-1)}
        return {"limits": StoreLimits(per_channel=per_channel, max_age_ns=9, **limits).build().for_channel}

    async def body() -> None:
        store = database.store(**options(max_messages=5))
        await store.recover()
        await put(store, ChannelCreated(b"foo.bar"), ChannelCreated(b"bar"))
        query = "SELECT name, maxmsgs, maxbytes, maxage FROM Channels ORDER BY id"
        assert await database.rows(query) == [("foo.bar", 5, 7, 0), ("bar", 5, DEFAULT_MAX_BYTES, 9)]
        store, _ = await reopened(store, database, **options(max_messages=0, max_bytes=2**40))
        assert await database.rows(query) == [("foo.bar", 0, 7, 0), ("bar", 0, 2**40, 9)]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(72)
def test_bulk_insert_limit(database: OneDatabase) -> None:
    async def body() -> None:
        store = database.store(bulk_insert_limit=10)
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


@pytest.mark.store_spec(73)
def test_a_server_that_lost_the_lock_writes_nothing(database: OneDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nats_streaming.stores.sql.lock.STEAL_S", 0.3)
    monkeypatch.setattr("nats_streaming.stores.sql.lock.STEAL_DEAD_S", 0.1)

    async def tick() -> int:
        return int((await database.rows("SELECT tick FROM StoreLock"))[0][0])

    async def taken_over(store: SqlStore) -> None:
        async with asyncio.timeout(20):
            while not await store.try_lock():
                await asyncio.sleep(0.05)

    async def body() -> None:
        active, standby, third = (database.store(fault_tolerant=True) for _ in range(3))
        assert await active.try_lock()
        await active.recover()
        await put(active, make_run(b"foo", 1, [b"one"]))
        before = await tick()
        assert not await standby.try_lock()
        assert await active.try_lock()
        assert await tick() == before + 1
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
        assert await third.try_lock()
        state = await third.recover()
        assert state is not None
        assert state.channels[b"foo"].last == 2
        await third.close()

    asyncio.run(body())


@pytest.mark.store_spec(73)
@pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
def test_a_server_that_hangs_in_a_transaction_does_not_keep_the_lock(
    database: OneDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database ends its session; SQLite is no server that could."""
    monkeypatch.setattr("nats_streaming.stores.sql.lock.IDLE_S", 1)
    monkeypatch.setattr("nats_streaming.stores.sql.lock.STEAL_S", 0.3)

    async def body() -> None:
        active, standby = (database.store(fault_tolerant=True) for _ in range(2))
        assert await active.try_lock()
        await active.recover()
        run = make_run(b"foo", 1, [b"one"])
        goes_on = asyncio.Event()
        insert = active._dialect.insert_messages

        async def hang(connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
            await insert(connection, rows)
            await goes_on.wait()

        monkeypatch.setattr(active._dialect, "insert_messages", hang)
        active.stage([run])
        commit = asyncio.create_task(active.commit())
        async with asyncio.timeout(20):
            while not await standby.try_lock():
                await asyncio.sleep(0.05)
        state = await standby.recover()
        assert state is None or not state.channels
        goes_on.set()
        with pytest.raises(StoreError, match="lost store lock"):
            await commit
        await put(standby, run)
        active.abandon()
        for store in (active, standby):
            await store.close()
        assert await database.rows("SELECT seq FROM Messages") == [(1,)]

    asyncio.run(body())


@pytest.mark.store_spec(73)
@pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
def test_the_session_before_may_keep_the_lock_for_a_moment(database: OneDatabase) -> None:
    """A connection was cut, and the database has not noticed yet: the lock is ours all the same."""

    async def body() -> None:
        store, session_before = database.store(), database.store()
        assert await store.try_lock()
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"one"]))
        await store._database.close()
        assert await session_before.try_lock()
        store.stage([make_run(b"foo", 2, [b"two"])])
        commit = asyncio.create_task(store.commit())
        await asyncio.sleep(0.3)
        assert not commit.done()
        await session_before.close()
        await commit
        await store.close()
        assert await database.rows("SELECT seq FROM Messages ORDER BY seq") == [(1,), (2,)]

    asyncio.run(body())


@pytest.mark.store_spec(74)
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_a_database_that_does_not_answer(driver: str, database_servers: Callable[[str], DatabaseServer]) -> None:
    server = database_servers(driver)
    name = server.create()
    join = "&" if "?" in server.source(name) else "?"
    source = server.source(name).replace("30s", "2s") + ("" if driver == "mysql" else f"{join}readTimeout=2s")

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
    database: OneDatabase, applied: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks at COMMIT, which has taken effect or not; whatever is true, nothing is there twice."""

    async def body() -> None:
        store = database.store()
        await store.recover()
        await put(store, make_run(b"foo", 1, [b"x"] * 5), subscription(1), Sent(b"foo", 1, [1, 2]))
        real = store._database.transaction
        left = times

        @asynccontextmanager
        async def breaking(**options: Any) -> AsyncIterator[AsyncConnection]:
            nonlocal left
            left -= 1
            async with real(**options) as connection:
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
        store, state = await reopened(store, database)
        assert state.channels[b"foo"].last == (8 if times == 1 else 6)
        assert state.channels[b"foo"].subscriptions[1].pending == {2, 3}
        assert state.channels[b"new"].subscriptions[2].pending == {1}
        assert await database.rows("SELECT name FROM Channels ORDER BY name") == [("foo",), ("new",)]
        assert await database.rows("SELECT count(*) FROM Messages") == [(9 if times == 1 else 7,)]
        segment = await store.read(b"new", 1, 1)
        assert segment is not None
        assert (b"z" if times == 1 else b"other") in (segment.message(1) or b"")
        await store.close()

    asyncio.run(body())
