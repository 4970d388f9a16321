"""Runs a bench: starts its processes, lets them begin together, gathers what they say."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from nats_streaming.errors import BenchError
from nats_streaming.toolbox.bench.histogram import Histogram, merged
from nats_streaming.toolbox.bench.plan import BenchPlan, ClientResult

_LINE_BYTES_MAX = 16 << 20
_READY_SECONDS = 60.0


@dataclass(slots=True)
class BenchProgress:
    """How far all processes are together."""

    sent: int = 0
    acked: int = 0
    received: int = 0


@dataclass(slots=True)
class BenchResult:
    """What came of it.

    Attributes:
        busy: of each process, CPU seconds per second: near 1 it could not have made more load.
        publishers, subscribers: each client's.
    """

    plan: BenchPlan
    busy: list[float] = field(default_factory=list)
    publishers: list[ClientResult] = field(default_factory=list)
    subscribers: list[ClientResult] = field(default_factory=list)

    @property
    def ack_latency(self) -> Histogram:
        """Publish to ack, of all publishers."""
        return merged(each.latency for each in self.publishers)

    @property
    def delivery_latency(self) -> Histogram:
        """Publish to arrival, of all subscribers."""
        return merged(each.latency for each in self.subscribers)

    @property
    def expected(self) -> int:
        """Messages that all subscribers together should have received, of those that were acked."""
        acked = sum(each.acked for each in self.publishers)
        return acked * (min(self.plan.subscribers, 1) if self.plan.queue else self.plan.subscribers)

    @property
    def is_whole(self) -> bool:
        """Whether everything was sent, acked and received."""
        acked = sum(each.acked for each in self.publishers)
        received = sum(each.received for each in self.subscribers)
        return acked == self.plan.total and received >= self.expected

    @property
    def errors(self) -> list[str]:
        return [each.error for each in (*self.publishers, *self.subscribers) if each.error]


def seconds_of(clients: list[ClientResult]) -> float:
    """From the first one's beginning to the last one's end; clocks of one machine agree between processes."""
    if not clients:
        return 0.0
    return (max(each.ended_ns for each in clients) - min(each.begun_ns for each in clients)) / 1e9


async def run_bench(plan: BenchPlan, on_progress: Callable[[BenchProgress], None] | None = None) -> BenchResult:
    """Run one.

    Args:
        plan: what shall be done.
        on_progress: told about ten times a second.

    Raises:
        BenchError: a process did not begin, or ended early.
    """
    workers = [_Process(plan, number) for number in range(plan.processes)]
    result = BenchResult(plan)
    try:
        await asyncio.gather(*(worker.start() for worker in workers))
        for worker in workers:
            worker.go()

        def tell() -> None:
            if on_progress is not None:
                on_progress(
                    BenchProgress(
                        sum(each.progress.sent for each in workers),
                        sum(each.progress.acked for each in workers),
                        sum(each.progress.received for each in workers),
                    )
                )

        await asyncio.gather(*(worker.gather(result, tell) for worker in workers))
    finally:
        await asyncio.gather(*(worker.end() for worker in workers))
    result.publishers.sort(key=lambda each: each.number)
    result.subscribers.sort(key=lambda each: each.number)
    return result


class _Process:
    """One of the processes, with every `processes`-th client."""

    def __init__(self, plan: BenchPlan, number: int) -> None:
        self._plan = plan
        self._number = number
        self._publishers = list(range(number, plan.publishers, plan.processes))
        # Offset, so that few publishers and few subscribers do not share a process while others idle.
        offset = (number - plan.publishers) % plan.processes
        self._subscribers = list(range(offset, plan.subscribers, plan.processes))
        self._process: asyncio.subprocess.Process | None = None
        self.progress = BenchProgress()

    async def start(self) -> None:
        """Return when its clients are connected and subscribed."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "nats_streaming.toolbox.bench.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        self._send(
            json.dumps({"plan": asdict(self._plan), "publishers": self._publishers, "subscribers": self._subscribers})
        )
        try:
            async with asyncio.timeout(_READY_SECONDS):
                document = await self._next()
        except TimeoutError:
            raise BenchError(f"process {self._number} was not ready within {_READY_SECONDS:g} s") from None
        if document is None or not document.get("ready"):
            raise self._failure(document)

    def go(self) -> None:
        self._send("go")

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def _next(self) -> dict[str, Any] | None:
        """What it says next, None when it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        document: dict[str, Any] | None = json.loads(line) if line else None
        return document

    def _failure(self, document: dict[str, Any] | None) -> BenchError:
        if document is not None and "failure" in document:
            return BenchError(str(document["failure"]))
        return BenchError(f"process {self._number} of the bench has ended early")

    async def gather(self, result: BenchResult, tell: Callable[[], None]) -> None:
        """Take what it says until all of its clients are done."""
        left = len(self._publishers) + len(self._subscribers)
        while left:
            document = await self._next()
            if document is None or "failure" in document:
                raise self._failure(document)
            if "busy" in document:
                result.busy.append(document["busy"])
            elif "result" in document:
                client = ClientResult.from_document(document["result"])
                (result.publishers if client.kind == "pub" else result.subscribers).append(client)
                left -= 1
            else:
                self.progress = BenchProgress(**document)
                tell()

    async def end(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
