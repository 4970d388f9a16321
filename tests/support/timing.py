"""When something is expected to happen, with room for a busy machine but none for happening too early."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.raw_client import Delivery

EARLY_SECONDS = 0.06
LATE_SECONDS = 0.9  # what comes one tick of a second late is still found


def assert_at(seconds: float, expected: float) -> None:
    assert expected - EARLY_SECONDS <= seconds <= expected + LATE_SECONDS, f"{seconds:.3f} s, expected {expected} s"


def assert_schedule(deliveries: Sequence[Delivery], start: float, expected: Sequence[tuple[int, int, float]]) -> None:
    """Check sequence, redelivery count and time since `start` of each delivery."""
    seen = [(delivery.sequence, delivery.redelivery_count, delivery.received_at - start) for delivery in deliveries]
    assert [entry[:2] for entry in seen] == [entry[:2] for entry in expected], seen
    for (_, _, seconds), (_, _, due) in zip(seen, expected, strict=True):
        assert due - EARLY_SECONDS <= seconds <= due + LATE_SECONDS, (seen, expected)
