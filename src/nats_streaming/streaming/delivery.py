"""What to send now: new messages to subscriptions that have room, and unacked ones again.

Writes PUB frames into the outbox, straight from the segments. Never sends what is not committed.
Knows no socket and no clock: the engine sets `now_ns`.
"""

from __future__ import annotations

import logging
from typing import Any

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.constants import TRACE
from nats_streaming.errors import bare
from nats_streaming.protocol.stan_messages import put_redelivery, redelivery_size
from nats_streaming.stores.segment import Segment
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.subscription import QueueGroup, Subscription

_log = logging.getLogger("nats_streaming")

OUTBOX_BYTES = 1 << 22  # one pass stops here, so that a long replay neither fills memory nor starves others

_SENT, _SKIPPED, _ABSENT, _REFUSED = 1, 2, 3, 4


class Delivery:
    """One per engine.

    Attributes:
        enabled: False while the link to NATS is down: nothing is sent, nothing counts as sent.
        unarmed: subscriptions that have messages in flight and no redelivery timer yet.
        backlog: subscriptions and groups whose pass stopped at a full outbox.
        reads: (channel, sequence) of messages that delivery needs and that are not in memory.
        redeliveries, stalls: messages sent again, subscriptions that came to their limit; since the start.
        sent: (subscription, sequence) since the last cut, only when `record_sent`.
    """

    def __init__(self, record_sent: bool) -> None:
        self.out = ByteBuffer(1 << 16)
        self.out_limit = OUTBOX_BYTES
        self.now_ns = 0
        self.payload_max = 1 << 20
        self.enabled = False
        self.trace = False
        self.record_sent = record_sent
        self.out_messages = 0
        self.out_bytes = 0
        self.redeliveries = 0
        self.stalls = 0
        self.unarmed: list[Subscription] = []
        self.backlog: list[Any] = []
        self.reads: list[tuple[Channel, int]] = []
        self.sent: list[Subscription] = []

    def deliver_channel(self, channel: Channel) -> None:
        """Send what is new in a channel to everyone who has room."""
        subscription: Subscription
        group: QueueGroup
        for subscription in channel.subscriptions:
            if not subscription.stalled:
                self.deliver_subscription(subscription)
        for group in channel.groups:
            self.deliver_group(group)

    def deliver_subscription(self, subscription: Subscription) -> None:
        """Send new messages to a plain or durable subscription until there are none or it is at its limit."""
        if not self.enabled or subscription.on_hold or not subscription.eligible:
            return
        window = subscription.channel.window
        in_flight = subscription.in_flight
        sequence = subscription.last_sent + 1
        while sequence <= window.committed:
            if in_flight.count >= subscription.max_in_flight:
                break
            if self.out.used > self.out_limit:
                self.backlog.append(subscription)
                return
            if sequence < window.first:
                sequence = window.first
                continue
            segment = window.find(sequence)
            if segment is None:
                self.want_read(subscription.channel, sequence, subscription)
                return
            result = self.send(subscription, segment, sequence, 0)
            if result == _REFUSED:
                return
            subscription.last_sent = sequence
            if result == _SENT:
                self.track(subscription, sequence)
            sequence += 1
        if in_flight.count >= subscription.max_in_flight:
            self.stall(subscription)

    def deliver_group(self, group: QueueGroup) -> None:
        """Send new messages to a queue group, each to the member chosen for it, until all are at their limit."""
        if not self.enabled or group.on_hold or not group.members:
            return
        window = group.channel.window
        sequence = group.last_sent + 1
        while sequence <= window.committed:
            if self.out.used > self.out_limit:
                self.backlog.append(group)
                return
            if sequence < window.first:
                sequence = window.first
                continue
            segment = window.find(sequence)
            if segment is None:
                self.want_read(group.channel, sequence, group)
                return
            if segment.size_at(sequence - segment.base) != 0:
                member = self.choose_member(group)
                if member is None:
                    return
                if member.in_flight.count >= member.max_in_flight:
                    if member.stalled:
                        return
                    # Full by what others handed over: somebody else may still have room.
                    self.stall(member)
                    continue
                if self.send(member, segment, sequence, 0) == _REFUSED:
                    return
                member.last_sent = sequence
                self.track(member, sequence)
                if member.in_flight.count >= member.max_in_flight:
                    self.stall(member)
            group.last_sent = sequence
            sequence += 1

    def stall(self, subscription: Subscription) -> None:
        """It has come to its limit; acks will release it."""
        subscription.stalled = True
        self.stalls += 1

    def choose_member(self, group: QueueGroup) -> Subscription | None:
        """The member with the fewest unacked among those not stalled whose client answers; else any not stalled.

        When all are stalled it is the first in the list. Choosing the head moves it to the end.
        """
        member: Subscription
        chosen: Subscription | None = None
        second: Subscription | None = None
        first: Subscription | None = None
        for member in group.members:
            if not member.eligible:
                continue
            if first is None:
                first = member
            if member.stalled:
                continue
            if member.failed_heartbeat:
                if second is None:
                    second = member
            elif chosen is None or member.in_flight.count < chosen.in_flight.count:
                chosen = member
        if chosen is None:
            chosen = second if second is not None else first
        if chosen is not None and len(group.members) > 1 and group.members[0] is chosen:
            group.members.append(group.members.pop(0))
        return chosen

    def track(self, subscription: Subscription, sequence: int) -> None:
        """A first delivery is in flight from now on."""
        subscription.in_flight.add(sequence, self.now_ns + subscription.ack_wait_ns)
        if not subscription.timer_armed:
            self.need_timer(subscription)
        if self.record_sent:
            if not subscription.sent:
                self.sent.append(subscription)
            subscription.sent.append(sequence)

    def need_timer(self, subscription: Subscription) -> None:
        """Ask the engine to arm the redelivery timer."""
        subscription.timer_armed = True
        self.unarmed.append(subscription)

    def send(self, subscription: Subscription, segment: Segment, sequence: int, redelivery_count: int) -> int:
        """Write one message for a subscription.

        Args:
            redelivery_count: 0 for the first delivery.

        Returns:
            _SENT, _SKIPPED for a hole, _REFUSED when it can never be sent as things are.
        """
        index = sequence - segment.base
        size = segment.size_at(index)
        if size == 0:
            return _SKIPPED
        if redelivery_count:
            size += redelivery_size(redelivery_count)
        if size > self.payload_max or not subscription.head:
            self.report_refusal(subscription, sequence, size)
            return _REFUSED
        if self.trace:
            self.trace_delivery(subscription, sequence, redelivery_count)
        out = self.out
        out.put(subscription.head)
        out.put_decimal(size)
        out.put(b"\r\n")
        segment.put_encoded(out, index)
        if redelivery_count:
            put_redelivery(out, redelivery_count)
            self.redeliveries += 1
        out.put(b"\r\n")
        self.out_messages += 1
        self.out_bytes += size
        return _SENT

    def redeliver(self, subscription: Subscription, sequence: int, receiver: Subscription) -> int:
        """Send an unacked message of `subscription` again, to `receiver` (itself, or a member of its group).

        Deadlines and who holds the message are the caller's business.

        Returns:
            _SENT; _ABSENT when the message exists no more; _SKIPPED when it must be read first;
            _REFUSED when it cannot be sent.
        """
        window = subscription.channel.window
        if sequence < window.first or sequence > window.last:
            return _ABSENT
        segment = window.find(sequence)
        if segment is None:
            return _SKIPPED
        if segment.size_at(sequence - segment.base) == 0:
            return _ABSENT
        counts = subscription.counts()
        count = counts.get(sequence, 0) + 1
        result = self.send(receiver, segment, sequence, count)
        if result == _SENT:
            counts[sequence] = count
        return result

    def want_read(self, channel: Channel, sequence: int, waiting: Any) -> None:
        """Ask for messages from the store; whoever waits is served when they are there.

        Args:
            waiting: a subscription, a queue group, or an object with `go_on`.
        """
        waiters = channel.reading.get(sequence)
        if waiters is None:
            waiters = channel.reading[sequence] = []
            self.reads.append((channel, sequence))
        if waiting not in waiters:
            waiters.append(waiting)

    def report_refusal(self, subscription: Subscription, sequence: int, size: int) -> None:
        reason = "nats: invalid subject" if not subscription.head else "nats: maximum payload exceeded"
        _log.error(
            "[Client:%s] Failed sending to subid=%d, subject=%s, seq=%d, err=%s",
            subscription.client_id.decode("utf-8", "replace"),
            subscription.id,
            bare(subscription.channel.name),
            sequence,
            reason,
        )

    def trace_delivery(self, subscription: Subscription, sequence: int, redelivery_count: int) -> None:
        _log.log(
            TRACE,
            "[Client:%s] %s msg to subid=%d, subject=%s, seq=%d",
            subscription.client_id.decode("utf-8", "replace"),
            "Redelivering" if redelivery_count else "Delivering",
            subscription.id,
            bare(subscription.channel.name),
            sequence,
        )
