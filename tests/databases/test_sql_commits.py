"""How a batch gets into the database: new messages alone by one statement, everything else by a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.batch import ChannelCreated, Record, SubscriptionPut
from nats_streaming.stores.sql.database import SqlError
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.store_suite import contents_of, make_run

from .one_database import OneDatabase

FOO = b"foo"


async def put(store: SqlStore, *records: Record) -> None:
    store.stage(list(records))
    await store.commit()


async def begin(store: SqlStore) -> list[str]:
    """Recover and create a channel; returns what will be carried out, as far as it has no parameters."""
    await store.recover()
    await put(store, ChannelCreated(FOO), make_run(FOO, 1, [b"x"] * 5))
    statements: list[str] = []
    run = store._dialect.run

    async def recording(connection: AsyncConnection, statement: str) -> None:
        statements.append(statement)
        await run(connection, statement)

    store._dialect.run = recording  # type: ignore[method-assign]
    return statements


async def stored(store: SqlStore, first: int, last: int) -> Any:
    segment = await store.read(FOO, first, last - first + 1)
    assert segment is not None
    return contents_of(segment, first, last)


@pytest.mark.parametrize("count", [1, 20, 200])
def test_messages_alone_take_no_transaction(database: OneDatabase, count: int) -> None:
    async def body(store: SqlStore) -> None:
        statements = await begin(store)
        run = make_run(FOO, 6, [b"%d" % number for number in range(count)])
        await put(store, run)
        alone = count == 1 or database.driver != "sqlite"
        assert statements == ([] if alone else [store._dialect.begin, "COMMIT"])
        assert await stored(store, 6, run.last) == contents_of(run.segment, 6, run.last)
        # What is not messages, and more messages than one statement takes.
        await put(store, SubscriptionPut(FOO, SubscriptionState(id=1, inbox=b"i")))
        await put(store, make_run(FOO, run.last + 1, [b"x" * 1000] * 2000))
        assert statements[-4:] == [store._dialect.begin, "COMMIT"] * 2

    closed_after(database.store(), body)


def test_a_group_looks_at_its_lock_in_the_transaction(database: OneDatabase) -> None:
    async def body(store: SqlStore) -> None:
        assert await store.try_lock()
        statements = await begin(store)
        await put(store, make_run(FOO, 6, [b"y"]))
        assert statements == [store._dialect.begin, "COMMIT"]

    closed_after(database.store(fault_tolerant=True), body)


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("times", [1, 99], ids=["once", "until it gives up"])
def test_one_statement_whose_outcome_is_unknown(
    database: OneDatabase, applied: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(store: SqlStore) -> None:
        await begin(store)
        real = store._database.transaction
        left = times

        @asynccontextmanager
        async def breaking(**options: Any) -> AsyncIterator[AsyncConnection]:
            nonlocal left
            left -= 1
            if left < 0:
                async with real(**options) as connection:
                    yield connection
            elif applied:
                async with real(**options) as connection:
                    yield connection
                raise SqlError("injected", may_pass=True)
            else:
                options["is_one_statement"]()
                raise SqlError("injected", may_pass=True)

        monkeypatch.setattr(store._database, "transaction", breaking)
        run = make_run(FOO, 6, [b"y"])
        if times == 1:
            await put(store, run)
        else:
            with pytest.raises(SqlError):
                await put(store, run)
            monkeypatch.undo()
            run = make_run(FOO, 6, [b"another"])
            await put(store, run)
        assert await stored(store, 6, 6) == contents_of(run.segment, 6, 6)
        assert await database.rows("SELECT count(*) FROM Messages") == [(6,)]

    closed_after(database.store(), body)


def test_one_statement_that_is_refused(database: OneDatabase) -> None:
    """Somebody has written a row with the key of the next message. The session goes on, whatever becomes of it."""

    async def body(store: SqlStore) -> None:
        await begin(store)
        await database.rows("INSERT INTO Messages (id, seq, timestamp, size, data) VALUES (1, 6, 1, 1, 'x')")
        writer = store._database._writer
        run = make_run(FOO, 6, [b"y"])
        if database.driver == "sqlite":
            with pytest.raises(StoreError, match="UNIQUE"):
                await put(store, run)
        # The others take it for a row of a session of ours that is not dead yet.
        await put(store, run)
        assert store._database._writer is writer
        assert await stored(store, 6, 6) == contents_of(run.segment, 6, 6)

    closed_after(database.store(), body)


def closed_after(store: SqlStore, body: Any) -> None:
    """Close the store if the body fails, too: its threads keep pytest from ending."""

    async def all_of_it() -> None:
        try:
            await body(store)
        finally:
            await store.close()

    asyncio.run(all_of_it())
