"""What the client needs of a NATS connection, whatever carries it.

Two carry it: `native_link` (our compiled reader, the default) and `nats_py_link` (any connection or option of nats-py).
ADR 9 has the measurements. A link reconnects by itself and keeps its subscriptions; it keeps nothing that was published
while it was down, since the client sends again what was not acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Handler = Callable[[bytes | bytearray, int, int, bytes, int], None]
"""Gets one NATS message: `data[start:stop]` is the payload, valid during the call only; then the reply subject, empty
for none, and the status of its headers (0; 503 when nobody listens)."""

NO_RESPONDERS = 503


class Address:
    """A subject and a reply subject, made ready once for many messages.

    Attributes:
        head: `PUB <subject> [reply] `, the beginning of a frame.
    """

    __slots__ = ("head", "reply", "subject")

    def __init__(self, subject: bytes, reply: bytes = b"") -> None:
        self.subject = subject
        self.reply = reply
        self.head = b"PUB %b %b " % (subject, reply) if reply else b"PUB %b " % subject


class LinkEvents(Protocol):
    """What a link tells its client, on the loop's thread."""

    def on_link_up(self) -> None:
        """Connected again; the subscriptions are there."""

    def on_link_down(self, reason: str) -> None:
        """Disconnected; the link is trying to connect again."""

    def on_link_closed(self, reason: str) -> None:
        """Disconnected for good: nats-py was told to give up, or its owner closed it."""

    def on_link_writable(self) -> None:
        """`is_writable` is True again."""

    def on_link_error(self, error: Exception) -> None:
        """Something to report that does not end the link."""


class ClientLink(Protocol):
    """A connection to NATS. Everything is called on the event loop's thread."""

    @property
    def is_connected(self) -> bool:
        """Whether something can be published now."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether what waits to be sent is below the limit of the link."""
        ...

    @property
    def max_payload(self) -> int:
        """Largest payload in bytes that the NATS server takes."""
        ...

    async def connect(self, events: LinkEvents) -> None:
        """Make the first connection; `events` hears of all that happens later.

        Raises:
            ConnectError: no server could be reached, or it refused us.
        """

    async def subscribe(self, subject: bytes, handler: Handler, messages_max: int) -> int:
        """Subscribe until `unsubscribe`, over all reconnects.

        Args:
            messages_max: most messages that may ever wait for this handler.

        Returns:
            The number to unsubscribe with.
        """
        ...

    def unsubscribe(self, number: int) -> None:
        """End a subscription; an unknown number is ignored."""

    def publish(self, address: Address, payload: bytes) -> None:
        """Send a message, soon and in order. Dropped while the link is down."""

    def publish_ack(self, address: Address, subject_field: bytes, sequence: int) -> None:
        """Send an Ack message, as `publish` does."""

    async def flush(self, timeout_s: float) -> None:
        """Return when NATS has all that was published before.

        Raises:
            NoResponse: it did not confirm it within `timeout_s` seconds.
        """

    async def close(self, timeout_s: float) -> None:
        """Send what waits, within `timeout_s` seconds, and disconnect, unless somebody else owns the connection."""
