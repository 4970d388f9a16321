"""Merged batches have the effect of the batches, and there is less to write."""

from __future__ import annotations

import random

import pytest

from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    Messages,
    Record,
    Sent,
    SubscriptionPut,
    Trimmed,
    decode_batch,
    encode_batch,
)
from nats_streaming.stores.file.merge import merge
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.store_suite import History, compare_states, make_run


def test_messages_join_to_runs() -> None:
    run = make_run(b"foo", 1, [b"x"] * 9)
    other = make_run(b"bar", 1, [b"y"])
    batches: list[list[Record]] = [
        [Messages(b"foo", run.segment, 1, 3), other],
        [Messages(b"foo", run.segment, 4, 4)],
        [Trimmed(b"foo", 2), Messages(b"foo", run.segment, 5, 9), Trimmed(b"foo", 3)],
    ]
    joined = Messages(b"foo", run.segment, 1, 9)
    assert merge(batches) == [joined, other, Trimmed(b"foo", 3)]
    assert batches[0][0] == Messages(b"foo", run.segment, 1, 3), "what was given stays as it was"


def test_what_was_acked_at_once_leaves_how_far_the_subscription_is() -> None:
    batches: list[list[Record]] = [
        [Acked(b"foo", 1, [7])],
        [Sent(b"foo", 1, [8, 9, 10, 11])],
        [Acked(b"foo", 1, [8, 9, 11])],
    ]
    assert merge(batches) == [Sent(b"foo", 1, [10, 11]), Acked(b"foo", 1, [7, 8, 9, 11])]


def test_what_was_pending_before_is_acked_however_often_it_is_sent() -> None:
    state = StoreState()
    subscribed: list[Record] = [ChannelCreated(b"foo"), SubscriptionPut(b"foo", SubscriptionState(id=1))]
    state.apply([*subscribed, Sent(b"foo", 1, [5])])
    state.apply(merge([[Sent(b"foo", 1, [5, 6])], [Acked(b"foo", 1, [5])]]))
    assert state.channels[b"foo"].subscriptions[1].pending == {6}


def test_a_change_of_the_subscription_keeps_its_place() -> None:
    state = SubscriptionState(id=1, last_sent=2)
    batches: list[list[Record]] = [[Sent(b"foo", 1, [5])], [SubscriptionPut(b"foo", state)], [Sent(b"foo", 1, [3])]]
    assert merge(batches) == [
        Sent(b"foo", 1, [5]),
        SubscriptionPut(b"foo", state),
        Sent(b"foo", 1, [3]),
    ]


def test_nothing_joins_over_the_end_of_a_channel() -> None:
    old, new = make_run(b"foo", 1, [b"old"]), make_run(b"foo", 1, [b"new"])
    batches: list[list[Record]] = [
        [old, Sent(b"foo", 1, [1])],
        [ChannelRemoved(b"foo"), ChannelCreated(b"foo"), new, Trimmed(b"foo", 1)],
    ]
    assert merge(batches) == [
        old,
        Sent(b"foo", 1, [1]),
        ChannelRemoved(b"foo"),
        ChannelCreated(b"foo"),
        new,
        Trimmed(b"foo", 1),
    ]


@pytest.mark.parametrize("seed", range(30))
def test_any_history_merged_amounts_to_the_same(seed: int) -> None:
    rng = random.Random(seed)
    history = History(rng)
    one_by_one, merged = StoreState(), StoreState()
    waiting: list[bytes] = []
    for _ in range(60):
        encoded = encode_batch([record for _ in range(rng.randrange(1, 6)) for record in history.step()])
        one_by_one.apply(decode_batch(encoded))
        waiting.append(encoded)
        if rng.random() < 0.2:
            merged.apply(merge(map(decode_batch, waiting)))
            waiting.clear()
            compare_states(merged, one_by_one)


@pytest.mark.parametrize("seed", range(10))
def test_merged_anew_after_an_unfinished_attempt(seed: int) -> None:
    """Applied in part, then all again: as if it had been applied once."""
    rng = random.Random(seed)
    history = History(rng)
    wanted, found = StoreState(), StoreState()
    for _ in range(20):
        batches = [
            encode_batch([record for _ in range(4) for record in history.step() if not _is_end(record)])
            for _ in range(3)
        ]
        for encoded in batches:
            wanted.apply(decode_batch(encoded))
        attempt = merge(map(decode_batch, batches))
        found.apply(attempt[: rng.randrange(len(attempt) + 1)])
        found.apply(merge(map(decode_batch, batches)))
        compare_states(found, wanted)


def _is_end(record: Record) -> bool:
    return isinstance(record, ChannelRemoved)
