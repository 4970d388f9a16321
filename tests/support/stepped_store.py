"""A store under an `EngineDriver`, which moves time by hand and cannot wait: its coroutines are done when called."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import Record
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState


class SteppedStore:
    """Gives a store a loop of its own, which runs while one of its coroutines is called.

    Attributes:
        inner: the store.
    """

    def __init__(self, inner: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.inner: Store = inner
        self.name = inner.name

    @property
    def capabilities(self) -> Any:
        return self.inner.capabilities

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
        self.close_now()

    def close_now(self) -> None:
        """Close the store, as an orderly end does; may be called again."""
        if not self.loop.is_closed():
            self.loop.run_until_complete(self.inner.close())
            self.loop.close()
