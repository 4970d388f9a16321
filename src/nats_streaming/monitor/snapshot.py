"""The values that monitoring shows, and the door through which it gets them.

A snapshot is taken when it is asked for and belongs to the caller. Lists of channels, clients and subscriptions are
handed out as handles, which mean something to their source only, so that a page takes snapshots of what it shows, a
few at a time, and not of ten thousand channels at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Handle = Any
"""A channel, client or subscription of a source. It may be used after what it stands for has gone."""


@dataclass(slots=True, frozen=True)
class ServerSnapshot:
    """The server as a whole.

    Attributes:
        cluster_id: "" on a standby, which does not know its store yet.
        server_id: NUID of this run.
        state: as `ServerState`.
        role, node_id: of a replicated server, "" otherwise.
        start_ns: wall clock at the start, nanoseconds.
        in_messages, in_bytes: publishes that could be decoded, accepted or not; whole payloads.
        out_messages, out_bytes: deliveries, redeliveries included.
    """

    cluster_id: bytes
    server_id: str
    state: str
    role: str = ""
    node_id: str = ""
    start_ns: int = 0
    clients: int = 0
    in_messages: int = 0
    in_bytes: int = 0
    out_messages: int = 0
    out_bytes: int = 0


class LimitsSnapshot(NamedTuple):
    """The limits of a channel, or those of every channel without its own; 0 is unlimited."""

    max_messages: int
    max_bytes: int
    max_age_ns: int
    max_subscriptions: int
    max_inactivity_ns: int


@dataclass(slots=True, frozen=True)
class StoreSnapshot:
    """The store.

    Attributes:
        type: as the store calls itself, for instance MEMORY.
        max_channels: channels of the server, 0 is unlimited.
        limits: of channels without limits of their own.
        channels: channel name or pattern to what holds for it.
    """

    type: str
    max_channels: int
    limits: LimitsSnapshot
    channels: dict[bytes, LimitsSnapshot]


class Totals(NamedTuple):
    """Sums over some channels."""

    messages: int = 0
    bytes: int = 0
    subscriptions: int = 0


class Unacked(NamedTuple):
    """Sums over some subscriptions.

    Attributes:
        in_flight: messages sent and not acked.
        stalled: subscriptions at their limit of those.
    """

    in_flight: int = 0
    stalled: int = 0


@dataclass(slots=True, frozen=True)
class SubscriptionSnapshot:
    """One subscription.

    Attributes:
        client_id: of an offline one the last client that had it.
        queue_name: `durable:group` for a durable group.
        in_flight: messages sent and not acked.
    """

    client_id: bytes
    inbox: bytes
    ack_inbox: bytes
    durable_name: bytes
    queue_name: bytes
    is_durable: bool
    is_offline: bool
    max_in_flight: int
    ack_wait_s: int
    last_sent: int
    in_flight: int
    is_stalled: bool


@dataclass(slots=True, frozen=True)
class ChannelSnapshot:
    """One channel.

    Attributes:
        first, last: sequences; `last + 1` and `last` when every message has gone, 0 while there never was one.
        subscription_count: online ones, offline durables and offline durable groups.
    """

    name: bytes
    messages: int
    bytes: int
    first: int
    last: int
    subscription_count: int


@dataclass(slots=True, frozen=True)
class ClientSnapshot:
    """One client; `subscription_count` counts its online subscriptions."""

    id: bytes
    heartbeat_inbox: bytes
    subscription_count: int


class Problem(NamedTuple):
    """Why a server cannot do its work at the moment.

    Attributes:
        check: which part: `server`, `store`, `channel_files`, `nats` or `permissions`.
        text: what is wrong, for a person.
    """

    check: str
    text: str


class Source(Protocol):
    """Where snapshots come from. No call waits or takes long; what grows with the server is asked for in parts."""

    def server(self) -> ServerSnapshot: ...

    def store(self) -> StoreSnapshot: ...

    def channels(self) -> list[Handle]:
        """All channels, ordered by name."""
        ...

    def channel(self, name: bytes) -> Handle | None: ...

    def channel_name(self, channel: Handle) -> bytes: ...

    def channel_snapshot(self, channel: Handle) -> ChannelSnapshot: ...

    def channel_subscriptions(self, channel: Handle) -> list[Handle]:
        """Plain ones and online durables as they came, offline durables, then each queue group and its placeholder."""
        ...

    def clients(self) -> list[Handle]:
        """All clients, ordered by ID."""
        ...

    def client(self, client_id: bytes) -> Handle | None: ...

    def client_snapshot(self, client: Handle) -> ClientSnapshot: ...

    def client_subscriptions(self, client: Handle) -> list[Handle]:
        """Its online subscriptions, in the order in which they came."""
        ...

    def subscription_channel(self, subscription: Handle) -> bytes:
        """The name of its channel."""
        ...

    def subscription_snapshot(self, subscription: Handle) -> SubscriptionSnapshot: ...

    def totals(self, channels: Sequence[Handle]) -> Totals: ...

    def unacked(self, subscriptions: Sequence[Handle]) -> Unacked: ...
