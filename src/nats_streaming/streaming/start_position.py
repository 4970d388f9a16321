"""Where a new subscription begins: the request's start position against what the channel holds."""

from __future__ import annotations

from nats_streaming.constants import INT64_MAX, INT64_MIN
from nats_streaming.protocol.control_messages import SubscriptionRequest
from nats_streaming.streaming.message_window import MessageWindow

NEW_ONLY, LAST_RECEIVED, TIME_DELTA, SEQUENCE, FIRST = range(5)


def start_sequence(request: SubscriptionRequest, window: MessageWindow, wall_ns: int, found_by_time: int | None) -> int:
    """The sequence that is delivered first.

    Args:
        found_by_time: what the store found for TIME_DELTA when the window does not reach back far enough.

    Source: protocol and delivery specification, section 5.2.
    """
    first, last = window.first, window.last
    position = request.start_position
    if position == NEW_ONLY or last == 0:
        return last + 1
    if position == LAST_RECEIVED:
        return max(last, first)
    if position == FIRST:
        return first
    if position == SEQUENCE:
        if request.start_sequence > last:
            return last + 1
        return max(request.start_sequence, first)
    if not window.count:
        return last + 1
    if found_by_time is not None:
        return min(max(found_by_time, first), last + 1)
    return window.sequence_at(start_time_ns(request, wall_ns))


def start_time_ns(request: SubscriptionRequest, wall_ns: int) -> int:
    """The time of a start by time in Unix nanoseconds; a delta from a client may lead beyond 64 bits."""
    return max(INT64_MIN, min(wall_ns - request.start_time_delta_ns, INT64_MAX))


def needs_store(request: SubscriptionRequest, window: MessageWindow) -> bool:
    """Whether a start by time must look behind what is in memory."""
    return request.start_position == TIME_DELTA and not window.is_resident(window.first)


def describe(request: SubscriptionRequest, sequence: int, wall_ns: int) -> str:
    """The end of the log line about a new subscription."""
    position = request.start_position
    if position == NEW_ONLY:
        return f"sending new-only, seq={sequence}"
    if position == LAST_RECEIVED:
        return f"sending last message, seq={sequence}"
    if position == FIRST:
        return f"sending from beginning, seq={sequence}"
    if position == SEQUENCE:
        return f"sending from sequence, asked_seq={request.start_sequence} actual_seq={sequence}"
    return f"sending from time time='{_utc_text(start_time_ns(request, wall_ns))}' seq={sequence}"


def _utc_text(unix_ns: int) -> str:
    """A time as the original prints it: `2026-11-23 01:22:18.156375016 +0000 UTC`."""
    from datetime import UTC, datetime  # for a debug line only: not worth its time at every start

    seconds, rest = divmod(unix_ns, 1_000_000_000)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{unix_ns}ns"  # a delta from a client can lie outside every calendar
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction} +0000 UTC"
