"""Connected clients: connect, duplicate IDs, heartbeats, pings, close."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from nats_streaming.constants import (
    DUPLICATE_PROBE_TIMEOUT_NS,
    NS_PER_MS,
    PING_HEARTBEAT_DELAY_NS,
    STAN_PROTOCOL,
)
from nats_streaming.errors import ReplyText, bare, quoted
from nats_streaming.protocol.control_messages import (
    ClientInfo,
    CloseRequest,
    ConnectRequest,
    ConnectResponse,
    ErrorResponse,
    Ping,
    decode,
    encode,
)
from nats_streaming.protocol.nats_writer import put_publish
from nats_streaming.protocol.subjects import is_client_id
from nats_streaming.stores.batch import ClientPut, ClientRemoved
from nats_streaming.streaming.context import Context
from nats_streaming.streaming.timers import Timer

_log = logging.getLogger("nats_streaming")

_SHOWN = 64  # characters of a client ID that is refused for its length


class Client:
    """One connected client. `subscriptions` are its active ones, in the order in which they came."""

    def __init__(self, info: ClientInfo) -> None:
        self.info = info
        self.subscriptions: dict[Any, None] = {}
        self.failures = 0
        self.heartbeat_timer: Timer | None = None
        self.awaiting_reply = False
        self.removed = False

    @property
    def name(self) -> str:
        return self.info.id.decode("utf-8", "replace")


class SubscriptionOwner(Protocol):
    """What the clients need of the subscriptions."""

    def close_all(self, client: Client) -> None:
        """Close every subscription of a client that leaves."""


class Clients:
    """Invariant: `by_id` and, for those that have one, `by_connection` name registered clients only."""

    def __init__(
        self,
        context: Context,
        by_id: dict[bytes, Client],
        by_connection: dict[bytes, Client],
        subscriptions: SubscriptionOwner,
    ) -> None:
        """
        Args:
            by_id: the inlet's table, shared with it; so is `by_connection`.
        """
        self._context = context
        self.by_id = by_id
        self.by_connection = by_connection
        self._subscriptions = subscriptions
        self._probed: set[bytes] = set()

    # Connect.

    def on_connect(self, reply: bytes, payload: bytes) -> None:
        request = decode(ConnectRequest, payload)
        if request is None or not request.heartbeat_inbox:
            _log.error(
                "[Client:?] Invalid conn request: ClientID=%s, Inbox=%s, err=%s",
                bare(request.client_id if request else b""),
                "",
                "no heartbeat inbox" if request else "not a ConnectRequest",
            )
            self._refuse(reply, ReplyText.INVALID_CONNECT)
            return
        client_id = request.client_id
        if not is_client_id(client_id):
            _log.error(
                "[Client:%s] Invalid ClientID, only alphanumeric and `-` or `_` characters allowed",
                bare(client_id),
            )
            self._refuse(reply, ReplyText.INVALID_CLIENT_ID)
            return
        fault = self._context.name_fault("client ID", client_id) or self._context.name_fault(
            "heartbeat inbox", request.heartbeat_inbox
        )
        if fault:
            _log.error("[Client:%s] %s", bare(client_id[:_SHOWN]), fault)
            self._refuse(reply, fault)
            return
        if client_id in self._probed:
            self._refuse_duplicate(client_id, reply)
            return
        owner = self.by_id.get(client_id)
        if owner is None:
            self._register(request, reply, "Connected")
            return
        self._probed.add(client_id)
        self._context.requests.send(
            owner.info.heartbeat_inbox,
            self._context.now_ns + DUPLICATE_PROBE_TIMEOUT_NS,
            lambda answer: self._on_probe(request, reply, owner, answer is not None),
        )

    def _on_probe(self, request: ConnectRequest, reply: bytes, owner: Client, answered: bool) -> None:
        """The registered owner of an ID answered, or did not."""
        self._probed.discard(request.client_id)
        # While our own link is down, silence says nothing about the owner.
        if not owner.removed and (answered or not self._context.delivery.enabled):
            self._refuse_duplicate(request.client_id, reply)
            return
        if owner.removed:
            self._register(request, reply, "Connected")
            return
        self._remove(owner)
        _log.debug("[Client:%s] Closed (Inbox=%s)", owner.name, bare(owner.info.heartbeat_inbox))
        self._register(request, reply, "Replaced old client")

    def _refuse_duplicate(self, client_id: bytes, reply: bytes) -> None:
        _log.debug("[Client:%s] Connect failed; already connected", client_id.decode())
        self._refuse(reply, ReplyText.CLIENT_ID_REGISTERED)

    def _refuse(self, reply: bytes, text: str) -> None:
        self._context.reply(reply, encode(ConnectResponse(error=text.encode("utf-8", "replace"))))

    def _register(self, request: ConnectRequest, reply: bytes, log_word: str) -> None:
        info = ClientInfo(
            request.client_id,
            request.heartbeat_inbox,
            request.connection_id,
            request.protocol,
            request.ping_interval,
            request.ping_max_out,
        )
        client = Client(info)
        self.add(client)
        self._context.stage(ClientPut(info))
        self._context.cycle.on_end(
            lambda: self._accepted(client, reply, log_word), lambda text: self._not_registered(client, reply, text)
        )
        self._context.early.on_registered(info.id, info.connection_id)

    def add(self, client: Client) -> None:
        """Register a client and start its heartbeats."""
        self.by_id[client.info.id] = client
        if client.info.connection_id:
            self.by_connection[client.info.connection_id] = client
        self._context.inlet.forget_identities()
        self._schedule_heartbeat(client, self._interval_ns())

    def restore(self, info: ClientInfo) -> None:
        """A client of an earlier run; `begin` starts its heartbeats."""
        client = Client(info)
        self.by_id[info.id] = client
        if info.connection_id:
            self.by_connection[info.connection_id] = client

    def begin(self) -> None:
        """Start the heartbeats of restored clients."""
        for client in self.by_id.values():
            if client.heartbeat_timer is None and not client.awaiting_reply:
                self._schedule_heartbeat(client, self._interval_ns())

    def _accepted(self, client: Client, reply: bytes, log_word: str) -> None:
        info, server = client.info, self._context.info
        response = ConnectResponse(
            publish_prefix=server.publish,
            subscribe_requests=server.subscribe,
            unsubscribe_requests=server.unsubscribe,
            close_requests=server.close,
            subscription_close_requests=server.subscription_close,
            protocol=STAN_PROTOCOL,
        )
        if info.protocol >= 1:
            response.ping_requests = self._context.subjects.pings
            response.ping_interval = info.ping_interval
            response.ping_max_out = info.ping_max_out
        if reply:
            put_publish(self._context.delivery.out, reply, b"", encode(response))
        _log.debug("[Client:%s] %s (Inbox=%s)", client.name, log_word, bare(info.heartbeat_inbox))

    def _not_registered(self, client: Client, reply: bytes, text: str) -> None:
        if not client.removed:
            # With a record of it: the store may have the client nevertheless.
            self._remove(client)
        self._context.reply_now(reply, encode(ConnectResponse(error=text.encode("utf-8", "replace"))))

    # Close.

    def on_close(self, reply: bytes, payload: bytes) -> None:
        request = decode(CloseRequest, payload)
        if request is None:
            _log.error("Received invalid close request")
            self._say_farewell(reply, ReplyText.INVALID_CLOSE)
            return
        client = self.by_id.get(request.client_id)
        if client is None:
            _log.error("Unknown client %s in close request", quoted(request.client_id))
            self._say_farewell(reply, ReplyText.UNKNOWN_CLIENT_ID)
            return
        self._remove(client)
        _log.debug("[Client:%s] Closed (Inbox=%s)", client.name, bare(client.info.heartbeat_inbox))
        self._say_farewell(reply, "")

    def _say_farewell(self, reply: bytes, error: str) -> None:
        """Behind the acks of what the client published before."""
        if reply:
            put_publish(self._context.cycle.farewells, reply, b"", encode(ErrorResponse(error.encode())))
            self._context.cycle.waited_for = True

    def _remove(self, client: Client) -> None:
        """Take a client out, close what it subscribed to."""
        self._forget(client)
        self._context.stage(ClientRemoved(client.info.id))
        self._subscriptions.close_all(client)

    def _forget(self, client: Client) -> None:
        client.removed = True
        if client.heartbeat_timer is not None:
            client.heartbeat_timer.cancel()
        if self.by_id.get(client.info.id) is client:
            del self.by_id[client.info.id]
        # A later client with the same connection ID has taken the entry over, and keeps it.
        if self.by_connection.get(client.info.connection_id) is client:
            del self.by_connection[client.info.connection_id]
        self._context.inlet.forget_identities()

    # Heartbeats.

    def _interval_ns(self) -> int:
        # Zero and less are accepted as options; no client is asked more than a thousand times a second.
        return max(self._context.options.heartbeat_interval_ns, NS_PER_MS)

    def _schedule_heartbeat(self, client: Client, wait_ns: int) -> None:
        if client.heartbeat_timer is not None:
            client.heartbeat_timer.cancel()
        client.heartbeat_timer = self._context.timers.at(self._context.now_ns + wait_ns, self._heartbeat, client)

    def _heartbeat(self, client: Client) -> None:
        client.heartbeat_timer = None
        if client.removed or client.awaiting_reply:
            return
        if not self._context.delivery.enabled:
            # Our own link is down: that says nothing about the client.
            self._schedule_heartbeat(client, self._interval_ns())
            return
        client.awaiting_reply = True
        self._context.requests.send(
            client.info.heartbeat_inbox,
            self._context.now_ns + self._context.options.heartbeat_timeout_ns,
            lambda answer: self._on_heartbeat_end(client, answer is not None),
        )

    def _on_heartbeat_end(self, client: Client, answered: bool) -> None:
        client.awaiting_reply = False
        if client.removed:
            return
        had_failed = client.failures > 0
        if answered:
            client.failures = 0
        elif self._context.delivery.enabled:
            client.failures += 1
        if client.failures > self._context.options.heartbeat_fail_count:
            _log.error("[Client:%s] Timed out on heartbeats", client.name)
            self._remove(client)
            _log.debug("[Client:%s] Closed (Inbox=%s)", client.name, bare(client.info.heartbeat_inbox))
            return
        has_failed = client.failures > 0
        if has_failed != had_failed:
            for subscription in client.subscriptions:
                subscription.failed_heartbeat = has_failed
        self._schedule_heartbeat(client, self._interval_ns())

    # Pings.

    def on_ping(self, reply: bytes, payload: bytes) -> None:
        if not payload:
            return
        ping = decode(Ping, payload)
        if ping is None:
            return
        client = self.by_connection.get(ping.connection_id) if ping.connection_id else None
        if client is None:
            self._context.reply_now(reply, encode(ErrorResponse(ReplyText.CLIENT_REPLACED.encode())))
            return
        self._context.reply_now(reply, b"")
        if client.failures and not client.awaiting_reply:
            self._schedule_heartbeat(client, PING_HEARTBEAT_DELAY_NS)
