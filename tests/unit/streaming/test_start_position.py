"""Where subscriptions begin. Source: protocol and delivery specification, section 5.2."""

from __future__ import annotations

import pytest

from nats_streaming.constants import INT64_MAX, INT64_MIN
from nats_streaming.protocol.control_messages import SubscriptionRequest
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.streaming.message_window import MessageWindow
from nats_streaming.streaming.start_position import (
    FIRST,
    LAST_RECEIVED,
    NEW_ONLY,
    SEQUENCE,
    TIME_DELTA,
    describe,
    needs_store,
    start_sequence,
)

NOW_NS = 1_700_000_000_000_000_000
FOO = length_field(2, b"foo")


def window(first: int, last: int, kept_from: int = 1) -> MessageWindow:
    """Messages up to `last`, a second apart, the last one a second ago; those before `first` have gone."""
    made = MessageWindow(0, 0, 0)
    if kept_from > 1:
        made.restore(1, kept_from - 1, kept_from - 1, 100, 0)
    for sequence in range(kept_from, last + 1):
        made.append(FOO, b"x", 0, 0, 0, 1, NOW_NS - (last + 1 - sequence) * 10**9, 1000)
    made.commit(made.last, made.appended)
    made.drop_until(first)
    return made


def request(position: int, sequence: int = 0, delta_ns: int = 0) -> SubscriptionRequest:
    return SubscriptionRequest(start_position=position, start_sequence=sequence, start_time_delta_ns=delta_ns)


EVERY_MODE = [
    request(NEW_ONLY),
    request(LAST_RECEIVED),
    request(FIRST),
    request(SEQUENCE, 0),
    request(SEQUENCE, 1),
    request(SEQUENCE, 2**64 - 1),
    request(TIME_DELTA, delta_ns=0),
    request(TIME_DELTA, delta_ns=3600 * 10**9),
    request(TIME_DELTA, delta_ns=INT64_MIN),
    request(TIME_DELTA, delta_ns=INT64_MAX),
]


@pytest.mark.parametrize("asked", EVERY_MODE, ids=repr)
def test_on_a_channel_that_was_never_used(asked: SubscriptionRequest) -> None:
    assert start_sequence(asked, MessageWindow(0, 0, 0), NOW_NS, None) == 1


@pytest.mark.parametrize("asked", EVERY_MODE, ids=repr)
def test_on_a_channel_whose_messages_have_all_gone(asked: SubscriptionRequest) -> None:
    assert start_sequence(asked, window(4, 3), NOW_NS, None) == 4


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(NEW_ONLY), 9),
        (request(LAST_RECEIVED), 8),
        (request(FIRST), 4),
        (request(FIRST, sequence=6, delta_ns=1), 4),
        (request(SEQUENCE, 0), 4),
        (request(SEQUENCE, 3), 4),
        (request(SEQUENCE, 4), 4),
        (request(SEQUENCE, 7), 7),
        (request(SEQUENCE, 8), 8),
        (request(SEQUENCE, 9), 9),
        (request(SEQUENCE, 10), 9),
        (request(SEQUENCE, 100), 9),
        (request(SEQUENCE, 2**63 - 1), 9),
        (request(SEQUENCE, 2**64 - 1), 9),
        # Message n was stored 9 - n seconds ago.
        (request(TIME_DELTA, delta_ns=0), 9),
        (request(TIME_DELTA, delta_ns=10**9 - 1), 9),
        (request(TIME_DELTA, delta_ns=10**9), 8),
        (request(TIME_DELTA, delta_ns=10**9 + 1), 8),
        (request(TIME_DELTA, delta_ns=4 * 10**9), 5),
        (request(TIME_DELTA, delta_ns=5 * 10**9), 4),
        (request(TIME_DELTA, delta_ns=7 * 10**9), 4),
        (request(TIME_DELTA, delta_ns=INT64_MAX), 4),
        (request(TIME_DELTA, delta_ns=-1), 9),
        (request(TIME_DELTA, delta_ns=-(2**62)), 9),
        (request(TIME_DELTA, delta_ns=INT64_MIN + 1), 9),
        (request(TIME_DELTA, delta_ns=INT64_MIN), 9),
    ],
    ids=repr,
)
def test_on_messages_4_to_8(asked: SubscriptionRequest, expected: int) -> None:
    assert start_sequence(asked, window(4, 8), NOW_NS, None) == expected


@pytest.mark.parametrize(("found", "expected"), [(1, 4), (4, 4), (6, 6), (9, 9), (50, 9)])
def test_what_the_store_found_by_time_is_held_to_what_exists(found: int, expected: int) -> None:
    assert start_sequence(request(TIME_DELTA, delta_ns=1), window(4, 8), NOW_NS, found) == expected


def test_when_the_store_must_be_asked() -> None:
    in_memory, partly = window(1, 8), window(1, 8, kept_from=5)
    for asked in EVERY_MODE:
        assert not needs_store(asked, in_memory)
        assert needs_store(asked, partly) == (asked.start_position == TIME_DELTA)
        assert not needs_store(asked, MessageWindow(0, 0, 0))


@pytest.mark.parametrize(
    ("asked", "sequence", "text"),
    [
        (request(NEW_ONLY), 9, "sending new-only, seq=9"),
        (request(LAST_RECEIVED), 8, "sending last message, seq=8"),
        (request(FIRST), 4, "sending from beginning, seq=4"),
        (request(SEQUENCE, 100), 9, "sending from sequence, asked_seq=100 actual_seq=9"),
        (request(TIME_DELTA), 1, "sending from time time='2023-11-14 22:13:20 +0000 UTC' seq=1"),
        (
            request(TIME_DELTA, delta_ns=-156375016),
            1,
            "sending from time time='2023-11-14 22:13:20.156375016 +0000 UTC' seq=1",
        ),
        (request(TIME_DELTA, delta_ns=-(10**8)), 1, "sending from time time='2023-11-14 22:13:20.1 +0000 UTC' seq=1"),
    ],
    ids=repr,
)
def test_the_log_line(asked: SubscriptionRequest, sequence: int, text: str) -> None:
    assert describe(asked, sequence, NOW_NS) == text


@pytest.mark.parametrize("delta_ns", [INT64_MIN, INT64_MIN + 1, -(2**62), 2**62, INT64_MAX])
def test_a_time_outside_every_calendar_can_be_logged(delta_ns: int) -> None:
    text = describe(request(TIME_DELTA, delta_ns=delta_ns), 7, NOW_NS)
    assert text.startswith("sending from time time='")
    assert text.endswith("' seq=7")
