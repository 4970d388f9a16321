"""A store round another one that fails, hangs or lies on command: what a disk or a database may do to us."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nats_streaming.errors import StoreError
from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import Record
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState


@dataclass(slots=True)
class Fault:
    """What happens to one call.

    Attributes:
        text: of the StoreError; "" raises none.
        hangs: wait for `FaultyStore.release` first.
        applied: a commit only: it fails although everything became durable, as when an answer is lost.
    """

    text: str = ""
    hangs: bool = False
    applied: bool = False


Plan = Callable[[str, int], Fault | None]
"""Asked for every call with its name (commit, read, find_time) and its number, from 1; None lets it pass."""


def scripted(faults: dict[tuple[str, int], Fault]) -> Plan:
    """These calls fail and no others, for instance `{("commit", 2): Fault("disk full")}`."""
    return lambda call, number: faults.get((call, number))


def seeded(rng: random.Random, probability: float, text: str = "injected fault") -> Plan:
    """Each call fails with this probability; half of the commits that fail are applied nevertheless."""

    def plan(call: str, _number: int) -> Fault | None:
        if rng.random() >= probability:
            return None
        return Fault(text, applied=call == "commit" and rng.random() < 0.5)

    return plan


class FaultyStore:
    """See `stores.api.Store`. A fault set with `fail_next` comes before what the plan says.

    Attributes:
        calls: how often each method was called.
    """

    def __init__(self, inner: Store, plan: Plan | None = None) -> None:
        self.inner = inner
        self.name = inner.name
        self.capabilities = inner.capabilities
        self.calls: Counter[str] = Counter()
        self._plan = plan
        self._next: dict[str, list[Fault]] = {}
        self._staged: list[Sequence[Record]] = []
        self._released = asyncio.Event()

    def fail_next(self, call: str, text: str = "injected fault", *, times: int = 1, applied: bool = False) -> None:
        """Let the next calls of `commit`, `read` or `find_time` fail."""
        self._next.setdefault(call, []).extend(Fault(text, applied=applied) for _ in range(times))

    def hang_next(self, call: str, text: str = "") -> None:
        """Let the next call wait for `release`, and then fail if there is a text."""
        self._next.setdefault(call, []).append(Fault(text, hangs=True))

    def heal(self) -> None:
        """Nothing fails any more."""
        self._plan = None
        self._next.clear()

    def release(self) -> None:
        """Let everything go on that hangs."""
        self._released.set()
        self._released = asyncio.Event()

    @property
    def failure(self) -> str:
        return self.inner.failure

    async def _fault(self, call: str) -> Fault | None:
        self.calls[call] += 1
        waiting = self._next.get(call)
        if waiting:
            fault: Fault | None = waiting.pop(0)
        else:
            fault = self._plan(call, self.calls[call]) if self._plan is not None else None
        if fault is not None and fault.hangs:
            await self._released.wait()
        return fault if fault is not None and fault.text else None

    async def recover(self) -> StoreState | None:
        return await self.inner.recover()

    def stage(self, records: Sequence[Record]) -> None:
        self._staged.append(records)

    async def commit(self) -> None:
        staged, self._staged = self._staged, []
        fault = await self._fault("commit")
        if fault is None or fault.applied:
            for records in staged:
                self.inner.stage(records)
            await self.inner.commit()
        if fault is not None:
            raise StoreError(fault.text)

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        fault = await self._fault("read")
        if fault is not None:
            raise StoreError(fault.text)
        return await self.inner.read(channel, first, count)

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        fault = await self._fault("find_time")
        if fault is not None:
            raise StoreError(fault.text)
        return await self.inner.find_time(channel, timestamp_ns)

    async def try_lock(self) -> bool:
        return await self.inner.try_lock()

    async def close(self) -> None:
        await self.inner.close()
