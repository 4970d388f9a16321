"""A store that survives a restart without any I/O: the engine's recovery is tested with it.

What was committed is kept as encoded batches in a `Journal`. Handing the journal of one store to a
second one is the restart; whatever the first one had staged and not committed is lost, as in a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nats_streaming.stores.api import Capabilities
from nats_streaming.stores.batch import Record, decode_batch, encode_batch
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState, copy_run


@dataclass(slots=True)
class Journal:
    """All committed batches, in order: what a disk would hold."""

    batches: list[bytes] = field(default_factory=list)

    def state(self) -> StoreState:
        """What the batches amount to, in objects of its own."""
        state = StoreState()
        for encoded in self.batches:
            state.apply(decode_batch(encoded))
        return state


class RecoverableMemoryStore(MemoryStore):
    """See `stores.api.Store`. Like FILE and SQL it is not resident, and its segments are not the engine's.

    Attributes:
        journal: give it to the next instance.
        reads: (channel, first, count) of every read so far.
    """

    name = "RECOVERABLE"

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        keeps_messages_elsewhere: bool = True,
        read_slots_max: int = 1 << 30,
        message_overhead_bytes: int = 0,
    ) -> None:
        """
        Args:
            journal: of an earlier instance; None begins with nothing.
            keeps_messages_elsewhere: recover without segments, so that every old message must be read.
            read_slots_max: slots that one read gives at most.
            message_overhead_bytes: see `Capabilities`.
        """
        super().__init__()
        self.capabilities = Capabilities(
            recoverable=True, resident=False, message_overhead_bytes=message_overhead_bytes
        )
        self.journal = journal if journal is not None else Journal()
        self.reads: list[tuple[bytes, int, int]] = []
        self._keeps_messages_elsewhere = keeps_messages_elsewhere
        self._read_slots_max = read_slots_max
        self._state = self.journal.state()

    async def recover(self) -> StoreState | None:
        if not self.journal.batches:
            return None
        state = self.journal.state()
        if self._keeps_messages_elsewhere:
            for channel in state.channels.values():
                channel.segments.clear()
        return state

    async def commit(self) -> None:
        staged, self._staged = self._staged, []
        for records in staged:
            self._commit_batch(records)

    def _commit_batch(self, records: Sequence[Record]) -> None:
        encoded = encode_batch(records)
        self.journal.batches.append(encoded)
        self._state.apply(decode_batch(encoded))

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        self.reads.append((channel, first, count))
        segment = await super().read(channel, first, count)
        if segment is None:
            return None
        start = max(first, segment.base)
        slots = min(max(count, 1), self._read_slots_max)
        stored = self._state.channels[channel]
        return copy_run(segment, start, min(start + slots - 1, segment.base + len(segment) - 1, stored.last))


def open_recoverable_store(options: dict[str, Any]) -> RecoverableMemoryStore:
    """A factory as `stores.api.StoreFactory`; the option `journal` takes a `Journal`."""
    return RecoverableMemoryStore(options.get("journal"))
