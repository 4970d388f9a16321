"""One channel: its messages, who subscribes to it, and what of it the current cycle has touched."""

from __future__ import annotations

from typing import Any

from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.streaming.message_window import MessageWindow


class Channel:
    """Invariant: an eligible plain or durable subscription is in `subscriptions`, a queue member is in its group.

    `subscription_count` counts what the limit counts: active subscriptions, offline durables and
    offline durable groups.

    Attributes:
        expires: whether messages go after some time.
        reading: what is being read from the store: first sequence to those who wait for it.
        failed_reads: of these, the ones whose last attempt failed.
        front_wanted: the oldest messages are being read because a limit says that some must go.
    """

    def __init__(self, name: bytes, limits: ChannelLimits, overhead_bytes: int) -> None:
        """
        Args:
            name: a valid channel name.
            limits: resolved limits, 0 for unlimited.
            overhead_bytes: bytes that the store counts per message beside its encoding.
        """
        self.name = name
        self.subject_field = length_field(2, name)
        self.limits = limits
        self.expires = limits.max_age_ns != 0
        self.window = MessageWindow(overhead_bytes, limits.max_messages, limits.max_bytes)
        self.subscriptions: list[Any] = []
        self.groups: list[Any] = []
        self.by_inbox: dict[bytes, Any] = {}
        self.durables: dict[tuple[bytes, bytes], Any] = {}
        self.groups_by_name: dict[bytes, Any] = {}
        self.subscription_count = 0
        self.last_subscription_id = 0
        self.staged_from = 0
        self.trimmed_to = 0
        self.reading: dict[int, list[Any]] = {}
        self.failed_reads: list[int] = []
        self.front_wanted = False
        self.being_deleted = False
        self.removed = False
        self.limit_reported = False
        self.expiry_timer: Any = None
        self.inactivity_timer: Any = None
        self.last_publish_ns = 0

    def next_subscription_id(self) -> int:
        """IDs rise from 1 and are not used again."""
        self.last_subscription_id += 1
        return self.last_subscription_id


def everyone(channel: Channel) -> list[Any]:
    """All subscriptions of a channel: active ones, offline durables, members of groups, offline groups."""
    found = dict.fromkeys(channel.subscriptions)
    found.update(dict.fromkeys(channel.durables.values()))
    for group in channel.groups:
        found.update(dict.fromkeys(group.members))
        if group.offline is not None:
            found[group.offline] = None
    return list(found)
