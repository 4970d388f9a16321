"""The clocks, and how a length of time is written."""

from __future__ import annotations

import pytest

from nats_streaming.clock import Clock, SystemClock, duration_text
from nats_streaming.testing.fake_clock import FakeClock


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_000, "1µs"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (15_000_000, "15ms"),
        (1_000_000_000, "1s"),
        (1_500_000_000, "1.5s"),
        (59_999_999_999, "59.999999999s"),
        (60_000_000_000, "1m0s"),
        (5_400_000_000_000, "1h30m0s"),
        (7_200_000_000_001, "2h0m0.000000001s"),
        (-1_000_000_000, "-1s"),
        (-90_000_000_000, "-1m30s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
        (-(2**63), "-2562047h47m16.854775808s"),
    ],
)
def test_duration_text_is_go_s(duration_ns: int, text: str) -> None:
    assert duration_text(duration_ns) == text


def test_a_fake_clock_moves_only_when_told() -> None:
    fake = FakeClock(wall_ns=100, monotonic_ns=5)
    clock: Clock = fake
    assert (clock.wall_ns(), clock.monotonic_ns()) == (100, 5)
    fake.advance(7)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (107, 12)
    fake.set_wall_ns(3)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (3, 12)
    with pytest.raises(ValueError, match="backwards"):
        fake.advance(-1)


def test_the_system_clock_goes_on() -> None:
    clock: Clock = SystemClock()
    first = clock.monotonic_ns()
    assert clock.monotonic_ns() >= first
    assert clock.wall_ns() > 1_600_000_000 * 10**9
