"""Says when a log line that would repeat all the time is worth repeating."""

from __future__ import annotations

from nats_streaming.constants import LOG_BACK_OFF_MAX_NS, NS_PER_SECOND


class LogBackOff:
    """At once, then after 1, 2, 4 ... seconds, as the original's lines do."""

    def __init__(self) -> None:
        self._next_ns = 0
        self._wait_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether to log now; that is then the last time it was logged.

        Args:
            now_ns: monotonic time.
        """
        if self._wait_ns and now_ns < self._next_ns:
            return False
        self._wait_ns = min(self._wait_ns * 2, LOG_BACK_OFF_MAX_NS) or NS_PER_SECOND
        self._next_ns = now_ns + self._wait_ns
        return True

    def reset(self) -> None:
        """The trouble is over: the next line comes at once."""
        self._wait_ns = 0
