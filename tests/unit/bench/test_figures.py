"""The statistics of a few rounds."""

from __future__ import annotations

import pytest

from bench.suite.figures import Spread, latency_figures, percentile, ratios, spread


def test_spread_is_median_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert spread([1.0, 2.0]).median == 1.5


def test_no_rounds_have_no_spread() -> None:
    with pytest.raises(ValueError, match="no round"):
        spread([])


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [([1234.5, 1000.0, 2000.0], 0, "1,234 (1,000..2,000)"), ([0.125], 2, "0.12"), ([2.0, 2.0], 1, "2.0")],
)
def test_spread_as_text(values: list[float], digits: int, text: str) -> None:
    assert spread(values).text(digits) == text


def test_ratios_are_those_of_the_rounds_not_of_the_medians() -> None:
    # The machine was ten times slower in the second round, for both.
    assert ratios([200.0, 20.0, 300.0], [100.0, 10.0, 100.0]) == Spread(2.0, 2.0, 3.0)


def test_ratios_need_pairs_and_something_to_divide_by() -> None:
    with pytest.raises(ValueError, match="2 rounds of ours and 1 of the other"):
        ratios([1.0, 2.0], [1.0])
    assert ratios([1.0, 1.0], [1.0, 0.0]) is None
    assert ratios([0.0], [1.0]) == Spread(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000), (0.0001, 1), (0.9991, 1000)]
)
def test_percentile_by_nearest_rank(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(1, 1001)], share) == value


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.999) == 7.0


def test_latencies_are_told_in_microseconds() -> None:
    assert latency_figures([0.003, 0.001, 0.002]) == {"p50": 2000.0, "p99": 3000.0, "p999": 3000.0}
