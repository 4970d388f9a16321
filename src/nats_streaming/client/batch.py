"""Publishing many messages at once, in memory that does not grow with their number."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

from nats_streaming.client.publisher import Data, PendingPublish
from nats_streaming.errors import PublishError

ERRORS_MAX = 1_000
"""Errors kept of one batch; the rest is counted."""


async def publish_many(
    publish: Callable[[str, Data], Awaitable[PendingPublish]],
    channel: str,
    messages: Iterable[Data] | AsyncIterable[Data],
) -> int:
    """What `Client.publish_many` does."""
    sent: deque[PendingPublish] = deque()
    errors: list[PublishError] = []
    stored = failed = 0

    def settle(pending: PendingPublish) -> None:
        nonlocal stored, failed
        try:
            pending.result()
        except PublishError as error:
            failed += 1
            if len(errors) < ERRORS_MAX:
                errors.append(error)
        else:
            stored += 1

    async for data in _each(messages):
        sent.append(await publish(channel, data))
        while sent and sent[0].done:
            settle(sent.popleft())
    while sent:
        pending = sent.popleft()
        with contextlib.suppress(PublishError):  # settle counts it
            await pending
        settle(pending)
    if errors:
        raise ExceptionGroup(f"{failed} of {failed + stored} messages to {channel} were not stored", errors)
    return stored


async def _each(messages: Iterable[Data] | AsyncIterable[Data]) -> AsyncIterator[Data]:
    if isinstance(messages, AsyncIterable):
        async for data in messages:
            yield data
    else:
        for data in messages:
            yield data
