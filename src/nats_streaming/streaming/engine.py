"""The streaming engine, without I/O: messages and time in, batches to commit and frames to send out.

The shell feeds the inlet, then calls `end_chunk`; it commits what `next_batch` gives and reports the
outcome; it sends what `take_output` gives. The law of order is kept here: nothing of a batch is sent,
and no publisher's ack, before `batch_committed`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from nats_streaming.clock import Clock
from nats_streaming.constants import TRACE
from nats_streaming.errors import bare
from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.stores.api import Capabilities
from nats_streaming.stores.batch import Acked, Messages, Sent, Trimmed
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState
from nats_streaming.streaming.channel import Channel, everyone
from nats_streaming.streaming.channels import Channels
from nats_streaming.streaming.clients import Clients
from nats_streaming.streaming.context import Context, EngineOptions, Seek
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.facts import facts_of
from nats_streaming.streaming.failed_acks import failed_acks
from nats_streaming.streaming.inlet import Inlet
from nats_streaming.streaming.recovery import Recovery
from nats_streaming.streaming.redelivery import Redelivery, Waiting
from nats_streaming.streaming.subjects import (
    SID_CLOSE,
    SID_CONNECT,
    SID_PING,
    SID_PUBLISH,
    SID_REPLY,
    SID_SUBSCRIBE,
    SID_SUBSCRIPTION_CLOSE,
    SID_UNSUBSCRIBE,
)
from nats_streaming.streaming.subscription import QueueGroup, Subscription
from nats_streaming.streaming.subscriptions import Subscriptions

_log = logging.getLogger("nats_streaming")


class Engine:
    """One per server. Not thread-safe: one loop calls it.

    Attributes:
        inlet: give it to the reader as its sink.
        ended_sids: see `take_ended_sids`.
        ack_serial, free_ack_slots: the inlet's supply of ack inbox tokens.
    """

    def __init__(self, options: EngineOptions, capabilities: Capabilities, info: ServerInfo, clock: Clock) -> None:
        """
        Args:
            info: recovered, or new for a server that starts for the first time.
        """
        self.context = Context(options, capabilities, info, clock)
        self.ack_serial = 0
        self.free_ack_slots: list[int] = []
        self.inlet = Inlet(self, self.context.subjects.ack_prefix, max(options.batch_max, 1), capabilities.recoverable)
        self.inlet.trace = options.trace
        self.inlet.debug = options.debug
        self.inlet.partitioned = bool(options.partition)
        self.context.attach(self.inlet)
        self.redelivery = Redelivery(self.context)
        self.channels = Channels(self.context, self.inlet.channels, self._on_channel_removed)
        self.subscriptions = Subscriptions(self.context, self.channels, self.inlet.clients, self.redelivery)
        self.clients = Clients(self.context, self.inlet.clients, self.inlet.connections, self.subscriptions)
        self.recovery = Recovery(
            self.context, self.channels, self.clients, self.subscriptions.membership, self.redelivery
        )
        self.ended_sids: list[int] = []
        self._delivery = self.context.delivery
        self._residency = self.context.residency
        self._timers = self.context.timers
        self._ready: deque[Cycle] = deque()
        self.context.read_clock()

    # Called by the inlet.

    def begin_chunk(self) -> None:
        self.context.read_clock()

    def open_channel(self, name: bytes) -> Channel:
        return self.channels.open(name)

    def hold_publish(
        self, client_id: bytes, connection_id: bytes, subject: bytes, reply: bytes, payload: bytes
    ) -> bool:
        """Keep the publish of a client that may be registered in a moment; False when it is to be refused."""
        data = bytearray(subject + reply + payload)
        reply_start, start = len(subject), len(subject) + len(reply)

        def again() -> None:
            # Perhaps within a chunk, perhaps from a timer: either has read the clock.
            fresh, self.inlet.fresh = self.inlet.fresh, True
            self.inlet.on_message(data, SID_PUBLISH, 0, reply_start, reply_start, start, start, len(data), 0)
            self.inlet.fresh = fresh

        return self.context.early.hold(client_id, connection_id, len(data), self.context.now_ns, again)

    def on_request(self, sid: int, subject: bytes, reply: bytes, payload: bytes, status: int) -> None:
        """Everything but publishes and acks. A request that trips over a bug of ours ends alone."""
        try:
            self._on_request(sid, subject, reply, payload, status)
        except Exception:  # noqa: BLE001 - raising would cut the link, and with it everybody else
            _log.exception("bug: a request on %s could not be handled and stays unanswered", bare(subject))

    def _on_request(self, sid: int, subject: bytes, reply: bytes, payload: bytes, status: int) -> None:
        if sid == SID_REPLY:
            self.context.requests.on_reply(subject, payload, status)
        elif sid == SID_PING:
            self.clients.on_ping(reply, payload)
        elif sid == SID_CONNECT:
            self.clients.on_connect(reply, payload)
        elif sid == SID_SUBSCRIBE:
            self.subscriptions.on_subscribe(reply, payload)
        elif sid == SID_UNSUBSCRIBE:
            self.subscriptions.on_unsubscribe(reply, payload, close=False)
        elif sid == SID_SUBSCRIPTION_CLOSE:
            self.subscriptions.on_unsubscribe(reply, payload, close=True)
        elif sid == SID_CLOSE:
            self.clients.on_close(reply, payload)

    def on_stray_ack(self, channel: bytes, sequence: int) -> None:
        """An ack to an inbox that belongs to nobody in that channel: silent, unless the channel is unknown too."""
        if channel not in self.inlet.channels:
            _log.error("Unable to process ack seq=%d, channel %s not found", sequence, bare(channel))

    def _on_channel_removed(self, channel: Channel) -> None:
        self.subscriptions.on_channel_removed(channel)

    # Called by the shell.

    def restore(self, state: StoreState) -> None:
        """Take over what the store has recovered, before anything is subscribed to. The state is the engine's then."""
        self.context.read_clock()
        self.recovery.restore(state)

    def recovered_inboxes(self) -> list[tuple[bytes, int]]:
        """What to subscribe to beside the subjects: ack inboxes of earlier runs, each with its ID."""
        return list(self.recovery.inboxes())

    def take_ended_sids(self) -> list[int]:
        """IDs of recovered ack inboxes that nobody needs any more: unsubscribe."""
        ended, self.ended_sids = self.ended_sids, []
        return ended

    def begin(self) -> None:
        """Clients are served from now on: recovered ones get heartbeats, recovered subscriptions messages."""
        self.context.read_clock()
        self.recovery.begin()
        self._serve_released()

    def end_chunk(self) -> None:
        """All messages of a chunk have been fed: serve what acks have released."""
        self.inlet.fresh = False
        self._serve_released()

    def run_timers(self) -> None:
        """Run everything that is due; call when `next_deadline_ns` has come."""
        self.context.read_clock()
        self.context.timers.run_due(self.context.now_ns)
        self._serve_released()

    def next_deadline_ns(self) -> int | None:
        """Monotonic time of the next timer, None when there is none."""
        return self._timers.next_deadline_ns()

    def _serve_released(self) -> None:
        delivery = self._delivery
        inlet = self.inlet
        while inlet.released:
            released = inlet.released
            inlet.released = []
            for subscription in released:
                self._serve(subscription)
        if delivery.unarmed:
            self.redelivery.arm_new()
        if delivery.sent or inlet.acked:
            self._stage_traces()

    def _serve(self, waiting: Any) -> None:
        delivery = self._delivery
        if isinstance(waiting, Subscription):
            if waiting.group is not None:
                delivery.deliver_group(waiting.group)
            elif not waiting.stalled:
                delivery.deliver_subscription(waiting)
        elif isinstance(waiting, QueueGroup):
            delivery.deliver_group(waiting)
        else:
            waiting.go_on()

    def _stage_traces(self) -> None:
        """Let what was sent and acked ride in the next commit. Only for stores that keep it."""
        delivery = self._delivery
        records = self.inlet.cycle.records
        for subscription in delivery.sent:
            records.append(Sent(subscription.channel.name, subscription.id, subscription.sent))
            subscription.sent = []
        delivery.sent = []
        for subscription in self.inlet.acked:
            records.append(Acked(subscription.channel.name, subscription.id, subscription.acked))
            subscription.acked = []
        self.inlet.acked = []

    def has_backlog(self) -> bool:
        """Whether delivery stopped because the outbox was full."""
        return bool(self._delivery.backlog)

    def continue_backlog(self) -> None:
        """The outbox has been sent: go on where delivery stopped."""
        delivery = self._delivery
        backlog, delivery.backlog = delivery.backlog, []
        self.context.read_clock()
        for waiting in backlog:
            self._serve(waiting)
        self._serve_released()

    # Batches.

    def cut(self) -> None:
        """Close the current cycle; what comes next belongs to the next batch."""
        channel: Channel
        cycle = self.inlet.cycle
        if cycle.is_empty():
            return
        for channel in cycle.touched:
            self._add_messages(cycle, channel)
        cycle.staged_bytes = self.inlet.staged_bytes
        self._ready.append(cycle)
        self.inlet.cycle = Cycle()

    def _add_messages(self, cycle: Cycle, channel: Channel) -> None:
        window = channel.window
        first = channel.staged_from
        channel.staged_from = 0
        channel.last_publish_ns = self.context.now_ns
        cycle.runs.append((channel, window.last, window.appended))
        sequence = first if first > window.first else window.first
        while sequence <= window.last:
            segment = window.find(sequence)
            if segment is None:
                raise AssertionError(f"staged sequence {sequence} is not in memory")
            last = segment.base + segment.count - 1
            if last > window.last:
                last = window.last
            cycle.records.append(Messages(channel.name, segment, sequence, last))
            sequence = last + 1
        if window.first > channel.trimmed_to:
            if channel.trimmed_to:
                cycle.records.append(Trimmed(channel.name, window.first))
            channel.trimmed_to = window.first

    def staged_bytes(self, ended: Cycle | None) -> int:
        """Bytes of publishes behind the last batch whose commit has ended (None: there was none yet)."""
        return self.inlet.staged_bytes - (ended.staged_bytes if ended is not None else 0)

    def wants_commit(self) -> bool:
        """Whether somebody waits for a batch; without that, what is staged may ride along later."""
        return bool(self._ready) or self.inlet.cycle.waited_for

    def next_batch(self) -> Cycle | None:
        """The batch to commit now, None when nothing is staged. One at a time."""
        if not self._ready:
            self.cut()
        return self._ready.popleft() if self._ready else None

    def batch_committed(self, cycle: Cycle) -> None:
        """The batch is durable: answer, deliver, ack its publishers, in this order."""
        channel: Channel
        self.context.read_clock()
        delivery = self._delivery
        out = delivery.out
        out.put_buffer(cycle.replies)
        for channel, last, appended in cycle.runs:
            window = channel.window
            first = window.first
            window.commit(last, appended)
            if channel.expires or window.first != first or window.dropped_by_limit or window.is_over_limit():
                self.channels.on_limits_applied(channel, first)
        for committed, _ in cycle.completions:
            committed()
        for channel, _, _ in cycle.runs:
            delivery.deliver_channel(channel)
        self._serve_released()
        for channel, _, _ in cycle.runs:
            # Only now: those who are up to date have got it from memory.
            self._residency.grown(channel)
        out.put_buffer(cycle.acks)
        for line in cycle.trace_lines:
            _log.log(TRACE, "%s", line)
        out.put_buffer(cycle.farewells)

    def batch_failed(self, cycle: Cycle, text: str) -> None:
        """The batch did not become durable: refuse its publishes and requests, keep the facts for the next batch.

        What was staged after it goes with it: sequences must not have gaps. Nobody knows what of it the store
        has after all, so the next batch says of everything that did not come about that it does not exist.
        """
        self.context.read_clock()
        self.cut()
        cycles = [cycle, *self._ready]
        cycle.staged_bytes = self.inlet.staged_bytes
        self._ready.clear()
        # Facts first: what the requests' ends stage then comes behind what it takes back.
        self.inlet.cycle.records[:0] = facts_of(record for failed in cycles for record in failed.records)
        channels = {channel: None for failed in cycles for channel, _, _ in failed.runs}
        for channel in channels:
            channel.window.roll_back()
            self._clamp_positions(channel)
        _log.error("Unable to commit %d batches: %s", len(cycles), text)
        out = self.context.delivery.out
        for failed in cycles:
            out.put_buffer(failed.replies)
            out.put(failed_acks(failed.acks.view(), text.encode("utf-8", "replace")))
            for _, on_failed in failed.completions:
                on_failed(text)
            out.put_buffer(failed.farewells)
        self._serve_released()

    def _clamp_positions(self, channel: Channel) -> None:
        """No position may lie behind what exists: the next message would be passed over."""
        last = channel.window.last
        for group in channel.groups:
            group.last_sent = min(group.last_sent, last)
        for subscription in everyone(channel):
            if subscription.last_sent > last:
                subscription.last_sent = last
                self.subscriptions.put_again(subscription)

    def take_output(self) -> bytes:
        """Frames to send now, in order."""
        out = self.context.delivery.out
        return out.take() if out.used else b""

    # Reading from the store.

    def wants_reads(self) -> bool:
        """Whether `take_reads` or `take_seeks` has anything to give."""
        return bool(self._delivery.reads) or bool(self.context.seeks)

    def take_reads(self) -> list[tuple[Channel, int]]:
        """Messages that delivery waits for, each once."""
        delivery = self._delivery
        if not delivery.reads:
            return []
        wanted, delivery.reads = delivery.reads, []
        return wanted

    def take_seeks(self) -> list[Seek]:
        """Searches by time that subscriptions wait for."""
        seeks, self.context.seeks = self.context.seeks, []
        return seeks

    def read_done(self, channel: Channel, sequence: int, segment: Segment | None) -> None:
        """The store gave a segment that holds `sequence`, or says that there is nothing from there on."""
        self.context.read_clock()
        waiting = channel.reading.pop(sequence, [])
        if channel.removed:
            return
        lent = self.context.residency.lend(channel, sequence, segment)
        # Others may wait for what came along; their own read, when it comes, finds nobody waiting.
        also = [first for first in channel.reading if lent.base <= first < lent.base + len(lent)]
        for first in also:
            waiting += channel.reading.pop(first)
        for waiter in waiting:
            self._serve(waiter)
        self._serve_released()

    def read_failed(self, channel: Channel, sequence: int, text: str) -> None:
        """A read error: this attempt ends; `retry_reads` begins another one."""
        channel.failed_reads.append(sequence)
        waiting = channel.reading.get(sequence, [])
        again = [waiter.subscription.id for waiter in waiting if isinstance(waiter, Waiting)]
        for subscription_id in again:
            _log.error("Error getting message for redelivery subid=%d, seq=%d, err=%s", subscription_id, sequence, text)
        if len(again) < len(waiting):
            _log.error("Error looking up message %s:%d (%s)", bare(channel.name), sequence, text)

    def retry_reads(self, channel: Channel) -> None:
        """Let those that failed reads left waiting try again."""
        self.context.read_clock()
        failed, channel.failed_reads = channel.failed_reads, []
        for sequence in failed:
            for waiter in channel.reading.pop(sequence, []):
                self._serve(waiter)
        self._serve_released()

    # The link.

    def link_up(self, payload_max: int) -> None:
        """NATS can be reached: deliver what has gathered."""
        self.context.read_clock()
        self.inlet.bound_messages(payload_max, self.context.capabilities.message_bytes_max)
        delivery = self._delivery
        delivery.payload_max = payload_max
        delivery.enabled = True
        for channel in self.inlet.channels.values():
            delivery.deliver_channel(channel)
        self.redelivery.resume_paused()
        self._serve_released()

    def link_down(self) -> None:
        """Nothing is sent and nothing counts as sent until the link is back."""
        delivery = self._delivery
        delivery.enabled = False
        self.redelivery.pause(delivery.backlog)
        delivery.backlog = []
        delivery.out.truncate(0)
