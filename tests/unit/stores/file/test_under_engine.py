"""The engine on the FILE store, over restarts: limits, expiry, identifiers, as clients and operators see them.

Time is a fake clock's. The entries are those of the stores specification's checklist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import StoreError
from nats_streaming.stores.batch import Record
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.store import MESSAGE_OVERHEAD_BYTES, FileStore
from nats_streaming.stores.limits import ChannelLimits, StoreLimits
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.engine_driver import FIRST, TIME_DELTA, DriverOptions, EngineDriver, restarted
from nats_streaming.testing.fake_clock import FakeClock

from .directory import CHANNEL, TIMESTAMP_NS, QuickFiles, SliceBytes, append, reopen

HOUR_NS = 3600 * NS_PER_SECOND


class SteppedStore:
    """A FILE store whose coroutines are done when they are called: it has a loop for itself."""

    def __init__(self, directory: Path, files: Files, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.inner = FileStore({"directory": str(directory), **options}, files=files, apply_delay_s=0.0)
        self.name = self.inner.name
        self.capabilities = self.inner.capabilities

    @property
    def failure(self) -> str:
        return self.inner.failure

    async def recover(self) -> StoreState | None:
        return self.loop.run_until_complete(self.inner.recover())

    def stage(self, records: Sequence[Record]) -> None:
        self.inner.stage(records)

    async def commit(self) -> None:
        self.loop.run_until_complete(self.inner.commit())

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        return self.loop.run_until_complete(self.inner.read(channel, first, count))

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        return self.loop.run_until_complete(self.inner.find_time(channel, timestamp_ns))

    async def try_lock(self) -> bool:
        return self.loop.run_until_complete(self.inner.try_lock())

    async def close(self) -> None:
        self.loop.run_until_complete(self.inner.close())
        self.loop.close()


class World:
    """A server on a directory; `recent_bytes` 0 has every old message read from the files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: Files = QuickFiles()
        self.stores: list[SteppedStore] = []
        self.clock = FakeClock(wall_ns=TIMESTAMP_NS + 1000)

    def begin(self, **options: Any) -> EngineDriver:
        driver = EngineDriver(self.store(), DriverOptions(recent_bytes=0, cluster_id=b"test", **options), self.clock)
        driver.connect("me")
        return driver

    def store(self, **options: Any) -> SteppedStore:
        self.stores.append(SteppedStore(self.directory, self.files, **options))
        return self.stores[-1]

    def restart(self, driver: EngineDriver, **changes: Any) -> EngineDriver:
        driver.settle()
        self.end()
        return restarted(driver, self.store(), **changes)

    def end(self) -> None:
        """Stop in order."""
        self.stores[-1].loop.run_until_complete(self.stores[-1].inner.close())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for store in world.stores:
        store.loop.run_until_complete(store.inner.close())
        store.loop.close()


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


@pytest.mark.store_spec(1)
def test_a_fresh_channel(world: World) -> None:
    driver = world.begin()
    driver.subscribe("me", "foo")
    for _ in range(2):
        assert totals(driver) == (0, 0, 0)
        assert driver.channel("foo").window.bytes == 0
        driver = world.restart(driver)


@pytest.mark.store_spec(2)
def test_two_messages_are_what_was_published(world: World) -> None:
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
        size = encoded.size_at(0) + encoded.size_at(1)
        assert driver.channel("foo").window.bytes == size + 2 * MESSAGE_OVERHEAD_BYTES
        driver = world.restart(driver)


@pytest.mark.store_spec(4, 25)
def test_the_message_limit_drops_the_oldest(world: World) -> None:
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


@pytest.mark.store_spec(5, 25)
def test_a_message_that_is_larger_than_the_byte_limit_stays_alone(world: World) -> None:
    driver = world.begin(limits=StoreLimits(max_bytes=500))
    driver.publish("me", "foo", b"a", b"b", b"c" * 600)
    for _ in range(2):
        assert totals(driver) == (3, 3, 1)
        driver = world.restart(driver)
    driver = world.restart(driver, limits=StoreLimits(max_bytes=100))
    assert totals(driver) == (3, 3, 1)


