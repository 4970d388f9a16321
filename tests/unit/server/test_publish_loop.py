"""The shell's loop on a store that is slow, fails or breaks: a bus in memory, no clock, no sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nats_streaming.protocol.control_messages import ConnectRequest, SubscriptionRequest, encode
from nats_streaming.protocol.nats_reader import LinkControl, NatsReader
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.server.publish_loop import PublishLoop
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.stores.segment import Segment
from nats_streaming.streaming.context import EngineOptions
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.engine import Engine
from nats_streaming.streaming.subjects import SID_CONNECT, SID_PUBLISH, SID_SUBSCRIBE, new_server_info
from nats_streaming.testing.engine_driver import parse_frames
from nats_streaming.testing.fake_clock import FakeClock
from nats_streaming.testing.faulty_store import FaultyStore
from nats_streaming.testing.recoverable_store import RecoverableMemoryStore


class MemoryBus:
    """A bus that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.is_connected = True
        self.is_writable = True
        self.max_payload = 1 << 20

    def write(self, frames: bytes) -> None:
        self.written += frames

    def subscribe(self, subject: bytes, sid: int, queue: bytes = b"") -> None:
        pass

    def unsubscribe(self, sid: int) -> None:
        pass

    async def flush(self, timeout_s: float = 10.0) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Rig:
    """An engine and its loop on a faulty store."""

    def __init__(self, inner: Any) -> None:
        self.store = FaultyStore(inner)
        self.bugs: list[str] = []
        limits = StoreLimits()
        options = EngineOptions(0, limits.build(), 10**12, 10**12, 10, recent_bytes=1)
        info = new_server_info(b"test-cluster", b"_STAN.discover")
        self.clock = FakeClock()
        self.engine = Engine(options, self.store.capabilities, info, self.clock)
        self.bus = MemoryBus()
        self.loop = PublishLoop(self.engine, self.store, 0, self.bugs.append)
        self.reader = NatsReader(self.engine.inlet, LinkControl())
        self.loop.attach(self.bus)
        self.loop.on_connected()

    def feed(self, sid: int, payload: bytes, reply: bytes) -> None:
        self.reader.feed(b"MSG subject %d %s %d\r\n%s\r\n" % (sid, reply, len(payload), payload))
        self.loop.on_chunk()

    def publish(self, guid: bytes) -> None:
        parts = ((1, b"me"), (2, guid), (3, b"foo"), (5, b"data"))
        self.feed(SID_PUBLISH, b"".join(length_field(number, value) for number, value in parts), b"ack." + guid)

    def subscribe(self, inbox: bytes, start: int = 0) -> None:
        request = SubscriptionRequest(b"me", b"foo", b"", inbox, 100, 30, b"", start)
        self.feed(SID_SUBSCRIBE, encode(request), b"reply")

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    def sent(self) -> list[bytes]:
        """Subjects of what was written since the last call."""
        frames, self.bus.written = parse_frames(self.bus.written), b""
        return [frame.subject for frame in frames]


def with_rig(inner: Callable[[], Any]) -> Callable[[Callable[[Rig], Awaitable[None]]], Callable[[], None]]:
    """Run a test with a connected client on a store, and stop the loop after it."""

    def decorate(test: Callable[[Rig], Awaitable[None]]) -> Callable[[], None]:
        async def body() -> None:
            rig = Rig(inner())
            rig.feed(SID_CONNECT, encode(ConnectRequest(b"me", b"heartbeat")), b"reply")
            await rig.settle()
            assert rig.sent() == [b"reply"]
            try:
                await test(rig)
            finally:
                rig.store.heal()
                rig.store.release()
                await rig.loop.stop()

        def run() -> None:
            asyncio.run(body())

        return run

    return decorate


@with_rig(RecoverableMemoryStore)
async def test_the_next_batch_is_staged_while_one_commits(rig: Rig) -> None:
    rig.subscribe(b"inbox")
    await rig.settle()
    rig.sent()
    rig.store.hang_next("commit")
    rig.publish(b"1")
    await rig.settle()
    rig.publish(b"2")
    rig.publish(b"3")
    await rig.settle()
    assert rig.sent() == []
    assert rig.engine.inlet.channels[b"foo"].window.last == 3
    rig.store.release()
    await rig.settle()
    assert rig.sent() == [b"inbox", b"ack.1", b"inbox", b"inbox", b"ack.2", b"ack.3"]


@with_rig(RecoverableMemoryStore)
async def test_chunks_that_are_read_in_one_turn_of_the_loop_ride_in_one_commit(rig: Rig) -> None:
    before = rig.store.calls["commit"]
    for guid in (b"1", b"2", b"3"):
        rig.publish(guid)
    await rig.settle()
    assert rig.sent() == [b"ack.1", b"ack.2", b"ack.3"]
    assert rig.store.calls["commit"] == before + 1


def test_a_commit_may_be_a_future_that_has_begun() -> None:
    committed: list[asyncio.Future[None]] = []

    class Begun(RecoverableMemoryStore):
        def commit(self) -> Any:
            future = asyncio.get_running_loop().create_future()
            future.set_result(next(iter(super().commit().__await__()), None))
            committed.append(future)
            return future

    @with_rig(Begun)
    async def run(rig: Rig) -> None:
        rig.publish(b"1")
        await rig.settle()
        assert rig.sent() == [b"ack.1"]
        inner = rig.store.inner
        assert isinstance(inner, RecoverableMemoryStore)
        assert inner.journal.state().channels[b"foo"].last == 1

    run()
    assert committed


