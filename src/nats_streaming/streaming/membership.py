"""How subscriptions end: plain ones vanish, durables go offline, queue members hand over what they hold.

Source: protocol and delivery specification, sections 5.7 and 5.8.
"""

from __future__ import annotations

import logging

from nats_streaming.errors import bare
from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.batch import SubscriptionPut, SubscriptionRemoved
from nats_streaming.streaming.channels import Channels
from nats_streaming.streaming.context import Context
from nats_streaming.streaming.redelivery import Redelivery
from nats_streaming.streaming.subscription import QueueGroup, Subscription

_log = logging.getLogger("nats_streaming")


class Membership:
    """Takes subscriptions out of their channel, client and group. Callers send the replies."""

    def __init__(self, context: Context, channels: Channels, redelivery: Redelivery) -> None:
        self._context = context
        self._channels = channels
        self._redelivery = redelivery

    def close(self, subscription: Subscription) -> None:
        """End it, keeping what a durable remembers."""
        self._end(subscription, keep_durable=True)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End it for good."""
        self._end(subscription, keep_durable=False)

    def discard(self, subscription: Subscription) -> None:
        """Take back a subscription that did not come about: no position was found, or its record not stored."""
        self._detach(subscription)
        self._leave_channel(subscription)
        group = subscription.group
        if group is not None and not group.members:
            self._drop_group(group)
        self._forget_durable(subscription)
        # The store may have the record nevertheless: it cannot know what of a failed commit is durable.
        self._remove_record(subscription)
        self._channels.watch_inactivity(subscription.channel)

    def _end(self, subscription: Subscription, *, keep_durable: bool) -> None:
        if not is_placed(subscription):
            self.discard(subscription)
            return
        self._detach(subscription)
        self._leave_channel(subscription)
        if subscription.group is not None:
            self._end_member(subscription, subscription.group, keep_durable=keep_durable)
        elif subscription.is_durable and keep_durable:
            subscription.is_offline = True
            self.put(subscription)
            self.log(subscription, "Suspended durable subscription", "")
        else:
            self._forget_durable(subscription)
            self._remove_record(subscription)
            kind = "durable subscription" if subscription.is_durable else "subscription"
            self.log(subscription, f"Removed {kind}", "")

    def _detach(self, subscription: Subscription) -> None:
        """Nothing reaches it from now on: no ack, no timer, no message."""
        channel = subscription.channel
        self._redelivery.stop(subscription)
        self._context.inlet.remove_ack_slot(subscription)
        channel.by_inbox.pop(subscription.ack_inbox, None)
        if channel.by_inbox.get(subscription.inbox) is subscription:
            del channel.by_inbox[subscription.inbox]
        client = self._context.inlet.clients.get(subscription.client_id)
        if client is not None:
            client.subscriptions.pop(subscription, None)
        subscription.eligible = False
        subscription.removed = True
        if subscription.on_hold:
            subscription.on_hold = False
            group = subscription.group
            if group is not None:
                group.on_hold = any(member.on_hold for member in group.members)

    def _leave_channel(self, subscription: Subscription) -> None:
        if subscription.group is not None:
            if subscription in subscription.group.members:
                subscription.group.members.remove(subscription)
        elif subscription in subscription.channel.subscriptions:
            subscription.channel.subscriptions.remove(subscription)

    def _end_member(self, subscription: Subscription, group: QueueGroup, *, keep_durable: bool) -> None:
        word = "durable queue subscription" if group.is_durable else "queue subscription"
        if group.members:
            self._redelivery.hand_over(subscription, group.members)
            self._pass_position_on(subscription, group)
            self._remove_record(subscription)
            self.log(subscription, f"Removed member from {word}", "")
            self._context.inlet.released.append(group.members[0])
            return
        if group.is_durable and keep_durable:
            group.offline = subscription
            subscription.is_offline = True
            subscription.last_sent = group.last_sent
            self.put(subscription)
            self.log(subscription, f"Suspended {word}", "")
            return
        self._drop_group(group)
        self._remove_record(subscription)
        self.log(subscription, f"Removed {word}", "")

    def _pass_position_on(self, leaver: Subscription, group: QueueGroup) -> None:
        """Some remaining record must hold the group's position, or a restart would send messages again."""
        if leaver.last_sent != group.last_sent:
            return
        heir = group.members[0]
        if heir.last_sent < group.last_sent:
            heir.last_sent = group.last_sent
            self.put(heir)

    def _forget_durable(self, subscription: Subscription) -> None:
        durables = subscription.channel.durables
        key = (subscription.client_id, subscription.durable_name)
        if durables.get(key) is subscription:
            del durables[key]

    def _drop_group(self, group: QueueGroup) -> None:
        channel = group.channel
        channel.groups_by_name.pop(group.name, None)
        if group in channel.groups:
            channel.groups.remove(group)

    def put(self, subscription: Subscription) -> None:
        """Stage the record of a subscription as it is now."""
        state = state_of(subscription)
        if subscription.is_offline and subscription.group is not None:
            # Without a client ID the record stands for the group that has no member.
            state.client_id = b""
        self._context.stage(SubscriptionPut(subscription.channel.name, state))

    def _remove_record(self, subscription: Subscription) -> None:
        subscription.channel.subscription_count -= 1
        self._context.stage(SubscriptionRemoved(subscription.channel.name, subscription.id))

    def log(self, subscription: Subscription, what: str, position: str) -> None:
        """The line that operators read about the life of subscriptions."""
        if not _log.isEnabledFor(logging.DEBUG):
            return
        text = (
            f"[Client:{bare(subscription.client_id)}] {what}, subject={bare(subscription.channel.name)},"
            f" inbox={bare(subscription.inbox)},"
        )
        if subscription.queue_name:
            text += f" queue={bare(subscription.queue_name)},"
        elif subscription.durable_name:
            text += f" durable={bare(subscription.durable_name)},"
        text += f" subid={subscription.id}"
        if position:
            text += f", {position}"
        _log.debug("%s", text)


def is_placed(subscription: Subscription) -> bool:
    """Whether it has its position and its place in the channel; not so while the store searches for it."""
    return subscription.group is not None or subscription in subscription.channel.subscriptions


def state_of(subscription: Subscription) -> SubscriptionState:
    """The record of a subscription as it is stored."""
    return SubscriptionState(
        id=subscription.id,
        client_id=subscription.client_id,
        queue_group=subscription.queue_name,
        inbox=subscription.inbox,
        ack_inbox=subscription.ack_inbox,
        max_in_flight=subscription.max_in_flight,
        ack_wait_seconds=subscription.ack_wait_ns // 1_000_000_000,
        durable_name=subscription.durable_name,
        last_sent=subscription.last_sent,
        is_durable=subscription.is_durable,
        is_closed=subscription.is_offline,
    )