@pytest.mark.store_spec(6)
@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (StoreLimits(max_messages=0, max_bytes=0), 50),
        (StoreLimits(max_messages=10, max_bytes=0), 10),
        (StoreLimits(max_messages=0, max_bytes=1000), 16),
    ],
    ids=["neither", "messages only", "bytes only"],
)
def test_a_limit_of_zero_is_none(world: World, limits: StoreLimits, kept: int) -> None:
    driver = world.begin(limits=limits)
    driver.publish("me", "foo", *[b"x"] * 50)
    first = 51 - kept
    assert (totals(driver), readable(driver)) == ((first, 50, kept), list(range(first, 51)))


@pytest.mark.store_spec(7, 11, 12)
def test_messages_expire_in_their_order(world: World) -> None:
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
def test_a_first_message_that_was_replaced_does_not_break_expiry(world: World) -> None:
    driver = world.begin(limits=StoreLimits(max_age_ns=NS_PER_SECOND, max_messages=1))
    driver.publish("me", "foo", b"a")
    driver.advance_ms(600)
    driver.publish("me", "foo", b"b")
    driver.advance_ms(600)
    assert totals(driver) == (2, 2, 1)
    driver.advance_ms(600)
    assert totals(driver) == (3, 2, 0)


@pytest.mark.store_spec(9, 45, 50)
@pytest.mark.parametrize("damaged", [False, True], ids=["gap of an older server", "slice that was cut"])
def test_a_gap_does_not_stop_expiry(world: World, damaged: bool) -> None:
    with reopen(world.directory) as opened:
        opened.root.create_channel(CHANNEL)
    if damaged:
        with reopen(world.directory, slice_max_msgs=4) as opened:
            append(opened.channel, 1, 8)
        first = world.directory / "foo/msgs.1.dat"
        first.write_bytes(first.read_bytes()[:-10])
        (world.directory / "foo/msgs.1.idx").unlink()
        expected = [1, 2, 3, 5, 6, 7, 8]
    else:
        SliceBytes().add(1).add(2).add(7).add(8).write(world.directory)
        expected = [1, 2, 7, 8]
    world.clock.advance(NS_PER_SECOND)
    driver = world.begin(limits=StoreLimits(max_age_ns=10 * NS_PER_SECOND))
    assert readable(driver) == expected
    driver.advance(5 * NS_PER_SECOND)
    driver.publish("me", "foo", b"young")
    driver.advance(6 * NS_PER_SECOND)
    assert (totals(driver), readable(driver)) == ((9, 9, 1), [9])


@pytest.mark.store_spec(10)
def test_old_messages_expire_at_once(world: World) -> None:
    with reopen(world.directory) as opened:
        append(opened.channel, 1, 3)
    world.clock.advance(HOUR_NS)
    driver = world.begin(limits=StoreLimits(max_age_ns=60 * NS_PER_SECOND))
    assert (totals(driver), readable(driver)) == ((4, 3, 0), [])


@pytest.mark.store_spec(15, 25)
def test_the_limit_of_channels(world: World) -> None:
    def created(driver: EngineDriver, name: str) -> str:
        return driver.error_of(driver.publish("me", name, b"x")[0])

    driver = world.begin(limits=StoreLimits(max_channels=3))
    assert [created(driver, name) for name in "abcd"] == ["", "", "", "too many channels"]
    driver = world.restart(driver, limits=StoreLimits(max_channels=2))
    assert [created(driver, name) for name in "abcd"] == ["", "", "", "too many channels"]
    driver = world.restart(driver, limits=StoreLimits(max_channels=0))
    assert [created(driver, name) for name in "defghij"] == [""] * 7


@pytest.mark.store_spec(16, 21, 25)
def test_the_limit_of_subscriptions(world: World) -> None:
    driver = world.begin(limits=StoreLimits(max_subscriptions=2))
    full = "too many subscriptions per channel"
    one, _, third = (driver.subscribe("me", "foo") for _ in range(3))
    assert third.error == full
    assert driver.unsubscribe(one) == ""
    assert driver.unsubscribe(one) != ""
    assert driver.subscribe("me", "foo").error == ""
    assert driver.subscribe("me", "foo").error == full
    driver.settle()
    world.end()
    with reopen(world.directory) as opened:
        for unknown in (77, 78, 77):
            opened.channel.remove_subscription(unknown)
    driver = restarted(driver, world.store(), limits=StoreLimits(max_subscriptions=3))
    assert [driver.subscribe("me", "foo").error for _ in range(2)] == ["", full]
    driver = world.restart(driver, limits=StoreLimits(max_subscriptions=1))
    assert driver.channel("foo").subscription_count == 3
    assert driver.subscribe("me", "foo").error == full
    driver = world.restart(driver, limits=StoreLimits(max_subscriptions=0))
    assert [driver.subscribe("me", "foo").error for _ in range(5)] == [""] * 5


