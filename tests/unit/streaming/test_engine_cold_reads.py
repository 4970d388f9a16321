"""Messages that are no longer in memory: delivery, redelivery, retention and time starts out of the store."""

from __future__ import annotations

from typing import Any

import pytest

from nats_streaming.stores.limits import StoreLimits
from nats_streaming.testing.engine_driver import FIRST, SEQUENCE, TIME_DELTA, DriverOptions, EngineDriver
from nats_streaming.testing.recoverable_store import RecoverableMemoryStore

SECOND = 1_000_000_000
NOTHING = 1  # byte: whatever is durable is evicted


def cold_driver(
    read_slots_max: int = 10, limits: StoreLimits | None = None, **options: Any
) -> tuple[EngineDriver, RecoverableMemoryStore]:
    """An engine that keeps no message in memory once it is durable and delivered."""
    store = RecoverableMemoryStore(read_slots_max=read_slots_max)
    options = {"recent_bytes": NOTHING, **options}
    driver = EngineDriver(store, DriverOptions(limits or StoreLimits(), **options))
    assert driver.connect("me") == ""
    return driver, store


# Residency.


def test_memory_stays_bounded_over_all_channels() -> None:
    driver, _ = cold_driver(recent_bytes=20_000)
    for round_number in range(20):
        for number in range(10):
            driver.publish("me", f"channel.{number}", *[b"x" * 100] * 5)
        windows = [channel.window for channel in driver.engine.inlet.channels.values()]
        assert sum(window.resident for window in windows) <= 20_000
        assert all(window.last == 5 * (round_number + 1) for window in windows)
    assert windows[-1].resident > 0, "the latest stay"


def test_a_resident_store_loses_nothing_from_memory() -> None:
    from nats_streaming.stores.memory import MemoryStore

    driver = EngineDriver(MemoryStore(), DriverOptions(recent_bytes=NOTHING))
    driver.connect("me")
    driver.publish_many("me", "foo", 100)
    assert driver.channel("foo").window.is_resident(1)


def test_staged_messages_are_never_evicted() -> None:
    driver, _ = cold_driver()
    driver.automatic = False
    driver.publish_many("me", "foo", 3)
    driver.begin_commit()
    driver.publish_many("me", "foo", 3)
    driver.end_commit()
    window = driver.channel("foo").window
    assert (window.committed, window.last) == (3, 6)
    assert window.find(4) is not None
    driver.automatic = True
    driver.settle()
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == [1, 2, 3, 4, 5, 6]


def test_an_online_subscriber_costs_no_read() -> None:
    driver, store = cold_driver()
    subscription = driver.subscribe("me", "foo")
    for _ in range(5):
        driver.publish_many("me", "foo", 10)
    assert driver.sequences(subscription) == list(range(1, 51))
    assert store.reads == []


# Delivery.


@pytest.mark.parametrize("fields", [{}, {"durable": "d"}, {"queue": "g"}], ids=["plain", "durable", "queue"])
def test_a_replay(fields: dict[str, Any]) -> None:
    driver, store = cold_driver()
    driver.publish_many("me", "foo", 95)
    subscription = driver.subscribe("me", "foo", start=FIRST, **fields)
    assert driver.sequences(subscription) == list(range(1, 96))
    assert [first for _, first, _ in store.reads] == list(range(1, 96, 10))
    driver.publish_many("me", "foo", 2)
    assert driver.sequences(subscription) == [96, 97]


def test_the_messages_are_what_was_published() -> None:
    driver, _ = cold_driver()
    driver.publish("me", "foo", *[b"data %d" % number for number in range(30)])
    received = driver.take(driver.subscribe("me", "foo", start=FIRST))
    assert [message.data for message in received] == [b"data %d" % number for number in range(30)]
    assert all(message.subject == b"foo" and not message.redelivered for message in received)


def test_a_queue_group_shares_a_replay() -> None:
    driver, store = cold_driver()
    driver.publish_many("me", "foo", 40)
    members = [driver.subscribe("me", "foo", queue="g", start=FIRST, max_in_flight=5) for _ in range(3)]
    received: list[int] = []
    for _ in range(30):
        for member in members:
            sequences = driver.sequences(member)
            received += sequences
            if sequences:
                driver.ack(member, *sequences)
    assert sorted(received) == list(range(1, 41))
    assert len(store.reads) <= 8


