"""What batches amount to, against dictionaries; and that applying them again changes nothing."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass, field
from typing import Any

import pytest

from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    ClientPut,
    ClientRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    ServerPut,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
    decode_batch,
    encode_batch,
)
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoredChannel, StoreState


def snapshot(state: StoreState) -> dict[str, Any]:
    """Everything that can be seen of a state, as plain values."""
    return {
        "server": state.server and astuple(state.server),
        "clients": {client_id: astuple(info) for client_id, info in state.clients.items()},
        "channels": {name: channel_snapshot(channel) for name, channel in state.channels.items()},
    }


def channel_snapshot(channel: StoredChannel) -> dict[str, Any]:
    messages = {}
    for sequence in range(channel.first, channel.last + 1):
        segment = channel.segment_of(sequence)
        message = segment.message(sequence) if segment is not None else None
        if message is not None:
            messages[sequence] = message
    return {
        "first": channel.first,
        "last": channel.last,
        "count": channel.count,
        "size": channel.size,
        "last_timestamp_ns": channel.last_timestamp_ns,
        "last_subscription_id": channel.last_subscription_id,
        "messages": messages,
        "subscriptions": {
            number: (astuple(stored.state), set(stored.pending)) for number, stored in channel.subscriptions.items()
        },
    }


@dataclass
class ModelChannel:
    first: int = 0
    last: int = 0
    last_timestamp_ns: int = 0
    last_subscription_id: int = 0
    messages: dict[int, bytes] = field(default_factory=dict)
    subscriptions: dict[int, SubscriptionState] = field(default_factory=dict)
    pending: dict[int, set[int]] = field(default_factory=dict)

    def snapshot(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "count": len(self.messages),
            "size": sum(map(len, self.messages.values())),
            "last_timestamp_ns": self.last_timestamp_ns,
            "last_subscription_id": self.last_subscription_id,
            "messages": self.messages,
            "subscriptions": {
                number: (astuple(state), self.pending[number]) for number, state in self.subscriptions.items()
            },
        }


class Scribe:
    """Writes batches as an engine might, and keeps in dictionaries what they should amount to."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.channels: dict[bytes, ModelChannel] = {}
        self.clients: dict[bytes, ClientInfo] = {}
        self.server: ServerInfo | None = None
        self.now_ns = 1000

    def snapshot(self) -> dict[str, Any]:
        return {
            "server": self.server and astuple(self.server),
            "clients": {client_id: astuple(info) for client_id, info in self.clients.items()},
            "channels": {name: channel.snapshot() for name, channel in self.channels.items()},
        }

    def batch(self) -> list[Record]:
        kinds = [
            self.put_messages,
            self.put_messages,
            self.trim,
            self.delete,
            self.create_or_remove,
            self.put_subscription,
            self.remove_subscription,
            self.send,
            self.ack,
            self.change_clients,
        ]
        return [record for _ in range(self.rng.randrange(1, 8)) if (record := self.rng.choice(kinds)()) is not None]

    def channel(self) -> tuple[bytes, ModelChannel]:
        name = self.rng.choice([b"foo", b"bar", b""])
        return name, self.channels.setdefault(name, ModelChannel())

    def put_messages(self) -> Record:
        name, channel = self.channel()
        first = channel.last + 1
        segment = Segment(first)
        for sequence in range(first, first + self.rng.randrange(1, 5)):
            self.now_ns += self.rng.randrange(3)
            encoded = self.rng.randbytes(self.rng.choice([0, 1, 5, 20]))
            segment.append(encoded, self.now_ns)
            if encoded:
                channel.messages[sequence] = encoded
        channel.first = channel.first or first
        channel.last = first + len(segment) - 1
        channel.last_timestamp_ns = self.now_ns
        return Messages(name, segment, first, channel.last)

    def trim(self) -> Record:
        name, channel = self.channel()
        first = self.rng.randrange(channel.first, channel.last + 2) if channel.last else 0
        channel.first = first
        channel.messages = {sequence: data for sequence, data in channel.messages.items() if sequence >= first}
        return Trimmed(name, first)

    def delete(self) -> Record:
        name, channel = self.channel()
        sequences = [self.rng.randrange(channel.last + 1) for _ in range(self.rng.randrange(4))]
        for sequence in sequences:
            channel.messages.pop(sequence, None)
        return Deleted(name, sequences)

    def create_or_remove(self) -> Record:
        name, _ = self.channel()
        if self.rng.randrange(3):
            return ChannelCreated(name)
        del self.channels[name]
        return ChannelRemoved(name)

    def put_subscription(self) -> Record:
        name, channel = self.channel()
        if channel.subscriptions and self.rng.randrange(2):
            number = self.rng.choice(list(channel.subscriptions))
        else:
            number = channel.last_subscription_id = channel.last_subscription_id + 1
            channel.pending[number] = set()
        values = (number, b"me", b"", b"inbox%d" % self.rng.randrange(9))
        last_sent = channel.subscriptions[number].last_sent if number in channel.subscriptions else 0
        channel.subscriptions[number] = SubscriptionState(*values, last_sent=last_sent)
        return SubscriptionPut(name, SubscriptionState(*values, last_sent=last_sent))

    def subscription(self) -> tuple[bytes, ModelChannel, int]:
        """A subscription that exists, or now and then one that does not."""
        name, channel = self.channel()
        return name, channel, self.rng.choice([*channel.subscriptions, 999])

    def remove_subscription(self) -> Record:
        name, channel, number = self.subscription()
        channel.subscriptions.pop(number, None)
        channel.pending.pop(number, None)
        return SubscriptionRemoved(name, number)

    def send(self) -> Record:
        name, channel, number = self.subscription()
        sequences = [self.rng.randrange(1, channel.last + 2) for _ in range(self.rng.randrange(4))]
        if number in channel.subscriptions:
            state = channel.subscriptions[number]
            state.last_sent = max([state.last_sent, *sequences])
            channel.pending[number] |= set(sequences)
        return Sent(name, number, sequences)

    def ack(self) -> Record:
        name, channel, number = self.subscription()
        sequences = [self.rng.randrange(1, channel.last + 2) for _ in range(self.rng.randrange(4))]
        if number in channel.subscriptions:
            channel.pending[number] -= set(sequences)
        return Acked(name, number, sequences)

    def change_clients(self) -> Record:
        client_id = self.rng.choice([b"me", b"you"])
        match self.rng.randrange(3):
            case 0:
                self.server = ServerInfo(self.rng.randbytes(3))
                return ServerPut(ServerInfo(self.server.cluster_id))
            case 1:
                self.clients.pop(client_id, None)
                return ClientRemoved(client_id)
            case _:
                self.clients[client_id] = ClientInfo(client_id, self.rng.randbytes(3))
                return ClientPut(self.clients[client_id])


