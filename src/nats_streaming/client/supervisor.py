"""Keeps a client alive: pings the server, notices that link or session are gone, and resumes, or gives up if told so.

A resume is the same for every cause, a cut link, a restarted server or a taken client ID: register again under the same
client ID, subscribe again from what was processed, send again what is unacknowledged. So there is one way back, and
every test exercises it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from nats_streaming.client.session import Session, Unregistered
from nats_streaming.errors import ClientError, ConnectError, ConnectionLost, NoResponse

RETRY_SECONDS_FIRST = 0.05
RETRY_SECONDS_MAX = 2.0
"""Between two attempts to resume: doubled from the first to the last."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a resume did.

    Attributes:
        reason: why it was needed.
        attempts: how often it was tried.
        seconds: from the loss to the end of the resume.
        subscriptions: how many were made again.
        publishes: how many unacknowledged publishes were sent again, under the same guid.
        state_lost: the server had forgotten this client: it was restarted without its state, or another client had
            taken the client ID meanwhile.
    """

    reason: str
    attempts: int
    seconds: float
    subscriptions: int
    publishes: int
    state_lost: bool


class Supervised(Protocol):
    """What the supervisor needs of its client."""

    session: Session
    request_timeout_s: float

    @property
    def is_link_up(self) -> bool:
        """Whether NATS is connected."""
        ...

    def suspend(self) -> None:
        """Nothing can be sent from now on."""

    async def restore(self, *, state_lost: bool) -> tuple[int, int]:
        """Subscribe and publish again in the new registration; how many of each. Raises NoResponse if it failed."""
        ...

    def finish(self, error: ClientError) -> None:
        """It is over; everybody who waits gets `error`."""

    def on_lost(self, reason: str) -> None:
        """Tell the user that the session is gone."""

    def on_back(self, resumed: Resumed) -> None:
        """Everything works again: open, and tell the user."""

    def report(self, error: Exception) -> None:
        """Tell the user of an error that nobody gets otherwise."""


class Supervisor:
    """One per client, from its first registration to its end."""

    def __init__(self, client: Supervised, *, auto_resume: bool, resume_timeout_s: float | None) -> None:
        """
        Args:
            auto_resume: False ends the client at the first loss.
            resume_timeout_s: seconds after which a resume is given up; None never.
        """
        self._client = client
        self._auto_resume = auto_resume
        self._resume_timeout_s = resume_timeout_s
        self._loop = asyncio.get_running_loop()
        self._resuming: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._halted: list[asyncio.Task[None]] = []
        self._check_now = asyncio.Event()
        self._link_changed = asyncio.Event()
        self.losses = 0
        """How often link or session were lost: a number that changes shows that something is not from this session."""
        self._state_lost = False

    def start(self) -> None:
        """The first registration is made: watch it."""
        self._pinging = self._task(self._ping(), "ping")

    def halt(self) -> None:
        """Watch nothing any more, and break off a resume."""
        current = asyncio.current_task()
        for task in (self._pinging, self._resuming):
            if task is not None and task is not current:
                task.cancel()
                self._halted.append(task)
        self._pinging = self._resuming = None

    async def stop(self) -> None:
        """Halt, and wait until it is done."""
        self.halt()
        if self._halted:
            await asyncio.wait(self._halted)

    def link_down(self, reason: str) -> None:
        """NATS is gone, and the link connects again by itself."""
        self._client.session.fail_requests(reason)
        self.lost(reason)

    def link_up(self) -> None:
        """NATS is back."""
        self._link_changed.set()

    def check(self) -> None:
        """Something is strange: ask the server now."""
        self._check_now.set()

    def unregistered(self, reason: str) -> None:
        """The server does not know this client any more."""
        self._state_lost = True
        self.lost(reason)

    def lost(self, reason: str) -> None:
        """Link or session are gone: resume, or give up. Said again during a resume, that begins anew."""
        self.losses += 1
        if self._pinging is None:
            return
        self._client.suspend()
        if self._resuming is not None:
            return
        self._client.on_lost(reason)
        if not self._auto_resume:
            self._client.finish(ConnectionLost(reason))
            return
        self._resuming = self._task(self._resume(reason), "resume")

    async def _ping(self) -> None:
        """Ping at the interval the server wants, at once when something is strange, and never during a resume."""
        misses = 0
        while self._pinging is not None:
            session = self._client.session
            interval_s = session.ping_interval_s
            try:
                async with asyncio.timeout(interval_s or None):
                    await self._check_now.wait()
            except TimeoutError:
                pass
            self._check_now.clear()
            if self._resuming is not None or not session.subjects.ping_requests:
                misses = 0
                continue
            try:
                await session.ping(min(interval_s or self._client.request_timeout_s, self._client.request_timeout_s))
            except Unregistered as error:
                self.unregistered(str(error))
            except (NoResponse, ConnectError) as error:
                misses += 1
                nobody = isinstance(error, NoResponse) and error.no_responders
                if misses >= session.ping_max_out or (nobody and self._auto_resume):
                    self.lost(f"{misses} pings without an answer: {error}")
            else:
                misses = 0

    async def _resume(self, reason: str) -> None:
        client = self._client
        began = self._loop.time()
        attempts = 0
        told: set[str] = set()
        pause_s = RETRY_SECONDS_FIRST
        try:
            async with asyncio.timeout(self._resume_timeout_s):
                while True:
                    self._link_changed.clear()
                    if not client.is_link_up:
                        await self._link_changed.wait()
                        continue
                    losses = self.losses
                    attempts += 1
                    try:
                        subscriptions, publishes = await self._attempt()
                    except (NoResponse, ConnectError) as error:
                        if str(error) not in told and len(told) < 16:
                            told.add(str(error))
                            client.report(error)
                    else:
                        if losses == self.losses:
                            break
                        client.suspend()
                        continue
                    await self._pause(pause_s)
                    pause_s = min(pause_s * 2, RETRY_SECONDS_MAX)
        except TimeoutError:
            client.finish(ConnectionLost(f"{reason}; not resumed within {self._resume_timeout_s:g} s"))
            return
        state_lost, self._state_lost = self._state_lost, False
        self._resuming = None
        client.on_back(Resumed(reason, attempts, self._loop.time() - began, subscriptions, publishes, state_lost))

    async def _attempt(self) -> tuple[int, int]:
        client = self._client
        session = client.session
        if session.subjects.ping_requests and not self._state_lost:
            try:
                await session.ping(client.request_timeout_s)
            except Unregistered:
                self._state_lost = True
        await session.register(client.request_timeout_s)
        return await client.restore(state_lost=self._state_lost)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._link_changed.wait()
        except TimeoutError:
            pass

    def _task(self, work: object, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work, name=f"nats-streaming {name}")  # type: ignore[arg-type]
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """These tasks end by being cancelled, or when a resume is done; anything else is a bug that must be seen."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._client.report(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            self._client.finish(ConnectionLost(f"the client failed: {error!r}"))
