"""Two looks at a server, and what happened between them."""

from __future__ import annotations

from typing import Any

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.toolbox.monitoring import Channel, Subscription
from nats_streaming.toolbox.watching import Look, behind, compare


def subscribed(inbox: str, last_sent: int, **more: Any) -> Subscription:
    values = {
        "client_id": "me", "durable_name": "", "queue_name": "", "is_durable": False, "is_offline": False,
        "max_in_flight": 10, "ack_wait_s": 30, "pending": 0, "stalled": False,
    }  # fmt: skip
    return Subscription(inbox=inbox, last_sent=last_sent, **{**values, **more})


def channel(last: int, *subscriptions: Subscription, name: str = "foo", first: int = 1) -> Channel:
    return Channel(name, last - first + 1, 100, first, last, list(subscriptions))


def look(seconds: float, *channels: Channel, **server: Any) -> Look:
    counts = {"server_id": "s", "start_time": "t", "in_msgs": 0, "out_msgs": 0, "in_bytes": 0, "out_bytes": 0}
    return Look(int(seconds * NS_PER_SECOND), {**counts, **server}, {each.name: each for each in channels})


def test_rates() -> None:
    activity = compare(
        look(10, channel(100, subscribed("a", 50)), in_msgs=100, out_msgs=50, in_bytes=1000, out_bytes=400),
        look(12, channel(300, subscribed("a", 70)), in_msgs=300, out_msgs=90, in_bytes=3000, out_bytes=800),
    )
    assert (activity.in_per_s, activity.out_per_s) == (100, 20)
    assert (activity.in_bytes_per_s, activity.out_bytes_per_s) == (1000, 200)
    (row,) = activity.channels
    assert (row.in_per_s, row.out_per_s, row.behind) == (100, 10, 230)


def test_members_of_a_group_share_what_was_sent() -> None:
    before = channel(100, subscribed("a", 50, queue_name="g"), subscribed("b", 49, queue_name="g"))
    now = channel(100, subscribed("a", 60, queue_name="g"), subscribed("b", 59, queue_name="g"))
    (row,) = compare(look(0, before), look(1, now)).channels
    assert row.out_per_s == 10
    assert row.behind == 40


def test_a_new_subscription_is_no_burst_and_a_new_channel_is() -> None:
    now = look(1, channel(100, subscribed("new", 100)), channel(7, name="fresh"))
    rows = compare(look(0, channel(100)), now).channels
    assert [(row.channel.name, row.in_per_s, row.out_per_s) for row in rows] == [("fresh", 7, 0), ("foo", 0, 0)]


def test_what_needs_attention() -> None:
    now = channel(9, subscribed("a", 4, pending=3, stalled=True), subscribed("b", 9, is_offline=True, durable_name="d"))
    (row,) = compare(look(0, now), look(1, now)).channels
    assert (row.pending, row.stalled, row.offline, row.behind) == (3, 1, 1, 5)


@pytest.mark.parametrize("changed", ["server_id", "start_time"])
def test_a_restart_makes_no_rates(changed: str) -> None:
    activity = compare(look(0, channel(5), in_msgs=5), look(1, channel(900), in_msgs=900, **{changed: "x"}))
    assert activity.restarted
    assert (activity.in_per_s, activity.channels[0].in_per_s) == (0, 0)


def test_a_clock_that_stands_still_makes_no_rates() -> None:
    assert compare(look(1, channel(5)), look(1, channel(9))).channels[0].in_per_s == 0


def test_behind_counts_only_what_is_still_there() -> None:
    assert behind(channel(100, subscribed("a", 3), first=91)) == 10
    assert behind(channel(100)) == 0
