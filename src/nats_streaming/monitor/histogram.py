"""How values are spread, counted while the server works and shown by `/metrics`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from nats_streaming.constants import NS_PER_SECOND

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for durations: from a commit to memory to a disk that hangs."""

MESSAGES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
BYTES: Final = tuple(256 << (2 * exponent) for exponent in range(10))


class Histogram:
    """Counts of values per range. `counts` has one more entry than `bounds`, for what lies above all of them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """
        Args:
            bounds: upper ends of the ranges, ascending; a value on a bound belongs below it.
        """
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound as text and how many values do not exceed it, the last one for all values."""
        total = 0
        found = []
        for bound, count in zip([*map(str, map(float, self.bounds)), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class CommitStatistics:
    """What became of the batches since monitoring began. Called once per commit, by the loop that commits."""

    def __init__(self) -> None:
        self.publish_seconds = Histogram(SECONDS)
        self.commit_seconds = Histogram(SECONDS)
        self.messages = Histogram(MESSAGES)
        self.bytes = Histogram(BYTES)
        self.failures = 0

    def committed(self, messages: int, size: int, commit_ns: int, publish_ns: int) -> None:
        """A batch is durable and its acks are handed to NATS.

        Args:
            messages: published ones in it; a batch may have none.
            size: bytes of their publishes.
            commit_ns: how long the store took.
            publish_ns: from reading its oldest publish until its acks, with `messages`.
        """
        self.commit_seconds.add(commit_ns / NS_PER_SECOND)
        if messages:
            self.messages.add(messages)
            self.bytes.add(size)
            self.publish_seconds.add(publish_ns / NS_PER_SECOND, messages)

    def failed(self) -> None:
        """A batch did not become durable."""
        self.failures += 1
