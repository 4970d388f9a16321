"""No Python object per message: a hundred thousand publishes, delivered and acked, leave the counts as they were."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from nats_streaming.protocol.control_messages import PubAck, decode
from nats_streaming.protocol.nats_reader import LinkControl, NatsReader
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.streaming.subjects import SID_ACK, SID_PUBLISH
from nats_streaming.testing.engine_driver import DriverOptions, EngineDriver, parse_frames, run_now
from tests.support import stan_messages as oracle

CHUNK_MESSAGES = 200
DATA = b"d" * 100


class Traffic:
    """One publisher and one subscriber; chunks go from the reader through engine and store to the output."""

    def __init__(self, max_messages: int) -> None:
        self.driver = EngineDriver(MemoryStore(), DriverOptions(limits=StoreLimits(max_messages=max_messages)))
        self.engine = self.driver.engine
        self.driver.connect("me")
        subscription = self.driver.subscribe("me", "foo")
        self.ack_inbox = subscription.ack_inbox
        self.channel = self.engine.inlet.channels[b"foo"]
        self.reader = NatsReader(self.engine.inlet, LinkControl())
        publish = oracle.PubMsg(clientID=b"me", guid=b"g" * 22, subject=b"foo", data=DATA).SerializeToString()
        frame = b"MSG _STAN.pub.test-cluster.foo %d _STAN.acks.reply %d\r\n%b\r\n" % (
            SID_PUBLISH,
            len(publish),
            publish,
        )
        self.publishes = frame * CHUNK_MESSAGES
        self.output = b""

    def run(self, messages: int) -> None:
        for _ in range(messages // CHUNK_MESSAGES):
            first = self.channel.window.last + 1
            self.feed(self.publishes)
            self.feed(self.acks(first))
            self.driver.clock.advance(1_000_000)

    def feed(self, chunk: bytes) -> None:
        """What the shell does with a chunk."""
        self.reader.feed(chunk)
        self.engine.end_chunk()
        while (cycle := self.engine.next_batch()) is not None:
            self.driver.store.stage(cycle.records)
            run_now(self.driver.store.commit())
            self.engine.batch_committed(cycle)
        self.output = self.engine.take_output() or self.output

    def acks(self, first: int) -> bytes:
        """Acks of everything that was sent since."""
        chunk = bytearray()
        for sequence in range(first, first + CHUNK_MESSAGES):
            ack = oracle.Ack(subject=b"foo", sequence=sequence).SerializeToString()
            chunk += b"MSG %b %d %d\r\n%b\r\n" % (self.ack_inbox, SID_ACK, len(ack), ack)
        return bytes(chunk)


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Let nothing be cleaned up behind our back."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_the_traffic_of_these_tests_is_real() -> None:
    traffic = Traffic(1_000)
    traffic.run(2 * CHUNK_MESSAGES)
    window = traffic.channel.window
    assert (window.last, window.count) == (2 * CHUNK_MESSAGES, 2 * CHUNK_MESSAGES)
    frames = parse_frames(traffic.output)
    assert len(frames) == 2 * CHUNK_MESSAGES
    assert frames[0].subject != frames[-1].subject == b"_STAN.acks.reply"
    assert decode(PubAck, frames[-1].payload) == PubAck(b"g" * 22)
    (subscription,) = traffic.channel.subscriptions
    assert subscription.in_flight.count == 0
    assert subscription.last_sent == 2 * CHUNK_MESSAGES


def test_counts_stay_flat_at_a_retention_limit(is_compiled: bool, no_collections: None) -> None:
    # The limit holds several segments, whose number then changes by one at most.
    traffic = Traffic(40_000 if is_compiled else 2_000)
    traffic.run(50_000 if is_compiled else 3_000)
    gc.collect()
    containers = len(gc.get_objects())
    uncollected = gc.get_count()[0]
    blocks = sys.getallocatedblocks()
    traffic.run(100_000 if is_compiled else 3_000)
    more_blocks = sys.getallocatedblocks() - blocks
    more_uncollected = gc.get_count()[0] - uncollected
    more_containers = len(gc.get_objects()) - containers
    assert abs(more_containers) < 50
    assert abs(more_uncollected) < (200 if is_compiled else 1_000)
    assert abs(more_blocks) < (300 if is_compiled else 1_000)


def test_without_a_limit_only_segments_are_added(is_compiled: bool, no_collections: None) -> None:
    messages = 50_000 if is_compiled else 2_000
    traffic = Traffic(0)
    traffic.run(messages // 10)
    gc.collect()
    segments = len(traffic.channel.window.segments)
    containers = len(gc.get_objects())
    blocks = sys.getallocatedblocks()
    traffic.run(messages)
    more_segments = len(traffic.channel.window.segments) - segments
    assert more_segments < messages // 5_000 + 2
    assert len(gc.get_objects()) - containers < 20 * more_segments + 50
    assert sys.getallocatedblocks() - blocks < 20 * more_segments + (300 if is_compiled else 1_000)
