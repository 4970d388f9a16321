"""Engine and store as monitoring sees them: live state to snapshots, one small piece per call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.monitor.snapshot import (
    ChannelSnapshot,
    ClientSnapshot,
    LimitsSnapshot,
    ServerSnapshot,
    StoreSnapshot,
    SubscriptionSnapshot,
    Totals,
    Unacked,
)
from nats_streaming.server.settings.options import Options
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.clients import Client
from nats_streaming.streaming.engine import Engine
from nats_streaming.streaming.subscription import Subscription


class EngineSource:
    """One server, serving or standing by. See `monitor.snapshot.Source`, whose handles are the engine's objects."""

    def __init__(
        self,
        engine: Engine | None,
        options: Options,
        *,
        store_name: str,
        server_id: str,
        start_ns: int,
        state: Callable[[], str],
    ) -> None:
        """
        Args:
            engine: None for a standby, which knows nothing of what is in the store.
            options: with the limits.
            store_name: type of the store as monitoring shows it.
            server_id: NUID of this run.
            start_ns: wall clock at the start.
            state: of the server, asked for each time.
        """
        self._engine = engine
        self._options = options
        self._store_name = store_name
        self._server_id = server_id
        self._start_ns = start_ns
        self._state = state

    def server(self) -> ServerSnapshot:
        engine = self._engine
        if engine is None:
            return ServerSnapshot(b"", self._server_id, self._state(), start_ns=self._start_ns)
        return ServerSnapshot(
            engine.context.info.cluster_id,
            self._server_id,
            self._state(),
            start_ns=self._start_ns,
            clients=len(engine.inlet.clients),
            in_messages=engine.inlet.in_messages,
            in_bytes=engine.inlet.in_bytes,
            out_messages=engine.context.delivery.out_messages,
            out_bytes=engine.context.delivery.out_bytes,
        )

    def store(self) -> StoreSnapshot:
        limits = self._options.limits
        per_channel = {entry.name: _limits(entry.limits) for entry in limits.build().entries()}
        return StoreSnapshot(self._store_name, limits.max_channels, _limits(limits.channel_defaults()), per_channel)

    def channels(self) -> list[Channel]:
        by_name = self._engine.inlet.channels if self._engine is not None else {}
        return [by_name[name] for name in sorted(by_name)]

    def channel(self, name: bytes) -> Channel | None:
        return self._engine.inlet.channels.get(name) if self._engine is not None else None

    def channel_name(self, channel: Channel) -> bytes:
        return channel.name

    def channel_snapshot(self, channel: Channel) -> ChannelSnapshot:
        window = channel.window
        return ChannelSnapshot(
            channel.name,
            messages=window.durable_count(),
            bytes=window.durable_bytes(),
            # What is only staged does not exist yet for anybody.
            first=window.first if window.committed else 0,
            last=window.committed,
            subscription_count=channel.subscription_count,
        )

    def channel_subscriptions(self, channel: Channel) -> list[Subscription]:
        """See `monitor.snapshot.Source`."""
        found: list[Subscription] = list(channel.subscriptions)
        found += [durable for durable in channel.durables.values() if durable.is_offline]
        for group in channel.groups:
            found += group.members
            if group.offline is not None:
                found.append(group.offline)
        return found

    def clients(self) -> list[Client]:
        by_id = self._engine.inlet.clients if self._engine is not None else {}
        return [by_id[client_id] for client_id in sorted(by_id)]

    def client(self, client_id: bytes) -> Client | None:
        return self._engine.inlet.clients.get(client_id) if self._engine is not None else None

    def client_snapshot(self, client: Client) -> ClientSnapshot:
        return ClientSnapshot(client.info.id, client.info.heartbeat_inbox, len(client.subscriptions))

    def client_subscriptions(self, client: Client) -> list[Subscription]:
        return list(client.subscriptions)

    def subscription_channel(self, subscription: Subscription) -> bytes:
        return subscription.channel.name

    def subscription_snapshot(self, subscription: Subscription) -> SubscriptionSnapshot:
        return SubscriptionSnapshot(
            client_id=subscription.client_id,
            inbox=subscription.inbox,
            ack_inbox=subscription.ack_inbox,
            durable_name=subscription.durable_name,
            queue_name=subscription.queue_name,
            is_durable=bool(subscription.is_durable),
            is_offline=bool(subscription.is_offline),
            max_in_flight=subscription.max_in_flight,
            ack_wait_s=subscription.ack_wait_ns // NS_PER_SECOND,
            last_sent=subscription.last_sent,
            in_flight=subscription.in_flight.count,
            is_stalled=bool(subscription.stalled),
        )

    def totals(self, channels: Sequence[Channel]) -> Totals:
        messages = size = subscriptions = 0
        for channel in channels:
            window = channel.window
            messages += window.durable_count()
            size += window.durable_bytes()
            subscriptions += channel.subscription_count
        return Totals(messages, size, subscriptions)

    def unacked(self, subscriptions: Sequence[Subscription]) -> Unacked:
        in_flight = stalled = 0
        for subscription in subscriptions:
            in_flight += subscription.in_flight.count
            stalled += subscription.stalled
        return Unacked(in_flight, stalled)


def _limits(limits: ChannelLimits) -> LimitsSnapshot:
    return LimitsSnapshot(*limits[:3], limits.max_subscriptions, limits.max_inactivity_ns)
