"""A server that tests restart, on a store that is a list of batches."""

from __future__ import annotations

from typing import Any

import pytest

from nats_streaming.stores.batch import Record, encode_batch
from nats_streaming.testing.engine_driver import DrivenSubscription, DriverOptions, EngineDriver, restarted
from nats_streaming.testing.recoverable_store import Journal, RecoverableMemoryStore

SECOND = 1_000_000_000


class World:
    """A server that can be restarted; in one kind all old messages must be read, in the other none."""

    def __init__(self, *, cold: bool, **options: Any) -> None:
        self.cold = cold
        self.journal = Journal()
        self.driver = EngineDriver(self.store(), DriverOptions(**options))

    def store(self) -> RecoverableMemoryStore:
        return RecoverableMemoryStore(self.journal, keeps_messages_elsewhere=self.cold, read_slots_max=7)

    def restart(self, **changes: Any) -> EngineDriver:
        """A clean stop and a new start; the clients are still there."""
        self.driver.settle()
        return self.crash(**changes)

    def crash(self, **changes: Any) -> EngineDriver:
        """What was not committed is lost."""
        self.driver = restarted(self.driver, self.store(), **changes)
        return self.driver

    def write(self, *records: Record) -> None:
        """Put something into the store that no engine would."""
        self.journal.batches.append(encode_batch(records))


@pytest.fixture(params=[True, False], ids=["cold", "resident"])
def cold(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(cold: bool) -> World:
    world = World(cold=cold)
    assert world.driver.connect("me") == ""
    return world


KINDS = pytest.mark.parametrize(
    "fields",
    [{}, {"durable": "d"}, {"queue": "g"}, {"queue": "g", "durable": "d"}],
    ids=["plain", "durable", "queue", "durable queue"],
)


def two_members(driver: EngineDriver, **fields: Any) -> tuple[DrivenSubscription, DrivenSubscription]:
    return driver.subscribe("me", "foo", queue="g", **fields), driver.subscribe("me", "foo", queue="g", **fields)


def subscriptions_of(world: World) -> dict[int, Any]:
    return dict(world.journal.state().channels[b"foo"].subscriptions)
