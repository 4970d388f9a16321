"""One thread that does what a coroutine must not: wait for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeAlias, TypeVar

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.hand_over import ToLoop, ToThread, pair

P = ParamSpec("P")
R = TypeVar("R")

Then: TypeAlias = Callable[[Any, BaseException | None], None]
"""Gets what a function has returned and None, or None and what it has raised."""


class Worker:
    """Runs functions one after the other, in the order of the calls. Begins with the first call, ends with `close`.

    Leaner than an executor, since it is on the way of every commit. Belongs to the loop of its first call.
    """

    def __init__(self, name: str, *, events: bool = True) -> None:
        """
        Args:
            name: of the thread, for people.
            events: see `hand_over.pair`.
        """
        self._name = name
        self._events = events
        self._jobs: ToThread | None = None
        self._outcomes: ToLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Have `function` called; its outcome is the future's. A cancelled future does not stop it.

        Raises:
            StoreError: there is no thread yet, and the system has none to give, or no descriptors.
        """
        outcome: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.run(partial(function, *args, **kwargs), partial(settle, outcome))
        return outcome

    def run(self, function: Callable[[], Any], then: Then) -> None:
        """Have `function` called in the thread, and then, on the loop, `then` with its outcome.

        After `begin` the loop need not be running.

        Raises:
            StoreError: as `start` says.
        """
        if self._jobs is None:
            self.begin()
        assert self._jobs is not None
        self._jobs.put(partial(self._do, function, then))

    def begin(self) -> None:
        """Begin the thread, unless that was done, ahead of the first call.

        Raises:
            StoreError: as `start` says.
        """
        if self._thread is not None:
            return
        try:
            self._jobs, self._outcomes = pair(asyncio.get_running_loop(), events=self._events)
        except OSError as error:
            raise StoreError(f"cannot begin the thread {self._name}: {error.strerror}") from error
        thread = threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._release()
            raise StoreError(f"cannot begin the thread {self._name}: {error}") from error
        self._thread = thread

    def _work(self, jobs: ToThread) -> None:
        while (job := jobs.get()) is not None:
            job()

    def _do(self, function: Callable[[], Any], then: Then) -> None:
        result = failure = None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - it is the outcome
            failure = error
        assert self._outcomes is not None
        self._outcomes.put(partial(then, result, failure))

    def close(self) -> None:
        """Finish what was started, then end the thread. Blocks for so long: await the last future first."""
        if self._thread is not None:
            assert self._jobs is not None
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
            self._release()

    def _release(self) -> None:
        assert self._jobs is not None
        assert self._outcomes is not None
        self._jobs.close()
        self._outcomes.close()
        self._jobs = self._outcomes = None


def settle(outcome: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    """Give a future its outcome, unless who waits has cancelled it."""
    if outcome.done():
        return
    if failure is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(failure)
