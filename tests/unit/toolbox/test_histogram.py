"""The histogram of a bench against a sorted list."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.toolbox.bench.histogram import Histogram, merged

TIMES = st.lists(st.integers(0, 10**13), min_size=1, max_size=200)


def histogram_of(times: list[int]) -> Histogram:
    made = Histogram()
    for time_ns in times:
        made.add(time_ns)
    return made


@given(times=TIMES, percent=st.floats(0, 100))
def test_percentiles_are_hardly_above_the_exact_ones(times: list[int], percent: float) -> None:
    histogram = histogram_of(times)
    exact = sorted(times)[max(-int(-percent / 100 * len(times) // 1), 1) - 1]
    assert exact <= histogram.percentile_ns(percent) <= exact * (1 + 1 / 32) + 1


@given(times=TIMES)
def test_sums_are_exact(times: list[int]) -> None:
    histogram = histogram_of(times)
    assert (histogram.count, histogram.total_ns) == (len(times), sum(times))
    assert (histogram.least_ns, histogram.most_ns) == (min(times), max(times))
    assert histogram.percentile_ns(100) == max(times)


@given(times=TIMES)
def test_octaves_hold_everything_below_their_ends(times: list[int]) -> None:
    begin = 0
    for end, count in histogram_of(times).octaves():
        assert count == sum(begin <= time_ns < end for time_ns in times)
        begin = end
    assert begin > max(times)


@given(one=TIMES, other=TIMES)
def test_merging_and_travelling_change_nothing(one: list[int], other: list[int]) -> None:
    travelled = [
        Histogram.from_document(json.loads(json.dumps(histogram_of(each).as_document()))) for each in (one, other)
    ]
    whole, expected = merged([*travelled, Histogram()]), histogram_of(one + other)
    assert whole.as_document() == expected.as_document()
    assert whole.count == expected.count


def test_nothing_yet() -> None:
    histogram = Histogram()
    assert (histogram.percentile_ns(50), histogram.mean_ns, histogram.octaves()) == (0, 0, [])


@pytest.mark.parametrize("time_ns", [-5, 0])
def test_a_clock_that_steps_back_counts_as_nothing(time_ns: int) -> None:
    assert histogram_of([time_ns]).most_ns == 0
