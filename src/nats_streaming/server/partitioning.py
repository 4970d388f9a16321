"""Whether another server of our cluster ID has channels of ours: two would both store the same messages.

Every partitioned server tells its channels on one subject, at its start and whenever NATS servers join the
cluster, and answers the lists of others. Silence means that nobody else has them.

Source: operations specification, section 7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from nats_streaming.constants import NS_PER_SECOND, PARTITION_CHECK_WAIT_NS, PARTITION_NEW_SERVER_DELAY_NS
from nats_streaming.errors import ConfigError, NatsLinkError, quoted
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.nats.control_link import ControlLink
from nats_streaming.nats.handshake import ServerInfo
from nats_streaming.protocol.server_messages import (
    decode_answer,
    decode_channel_list,
    encode_answer,
    encode_channel_lists,
)
from nats_streaming.protocol.subjects import PatternSet
from nats_streaming.server.nats_side import NatsSide
from nats_streaming.streaming.nuid import new_nuid

_log = logging.getLogger("nats_streaming")

_FLUSH_S = 10.0
_WAIT_S = PARTITION_CHECK_WAIT_NS / NS_PER_SECOND
_NEW_SERVER_DELAY_S = PARTITION_NEW_SERVER_DELAY_NS / NS_PER_SECOND


class PartitionWatch:
    """`begin` once, `stop` once."""

    def __init__(
        self,
        cluster_id: str,
        server_id: str,
        channels: Sequence[bytes],
        nats: NatsSide,
        on_conflict: Callable[[str], None],
    ) -> None:
        """
        Args:
            channels: names and patterns that are ours.
            on_conflict: called when somebody turns out to have one of them after the start.
        """
        self._subject = f"_STAN.part.{cluster_id}".encode()
        self._server_id = server_id.encode()
        self._channels = channels
        self._patterns = PatternSet(channels)
        self._nats = nats
        self._on_conflict = on_conflict
        self._link = ControlLink()
        self._connection: NatsConnection | None = None
        self._known_servers: set[str] = set()
        self._ask_again: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Connect, listen to the lists of others, and see that nobody has our channels; that takes a second.

        Raises:
            ConfigError: somebody has, or a name is too long for a message.
            NatsLinkError, NatsServerError: NATS cannot be reached.
        """
        # After an outage somebody may have come who did not hear us.
        self._connection = connection = self._nats.connection(
            "pc", self._link, on_info=self._on_info, on_connected=self._ask_again.set
        )
        self._link.attach(connection)
        self._link.subscribe(self._subject, self._on_list)
        await self._nats.connect(connection)
        self._ask_again.clear()
        await self._ask(connection)
        self._task = asyncio.get_running_loop().create_task(self._watch(connection), name="partitions")
        self._task.add_done_callback(self._on_watch_end)

    # Asking.

    async def _ask(self, connection: NatsConnection) -> None:
        """Send our list; returns after a second of silence.

        Raises:
            ConfigError: a conflict.
            NatsLinkError: the list could not be sent.
        """
        conflict: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        heard = asyncio.Event()

        def on_answer(payload: bytes, _reply: bytes) -> None:
            answer = decode_answer(payload)
            if answer is None:
                return
            heard.set()
            server_id, name = answer
            if name and not conflict.done():
                conflict.set_result(
                    f"channel {quoted(name)} causes conflict with channels on server {quoted(server_id)}"
                )

        inbox = b"_INBOX." + new_nuid()
        sid = self._link.subscribe(inbox, on_answer)
        try:
            # What others send from now on reaches us: of two that start at once, at least one sees the other.
            await connection.flush(_FLUSH_S)
            for payload in encode_channel_lists(self._server_id, self._channels, connection.max_payload):
                self._link.publish(self._subject, payload, inbox)
            await connection.flush(_FLUSH_S)
            while not conflict.done():
                heard.clear()
                try:
                    async with asyncio.timeout(_WAIT_S):
                        await heard.wait()
                except TimeoutError:
                    break
            if conflict.done():
                raise ConfigError(conflict.result(), option="channels")
        finally:
            self._link.unsubscribe(sid)

    async def _watch(self, connection: NatsConnection) -> None:
        while True:
            await self._ask_again.wait()
            await asyncio.sleep(_NEW_SERVER_DELAY_S)  # its routes may not be up yet
            self._ask_again.clear()
            try:
                await self._ask(connection)
            except ConfigError as error:
                self._on_conflict(f"Partitioning error: {error}")
                return
            except NatsLinkError as error:
                _log.debug("The list of channels could not be sent: %s", error)
                self._ask_again.set()

    def _on_watch_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("bug: watching other partitions ended in an error", exc_info=error)
            self._on_conflict(f"Partitioning error: {error!r}")

    def _on_info(self, info: ServerInfo) -> None:
        servers = set(info.connect_urls)
        if servers - self._known_servers:
            self._ask_again.set()
        self._known_servers = servers

    # Answering.

    def _on_list(self, payload: bytes, reply: bytes) -> None:
        if not reply:
            return
        channels = decode_channel_list(payload)
        if channels is None or not channels.names or channels.server_id == self._server_id:
            return
        conflict = next((name for name in map(self._conflict, channels.names) if name), b"")
        try:
            self._link.publish(reply, encode_answer(self._server_id, conflict))
        except NatsLinkError as error:
            _log.debug("A list of channels could not be answered: %s", error)

    def _conflict(self, name: bytes) -> bytes:
        """The narrower of a foreign name and the one of ours that shares a channel with it; b"" if none does."""
        ours = self._patterns.overlapping(name)
        if ours is None:
            return b""
        return ours if b"*" in name or b">" in name else name

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._connection is not None:
            await self._connection.close()
