"""Publishes a stream of messages in order, not faster than asked for, and counts what became of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nats_streaming.errors import AckTimeout, PublishError

if TYPE_CHECKING:
    from nats_streaming.client import Client, PendingPublish

_PROGRESS_SECONDS = 0.1
_UNSETTLED_MAX = 4096  # the client's window may be larger; what is done is taken in before


@dataclass(slots=True)
class Progress:
    """How far it is.

    Attributes:
        stored: messages with an ack.
        size: bytes of them.
        failed: messages refused or without an ack in time.
        timed_out: of those, without an ack: perhaps they are stored.
        first_error: of the first that failed.
        seconds: so far.
    """

    channel: str
    stored: int = 0
    size: int = 0
    failed: int = 0
    timed_out: int = 0
    first_error: str = ""
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        return self.stored / self.seconds if self.seconds > 0 else 0.0


async def publish_all(
    client: Client,
    channel: str,
    messages: AsyncIterator[bytes],
    *,
    rate: float = 0.0,
    stop_at_error: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Publish everything and wait for the acks.

    Args:
        client: connected; its window bounds what is in flight.
        channel: where to.
        messages: what.
        rate: messages a second at most, 0 for no limit.
        stop_at_error: whether the first failure ends it.
        on_progress: told ten times a second.

    Raises:
        ConnectionLost: the connection is gone for good.
    """
    loop = asyncio.get_running_loop()
    begun = told = loop.time()
    progress = Progress(channel)
    waiting: deque[tuple[PendingPublish, int]] = deque()
    count = 0
    async for message in messages:
        if rate > 0:
            due = begun + count / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
        count += 1
        try:
            waiting.append((await client.publish_async(channel, message), len(message)))
        except PublishError as error:
            _failed(progress, error)
        while waiting and (waiting[0][0].done or len(waiting) > _UNSETTLED_MAX):
            await _settle(progress, *waiting.popleft())
        if stop_at_error and progress.failed:
            break
        now = loop.time()
        if on_progress is not None and now - told >= _PROGRESS_SECONDS:
            told, progress.seconds = now, now - begun
            on_progress(progress)
    while waiting:
        await _settle(progress, *waiting.popleft())
    progress.seconds = loop.time() - begun
    if on_progress is not None:
        on_progress(progress)
    return progress


async def _settle(progress: Progress, pending: PendingPublish, size: int) -> None:
    try:
        await pending
    except PublishError as error:
        _failed(progress, error)
    else:
        progress.stored += 1
        progress.size += size


def _failed(progress: Progress, error: PublishError) -> None:
    progress.failed += 1
    progress.timed_out += isinstance(error, AckTimeout)
    progress.first_error = progress.first_error or str(error)
