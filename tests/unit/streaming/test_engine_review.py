"""Corners of the engine that no client is likely to show: races, and what waits for what."""

from __future__ import annotations

from nats_streaming.protocol.control_messages import ConnectRequest, encode
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.streaming.subjects import SID_CONNECT
from nats_streaming.testing.engine_driver import FIRST, DriverOptions, EngineDriver, restarted
from nats_streaming.testing.recoverable_store import RecoverableMemoryStore

SECOND = 1_000_000_000


def new_driver(**options: object) -> EngineDriver:
    driver = EngineDriver(RecoverableMemoryStore(), DriverOptions(**options))  # type: ignore[arg-type]
    assert driver.connect("me") == ""
    return driver


def test_a_member_that_is_full_by_a_hand_over_does_not_stop_its_group() -> None:
    driver = new_driver()
    small = driver.subscribe("me", "foo", queue="g", max_in_flight=2, ack_wait_s=600)
    large = driver.subscribe("me", "foo", queue="g", max_in_flight=100, ack_wait_s=600)
    leaver = driver.subscribe("me", "foo", queue="g", max_in_flight=100, ack_wait_s=600)
    driver.publish_many("me", "foo", 3)
    driver.ack(small, *driver.sequences(small))
    for _ in range(9):
        driver.publish_many("me", "foo", 1)
    driver.close(leaver)
    driver.advance(SECOND)
    driver.take(small)
    driver.take(large)
    driver.publish_many("me", "foo", 20)
    received = [message.sequence for message in driver.take(small) + driver.take(large) if not message.redelivered]
    assert sorted(received) == list(range(13, 33))


def test_an_owner_that_cannot_be_asked_is_not_replaced() -> None:
    driver = new_driver()
    driver.automatic = False
    request = ConnectRequest(b"me", b"other.inbox", 1, b"other")
    driver.feed(SID_CONNECT, b"request", encode(request), b"reply.x")
    driver.engine.link_down()
    driver.advance(SECOND)
    driver.engine.link_up(1 << 20)
    driver.automatic = True
    driver.settle()
    assert driver.engine.inlet.clients[b"me"].info.connection_id == b"connection.me"
    assert driver.ping("me") == ""


def test_acks_and_sent_records_of_one_chunk_amount_to_the_truth() -> None:
    driver = new_driver()
    subscription = driver.subscribe("me", "foo", max_in_flight=3)
    driver.publish_many("me", "foo", 10)
    for sequence in range(1, 8):
        driver.ack(subscription, sequence)
    assert isinstance(driver.store, RecoverableMemoryStore)
    stored = driver.store.journal.state().channels[b"foo"].subscriptions[1]
    assert (stored.pending, stored.state.last_sent) == ({8, 9, 10}, 10)


def test_a_durable_that_is_replaced_has_one_record() -> None:
    driver = new_driver(replace_durable=True)
    first = driver.subscribe("me", "foo", durable="d", ack_wait_s=600)
    driver.publish_many("me", "foo", 2)
    second = driver.subscribe("me", "foo", durable="d", ack_wait_s=600)
    assert driver.marks(first) == ["1", "2"]
    assert driver.marks(second) == ["1R1", "2R1"]
    driver.publish_many("me", "foo", 1)
    assert (driver.marks(first), driver.marks(second)) == ([], ["3"])
    assert driver.close(first) == "stan: invalid subscription"
    assert driver.channel("foo").subscription_count == 1
    assert isinstance(driver.store, RecoverableMemoryStore)
    again = restarted(driver, RecoverableMemoryStore(driver.store.journal))
    again.ack(second, 1)
    assert again.channel("foo").subscription_count == 1
    assert again.close(second) == ""
    assert again.marks(again.subscribe("me", "foo", durable="d")) == ["2R1", "3R1"]


def test_two_subscriptions_with_one_inbox_end_one_by_one() -> None:
    driver = new_driver(limits=StoreLimits(max_inactivity_ns=SECOND))
    first, second = (driver.subscribe("me", "foo", inbox="same") for _ in range(2))
    assert driver.close(first) == ""
    driver.advance(5 * SECOND)
    assert driver.close(second) == ""
    assert driver.channel("foo").by_inbox == {}
    driver.advance(2 * SECOND)
    assert b"foo" not in driver.engine.inlet.channels


def test_a_subscribe_during_the_deletion_of_its_channel_is_refused() -> None:
    driver = new_driver(limits=StoreLimits(max_inactivity_ns=SECOND))
    driver.publish_many("me", "foo", 1)
    driver.automatic = False
    driver.advance(2 * SECOND)
    driver.begin_commit()
    subscription = driver.subscribe("me", "foo", start=FIRST)
    driver.publish_many("me", "foo", 1)
    driver.end_commit()
    driver.automatic = True
    driver.settle()
    assert driver.late_reply(subscription).error == "stan: channel is being deleted"
    assert driver.acks[-1][1] == "stan: channel is being deleted"
    assert b"foo" not in driver.engine.inlet.channels
    again = driver.subscribe("me", "foo", start=FIRST)
    driver.publish_many("me", "foo", 1)
    assert driver.sequences(again) == [1]


def test_a_client_that_leaves_before_its_subscribe_is_stored_leaves_nothing() -> None:
    driver = new_driver()
    driver.automatic = False
    subscription = driver.subscribe("me", "foo", queue="g")
    driver.begin_commit()
    driver.disconnect("me")
    driver.end_commit()
    driver.automatic = True
    driver.settle()
    assert driver.late_reply(subscription).error == "stan: unknown clientID"
    channel = driver.channel("foo")
    assert (channel.subscription_count, channel.groups) == (0, [])
    assert isinstance(driver.store, RecoverableMemoryStore)
    assert driver.store.journal.state().channels[b"foo"].subscriptions == {}


def test_nothing_is_delivered_or_counted_while_the_link_is_down() -> None:
    driver = new_driver()
    subscription = driver.subscribe("me", "foo", ack_wait_s=1)
    driver.publish_many("me", "foo", 1)
    driver.engine.link_down()
    driver.publish_many("me", "foo", 2)
    driver.advance(5 * SECOND)
    assert driver.marks(subscription) == ["1"]
    driver.engine.link_up(1 << 20)
    driver.settle()
    assert sorted(driver.marks(subscription)) == ["1R1", "2", "3"]
    driver.advance(SECOND)
    assert sorted(driver.marks(subscription)) == ["1R2", "2R1", "3R1"]


def test_a_memory_store_is_told_of_no_clients_or_subscriptions() -> None:
    store = MemoryStore()
    driver = EngineDriver(store)
    driver.connect("me")
    subscription = driver.subscribe("me", "foo", durable="d")
    driver.publish_many("me", "foo", 1)
    driver.ack(subscription, 1)
    assert store._state.clients == {}
    assert store._state.channels[b"foo"].subscriptions == {}
