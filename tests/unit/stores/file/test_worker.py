"""The thread that waits for disks: order, outcomes, cancellation, its end; with event descriptors and without."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.worker import Worker

LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.fixture(params=[True, False], ids=["events", "locks"])
def worker(request: pytest.FixtureRequest) -> Worker:
    return Worker("under test", events=request.param)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, worker: Worker) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run a coroutine function, and close the worker behind it."""

    def run_it(body: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await body()
            finally:
                worker.close()

        LOOPS[request.param](whole())

    return run_it


Run = Callable[[Callable[[], Awaitable[None]]], None]


def test_in_order_in_one_thread_and_then_on_the_loop(worker: Worker, run: Run) -> None:
    async def body() -> None:
        called: list[tuple[int, int]] = []
        ended: list[tuple[int, int]] = []

        def work(number: int) -> int:
            called.append((number, threading.get_ident()))
            return number

        def then(result: int, failure: BaseException | None) -> None:
            assert failure is None
            ended.append((result, threading.get_ident()))

        for number in range(100):
            worker.run(partial(work, number), then)
        assert await worker.start(work, 100) == 100
        (thread,) = {thread for _, thread in called}
        assert thread != threading.get_ident()
        assert [number for number, _ in called] == list(range(101))
        assert ended == [(number, threading.get_ident()) for number in range(100)]

    run(body)


def test_an_exception_is_an_outcome_and_the_next_call_is_made(worker: Worker, run: Run) -> None:
    async def body() -> None:
        def fail() -> None:
            raise StoreError("disk full")

        failing, next_one = worker.start(fail), worker.start(int, "7")
        with pytest.raises(StoreError, match="disk full"):
            await failing
        assert await next_one == 7

    run(body)


def test_a_cancelled_future_stops_nothing(worker: Worker, run: Run) -> None:
    async def body() -> None:
        may_end = threading.Event()
        done: list[int] = []
        first = worker.start(lambda: may_end.wait(10) and done.append(1))
        second = worker.start(done.append, 2)
        first.cancel()
        may_end.set()
        await second
        assert done == [1, 2]

    run(body)


def test_what_raises_on_the_loop_holds_up_nobody(worker: Worker, run: Run) -> None:
    async def body() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context.get("exception")))
        bug = RuntimeError("bug")

        def then(_result: object, _failure: object) -> None:
            raise bug

        may_end = threading.Event()
        worker.run(lambda: may_end.wait(10), then)
        others = [worker.start(int, "1"), worker.start(int, "2")]
        may_end.set()
        async with asyncio.timeout(10):
            assert await asyncio.gather(*others) == [1, 2]
        assert told == [bug]

    run(body)


def test_closing_finishes_what_was_started_and_tells_it(worker: Worker, run: Run) -> None:
    async def body() -> None:
        outcomes = [worker.start(int, str(number)) for number in range(50)]
        worker.close()
        assert not any(thread.name == "under test" for thread in threading.enumerate())
        async with asyncio.timeout(10):
            assert await asyncio.gather(*outcomes) == list(range(50))
        assert await worker.start(int, "7") == 7  # it begins again

    run(body)


def test_closing_behind_the_end_of_the_loop(worker: Worker) -> None:
    async def body() -> None:
        assert await worker.start(int, "1") == 1

    asyncio.run(body())
    worker.close()
    worker.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="event descriptors are Linux's")
def test_no_descriptor_is_left(run: Run, worker: Worker) -> None:
    async def body() -> None:
        before = descriptors()
        for _ in range(20):
            await worker.start(int, "1")
            worker.close()
        assert descriptors() == before

    run(body)


@pytest.mark.skipif(sys.platform != "linux", reason="event descriptors are Linux's")
@pytest.mark.parametrize("allowed", [0, 1])
def test_without_descriptors_it_says_so_and_works_when_there_are_some(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    async def body() -> None:
        worker = Worker("under test")
        before = descriptors()
        real, left = os.eventfd, [allowed]

        def refuse(initial: int, flags: int) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(24, "Too many open files")
            return real(initial, flags)

        monkeypatch.setattr(os, "eventfd", refuse)
        with pytest.raises(StoreError, match="cannot begin the thread under test: Too many open files"):
            worker.start(int, "1")
        assert descriptors() == before
        monkeypatch.undo()
        assert await worker.start(int, "1") == 1
        worker.close()

    asyncio.run(body())


def test_without_threads_it_says_so(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def body() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(StoreError, match="cannot begin the thread under test: can't start new thread"):
                worker.start(int, "1")
        assert await worker.start(int, "1") == 1
        worker.close()

    asyncio.run(body())
