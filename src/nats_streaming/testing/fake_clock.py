"""A clock that moves only when told to."""

from __future__ import annotations


class FakeClock:
    """A `nats_streaming.clock.Clock` for tests; both times advance together."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000, monotonic_ns: int = 0) -> None:
        """
        Args:
            wall_ns: nanoseconds since 1970-01-01 UTC to start at.
            monotonic_ns: nanoseconds the monotonic time starts at.
        """
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC, as set."""
        return self._wall_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds of monotonic time, as advanced."""
        return self._monotonic_ns

    def advance(self, duration_ns: int) -> None:
        """Let time pass.

        Args:
            duration_ns: nanoseconds, not negative.
        """
        if duration_ns < 0:
            raise ValueError("time does not run backwards; use set_wall_ns for a stepped clock")
        self._wall_ns += duration_ns
        self._monotonic_ns += duration_ns

    def set_wall_ns(self, wall_ns: int) -> None:
        """Step the wall time, as an operator or NTP may; the monotonic time stays.

        Args:
            wall_ns: nanoseconds since 1970-01-01 UTC.
        """
        self._wall_ns = wall_ns
