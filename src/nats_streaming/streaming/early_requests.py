"""Requests of clients that are not registered: with several servers for one cluster ID they may be early.

A client that has connected to one partition publishes to the next one, where its connect is still on its way.
So a request waits for it, for a second; those who do not come are remembered, and do not wait again.

Source: protocol-and-delivery specification, section 4.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nats_streaming.constants import (
    PARTITION_CLIENT_WAIT_NS,
    PARTITION_EARLY_BYTES_MAX,
    PARTITION_INVALID_CLIENTS_MAX,
)
from nats_streaming.streaming.timers import Timer, TimerQueue


@dataclass(slots=True)
class _Waiting:
    """Requests of one client and connection ID, in order."""

    timer: Timer
    again: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0


class EarlyRequests:
    """Keys are client ID and connection ID, the latter b"" for requests that do not say theirs."""

    def __init__(self, timers: TimerQueue) -> None:
        self._timers = timers
        self._waiting: dict[tuple[bytes, bytes], _Waiting] = {}
        self._size = 0
        self._strangers: dict[tuple[bytes, bytes], None] = {}

    def hold(self, client_id: bytes, connection_id: bytes, size: int, now_ns: int, again: Callable[[], None]) -> bool:
        """Keep the request of an unknown client for a while.

        Args:
            size: bytes that keeping it takes.
            again: handles the request anew, when the client is registered or the wait is over.

        Returns:
            False when it is to be refused now.
        """
        key = (client_id, connection_id)
        if not client_id or key in self._strangers or self._size + size > PARTITION_EARLY_BYTES_MAX:
            return False
        waiting = self._waiting.get(key)
        if waiting is None:
            timer = self._timers.at(now_ns + PARTITION_CLIENT_WAIT_NS, self._give_up, key)
            waiting = self._waiting[key] = _Waiting(timer)
        waiting.again.append(again)
        waiting.size += size
        self._size += size
        return True

    def on_registered(self, client_id: bytes, connection_id: bytes) -> None:
        """The client is known now: serve what it has asked for."""
        for key in [key for key in self._strangers if key[0] == client_id]:
            del self._strangers[key]
        for key in {(client_id, b""), (client_id, connection_id)}:
            self._end(key)

    def _give_up(self, key: tuple[bytes, bytes]) -> None:
        self._strangers[key] = None
        if len(self._strangers) > PARTITION_INVALID_CLIENTS_MAX:
            del self._strangers[next(iter(self._strangers))]
        self._end(key)

    def _end(self, key: tuple[bytes, bytes]) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        waiting.timer.cancel()
        self._size -= waiting.size
        for again in waiting.again:
            again()
