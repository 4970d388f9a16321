"""The bus (see `nats.bus`) over a link to the nats-server and, past it, the sockets of clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nats_streaming.listener.listener import ClientListener
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.protocol.nats_reader import MessageSink


class DirectBus:
    """What clients publish comes from their own streams, and what they alone get goes there.

    Everything else goes over the link, and when the link is lost all clients are: the nats-server has gone.
    """

    def __init__(self, link: NatsConnection, listener: ClientListener, sink: MessageSink) -> None:
        """
        Args:
            link: connected or not.
            sink: gets what clients publish, as it gets what the link brings.
        """
        self.link = link
        self._listener = listener
        self._sink = sink
        self._on_writable: Callable[[bool], None] = lambda _: None

    def begin(
        self,
        offered: Iterable[tuple[bytes, int]],
        on_chunk: Callable[[], None],
        on_writable: Callable[[bool], None],
    ) -> None:
        """Take what clients publish, from now on.

        Args:
            offered: subjects, each with the ID that the sink knows it by; wildcards at the end only.
            on_chunk: called when the sink has got something, soon after it.
            on_writable: called when `is_writable` has changed.
        """
        listener = self._listener
        for subject, sid in offered:
            listener.offers.add(subject, sid)
        self._on_writable = on_writable
        self.on_info()
        listener.offers.sink = self._sink
        listener.interest.offer()
        listener.serve(on_chunk, self.on_writable_change)

    def on_info(self) -> None:
        """The nats-server has introduced itself, perhaps anew."""
        self._listener.offers.payload_max = self.link.max_payload

    def on_writable_change(self) -> None:
        """The link, or the clients together, take what we send, or do not."""
        self._on_writable(self.is_writable)

    def end(self) -> None:
        """Take nothing any more."""
        self._listener.offers.sink = None

    @property
    def is_connected(self) -> bool:
        return self.link.is_connected

    @property
    def is_writable(self) -> bool:
        return self.link.is_writable and not self._listener.is_congested

    @property
    def max_payload(self) -> int:
        return self.link.max_payload

    def write(self, frames: bytes) -> None:
        rest = self._listener.send(frames)
        if rest:
            self.link.write(rest)

    def subscribe(self, subject: bytes, sid: int, queue: bytes = b"") -> None:
        self.link.subscribe(subject, sid, queue)

    def unsubscribe(self, sid: int) -> None:
        self.link.unsubscribe(sid)

    async def flush(self, timeout_s: float = 10.0) -> None:
        await self.link.flush(timeout_s)

    def pause_reading(self) -> None:
        self.link.pause_reading()
        self._listener.set_paused(True)

    def resume_reading(self) -> None:
        self.link.resume_reading()
        self._listener.set_paused(False)

    async def close(self) -> None:
        self.end()
        await self.link.close()
