"""Requests that we send ourselves over NATS, and their replies: heartbeats and probes.

One wildcard subscription serves all replies; the last token of the reply subject says which request.
"""

from __future__ import annotations

from collections.abc import Callable

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.nats_writer import is_subject, put_publish
from nats_streaming.streaming.timers import Timer, TimerQueue

NO_RESPONDERS = 503


class Requests:
    """Every request ends exactly once: with a reply, with nobody listening, or with a time-out."""

    def __init__(self, timers: TimerQueue, out: ByteBuffer, reply_prefix: bytes) -> None:
        """
        Args:
            out: where frames that wait for no commit are written.
            reply_prefix: subject prefix under which replies come back.
        """
        self._timers = timers
        self._out = out
        self._prefix = reply_prefix
        self._serial = 0
        self._waiting: dict[int, tuple[Callable[[bytes | None], None], Timer]] = {}

    def send(
        self, subject: bytes, deadline_ns: int, on_end: Callable[[bytes | None], None], payload: bytes = b""
    ) -> None:
        """Send a request.

        Args:
            deadline_ns: monotonic time at which waiting ends.
            on_end: called once, with the reply's payload, or with None when there is none.
        """
        if not is_subject(subject):
            on_end(None)
            return
        self._serial += 1
        token = self._serial
        timer = self._timers.at(deadline_ns, self._end, token, None)
        self._waiting[token] = (on_end, timer)
        put_publish(self._out, subject, self._prefix + str(token).encode(), payload)

    def on_reply(self, subject: bytes, payload: bytes, status: int) -> None:
        """A reply came, or the NATS server's word that nobody listens."""
        token = subject[len(self._prefix) :]
        if token.isdigit() and len(token) < 19:
            self._end(int(token), None if status == NO_RESPONDERS else payload)

    def _end(self, token: int, answer: bytes | None) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            on_end, timer = waiting
            timer.cancel()
            on_end(answer)
