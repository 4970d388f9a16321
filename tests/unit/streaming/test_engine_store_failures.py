"""What the engine does when the store fails: nothing is lost, nothing is promised, service resumes.

Numbers in comments are the entries of the black-box checklist of the protocol specification.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from nats_streaming.stores.batch import ChannelRemoved, Record, decode_batch
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.testing.engine_driver import FIRST, TIME_DELTA, DriverOptions, EngineDriver
from nats_streaming.testing.faulty_store import FaultyStore
from nats_streaming.testing.recoverable_store import RecoverableMemoryStore
from nats_streaming.testing.store_suite import make_run

FULL = "no space left on device"


def faulty_driver(options: DriverOptions | None = None) -> tuple[EngineDriver, FaultyStore]:
    store = FaultyStore(RecoverableMemoryStore())
    driver = EngineDriver(store, options)
    assert driver.connect("me") == ""
    return driver, store


def stored(store: FaultyStore) -> RecoverableMemoryStore:
    assert isinstance(store.inner, RecoverableMemoryStore)
    return store.inner


@pytest.fixture(params=[False, True], ids=["void", "applied"])
def applied(request: pytest.FixtureRequest) -> bool:
    """Whether a commit that fails became durable nevertheless."""
    return bool(request.param)


# Connect.


def test_connect_is_refused_with_the_text_of_the_store(applied: bool) -> None:
    driver, store = faulty_driver()
    store.fail_next("commit", FULL, applied=applied)
    assert driver.connect("you") == FULL
    assert b"you" not in driver.engine.inlet.clients
    assert list(stored(store).journal.state().clients) == [b"me"]
    assert driver.connect("you") == ""
    assert set(stored(store).journal.state().clients) == {b"me", b"you"}


def test_an_old_client_that_was_replaced_stays_gone_when_the_new_one_cannot_be_stored() -> None:
    driver, store = faulty_driver()
    driver.alive.clear()
    store.fail_next("commit", FULL)
    assert driver.connect("me") == FULL
    driver.settle()
    assert stored(store).journal.state().clients == {}
    assert driver.connect("me") == ""


# Publish.


def test_every_publish_of_a_failed_batch_gets_an_error_ack(applied: bool) -> None:
    driver, store = faulty_driver()
    subscription = driver.subscribe("me", "foo")
    before = driver.publish("me", "foo", b"a", b"b")
    store.fail_next("commit", FULL, applied=applied)
    failed = driver.publish("me", "foo", b"c", b"d", b"e")
    assert [driver.error_of(guid) for guid in before + failed] == ["", "", FULL, FULL, FULL]
    assert driver.sequences(subscription) == [1, 2]
    after = driver.publish("me", "foo", b"f")
    assert driver.error_of(after[0]) == ""
    assert [(message.sequence, message.data) for message in driver.take(subscription)] == [(3, b"f")]
    window = driver.channel("foo").window
    assert (window.first, window.last, window.committed, window.count) == (1, 3, 3, 3)
    state = stored(store).journal.state().channels[b"foo"]
    assert (state.first, state.last, state.count) == (1, 3, 3)


def test_batches_staged_behind_a_failed_one_fail_with_it() -> None:
    driver, store = faulty_driver(DriverOptions(batch_max=2))
    subscription = driver.subscribe("me", "foo", start=FIRST)
    commits = store.calls["commit"]
    driver.automatic = False
    guids = driver.publish_many("me", "foo", 3)
    driver.begin_commit()
    guids += driver.publish_many("me", "bar", 3)
    store.fail_next("commit", FULL)
    assert not driver.end_commit()
    driver.automatic = True
    driver.settle()
    assert [guid for guid, _ in driver.acks] == guids
    assert [driver.error_of(guid) for guid in guids] == [FULL] * 6
    assert driver.sequences(subscription) == []
    assert store.calls["commit"] == commits + 2, "the failure, and the facts that it left"
    guids = driver.publish_many("me", "foo", 2) + driver.publish_many("me", "bar", 1)
    assert [driver.error_of(guid) for guid in guids] == [""] * 3
    assert driver.sequences(subscription) == [1, 2]
    assert driver.channel("bar").window.last == 1


def test_a_failed_batch_drops_nothing_to_make_room() -> None:
    """With a full disk and publishers that try again, the limits must not eat what there is."""
    driver, store = faulty_driver(DriverOptions(StoreLimits(max_messages=3)))
    driver.publish_many("me", "foo", 3)
    for _ in range(5):
        store.fail_next("commit", FULL)
        driver.publish_many("me", "foo", 10)
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == [1, 2, 3]
    driver.publish_many("me", "foo", 5)
    window = driver.channel("foo").window
    assert (window.first, window.last, window.count) == (6, 8, 3)
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == [6, 7, 8]
    driver.publish_many("me", "foo", 1)
    assert stored(store).journal.state().channels[b"foo"].first == 7


def test_trims_are_staged_again_after_a_failure() -> None:
    driver, store = faulty_driver(DriverOptions(StoreLimits(max_messages=2)))
    driver.publish_many("me", "foo", 5)
    store.fail_next("commit", FULL)
    driver.publish_many("me", "foo", 1)
    driver.settle()
    state = stored(store).journal.state().channels[b"foo"]
    assert (state.first, state.last) == (4, 5)


def test_positions_are_clamped_to_what_exists() -> None:
    driver, store = faulty_driver()
    driver.publish_many("me", "foo", 2)
    driver.automatic = False
    driver.publish_many("me", "foo", 3)
    driver.begin_commit()
    plain, group = driver.subscribe("me", "foo"), driver.subscribe("me", "foo", queue="g")
    store.fail_next("commit", FULL)
    driver.end_commit()
    driver.automatic = True
    driver.settle()
    # Both were new-only behind messages that never came about, and in the same failure themselves.
    assert driver.late_reply(group).error == FULL
    plain, durable = driver.subscribe("me", "foo"), driver.subscribe("me", "foo", durable="d")
    group = driver.subscribe("me", "foo", queue="g")
    driver.automatic = False
    driver.publish_many("me", "foo", 1)
    driver.begin_commit()
    driver.end_commit()
    driver.publish_many("me", "foo", 3)
    driver.begin_commit()
    store.fail_next("commit", FULL)
    driver.end_commit()
    driver.automatic = True
    driver.settle()
    driver.publish_many("me", "foo", 1)
    for subscription in (plain, durable, group):
        assert driver.sequences(subscription) == [3, 4]


def test_an_offline_durable_that_waits_for_messages_which_never_came_misses_none() -> None:
    """It began behind staged messages and was closed before their commit failed."""
    driver, store = faulty_driver()
    driver.publish_many("me", "foo", 2)
    store.fail_next("commit", FULL)
    driver.automatic = False
    driver.publish_many("me", "foo", 5)
    driver.begin_commit()
    driver.automatic = True
    driver.end_commit()
    durable = driver.subscribe("me", "foo", durable="d")
    driver.close(durable)
    assert driver.channel("foo").durables[(b"me", b"d")].last_sent == 2
    driver.publish_many("me", "foo", 1)
    assert driver.sequences(driver.subscribe("me", "foo", durable="d")) == [3]


def test_nothing_is_committed_twice_and_nothing_is_lost_over_many_failures(rng: random.Random) -> None:
    driver, store = faulty_driver(DriverOptions(batch_max=3))
    subscription = driver.subscribe("me", "foo", start=FIRST, max_in_flight=10_000)
    accepted: list[bytes] = []
    for number in range(200):
        if rng.random() < 0.4:
            store.fail_next("commit", FULL, applied=rng.random() < 0.5)
        guids = driver.publish("me", "foo", *[b"%d.%d" % (number, index) for index in range(rng.randrange(1, 6))])
        accepted += [guid for guid in guids if driver.error_of(guid) == ""]
    received = driver.take(subscription)
    assert [message.sequence for message in received] == list(range(1, len(accepted) + 1))
    state = stored(store).journal.state().channels[b"foo"]
    for message in received:
        segment = state.segment_of(message.sequence)
        assert segment is not None
        assert message.data in (segment.message(message.sequence) or b"")


# Subscribe (51).


@pytest.mark.parametrize(
    "fields",
    [{}, {"durable": "d"}, {"queue": "g"}, {"queue": "g", "durable": "d"}],
    ids=["plain", "durable", "queue", "durable queue"],
)
def test_a_failed_subscribe_leaves_nothing(fields: dict[str, Any], applied: bool) -> None:
    driver, store = faulty_driver(DriverOptions(StoreLimits(max_subscriptions=2)))
    offline = driver.subscribe("me", "foo", durable="offline")
    driver.close(offline)
    channel = driver.channel("foo")
    assert channel.subscription_count == 1
    store.fail_next("commit", FULL, applied=applied)
    failed = driver.subscribe("me", "foo", **fields)
    assert failed.error == FULL
    assert failed.ack_inbox == b""
    assert channel.subscription_count == 1
    assert not channel.subscriptions
    assert not channel.groups
    assert not channel.by_inbox
    assert list(channel.durables) == [(b"me", b"offline")]
    assert not driver.engine.inlet.clients[b"me"].subscriptions
    driver.settle()
    assert list(stored(store).journal.state().channels[b"foo"].subscriptions) == [1]
    guids = driver.publish_many("me", "foo", 2)
    assert [driver.error_of(guid) for guid in guids] == ["", ""]
    assert driver.sequences(failed) == []
    again = driver.subscribe("me", "foo", start=FIRST, **fields)
    assert again.error == ""
    assert driver.sequences(again) == [1, 2]


def test_a_durable_that_cannot_be_resumed_stays_offline(applied: bool) -> None:
    driver, store = faulty_driver()
    durable = driver.subscribe("me", "foo", durable="d")
    driver.publish_many("me", "foo", 3)
    driver.ack(durable, 2)
    driver.close(durable)
    store.fail_next("commit", FULL, applied=applied)
    failed = driver.subscribe("me", "foo", durable="d")
    assert failed.error == FULL
    assert driver.sequences(failed) == []
    driver.settle()
    state = stored(store).journal.state().channels[b"foo"].subscriptions[1]
    assert state.state.is_closed
    assert state.pending == {1, 3}
    assert driver.marks(driver.subscribe("me", "foo", durable="d")) == ["1R1", "3R1"]


def test_an_offline_group_whose_member_cannot_be_stored_stays_offline() -> None:
    driver, store = faulty_driver()
    member = driver.subscribe("me", "foo", queue="g", durable="d")
    driver.publish_many("me", "foo", 2)
    driver.close(member)
    store.fail_next("commit", FULL)
    assert driver.subscribe("me", "foo", queue="g", durable="d").error == FULL
    driver.settle()
    state = stored(store).journal.state().channels[b"foo"].subscriptions[1]
    assert (state.state.client_id, state.pending) == (b"", {1, 2})
    assert driver.marks(driver.subscribe("me", "foo", queue="g", durable="d")) == ["1R1", "2R1"]


def test_what_ended_stays_ended_when_the_record_of_it_fails(applied: bool) -> None:
    """The facts of a failed batch ride in the next one: after a restart the durables are offline."""
    driver, store = faulty_driver()
    durable = driver.subscribe("me", "foo", durable="d")
    member = driver.subscribe("me", "foo", durable="d", queue="g")
    plain = driver.subscribe("me", "foo")
    store.fail_next("commit", FULL, applied=applied)
    driver.automatic = False
    for subscription in (durable, member, plain):
        driver.close(subscription)
    driver.begin_commit()
    driver.end_commit()
    driver.automatic = True
    driver.settle()
    subscriptions = stored(store).journal.state().channels[b"foo"].subscriptions
    assert sorted(subscriptions) == [1, 2]
    assert subscriptions[1].state.is_closed
    assert subscriptions[2].state.client_id == b""


def test_what_was_sent_and_acked_survives_a_failed_commit() -> None:
    driver, store = faulty_driver()
    subscription = driver.subscribe("me", "foo")
    driver.publish_many("me", "foo", 3)
    store.fail_next("commit", FULL)
    driver.ack(subscription, 1, 3)
    driver.settle()
    assert stored(store).journal.state().channels[b"foo"].subscriptions[1].pending == {2}


def test_a_subscription_that_is_closed_before_its_commit_never_receives() -> None:
    driver, _ = faulty_driver()
    driver.publish_many("me", "foo", 2)
    driver.automatic = False
    subscription = driver.subscribe("me", "foo", start=FIRST, inbox="by.inbox")
    subscription.ack_inbox = b"by.inbox"
    driver.close(subscription)
    driver.automatic = True
    driver.settle()
    assert driver.late_reply(subscription).error == "stan: unknown clientID"
    assert driver.sequences(subscription) == []
    assert driver.channel("foo").subscription_count == 0


# Channels.


def test_a_channel_that_cannot_be_deleted_lives_on() -> None:
    driver, store = faulty_driver(DriverOptions(StoreLimits(max_inactivity_ns=1_000_000_000)))
    driver.publish_many("me", "foo", 2)
    store.fail_next("commit", FULL)
    driver.advance_ms(1100)
    assert b"foo" in driver.engine.inlet.channels
    driver.publish_many("me", "foo", 1)
    assert not any(isinstance(record, ChannelRemoved) for record in committed_records(store))
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == [1, 2, 3]


def test_a_channel_that_could_not_be_deleted_is_deleted_later() -> None:
    driver, store = faulty_driver(DriverOptions(StoreLimits(max_inactivity_ns=1_000_000_000)))
    driver.publish_many("me", "foo", 2)
    store.fail_next("commit", FULL)
    driver.advance_ms(1100)
    driver.advance_ms(1100)
    assert b"foo" not in driver.engine.inlet.channels
    assert stored(store).journal.state().channels == {}


# Reading (88, 102).


def cold_driver(count: int = 20, **fields: int) -> tuple[EngineDriver, FaultyStore]:
    """A channel with messages of which none is in memory."""
    driver, store = faulty_driver(DriverOptions(**fields))  # type: ignore[arg-type]
    driver.publish_many("me", "foo", count)
    driver.channel("foo").window.evict(0)
    assert driver.channel("foo").window.resident == 0
    return driver, store


def test_a_read_error_delays_a_delivery(caplog: pytest.LogCaptureFixture) -> None:  # 88
    driver, store = cold_driver()
    store.fail_next("read", "bad sector", times=2)
    subscription = driver.subscribe("me", "foo", start=FIRST)
    assert driver.sequences(subscription) == []
    assert "Error looking up message foo:1 (bad sector)" in caplog.text
    driver.retry_reads()
    assert driver.sequences(subscription) == []
    driver.retry_reads()
    assert driver.sequences(subscription) == list(range(1, 21))


def test_a_read_error_delays_a_queue_group() -> None:  # 88
    driver, store = cold_driver()
    store.fail_next("read", "bad sector")
    subscription = driver.subscribe("me", "foo", start=FIRST, queue="g")
    assert driver.sequences(subscription) == []
    driver.retry_reads()
    assert driver.sequences(subscription) == list(range(1, 21))


def test_a_read_error_delays_a_redelivery(caplog: pytest.LogCaptureFixture) -> None:  # 88
    driver, store = faulty_driver()
    subscription = driver.subscribe("me", "foo", ack_wait_s=1)
    driver.publish_many("me", "foo", 3)
    driver.take(subscription)
    driver.channel("foo").window.evict(0)
    driver.ack(subscription, 2)
    store.fail_next("read", "bad sector")
    driver.advance_ms(1000)
    assert driver.marks(subscription) == []
    assert "Error getting message for redelivery subid=1, seq=1, err=bad sector" in caplog.text
    driver.retry_reads()
    assert driver.marks(subscription) == ["1R1", "3R1"]
    driver.advance_ms(1000)
    assert driver.marks(subscription) == ["1R2", "3R2"]


def test_a_read_error_delays_a_resume() -> None:  # 88
    driver, store = faulty_driver()
    durable = driver.subscribe("me", "foo", durable="d")
    driver.publish_many("me", "foo", 3)
    driver.close(durable)
    driver.channel("foo").window.evict(0)
    driver.publish_many("me", "foo", 2)
    store.fail_next("read", "bad sector")
    durable = driver.subscribe("me", "foo", durable="d")
    assert driver.marks(durable) == []
    driver.publish_many("me", "foo", 1)
    assert driver.marks(durable) == [], "new messages wait for those that come again"
    driver.retry_reads()
    assert driver.marks(durable) == ["1R1", "2R1", "3R1", "4", "5", "6"]


def test_a_start_by_time_that_the_store_cannot_find_is_refused() -> None:
    driver, store = cold_driver()
    store.fail_next("find_time", "database is gone")
    failed = driver.subscribe("me", "foo", start=TIME_DELTA, delta_ns=10**9, durable="d")
    assert failed.error == "database is gone"
    assert driver.channel("foo").subscription_count == 0
    again = driver.subscribe("me", "foo", start=TIME_DELTA, delta_ns=10**9, durable="d")
    assert again.error == ""
    assert driver.sequences(again) == list(range(1, 21))


def test_a_gap_in_the_middle_is_skipped() -> None:  # 102
    driver, store = cold_driver(9)
    run = make_run(b"foo", 1, [None if sequence in (3, 4, 7) else b"x" for sequence in range(1, 10)])
    stored(store)._state.channels[b"foo"].segments[:] = [run.segment]
    plain = driver.subscribe("me", "foo", start=FIRST)
    member = driver.subscribe("me", "foo", start=FIRST, queue="g")
    driver.publish("me", "foo", b"next")
    for subscription in (plain, member):
        assert driver.sequences(subscription) == [1, 2, 5, 6, 8, 9, 10]


def test_a_gap_at_the_end_and_a_read_that_finds_nothing() -> None:  # 102
    driver, store = cold_driver(3)
    stored(store)._state.channels.clear()
    subscription = driver.subscribe("me", "foo", start=FIRST)
    assert driver.sequences(subscription) == []
    driver.publish("me", "foo", b"next")
    assert driver.sequences(subscription) == [4]


def test_an_unacked_message_that_is_gone_is_not_redelivered() -> None:  # 102
    driver, store = faulty_driver()
    subscription = driver.subscribe("me", "foo", ack_wait_s=1, max_in_flight=2)
    driver.publish_many("me", "foo", 3)
    assert driver.sequences(subscription) == [1, 2]
    driver.channel("foo").window.evict(0)
    stored(store)._state.channels[b"foo"].delete([1])
    driver.advance_ms(1000)
    assert driver.marks(subscription) == ["2R1", "3"]
    driver.settle()
    assert stored(store).journal.state().channels[b"foo"].subscriptions[1].pending == {2, 3}


# Tools.


def committed_records(store: FaultyStore) -> Sequence[Record]:
    return [record for encoded in stored(store).journal.batches for record in decode_batch(encoded)]
