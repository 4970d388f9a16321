"""What comes back after a restart: section 9 of the protocol specification.

Numbers in comments are the entries of its black-box checklist.
"""

from __future__ import annotations

from typing import Any

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.protocol.control_messages import ServerInfo, SubscriptionState
from nats_streaming.stores.batch import ServerPut, SubscriptionPut, encode_batch
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.testing.engine_driver import FIRST, EngineDriver, restarted
from nats_streaming.testing.recoverable_store import Journal, RecoverableMemoryStore
from nats_streaming.testing.store_suite import make_run
from tests.unit.streaming.restarts import KINDS, SECOND, World, cold, subscriptions_of, two_members, world

__all__ = ["cold", "world"]


# The server and its clients.


def test_the_recorded_subjects_win() -> None:
    world = World(cold=True)
    driver = world.restart(discover_prefix=b"other.prefix")
    assert driver.engine.context.info.discovery == b"_STAN.discover.test-cluster"


def test_another_cluster_id_is_refused() -> None:  # 101
    world = World(cold=True)
    with pytest.raises(ConfigError) as caught:
        world.restart(cluster_id=b"other")
    assert str(caught.value) == 'cluster ID "other" does not match recovered value of "test-cluster"'


def test_a_very_old_store_learns_the_subject_of_closes() -> None:
    world = World(cold=True)
    world.write(ServerPut(ServerInfo(b"test-cluster", b"d", b"p", b"s", b"u", b"c")))
    driver = world.restart()
    assert driver.engine.context.info.subscription_close == b"_STAN.subclose.test-cluster"
    server = world.journal.state().server
    assert server is not None
    assert (server.publish, server.subscription_close) == (b"p", b"_STAN.subclose.test-cluster")


