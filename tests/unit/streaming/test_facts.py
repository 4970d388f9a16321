"""What a failed batch leaves to be stored with the next one."""

from __future__ import annotations

from nats_streaming.protocol.control_messages import ClientInfo, SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    ClientPut,
    ClientRemoved,
    Record,
    Sent,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)
from nats_streaming.streaming.facts import facts_of
from nats_streaming.testing.store_suite import make_run


def test_messages_and_removed_channels_are_void() -> None:
    records: list[Record] = [ChannelCreated(b"a"), make_run(b"a", 1, [b"x"]), Trimmed(b"a", 2), ChannelRemoved(b"b")]
    assert facts_of(records) == [ChannelCreated(b"a"), Trimmed(b"a", 2)]


def test_nothing_is_kept_of_what_was_removed_later() -> None:
    gone, other = SubscriptionState(id=1), SubscriptionState(id=2)
    records: list[Record] = [
        SubscriptionPut(b"a", gone),
        SubscriptionPut(b"a", other),
        Sent(b"a", 1, [1]),
        Sent(b"b", 1, [1]),
        Sent(b"a", 2, [1]),
        SubscriptionRemoved(b"a", 1),
        Acked(b"a", 1, [1]),
    ]
    assert facts_of(records) == [
        SubscriptionPut(b"a", other),
        Sent(b"b", 1, [1]),
        Sent(b"a", 2, [1]),
        SubscriptionRemoved(b"a", 1),
        Acked(b"a", 1, [1]),
    ]


def test_a_client_that_came_back_is_kept() -> None:
    first, second = ClientInfo(b"me", b"old"), ClientInfo(b"me", b"new")
    records: list[Record] = [ClientPut(first), ClientRemoved(b"me"), ClientPut(second)]
    assert facts_of(records) == [ClientRemoved(b"me"), ClientPut(second)]
    assert facts_of([*records, ClientRemoved(b"me")]) == [ClientRemoved(b"me")]
