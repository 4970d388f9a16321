"""The shell's heart: what comes in is staged, committed, and only then answered and delivered.

THE LAW OF ORDER: stage -> commit -> then deliver and ack the publisher. Nothing of a batch is sent and
no publisher's ack leaves before `store.commit()` has returned for it. One batch commits at a time;
the next one is staged meanwhile. What was sent and acked by subscribers rides in the next commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from nats_streaming.constants import NS_PER_SECOND, NS_PER_US
from nats_streaming.errors import NatsLinkError, StoreError
from nats_streaming.nats.bus import Bus
from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import ServerPut
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.context import Seek
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.engine import Engine

_log = logging.getLogger("nats_streaming")

_STAGED_BYTES_MAX = 64 << 20  # publishes that wait for a slow store; beyond that NATS holds them
_LAZY_COMMIT_S = 0.1  # acks and the like that nobody waits for
_COMMIT_RETRY_S = 1.0  # the same after a commit has failed
_READ_SLOTS = 4096
_READ_RETRY_S = 0.1


class CommitListener(Protocol):
    """Gets told of every commit."""

    def __call__(self, cycle: Cycle, begun_ns: int, *, failed: bool) -> None: ...


class PublishLoop:
    """Drives one engine. Every entry ends in `_pump`, which does whatever there is to do.

    Attributes:
        failure: the last commit's error text, "" when it succeeded.
        on_commit: for statistics, called after each commit with its cycle and when it began (monotonic).
    """

    def __init__(self, engine: Engine, store: Store, io_sleep_time_us: int, on_bug: Callable[[str], None]) -> None:
        """
        Args:
            on_bug: called when committing has ended for good by an error that is ours: without commits
                nothing may be answered, so the process must not pretend to serve.
        """
        self.failure = ""
        self.on_commit: CommitListener | None = None
        self._on_bug = on_bug
        self._engine = engine
        self._store = store
        self._io_sleep_s = io_sleep_time_us * NS_PER_US / NS_PER_SECOND
        self._bus: Bus | None = None
        self._loop = asyncio.get_running_loop()
        self._pipelined = False
        self._committing: asyncio.Future[None] | None = None
        self._cycle: Cycle | None = None
        self._begun_ns = 0
        self._beginning: asyncio.Handle | None = None
        self._commits_no_more = False
        self._jobs: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ns = 0
        self._lazy: asyncio.TimerHandle | None = None
        self._writable = True
        self._ended: Cycle | None = None
        self._stage_full = False
        self._stopping = False

    def attach(self, bus: Bus) -> None:
        """Begin to serve over this bus."""
        self._bus = bus
        # A resident store commits at once; there is nothing to pipeline.
        self._pipelined = not self._store.capabilities.resident or self._io_sleep_s > 0

    # What happens.

    def on_chunk(self) -> None:
        """A chunk has been read and every message of it was fed to the inlet."""
        self._engine.end_chunk()
        self._pump()

    def on_connected(self) -> None:
        assert self._bus is not None
        self._writable = True
        self._engine.link_up(self._bus.max_payload)
        self._pump()

    def on_disconnected(self, _reason: str | None) -> None:
        self._engine.link_down()

    def on_writable(self, is_writable: bool) -> None:
        """Stop reading while NATS takes nothing: what we read makes us write more."""
        assert self._bus is not None
        self._writable = is_writable
        self._set_reading()
        if is_writable:
            self._pump()

    def _set_reading(self) -> None:
        if self._bus is None or self._stopping:
            return
        if self._writable and not self._stage_full:
            self._bus.resume_reading()
        else:
            self._bus.pause_reading()

    def _bound_stage(self) -> None:
        """Pause reading while too much waits for the store, resume at half of that."""
        staged = self._engine.staged_bytes(self._ended)
        full = staged > (_STAGED_BYTES_MAX // 2 if self._stage_full else _STAGED_BYTES_MAX)
        if full != self._stage_full:
            self._stage_full = full
            self._set_reading()

    def kick(self) -> None:
        """Something was put into the engine from outside a chunk."""
        self._pump()

    def _on_timer(self) -> None:
        self._timer = None
        self._engine.run_timers()
        self._pump()

    # What to do.

    def _pump(self) -> None:
        engine = self._engine
        if self._pipelined:
            self._bound_stage()
            if engine.wants_commit():
                self._begin_soon()
            elif self._lazy is None and not engine.inlet.cycle.is_empty():
                wait_s = _COMMIT_RETRY_S if self.failure else _LAZY_COMMIT_S
                self._lazy = self._loop.call_later(wait_s, self._commit_lazily)
        else:
            while (cycle := engine.next_batch()) is not None:
                if not self._commit_at_once(cycle):
                    # What it leaves to commit waits, or this would never end.
                    self._lazy = self._lazy or self._loop.call_later(_COMMIT_RETRY_S, self._commit_lazily)
                    break
        self._send()
        while engine.has_backlog() and self._writable:
            engine.continue_backlog()
            self._send()
        if engine.wants_reads():
            self._read()
        if engine.ended_sids:
            for sid in engine.take_ended_sids():
                if self._bus is not None:
                    self._bus.unsubscribe(sid)
        self._arm_timer()

    def _send(self) -> None:
        frames = self._engine.take_output()
        if frames and self._bus is not None and self._bus.is_connected:
            try:
                self._bus.write(frames)
            except NatsLinkError as error:
                _log.debug("%d bytes not sent: %s", len(frames), error)

    def _arm_timer(self) -> None:
        deadline_ns = self._engine.next_deadline_ns()
        if deadline_ns is None or self._stopping:
            return
        if self._timer is not None:
            if deadline_ns >= self._timer_at_ns:
                return
            self._timer.cancel()
        self._timer_at_ns = deadline_ns
        wait_ns = deadline_ns - self._engine.context.clock.monotonic_ns()
        self._timer = self._loop.call_later(max(wait_ns, 0) / NS_PER_SECOND, self._on_timer)

    # Committing.

    def _commit_at_once(self, cycle: Cycle) -> bool:
        """Commit to a resident store, whose coroutine never waits; False when it failed."""
        begun_ns = self._engine.context.clock.monotonic_ns() if self.on_commit is not None else 0
        self._store.stage(cycle.records)
        try:
            next(self._store.commit().__await__())
        except StopIteration:
            self.failure = ""
            self._engine.batch_committed(cycle)
            if self.on_commit is not None:
                self.on_commit(cycle, begun_ns, failed=False)
            return True
        except StoreError as error:
            self.failure = str(error)
            self._engine.batch_failed(cycle, str(error))
            self._keep_trying()
            if self.on_commit is not None:
                self.on_commit(cycle, begun_ns, failed=True)
            return False
        raise AssertionError(f"store {self._store.name} declares itself resident, and its commit waits")

    def _keep_trying(self) -> None:
        """Leave something to commit, or a server that gets no publishes would be told ill for ever."""
        context = self._engine.context
        if context.cycle.is_empty():
            context.stage(ServerPut(context.info))

    def _commit_lazily(self) -> None:
        self._lazy = None
        if not self._pipelined:
            self._pump()
            return
        self._engine.cut()
        self._begin_soon()

    def _begin_soon(self) -> None:
        """Begin a commit when the loop has had all chunks that are there to be read, unless one is under way."""
        if self._committing is not None or self._beginning is not None or self._commits_no_more or self._stopping:
            return
        if self._io_sleep_s:
            self._beginning = self._loop.call_later(self._io_sleep_s, self._begin)
        else:
            self._beginning = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._beginning = None
        try:
            self._begin_next()
        except Exception as error:  # noqa: BLE001 - it ends all committing, and the owner is told
            self._break(error)

    def _begin_next(self) -> None:
        """Begin to commit the next batch that somebody waits for."""
        # What was sent and acked rides in the next commit that somebody waits for, or in a lazy one.
        if self._engine.wants_commit() and (cycle := self._engine.next_batch()) is not None:
            self._begin_commit(cycle)

    def _begin_commit(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._begun_ns = self._engine.context.clock.monotonic_ns() if self.on_commit is not None else 0
        try:
            self._store.stage(cycle.records)
            committing = self._store.commit()
            if not isinstance(committing, asyncio.Future):
                committing = asyncio.ensure_future(committing)
        except StoreError as error:
            committing = self._loop.create_future()
            committing.set_exception(error)
        self._committing = committing
        committing.add_done_callback(self._on_commit_end)

    def _on_commit_end(self, committing: asyncio.Future[None]) -> None:
        if self._commits_no_more:
            return
        try:
            self._end_commit(committing)
            self._committing = None
            if not self._stopping:
                self._begin_next()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it ends all committing
            self._committing = None
            self._break(error)

    def _end_commit(self, committed: asyncio.Future[None]) -> None:
        cycle = self._cycle
        assert cycle is not None
        try:
            committed.result()
        except StoreError as error:
            self.failure = str(error)
            self._engine.batch_failed(cycle, self.failure)
            self._keep_trying()
        else:
            self.failure = ""
            self._engine.batch_committed(cycle)
        if self.on_commit is not None:
            self.on_commit(cycle, self._begun_ns, failed=bool(self.failure))
        self._ended = cycle
        self._bound_stage()
        self._pump()

    def _break(self, error: BaseException) -> None:
        """Commit nothing more: nobody knows what of the batch in hand is true."""
        self._commits_no_more = True
        _log.error("bug: committing ended in an error", exc_info=error)
        self._on_bug(f"committing ended in an error: {error!r}")

    # Reading.

    def _read(self) -> None:
        for channel, sequence in self._engine.take_reads():
            self._start(self._read_messages(channel, sequence))
        for seek in self._engine.take_seeks():
            self._start(self._find_time(seek))

    def _start(self, job: Any) -> None:
        task = self._loop.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._on_job_end)

    def _on_job_end(self, task: asyncio.Task[Any]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever waits for these messages would wait for ever.
            _log.error("bug: reading ended in an error", exc_info=error)
            self._on_bug(f"reading ended in an error: {error!r}")

    async def _read_messages(self, channel: Channel, sequence: int) -> None:
        try:
            segment = await self._store.read(channel.name, sequence, _READ_SLOTS)
        except StoreError as error:
            self._engine.read_failed(channel, sequence, str(error))
            await asyncio.sleep(_READ_RETRY_S)
            self._engine.retry_reads(channel)
        else:
            self._engine.read_done(channel, sequence, segment)
        self._pump()

    async def _find_time(self, seek: Seek) -> None:
        try:
            found = await self._store.find_time(seek.channel, seek.timestamp_ns)
        except StoreError as error:
            seek.failed(str(error))
        else:
            seek.then(found)
        self._pump()

    # Stopping.

    def abandon(self) -> None:
        """Commit and send nothing more, as if the process had died."""
        self._stopping = True
        self._commits_no_more = True
        self._bus = None
        for handle in (self._timer, self._lazy, self._beginning):
            if handle is not None:
                handle.cancel()
        for job in (*self._jobs, *([self._committing] if self._committing is not None else [])):
            job.cancel()

    async def _commit_rest(self) -> None:
        """Commit what is there, and what that has sent, too: the next start redelivers it else."""
        while not self._commits_no_more:
            if self._committing is None and (self._engine.wants_commit() or not self.failure):
                cycle = self._engine.next_batch()
                if cycle is not None:
                    self._begin_commit(cycle)
            if self._committing is None:
                break
            await asyncio.wait({self._committing})

    async def stop(self) -> None:
        """Finish the batch in hand, send its answers; what comes later gets none."""
        self._stopping = True
        if self._bus is not None and self._bus.is_connected:
            self._bus.pause_reading()
        if self._beginning is not None:
            self._beginning.cancel()
        if self._pipelined:
            self._engine.cut()
            await self._commit_rest()
        for handle in (self._timer, self._lazy):
            if handle is not None:
                handle.cancel()
        for job in list(self._jobs):
            job.cancel()
        self._send()
