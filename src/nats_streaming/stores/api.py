"""PUBLIC: what a store is. Implement `Store` and register it to keep messages anywhere.

    engine ── stage(records) ──▶ store        buffers, returns at once
           ── await commit() ──▶              durable on return
           ◀─ await read(...) ──              messages that are no longer in the engine's memory

The engine alone decides what exists: it assigns sequences and timestamps, and it applies retention
limits, deletions and expiry, which reach the store as records like everything else. A store makes
records durable and gives messages back. Any sequence may be missing: a hole is normal.

Calls come from one event loop, never two `commit` at a time; `read` may run beside `commit`. What may
wait is a coroutine and must not block the loop. Run `nats_streaming.testing.store_suite` over a store
of your own; register it under the entry-point group `nats_streaming.stores`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nats_streaming.stores.batch import Record
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState

API_VERSION = 1


@dataclass(slots=True, frozen=True)
class Capabilities:
    """What a store declares about itself.

    Attributes:
        api_version: `API_VERSION` of the package it was written for.
        recoverable: what was committed is there again after a restart. When False the engine does not
            stage records about clients and subscriptions.
        resident: `read` never waits and its segments cost no further memory, so the engine keeps every
            message of it in its window.
        exclusive_lock: `try_lock` keeps a second server out.
        message_overhead_bytes: bytes counted per message beside its encoding, for limits and statistics
            (the original's FILE store counts 40).
        shared_subscription_ids: one range of subscription IDs serves all channels: no two subscriptions of the
            store have the same. When False each channel counts for itself.
        name_bytes_max: bytes of the longest channel name, client ID, durable or queue group name that fits; 0 is
            no bound. Such a store takes names in UTF-8 only, without NUL.
        message_bytes_max: bytes of the largest encoded message that fits; 0 is no bound. It may be known only
            after `recover`. The engine refuses what is larger, alone and by name: a batch cannot be refused in part.
    """

    api_version: int = API_VERSION
    recoverable: bool = False
    resident: bool = False
    exclusive_lock: bool = False
    message_overhead_bytes: int = 0
    shared_subscription_ids: bool = False
    name_bytes_max: int = 0
    message_bytes_max: int = 0


class Store(Protocol):
    """One per server. Every method may raise StoreError, whose text reaches log lines and replies."""

    name: str
    """As `-store` and monitoring show it, for instance MEMORY."""

    @property
    def capabilities(self) -> Capabilities:
        """Read again after `recover`: a store may know more of them then."""
        ...

    @property
    def failure(self) -> str:
        """Why the store is not wholly well although commits may still succeed; "" while it is. For monitoring."""
        ...

    async def recover(self) -> StoreState | None:
        """Read what was committed before; called once, before anything else but `try_lock`.

        Returns:
            The state, owned by the caller; messages that `read` can give need not be in its segments.
            None when there is nothing, which is no error.

        Raises:
            CorruptionError: what is stored cannot be used.
        """
        ...

    def stage(self, records: Sequence[Record]) -> None:
        """Take over one batch for the next `commit`. The store may keep the segments, not change them.

        Records are applied in their order; what names an unknown channel, subscription, client or sequence is
        ignored. A batch may come twice, and changes nothing then. Messages under known sequences that are not
        those known replace them and all behind them: they follow a commit that failed.
        """
        ...

    def commit(self) -> Awaitable[None]:
        """Make durable what was staged before this call.

        Returns:
            A coroutine, as of an `async def`; or a future, when it has begun already: that spares a task for each
            batch. Who waits may be cancelled: it is unknown then what became durable.

        Raises:
            StoreError: it is unknown what of it became durable. The staged records are void: the engine
                takes messages back and stages again what still holds. A later commit may succeed.
        """
        ...

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        """Messages from `first` on.

        Args:
            first: a sequence that the engine believes to exist.
            count: wanted slots; a store may give fewer or more, at least one. It must give fewer when the
                messages are large: about SEGMENT_BYTES, however many slots are wanted.

        Returns:
            A segment that contains `first`, as a hole if that is missing; None when neither it nor
            anything after it exists.
        """
        ...

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        """The first sequence whose timestamp is not below; `last + 1` when there is none."""
        ...

    async def try_lock(self) -> bool:
        """Become the only server on this store, until `close`. Only with `exclusive_lock`.

        Called again by the holder, in a fault-tolerance group about once a second, also beside a commit: then it says
        whether the lock is still held, and refreshes it if it needs that.

        Returns:
            False while another server is the one, or when the lock was lost to one.

        Raises:
            StoreError: it cannot be told, and trying again may help.
        """
        ...

    async def close(self) -> None:
        """Commit nothing more, release everything. Idempotent.

        A store may also have a method `abandon()`, which writes nothing more, not even what was committed and
        waits to be written elsewhere, and returns at once: see the function of this name.
        """
        ...


class StoreFactory(Protocol):
    """What an entry point of `nats_streaming.stores` names: a class or function that makes a store.

    Nothing may be read, locked or created beyond a root directory before `recover` or `try_lock`.
    """

    def __call__(self, options: dict[str, Any]) -> Store: ...


def abandon(store: Store) -> None:
    """Leave a store as a crash would, since another server may own it now; one that cannot do so stays as it is."""
    leave = getattr(store, "abandon", None)
    if leave is not None:
        leave()
