"""A server of any size for the pages, which counts what is asked of it between two turns of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nats_streaming.monitor.histogram import CommitStatistics
from nats_streaming.monitor.metrics import Counters
from nats_streaming.monitor.snapshot import (
    ChannelSnapshot,
    ClientSnapshot,
    LimitsSnapshot,
    Problem,
    ServerSnapshot,
    StoreSnapshot,
    SubscriptionSnapshot,
    Totals,
    Unacked,
)

LIMITS = LimitsSnapshot(0, 0, 0, 0, 0)


class FakeSource:
    """See `monitor.snapshot.Source` and `monitor.metrics.Measured`. Handles are names, and (channel, number)."""

    def __init__(self, channels: int, subscriptions: int, *, first_channel_subscriptions: int = 0) -> None:
        """
        Args:
            channels: how many.
            subscriptions: of each channel.
            first_channel_subscriptions: of the first one, if it is to have more.
        """
        self._names = [b"channel-%06d" % number for number in range(channels)]
        self._subscriptions = subscriptions
        self._first = first_channel_subscriptions or subscriptions
        self._cost = 0
        self.cost_max = 0
        """Snapshots taken, and tenths of them for what was summed up, in the costliest turn of the event loop."""

    async def count_turns(self) -> None:
        """Runs beside a page, once in each turn of the loop."""
        while True:
            self._cost = 0
            await asyncio.sleep(0)

    def _spend(self, cost: int) -> None:
        self._cost += cost
        self.cost_max = max(self.cost_max, self._cost)

    def _count(self, channel: bytes) -> int:
        return self._first if channel == self._names[0] else self._subscriptions

    def server(self) -> ServerSnapshot:
        return ServerSnapshot(b"test-cluster", "SERVER", "STANDALONE", clients=1)

    def store(self) -> StoreSnapshot:
        return StoreSnapshot("MEMORY", 0, LIMITS, {})

    def channels(self) -> list[bytes]:
        return list(self._names)

    def channel(self, name: bytes) -> bytes | None:
        return name if name in self._names else None

    def channel_name(self, channel: bytes) -> bytes:
        self._spend(1)
        return channel

    def channel_snapshot(self, channel: bytes) -> ChannelSnapshot:
        self._spend(1)
        return ChannelSnapshot(channel, 3, 90, 1, 3, self._count(channel))

    def channel_subscriptions(self, channel: bytes) -> list[tuple[bytes, int]]:
        return [(channel, number) for number in range(self._count(channel))]

    def clients(self) -> list[bytes]:
        return [b"me"]

    def client(self, client_id: bytes) -> bytes | None:
        return client_id if client_id == b"me" else None

    def client_snapshot(self, client: bytes) -> ClientSnapshot:
        return ClientSnapshot(client, b"_INBOX.heartbeat", sum(map(self._count, self._names)))

    def client_subscriptions(self, client: bytes) -> list[tuple[bytes, int]]:
        return [handle for name in self._names for handle in self.channel_subscriptions(name)]

    def subscription_channel(self, subscription: tuple[bytes, int]) -> bytes:
        return subscription[0]

    def subscription_snapshot(self, subscription: tuple[bytes, int]) -> SubscriptionSnapshot:
        self._spend(1)
        _, number = subscription
        return SubscriptionSnapshot(
            b"me", b"_INBOX.%d" % number, b"_INBOX.ack.%d" % number, b"", b"", False, False, 10, 30, 3, 2, True
        )

    def totals(self, channels: Sequence[bytes]) -> Totals:
        self._spend(len(channels) // 10)
        return Totals(3 * len(channels), 90 * len(channels), sum(map(self._count, channels)))

    def unacked(self, subscriptions: Sequence[tuple[bytes, int]]) -> Unacked:
        self._spend(len(subscriptions) // 10)
        return Unacked(2 * len(subscriptions), len(subscriptions))

    # As `Measured`.

    def source(self) -> FakeSource:
        return self

    def problems(self) -> list[Problem]:
        return []

    def counters(self) -> Counters:
        return Counters(commits=CommitStatistics())

    def nats_server_id(self) -> str:
        return "NSERVER"

    def nats_pid(self) -> int | None:
        return None

    def disk_free_bytes(self) -> int | None:
        return None
