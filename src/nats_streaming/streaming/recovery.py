"""From what a store recovered to a running engine, and what happens then without any client doing anything.

Two steps: `restore` before NATS is listened to, `begin` when clients are served. Source: protocol and
delivery specification, section 9.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from nats_streaming.constants import NS_PER_SECOND, REDELIVERY_SLACK_NS
from nats_streaming.errors import ConfigError, bare, quoted
from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.protocol.nats_writer import is_subject
from nats_streaming.stores.batch import SubscriptionRemoved
from nats_streaming.stores.state import StoredChannel, StoredSubscription, StoreState
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.channels import Channels
from nats_streaming.streaming.clients import Clients
from nats_streaming.streaming.context import Context
from nats_streaming.streaming.membership import Membership
from nats_streaming.streaming.redelivery import Redelivery, Waiting
from nats_streaming.streaming.subjects import SID_RECOVERED
from nats_streaming.streaming.subscription import QueueGroup, Subscription

_log = logging.getLogger("nats_streaming")


def server_info(state: StoreState | None, configured: ServerInfo) -> tuple[ServerInfo, bool]:
    """The subjects to use: those recorded at the first start, whatever is configured now.

    Args:
        configured: as `new_server_info` makes it from the options.

    Returns:
        The information, and whether the store must be told of it.

    Raises:
        ConfigError: the store belongs to another cluster ID.
    """
    if state is None:
        return configured, True
    recorded = state.server
    if recorded is None:
        if state.channels:
            _log.warning(
                "Server information was not recovered, however channels are present."
                " Will initialize server and restart recovery!"
            )
        return configured, True
    if recorded.cluster_id != configured.cluster_id:
        raise ConfigError(
            f"cluster ID {quoted(configured.cluster_id)} does not match recovered value of"
            f" {quoted(recorded.cluster_id)}"
        )
    if not recorded.subscription_close:
        # A store of a very old server.
        recorded.subscription_close = configured.subscription_close
        return recorded, True
    return recorded, False


class Recovery:
    """One per engine. Without a recovered state `begin` does nothing."""

    def __init__(
        self, context: Context, channels: Channels, clients: Clients, membership: Membership, redelivery: Redelivery
    ) -> None:
        self._context = context
        self._channels = channels
        self._clients = clients
        self._membership = membership
        self._redelivery = redelivery
        self._active: list[Subscription] = []
        self._next_sid = SID_RECOVERED

    # Restore.

    def restore(self, state: StoreState) -> None:
        """Take over everything; nobody is served yet."""
        for info in state.clients.values():
            self._clients.restore(info)
        for name, stored in state.channels.items():
            self._restore_channel(name, stored)

    def _restore_channel(self, name: bytes, stored: StoredChannel) -> None:
        channel = self._channels.restore(name)
        window = channel.window
        size = stored.size + stored.count * window.overhead_bytes
        window.restore(stored.first, stored.last, stored.count, size, stored.last_timestamp_ns)
        window.adopt(stored.segments)
        self._context.residency.grown(channel)
        channel.trimmed_to = stored.first
        channel.last_subscription_id = max(stored.last_subscription_id, *stored.subscriptions, 0)
        self._context.last_subscription_id = max(self._context.last_subscription_id, channel.last_subscription_id)
        for _, subscription in sorted(stored.subscriptions.items()):
            self._restore_subscription(channel, subscription)
        self._channels.retain(channel, quiet=True)

    def _restore_subscription(self, channel: Channel, stored: StoredSubscription) -> None:
        state = stored.state
        is_durable = state.is_durable or bool(state.durable_name)
        is_shadow = bool(state.queue_group) and is_durable and not state.client_id
        client = self._clients.by_id.get(state.client_id)
        if client is None and not is_shadow and (state.queue_group or not is_durable):
            if is_durable:
                _log.warning(
                    "Not recovering ghost durable queue subscriber: [%s]:[%s] subject=%s inbox=%s",
                    bare(state.client_id),
                    bare(state.queue_group),
                    bare(channel.name),
                    bare(state.inbox),
                )
            self._context.stage(SubscriptionRemoved(channel.name, state.id))
            return
        # The original's own tests store less than what a request may ask for.
        ack_wait_ns = max(state.ack_wait_seconds, 1) * NS_PER_SECOND
        subscription = Subscription(channel, state.client_id, max(state.max_in_flight, 1), ack_wait_ns)
        subscription.id = state.id
        subscription.set_inbox(state.inbox)
        subscription.ack_inbox = state.ack_inbox
        subscription.durable_name = state.durable_name
        subscription.is_durable = is_durable
        # A position behind the last message would pass over the next ones.
        subscription.last_sent = min(state.last_sent, channel.window.last)
        for sequence in sorted(stored.pending):
            subscription.in_flight.add(sequence, 0)
        channel.subscription_count += 1
        if state.queue_group:
            self._restore_member(channel, subscription, state.queue_group, is_shadow=is_shadow)
        elif is_durable:
            channel.durables[(state.client_id, state.durable_name)] = subscription
            if state.is_closed or client is None:
                subscription.is_offline = subscription.removed = True
                if not state.is_closed:
                    # Should its client connect again and not resume it, it must not come back active.
                    self._membership.put(subscription)
            else:
                channel.subscriptions.append(subscription)
        else:
            channel.subscriptions.append(subscription)
        if client is not None and not subscription.is_offline and not is_shadow:
            client.subscriptions[subscription] = None
            self._activate(subscription)

    def _restore_member(self, channel: Channel, member: Subscription, name: bytes, *, is_shadow: bool) -> None:
        group = channel.groups_by_name.get(name)
        if group is None:
            group = channel.groups_by_name[name] = QueueGroup(channel, name, member.is_durable)
            channel.groups.append(group)
        member.group = group
        member.queue_name = name
        if not is_shadow:
            group.members.append(member)
        else:
            member.is_offline = member.removed = True
            loser = None
            if group.offline is not None:
                _log.warning("Duplicate shadow durable queue consumer (subid=%d) for group %s", member.id, quoted(name))
                loser = member if member.last_sent <= group.offline.last_sent else group.offline
            if loser is not member:
                group.offline = member
            if loser is not None:
                channel.subscription_count -= 1
                self._context.stage(SubscriptionRemoved(channel.name, loser.id))
        group.last_sent = max(group.last_sent, member.last_sent)

    def _activate(self, subscription: Subscription) -> None:
        """Its ack inbox of an earlier run goes on; what is unacked comes before new messages."""
        channel = subscription.channel
        channel.by_inbox[subscription.ack_inbox] = subscription
        channel.by_inbox.setdefault(subscription.inbox, subscription)
        subscription.stalled = subscription.in_flight.count >= subscription.max_in_flight
        if subscription.in_flight.count:
            subscription.on_hold = True
            if subscription.group is not None:
                subscription.group.on_hold = True
        self._context.inlet.add_recovered(self._next_sid, subscription)
        self._next_sid += 1
        self._active.append(subscription)

    def inboxes(self) -> Iterator[tuple[bytes, int]]:
        """Ack inboxes of earlier runs, each with the ID to subscribe under."""
        for subscription in self._active:
            if is_untouched(subscription) and is_subject(subscription.ack_inbox):
                yield subscription.ack_inbox, -subscription.ack_token

    # Begin.

    def begin(self) -> None:
        """Clients are served: heartbeats start, and messages flow, unacked ones first."""
        self._clients.begin()
        for channel in list(self._channels.by_name.values()):
            self._channels.watch_inactivity(channel)
        active, self._active = [subscription for subscription in self._active if is_untouched(subscription)], []
        released = self._context.inlet.released
        for subscription in active:
            subscription.eligible = True
            if not subscription.on_hold:
                released.append(subscription)
        held = [subscription for subscription in active if subscription.on_hold]
        self._redelivery.hold_groups(held)
        for subscription in held:
            RecoveredPass(self._context, self._redelivery, subscription).go_on()


def is_untouched(subscription: Subscription) -> bool:
    """Whether a recovered subscription has neither ended nor been resumed by a client since."""
    return subscription.ack_token <= -SID_RECOVERED


class RecoveredPass(Waiting):
    """Finds the deadlines of what a recovered subscription had unacked, then redelivers what is due.

    A deadline is the message's timestamp and one ack wait; messages must be read for that.
    """

    def __init__(self, context: Context, redelivery: Redelivery, subscription: Subscription) -> None:
        super().__init__(redelivery, subscription)
        self._context = context
        self._deadlines: dict[int, int] = {}
        self._rest = subscription.in_flight.in_sequence_order()
        self._rest.reverse()

    def proceed(self) -> None:
        context = self._context
        subscription = self.subscription
        window = subscription.channel.window
        # The difference of the two clocks turns timestamps into deadlines.
        offset_ns = subscription.ack_wait_ns + context.now_ns - context.wall_ns
        while self._rest:
            sequence = self._rest[-1]
            if subscription.in_flight.contains(sequence):
                segment = window.find(sequence) if window.first <= sequence <= window.last else None
                if segment is None and window.first <= sequence <= window.last:
                    context.delivery.want_read(subscription.channel, sequence, self)
                    return
                if segment is None or segment.size_at(sequence - segment.base) == 0:
                    self._redelivery.settle(subscription, sequence)
                else:
                    timestamp_ns = segment.timestamp_at(sequence - segment.base)
                    self._deadlines[sequence] = max(0, timestamp_ns + offset_ns)
            self._rest.pop()
        subscription.in_flight.set_deadlines(self._deadlines)
        due = subscription.in_flight.due(context.now_ns + REDELIVERY_SLACK_NS)
        self._redelivery.resume_rest(subscription, due)
