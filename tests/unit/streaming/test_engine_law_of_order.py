"""The law of order under random interleavings: stage, commit, and only then deliver and ack the publisher."""

from __future__ import annotations

import random

import pytest

from nats_streaming.protocol.control_messages import PubAck, decode
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.testing.engine_driver import (
    FIRST,
    DrivenSubscription,
    DriverOptions,
    EngineDriver,
    Frame,
    decode_message,
)
from nats_streaming.testing.faulty_store import FaultyStore
from nats_streaming.testing.recoverable_store import RecoverableMemoryStore

SECOND = 1_000_000_000


class Observer(EngineDriver):
    """Looks at every frame in the moment it leaves the engine."""

    def __init__(self, store: FaultyStore, options: DriverOptions) -> None:
        self.faulty = store
        self.durable_data: dict[tuple[bytes, int], bytes] = {}
        self.guids: dict[bytes, tuple[bytes, bytes]] = {}
        self.farewells: set[bytes] = set()
        self.responses: set[bytes] = set()
        self.ending_commit = False
        super().__init__(store, options)

    @property
    def inner(self) -> RecoverableMemoryStore:
        assert isinstance(self.faulty.inner, RecoverableMemoryStore)
        return self.faulty.inner

    def flush(self) -> None:
        before = len(self.frames)
        super().flush()
        sent = self.frames[before:]
        for frame in sent:
            self.check(frame)
        if self.ending_commit:
            self.check_order(sent)

    def check(self, frame: Frame) -> None:
        state = self.inner._state
        if frame.subject.startswith(b"inbox."):
            message = decode_message(frame.payload)
            stored = state.channels[message.subject]
            segment = stored.segment_of(message.sequence)
            is_there = segment is not None and message.data in (segment.message(message.sequence) or b"")
            assert is_there or message.sequence < stored.first, f"{message} was delivered and is not durable"
        elif frame.subject.startswith(b"pub."):
            ack = decode(PubAck, frame.payload)
            assert ack is not None
            channel, data = self.guids[ack.guid]
            if not ack.error:
                stored = state.channels[channel]
                found = any(
                    data in encoded for part in stored.segments for _, _, encoded in part.messages(1, stored.last)
                )
                assert found or stored.first > 1, f"{ack.guid!r} was acked and is not durable"

    def check_order(self, sent: list[Frame]) -> None:
        """Within what one commit lets out: replies and messages, then acks, then replies to closes."""
        kinds = [self.kind(frame) for frame in sent]
        assert kinds == sorted(kinds), kinds

    def kind(self, frame: Frame) -> int:
        if frame.subject.startswith(b"pub."):
            return 1
        return 2 if frame.subject in self.farewells else 0

    def publish_some(self, client_id: str, channel: str, data: list[bytes]) -> None:
        start = self._serial
        for index, item in enumerate(data):
            self.guids[b"guid.%d" % (start + 1 + index)] = (channel.encode(), item)
        self.publish(client_id, channel, *data)


@pytest.mark.parametrize("round_number", range(12))
def test_nothing_leaves_before_its_commit(rng: random.Random, round_number: int) -> None:
    store = FaultyStore(RecoverableMemoryStore(read_slots_max=9))
    limits = StoreLimits(max_messages=rng.choice([0, 30]))
    options = DriverOptions(limits, batch_max=rng.choice([1, 3, 100]), recent_bytes=rng.choice([1, 500, 1 << 20]))
    driver = Observer(store, options)
    driver.connect("me")
    watchers = [
        driver.subscribe("me", name, start=FIRST, max_in_flight=1 << 20, ack_wait_s=3600) for name in ("foo", "bar")
    ]
    stalling = driver.subscribe("me", "foo", start=FIRST, max_in_flight=3, ack_wait_s=2)
    driver.automatic = False
    temporary: list[DrivenSubscription] = []
    for step in range(250):
        choice = rng.random()
        if choice < 0.35:
            data = [b"<%d.%d>" % (step, index) for index in range(rng.randrange(1, 6))]
            driver.publish_some("me", rng.choice(["foo", "bar"]), data)
        elif choice < 0.55:
            if driver.committing is None:
                driver.begin_commit()
        elif choice < 0.75:
            end_commit(driver, rng)
        elif choice < 0.80:
            fields: dict[str, str] = rng.choice([{}, {"queue": "g"}, {"durable": f"d{step}"}])
            temporary.append(driver.subscribe("me", "foo", inbox=f"inbox.t{step}", **fields))  # type: ignore[arg-type]
        elif choice < 0.84 and temporary:
            subscription = temporary.pop()
            subscription.ack_inbox = subscription.ack_inbox or subscription.inbox
            driver.close(subscription)
        elif choice < 0.88:
            name = f"guest{step}"
            driver.connect(name)
            driver.farewells.add(b"reply.%d" % (driver._serial + 1))
            driver.disconnect(name)
        elif choice < 0.92:
            sequences = [message.sequence for message in stalling.received[-5:]]
            if sequences:
                driver.ack(stalling, *sequences)
        elif choice < 0.96:
            driver.advance(rng.randrange(SECOND))
        elif driver.reads:
            driver.read()
            driver.flush()
    driver.automatic = True
    store.heal()
    if driver.committing is not None:
        end_commit(driver, rng)
    driver.settle()
    assert sorted(guid for guid, _ in driver.acks) == sorted(driver.guids), "every publish is answered, once"
    accepted = [driver.guids[guid] for guid, error in driver.acks if not error]
    for watcher in watchers:
        received = [message for message in watcher.received if not message.redelivered]
        sequences = [message.sequence for message in received]
        assert sequences == sorted(set(sequences))
        window = driver.channel(watcher.channel.decode()).window
        assert window.last == sum(1 for channel, _ in accepted if channel == watcher.channel)
        if not limits.max_messages:
            assert sequences == list(range(1, window.last + 1))
            assert [message.data for message in received] == [
                data for channel, data in accepted if channel == watcher.channel
            ]
    for channel_name, stored in driver.inner.journal.state().channels.items():
        window = driver.engine.inlet.channels[channel_name].window
        assert stored.last == window.last
        assert stored.first <= window.first


def end_commit(driver: Observer, rng: random.Random) -> None:
    if driver.committing is None:
        return
    if rng.random() < 0.3:
        driver.faulty.fail_next("commit", "no space left on device")
        driver.end_commit()
        driver.flush()
        return
    driver.flush()
    driver.ending_commit = True
    driver.end_commit()
    driver.flush()
    driver.ending_commit = False