def test_several_readers_at_different_positions_do_not_thrash() -> None:
    driver, store = cold_driver()
    driver.publish_many("me", "foo", 200)
    readers = [
        driver.subscribe("me", "foo", start=SEQUENCE, sequence=1 + 40 * number, max_in_flight=1) for number in range(5)
    ]
    expected = [list(range(1 + 40 * number, 201)) for number in range(5)]
    received: list[list[int]] = [[] for _ in readers]
    for _ in range(200):
        for index, reader in enumerate(readers):
            sequences = driver.sequences(reader)
            received[index] += sequences
            if sequences:
                driver.ack(reader, *sequences)
    assert received == expected
    assert len(store.reads) <= sum(len(sequences) for sequences in expected) // 10 + len(readers)


def test_readers_at_the_same_position_share_their_reads() -> None:
    driver, store = cold_driver()
    driver.publish_many("me", "foo", 100)
    driver.automatic = False
    for _ in range(8):
        driver.subscribe("me", "foo", start=FIRST)
    readers = [subscription for known in driver.subscriptions.values() for subscription in known]
    driver.automatic = True
    driver.settle()
    assert all(driver.sequences(reader) == list(range(1, 101)) for reader in readers)
    assert len(store.reads) == 10


def test_even_with_room_for_one_lent_segment_everybody_gets_on() -> None:
    driver, _ = cold_driver(lent_bytes=1)
    driver.publish_many("me", "foo", 60)
    driver.publish_many("me", "bar", 60)
    readers = [
        driver.subscribe("me", channel, start=SEQUENCE, sequence=start)
        for channel in ("foo", "bar")
        for start in (1, 31)
    ]
    assert [driver.sequences(reader)[0] for reader in readers] == [1, 31, 1, 31]
    lent = sum(len(channel.window.lent) for channel in driver.engine.inlet.channels.values())
    assert lent == 1


def test_what_is_published_during_a_read_is_delivered_once_and_in_order() -> None:
    driver, _ = cold_driver(recent_bytes=200)
    driver.publish_many("me", "foo", 25)
    driver.automatic = False
    driver.subscribe("me", "foo", start=FIRST, inbox="here")
    reader = driver.subscriptions[b"here"][0]
    driver.begin_commit()
    driver.end_commit()
    driver.flush()
    while driver.reads:
        driver.publish_many("me", "foo", 1)
        driver.begin_commit()
        driver.end_commit()
        driver.read()
        driver.flush()
    sequences = driver.sequences(reader)
    assert sequences == list(range(1, driver.channel("foo").window.committed + 1))
    assert sequences[-1] > 25


# Redelivery and resume.


