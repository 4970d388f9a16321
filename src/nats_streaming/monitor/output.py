"""Long pages in short steps: between two steps the event loop serves clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

STEP_COST: Final = 100
"""Subscriptions, channels or clients that are written in one step: about two milliseconds of work."""

SUM_STEP: Final = 1000
"""Entries that are only summed up in one step."""

T = TypeVar("T")


class Output:
    """The text of a page in the making. Who writes calls `spend` for the work it did, and others get their turn."""

    def __init__(self, on_step: Callable[[list[str]], Awaitable[None]]) -> None:
        """
        Args:
            on_step: takes the pieces written since the last step; may keep them where they are, or send and clear
                them.
        """
        self.pieces: list[str] = []
        self._on_step = on_step
        self._cost = 0

    def put(self, text: str) -> None:
        self.pieces.append(text)

    async def spend(self, cost: int = 1) -> None:
        """Account for so many entries; at the end of a step, let others run."""
        self._cost += cost
        if self._cost >= STEP_COST:
            self._cost = 0
            await self._on_step(self.pieces)
            await asyncio.sleep(0)


async def in_steps(items: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    """Slices of `items` of this size, others running in between."""
    for start in range(0, len(items), size):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + size]
