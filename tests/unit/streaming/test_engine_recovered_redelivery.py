"""What is sent again after a restart, and what waits for it: section 9.2 of the protocol specification.

Numbers in comments are the entries of its black-box checklist.
"""

from __future__ import annotations

from typing import Any

from nats_streaming.protocol.control_messages import ClientInfo, SubscriptionState
from nats_streaming.stores.batch import ClientPut, Sent, SubscriptionPut
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.testing.engine_driver import FIRST, DrivenSubscription, EngineDriver
from nats_streaming.testing.store_suite import make_run
from tests.unit.streaming.restarts import KINDS, SECOND, World, cold, subscriptions_of, two_members, world

__all__ = ["cold", "world"]


@KINDS
def test_what_is_overdue_comes_at_once_and_before_new_messages(world: World, fields: dict[str, Any]) -> None:
    subscription = world.driver.subscribe("me", "foo", ack_wait_s=2, **fields)
    world.driver.publish_many("me", "foo", 3)
    world.driver.ack(subscription, 2)
    world.driver.take(subscription)
    world.driver.clock.advance(5 * SECOND)
    world.write(make_run(b"foo", 4, [b"published by nobody"], world.driver.clock.wall_ns()))
    driver = world.restart()
    assert driver.marks(subscription) == ["1R1", "3R1", "4"]
    driver.advance(2 * SECOND)
    assert driver.marks(subscription) == ["1R2", "3R2", "4R1"]