@pytest.mark.parametrize("attempt", range(40))
def test_batches_against_dictionaries(rng: random.Random, attempt: int) -> None:
    scribe = Scribe(rng)
    state = StoreState()
    journal = []
    for _ in range(rng.randrange(1, 25)):
        journal.append(encode_batch(scribe.batch()))
        state.apply(decode_batch(journal[-1]))
        once = snapshot(state)
        assert once == scribe.snapshot()
        state.apply(decode_batch(journal[-1]))
        assert snapshot(state) == once, "applying one twice changes nothing"
    # After a crash in a checkpoint some of the journal, or all of it, has been applied already.
    for encoded in journal[rng.randrange(len(journal)) :]:
        state.apply(decode_batch(encoded))
    assert snapshot(state) == once
    fresh = StoreState()
    for encoded in journal:
        fresh.apply(decode_batch(encoded))
    assert snapshot(fresh) == once


def run(base: int, *payloads: bytes) -> Messages:
    segment = Segment(base)
    for index, payload in enumerate(payloads):
        segment.append(payload, 100 + index)
    return Messages(b"foo", segment, base, base + len(payloads) - 1)


def messages_of(state: StoreState) -> dict[int, bytes]:
    found: dict[int, bytes] = channel_snapshot(state.channels[b"foo"])["messages"]
    return found


def test_the_segment_that_the_engine_fills_is_kept_and_not_copied() -> None:
    segment = Segment(1)
    state = StoreState()
    for sequence in range(1, 4):
        segment.append(b"%d" % sequence, sequence)
        state.apply([Messages(b"foo", segment, sequence, sequence)])
    assert state.channels[b"foo"].segments == [segment]
    segment.append(b"staged", 4)
    assert messages_of(state) == {1: b"1", 2: b"2", 3: b"3"}, "what is not committed does not exist"


