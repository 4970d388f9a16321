"""A member of a fault-tolerance group: one is active, the others stand by, and the store's lock says which.

A standby waits for the silence of the active one, then tries the lock. The lock alone decides; heartbeats
only tell standbys when trying is worth it, and show two active ones that something is wrong with the lock.
Knows nothing of recovery or clients.

Source: operations specification, section 5.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from nats_streaming.clock import Clock
from nats_streaming.constants import (
    FT_HEARTBEAT_INTERVAL_NS,
    FT_JITTER,
    FT_LOCK_FAILURES_MAX,
    FT_MISSED_HEARTBEAT_NS,
    NS_PER_SECOND,
)
from nats_streaming.errors import ConfigError, NatsLinkError, StoreError, bare
from nats_streaming.nats.control_link import ControlLink
from nats_streaming.protocol.server_messages import decode_heartbeat, encode_heartbeat
from nats_streaming.server.logs.back_off import LogBackOff
from nats_streaming.stores.api import Store

_log = logging.getLogger("nats_streaming")

LOST_LOCK = "ft: lost store lock, aborting"


def refuse_unsuitable(store: Store) -> None:
    """See that members can hand the store on to each other.

    Raises:
        ConfigError: they cannot.
    """
    if not (store.capabilities.exclusive_lock and store.capabilities.recoverable):
        raise ConfigError(
            f"ft: only FILE or SQL stores supported in FT mode (the {store.name} store cannot be handed on to another"
            " server)",
            option="ft_group",
        )


class GroupMember:
    """Standing by from `join` on, active once `wait_for_lock` has returned and `begin_heartbeats` was called."""

    def __init__(
        self,
        subject: bytes,
        server_id: bytes,
        store: Store,
        link: ControlLink,
        clock: Clock,
        on_abort: Callable[[str], None],
    ) -> None:
        """
        Args:
            subject: the group's.
            server_id: ours.
            on_abort: called, at most once, when this active server must not write to the store any more.
        """
        self._subject = subject
        self._server_id = server_id
        self._store = store
        self._link = link
        self._clock = clock
        self._on_abort = on_abort
        self._activated_ns: int | None = None
        self._aborted = False
        self._heard = asyncio.Event()
        self._heartbeat_s = _jittered_s(FT_HEARTBEAT_INTERVAL_NS)
        self._missed_s = _jittered_s(FT_MISSED_HEARTBEAT_NS)
        self._task: asyncio.Task[None] | None = None

    def join(self) -> None:
        """Listen to the group.

        Raises:
            NatsLinkError: the group's name makes no valid subject.
        """
        self._link.subscribe(self._subject, self._on_heartbeat)

    # Standing by.

    async def wait_for_lock(self) -> None:
        """Return when the store is ours."""
        back_off = LogBackOff()
        while True:
            await self._wait_for_silence()
            try:
                if await self._store.try_lock():
                    return
            except StoreError as error:
                _log.error(
                    "ft: error attempting to get the store lock: ft: fatal error getting the store lock: %s", error
                )
                continue
            if back_off.is_due(self._clock.monotonic_ns()):
                _log.info("ft: unable to get store lock at this time, going back to standby")

    async def _wait_for_silence(self) -> None:
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(self._missed_s):
                    await self._heard.wait()
            except TimeoutError:
                return

    # Being active.

    def begin_heartbeats(self) -> None:
        """The store is ours: tell the group from now on, and watch that it stays ours."""
        self._activated_ns = self._clock.wall_ns()
        self._task = asyncio.get_running_loop().create_task(self._claim(self._activated_ns), name="ft: heartbeats")
        self._task.add_done_callback(self._on_task_end)

    async def _claim(self, activated_ns: int) -> None:
        """Each heartbeat follows a look at the lock: who has lost it while it hung must not scare its successor."""
        payload = encode_heartbeat(self._server_id, activated_ns)
        back_off = LogBackOff()
        failures = 0
        while True:
            try:
                # With an error instead of an answer nobody knows whose the lock is.
                if not failures:
                    self._link.publish(self._subject, payload)
            except NatsLinkError as error:
                # The lock is what counts: a standby that does not hear us cannot get it.
                if back_off.is_due(self._clock.monotonic_ns()):
                    _log.error("Unable to send FT heartbeat: %s", error)
            else:
                back_off.reset()
            await asyncio.sleep(self._heartbeat_s)
            try:
                is_ours = await self._store.try_lock()
            except StoreError as error:
                failures += 1
                _log.error("Unable to update store lock (failed=%d err=%s)", failures, error)
                is_ours = failures < FT_LOCK_FAILURES_MAX
            else:
                failures = 0
            if not is_ours:
                self._abort(LOST_LOCK)
                return

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("bug: %s ended in an error", task.get_name(), exc_info=error)
            # Nobody watches the lock any more.
            self._abort(f"{task.get_name()} ended in an error: {error!r}")

    def _on_heartbeat(self, payload: bytes, _reply: bytes) -> None:
        heartbeat = decode_heartbeat(payload)
        if heartbeat is None or heartbeat.server_id == self._server_id:
            return
        self._heard.set()
        if self._activated_ns is None:
            return
        if heartbeat.activated_ns is None:
            _log.error("Error decoding activation time of serverID %s", bare(heartbeat.server_id))
            return
        text = f'ft: serverID "{bare(heartbeat.server_id)}" claims to be active'
        if heartbeat.activated_ns < self._activated_ns:
            self._abort(f"{text}, aborting")
        else:
            _log.error("%s", text)

    def _abort(self, text: str) -> None:
        if not self._aborted:
            self._aborted = True
            self._on_abort(text)

    async def stop(self) -> None:
        """Say and watch nothing any more; the lock is the store's. Idempotent."""
        self._aborted = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


def _jittered_s(interval_ns: int) -> float:
    return interval_ns / NS_PER_SECOND * random.uniform(1 - FT_JITTER, 1 + FT_JITTER)
