"""The entrance of the engine: one call per incoming message, straight from the reader.

Publishes and subscribers' acks are handled here, in place; every other request goes to the control
plane as bytes. Reads no clock itself and sends nothing: results go into the current cycle.
"""

from __future__ import annotations

import logging
from typing import Any

from nats_streaming.constants import TRACE
from nats_streaming.errors import ReplyText, RequestError, bare, quoted
from nats_streaming.protocol.control_messages import ControlMessage, PubAck, decode, encode
from nats_streaming.protocol.nats_reader import MessageSink
from nats_streaming.protocol.nats_writer import put_publish
from nats_streaming.protocol.stan_messages import AckMessage, PublishMessage, put_pub_ack_frame
from nats_streaming.protocol.subjects import is_channel_name
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.subjects import SID_ACK, SID_PARTITION, SID_PUBLISH, SID_RECOVERED
from nats_streaming.streaming.subscription import Subscription

_log = logging.getLogger("nats_streaming")

_PUBLISH, _ACK, _RECOVERED, _PARTITION = SID_PUBLISH, SID_ACK, SID_RECOVERED, SID_PARTITION
_SLOT_BITS = 24
_REDELIVERY_ROOM = 8  # bytes that a redelivered message needs more than a stored one


class Inlet(MessageSink):
    """One per engine. `begin_chunk` is called before the first message of a chunk, by the first message.

    Attributes:
        cycle: what is being staged; replaced at every cut.
        partitioned: whether a publisher that is not registered may be early.
        released: subscriptions whose stall an ack has ended, to be served at the end of the chunk.
    """

    def __init__(self, engine: Any, ack_prefix: bytes, batch_max: int, record_acked: bool) -> None:
        """
        Args:
            engine: called for what is not hot: begin_chunk, open_channel, on_request, hold_publish, cut.
            ack_prefix: what precedes the token in the subject of an ack.
            batch_max: messages of one batch at most, at least 1.
            record_acked: whether the store keeps acks.
        """
        self.engine = engine
        self.cycle = Cycle()
        self.publish_message = PublishMessage()
        self.ack_message = AckMessage()
        self.clients: dict[bytes, Any] = {}
        self.connections: dict[bytes, Any] = {}
        self.channels: dict[bytes, Channel] = {}
        self.ack_slots: list[Any] = []
        self.recovered: dict[int, Subscription] = {}
        self.ack_prefix_size = len(ack_prefix)
        self.batch_max = batch_max
        self.record_acked = record_acked
        self.message_max = 0
        self.too_large = ""
        self.bound_messages(1 << 20, 0)
        self.fresh = False
        self.now_ns = 0
        self.wall_ns = 0
        self.trace = False
        self.debug = False
        self.partitioned = False
        self.last_channel: Channel | None = None
        self.last_identity = b""
        self.last_by_connection = False
        self.in_messages = 0
        self.in_bytes = 0
        self.staged_bytes = 0
        self.released: list[Subscription] = []
        self.acked: list[Subscription] = []

    def forget_identities(self) -> None:
        """A client or channel has gone: the shortcuts for the last one seen no longer hold."""
        self.last_channel = None
        self.last_identity = b""

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
        if not self.fresh:
            self.fresh = True
            self.engine.begin_chunk()
        if sid == _PUBLISH:
            self.publish(data, subject_start, subject_stop, reply_start, reply_stop, payload_start, payload_stop)
        elif sid == _ACK:
            token = self.token_at(data, subject_start + self.ack_prefix_size, subject_stop)
            self.ack(data, token, payload_start, payload_stop)
        elif sid >= _PARTITION:
            self.publish(data, subject_start, subject_stop, reply_start, reply_stop, payload_start, payload_stop)
        elif sid >= _RECOVERED:
            self.ack_recovered(data, sid, payload_start, payload_stop)
        else:
            self.engine.on_request(
                sid,
                bytes(data[subject_start:subject_stop]),
                bytes(data[reply_start:reply_stop]),
                bytes(data[payload_start:payload_stop]),
                status,
            )

    # Publishing.

    def bound_messages(self, payload_max: int, store_max: int) -> None:
        """
        Args:
            payload_max: bytes that NATS takes; a message that cannot be delivered is not accepted.
            store_max: encoded bytes that the store takes, 0 for no bound.
        """
        self.message_max = payload_max - _REDELIVERY_ROOM
        self.too_large = "nats: maximum payload exceeded"
        if store_max and store_max < self.message_max:
            self.message_max = store_max
            self.too_large = f"message is too large for the store: its column holds {store_max} encoded bytes"

    def publish(
        self,
        data: bytearray,
        subject_start: int,
        subject_stop: int,
        reply_start: int,
        reply_stop: int,
        start: int,
        stop: int,
    ) -> None:
        """Validate one PubMsg, stage its message, and write its ack for after the commit."""
        message = self.publish_message
        if not message.decode(data, start, stop):
            self.refuse_undecodable(data, reply_start, reply_stop, start, stop)
            return
        self.in_messages += 1
        self.in_bytes += stop - start
        channel = self.last_channel
        if channel is None or not same(channel.name, data, message.subject_start, message.subject_stop):
            channel = self.channels.get(bytes(data[message.subject_start : message.subject_stop]))
        if message.guid_start == message.guid_stop or not self.is_client(data, message):
            if not self.partitioned or not self.hold(
                data, subject_start, subject_stop, reply_start, reply_stop, start, stop
            ):
                self.refuse(data, reply_start, reply_stop, ReplyText.INVALID_PUBLISH)
            return
        if channel is None or channel.being_deleted:
            channel = self.open_channel(data, subject_start, subject_stop, reply_start, reply_stop)
            if channel is None:
                return
        elif self.trace:
            self.trace_publish(data)
        self.last_channel = channel
        sequence = channel.window.append(
            channel.subject_field,
            data,
            message.reply_start,
            message.reply_stop,
            message.data_start,
            message.data_stop,
            self.wall_ns,
            self.message_max,
        )
        if sequence == 0:
            self.refuse(data, reply_start, reply_stop, self.too_large)
            return
        cycle = self.cycle
        if channel.staged_from == 0:
            channel.staged_from = sequence
            cycle.touched.append(channel)
            cycle.waited_for = True
            if cycle.since_ns == 0:
                cycle.since_ns = self.now_ns
        if reply_stop > reply_start:
            put_pub_ack_frame(cycle.acks, data, reply_start, reply_stop, message.guid_start, message.guid_stop)
            if self.trace:
                self.trace_ack_of(data)
        cycle.message_count += 1
        self.staged_bytes += stop - start
        if cycle.message_count >= self.batch_max:
            self.engine.cut()

    def is_client(self, data: bytearray, message: PublishMessage) -> bool:
        """Whether the publisher is registered: by connection ID if it sent one, else by client ID."""
        start = message.connection_id_start
        stop = message.connection_id_stop
        by_connection = stop > start
        if not by_connection:
            start = message.client_id_start
            stop = message.client_id_stop
        if self.last_by_connection == by_connection and stop > start and same(self.last_identity, data, start, stop):
            return True
        identity = bytes(data[start:stop])
        known = self.connections if by_connection else self.clients
        if identity not in known:
            return False
        self.last_identity = identity
        self.last_by_connection = by_connection
        return True

    def hold(
        self,
        data: bytearray,
        subject_start: int,
        subject_stop: int,
        reply_start: int,
        reply_stop: int,
        start: int,
        stop: int,
    ) -> bool:
        """Whether the publish of an unknown client is kept until that is known; it comes again then."""
        message = self.publish_message
        if message.guid_start == message.guid_stop:
            return False
        held: bool = self.engine.hold_publish(
            bytes(data[message.client_id_start : message.client_id_stop]),
            bytes(data[message.connection_id_start : message.connection_id_stop]),
            bytes(data[subject_start:subject_stop]),
            bytes(data[reply_start:reply_stop]),
            bytes(data[start:stop]),
        )
        if held:
            # It is counted when it comes again.
            self.in_messages -= 1
            self.in_bytes -= stop - start
        return held

    def open_channel(
        self, data: bytearray, subject_start: int, subject_stop: int, reply_start: int, reply_stop: int
    ) -> Channel | None:
        """A channel that is not known yet: create it, or refuse the publish."""
        message = self.publish_message
        name = bytes(data[message.subject_start : message.subject_stop])
        if not is_channel_name(name):
            self.refuse(data, reply_start, reply_stop, ReplyText.INVALID_PUBLISH)
            return None
        if self.trace:
            self.trace_publish(data)
        try:
            channel: Channel = self.engine.open_channel(name)
        except RequestError as error:
            _log.error(
                "[Client:%s] Error processing message for subject %s: %s",
                bytes(data[message.client_id_start : message.client_id_stop]).decode("utf-8", "replace"),
                quoted(bytes(data[subject_start:subject_stop])),
                error.text,
            )
            self.put_error_ack(data, reply_start, reply_stop, error.text)
            return None
        return channel

    def refuse_undecodable(self, data: bytearray, reply_start: int, reply_stop: int, start: int, stop: int) -> None:
        """Answer what is no PubMsg, with the guid if that came before the damage."""
        if decode(ControlMessage, bytes(data[start:stop])) is not None:
            return  # servers talking to each other
        _log.error("Unable to unmarshal PubMsg: %d bytes that are no PubMsg", stop - start)
        self.put_error_ack(data, reply_start, reply_stop, ReplyText.INVALID_PUBLISH)

    def refuse(self, data: bytearray, reply_start: int, reply_stop: int, text: str) -> None:
        """Log and answer a publish that is not accepted."""
        message = self.publish_message
        _log.error(
            "Received invalid client publish message ClientID=%s, subject=%s: %s",
            quoted(bytes(data[message.client_id_start : message.client_id_stop])),
            quoted(bytes(data[message.subject_start : message.subject_stop])),
            text,
        )
        self.put_error_ack(data, reply_start, reply_stop, text)

    def put_error_ack(self, data: bytearray, reply_start: int, reply_stop: int, text: str) -> None:
        """Error acks do not wait for the messages before them."""
        if reply_stop > reply_start:
            message = self.publish_message
            ack = PubAck(bytes(data[message.guid_start : message.guid_stop]), text.encode("utf-8", "replace"))
            put_publish(self.cycle.replies, bytes(data[reply_start:reply_stop]), b"", encode(ack))
            self.cycle.waited_for = True

    def trace_publish(self, data: bytearray) -> None:
        message = self.publish_message
        if self.debug:  # the original wants both for this line
            _log.log(
                TRACE,
                "[Client:%s] Received message from publisher subj=%s guid=%s",
                bare(bytes(data[message.client_id_start : message.client_id_stop])),
                bare(bytes(data[message.subject_start : message.subject_stop])),
                bare(bytes(data[message.guid_start : message.guid_stop])),
            )

    def trace_ack_of(self, data: bytearray) -> None:
        """Keep the log line of an ack until it is sent."""
        message = self.publish_message
        self.cycle.trace_lines.append(
            f"[Client:{bare(bytes(data[message.client_id_start : message.client_id_stop]))}] Acking Publisher"
            f" subj={bare(bytes(data[message.subject_start : message.subject_stop]))}"
            f" guid={bare(bytes(data[message.guid_start : message.guid_stop]))}"
        )

    # Subscribers' acks.

    def token_at(self, data: bytearray, start: int, stop: int) -> int:
        """The decimal token at the end of an ack inbox, -1 when it is none of ours."""
        view = data
        if start >= stop or stop - start > 18:
            return -1
        token = 0
        for position in range(start, stop):
            digit = view[position]
            if digit < 48 or digit > 57:
                return -1
            token = token * 10 + (digit - 48)
        return token

    def add_ack_slot(self, subscription: Subscription) -> int:
        """Give a subscription a new token for its ack inbox; tokens are never used again."""
        slots = self.ack_slots
        slot = self.engine.free_ack_slots.pop() if self.engine.free_ack_slots else len(slots)
        if slot == len(slots):
            slots.append(None)
        slots[slot] = subscription
        self.engine.ack_serial += 1
        token: int = self.engine.ack_serial << _SLOT_BITS | slot
        subscription.ack_token = token
        return token

    def add_recovered(self, sid: int, subscription: Subscription) -> None:
        """An ack inbox of an earlier run, with a NATS subscription of its own; the token is the ID, negative."""
        self.recovered[sid] = subscription
        subscription.ack_token = -sid

    def remove_ack_slot(self, subscription: Subscription) -> None:
        if subscription.ack_token < 0:
            if self.recovered.pop(-subscription.ack_token, None) is not None:
                self.engine.ended_sids.append(-subscription.ack_token)
            subscription.ack_token = -1
            return
        slot = subscription.ack_token & ((1 << _SLOT_BITS) - 1)
        self.ack_slots[slot] = None
        self.engine.free_ack_slots.append(slot)
        subscription.ack_token = -1

    def ack(self, data: bytearray, token: int, start: int, stop: int) -> None:
        """Handle the Ack that was sent to the inbox with this token."""
        slot = token & ((1 << _SLOT_BITS) - 1)
        subscription: Subscription | None = None
        if token >= 0 and slot < len(self.ack_slots):
            subscription = self.ack_slots[slot]
            if subscription is not None and subscription.ack_token != token:
                subscription = None
        self.ack_for(data, subscription, start, stop)

    def ack_recovered(self, data: bytearray, sid: int, start: int, stop: int) -> None:
        self.ack_for(data, self.recovered.get(sid), start, stop)

    def ack_for(self, data: bytearray, subscription: Subscription | None, start: int, stop: int) -> None:
        message = self.ack_message
        if not message.decode(data, start, stop):
            payload = bytes(data[start:stop])
            if decode(ControlMessage, payload) is None:
                _log.error("Unable to unmarshal Ack: %d bytes that are no Ack message", len(payload))
            return
        if subscription is None or not same(
            subscription.channel.name, data, message.subject_start, message.subject_stop
        ):
            self.engine.on_stray_ack(bytes(data[message.subject_start : message.subject_stop]), message.sequence)
            return
        sequence = message.sequence
        if self.trace:
            self.trace_ack(subscription, sequence)
        holder = subscription
        if not holder.acknowledge(sequence):
            # It may have been redelivered to another member.
            other = self.other_holder(subscription, sequence) if subscription.group is not None else None
            if other is None:
                return
            holder = other
            holder.acknowledge(sequence)
        counts = subscription.counts()
        if counts:
            counts.pop(sequence, None)
        if holder.is_released():
            self.released.append(holder)
        if self.record_acked:
            if not holder.acked:
                self.acked.append(holder)
            holder.acked.append(sequence)

    def other_holder(self, subscription: Subscription, sequence: int) -> Subscription | None:
        member: Subscription
        for member in subscription.group.members:  # type: ignore[union-attr]
            if member.in_flight.contains(sequence):
                return member
        return None

    def trace_ack(self, subscription: Subscription, sequence: int) -> None:
        _log.log(
            TRACE,
            "[Client:%s] Processing ack for subid=%d, subject=%s, seq=%d",
            subscription.client_id.decode("utf-8", "replace"),
            subscription.id,
            bare(subscription.channel.name),
            sequence,
        )


def same(known: bytes, data: bytearray, start: int, stop: int) -> bool:
    """Whether `data[start:stop]` equals `known`, without copying."""
    size = stop - start
    if size != len(known):
        return False
    view = data
    other = known
    for index in range(size):  # noqa: SIM110 - a generator would not compile to a loop over pointers
        if view[start + index] != other[index]:
            return False
    return True
