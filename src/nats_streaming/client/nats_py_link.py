"""The link over nats-py: a connection handed in, or one made with options that only nats-py has.

nats-py's callbacks belong to the user, so what happens to the connection is read from its public state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error as NatsError

from nats_streaming.client.link import Address, Handler, LinkEvents
from nats_streaming.client.nats_options import NatsOptions
from nats_streaming.errors import ConnectError, NoResponse
from nats_streaming.protocol.client_messages import encode_ack

WATCH_SECONDS = 0.05
"""Between two looks at the connection's state."""

FIRST_CONNECT_SECONDS = 15.0
"""For the first connect, unless `max_reconnect_attempts` is given, which then bounds it."""

OUTGOING_MAX = 4096
"""Messages waiting to be handed to nats-py before publishers and acks wait."""


class NatsPyLink:
    """A `ClientLink` over a nats-py connection, its own or somebody else's."""

    def __init__(self, connection: NatsClient | None, servers: Sequence[str], name: str, options: NatsOptions) -> None:
        """
        Args:
            connection: a connected one, which stays its owner's to close; None makes one.
            servers, options: as nats-py takes them.
            name: of the connection, if `options` have none.
        """
        self._nats = connection or NatsClient()
        self._is_ours = connection is None
        self._servers = list(servers)
        # nats-py counts the attempts of the first connect, too: bounded there, and without limit later.
        self._tries_for_ever_later = "max_reconnect_attempts" not in options
        self._options: dict[str, Any] = {"name": name, "max_reconnect_attempts": 1, "reconnect_time_wait": 0.25}
        self._options |= options
        self._events: LinkEvents | None = None
        self._subscriptions: dict[int, NatsSubscription] = {}
        self._next_number = 1
        self._outgoing: deque[tuple[str, str, bytes]] = deque()
        self._something_to_send = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_connected(self) -> bool:
        return self._nats.is_connected

    @property
    def is_writable(self) -> bool:
        return len(self._outgoing) < OUTGOING_MAX

    @property
    def max_payload(self) -> int:
        return self._nats.max_payload

    async def connect(self, events: LinkEvents) -> None:
        if self._is_ours:
            try:
                # It may wait for ever for a TLS connection to close that was never made.
                async with asyncio.timeout(FIRST_CONNECT_SECONDS if self._tries_for_ever_later else None):
                    await self._nats.connect(self._servers, **self._options)
            except (NatsError, OSError, ValueError) as error:
                await self._disconnect(1.0)
                raise ConnectError(f"nats: {error or type(error).__name__}") from error
            if self._tries_for_ever_later:
                self._nats.options["max_reconnect_attempts"] = -1
        elif not self._nats.is_connected:
            raise ConnectError("nats: the connection handed in is not connected")
        self._events = events
        self._tasks = [asyncio.create_task(self._send_outgoing()), asyncio.create_task(self._watch())]

    async def subscribe(self, subject: bytes, handler: Handler, messages_max: int) -> int:
        async def on_message(message: Msg) -> None:
            status = (message.headers or {}).get("Status", "")
            handler(
                message.data, 0, len(message.data), message.reply.encode(), int(status) if status.isdecimal() else 0
            )

        try:
            subscription = await self._nats.subscribe(
                subject.decode(), cb=on_message, pending_msgs_limit=messages_max, pending_bytes_limit=-1
            )
        except NatsError as error:
            raise ConnectError(f"nats: {error}") from error
        number = self._next_number
        self._next_number += 1
        self._subscriptions[number] = subscription
        return number

    def unsubscribe(self, number: int) -> None:
        subscription = self._subscriptions.pop(number, None)
        if subscription is not None:
            task = asyncio.ensure_future(self._unsubscribe(subscription))
            self._tasks = [*(task for task in self._tasks if not task.done()), task]

    def publish(self, address: Address, payload: bytes) -> None:
        self._outgoing.append((address.subject.decode(), address.reply.decode(), payload))
        self._something_to_send.set()

    def publish_ack(self, address: Address, subject_field: bytes, sequence: int) -> None:
        self.publish(address, encode_ack(subject_field, sequence))

    async def flush(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while self._outgoing:
                    await asyncio.sleep(0)
                # Its PING goes past publishes that still wait in its buffer, and has them written: a second one is
                # behind them.
                await self._nats.flush()
                await self._nats.flush()
        except (TimeoutError, NatsError) as error:
            raise NoResponse(f"nats: {error or 'timeout'}") from None

    async def close(self, timeout_s: float) -> None:
        self._events = None
        if self._nats.is_connected:
            with contextlib.suppress(NoResponse):  # what was not acknowledged is reported by its publish
                await self.flush(timeout_s)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for number in list(self._subscriptions):
            await self._unsubscribe(self._subscriptions.pop(number))
        if self._is_ours:
            await self._disconnect(timeout_s)

    async def _disconnect(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):  # then it waits for itself, and its task is cancelled
            async with asyncio.timeout(timeout_s):
                await self._nats.close()

    async def _unsubscribe(self, subscription: NatsSubscription) -> None:
        with contextlib.suppress(NatsError):  # closed or not connected: then there is nothing left to end
            await subscription.unsubscribe()

    async def _send_outgoing(self) -> None:
        """One task sends everything, so that the order is kept."""
        while True:
            await self._something_to_send.wait()
            self._something_to_send.clear()
            while self._outgoing:
                subject, reply, payload = self._outgoing.popleft()
                if not self._nats.is_connected:
                    continue
                try:
                    await self._nats.publish(subject, payload, reply)
                except NatsError as error:
                    self._report(error)
                if len(self._outgoing) == OUTGOING_MAX // 2 and self._events is not None:
                    self._events.on_link_writable()
            if self._events is not None:
                self._events.on_link_writable()

    def _report(self, error: Exception) -> None:
        if self._events is not None:
            self._events.on_link_error(error)

    async def _watch(self) -> None:
        is_up = True
        reconnects = self._nats.stats["reconnects"]
        while self._events is not None:
            await asyncio.sleep(WATCH_SECONDS)
            events = self._events
            if events is None:
                return
            if self._nats.is_closed:
                events.on_link_closed(f"nats: connection closed ({self._nats.last_error or 'by its owner'})")
                return
            now_up = self._nats.is_connected
            again = self._nats.stats["reconnects"] != reconnects
            reconnects = self._nats.stats["reconnects"]
            if is_up and (again or not now_up):
                events.on_link_down(f"nats: disconnected ({self._nats.last_error or 'by the server'})")
                is_up = False
            if not is_up and now_up:
                is_up = True
                events.on_link_up()
