"""Where a subscription begins, in Python's own types, and as the protocol says it.

Source: SubscriptionRequest, fields startPosition, startSequence and startTimeDelta; enum StartPosition.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from nats_streaming.constants import INT64_MAX, INT64_MIN, NS_PER_SECOND, NS_PER_US

NEW_ONLY, LAST_RECEIVED, TIME_DELTA, SEQUENCE, FIRST = range(5)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Sequence(int):
    """A sequence of a channel as start position, from 1. One that is not there yet means the next new message."""

    def __new__(cls, value: int) -> Sequence:
        if not 0 < value < 1 << 64:
            raise ValueError(f"start: a sequence lies between 1 and 2**64-1, not {value}")
        return super().__new__(cls, value)


@dataclass(frozen=True, slots=True)
class AtTime:
    """A moment as start position, to the nanosecond, for instance a message's `time_ns`.

    Attributes:
        time_ns: nanoseconds since 1970-01-01 UTC.
    """

    time_ns: int


@dataclass(frozen=True, slots=True)
class Since:
    """A length of time back from now as start position, to the nanosecond.

    Attributes:
        age_ns: nanoseconds.
    """

    age_ns: int


Start = Literal["new", "first", "last"] | Sequence | AtTime | Since | datetime | timedelta
"""What `subscribe(start=...)` takes."""


@dataclass(frozen=True, slots=True)
class StartPosition:
    """The three fields of a SubscriptionRequest."""

    kind: int
    sequence: int = 0
    delta_ns: int = 0


_NAMED = {
    "new": StartPosition(NEW_ONLY),
    "first": StartPosition(FIRST),
    "last": StartPosition(LAST_RECEIVED),
}


def datetime_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime, exactly.

    Raises:
        ValueError: without a time zone it names no moment.
    """
    if moment.tzinfo is None:
        raise ValueError(
            f"start: {moment.isoformat()} has no time zone; say datetime(..., tzinfo=timezone.utc) or .astimezone()"
        )
    return timedelta_ns(moment - _EPOCH)


def timedelta_ns(length: timedelta) -> int:
    """A timedelta in nanoseconds, exactly."""
    return (length.days * 86_400 + length.seconds) * NS_PER_SECOND + length.microseconds * NS_PER_US


def ns_datetime(time_ns: int) -> datetime:
    """The moment as a datetime in UTC, cut to microseconds."""
    seconds, rest_ns = divmod(time_ns, NS_PER_SECOND)
    return _EPOCH + timedelta(seconds=seconds, microseconds=rest_ns // NS_PER_US)


def check_start(start: object) -> Start:
    """`start` unchanged, if it is a start position.

    Raises:
        TypeError, ValueError: it is none; the text says what is one.
    """
    if isinstance(start, str):
        if start not in _NAMED:
            raise ValueError(f'start: "new", "first" or "last", not {start!r}')
        return start  # type: ignore[return-value]
    if isinstance(start, datetime):
        datetime_ns(start)
        return start
    if isinstance(start, Sequence | AtTime | Since | timedelta):
        return start
    remedy = f"; say Sequence({start})" if isinstance(start, int) else ""
    raise TypeError(f"start: a name, Sequence, datetime, timedelta, AtTime or Since, not {start!r}{remedy}")


def start_position(start: Start, wall_ns: int, waited_ns: int = 0) -> StartPosition:
    """The request's fields for `start`.

    Args:
        wall_ns: nanoseconds since 1970, now.
        waited_ns: how long ago the user asked, so that "an hour back" keeps meaning the same moment at a resume.
    """
    if isinstance(start, str):
        return _NAMED[start]
    if isinstance(start, Sequence):
        return StartPosition(SEQUENCE, sequence=int(start))
    if isinstance(start, AtTime):
        delta_ns = wall_ns - start.time_ns
    elif isinstance(start, Since):
        delta_ns = start.age_ns + waited_ns
    elif isinstance(start, datetime):
        delta_ns = wall_ns - datetime_ns(start)
    else:
        delta_ns = timedelta_ns(start) + waited_ns
    return StartPosition(TIME_DELTA, delta_ns=min(max(delta_ns, INT64_MIN), INT64_MAX))
