"""A connection for what servers say to each other: few, small messages, each handed to a callback.

Beside the engine's own connection, because a standby has no engine, and because this one must not wait
behind a backlog of publishes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.errors import NatsLinkError, bare
from nats_streaming.nats.bus import Bus
from nats_streaming.protocol.nats_reader import MessageSink
from nats_streaming.protocol.nats_writer import put_publish

_log = logging.getLogger("nats_streaming")

Handler: TypeAlias = Callable[[bytes, bytes], None]
"""Gets a message's payload and its reply subject, b"" without one."""


class ControlLink(MessageSink):
    """Make it, make a bus with it as sink, `attach` that."""

    def __init__(self) -> None:
        self._handlers: dict[int, tuple[bytes, Handler]] = {}
        self._sid = 0
        self._bus: Bus | None = None

    def attach(self, bus: Bus) -> None:
        """The bus that feeds this sink; subscriptions made so far follow."""
        self._bus = bus
        for sid, (subject, _) in self._handlers.items():
            bus.subscribe(subject, sid)

    def subscribe(self, subject: bytes, handler: Handler) -> int:
        """Have `handler` called with every message on `subject`, across reconnects.

        Returns:
            What `unsubscribe` wants.

        Raises:
            NatsLinkError: the subject is not a valid NATS subject.
        """
        self._sid += 1
        self._handlers[self._sid] = (subject, handler)
        if self._bus is not None:
            self._bus.subscribe(subject, self._sid)
        return self._sid

    def unsubscribe(self, sid: int) -> None:
        self._handlers.pop(sid, None)
        if self._bus is not None:
            self._bus.unsubscribe(sid)

    def publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        """Send now.

        Raises:
            NatsLinkError: not connected.
        """
        if self._bus is None:
            raise NatsLinkError("nats: not connected")
        out = ByteBuffer()
        put_publish(out, subject, reply, payload)
        self._bus.write(out.take())

    def on_message(
        self,
        data: bytearray,
        sid: int,
        subject_start: int,
        subject_stop: int,
        reply_start: int,
        reply_stop: int,
        payload_start: int,
        payload_stop: int,
        status: int,
    ) -> None:
        subject, handler = self._handlers.get(sid, (b"", None))
        if handler is None or status:
            return  # unsubscribed meanwhile, or NATS's word that nobody listens
        try:
            handler(bytes(data[payload_start:payload_stop]), bytes(data[reply_start:reply_stop]))
        except Exception:  # noqa: BLE001 - raising would cut the link over a single message
            _log.exception("bug: a message on %s could not be handled", bare(subject))