def test_channels_without_a_server_record(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal()
    journal.batches.append(encode_batch([make_run(b"foo", 1, [b"x"] * 3)]))
    driver = EngineDriver(RecoverableMemoryStore(journal))
    assert "Server information was not recovered, however channels are present" in caplog.text
    assert driver.channel("foo").window.last == 3
    assert journal.state().server is not None


def test_client_information_is_recovered(world: World) -> None:  # 99
    world.driver.connect("you", connection_id=b"connection.you", protocol=1, ping_interval=-300, ping_max_out=88)
    driver = world.restart()
    info = driver.engine.inlet.clients[b"you"].info
    assert (info.connection_id, info.protocol, info.ping_interval, info.ping_max_out) == (
        b"connection.you",
        1,
        -300,
        88,
    )
    assert driver.ping("you") == ""
    assert driver.ping("nobody") == "client has been replaced or is no longer registered"
    assert driver.error_of(driver.publish("you", "foo", b"x")[0]) == ""


def test_a_recovered_client_is_still_registered(world: World) -> None:
    driver = world.restart()
    assert driver.connect("me") == "stan: clientID already registered"
    driver.alive.clear()
    assert driver.connect("me") == ""


def test_heartbeats_purge_recovered_clients_that_are_gone() -> None:  # 24
    world = World(cold=True, heartbeat_interval_ns=2 * SECOND, heartbeat_fail_count=1)
    world.driver.connect("me")
    world.driver.connect("gone")
    world.driver.subscribe("gone", "foo")
    durable = world.driver.subscribe("gone", "foo", durable="d")
    driver = world.restart()
    driver.alive.discard(b"gone")
    driver.advance(3999 * SECOND // 1000)
    assert b"gone" in driver.engine.inlet.clients
    driver.advance(SECOND // 100)
    assert b"gone" not in driver.engine.inlet.clients
    assert b"me" in driver.engine.inlet.clients
    channel = driver.channel("foo")
    assert channel.subscriptions == []
    assert channel.durables[(b"gone", b"d")].is_offline
    assert durable.error == ""
    state = world.journal.state()
    assert list(state.clients) == [b"me"]
    assert [stored.state.durable_name for stored in state.channels[b"foo"].subscriptions.values()] == [b"d"]


# Messages.


def test_messages_and_sequences_go_on(world: World) -> None:
    world.driver.publish_many("me", "foo", 30)
    driver = world.restart()
    assert driver.error_of(driver.publish("me", "foo", b"next")[0]) == ""
    subscription = driver.subscribe("me", "foo", start=FIRST)
    assert driver.sequences(subscription) == list(range(1, 32))
    window = driver.channel("foo").window
    assert (window.first, window.last, window.count) == (1, 31, 31)


def test_timestamps_do_not_decrease_over_a_restart(world: World) -> None:
    driver = world.driver
    driver.publish("me", "foo", b"x")
    driver.clock.set_wall_ns(driver.clock.wall_ns() - 3600 * SECOND)
    driver = world.restart()
    driver.publish("me", "foo", b"y")
    first, second = driver.take(driver.subscribe("me", "foo", start=FIRST))
    assert second.timestamp_ns >= first.timestamp_ns


def test_the_case_of_channel_names_is_remembered(world: World) -> None:  # 28
    world.driver.publish("me", "Foo", b"x")
    driver = world.restart()
    text = 'rejecting channel "foo" because channel "Foo" alreay exists (different cases not allowed)'
    assert driver.error_of(driver.publish("me", "foo", b"x")[0]) == text
    assert driver.subscribe("me", "foo").error == text
    assert driver.error_of(driver.publish("me", "Foo", b"x")[0]) == ""


def test_lowered_limits_apply_to_what_is_recovered(cold: bool, caplog: pytest.LogCaptureFixture) -> None:
    world = World(cold=cold)
    world.driver.connect("me")
    world.driver.publish_many("me", "foo", 10)
    driver = world.restart(limits=StoreLimits(max_messages=3))
    window = driver.channel("foo").window
    assert (window.first, window.last, window.count) == (8, 10, 3)
    assert "Reached limits" not in caplog.text
    assert world.journal.state().channels[b"foo"].first == 8
    assert driver.sequences(driver.subscribe("me", "foo", start=FIRST)) == [8, 9, 10]
    driver.publish("me", "foo", b"x")
    assert "Reached limits" in caplog.text


def test_lowered_limits_on_bytes_count_what_the_store_adds(cold: bool) -> None:
    journal = Journal()
    driver = EngineDriver(RecoverableMemoryStore(journal, keeps_messages_elsewhere=cold, message_overhead_bytes=40))
    driver.connect("me")
    driver.publish_many("me", "foo", 9)
    size = driver.channel("foo").window.bytes // 9
    store = RecoverableMemoryStore(journal, keeps_messages_elsewhere=cold, message_overhead_bytes=40)
    driver = restarted(driver, store, limits=StoreLimits(max_bytes=2 * size + 1))
    window = driver.channel("foo").window
    assert (window.first, window.bytes) == (8, 2 * size)


def test_more_channels_and_subscriptions_than_allowed_are_recovered(world: World) -> None:
    for name in ("a", "b", "c"):
        world.driver.subscribe("me", name)
        world.driver.subscribe("me", name)
    driver = world.restart(limits=StoreLimits(max_channels=2, max_subscriptions=1))
    assert len(driver.engine.inlet.channels) == 3
    assert driver.channel("a").subscription_count == 2
    assert driver.subscribe("me", "a").error == "too many subscriptions per channel"
    assert driver.error_of(driver.publish("me", "d", b"x")[0]) == "too many channels"


def test_messages_that_aged_while_the_server_was_down(cold: bool) -> None:
    world = World(cold=cold, limits=StoreLimits(max_age_ns=10 * SECOND))
    driver = world.driver
    driver.connect("me")
    driver.publish_many("me", "foo", 3)
    driver.advance(6 * SECOND)
    driver.publish_many("me", "foo", 2)
    driver.clock.advance(5 * SECOND)
    driver = world.restart()
    assert (driver.channel("foo").window.first, driver.channel("foo").window.count) == (4, 2)
    driver.advance(6 * SECOND)
    assert (driver.channel("foo").window.first, driver.channel("foo").window.count) == (6, 0)
    driver = world.restart()
    assert driver.error_of(driver.publish("me", "foo", b"x")[0]) == ""
    assert driver.channel("foo").window.last == 6


def test_a_recovered_channel_that_nobody_uses_is_deleted(cold: bool) -> None:
    world = World(cold=cold, limits=StoreLimits(max_inactivity_ns=2 * SECOND))
    driver = world.driver
    driver.connect("me")
    driver.publish("me", "idle", b"x")
    driver.subscribe("me", "used")
    driver.close(driver.subscribe("me", "offline", durable="d"))
    driver = world.restart()
    driver.advance(1900 * SECOND // 1000)
    assert len(driver.engine.inlet.channels) == 3
    driver.advance(200 * SECOND // 1000)
    assert list(driver.engine.inlet.channels) == [b"used"]
    assert set(world.journal.state().channels) == {b"used"}


# Subscriptions.


@KINDS
def test_subscriptions_go_on_without_their_clients_doing_anything(world: World, fields: dict[str, Any]) -> None:
    subscription = world.driver.subscribe("me", "foo", **fields)
    world.driver.publish_many("me", "foo", 2)
    assert world.driver.sequences(subscription) == [1, 2]
    world.driver.ack(subscription, 1, 2)
    driver = world.restart()
    driver.publish_many("me", "foo", 2)
    assert driver.marks(subscription) == ["3", "4"]
    driver.ack(subscription, 3)
    driver.advance(31 * SECOND)
    assert driver.marks(subscription) == ["4R1"]
    driver.ack(subscription, 4)
    driver.advance(61 * SECOND)
    assert driver.marks(subscription) == []
    assert driver.unsubscribe(subscription) == ""
    assert driver.engine.inlet.recovered == {}
    assert driver.channel("foo").subscription_count == 0


@KINDS
def test_a_subscription_may_be_ended_after_a_restart(world: World, fields: dict[str, Any]) -> None:
    subscription = world.driver.subscribe("me", "foo", **fields)
    driver = world.restart()
    assert driver.close(subscription) == ""
    assert driver.close(subscription) == "stan: invalid subscription"
    assert driver.channel("foo").subscription_count == (1 if "durable" in fields else 0)


def test_new_subscriptions_get_new_ids_after_a_restart(world: World) -> None:
    first, second = world.driver.subscribe("me", "foo"), world.driver.subscribe("me", "foo")
    world.driver.close(second)
    driver = world.restart()
    driver.subscribe("me", "foo")
    assert sorted(subscription.id for subscription in driver.channel("foo").subscriptions) == [1, 3]
    assert first.ack_inbox


@KINDS
def test_subscriptions_of_unknown_clients(world: World, fields: dict[str, Any]) -> None:  # 100
    state = SubscriptionState(
        id=1,
        client_id=b"unknown",
        inbox=b"inbox",
        ack_inbox=b"ack.inbox",
        max_in_flight=10,
        ack_wait_seconds=30,
        queue_group=b"d:g" if len(fields) == 2 else fields.get("queue", "").encode(),
        durable_name=b"d" if list(fields) == ["durable"] else b"",
        is_durable="durable" in fields,
    )
    world.write(SubscriptionPut(b"foo", state))
    driver = world.restart()
    channel = driver.channel("foo")
    is_kept = list(fields) == ["durable"]
    assert channel.subscription_count == (1 if is_kept else 0)
    assert bool(channel.durables) == is_kept
    assert channel.groups == []
    stored = world.journal.state().channels[b"foo"].subscriptions
    assert [subscription.state.is_closed for subscription in stored.values()] == ([True] if is_kept else [])
    driver.publish("me", "foo", b"x")
    assert not any(frame.subject == b"inbox" for frame in driver.take_frames())


def test_a_ghost_of_a_durable_group_is_named(world: World, caplog: pytest.LogCaptureFixture) -> None:  # 100
    state = SubscriptionState(
        id=4, client_id=b"unknown", inbox=b"in.box", queue_group=b"d:g", is_durable=True, max_in_flight=1
    )
    world.write(SubscriptionPut(b"foo", state))
    world.restart()
    assert "Not recovering ghost durable queue subscriber: [unknown]:[d:g] subject=foo inbox=in.box" in caplog.text


def test_two_offline_records_for_one_group(world: World, caplog: pytest.LogCaptureFixture) -> None:  # 76
    def shadow(number: int, last_sent: int) -> SubscriptionPut:
        return SubscriptionPut(
            b"foo",
            SubscriptionState(
                id=number, queue_group=b"d:g", is_durable=True, last_sent=last_sent, max_in_flight=9, ack_wait_seconds=9
            ),
        )

    world.driver.publish_many("me", "foo", 5)
    world.write(shadow(1, 2), shadow(2, 4), shadow(3, 3))
    driver = world.restart()
    assert 'Duplicate shadow durable queue consumer (subid=2) for group "d:g"' in caplog.text
    assert 'Duplicate shadow durable queue consumer (subid=3) for group "d:g"' in caplog.text
    assert driver.channel("foo").subscription_count == 1
    assert list(world.journal.state().channels[b"foo"].subscriptions) == [2]
    assert driver.marks(driver.subscribe("me", "foo", queue="g", durable="d")) == ["5"]


def test_an_old_record_with_a_durable_name_only_is_a_durable(world: World) -> None:
    state = SubscriptionState(
        id=1, client_id=b"me", inbox=b"i", ack_inbox=b"a", durable_name=b"d", max_in_flight=5, ack_wait_seconds=5
    )
    world.driver.publish_many("me", "foo", 2)
    world.write(SubscriptionPut(b"foo", state))
    driver = world.restart()
    assert driver.subscribe("me", "foo", durable="d").error == "stan: duplicate durable registration"


def test_counts_of_subscriptions(world: World) -> None:  # 63
    driver = world.driver
    for fields in ({}, {"durable": "a"}, {"durable": "b"}, {"queue": "g"}, {"queue": "g", "durable": "d"}):
        subscription = driver.subscribe("me", "foo", **fields)  # type: ignore[arg-type]
        if fields.get("durable") in ("b", "d"):
            driver.close(subscription)
    assert driver.channel("foo").subscription_count == 5
    driver = world.restart()
    assert driver.channel("foo").subscription_count == 5
    assert driver.disconnect("me") == ""
    assert driver.channel("foo").subscription_count == 3
    driver = world.restart()
    assert driver.channel("foo").subscription_count == 3
    driver.connect("me")
    for fields in ({"durable": "a"}, {"durable": "b"}, {"queue": "g", "durable": "d"}):
        assert driver.unsubscribe(driver.subscribe("me", "foo", **fields)) == ""  # type: ignore[arg-type]
    assert driver.channel("foo").subscription_count == 0
    assert world.restart().channel("foo").subscription_count == 0


# Durables.


def test_a_durable_resumes_three_times_across_restarts(world: World) -> None:  # 52
    driver = world.driver
    driver.subscribe("me", "foo", durable="d", start=FIRST)
    for round_number in range(3):
        driver.publish_many("me", "foo", 2)
        driver.disconnect("me")
        driver = world.restart()
        assert driver.connect("me") == ""
        durable = driver.subscribe("me", "foo", durable="d", start=FIRST)
        assert driver.marks(durable) == [f"{2 * round_number + 1}R1", f"{2 * round_number + 2}R1"]
        driver.ack(durable, 2 * round_number + 1, 2 * round_number + 2)


def test_offline_durables_and_groups_are_silent_after_a_restart(world: World) -> None:  # 60
    durable = world.driver.subscribe("me", "foo", durable="d", ack_wait_s=1)
    member = world.driver.subscribe("me", "foo", durable="d", queue="g", ack_wait_s=1)
    world.driver.publish_many("me", "foo", 2)
    world.driver.close(durable)
    world.driver.close(member)
    world.driver.take(durable)
    world.driver.take(member)
    driver = world.restart()
    driver.publish_many("me", "foo", 2)
    driver.advance(10 * SECOND)
    assert driver.marks(durable) == []
    assert driver.marks(member) == []


def test_a_durable_that_was_closed_is_offline_though_its_client_is_there(world: World) -> None:  # 61
    durable = world.driver.subscribe("me", "foo", durable="d")
    world.driver.close(durable)
    driver = world.restart()
    assert driver.channel("foo").durables[(b"me", b"d")].is_offline
    driver.publish_many("me", "foo", 1)
    assert driver.marks(durable) == []
    assert driver.marks(driver.subscribe("me", "foo", durable="d")) == ["1"]


def test_an_active_durable_is_still_active(world: World) -> None:
    world.driver.subscribe("me", "foo", durable="d")
    driver = world.restart()
    assert driver.subscribe("me", "foo", durable="d").error == "stan: duplicate durable registration"


# Queues.


def test_all_stalled_members_stall_the_group_after_a_restart(world: World) -> None:  # 65
    first, second = two_members(world.driver, max_in_flight=2, ack_wait_s=300)
    world.driver.publish_many("me", "foo", 6)
    assert (world.driver.sequences(first), world.driver.sequences(second)) == ([1, 3], [2, 4])
    driver = world.restart()
    driver.publish_many("me", "foo", 1)
    assert (driver.marks(first), driver.marks(second)) == ([], [])
    driver.ack(second, 2)
    assert (driver.marks(first), driver.marks(second)) == ([], ["5"])


def test_a_durable_group_rejoined_after_a_restart(world: World) -> None:  # 73
    member = world.driver.subscribe("me", "foo", queue="g", durable="d")
    world.driver.publish_many("me", "foo", 100)
    world.driver.close(member)
    driver = world.restart()
    driver.publish_many("me", "foo", 2)
    member = driver.subscribe("me", "foo", queue="g", durable="d")
    assert driver.marks(member) == [f"{sequence}R1" for sequence in range(1, 101)] + ["101", "102"]


def test_the_position_of_a_group_outlives_its_members(world: World) -> None:  # 75
    first, second = two_members(world.driver)
    world.driver.publish_many("me", "foo", 2)
    world.driver.ack(first, 1)
    world.driver.ack(second, 2)
    world.driver.close(second)
    world.driver.take(first)
    driver = world.restart()
    driver.publish_many("me", "foo", 1)
    assert driver.marks(first) == ["3"]


def test_one_record_per_offline_group_and_none_of_those_who_left(world: World) -> None:  # 76
    first, second = two_members(world.driver, durable="d")
    world.driver.publish_many("me", "foo", 2)
    world.driver.close(first)
    assert list(world.journal.state().channels[b"foo"].subscriptions) == [2]
    world.driver.close(second)
    driver = world.restart()
    stored = world.journal.state().channels[b"foo"].subscriptions
    assert list(stored) == [2]
    assert (stored[2].state.client_id, stored[2].pending) == (b"", {1, 2})
    group = driver.channel("foo").groups_by_name[b"d:g"]
    assert (group.members, group.offline.id, group.last_sent) == ([], 2, 2)


def test_a_message_that_moved_is_pending_where_it_went(world: World) -> None:  # 84
    first, second = two_members(world.driver, ack_wait_s=300)
    world.driver.publish_many("me", "foo", 2)
    assert (world.driver.sequences(first), world.driver.sequences(second)) == ([1], [2])
    world.driver.close(first)
    world.driver.advance(SECOND)
    assert world.driver.marks(second) == ["1R1"]
    driver = world.restart()
    assert {number: stored.pending for number, stored in subscriptions_of(world).items()} == {2: {1, 2}}
    driver.ack(second, 1, 2)
    driver = world.restart()
    assert {number: stored.pending for number, stored in subscriptions_of(world).items()} == {2: set()}
    driver.advance(600 * SECOND)
    assert driver.marks(second) == []


def test_a_durable_group_holds_new_messages_back(world: World) -> None:  # 98
    member = world.driver.subscribe("me", "foo", queue="g", durable="d")
    world.driver.publish_many("me", "foo", 1)
    world.driver.disconnect("me")
    driver = world.restart()
    driver.connect("me")
    driver.publish_many("me", "foo", 1)
    assert driver.marks(member) == ["1"]
    member = driver.subscribe("me", "foo", queue="g", durable="d")
    assert driver.marks(member) == ["1R1", "2"]
