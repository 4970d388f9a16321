"""How long things took: counts in buckets that are wide where times are long, so that memory stays small.

A bucket is 1/32 of its power of two wide: what comes out is at most 3.2 % above what went in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_SUB_BITS = 5
_SUB = 1 << _SUB_BITS


class Histogram:
    """Times in nanoseconds.

    Attributes:
        count: how many.
        total_ns, least_ns, most_ns: of them, exactly; 0 while there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.least_ns = 0
        self.most_ns = 0
        self._buckets: dict[int, int] = {}

    def add(self, time_ns: int) -> None:
        """Count one; a negative time, from a clock that stepped back, counts as 0."""
        time_ns = max(time_ns, 0)
        bucket = _bucket(time_ns)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.least_ns = min(self.least_ns, time_ns) if self.count else time_ns
        self.most_ns = max(self.most_ns, time_ns)
        self.count += 1
        self.total_ns += time_ns

    def merge(self, other: Histogram) -> None:
        """Count what the other has, too."""
        if not other.count:
            return
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.least_ns = min(self.least_ns, other.least_ns) if self.count else other.least_ns
        self.most_ns = max(self.most_ns, other.most_ns)
        self.count += other.count
        self.total_ns += other.total_ns

    @property
    def mean_ns(self) -> float:
        return self.total_ns / self.count if self.count else 0.0

    def percentile_ns(self, percent: float) -> int:
        """The time that `percent` of all did not exceed, 0 to 100; 0 while there is none."""
        if not self.count:
            return 0
        wanted = max(percent / 100 * self.count, 1)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_end(bucket) - 1, self.most_ns)
        return self.most_ns

    def octaves(self) -> list[tuple[int, int]]:
        """Counts per power of two: its end in nanoseconds and how many were below it; without gaps."""
        if not self._buckets:
            return []
        counts: dict[int, int] = {}
        for bucket, count in self._buckets.items():
            octave = _end(bucket) - 1
            counts[octave.bit_length()] = counts.get(octave.bit_length(), 0) + count
        return [(1 << bits, counts.get(bits, 0)) for bits in range(min(counts), max(counts) + 1)]

    def as_document(self) -> dict[str, object]:
        """For another process."""
        return {
            "total_ns": self.total_ns,
            "least_ns": self.least_ns,
            "most_ns": self.most_ns,
            "buckets": {str(bucket): count for bucket, count in self._buckets.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Histogram:
        """What `as_document` gave."""
        made = cls()
        buckets = document["buckets"]
        assert isinstance(buckets, dict)
        made._buckets = {int(bucket): int(count) for bucket, count in buckets.items()}
        made.count = sum(made._buckets.values())
        for member in ("total_ns", "least_ns", "most_ns"):
            value = document[member]
            assert isinstance(value, int)
            setattr(made, member, value)
        return made


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    whole = Histogram()
    for histogram in histograms:
        whole.merge(histogram)
    return whole


def _bucket(time_ns: int) -> int:
    shift = max(time_ns.bit_length() - _SUB_BITS - 1, 0)
    return (shift << _SUB_BITS) + (time_ns >> shift)


def _end(bucket: int) -> int:
    """The first time that is not in the bucket any more."""
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    return (bucket - (shift << _SUB_BITS) + 1) << shift
