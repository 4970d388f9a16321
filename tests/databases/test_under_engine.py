"""The engine on each database: the suite of every store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.stores.batch import Trimmed
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.sql.dialects.base import MessageRow
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.engine_driver import FIRST, EngineDriver
from tests.support.engine_suite import EngineSuite, EngineWorld, messages, readable, totals

from .one_database import OneDatabase


class World(EngineWorld):
    """A server on a database.

    Attributes:
        options: of every store that is made.
        inserted: sequences that were inserted into Messages, one list for each call.
    """

    def __init__(self, database: OneDatabase) -> None:
        super().__init__()
        self.database = database
        self.options: dict[str, Any] = {}
        self.inserted: list[list[int]] = []

    def make_store(self, **options: Any) -> SqlStore:
        store = self.database.store(**self.options, **options)
        insert = store._dialect.insert_messages

        async def insert_messages(connection: AsyncConnection, rows: Sequence[MessageRow]) -> None:
            self.inserted.append([row[1] for row in rows])
            await insert(connection, rows)

        store._dialect.insert_messages = insert_messages  # type: ignore[method-assign]
        return store

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return asyncio.run(self.database.rows(statement))


@pytest.fixture
def world(database: OneDatabase) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


class TestSql(EngineSuite):
    """Everything that holds for any store."""


def stored(world: World) -> list[int]:
    return [row[0] for row in world.rows("SELECT seq FROM Messages ORDER BY seq")]


@pytest.mark.store_spec(64)
def test_nothing_is_written_before_the_commit(world: World) -> None:
    """And nobody is answered. What a limit drops goes with the next commit, or never comes where it is the same one."""
    driver = world.begin(limits=StoreLimits(max_messages=4))
    driver.automatic = False
    guids = driver.publish_many("me", "foo", 3)
    driver.begin_commit()
    assert (stored(world), driver.acks) == ([], [])
    assert driver.end_commit()
    driver.flush()
    assert stored(world) == [1, 2, 3]
    assert [driver.error_of(guid) for guid in guids] == ["", "", ""]
    driver.automatic = True
    driver.settle()
    driver.publish_many("me", "foo", 10)
    assert stored(world) == [10, 11, 12, 13]
    assert (totals(driver), readable(driver)) == ((10, 13, 4), [10, 11, 12, 13])
    world.end()
    world.inserted.clear()
    world.put(messages(14, [b"x"] * 5), Trimmed(b"foo", 17))
    assert (world.inserted, stored(world)) == ([[17, 18]], [17, 18])


@pytest.mark.store_spec(64)
def test_many_at_once_are_stored_in_portions(world: World) -> None:
    driver = world.begin()
    driver.publish_many("me", "foo", 3000)
    assert stored(world) == list(range(1, 3001))
    assert max(map(len, world.inserted)) < 3000
    driver.publish("me", "foo", b"last")
    driver = world.restart(driver)
    assert totals(driver) == (1, 3001, 3001)


@pytest.mark.store_spec(70)
@pytest.mark.parametrize("no_caching", [False, True], ids=["caching", "no_caching"])
def test_what_is_pending_below_the_first_message_goes(world: World, no_caching: bool) -> None:
    def pending(driver: EngineDriver) -> set[int]:
        driver.settle()
        world.end()
        store = world.store()
        state = store.loop.run_until_complete(store.inner.recover())
        assert state is not None
        return next(iter(state.channels[b"foo"].subscriptions.values())).pending

    world.options["no_caching"] = no_caching
    driver = world.begin()
    driver.publish_many("me", "foo", 6)
    driver.subscribe("me", "foo", durable="dur", start=FIRST)
    assert pending(driver) == {1, 2, 3, 4, 5, 6}
    driver = world.restart(driver, limits=StoreLimits(max_messages=2))
    assert totals(driver) == (5, 6, 2)
    assert pending(driver) == {5, 6}
    if no_caching:
        assert world.rows("SELECT seq FROM SubsPending ORDER BY seq") == [(5,), (6,)]
