"""At least once, whatever happens: random lives of subscriptions over restarts, cold reads and failing stores."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nats_streaming.testing.engine_driver import FIRST, DrivenSubscription, DriverOptions, EngineDriver, restarted
from nats_streaming.testing.faulty_store import FaultyStore, seeded
from nats_streaming.testing.recoverable_store import RecoverableMemoryStore

SECOND = 1_000_000_000


class Consumer:
    """One subscription or group, over all its lives."""

    def __init__(self, name: str, *, members: int = 1, **fields: Any) -> None:
        self.name = name
        self.fields = fields
        self.wanted = members
        self.members: list[DrivenSubscription] = []
        self.received: set[int] = set()
        self.acked: set[int] = set()
        self.keeps_state = "durable" in fields

    def join(self, driver: EngineDriver) -> None:
        if len(self.members) >= self.wanted:
            return
        member = driver.subscribe("me", "foo", start=FIRST, ack_wait_s=2, **self.fields)
        if not member.error:
            self.members.append(member)

    def drain(self, driver: EngineDriver) -> None:
        for member in self.members:
            for message in driver.take(member):
                assert message.sequence not in self.acked, f"{self.name}: {message.sequence} came after its ack"
                self.received.add(message.sequence)

    def ack_some(self, driver: EngineDriver, rng: random.Random) -> None:
        self.drain(driver)
        unacked = sorted(self.received - self.acked)
        if unacked and self.members:
            chosen = rng.sample(unacked, rng.randrange(1, len(unacked) + 1))
            # An ack counts from whichever member of a group.
            driver.ack(rng.choice(self.members), *chosen)
            self.acked.update(chosen)

    def leave(self, driver: EngineDriver, rng: random.Random) -> None:
        self.drain(driver)
        if self.members and (self.keeps_state or len(self.members) > 1):
            member = self.members.pop(rng.randrange(len(self.members)))
            assert driver.close(member) == ""
            self.drain(driver)


@pytest.mark.parametrize("round_number", range(10))
@pytest.mark.parametrize("failing", [False, True], ids=["sound", "failing"])
def test_everything_arrives_and_nothing_that_was_acked_comes_again(
    rng: random.Random, failing: bool, round_number: int
) -> None:
    inner = RecoverableMemoryStore(read_slots_max=rng.choice([3, 50]))
    options = DriverOptions(
        recent_bytes=rng.choice([1, 300, 1 << 20]), lent_bytes=rng.choice([1, 1 << 20]), batch_max=rng.choice([2, 100])
    )
    driver = EngineDriver(inner, options)
    driver.connect("me")
    consumers = [
        Consumer("plain"),
        Consumer("durable", durable="d", max_in_flight=4),
        Consumer("group", members=2, queue="g", max_in_flight=3),
        Consumer("durable group", members=3, queue="g", durable="q", max_in_flight=5),
    ]
    for consumer in consumers:
        consumer.join(driver)
    assert all(consumer.members for consumer in consumers)
    accepted = 0
    for _ in range(120):
        choice = rng.random()
        consumer = rng.choice(consumers)
        if choice < 0.30:
            guids = driver.publish_many("me", "foo", rng.randrange(1, 6))
            accepted += sum(1 for guid in guids if not driver.error_of(guid))
        elif choice < 0.50:
            consumer.ack_some(driver, rng)
        elif choice < 0.60:
            consumer.leave(driver, rng)
        elif choice < 0.75:
            consumer.join(driver)
        elif choice < 0.90:
            driver.advance(rng.randrange(3 * SECOND))
            driver.retry_reads()
        else:
            for known in consumers:
                known.drain(driver)
            store = RecoverableMemoryStore(inner.journal, keeps_messages_elsewhere=rng.random() < 0.7, read_slots_max=7)
            if isinstance(driver.store, FaultyStore):
                driver.store.heal()
                driver.settle()
            faulty = FaultyStore(store, seeded(rng, 0.15)) if failing else store
            driver = restarted(driver, faulty)
        for known in consumers:
            known.drain(driver)
    if isinstance(driver.store, FaultyStore):
        driver.store.heal()
    for _ in range(300):
        for consumer in consumers:
            consumer.join(driver)
            consumer.drain(driver)
            unacked = sorted(consumer.received - consumer.acked)
            if unacked:
                driver.ack(consumer.members[0], *unacked)
                consumer.acked.update(unacked)
        driver.retry_reads()
        if all(len(consumer.acked) >= driver.channel("foo").window.last for consumer in consumers):
            break
        driver.advance(SECOND)
    last = driver.channel("foo").window.last
    # What was refused may have become durable, if the server ended before it knew better.
    assert last >= accepted if failing else last == accepted
    for consumer in consumers:
        assert consumer.acked == set(range(1, last + 1)), consumer.name
    driver.settle()
    for stored in inner.journal.state().channels[b"foo"].subscriptions.values():
        assert stored.pending == set()
