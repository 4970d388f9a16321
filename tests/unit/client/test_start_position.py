"""Start positions in Python's types become the protocol's fields exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.client.start_position import (
    FIRST,
    LAST_RECEIVED,
    NEW_ONLY,
    SEQUENCE,
    TIME_DELTA,
    AtTime,
    Sequence,
    Since,
    Start,
    StartPosition,
    check_start,
    datetime_ns,
    ns_datetime,
    start_position,
    timedelta_ns,
)

NOW_NS = 1_790_000_000_123_456_789


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("new", StartPosition(NEW_ONLY)),
        ("last", StartPosition(LAST_RECEIVED)),
        ("first", StartPosition(FIRST)),
        (Sequence(2**64 - 1), StartPosition(SEQUENCE, sequence=2**64 - 1)),
        (AtTime(NOW_NS - 1), StartPosition(TIME_DELTA, delta_ns=1)),
        (AtTime(0), StartPosition(TIME_DELTA, delta_ns=NOW_NS)),
        (AtTime(-(2**63)), StartPosition(TIME_DELTA, delta_ns=2**63 - 1)),
        (Since(5), StartPosition(TIME_DELTA, delta_ns=12)),
        (timedelta(microseconds=1), StartPosition(TIME_DELTA, delta_ns=1007)),
        (timedelta.max, StartPosition(TIME_DELTA, delta_ns=2**63 - 1)),
        (timedelta.min, StartPosition(TIME_DELTA, delta_ns=-(2**63))),
    ],
)
def test_the_fields_of_the_request(start: Start, expected: StartPosition) -> None:
    assert start_position(check_start(start), NOW_NS, waited_ns=7) == expected


def test_the_numbers_are_the_protocols() -> None:
    assert (NEW_ONLY, LAST_RECEIVED, TIME_DELTA, SEQUENCE, FIRST) == (0, 1, 2, 3, 4)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_datetime_and_back(moment: datetime) -> None:
    assert ns_datetime(datetime_ns(moment)) == moment
    assert ns_datetime(datetime_ns(moment) + 999) == moment
    delta_ns = start_position(moment, NOW_NS).delta_ns
    assert delta_ns == max(min(NOW_NS - datetime_ns(moment), 2**63 - 1), -(2**63))


@given(st.timedeltas())
def test_a_timedelta_is_exact(length: timedelta) -> None:
    assert timedelta_ns(length) == (length // timedelta(microseconds=1)) * 1000


def test_a_moment_is_the_same_in_every_zone() -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert datetime_ns(moment) == datetime_ns(moment.astimezone(timezone(timedelta(hours=9))))


@pytest.mark.parametrize("value", [0, -1, 2**64])
def test_what_is_no_sequence(value: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        Sequence(value)