def test_a_run_inside_a_larger_segment() -> None:
    record = run(1, b"a", b"b", b"c", b"d")
    state = StoreState()
    state.apply([Messages(b"foo", record.segment, 2, 3)])
    assert messages_of(state) == {2: b"b", 3: b"c"}
    assert (state.channels[b"foo"].first, state.channels[b"foo"].last) == (2, 3)


def test_other_messages_under_known_sequences_replace_them() -> None:
    """They came with a commit that failed: the engine has used the sequences again."""
    state = StoreState()
    state.apply([run(1, b"a", b"b")])
    state.apply([run(3, b"lost 3", b"lost 4", b"lost 5")])
    state.apply([run(3, b"c", b"d")])
    assert messages_of(state) == {1: b"a", 2: b"b", 3: b"c", 4: b"d"}
    assert (state.channels[b"foo"].count, state.channels[b"foo"].size) == (4, 4)


def test_what_an_engine_takes_back_from_a_shared_segment() -> None:
    segment = Segment(1)
    for data in (b"a", b"lost", b"lost"):
        segment.append(data, 1)
    state = StoreState()
    state.apply([Messages(b"foo", segment, 1, 3)])
    segment.truncate(1)
    segment.append(b"b", 2)
    segment.append(b"c", 2)
    state.apply([Messages(b"foo", segment, 2, 2)])
    assert messages_of(state) == {1: b"a", 2: b"b"}
    assert (state.channels[b"foo"].count, state.channels[b"foo"].size) == (2, 2)
    state.apply([Messages(b"foo", segment, 3, 3)])
    assert messages_of(state) == {1: b"a", 2: b"b", 3: b"c"}
    assert (state.channels[b"foo"].count, state.channels[b"foo"].size) == (3, 3)


def test_the_same_objects_twice() -> None:
    """Where no encoding lies between, as in a store that keeps the engine's own segments."""
    state = StoreState()
    state.apply([run(1, b"a", b"b", b"c")])
    records: list[Record] = [run(4, b"d", b"e"), Trimmed(b"foo", 3), Deleted(b"foo", [4]), run(6, b"f")]
    for _ in range(3):
        state.apply(records)
        assert messages_of(state) == {3: b"c", 5: b"e", 6: b"f"}
        assert (state.channels[b"foo"].count, state.channels[b"foo"].size) == (3, 3)
    for _ in range(3):
        state.apply(records[:-1])
        assert messages_of(state) == {3: b"c", 5: b"e", 6: b"f"}


def test_a_trim_beyond_the_end_and_one_that_goes_back() -> None:
    state = StoreState()
    state.apply([run(1, b"a", b"b", b"c"), Trimmed(b"foo", 10)])
    channel = state.channels[b"foo"]
    assert (channel.first, channel.last, channel.count, channel.segments) == (4, 3, 0, [])
    state.apply([Trimmed(b"foo", 1)])
    assert channel.first == 4
    state.apply([run(4, b"d")])
    assert messages_of(state) == {4: b"d"}


def test_records_that_name_what_is_unknown() -> None:
    state = StoreState()
    state.apply(
        [
            SubscriptionRemoved(b"foo", 1),
            Sent(b"foo", 1, [1]),
            Acked(b"foo", 1, [1]),
            Sent(b"foo", 1, []),
            Deleted(b"foo", [1]),
            Trimmed(b"foo", 5),
            ClientRemoved(b"me"),
            ChannelRemoved(b"bar"),
        ]
    )
    assert state.clients == {}
    assert list(state.channels) == [b"foo"]
    assert (state.channels[b"foo"].last, state.channels[b"foo"].subscriptions) == (0, {})


def test_nothing_sent_leaves_the_position() -> None:
    state = StoreState()
    state.apply([SubscriptionPut(b"foo", SubscriptionState(1, last_sent=5)), Sent(b"foo", 1, [])])
    stored = state.channels[b"foo"].subscriptions[1]
    assert (stored.state.last_sent, stored.pending) == (5, set())
    state.apply([Sent(b"foo", 1, [3])])
    assert (stored.state.last_sent, stored.pending) == (5, {3}), "a redelivery to another member does not go back"
