"""What of a failed batch is still to be stored: what has happened, whether or not the store knew it in time."""

from __future__ import annotations

from collections.abc import Iterable

from nats_streaming.stores.batch import (
    Acked,
    ChannelRemoved,
    ClientPut,
    ClientRemoved,
    Messages,
    Record,
    Sent,
    SubscriptionPut,
    SubscriptionRemoved,
)


def facts_of(records: Iterable[Record]) -> list[Record]:
    """The records that hold on, in their order.

    Messages and the removal of channels were refused with the batch. What was said of a subscription or
    client before its removal no longer matters: while a store fails for hours, this must not pile up.
    """
    gone: set[tuple[bytes, int]] = set()
    kept: list[Record] = []
    for record in reversed([record for record in records if not isinstance(record, Messages | ChannelRemoved)]):
        owner = _owner(record)
        if owner in gone:
            continue
        if owner is not None and isinstance(record, SubscriptionRemoved | ClientRemoved):
            gone.add(owner)
        kept.append(record)
    kept.reverse()
    return kept


def _owner(record: Record) -> tuple[bytes, int] | None:
    """Whom a record is about: a subscription by channel and ID, a client by its ID and -1."""
    match record:
        case SubscriptionPut(channel, state):
            return (channel, state.id)
        case SubscriptionRemoved(channel, subscription_id):
            return (channel, subscription_id)
        case Sent(channel, subscription_id, _) | Acked(channel, subscription_id, _):
            return (channel, subscription_id)
        case ClientPut(info):
            return (info.id, -1)
        case ClientRemoved(client_id):
            return (client_id, -1)
    return None
