"""The MEMORY store: nothing survives the process.

It keeps references to the segments that the engine fills, so a message is in memory once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nats_streaming.errors import StoreError
from nats_streaming.stores.api import Capabilities
from nats_streaming.stores.batch import Record
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState, hole_run


class MemoryStore:
    """See `stores.api.Store`. Takes no options."""

    name = "MEMORY"
    failure = ""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        if options:
            raise StoreError(f"the MEMORY store has no option {sorted(options)[0]!r}")
        self.capabilities = Capabilities(recoverable=False, resident=True)
        self._state = StoreState()
        self._staged: list[Sequence[Record]] = []

    async def recover(self) -> StoreState | None:
        return None

    def stage(self, records: Sequence[Record]) -> None:
        self._staged.append(records)

    async def commit(self) -> None:
        staged, self._staged = self._staged, []
        for records in staged:
            self._state.apply(records)

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        stored = self._state.channels.get(channel)
        if stored is None or max(first, stored.first) > stored.last:
            return None
        if first < stored.first:
            return hole_run(first, stored.first)
        return stored.segment_of(first)

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        stored = self._state.channels.get(channel)
        if stored is None:
            return 1
        for segment in stored.segments:
            index = segment.first_at_or_after(timestamp_ns)
            if index < len(segment):
                return min(max(segment.base + index, stored.first), stored.last + 1)
        return stored.last + 1

    async def try_lock(self) -> bool:
        raise StoreError("not supported")

    async def close(self) -> None:
        self._staged.clear()