@pytest.mark.store_spec(24)
def test_what_was_recovered_is_not_flagged_as_sent_again(world: World) -> None:
    driver = world.begin()
    driver.publish_many("me", "foo", 3)
    driver = world.restart(driver)
    assert driver.marks(driver.subscribe("me", "foo", start=FIRST)) == ["1", "2", "3"]


class IndexTrouble(QuickFiles):
    """The index files cannot be read while there is trouble."""

    trouble = False

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.trouble and operation == "pread" and path.endswith(".idx"):
            raise StoreError(f"pread {path}: Input/output error")
        return super().system(operation, path, call, *arguments)


@pytest.mark.store_spec(62)
@pytest.mark.parametrize("expires", [False, True], ids=["limit", "age"])
def test_an_index_that_cannot_be_read_stops_no_publish_and_no_expiry(world: World, expires: bool) -> None:
    world.files = trouble = IndexTrouble()
    limits = StoreLimits(max_messages=0, max_age_ns=NS_PER_SECOND) if expires else StoreLimits(max_messages=2)
    driver = world.begin(limits=limits)
    driver.publish_many("me", "foo", 2)
    driver = world.restart(driver)
    trouble.trouble = True
    if expires:
        driver.advance(2 * NS_PER_SECOND)
    assert driver.error_of(driver.publish("me", "foo", b"x")[0]) == ""
    first = 3 if expires else 2
    assert totals(driver)[1] == 3
    trouble.trouble = False
    driver = world.restart(driver)
    assert totals(driver) == (first, 3, 4 - first)


@pytest.mark.store_spec(13)
def test_a_channel_may_begin_again_with_any_sequence(world: World) -> None:
    """The original's `Empty`, with which its clustered mode takes over from a leader."""
    driver = world.begin(limits=StoreLimits(max_age_ns=NS_PER_SECOND))
    driver.publish_many("me", "foo", 5)
    driver.settle()
    world.end()
    with reopen(world.directory) as opened:
        opened.root.remove_channel(CHANNEL)
        append(opened.channel, 20, 20)
    for _ in range(2):
        with reopen(world.directory) as opened:
            assert (opened.stored.first, opened.stored.last, opened.stored.count) == (20, 20, 1)
    driver = restarted(driver, world.store())
    assert readable(driver) == [20]
    driver.advance(2 * NS_PER_SECOND)
    assert (totals(driver), readable(driver)) == ((21, 20, 0), [])


@pytest.mark.store_spec(32)
def test_limits_of_patterns(world: World) -> None:
    per_channel = {b">": ChannelLimits(max_messages=3), b"foo.>": ChannelLimits(max_messages=2)}
    driver = world.begin(limits=StoreLimits(per_channel=per_channel))
    for name in ("foo.bar", "bar"):
        driver.publish_many("me", name, 10)
    driver = world.restart(driver)
    assert (readable(driver, "foo.bar"), readable(driver, "bar")) == ([9, 10], [8, 9, 10])


class WriteTrouble(QuickFiles):
    """The next commits fail, so many."""

    failures = 0

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.failures and operation == "write" and "journal" in path:
            self.failures -= 1
            raise StoreError(f"{operation} {path}: Input/output error")
        return super().system(operation, path, call, *arguments)


@pytest.mark.store_spec(55)
def test_a_subscription_that_could_not_be_stored_is_not_counted(world: World) -> None:
    world.files = files = WriteTrouble()
    driver = world.begin(limits=StoreLimits(max_subscriptions=1))
    driver.publish("me", "foo", b"x")
    for _ in range(3):
        files.failures = 1
        assert driver.subscribe("me", "foo").error.endswith("Input/output error")
        files.failures = 1
        assert driver.error_of(driver.publish("me", "foo", b"x")[0]).endswith("Input/output error")
    assert driver.subscribe("me", "foo").error == ""
    assert driver.subscribe("me", "foo").error == "too many subscriptions per channel"
    driver = world.restart(driver)
    assert driver.channel("foo").subscription_count == 1
    assert totals(driver) == (1, 1, 1)
