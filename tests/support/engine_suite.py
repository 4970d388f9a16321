"""The engine over a store, over restarts: limits, expiry, identifiers, as clients and operators see them.

A suite for any recoverable store: a subclass is found by pytest, its module has a fixture `world`. Time is a fake
clock's. The entries are those of the stores specification's checklist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.stores.batch import ChannelRemoved, Messages, Record, SubscriptionRemoved
from nats_streaming.stores.limits import ChannelLimits, StoreLimits
from nats_streaming.stores.segment import Segment
from nats_streaming.testing.engine_driver import FIRST, TIME_DELTA, DriverOptions, EngineDriver, restarted
from nats_streaming.testing.fake_clock import FakeClock
from nats_streaming.testing.store_suite import put_message
from tests.support.stepped_store import SteppedStore

TIMESTAMP_NS = 1_700_000_000_000_000_000
HOUR_NS = 3600 * NS_PER_SECOND


class EngineWorld:
    """A server over one place where a store keeps its data; every old message is read from the store.

    Attributes:
        stores: those that were opened; the last one is in use.
    """

    def __init__(self) -> None:
        self.stores: list[SteppedStore] = []
        self.clock = FakeClock(wall_ns=TIMESTAMP_NS + 1000)

    def make_store(self, **options: Any) -> Any:
        """A store over that place."""
        raise NotImplementedError

    def store(self, **options: Any) -> SteppedStore:
        self.stores.append(SteppedStore(self.make_store(**options)))
        return self.stores[-1]

    def begin(self, **options: Any) -> EngineDriver:
        """The first server, with a client `me`."""
        driver = EngineDriver(self.store(), DriverOptions(recent_bytes=0, cluster_id=b"test", **options), self.clock)
        driver.connect("me")
        return driver

    def restart(self, driver: EngineDriver, *left: Record, **changes: Any) -> EngineDriver:
        """Stop in order and begin again.

        Args:
            left: what somebody else puts into the store in between.
            changes: options that differ.
        """
        driver.settle()
        self.end()
        if left:
            self.put(*left)
        return restarted(driver, self.store(), **changes)

    def put(self, *records: Record) -> None:
        """Commit records without a server."""
        store = self.store()
        store.loop.run_until_complete(store.inner.recover())
        store.inner.stage(list(records))
        store.loop.run_until_complete(store.inner.commit())
        self.end()

    def end(self) -> None:
        """Stop in order."""
        self.stores[-1].close_now()

    def close(self) -> None:
        for store in self.stores:
            store.close_now()


def messages(first: int, data: Sequence[bytes | None], timestamp_ns: int = TIMESTAMP_NS) -> Messages:
    """Messages of channel foo at one time, None for a hole."""
    segment = Segment(first)
    for item in data:
        if item is None:
            segment.append(b"", timestamp_ns)
        else:
            put_message(segment, b"foo", item, timestamp_ns)
    return Messages(b"foo", segment, first, first + len(data) - 1)


def totals(driver: EngineDriver, name: str = "foo") -> tuple[int, int, int]:
    """First, last, count."""
    window = driver.channel(name).window
    return window.first, window.last, window.count


def readable(driver: EngineDriver, name: str = "foo") -> list[int]:
    """What a new subscriber from the beginning on gets."""
    subscription = driver.subscribe("me", name, start=FIRST, max_in_flight=10_000)
    found = driver.sequences(subscription)
    assert driver.unsubscribe(subscription) == ""
    return found


class EngineSuite:
    """See the module."""

    @pytest.mark.store_spec(1)
    def test_a_fresh_channel(self, world: EngineWorld) -> None:
        driver = world.begin()
        driver.subscribe("me", "foo")
        for _ in range(2):
            assert totals(driver) == (0, 0, 0)
            assert driver.channel("foo").window.bytes == 0
            driver = world.restart(driver)

    @pytest.mark.store_spec(2)
    def test_two_messages_are_what_was_published(self, world: EngineWorld) -> None:
        driver = world.begin()
        driver.publish("me", "foo", b"one", b"two!")
        for _ in range(2):
            assert totals(driver) == (1, 2, 2)
            found = driver.take(driver.subscribe("me", "foo", start=FIRST))
            assert [(each.sequence, each.data, each.subject) for each in found][:2] == [
                (1, b"one", b"foo"),
                (2, b"two!", b"foo"),
            ]
            encoded = world.stores[-1].loop.run_until_complete(world.stores[-1].inner.read(b"foo", 1, 2))
            assert encoded is not None
            overhead = world.stores[-1].capabilities.message_overhead_bytes
            size = encoded.size_at(0) + encoded.size_at(1)
            assert driver.channel("foo").window.bytes == size + 2 * overhead
            driver = world.restart(driver)

    @pytest.mark.store_spec(4, 25)
    def test_the_message_limit_drops_the_oldest(self, world: EngineWorld) -> None:
        driver = world.begin(limits=StoreLimits(max_messages=40))
        driver.publish_many("me", "foo", 100)
        size = driver.channel("foo").window.bytes
        for _ in range(2):
            assert totals(driver) == (61, 100, 40)
            assert driver.channel("foo").window.bytes == size
            assert readable(driver) == list(range(61, 101))
            driver = world.restart(driver)
        driver = world.restart(driver, limits=StoreLimits(max_messages=7))
        assert (totals(driver), readable(driver)) == ((94, 100, 7), list(range(94, 101)))
        driver = world.restart(driver, limits=StoreLimits(max_messages=1000))
        assert readable(driver) == list(range(94, 101)), "what was dropped stays dropped, whatever the limits are now"

    @pytest.mark.store_spec(5, 25, 69)
    def test_a_message_that_is_larger_than_the_byte_limit_stays_alone(self, world: EngineWorld) -> None:
        driver = world.begin(limits=StoreLimits(max_bytes=500))
        driver.publish("me", "foo", b"a", b"b", b"c" * 600)
        for _ in range(2):
            assert totals(driver) == (3, 3, 1)
            driver = world.restart(driver)
        driver = world.restart(driver, limits=StoreLimits(max_bytes=100))
        assert totals(driver) == (3, 3, 1)

    @pytest.mark.store_spec(6)
    def test_a_limit_of_zero_is_none(self, world: EngineWorld) -> None:
        driver = world.begin()
        driver.publish("me", "foo", b"x")
        size = driver.channel("foo").window.bytes
        unlimited = -1
        per_channel = {
            b"one": ChannelLimits(max_messages=unlimited, max_bytes=unlimited),
            b"two": ChannelLimits(max_messages=10, max_bytes=unlimited),
            b"six": ChannelLimits(max_messages=unlimited, max_bytes=size * 20),
        }
        driver = world.restart(driver, limits=StoreLimits(max_messages=5, per_channel=per_channel))
        for name, kept in (("one", 50), ("two", 10), ("six", 20)):
            driver.publish("me", name, *[b"x"] * 50)
            first = 51 - kept
            assert (totals(driver, name), readable(driver, name)) == ((first, 50, kept), list(range(first, 51)))

    @pytest.mark.store_spec(7, 11, 12)
    def test_messages_expire_in_their_order(self, world: EngineWorld) -> None:
        driver = world.begin(limits=StoreLimits(max_age_ns=NS_PER_SECOND // 2))
        driver.publish_many("me", "foo", 10)
        driver.advance_ms(300)
        driver.publish_many("me", "foo", 5)
        driver.advance_ms(300)
        assert (totals(driver), readable(driver)) == ((11, 15, 5), list(range(11, 16)))
        driver.advance_ms(300)
        assert (totals(driver), readable(driver)) == ((16, 15, 0), [])
        driver = world.restart(driver, limits=StoreLimits(max_age_ns=HOUR_NS))
        assert (totals(driver), readable(driver)) == ((16, 15, 0), []), "expired messages do not come back"
        late = driver.subscribe("me", "foo", start=TIME_DELTA, delta_ns=HOUR_NS)
        driver.publish("me", "foo", b"a", b"b")
        assert totals(driver) == (16, 17, 2)
        assert driver.sequences(late) == [16, 17]

    @pytest.mark.store_spec(8)
    def test_a_first_message_that_was_replaced_does_not_break_expiry(self, world: EngineWorld) -> None:
        driver = world.begin(limits=StoreLimits(max_age_ns=NS_PER_SECOND, max_messages=1))
        driver.publish("me", "foo", b"a")
        driver.advance_ms(600)
        driver.publish("me", "foo", b"b")
        driver.advance_ms(600)
        assert totals(driver) == (2, 2, 1)
        driver.advance_ms(600)
        assert totals(driver) == (3, 2, 0)

    @pytest.mark.store_spec(15, 25)
    def test_the_limit_of_channels(self, world: EngineWorld) -> None:
        def created(driver: EngineDriver, name: str) -> str:
            return driver.error_of(driver.publish("me", name, b"x")[0])

        driver = world.begin(limits=StoreLimits(max_channels=3))
        assert [created(driver, name) for name in "abcd"] == ["", "", "", "too many channels"]
        driver = world.restart(driver, limits=StoreLimits(max_channels=2))
        assert [created(driver, name) for name in "abcd"] == ["", "", "", "too many channels"]
        driver = world.restart(driver, limits=StoreLimits(max_channels=0))
        assert [created(driver, name) for name in "defghij"] == [""] * 7

    @pytest.mark.store_spec(16, 21, 25)
    def test_the_limit_of_subscriptions(self, world: EngineWorld) -> None:
        driver = world.begin(limits=StoreLimits(max_subscriptions=2))
        full = "too many subscriptions per channel"
        one, _, third = (driver.subscribe("me", "foo") for _ in range(3))
        assert third.error == full
        assert driver.unsubscribe(one) == ""
        assert driver.unsubscribe(one) != ""
        assert driver.subscribe("me", "foo").error == ""
        assert driver.subscribe("me", "foo").error == full
        unknown = [SubscriptionRemoved(b"foo", number) for number in (77, 78, 77)]
        driver = world.restart(driver, *unknown, limits=StoreLimits(max_subscriptions=3))
        assert [driver.subscribe("me", "foo").error for _ in range(2)] == ["", full]
        driver = world.restart(driver, limits=StoreLimits(max_subscriptions=1))
        assert driver.channel("foo").subscription_count == 3
        assert driver.subscribe("me", "foo").error == full
        driver = world.restart(driver, limits=StoreLimits(max_subscriptions=0))
        assert [driver.subscribe("me", "foo").error for _ in range(5)] == [""] * 5

    @pytest.mark.store_spec(24)
    def test_what_was_recovered_is_not_flagged_as_sent_again(self, world: EngineWorld) -> None:
        driver = world.begin()
        driver.publish_many("me", "foo", 3)
        driver = world.restart(driver)
        assert driver.marks(driver.subscribe("me", "foo", start=FIRST)) == ["1", "2", "3"]

    @pytest.mark.store_spec(32)
    def test_limits_of_patterns(self, world: EngineWorld) -> None:
        per_channel = {b">": ChannelLimits(max_messages=3), b"foo.>": ChannelLimits(max_messages=2)}
        driver = world.begin(limits=StoreLimits(per_channel=per_channel))
        for name in ("foo.bar", "bar"):
            driver.publish_many("me", name, 10)
        driver = world.restart(driver)
        assert (readable(driver, "foo.bar"), readable(driver, "bar")) == ([9, 10], [8, 9, 10])

    @pytest.mark.store_spec(9)
    def test_holes_do_not_stop_expiry(self, world: EngineWorld) -> None:
        world.put(messages(1, [b"one", None, None, None, b"five", None]), messages(7, [None, b"eight"]))
        world.clock.advance(NS_PER_SECOND)
        driver = world.begin(limits=StoreLimits(max_age_ns=10 * NS_PER_SECOND))
        assert readable(driver) == [1, 5, 8]
        driver.advance(5 * NS_PER_SECOND)
        driver.publish("me", "foo", b"young")
        driver.advance(6 * NS_PER_SECOND)
        assert (totals(driver), readable(driver)) == ((9, 9, 1), [9])

    @pytest.mark.store_spec(10)
    def test_old_messages_expire_at_once(self, world: EngineWorld) -> None:
        world.put(messages(1, [b"x"] * 3))
        world.clock.advance(HOUR_NS)
        driver = world.begin(limits=StoreLimits(max_age_ns=60 * NS_PER_SECOND))
        for _ in range(2):
            assert (totals(driver), readable(driver)) == ((4, 3, 0), [])
            driver = world.restart(driver)

    @pytest.mark.store_spec(13)
    def test_a_channel_may_begin_again_with_any_sequence(self, world: EngineWorld) -> None:
        """The original's `Empty`, with which its clustered mode takes over from a leader."""
        driver = world.begin(limits=StoreLimits(max_age_ns=NS_PER_SECOND))
        driver.publish_many("me", "foo", 5)
        driver = world.restart(driver, ChannelRemoved(b"foo"), messages(20, [b"x"], world.clock.wall_ns()))
        assert (totals(driver), readable(driver)) == ((20, 20, 1), [20])
        driver.advance(2 * NS_PER_SECOND)
        assert (totals(driver), readable(driver)) == ((21, 20, 0), [])

    @pytest.mark.store_spec(14)
    def test_a_removed_channel_is_not_recovered_and_its_name_is_free(self, world: EngineWorld) -> None:
        driver = world.begin()
        driver.publish_many("me", "foo", 5)
        driver.publish_many("me", "bar", 1)
        driver = world.restart(driver, ChannelRemoved(b"foo"), ChannelRemoved(b"never"))
        assert set(driver.engine.inlet.channels) == {b"bar"}
        driver.publish_many("me", "foo", 2)
        driver = world.restart(driver)
        assert (totals(driver), readable(driver)) == ((1, 2, 2), [1, 2])

    @pytest.mark.store_spec(17)
    def test_ids_of_subscriptions_increase_and_are_not_used_again(self, world: EngineWorld) -> None:
        def ids(driver: EngineDriver) -> list[int]:
            return sorted(entry.id for entry in driver.channel("foo").subscriptions)

        driver = world.begin()
        durables = [driver.subscribe("me", "foo", durable=name) for name in "abc"]
        used = ids(driver)
        assert used == [1, 2, 3]
        assert [driver.unsubscribe(durable) for durable in durables[1:]] == ["", ""]
        driver = world.restart(driver)
        assert ids(driver) == [1]
        driver.subscribe("me", "foo", durable="d")
        assert ids(driver) == [1, 4]

    @pytest.mark.store_spec(19, 24)
    def test_only_what_is_unacked_is_sent_again(self, world: EngineWorld) -> None:
        driver = world.begin()
        driver.publish_many("me", "foo", 6)
        durable = driver.subscribe("me", "foo", durable="dur", start=FIRST, max_in_flight=5, ack_wait_s=1)
        driver.ack(durable, 2, 5)
        driver.take(durable)
        driver = world.restart(driver)
        driver.advance(2 * NS_PER_SECOND)
        found = driver.take(durable)
        assert sorted({each.sequence for each in found if each.redelivered}) == [1, 3, 4, 6]
