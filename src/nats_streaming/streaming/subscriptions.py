"""Requests about subscriptions: validate, create or resume, close, unsubscribe."""

from __future__ import annotations

import logging
from typing import Any

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ReplyText, RequestError, bare, quoted
from nats_streaming.protocol.control_messages import (
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
    decode,
    encode,
)
from nats_streaming.protocol.nats_writer import put_publish
from nats_streaming.protocol.subjects import is_channel_name
from nats_streaming.stores.batch import SubscriptionPut
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.channels import Channels
from nats_streaming.streaming.clients import Client
from nats_streaming.streaming.context import Context, Seek
from nats_streaming.streaming.membership import Membership, state_of
from nats_streaming.streaming.redelivery import Redelivery
from nats_streaming.streaming.start_position import (
    FIRST,
    NEW_ONLY,
    describe,
    needs_store,
    start_sequence,
    start_time_ns,
)
from nats_streaming.streaming.subscription import QueueGroup, Subscription

_log = logging.getLogger("nats_streaming")


class Subscriptions:
    """Every subscription hangs on its channel (by inbox, durable name or group) and on its client."""

    def __init__(
        self, context: Context, channels: Channels, clients: dict[bytes, Client], redelivery: Redelivery
    ) -> None:
        self._context = context
        self._channels = channels
        self._clients = clients
        self._redelivery = redelivery
        self.membership = Membership(context, channels, redelivery)
        self._behind_seek: dict[tuple[bytes, bytes, bytes], list[tuple[bytes, bytes]]] = {}

    # Subscribe.

    def on_subscribe(self, reply: bytes, payload: bytes) -> None:
        request = decode(SubscriptionRequest, payload)
        if request is None:
            _log.error(
                "Invalid Subscription request from %s: %d bytes that are no SubscriptionRequest",
                self._context.info.subscribe.decode(),
                len(payload),
            )
            self._refuse(reply, ReplyText.INVALID_SUBSCRIBE)
            return
        fault = self._fault(request)
        if fault is not None:
            text, log_text = fault
            _log.error(log_text)
            self._refuse(reply, text)
            return
        if not self._context.is_ours(request.subject):
            return  # another server answers
        client = self._clients.get(request.client_id)
        if client is None:
            self._on_unknown_client(request, reply, payload)
            return
        try:
            channel = self._channels.open(request.subject)
            self._channels.stop_inactivity(channel)
            waiting = self._behind_seek.get(identity(request))
            if waiting is not None:
                waiting.append((reply, payload))
                return
            self._start(channel, client, request, reply)
        except RequestError as error:
            _log.error("Unable to create subscription on %s: %s", quoted(request.subject), error.text)
            self._refuse(reply, error.text)
            known = self._channels.by_name.get(request.subject)
            if known is not None:
                self._channels.watch_inactivity(known)

    def _on_unknown_client(self, request: SubscriptionRequest, reply: bytes, payload: bytes) -> None:
        context = self._context
        if context.partition is None:
            self._refuse(reply, ReplyText.UNKNOWN_CLIENT_ID)
        elif not context.early.hold(
            request.client_id, b"", len(payload), context.now_ns, lambda: self.on_subscribe(reply, payload)
        ):
            self._refuse(reply, ReplyText.INVALID_SUBSCRIBE)

    def _fault(self, request: SubscriptionRequest) -> tuple[str, str] | None:
        """The reply and the log line for a request that can be refused by looking at it alone."""
        source = self._context.info.subscribe.decode("utf-8", "replace")
        who = f"[Client:{bare(request.client_id)}]"
        if not request.client_id:
            return ReplyText.CLIENT_ID_MISSING, f"Missing ClientID in subscription request from {source}"
        if request.ack_wait_seconds <= 0:
            value = request.ack_wait_seconds
            return ReplyText.INVALID_ACK_WAIT, f"{who} Invalid AckWait ({value}) in subscription request from {source}"
        if request.max_in_flight <= 0:
            value = request.max_in_flight
            return (
                ReplyText.INVALID_MAX_IN_FLIGHT,
                f"{who} Invalid MaxInflight ({value}) in subscription request from {source}",
            )
        if not NEW_ONLY <= request.start_position <= FIRST:
            value = request.start_position
            return (
                ReplyText.INVALID_START_POSITION,
                f"{who} Invalid StartPosition ({value}) in subscription request from {source}",
            )
        if not is_channel_name(request.subject):
            name = quoted(request.subject)
            return ReplyText.INVALID_SUBJECT, f"{who} Invalid channel {name} in subscription request from {source}"
        for what, given in (
            ("durable name", request.durable_name),
            ("queue group name", request.queue_group),
            ("inbox", request.inbox),
        ):
            fault = self._context.name_fault(what, given)
            if fault:
                return fault, f"{who} {fault}, in subscription request from {source}"
        return None

    def _start(self, channel: Channel, client: Client, request: SubscriptionRequest, reply: bytes) -> None:
        if request.queue_group:
            if request.durable_name and b":" in request.durable_name:
                who, name = bare(request.client_id), quoted(request.durable_name)
                channel_name = bare(request.subject)
                _log.error("[Client:%s] Invalid DurableName (%s) for queue subscriber from %s", who, name, channel_name)
                raise RequestError(ReplyText.INVALID_DURABLE_NAME)
            group = channel.groups_by_name.get(group_name(request))
            if group is not None:
                self._join(group, client, request, reply)
                return
        elif request.durable_name:
            durable = channel.durables.get((request.client_id, request.durable_name))
            if durable is not None:
                if not durable.is_offline:
                    if not self._context.options.replace_durable:
                        who = bare(request.client_id)
                        _log.error("[Client:%s] Duplicate durable subscription registration", who)
                        raise RequestError(ReplyText.DUPLICATE_DURABLE)
                    self.membership.close(durable)
                self._resume(durable, client, request, reply)
                return
        self._check_limit(channel)
        subscription = self._new(channel, client, request)
        # Counted and findable from here on; eligible only after the commit.
        channel.subscription_count += 1
        if needs_store(request, channel.window):
            self._seek(subscription, client, request, reply)
        else:
            self._place(subscription, client, request, reply, None)

    def _seek(self, subscription: Subscription, client: Client, request: SubscriptionRequest, reply: bytes) -> None:
        """Let the store search for the position; requests for the same durable or group wait for the end of it."""
        is_named = bool(request.queue_group or request.durable_name)
        if is_named:
            self._behind_seek[identity(request)] = []

        def found(sequence: int) -> None:
            self._context.read_clock()
            self._place(subscription, client, request, reply, sequence)
            go_on()

        def failed(text: str) -> None:
            self._context.read_clock()
            self._give_up(subscription, reply, text)
            go_on()

        def go_on() -> None:
            if is_named:
                for other_reply, payload in self._behind_seek.pop(identity(request)):
                    self.on_subscribe(other_reply, payload)

        since_ns = start_time_ns(request, self._context.wall_ns)
        self._context.seeks.append(Seek(subscription.channel.name, since_ns, found, failed))

    def _check_limit(self, channel: Channel) -> None:
        limit = channel.limits.max_subscriptions
        if limit and channel.subscription_count >= limit:
            raise RequestError(ReplyText.TOO_MANY_SUBSCRIPTIONS)

    def _new(self, channel: Channel, client: Client, request: SubscriptionRequest) -> Subscription:
        """A subscription with the request's options and a new ack inbox, hung on its client and channel."""
        subscription = Subscription(
            channel, request.client_id, request.max_in_flight, request.ack_wait_seconds * NS_PER_SECOND
        )
        subscription.id = self._context.next_subscription_id(channel)
        subscription.is_durable = bool(request.durable_name)
        if not request.queue_group:
            subscription.durable_name = request.durable_name
        self._attach(subscription, client, request.inbox)
        return subscription

    def _attach(self, subscription: Subscription, client: Client, inbox: bytes) -> None:
        """Give it a new ack inbox and enter it where requests will look for it."""
        token = self._context.inlet.add_ack_slot(subscription)
        subscription.ack_inbox = self._context.subjects.ack_prefix + str(token).encode()
        subscription.set_inbox(inbox)
        subscription.client_id = client.info.id
        channel = subscription.channel
        channel.by_inbox[subscription.ack_inbox] = subscription
        channel.by_inbox.setdefault(inbox, subscription)
        client.subscriptions[subscription] = None

    def _place(
        self,
        subscription: Subscription,
        client: Client,
        request: SubscriptionRequest,
        reply: bytes,
        found_by_time: int | None,
    ) -> None:
        """Give a new subscription its position and enter it in its channel."""
        if subscription.removed:
            # Its client left while the store was searching.
            self._refuse(reply, ReplyText.UNKNOWN_CLIENT_ID)
            return
        channel = subscription.channel
        sequence = start_sequence(request, channel.window, self._context.wall_ns, found_by_time)
        subscription.last_sent = sequence - 1
        kind = "subscription"
        if request.queue_group:
            name = group_name(request)
            group = QueueGroup(channel, name, bool(request.durable_name))
            group.last_sent = sequence - 1
            channel.groups_by_name[name] = group
            channel.groups.append(group)
            self._enter_group(subscription, group)
            kind = "queue subscription"
        else:
            channel.subscriptions.append(subscription)
            if request.durable_name:
                channel.durables[(request.client_id, request.durable_name)] = subscription
        if request.durable_name:
            kind = "durable " + kind
        position = describe(request, sequence, self._context.wall_ns)
        self._answer(subscription, client, reply, f"Started new {kind}", position, resumed=False)

    def _give_up(self, subscription: Subscription, reply: bytes, text: str) -> None:
        """The store could not say where a new subscription begins."""
        channel_name = subscription.channel.name
        _log.error("Unable to create subscription on %s: %s", quoted(channel_name), text)
        if not subscription.removed:
            self.membership.discard(subscription)
        self._context.reply_now(reply, encode(SubscriptionResponse(error=text.encode("utf-8", "replace"))))

    def _enter_group(self, subscription: Subscription, group: QueueGroup) -> None:
        subscription.group = group
        subscription.queue_name = group.name
        subscription.is_durable = group.is_durable
        group.members.append(subscription)

    def _join(self, group: QueueGroup, client: Client, request: SubscriptionRequest, reply: bytes) -> None:
        kind = "durable queue subscription" if group.is_durable else "queue subscription"
        offline = group.offline
        if offline is not None:
            group.offline = None
            self._enter_group(offline, group)
            self._resume(offline, client, request, reply)
            return
        self._check_limit(group.channel)
        subscription = self._new(group.channel, client, request)
        group.channel.subscription_count += 1
        self._enter_group(subscription, group)
        self._answer(subscription, client, reply, f"Added member to {kind}", "", resumed=False)

    def _resume(self, subscription: Subscription, client: Client, request: SubscriptionRequest, reply: bytes) -> None:
        """An offline durable comes back: options of the request, position and unacked messages of before."""
        subscription.max_in_flight = request.max_in_flight
        subscription.ack_wait_ns = request.ack_wait_seconds * NS_PER_SECOND
        subscription.stalled = False
        subscription.failed_heartbeat = False
        subscription.is_offline = False
        subscription.removed = False
        self._attach(subscription, client, request.inbox)
        group = subscription.group
        if group is None:
            subscription.channel.subscriptions.append(subscription)
        if subscription.in_flight.count:
            subscription.on_hold = True
            if group is not None:
                group.on_hold = True
        kind = "durable queue subscription" if group is not None else "durable subscription"
        self._answer(subscription, client, reply, f"Resumed {kind}", "", resumed=True)

    def _answer(
        self, subscription: Subscription, client: Client, reply: bytes, what: str, position: str, *, resumed: bool
    ) -> None:
        """Stage the record; after its commit send the response, and only then let messages follow."""
        context = self._context
        context.stage(SubscriptionPut(subscription.channel.name, state_of(subscription)))
        response = encode(SubscriptionResponse(ack_inbox=subscription.ack_inbox))
        token = subscription.ack_token

        def committed() -> None:
            if subscription.ack_token != token:
                # Its client has left, or the durable was taken over, while this was being stored.
                self._refuse(reply, ReplyText.UNKNOWN_CLIENT_ID)
                return
            if reply:
                put_publish(context.delivery.out, reply, b"", response)
            self.membership.log(subscription, what, position)
            subscription.eligible = True
            if resumed:
                self._redelivery.resume(subscription)
            context.inlet.released.append(subscription)

        def failed(text: str) -> None:
            _log.error("Unable to create subscription on %s: %s", quoted(subscription.channel.name), text)
            context.reply_now(reply, encode(SubscriptionResponse(error=text.encode("utf-8", "replace"))))
            if subscription.ack_token == token:
                if resumed:
                    self.membership.close(subscription)
                else:
                    self.membership.discard(subscription)

        context.cycle.on_end(committed, failed)
        client.subscriptions.setdefault(subscription, None)

    def _refuse(self, reply: bytes, text: str) -> None:
        self._context.reply(reply, encode(SubscriptionResponse(error=text.encode("utf-8", "replace"))))

    def put_again(self, subscription: Subscription) -> None:
        """Its record must follow a change that is not its own."""
        self.membership.put(subscription)

    # Unsubscribe and close.

    def on_unsubscribe(self, reply: bytes, payload: bytes, *, close: bool) -> None:
        """Both kinds of end: a close keeps durables, an unsubscribe removes them."""
        request = decode(UnsubscribeRequest, payload)
        word = "sub close" if close else "unsub"
        if request is None:
            info = self._context.info
            source = info.subscription_close if close else info.unsubscribe
            _log.error("Invalid %s request from %s", word, bare(source))
            self._refuse(reply, ReplyText.INVALID_UNSUBSCRIBE)
            return
        if not self._context.is_ours(request.subject):
            return  # another server answers
        who = f"[Client:{bare(request.client_id)}]"
        channel = self._channels.by_name.get(request.subject)
        if channel is None:
            _log.error("%s %s request for unknown channel %s", who, word, bare(request.subject))
            self._refuse(reply, ReplyText.UNKNOWN_CHANNEL)
            return
        subscription = channel.by_inbox.get(request.inbox)
        if subscription is None:
            _log.error("%s %s request for unknown inbox %s", who, word, bare(request.inbox))
            self._refuse(reply, ReplyText.INVALID_SUBSCRIPTION)
            return
        client = self._clients.get(request.client_id)
        if client is None or subscription.client_id != request.client_id:
            _log.error("%s %s request for unknown client", who, word)
            self._refuse(reply, ReplyText.UNKNOWN_CLIENT_ID)
            return
        client.subscriptions.pop(subscription, None)
        if close:
            self.membership.close(subscription)
        else:
            self.membership.unsubscribe(subscription)
        self._channels.watch_inactivity(channel)
        self._context.reply(reply, encode(SubscriptionResponse()))

    def close_all(self, client: Client) -> None:
        """Close every subscription of a client that leaves."""
        subscriptions, client.subscriptions = client.subscriptions, {}
        for subscription in subscriptions:
            self.membership.close(subscription)
            self._channels.watch_inactivity(subscription.channel)

    def on_channel_removed(self, channel: Channel) -> None:
        """Durables that were offline go with their channel."""
        everything: list[Any] = list(channel.durables.values())
        everything += [group.offline for group in channel.groups if group.offline is not None]
        for subscription in everything:
            self._redelivery.stop(subscription)
            subscription.removed = True


def group_name(request: SubscriptionRequest) -> bytes:
    """The name of a queue group as operators see it: `durable:group` for a durable one."""
    if request.durable_name:
        return request.durable_name + b":" + request.queue_group
    return request.queue_group


def identity(request: SubscriptionRequest) -> tuple[bytes, bytes, bytes]:
    """What two requests have in common that are for the same durable or group."""
    if request.queue_group:
        return (request.subject, b"", group_name(request))
    return (request.subject, request.client_id, request.durable_name)
