"""The link over our own compiled NATS reader: the fast one, for TCP and TLS with a password, a token or nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nats_streaming import __version__
from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.client.link import Address, Handler, LinkEvents
from nats_streaming.client.nats_options import NatsOptions
from nats_streaming.errors import ConfigError, ConnectError, NatsLinkError, NoResponse
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.nats.credentials import CredentialsFile, NkeySeedFile
from nats_streaming.nats.handshake import Authenticator, LinkOptions
from nats_streaming.nats.urls import parse_server_url
from nats_streaming.protocol.client_messages import put_ack_frame, put_frame
from nats_streaming.protocol.nats_reader import MessageSink

if TYPE_CHECKING:
    from collections.abc import Callable

FLUSH_BYTES = 64 * 1024
"""Frames gathered before they are handed to the transport within one turn of the loop."""

_logger = logging.getLogger("nats_streaming.client")


class _Dispatcher(MessageSink):
    """Hands each message to the handler of its subscription."""

    def __init__(self) -> None:
        self.handlers: dict[int, Handler] = {}

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
        handler = self.handlers.get(sid)
        if handler is not None:  # else it crossed our UNSUB
            reply = bytes(data[reply_start:reply_stop]) if reply_stop > reply_start else b""
            handler(data, payload_start, payload_stop, reply, status)


class NativeLink:
    """A `ClientLink` over `nats.connection`. Frames of one turn of the loop leave in one write."""

    def __init__(self, servers: Sequence[str], name: str, options: NatsOptions) -> None:
        """
        Args:
            servers: addresses as nats-py takes them.
            name: of the connection, if `options` have none.
            options: those in `nats_options.NATIVE` only.

        Raises:
            ConfigError: an address cannot be understood.
        """
        if not servers:
            raise ConfigError("servers: at least one address is needed")
        urls = [parse_server_url(address) for address in servers]
        if not options.get("dont_randomize", False):
            random.shuffle(urls)
        link_options = LinkOptions(
            name=options.get("name") or name,
            user=options.get("user"),
            password=options.get("password"),
            token=options.get("token"),
            authenticator=_authenticator(options),
            ssl_context=options.get("tls"),
            tls_required="tls" in options,
            tls_hostname=options.get("tls_hostname"),
            tls_handshake_first=options.get("tls_handshake_first", False),
            version=__version__,
        )
        link_options.connect_timeout_s = options.get("connect_timeout", link_options.connect_timeout_s)
        link_options.reconnect_wait_s = options.get("reconnect_time_wait", link_options.reconnect_wait_s)
        link_options.ping_interval_s = options.get("ping_interval", link_options.ping_interval_s)
        link_options.pings_outstanding_max = options.get("max_outstanding_pings", link_options.pings_outstanding_max)
        self._dispatcher = _Dispatcher()
        self._connection = NatsConnection(
            urls,
            self._dispatcher,
            link_options,
            on_connected=self._on_connected,
            on_disconnected=self._on_disconnected,
            on_writable=self._on_writable,
            logger=_logger,
        )
        self.is_writable = False  # asked for at every publish, so not a property
        self._out = ByteBuffer(2 * FLUSH_BYTES)
        self._flush_is_scheduled = False
        self._next_sid = 1
        self._events: LinkEvents | None = None
        self._call_soon: Callable[[Callable[[], None]], object] = _not_connected

    @property
    def is_connected(self) -> bool:
        return self._connection.is_connected

    @property
    def max_payload(self) -> int:
        return self._connection.max_payload

    async def connect(self, events: LinkEvents) -> None:
        self._call_soon = asyncio.get_running_loop().call_soon
        try:
            await self._connection.connect()
        except NatsLinkError as error:
            await self._connection.close()
            raise ConnectError(str(error)) from None
        self._events = events

    async def subscribe(self, subject: bytes, handler: Handler, messages_max: int) -> int:
        sid = self._next_sid
        self._next_sid += 1
        self._dispatcher.handlers[sid] = handler
        self._connection.subscribe(subject, sid)
        return sid

    def unsubscribe(self, number: int) -> None:
        if self._dispatcher.handlers.pop(number, None) is not None:
            self._flush()  # what was published before reaches the server before
            self._connection.unsubscribe(number)

    def publish(self, address: Address, payload: bytes) -> None:
        put_frame(self._out, address.head, payload)
        self._flush_soon()

    def publish_ack(self, address: Address, subject_field: bytes, sequence: int) -> None:
        put_ack_frame(self._out, address.head, subject_field, sequence)
        self._flush_soon()

    async def flush(self, timeout_s: float) -> None:
        self._flush()
        try:
            await self._connection.flush(timeout_s)
        except NatsLinkError as error:
            raise NoResponse(str(error)) from None

    async def close(self, timeout_s: float) -> None:
        self._flush()
        self._events = None
        await self._connection.close(timeout_s)

    def _flush_soon(self) -> None:
        if self._out.used >= FLUSH_BYTES:
            self._flush()
        elif not self._flush_is_scheduled:
            self._flush_is_scheduled = True
            self._call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._flush_is_scheduled = False
        self._flush()

    def _flush(self) -> None:
        if self._out.used:
            frames = self._out.take()
            if self._connection.is_connected:
                self._connection.write(frames)

    def _on_connected(self) -> None:
        self.is_writable = True
        if self._events is not None:
            self._events.on_link_up()

    def _on_disconnected(self, reason: str | None) -> None:
        self.is_writable = False
        self._out.truncate(0)
        if self._events is not None:
            self._events.on_link_down(reason or "nats: the server closed the connection")

    def _on_writable(self, is_writable: bool) -> None:
        self.is_writable = is_writable
        if is_writable and self._events is not None:
            self._events.on_link_writable()


def _authenticator(options: NatsOptions) -> Authenticator | None:
    """What proves who we are, if a file is to do it."""
    credentials, seed = options.get("user_credentials"), options.get("nkeys_seed")
    if credentials is not None:
        return CredentialsFile(str(credentials))
    return None if seed is None else NkeySeedFile(seed)


def _not_connected(_callback: Callable[[], None]) -> object:
    raise ConnectError("nats: not connected")
