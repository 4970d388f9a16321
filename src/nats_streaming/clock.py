"""Time for everyone else: no other module calls `time` for it, so tests can turn the hands.

Also how a length of time is written in log lines and messages, since every room needs that.
"""

from __future__ import annotations

import time
from typing import Protocol

from nats_streaming.constants import NS_PER_MS, NS_PER_SECOND, NS_PER_US


class Clock(Protocol):
    """The two times: one for what people read and clients store, one for measuring."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may step back when the system's clock is set."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary moment; never steps back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # As they are, without a call between: they are read for every chunk.
    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)


def duration_text(duration_ns: int) -> str:
    """Write a length of time as the original does (Go's `time.Duration`): `1h0m0s`, `1.5s`, `15ms`, `0s`.

    Args:
        duration_ns: nanoseconds, any sign.
    """
    if duration_ns == 0:
        return "0s"
    sign = "-" if duration_ns < 0 else ""
    left_ns = abs(duration_ns)
    if left_ns < NS_PER_SECOND:
        for unit_ns, unit in ((NS_PER_MS, "ms"), (NS_PER_US, "µs"), (1, "ns")):
            if left_ns >= unit_ns:
                return f"{sign}{_decimal(left_ns, unit_ns)}{unit}"
    minutes, left_ns = divmod(left_ns, 60 * NS_PER_SECOND)
    seconds = _decimal(left_ns, NS_PER_SECOND)
    if minutes == 0:
        return f"{sign}{seconds}s"
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}h{minutes}m{seconds}s" if hours else f"{sign}{minutes}m{seconds}s"


def _decimal(value: int, unit: int) -> str:
    """`value / unit` exactly, without trailing zeros; `unit` is a power of ten."""
    whole, fraction = divmod(value, unit)
    if fraction == 0:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")


def cpu_ns() -> int:
    """Nanoseconds of CPU that this process has used."""
    return time.process_time_ns()
