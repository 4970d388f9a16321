"""What the engine's shell needs of NATS, whatever carries it.

The shell sees chunks in and frames out, never a socket. `nats.connection.NatsConnection` is the bus
of a running server; tests have one in memory; a listener that takes publishes in process would be a
third. Messages reach the shell through the `MessageSink` that a bus is built with, and the end of
each chunk of them through its `on_chunk` callback: one chunk is one cycle of the engine.
"""

from __future__ import annotations

from typing import Protocol


class Bus(Protocol):
    """A connection to a NATS system. All methods are called on the event loop's thread."""

    @property
    def is_connected(self) -> bool:
        """Whether `write` is possible now."""

    @property
    def is_writable(self) -> bool:
        """Connected, and what waits to be sent is below the high watermark. Its changes are reported by callback."""

    @property
    def max_payload(self) -> int:
        """Largest payload in bytes that the NATS server takes, of its last INFO."""

    def write(self, frames: bytes) -> None:
        """Send whole protocol frames, without waiting.

        Args:
            frames: one or more complete frames. The bus may keep a reference until they are sent, so a mutable
                buffer must not be handed in.

        Raises:
            NatsLinkError: not connected. Nothing is kept for later: what is late is worse than what fails.
        """

    def subscribe(self, subject: bytes, sid: int, queue: bytes = b"") -> None:
        """Subscribe now or at the next connect, and again after each reconnect, until `unsubscribe`.

        Args:
            subject: may hold wildcards.
            sid: our own number for the subscription, from 1; each message brings it along.
            queue: of several subscriptions with this name that match a message one gets it; b"" gets every message.

        Raises:
            NatsLinkError: the subject is not a valid NATS subject.
        """

    def unsubscribe(self, sid: int) -> None:
        """End a subscription; an unknown `sid` is ignored."""

    async def flush(self, timeout_s: float = 10.0) -> None:
        """Return when the NATS server has processed everything written before (PING and PONG).

        Raises:
            NatsLinkError: not connected, connection lost meanwhile, or no answer within `timeout_s` seconds.
        """

    def pause_reading(self) -> None:
        """Take no more from the NATS server, which buffers for us (up to its `max_pending`) until `resume_reading`."""

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""

    async def close(self) -> None:
        """Send what is buffered, within a bound, and disconnect for good. May be called more than once."""
