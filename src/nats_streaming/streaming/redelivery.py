"""Sending unacked messages again: when their ack wait is over, when a durable resumes, when a member leaves.

Deadlines follow the original: a message redelivered to the same subscription is due again one ack wait
after its old deadline, not after now; one that moved to another member, one ack wait of that member from now.
"""

from __future__ import annotations

import logging
from typing import Any

from nats_streaming.constants import HAND_OVER_DELAY_NS, NS_PER_MS, REDELIVERY_SLACK_NS
from nats_streaming.stores.batch import Acked, Sent
from nats_streaming.streaming.context import Context
from nats_streaming.streaming.subscription import QueueGroup, Subscription

_log = logging.getLogger("nats_streaming")

_SENT, _SKIPPED, _ABSENT = 1, 2, 3  # results of Delivery.redeliver


class Redelivery:
    """One timer per subscription that has anything in flight. Acks never touch it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paused: list[Waiting] = []
        self._recovering: dict[Subscription, None] = {}
        self._held_groups: dict[QueueGroup, None] = {}

    def arm_new(self) -> None:
        """Arm the timers that delivery has asked for."""
        delivery = self._context.delivery
        if not delivery.unarmed:
            return
        unarmed, delivery.unarmed = delivery.unarmed, []
        for subscription in unarmed:
            if subscription.timer is None:
                deadline_ns = subscription.in_flight.first_deadline()
                if deadline_ns < 0:
                    deadline_ns = self._context.now_ns + subscription.ack_wait_ns
                self._arm(subscription, deadline_ns)

    def _arm(self, subscription: Subscription, deadline_ns: int) -> None:
        if subscription.timer is not None:
            subscription.timer.cancel()
        subscription.timer_armed = True
        subscription.timer = self._context.timers.at(deadline_ns, self._fire, subscription)

    def stop(self, subscription: Subscription) -> None:
        """Nothing of this subscription is redelivered any more."""
        if subscription.timer is not None:
            subscription.timer.cancel()
        subscription.timer = None
        subscription.timer_armed = False
        self._leave_recovery(subscription)

    def _fire(self, subscription: Subscription) -> None:
        subscription.timer = None
        subscription.timer_armed = False
        context = self._context
        if subscription.removed or subscription.is_offline or not subscription.in_flight.count:
            return
        if not context.delivery.enabled:
            subscription.timer_armed = True
            self._paused.append(Pass(self, subscription))
            return
        if subscription.group is None and subscription.failed_heartbeat:
            _log.debug(
                "[Client:%s] Skipping redelivery to subid=%d due to missed client heartbeat",
                subscription.client_id.decode("utf-8", "replace"),
                subscription.id,
            )
            self._arm(subscription, context.now_ns + subscription.ack_wait_ns)
            return
        due = subscription.in_flight.due(context.now_ns + REDELIVERY_SLACK_NS)
        if not self._redeliver_all(subscription, due, subscription.group):
            subscription.timer_armed = True
            return
        next_ns = subscription.in_flight.first_deadline()
        if next_ns >= 0:
            self._arm(subscription, next_ns if next_ns > context.now_ns else context.now_ns + subscription.ack_wait_ns)

    def resume_paused(self) -> None:
        """The link is back: one pass for everything that came due meanwhile."""
        paused, self._paused = self._paused, []
        for waiting in paused:
            waiting.go_on()

    def pause(self, backlog: list[Any]) -> None:
        """The link is lost: keep what delivery would have gone on with, as far as nothing else leads back to it."""
        self._paused += [waiting for waiting in backlog if isinstance(waiting, Waiting)]

    def _redeliver_all(self, subscription: Subscription, sequences: list[int], group: QueueGroup | None) -> bool:
        """Redeliver in the order given; False when it had to stop and will go on by itself."""
        delivery = self._context.delivery
        for sequence in sequences:
            if delivery.out.used > delivery.out_limit:
                delivery.backlog.append(Pass(self, subscription))
                return False
            if not self._redeliver(subscription, sequence, group):
                delivery.want_read(subscription.channel, sequence, Pass(self, subscription))
                return False
        return True

    def fire_again(self, subscription: Subscription) -> None:
        """What a pass waited for has come: do the rest of it."""
        if subscription.timer is not None:
            subscription.timer.cancel()
        self._fire(subscription)

    def _redeliver(self, subscription: Subscription, sequence: int, group: QueueGroup | None) -> bool:
        """Redeliver one message; False when it must be read from the store first.

        Args:
            group: where another member may be chosen; None sends it to the subscription itself.
        """
        context = self._context
        chosen: Subscription | None = subscription
        if group is not None:
            chosen = context.delivery.choose_member(group)
        if chosen is None:
            _log.error("Unable to find queue subscriber for subid=%d", subscription.id)
            return True
        receiver: Subscription = chosen
        result = context.delivery.redeliver(subscription, sequence, receiver)
        if result == _SKIPPED:
            return False
        if result == _ABSENT:
            self.settle(subscription, sequence)
        elif receiver is subscription:
            deadline_ns = subscription.in_flight.deadline_of(sequence) + subscription.ack_wait_ns
            if deadline_ns <= context.now_ns:
                deadline_ns = context.now_ns + subscription.ack_wait_ns
            subscription.in_flight.add(sequence, deadline_ns)
        elif result == _SENT:
            self._move(subscription, receiver, sequence, context.now_ns + receiver.ack_wait_ns)
            if receiver.timer is None:
                self._arm(receiver, context.now_ns + receiver.ack_wait_ns)
        return True

    def _move(self, holder: Subscription, receiver: Subscription, sequence: int, deadline_ns: int) -> None:
        """A message in flight at one member is in flight at another from now on."""
        name = holder.channel.name
        receiver.in_flight.add(sequence, deadline_ns)
        self._context.stage(Sent(name, receiver.id, [sequence]))
        holder.acknowledge(sequence)
        self._context.stage(Acked(name, holder.id, [sequence]))
        if holder.is_released():
            self._context.inlet.released.append(holder)

    def settle(self, subscription: Subscription, sequence: int) -> None:
        """The message is gone from the channel: as if it had been acked."""
        subscription.acknowledge(sequence)
        subscription.counts().pop(sequence, None)
        self._context.stage(Acked(subscription.channel.name, subscription.id, [sequence]))
        if subscription.is_released():
            self._context.inlet.released.append(subscription)

    def resume(self, subscription: Subscription) -> None:
        """A durable is back: everything unacked at once, ascending, whatever its limit; new messages after that."""
        pending = subscription.in_flight.in_sequence_order()
        if pending:
            subscription.on_hold = True
            self.resume_rest(subscription, pending)

    def resume_rest(self, subscription: Subscription, sequences: list[int]) -> None:
        """Redeliver these in order to the subscription itself, then let new messages pass."""
        delivery = self._context.delivery
        if not delivery.enabled:
            self._paused.append(Resumption(self, subscription, sequences))
            return
        for index, sequence in enumerate(sequences):
            if not subscription.in_flight.contains(sequence):
                continue
            if delivery.out.used > delivery.out_limit:
                delivery.backlog.append(Resumption(self, subscription, sequences[index:]))
                return
            if not self._redeliver(subscription, sequence, None):
                rest = Resumption(self, subscription, sequences[index:])
                delivery.want_read(subscription.channel, sequence, rest)
                return
        self._end_hold(subscription)
        next_ns = subscription.in_flight.first_deadline()
        if next_ns >= 0:
            self._arm(subscription, max(next_ns, self._context.now_ns + NS_PER_MS))

    def hold_groups(self, held: list[Subscription]) -> None:
        """After a restart the groups of these get nothing new before the unacked of all of them were seen to."""
        self._recovering = dict.fromkeys(held)
        for subscription in held:
            if subscription.group is not None:
                self._held_groups[subscription.group] = None

    def _leave_recovery(self, subscription: Subscription) -> None:
        if subscription in self._recovering:
            del self._recovering[subscription]
            if not self._recovering:
                groups, self._held_groups = self._held_groups, {}
                for group in groups:
                    group.on_hold = False
                    self._context.inlet.released.append(group)

    def _end_hold(self, subscription: Subscription) -> None:
        subscription.on_hold = False
        group = subscription.group
        if group is not None and group not in self._held_groups:
            group.on_hold = False
        self._leave_recovery(subscription)
        subscription.stalled = subscription.in_flight.count >= subscription.max_in_flight
        # Perhaps long after the request: what became new meanwhile has waited for this.
        self._context.inlet.released.append(subscription)

    def hand_over(self, leaver: Subscription, members: list[Subscription]) -> None:
        """Deal what a leaving queue member had unacked to those who stay; redelivered after a short delay.

        The caller removes the leaver's record.
        """
        context = self._context
        sequences = leaver.in_flight.in_deadline_order()
        for index, receiver in enumerate(members[: len(sequences)]):
            dealt = sequences[index :: len(members)]
            for sequence in dealt:
                # A deadline long past: due at the next pass, and a full ack wait after that.
                receiver.in_flight.add(sequence, 0)
                leaver.acknowledge(sequence)
            context.stage(Sent(leaver.channel.name, receiver.id, dealt))
        due_ns = context.now_ns + HAND_OVER_DELAY_NS
        for receiver in members[: len(sequences)]:
            if receiver.timer is None or receiver.timer.deadline_ns > due_ns:
                self._arm(receiver, due_ns)


class Waiting:
    """Something begun for a subscription that goes on when messages were read, the outbox was sent, the link is back.

    Void when the subscription has ended meanwhile, or was resumed once more.
    """

    def __init__(self, redelivery: Redelivery, subscription: Subscription) -> None:
        self._redelivery = redelivery
        self.subscription = subscription
        self._token = subscription.ack_token

    def go_on(self) -> None:
        if self.subscription.ack_token == self._token:
            self.proceed()

    def proceed(self) -> None:
        raise NotImplementedError


class Pass(Waiting):
    """The rest of a redelivery pass."""

    def proceed(self) -> None:
        self._redelivery.fire_again(self.subscription)


class Resumption(Waiting):
    """The rest of what comes before new messages, after a resume or a restart."""

    def __init__(self, redelivery: Redelivery, subscription: Subscription, sequences: list[int]) -> None:
        super().__init__(redelivery, subscription)
        self._sequences = sequences

    def proceed(self) -> None:
        self._redelivery.resume_rest(self.subscription, self._sequences)