@with_rig(RecoverableMemoryStore)
async def test_a_stop_ends_the_commit_under_way_and_what_is_staged_behind_it(rig: Rig) -> None:
    rig.store.hang_next("commit")
    rig.publish(b"1")
    await rig.settle()
    rig.publish(b"2")
    stopping = asyncio.create_task(rig.loop.stop())
    await rig.settle()
    assert rig.sent() == []
    rig.store.release()
    await stopping
    assert rig.sent() == [b"ack.1", b"ack.2"]


@with_rig(RecoverableMemoryStore)
async def test_nothing_is_sent_by_a_commit_that_ends_after_it_was_abandoned(rig: Rig) -> None:
    rig.store.hang_next("commit")
    rig.publish(b"1")
    await rig.settle()
    rig.loop.abandon()
    rig.store.release()
    await rig.settle()
    assert (rig.sent(), rig.bugs) == ([], [])


@pytest.mark.parametrize("behind", [False, True])
def test_a_bug_in_a_commit_is_not_silent_and_ends_all_committing(
    caplog: pytest.LogCaptureFixture, behind: bool
) -> None:
    class Broken(RecoverableMemoryStore):
        is_broken = False

        def stage(self, records: Any) -> None:
            if self.is_broken and not behind:
                raise ZeroDivisionError("oops")
            super().stage(records)

        async def commit(self) -> None:
            if self.is_broken:
                raise ZeroDivisionError("oops")
            await super().commit()

    @with_rig(Broken)
    async def run(rig: Rig) -> None:
        assert isinstance(rig.store.inner, Broken)
        rig.store.inner.is_broken = True
        for guid in (b"1", b"2"):
            rig.publish(guid)
            await rig.settle()
        rig.store.inner.is_broken = False
        rig.publish(b"3")
        await rig.settle()
        assert rig.bugs == ["committing ended in an error: ZeroDivisionError('oops')"]
        assert rig.sent() == [], "nobody knows what is true"

    run()
    assert "bug: committing ended in an error" in caplog.text


@with_rig(RecoverableMemoryStore)
async def test_what_was_sent_costs_no_commit_of_its_own(rig: Rig) -> None:
    rig.subscribe(b"inbox")
    await rig.settle()
    before = rig.store.calls["commit"]
    rig.publish(b"1")
    await rig.settle()
    assert rig.store.calls["commit"] == before + 1
    rig.publish(b"2")
    await rig.settle()
    assert rig.store.calls["commit"] == before + 2
    inner = rig.store.inner
    assert isinstance(inner, RecoverableMemoryStore)
    assert inner.journal.state().channels[b"foo"].subscriptions[1].pending == {1}
    await rig.loop.stop()
    assert inner.journal.state().channels[b"foo"].subscriptions[1].pending == {1, 2}, "a clean stop knows it"


@pytest.mark.parametrize("inner", [RecoverableMemoryStore, MemoryStore])
def test_a_store_that_keeps_failing_is_not_asked_without_end(inner: Callable[[], Any]) -> None:
    @with_rig(inner)
    async def run(rig: Rig) -> None:
        rig.subscribe(b"inbox")
        await rig.settle()
        rig.sent()
        rig.store.fail_next("commit", "disk full", times=1000)
        before = rig.store.calls["commit"]
        for guid in (b"1", b"2"):
            rig.publish(guid)
            await rig.settle()
        assert rig.sent() == [b"ack.1", b"ack.2"]
        assert rig.loop.failure == "disk full"
        assert rig.store.calls["commit"] <= before + 4
        rig.store.heal()
        rig.publish(b"3")
        await rig.settle()
        assert rig.sent() == [b"inbox", b"ack.3"]
        assert rig.loop.failure == ""

    run()


@with_rig(RecoverableMemoryStore)
async def test_a_store_that_is_well_again_is_known_to_be_without_another_publish(rig: Rig) -> None:
    rig.publish(b"1")
    await rig.settle()
    rig.store.fail_next("commit", "disk full", times=2)
    rig.publish(b"2")
    await rig.settle()
    assert rig.loop.failure == "disk full"
    async with asyncio.timeout(20):
        while rig.loop.failure:
            await asyncio.sleep(0.01)
    assert rig.store.calls["commit"] >= 4, "the failed one, a failed attempt and a good one"


@with_rig(RecoverableMemoryStore)
async def test_every_commit_is_told_to_whoever_listens(rig: Rig) -> None:
    told: list[tuple[int, bool]] = []
    rig.clock.advance(7)

    def on_commit(cycle: Cycle, begun_ns: int, *, failed: bool) -> None:
        assert begun_ns == cycle.since_ns == 7
        told.append((cycle.message_count, failed))

    rig.loop.on_commit = on_commit
    rig.publish(b"1")
    await rig.settle()
    rig.store.fail_next("commit", "disk full")
    rig.publish(b"2")
    await rig.settle()
    assert told == [(1, False), (1, True)]


@with_rig(RecoverableMemoryStore)
async def test_a_slow_read_holds_nobody_else_up(rig: Rig) -> None:
    rig.publish(b"1")
    await rig.settle()
    rig.sent()
    rig.store.hang_next("read")
    rig.subscribe(b"slow", start=4)
    rig.subscribe(b"quick")
    await rig.settle()
    rig.publish(b"2")
    await rig.settle()
    assert rig.sent() == [b"reply", b"reply", b"quick", b"ack.2"]
    rig.store.release()
    await rig.settle()
    assert rig.sent() == [b"slow", b"slow"]


def test_a_bug_in_a_read_is_not_silent(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(RecoverableMemoryStore):
        async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
            raise ZeroDivisionError("oops")

    @with_rig(Broken)
    async def run(rig: Rig) -> None:
        rig.publish(b"1")
        await rig.settle()
        rig.subscribe(b"inbox", start=4)
        await rig.settle()
        assert rig.bugs == ["reading ended in an error: ZeroDivisionError('oops')"]

    run()
    assert "bug: reading ended in an error" in caplog.text