def test_redelivery_of_cold_messages_keeps_its_schedule() -> None:
    driver, _ = cold_driver()
    subscription = driver.subscribe("me", "foo", ack_wait_s=1)
    driver.publish_many("me", "foo", 30)
    driver.advance(SECOND // 2)
    driver.publish_many("me", "foo", 1)
    driver.take(subscription)
    driver.advance(SECOND // 2)
    assert driver.marks(subscription) == [f"{sequence}R1" for sequence in range(1, 31)]
    driver.advance(SECOND // 2)
    assert driver.marks(subscription) == ["31R1"]
    driver.advance(SECOND // 2)
    assert driver.marks(subscription) == [f"{sequence}R2" for sequence in range(1, 31)]


def test_redelivery_of_cold_messages_in_a_group() -> None:
    driver, _ = cold_driver()
    members = [driver.subscribe("me", "foo", queue="g", ack_wait_s=1) for _ in range(2)]
    driver.publish_many("me", "foo", 20)
    for member in members:
        driver.take(member)
    driver.close(members[0])
    driver.advance(SECOND // 5)
    assert sorted(driver.sequences(members[1])) == list(range(1, 20, 2))
    driver.ack(members[1], *range(1, 21))
    driver.advance(5 * SECOND)
    assert driver.marks(members[1]) == []


@pytest.mark.parametrize("fields", [{}, {"queue": "g"}], ids=["durable", "durable queue"])
def test_a_resume_of_cold_messages(fields: dict[str, Any]) -> None:
    driver, _ = cold_driver()
    durable = driver.subscribe("me", "foo", durable="d", **fields)
    driver.publish_many("me", "foo", 35)
    driver.ack(durable, *range(2, 36, 2))
    driver.close(durable)
    driver.publish_many("me", "foo", 5)
    durable = driver.subscribe("me", "foo", durable="d", **fields)
    pending = [f"{sequence}R1" for sequence in range(1, 36, 2)]
    assert driver.marks(durable) == [*pending, "36", "37", "38", "39", "40"]


def test_a_resume_that_is_overtaken_by_another_one_redelivers_once() -> None:
    """The first was still waiting for its read when the durable was closed and resumed again."""
    driver, _ = cold_driver()
    durable = driver.subscribe("me", "foo", durable="d")
    driver.publish_many("me", "foo", 15)
    driver.close(durable)
    driver.automatic = False
    second = driver.subscribe("me", "foo", durable="d")
    driver.begin_commit()
    driver.end_commit()
    driver.flush()
    assert len(driver.reads) == 1
    driver.close(driver.late_reply(second))
    third = driver.subscribe("me", "foo", durable="d")
    driver.automatic = True
    driver.settle()
    assert driver.marks(second) == []
    assert driver.marks(third) == [f"{sequence}R1" for sequence in range(1, 16)]


def test_a_resume_waits_for_the_link() -> None:
    driver, _ = cold_driver()
    durable = driver.subscribe("me", "foo", durable="d")
    driver.publish_many("me", "foo", 15)
    driver.close(durable)
    driver.automatic = False
    durable = driver.subscribe("me", "foo", durable="d")
    driver.begin_commit()
    driver.end_commit()
    driver.flush()
    driver.engine.link_down()
    driver.automatic = True
    driver.settle()
    assert driver.marks(durable) == []
    driver.engine.link_up(1 << 20)
    driver.settle()
    assert driver.marks(durable) == [f"{sequence}R1" for sequence in range(1, 16)]
    driver.publish_many("me", "foo", 1)
    assert driver.marks(durable) == ["16"]


def test_a_resume_of_much_goes_on_when_the_outbox_was_sent() -> None:
    driver, _ = cold_driver(recent_bytes=64 << 20)
    durable = driver.subscribe("me", "foo", durable="d")
    driver.publish("me", "foo", *[b"x" * 1000] * 50)
    driver.close(durable)
    driver.engine.context.delivery.out_limit = 5000
    durable = driver.subscribe("me", "foo", durable="d")
    driver.publish_many("me", "foo", 1)
    assert driver.marks(durable) == [*[f"{sequence}R1" for sequence in range(1, 51)], "51"]


def test_a_redelivery_pass_goes_on_when_the_outbox_was_sent_or_the_link_is_back() -> None:
    driver, _ = cold_driver(recent_bytes=64 << 20)
    subscription = driver.subscribe("me", "foo", ack_wait_s=1)
    driver.publish("me", "foo", *[b"x" * 1000] * 50)
    driver.take(subscription)
    driver.engine.context.delivery.out_limit = 5000
    driver.automatic = False
    driver.advance(SECOND)
    assert 0 < len(driver.take(subscription)) < 50
    assert driver.engine.has_backlog()
    driver.engine.link_down()
    driver.engine.link_up(1 << 20)
    driver.automatic = True
    driver.settle()
    redelivered = driver.marks(subscription)
    assert redelivered[-1] == "50R1"
    driver.advance(SECOND)
    assert driver.marks(subscription) == [f"{sequence}R2" for sequence in range(1, 51)]


# Start by time.


def timed_driver() -> EngineDriver:
    """Ten messages, a second apart, the last one now."""
    driver, _ = cold_driver()
    for number in range(10):
        if number:
            driver.advance(SECOND)
        driver.publish("me", "foo", b"%d" % number)
    return driver


@pytest.mark.parametrize(
    ("delta_ns", "first"),
    [(20 * SECOND, 1), (9 * SECOND, 1), (5 * SECOND, 5), (4 * SECOND + 1, 6), (0, 10), (-SECOND, 11)],
)
@pytest.mark.parametrize("fields", [{}, {"durable": "d"}, {"queue": "g"}], ids=["plain", "durable", "queue"])
def test_a_start_by_time_in_cold_messages(delta_ns: int, first: int, fields: dict[str, Any]) -> None:
    driver = timed_driver()
    subscription = driver.subscribe("me", "foo", start=TIME_DELTA, delta_ns=delta_ns, **fields)
    assert subscription.error == ""
    assert driver.sequences(subscription) == list(range(first, 11))
    driver.publish("me", "foo", b"next")
    assert driver.sequences(subscription) == [11]


def during_seek(**fields: Any) -> EngineDriver:
    """A driver whose store is searching for the first subscription's position."""
    driver = timed_driver()
    driver.automatic = False
    driver.subscribe("me", "foo", start=TIME_DELTA, delta_ns=3 * SECOND, inbox="first", **fields)
    assert len(driver.seeks) == 1
    return driver


def test_the_same_durable_twice_while_the_store_searches() -> None:
    driver = during_seek(durable="d")
    second = driver.subscribe("me", "foo", durable="d", start=FIRST)
    driver.automatic = True
    driver.settle()
    assert driver.sequences(driver.subscriptions[b"first"][0]) == [7, 8, 9, 10]
    assert driver.late_reply(second).error == "stan: duplicate durable registration"
    assert driver.channel("foo").subscription_count == 1


def test_a_second_member_while_the_store_searches() -> None:
    driver = during_seek(queue="g")
    second = driver.subscribe("me", "foo", queue="g", start=FIRST)
    driver.automatic = True
    driver.settle()
    assert driver.late_reply(second).error == ""
    assert len(driver.channel("foo").groups) == 1
    received = driver.sequences(driver.subscriptions[b"first"][0]) + driver.sequences(second)
    assert sorted(received) == [7, 8, 9, 10]


@pytest.mark.parametrize("fields", [{}, {"durable": "d"}, {"queue": "g"}, {"queue": "g", "durable": "d"}])
def test_its_client_leaves_while_the_store_searches(fields: dict[str, Any]) -> None:
    driver = during_seek(**fields)
    driver.disconnect("me")
    driver.automatic = True
    driver.settle()
    channel = driver.channel("foo")
    assert channel.subscription_count == 0
    assert (channel.subscriptions, channel.groups, channel.durables, channel.by_inbox) == ([], [], {}, {})
    assert driver.connect("me") == ""
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST, **fields)) == list(range(1, 11))


def test_it_is_closed_by_its_inbox_while_the_store_searches() -> None:
    driver = during_seek(durable="d")
    subscription = driver.subscriptions[b"first"][0]
    subscription.ack_inbox = b"first"
    driver.close(subscription)
    driver.automatic = True
    driver.settle()
    assert driver.channel("foo").durables == {}
    assert driver.sequences(subscription) == []


def test_a_channel_is_not_deleted_while_the_store_searches_for_a_subscriber() -> None:
    limits = StoreLimits(max_inactivity_ns=2 * SECOND)
    driver, _ = cold_driver(limits=limits)
    driver.publish_many("me", "foo", 3)
    other = driver.subscribe("me", "foo")
    driver.automatic = False
    driver.subscribe("me", "foo", start=TIME_DELTA, delta_ns=SECOND, inbox="first")
    driver.close(other)
    driver.begin_commit()
    driver.end_commit()
    driver.advance(5 * SECOND)
    driver.automatic = True
    driver.settle()
    assert driver.sequences(driver.subscriptions[b"first"][0]) == [1, 2, 3]


# Retention.


def test_limits_drop_messages_that_are_not_in_memory() -> None:
    driver, store = cold_driver(limits=StoreLimits(max_messages=20))
    for _ in range(12):
        driver.publish_many("me", "foo", 5)
        window = driver.channel("foo").window
        assert window.count <= 20
    assert (window.first, window.last, window.count) == (41, 60, 20)
    driver.publish_many("me", "foo", 1)
    driver.settle()
    state = store.journal.state().channels[b"foo"]
    assert state.first in (41, 42)
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == list(range(42, 62))


def test_limits_on_bytes_of_cold_messages() -> None:
    driver, _ = cold_driver(limits=StoreLimits(max_bytes=2000))
    for number in range(100):
        driver.publish("me", "foo", b"x" * (number * 7 % 90))
    window = driver.channel("foo").window
    sizes = [len(message.data) for message in driver.take(driver.subscribe("me", "foo", start=FIRST))]
    assert len(sizes) == window.count
    assert 1900 < window.bytes <= 2000


def test_messages_expire_that_are_not_in_memory() -> None:
    driver, store = cold_driver(limits=StoreLimits(max_age_ns=10 * SECOND))
    for _ in range(6):
        driver.publish_many("me", "foo", 5)
        driver.advance(3 * SECOND)
    window = driver.channel("foo").window
    assert (window.first, window.count) == (16, 15)
    driver.advance(20 * SECOND)
    assert (window.first, window.last, window.count, window.bytes) == (31, 30, 0, 0)
    assert store.journal.state().channels[b"foo"].first == 31


def test_a_cold_channel_is_deleted_while_it_is_read() -> None:
    driver, _ = cold_driver(limits=StoreLimits(max_inactivity_ns=2 * SECOND))
    driver.publish_many("me", "foo", 30)
    driver.automatic = False
    subscription = driver.subscribe("me", "foo", start=FIRST)
    driver.begin_commit()
    driver.end_commit()
    driver.flush()
    assert driver.reads
    driver.close(driver.late_reply(subscription))
    driver.advance(5 * SECOND)
    while driver.begin_commit() is not None:
        driver.end_commit()
    assert b"foo" not in driver.engine.inlet.channels
    driver.automatic = True
    driver.settle()
    driver.publish_many("me", "foo", 2)
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == [1, 2]
