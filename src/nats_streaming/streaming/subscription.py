"""The state of one subscription, and of a queue group and its members."""

from __future__ import annotations

from typing import Any

from nats_streaming.protocol.nats_writer import is_subject
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.in_flight import InFlight


class QueueGroup:
    """Members that share the messages of a channel. For a member, the position is the group's.

    Invariants: `members` are eligible or about to be; its order is the order of choice, and choosing
    the head moves it to the end. `offline` is the last member of a durable group that has none now.
    """

    def __init__(self, channel: Channel, name: bytes, is_durable: bool) -> None:
        """
        Args:
            name: as operators see it: `durable:group` for a durable group.
        """
        self.channel = channel
        self.name = name
        self.is_durable = is_durable
        self.members: list[Any] = []
        self.last_sent = 0
        self.on_hold = False
        self.redelivery_counts: dict[int, int] = {}
        self.offline: Any = None
        self.handed_over = False


class Subscription:
    """One subscriber of a channel.

    Attributes:
        head: `PUB <inbox> `, ready to be sent; empty when the inbox is no valid subject.
        last_sent: the highest sequence sent for the first time (a member: by this member).
        stalled: at its limit; set and cleared by delivery and acks only.
        on_hold: no new messages, because unacked ones come first (after a resume or recovery).
        failed_heartbeat: its client did not answer the last heartbeat.
        eligible: its response has been sent, it may receive.
    """

    def __init__(self, channel: Channel, client_id: bytes, max_in_flight: int, ack_wait_ns: int) -> None:
        self.channel = channel
        self.client_id = client_id
        self.id = 0
        self.inbox = b""
        self.head = b""
        self.ack_inbox = b""
        self.ack_token = -1
        self.durable_name = b""
        self.queue_name = b""
        self.is_durable = False
        self.is_offline = False
        self.group: QueueGroup | None = None
        self.max_in_flight = max_in_flight
        self.ack_wait_ns = ack_wait_ns
        self.last_sent = 0
        self.in_flight = InFlight()
        self.redelivery_counts: dict[int, int] = {}
        self.stalled = False
        self.on_hold = False
        self.failed_heartbeat = False
        self.eligible = False
        self.removed = False
        self.timer: Any = None
        self.timer_armed = False
        self.sent: list[int] = []
        self.acked: list[int] = []

    def set_inbox(self, inbox: bytes) -> None:
        """Where messages go from now on."""
        self.inbox = inbox
        self.head = b"PUB " + inbox + b" " if is_subject(inbox) else b""

    def counts(self) -> dict[int, int]:
        """Redelivery counts by sequence: a group counts over all its members."""
        return self.group.redelivery_counts if self.group is not None else self.redelivery_counts

    def acknowledge(self, sequence: int) -> bool:
        """Take a message out of flight; False when it was not in flight here.

        The caller delivers again when this ends a stall: see `is_released`.
        """
        return self.in_flight.remove(sequence)

    def is_released(self) -> bool:
        """Clear a stall that no longer holds; True when there was one."""
        if self.stalled and self.in_flight.count < self.max_in_flight:
            self.stalled = False
            return True
        return False
