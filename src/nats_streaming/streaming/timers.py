"""All deadlines of the engine in one heap, so that the shell needs one timer.

Knows no clock: the engine says what time it is.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from itertools import count
from typing import Any

_log = logging.getLogger("nats_streaming")


class Timer:
    """One armed deadline. Cancelled ones stay in the heap until their time or the next clean-up."""

    __slots__ = ("arguments", "callback", "deadline_ns", "serial")

    def __init__(
        self, deadline_ns: int, serial: int, callback: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        self.deadline_ns = deadline_ns
        self.serial = serial
        self.callback: Callable[..., None] | None = callback
        self.arguments = arguments

    def __lt__(self, other: Timer) -> bool:
        return (self.deadline_ns, self.serial) < (other.deadline_ns, other.serial)

    def cancel(self) -> None:
        self.callback = None
        self.arguments = ()


class TimerQueue:
    """Timers in deadline order, equal ones in the order in which they were armed."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._serial = count()
        self._sweep_at = 1024

    def at(self, deadline_ns: int, callback: Callable[..., None], *arguments: Any) -> Timer:
        """Call `callback(*arguments)` once the time is `deadline_ns` (monotonic) or later."""
        timer = Timer(deadline_ns, next(self._serial), callback, arguments)
        heapq.heappush(self._heap, timer)
        if len(self._heap) > self._sweep_at:
            self._sweep()
        return timer

    def _sweep(self) -> None:
        self._heap = [timer for timer in self._heap if timer.callback is not None]
        heapq.heapify(self._heap)
        self._sweep_at = max(1024, 2 * len(self._heap))

    def next_deadline_ns(self) -> int | None:
        """The earliest deadline, None when nothing is armed."""
        heap = self._heap
        while heap and heap[0].callback is None:
            heapq.heappop(heap)
        return heap[0].deadline_ns if heap else None

    def run_due(self, now_ns: int) -> None:
        """Call everything due at `now_ns`; what is armed meanwhile for the past waits for the next run."""
        due: list[Timer] = []
        heap = self._heap
        while heap and (heap[0].callback is None or heap[0].deadline_ns <= now_ns):
            due.append(heapq.heappop(heap))
        for timer in due:
            callback, arguments = timer.callback, timer.arguments
            if callback is None:
                continue
            timer.cancel()
            try:
                callback(*arguments)
            except Exception:  # noqa: BLE001 - a bug in one must not take the other due timers with it
                _log.exception("bug: a timer ended in an error")
