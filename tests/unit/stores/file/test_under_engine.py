"""The engine on the FILE store: the suite of every store, and what only files can do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import StoreError
from nats_streaming.stores.file.bypass import BYPASS_BYTES
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.store import FileStore
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.testing.engine_driver import restarted
from tests.support.engine_suite import EngineSuite, EngineWorld, readable, totals

from .directory import CHANNEL, QuickFiles, SliceBytes, append, reopen


class World(EngineWorld):
    """A server on a directory."""

    def __init__(self, directory: Path, bypass_bytes: int = BYPASS_BYTES) -> None:
        super().__init__()
        self.directory = directory
        self.bypass_bytes = bypass_bytes
        self.files: Files = QuickFiles()

    def make_store(self, **options: Any) -> FileStore:
        return FileStore(
            {"directory": str(self.directory), **options},
            files=self.files,
            apply_delay_s=0.0,
            bypass_bytes=self.bypass_bytes,
        )


@pytest.fixture(params=[BYPASS_BYTES, 1], ids=["journal", "past the journal"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(tmp_path, request.param)
    yield world
    world.close()


class TestFile(EngineSuite):
    """Everything that holds for any store."""


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


class WriteTrouble(QuickFiles):
    """The next commits fail, so many."""

    failures = 0

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.failures and operation == "pwrite" and "journal" in path:
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