@KINDS
def test_what_is_not_due_yet_lets_new_messages_pass(world: World, fields: dict[str, Any]) -> None:
    subscription = world.driver.subscribe("me", "foo", ack_wait_s=10, **fields)
    world.driver.publish_many("me", "foo", 1)
    world.driver.clock.advance(2 * SECOND)
    world.driver.publish_many("me", "foo", 1)
    world.driver.publish_many("me", "foo", 1)
    world.driver.ack(subscription, 2)
    world.driver.take(subscription)
    world.driver.clock.advance(3 * SECOND)
    driver = world.restart()
    assert driver.marks(subscription) == []
    driver.publish_many("me", "foo", 1)
    assert driver.marks(subscription) == ["4"]
    driver.advance(4900 * SECOND // 1000)
    assert driver.marks(subscription) == []
    driver.advance(200 * SECOND // 1000)
    assert driver.marks(subscription) == ["1R1"]
    driver.advance(2 * SECOND)
    assert driver.marks(subscription) == ["3R1"]


def test_redelivery_counts_begin_again(world: World) -> None:  # 82
    subscription = world.driver.subscribe("me", "foo", ack_wait_s=1)
    world.driver.publish_many("me", "foo", 1)
    world.driver.advance(3 * SECOND)
    assert world.driver.marks(subscription) == ["1", "1R1", "1R2", "1R3"]
    driver = world.restart()
    assert driver.marks(subscription) == ["1R1"]
    driver.advance(SECOND)
    assert driver.marks(subscription) == ["1R2"]
    assert driver.marks(driver.subscribe("me", "foo", start=FIRST)) == ["1"]


def test_each_subscription_gets_its_own_redeliveries(world: World) -> None:  # 83
    first, second = (world.driver.subscribe("me", "foo", ack_wait_s=1) for _ in range(2))
    world.driver.publish_many("me", "foo", 2)
    world.driver.ack(first, 1)
    world.driver.ack(second, 2)
    world.driver.take(first)
    world.driver.take(second)
    world.driver.clock.advance(2 * SECOND)
    driver = world.restart()
    assert driver.marks(first) == ["2R1"]
    assert driver.marks(second) == ["1R1"]


def test_a_stalled_subscription_gets_nothing_new_after_a_restart(world: World) -> None:  # 81
    subscription = world.driver.subscribe("me", "foo", max_in_flight=2, ack_wait_s=1)
    world.driver.publish_many("me", "foo", 4)
    assert world.driver.marks(subscription) == ["1", "2"]
    world.driver.clock.advance(2 * SECOND)
    driver = world.restart()
    assert driver.marks(subscription) == ["1R1", "2R1"]
    driver.ack(subscription, 1)
    assert driver.marks(subscription) == ["3"]


def test_a_blocked_consumer_receives_everything(world: World) -> None:  # 96
    subscription = world.driver.subscribe("me", "foo", max_in_flight=2, ack_wait_s=1)
    world.driver.publish_many("me", "foo", 10)
    driver = world.crash()
    received: set[int] = set(driver.sequences(subscription))
    for _ in range(20):
        driver.advance(SECOND)
        sequences = driver.sequences(subscription)
        received.update(sequences)
        driver.ack(subscription, *sequences)
        received.update(driver.sequences(subscription))
    assert received == set(range(1, 11))


def test_one_unacked_message_does_not_block(world: World) -> None:  # 97
    subscription = world.driver.subscribe("me", "foo", max_in_flight=2, ack_wait_s=600)
    world.driver.publish_many("me", "foo", 1)
    world.driver.take(subscription)
    driver = world.restart()
    driver.publish_many("me", "foo", 1)
    assert driver.marks(subscription) == ["2"]


def test_a_group_is_held_until_all_recovered_subscriptions_were_seen_to() -> None:
    """Even by a subscription of another channel, whose messages must be read."""
    world = World(cold=True)
    driver = world.driver
    driver.connect("me")
    plain = driver.subscribe("me", "slow", ack_wait_s=1)
    first, second = two_members(driver, ack_wait_s=1)
    driver.publish_many("me", "slow", 1)
    driver.publish_many("me", "foo", 1)
    for subscription in (plain, first, second):
        driver.take(subscription)
    driver.clock.advance(2 * SECOND)
    world.write(make_run(b"foo", 2, [b"x"], driver.clock.wall_ns()))

    class Stopped(EngineDriver):
        def settle(self) -> None:
            self.flush()

    driver = Stopped(world.store(), driver.options, driver.clock, driver)
    assert [channel.name for channel, _ in driver.reads] == [b"slow", b"foo"]
    driver.reads.reverse()
    driver.read()
    driver.flush()
    assert (driver.marks(first), driver.marks(second)) == (["1R1"], [])
    driver.read()
    EngineDriver.settle(driver)
    assert driver.marks(plain) == ["1R1"]
    assert (driver.marks(first), driver.marks(second)) == ([], ["2"])


def test_messages_that_are_gone_are_acked(world: World) -> None:
    subscription = world.driver.subscribe("me", "foo", max_in_flight=3, ack_wait_s=1)
    world.driver.publish_many("me", "foo", 6)
    assert world.driver.marks(subscription) == ["1", "2", "3"]
    world.driver.clock.advance(2 * SECOND)
    driver = world.restart(limits=StoreLimits(max_messages=4))
    assert driver.marks(subscription) == ["3R1", "4", "5"]
    assert subscriptions_of(world)[1].pending == {3, 4, 5}


def test_acks_of_earlier_inboxes_count_before_anything_is_redelivered(world: World) -> None:  # 85
    subscription = world.driver.subscribe("me", "foo", ack_wait_s=2)
    world.driver.publish_many("me", "foo", 2)
    world.driver.take(subscription)
    driver = world.restart()
    driver.ack(subscription, 1)
    driver.advance(3 * SECOND)
    assert driver.marks(subscription) == ["2R1"]
    assert driver.ack_sid(subscription.ack_inbox) >= 100


def test_what_was_sent_and_not_recorded_comes_again_as_new(world: World) -> None:
    """After a crash, what rode in no commit is not known to have been sent: at least once, never lost."""
    subscription = world.driver.subscribe("me", "foo", ack_wait_s=30)
    world.driver.automatic = False
    world.driver.publish_many("me", "foo", 2)
    world.driver.begin_commit()
    world.driver.end_commit()
    world.driver.flush()
    assert world.driver.marks(subscription) == ["1", "2"]
    driver = world.crash()
    assert driver.marks(subscription) == ["1", "2"]


def test_a_position_behind_the_last_message_is_taken_back(world: World) -> None:
    world.driver.publish_many("me", "foo", 2)
    state = SubscriptionState(
        id=1, client_id=b"me", inbox=b"i", ack_inbox=b"a", last_sent=9, max_in_flight=5, ack_wait_seconds=5
    )
    world.write(SubscriptionPut(b"foo", state), Sent(b"foo", 1, [9]))
    driver = world.restart()
    driver.subscriptions[b"i"] = [DrivenSubscription(b"me", b"foo", b"i", b"a")]
    driver.publish_many("me", "foo", 1)
    assert driver.marks(driver.subscriptions[b"i"][0]) == ["3"]


def test_a_resumed_durable_after_a_restart_follows_its_new_ack_wait(world: World) -> None:  # 62
    durable = world.driver.subscribe("me", "foo", durable="d", ack_wait_s=300)
    world.driver.publish_many("me", "foo", 1)
    world.driver.close(durable)
    world.driver.clock.advance(400 * SECOND)
    driver = world.restart()
    durable = driver.subscribe("me", "foo", durable="d", ack_wait_s=1)
    assert driver.marks(durable) == ["1R1"]
    driver.advance(900 * SECOND // 1000)
    assert driver.marks(durable) == []
    driver.advance(1200 * SECOND // 1000)
    assert driver.marks(durable) == ["1R2", "1R3"]


def test_a_durable_resumed_before_the_server_is_ready(world: World) -> None:
    """Requests are heard a moment before recovered subscriptions begin."""
    durable = world.driver.subscribe("me", "foo", durable="d", ack_wait_s=1)
    world.driver.publish_many("me", "foo", 2)
    world.driver.take(durable)
    world.driver.clock.advance(5 * SECOND)
    resumed: list[DrivenSubscription] = []

    class Early(EngineDriver):
        def adopt(self, earlier: EngineDriver | None) -> None:
            super().adopt(earlier)
            assert self.close(durable) == ""
            resumed.append(self.subscribe("me", "foo", durable="d", ack_wait_s=1))

    driver = Early(world.store(), world.driver.options, world.driver.clock, world.driver)
    assert (driver.marks(durable), driver.marks(resumed[0])) == ([], ["1R1", "2R1"])
    driver.advance(SECOND)
    assert driver.marks(resumed[0]) == ["1R2", "2R2"]


def test_unused_client_record_is_ignored(world: World) -> None:
    world.write(ClientPut(ClientInfo(b"late", b"late.inbox")))
    driver = world.restart()
    assert b"late" in driver.engine.inlet.clients
    assert b"" not in driver.engine.inlet.connections
