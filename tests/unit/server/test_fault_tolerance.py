"""A group member by itself: what a lock that fails, and is lost, does to an active one; how often things are said."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nats_streaming.clock import SystemClock
from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.nats.control_link import ControlLink
from nats_streaming.protocol.server_messages import decode_heartbeat, encode_heartbeat
from nats_streaming.server.fault_tolerance import GroupMember, refuse_unsuitable
from nats_streaming.server.logs.back_off import LogBackOff
from nats_streaming.stores.memory import MemoryStore

SECOND = 1_000_000_000


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class Locks(MemoryStore):
    """Gives the outcomes of `try_lock`; the last one repeats."""

    def __init__(self, *outcomes: bool | StoreError) -> None:
        super().__init__()
        self.outcomes = list(outcomes)
        self.asked = 0

    async def try_lock(self) -> bool:
        self.asked += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome


class Link(ControlLink):
    """Keeps what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[bytes] = []

    def publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        self.published.append(payload)


def member(store: Locks, link: Link, aborted: list[str]) -> GroupMember:
    made = GroupMember(b"subject", b"me", store, link, SystemClock(), aborted.append)
    made._heartbeat_s = made._missed_s = 0.001
    made.join()
    return made


def hear(link: Link, payload: bytes) -> None:
    link.on_message(bytearray(payload), 1, 0, 0, 0, 0, 0, len(payload), 0)


BROKEN = StoreError("input/output error")


@pytest.mark.parametrize(
    ("outcomes", "asked", "said"),
    [
        ((True, True, False), 3, 3),
        ((BROKEN, BROKEN, BROKEN), 3, 1),
        ((BROKEN, BROKEN, True, BROKEN, BROKEN, BROKEN), 6, 2),
    ],
)
@on_loop
async def test_a_lost_lock_aborts(
    outcomes: tuple[bool | StoreError, ...], asked: int, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It claims to be active once at first, and then only right after it has seen that the lock is its own."""
    store, link, aborted = Locks(*outcomes), Link(), list[str]()
    active = member(store, link, aborted)
    active.begin_heartbeats()
    async with asyncio.timeout(10):
        while not aborted:
            await asyncio.sleep(0.001)
    await active.stop()
    assert aborted == ["ft: lost store lock, aborting"]
    assert store.asked == asked
    failures = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failures) == sum(outcome is BROKEN for outcome in outcomes)
    heartbeat = decode_heartbeat(link.published[0])
    assert heartbeat is not None
    assert heartbeat.server_id == b"me"
    assert len(link.published) == said
    assert set(link.published) == {link.published[0]}, "the time of activation does not change"


@on_loop
async def test_a_failing_lock_keeps_a_standby(caplog: pytest.LogCaptureFixture) -> None:
    store = Locks(BROKEN, False, BROKEN, True)
    async with asyncio.timeout(10):
        await member(store, Link(), []).wait_for_lock()
    assert store.asked == 4
    text = "ft: error attempting to get the store lock: ft: fatal error getting the store lock: input/output error"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [text, text]


@on_loop
async def test_two_active_members(caplog: pytest.LogCaptureFixture) -> None:
    link, aborted = Link(), list[str]()
    active = member(Locks(True), link, aborted)
    now_ns = SystemClock().wall_ns()
    hear(link, encode_heartbeat(b"other", now_ns - SECOND))
    assert not aborted, "a standby only listens"
    active.begin_heartbeats()
    hear(link, encode_heartbeat(b"me", 0))
    hear(link, encode_heartbeat(b"other", now_ns + 60 * SECOND))
    assert not aborted
    assert caplog.records[-1].getMessage() == 'ft: serverID "other" claims to be active'
    for _ in range(2):
        hear(link, encode_heartbeat(b"other", now_ns - SECOND))
    assert aborted == ['ft: serverID "other" claims to be active, aborting'], "once"
    await active.stop()


@on_loop
async def test_an_error_of_ours_aborts() -> None:
    """Who no longer watches the lock must not rely on it."""
    store, aborted = Locks(True), list[str]()

    async def broken() -> Any:
        raise ZeroDivisionError

    store.try_lock = broken  # type: ignore[method-assign]
    active = member(store, Link(), aborted)
    active.begin_heartbeats()
    async with asyncio.timeout(10):
        while not aborted:
            await asyncio.sleep(0.001)
    assert aborted == ["ft: heartbeats ended in an error: ZeroDivisionError()"]
    await active.stop()


def test_a_store_without_lock() -> None:
    with pytest.raises(ConfigError, match="ft: only FILE or SQL stores supported in FT mode"):
        refuse_unsuitable(MemoryStore())


def test_a_repeated_line_comes_less_and_less_often() -> None:
    back_off = LogBackOff()
    said = [second for second in range(400) if back_off.is_due(second * SECOND)]
    assert said == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]
    back_off.reset()
    assert back_off.is_due(0)
