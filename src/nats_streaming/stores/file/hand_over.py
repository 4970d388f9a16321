"""How the event loop and a thread hand calls to one another, and wake whoever waits for one.

A queue's lock, and `call_soon_threadsafe`, wake the other side while this one holds the interpreter's lock: the other
runs into that, sleeps again, and is woken once more. An event descriptor (Linux) is written and waited for without
that lock. For a commit, there and back, this saves as much as a quarter of an fsync.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeAlias

Call: TypeAlias = Callable[[], None]


class ToThread(Protocol):
    """Calls for one thread that waits for them; None asks it to end."""

    def put(self, call: Call | None, /) -> object: ...

    def get(self) -> Call | None: ...

    def close(self) -> None:
        """Nobody waits any more."""


class ToLoop(Protocol):
    """Calls from one thread that are made on the loop, in their order."""

    def put(self, call: Call, /) -> object: ...

    def close(self) -> None:
        """The thread has ended. What it has put is still called."""


class QueueToThread(SimpleQueue[Call | None]):
    """For systems without event descriptors."""

    def close(self) -> None:
        pass


class SafeToLoop:
    """For systems without event descriptors."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.put = loop.call_soon_threadsafe

    def close(self) -> None:
        pass


if sys.platform == "linux":
    _ONE = (1).to_bytes(8, sys.byteorder)  # as eventfd(2) wants it

    class EventToThread:
        """The event's counter is the number of calls that wait."""

        def __init__(self) -> None:
            self._calls: deque[Call | None] = deque()
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)

        def put(self, call: Call | None) -> None:
            self._calls.append(call)
            os.write(self._event, _ONE)

        def get(self) -> Call | None:
            os.read(self._event, 8)
            return self._calls.popleft()

        def close(self) -> None:
            os.close(self._event)

    class EventToLoop:
        """The event is set while a call may wait."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._calls: deque[Call] = deque()
            self._event = os.eventfd(0, os.EFD_CLOEXEC)
            loop.add_reader(self._event, self._make_calls)

        def put(self, call: Call) -> None:
            self._calls.append(call)
            os.write(self._event, _ONE)

        def _make_calls(self) -> None:
            os.read(self._event, 8)
            try:
                while self._calls:
                    self._calls.popleft()()
            finally:
                if self._calls:  # one has raised: the others are not to wait for the next
                    os.write(self._event, _ONE)

        def close(self) -> None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._event)
                for call in self._calls:
                    self._loop.call_soon(call)
            os.close(self._event)


def pair(loop: asyncio.AbstractEventLoop, *, events: bool = True) -> tuple[ToThread, ToLoop]:
    """Both directions between a loop and a thread.

    Args:
        events: whether by event descriptors; False is for tests of what other systems do.

    Raises:
        OSError: no descriptors left.
    """
    if sys.platform != "linux" or not events:
        return QueueToThread(), SafeToLoop(loop)
    to_thread = EventToThread()
    try:
        return to_thread, EventToLoop(loop)
    except BaseException:
        to_thread.close()
        raise
