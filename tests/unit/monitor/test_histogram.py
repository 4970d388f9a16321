"""Distributions, and what is told of commits."""

from __future__ import annotations

import pytest

from nats_streaming.constants import NS_PER_MS
from nats_streaming.monitor.histogram import BYTES, MESSAGES, SECONDS, CommitStatistics, Histogram


def test_a_value_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0.5, 1, 1.5, 5, 6):
        histogram.add(value)
    histogram.add(2, times=3)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 6), ("5.0", 7), ("+Inf", 8)]
    assert histogram.sum == 20


@pytest.mark.parametrize("bounds", [SECONDS, MESSAGES, BYTES])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_commits() -> None:
    statistics = CommitStatistics()
    statistics.committed(3, 300, NS_PER_MS, 2 * NS_PER_MS)
    statistics.committed(0, 0, NS_PER_MS, 10**15)
    statistics.failed()
    assert statistics.failures == 1
    assert statistics.commit_seconds.sum == pytest.approx(0.002)
    assert statistics.publish_seconds.sum == pytest.approx(0.006), "once for each message"
    assert (statistics.messages.sum, statistics.bytes.sum) == (3, 300)
    assert sum(statistics.messages.counts) == 1, "a batch without messages is no small batch"
