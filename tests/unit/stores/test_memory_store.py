"""The public store suite on MEMORY, on the recoverable store that engine tests use, and behind the faulty wrapper."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.stores.api import Store
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.faulty_store import Fault, FaultyStore, scripted
from nats_streaming.testing.recoverable_store import Journal, RecoverableMemoryStore
from nats_streaming.testing.store_suite import StoreSuite, make_run


class TestMemoryStore(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return MemoryStore()

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(StoreError, match="'speed'"):
            MemoryStore({"speed": "high"})


class TestRecoverableMemoryStore(StoreSuite):
    keeps_messages_elsewhere = True

    def open_store(self, directory: Path) -> Store:
        self.__dict__.setdefault("journals", {})
        journal = self.__dict__["journals"].setdefault(directory, Journal())
        return RecoverableMemoryStore(journal, keeps_messages_elsewhere=self.keeps_messages_elsewhere)


class TestRecoverableMemoryStoreThatHandsItsSegmentsOver(TestRecoverableMemoryStore):
    keeps_messages_elsewhere = False


class TestFaultyStoreWithoutFaults(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return FaultyStore(MemoryStore())


def test_scripted_faults_hit_the_call_they_name() -> None:
    async def body() -> None:
        store = FaultyStore(MemoryStore(), scripted({("commit", 2): Fault("disk full"), ("read", 1): Fault("gone")}))
        first, second = make_run(b"foo", 1, [b"x"]), make_run(b"foo", 2, [b"y"])
        store.stage([first])
        await store.commit()
        store.stage([second])
        with pytest.raises(StoreError, match="disk full"):
            await store.commit()
        with pytest.raises(StoreError, match="gone"):
            await store.read(b"foo", 1, 1)
        await store.commit()
        assert await store.read(b"foo", 2, 1) is None, "what a failed commit held is void"
        store.fail_next("commit", applied=True)
        store.stage([second])
        with pytest.raises(StoreError):
            await store.commit()
        assert await store.read(b"foo", 2, 1) is not None
        assert store.calls == {"commit": 4, "read": 3}

    asyncio.run(body())


def test_a_call_hangs_until_it_is_released() -> None:
    async def body() -> None:
        store = FaultyStore(MemoryStore())
        store.hang_next("commit")
        store.stage([make_run(b"foo", 1, [b"x"])])
        commit = asyncio.ensure_future(store.commit())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not commit.done()
        store.release()
        await commit
        assert await store.read(b"foo", 1, 1) is not None

    asyncio.run(body())


def test_a_shared_segment_that_was_taken_back() -> None:
    """MEMORY keeps the engine's own segments; a commit that failed after it was applied must not confuse it."""
    state = StoreState()
    run = make_run(b"foo", 1, [b"a", b"b", b"c", b"void", b"void"])
    state.apply([run])
    run.segment.truncate(3)
    other = make_run(b"foo", 4, [b"instead"])
    run.segment.append(other.segment.message(4) or b"", 0)
    run.last = 4
    run.first = 4
    state.apply([run])
    channel = state.channels[b"foo"]
    assert (channel.first, channel.last, channel.count) == (1, 4, 4)
    assert channel.segment_of(5) is None
