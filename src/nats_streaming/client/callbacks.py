"""The user's functions: called or awaited, and what they raise told to somebody."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger("nats_streaming.client")


class Callbacks:
    """Runs the functions that a user gave to one client."""

    def __init__(self, owner: object, on_error: Callable[[Exception], Awaitable[None] | None] | None) -> None:
        """
        Args:
            owner: what the errors are about, for the log.
            on_error: told of errors that no caller gets; None logs them.
        """
        self._owner = owner
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def report(self, error: Exception) -> None:
        """Hand an error that no caller gets to `on_error`, or to the log."""
        if self._on_error is None:
            logger.error("%s: %s", self._owner, error, exc_info=error)
        else:
            self.call(self._on_error, error)

    def call(self, callback: Callable[[T], Awaitable[None] | None] | None, value: T) -> None:
        """Call a function. What it raises is told to the event loop, since `on_error` may be what failed."""
        if callback is None:
            return
        try:
            outcome = callback(value)
        except Exception as error:  # noqa: BLE001 - the user's, reported
            self._failed(callback, error)
            return
        if inspect.isawaitable(outcome):
            self.start(self._await(callback, outcome))

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` in the background; what it raises is reported."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def cancel(self) -> None:
        """Cancel what still runs, but for the task that asks: a callback may close its own client."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    async def _await(self, callback: object, outcome: Awaitable[None]) -> None:
        try:
            await outcome
        except Exception as error:  # noqa: BLE001 - the user's, reported
            self._failed(callback, error)

    def _failed(self, callback: object, error: Exception) -> None:
        self._loop.call_exception_handler({"message": f"{self._owner}: {callback!r} failed", "exception": error})

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report(error if isinstance(error, Exception) else RuntimeError(repr(error)))
