"""What is measured, with its unit, and the statistics of a few rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Figures = dict[str, float]
"""Key of `FIGURES` to its value in one round."""

RATE, P50, P99, P999, CPU, PEAK, START = "rate", "p50", "p99", "p999", "cpu", "peak", "start"


@dataclass(frozen=True)
class Figure:
    """A kind of number; `digits` are those behind the point."""

    title: str
    digits: int = 0


FIGURES = {
    RATE: Figure("messages/s"),
    P50: Figure("p50, µs"),
    P99: Figure("p99, µs"),
    P999: Figure("p99.9, µs"),
    START: Figure("start, s", 2),
    CPU: Figure("CPU, µs/message", 2),
    PEAK: Figure("peak memory, MB", 1),
}

HEADLINES = (RATE, P50, P99, P999, START)
"""What is compared; the other figures stand beside it."""


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of the rounds."""

    median: float
    least: float
    greatest: float

    def text(self, digits: int) -> str:
        """`median (least..greatest)`; of a single round its value alone."""
        median = f"{self.median:,.{digits}f}"
        if self.least == self.greatest:
            return median
        return f"{median} ({self.least:,.{digits}f}..{self.greatest:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError when there are none."""
    if not values:
        raise ValueError("no round has this figure")
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[float], other: Sequence[float]) -> Spread | None:
    """Of each round its own ratio, for the two of a round ran one right after the other.

    Returns:
        None when one of the others is 0: what is over before the kernel looks at its clock takes no processor time.

    Raises:
        ValueError: the rounds do not pair, or there are none.
    """
    if len(ours) != len(other):
        raise ValueError(f"{len(ours)} rounds of ours and {len(other)} of the other")
    if not all(other):
        return None
    return spread([a / b for a, b in zip(ours, other, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the least value that `share` of all do not exceed.

    Args:
        ordered: ascending, not empty.
        share: above 0, at most 1.
    """
    rank = -(-len(ordered) * share // 1)
    return ordered[min(len(ordered), max(1, int(rank))) - 1]


def latency_figures(seconds: Sequence[float]) -> Figures:
    """p50, p99 and p99.9 of latencies, in microseconds."""
    ordered = sorted(seconds)
    return {key: percentile(ordered, share) * 1e6 for key, share in ((P50, 0.5), (P99, 0.99), (P999, 0.999))}
