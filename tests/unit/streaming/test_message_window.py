"""The messages of one channel, against dictionaries: limits, holes, failed commits, eviction, lending."""

from __future__ import annotations

import gc
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.stores.segment import SEGMENT_BYTES, Segment
from nats_streaming.streaming.message_window import MessageWindow
from tests.support import stan_messages as oracle

FOO = length_field(2, b"foo")
SIZE_MAX = 1 << 26
START_NS = 1_000


def append(window: MessageWindow, data: bytes, now_ns: int = START_NS, size_max: int = SIZE_MAX) -> int:
    return window.append(FOO, b"<" + data + b">", 0, 0, 1, 1 + len(data), now_ns, size_max)


def commit(window: MessageWindow) -> None:
    window.commit(window.last, window.appended)


def encoded(sequence: int, data: bytes, timestamp_ns: int = START_NS) -> bytes:
    message = oracle.MsgProto(sequence=sequence, subject=b"foo", data=data, timestamp=timestamp_ns)
    return bytes(message.SerializeToString())


def fill_tail(window: MessageWindow) -> None:
    """Let the last segment be full, so that the next message begins another one, without writing a mebibyte."""
    tail = window.tail
    assert tail is not None
    tail.buffer.reserve(SEGMENT_BYTES)
    tail.buffer.truncate(max(tail.buffer.used, SEGMENT_BYTES - 10))


def message(window: MessageWindow, sequence: int) -> bytes | None:
    segment = window.find(sequence)
    return segment.message(sequence) if segment is not None else None


def existing(window: MessageWindow) -> dict[int, bytes]:
    found = ((sequence, message(window, sequence)) for sequence in range(window.first, window.last + 1))
    return {sequence: data for sequence, data in found if data is not None}


def test_an_unused_window() -> None:
    window = MessageWindow(0, 5, 500)
    assert (window.first, window.last, window.committed, window.count, window.bytes) == (0, 0, 0, 0, 0)
    for sequence in (-1, 0, 1, 2**62):
        assert window.find(sequence) is None
        assert window.size_of(sequence) == 0
        assert not window.delete(sequence)
    assert (window.first_timestamp_ns(), window.sequence_at(0), window.is_resident(1)) == (0, 1, True)
    window.roll_back()
    window.drop_until(100)
    window.apply_limits()
    window.evict(0)
    assert (window.first, window.last) == (0, 0)
    assert append(window, b"x") == 1


def test_staged_then_committed() -> None:
    window = MessageWindow(7, 0, 0)
    assert [append(window, data) for data in (b"a", b"bb", b"")] == [1, 2, 3]
    sizes = [len(encoded(number + 1, data)) for number, data in enumerate((b"a", b"bb", b""))]
    assert (window.first, window.last, window.committed) == (1, 3, 0)
    assert (window.count, window.bytes) == (3, sum(sizes) + 3 * 7)
    assert (window.durable_count(), window.durable_bytes()) == (0, 0)
    commit(window)
    assert window.committed == 3
    assert (window.durable_count(), window.durable_bytes()) == (3, sum(sizes) + 3 * 7)
    assert [window.size_of(sequence) for sequence in range(5)] == [0, *sizes, 0]
    assert existing(window) == {1: encoded(1, b"a"), 2: encoded(2, b"bb"), 3: encoded(3, b"")}


def test_time_never_goes_back() -> None:
    window = MessageWindow(0, 0, 0)
    for now_ns in (100, 50, 200, 200, 1):
        append(window, b"", now_ns)
    times = [oracle.MsgProto.FromString(data).timestamp for data in existing(window).values()]
    assert times == [100, 100, 200, 200, 200]
    window.restore(1, 5, 5, 10, 900)
    append(window, b"", 300)
    assert window.last_timestamp_ns == 900, "also behind what was recovered"


def test_a_message_too_large_leaves_no_trace() -> None:
    window = MessageWindow(0, 0, 0)
    size = len(encoded(1, b"12345"))
    assert append(window, b"12345", size_max=size - 1) == 0
    assert (window.first, window.last, window.count, window.bytes, window.segments) == (0, 0, 0, 0, [])
    assert append(window, b"12345", size_max=size) == 1
    before = (window.bytes, window.resident, window.appended, window.last_timestamp_ns)
    assert append(window, b"123456789", START_NS + 5, size) == 0
    assert (window.bytes, window.resident, window.appended, window.last_timestamp_ns) == before
    assert append(window, b"54321", size_max=size) == 2
    assert existing(window) == {1: encoded(1, b"12345"), 2: encoded(2, b"54321")}


# Limits.


def test_a_limit_on_messages_drops_the_oldest_at_the_commit() -> None:
    window = MessageWindow(0, 3, 0)
    for number in range(5):
        append(window, b"%d" % number)
    assert (window.first, window.count, window.dropped_by_limit) == (1, 5, False), "what is staged pushes nothing out"
    commit(window)
    assert (window.first, window.last, window.count, window.dropped_by_limit) == (3, 5, 3, True)
    assert window.size_of(2) == 0, "also while its bytes are still there"
    assert window.bytes == sum(map(len, existing(window).values()))


def test_a_limit_on_bytes_counts_the_overhead_and_keeps_one_message() -> None:
    size = len(encoded(1, b"data"))
    window = MessageWindow(10, 0, 3 * (size + 10))
    for _ in range(3):
        append(window, b"data")
        commit(window)
    assert window.first == 1, "exactly at the limit"
    append(window, b"data")
    commit(window)
    assert (window.first, window.count, window.bytes) == (2, 3, 3 * (size + 10))
    append(window, b"x" * 1000)
    commit(window)
    assert (window.first, window.last, window.count) == (5, 5, 1), "the newest stays, however large"


def test_a_limit_counts_no_holes() -> None:
    window = MessageWindow(0, 3, 0)
    for _ in range(3):
        append(window, b"x")
    commit(window)
    assert window.delete(2)
    append(window, b"x")
    commit(window)
    assert sorted(existing(window)) == [1, 3, 4]
    append(window, b"x")
    commit(window)
    assert (window.first, sorted(existing(window))) == (3, [3, 4, 5]), "the hole behind the first one goes with it"


def test_a_limit_waits_for_what_is_not_in_memory() -> None:
    window = MessageWindow(0, 3, 0)
    window.restore(1, 3, 3, 300, 0)
    append(window, b"x")
    commit(window)
    assert window.is_over_limit()
    assert (window.first, window.count) == (1, 4)
    cold = Segment(1)
    for _ in range(3):
        cold.append(b"c" * 100, 0)
    lent = window.lend(1, cold)
    window.apply_limits()
    assert (window.first, window.count, window.bytes) == (2, 3, 200 + len(encoded(4, b"x")))
    window.give_back(lent)
    assert not window.is_over_limit()


# Dropping, deleting.


def test_drop_until() -> None:
    window = MessageWindow(0, 0, 0)
    for _ in range(5):
        append(window, b"x")
    commit(window)
    for sequence, first in [(0, 1), (1, 1), (3, 3), (2, 3), (6, 6), (100, 6)]:
        window.drop_until(sequence)
        assert (window.first, window.count) == (first, 6 - first)
    assert (window.bytes, window.segments, window.resident) == (0, [], 0)
    assert (window.first, window.last) == (6, 5)
    assert append(window, b"new") == 6
    assert existing(window) == {6: encoded(6, b"new")}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)])
def test_deleting_every_message(order: tuple[int, ...]) -> None:
    window = MessageWindow(5, 0, 0)
    for _ in range(3):
        append(window, b"x")
    commit(window)
    left = {1, 2, 3}
    for sequence in order:
        assert window.delete(sequence)
        assert not window.delete(sequence)
        left.discard(sequence)
        assert set(existing(window)) == left
        assert window.first == min(left, default=4)
        assert window.count == len(left)
    assert (window.bytes, window.last, window.segments) == (0, 3, [])
    assert append(window, b"x") == 4


# Failed commits.


def test_roll_back_of_everything() -> None:
    window = MessageWindow(5, 0, 0)
    append(window, b"a")
    append(window, b"b")
    window.roll_back()
    assert (window.first, window.last, window.count, window.bytes, window.resident) == (0, 0, 0, 0, 0)
    assert append(window, b"c") == 1
    commit(window)
    assert existing(window) == {1: encoded(1, b"c")}


def test_roll_back_keeps_what_is_committed_and_uses_sequences_again() -> None:
    window = MessageWindow(5, 2, 0)
    append(window, b"a")
    append(window, b"b")
    commit(window)
    before = (window.first, window.last, window.count, window.bytes, window.resident)
    for data in (b"lost", b"lost too", b"lost as well"):
        append(window, data)
    window.roll_back()
    assert (window.first, window.last, window.count, window.bytes, window.resident) == before
    assert not window.dropped_by_limit, "a batch that fails pushes nothing out"
    assert append(window, b"c") == 3
    commit(window)
    assert existing(window) == {2: encoded(2, b"b"), 3: encoded(3, b"c")}


def test_roll_back_over_several_segments() -> None:
    window = MessageWindow(0, 0, 0)
    append(window, b"a")
    commit(window)
    for number in range(3):
        fill_tail(window)
        append(window, b"lost %d" % number)
    assert len(window.segments) == 4
    window.roll_back()
    assert len(window.segments) == 1
    assert existing(window) == {1: encoded(1, b"a")}
    assert window.find(2) is None
    assert append(window, b"b") == 2
    assert existing(window) == {1: encoded(1, b"a"), 2: encoded(2, b"b")}


def test_roll_back_when_the_committed_ones_have_expired() -> None:
    window = MessageWindow(0, 0, 0)
    append(window, b"a")
    commit(window)
    append(window, b"staged")
    window.drop_until(2)
    window.roll_back()
    assert (window.first, window.last, window.count, window.bytes) == (2, 1, 0, 0)
    assert append(window, b"b") == 2
    assert existing(window) == {2: encoded(2, b"b")}


# Many segments.


def many_segments() -> MessageWindow:
    """Sequences 1 to 12, three a segment, at the times 10, 20, ... 120."""
    window = MessageWindow(0, 0, 0)
    for sequence in range(1, 13):
        append(window, b"%d" % sequence, 10 * sequence)
        if sequence % 3 == 0:
            fill_tail(window)
    commit(window)
    assert [(segment.base, segment.count) for segment in window.segments] == [(1, 3), (4, 3), (7, 3), (10, 3)]
    return window


def test_finding_in_any_order(rng: random.Random) -> None:
    window = many_segments()
    for _ in range(300):
        sequence = rng.randrange(-2, 16)
        expected = encoded(sequence, b"%d" % sequence, 10 * sequence) if 1 <= sequence <= 12 else None
        assert message(window, sequence) == expected


def test_segments_left_behind_are_let_go_and_not_found() -> None:
    window = many_segments()
    assert window.find(2) is window.segments[0]
    window.drop_until(6)
    assert [segment.base for segment in window.segments] == [4, 7, 10]
    assert window.find(2) is None
    assert window.size_of(4) == window.size_of(5) == 0
    window.drop_until(13)
    assert (window.segments, window.tail, window.find(12)) == ([], None, None)


@pytest.mark.parametrize(
    ("timestamp_ns", "sequence"), [(0, 1), (10, 1), (11, 2), (30, 3), (31, 4), (60, 6), (120, 12), (121, 13)]
)
def test_by_time(timestamp_ns: int, sequence: int) -> None:
    window = many_segments()
    assert window.sequence_at(timestamp_ns) == sequence
    window.drop_until(5)
    assert window.sequence_at(timestamp_ns) == max(sequence, 5)
    assert window.first_timestamp_ns() == 50
    window.drop_until(13)
    assert window.sequence_at(timestamp_ns) == 13
    assert window.first_timestamp_ns() == 0


def test_eviction_takes_whole_old_segments_and_nothing_that_is_staged() -> None:
    window = many_segments()
    everything = existing(window)
    fill_tail(window)
    append(window, b"staged", 130)
    assert window.last == 13
    window.evict(-(1 << 30))  # the way this test fills segments throws their count of bytes out
    assert [segment.base for segment in window.segments] == [13]
    assert (window.first, window.count) == (1, 13), "what is evicted exists all the same"
    assert window.find(12) is None
    assert not window.is_resident(12)
    assert window.is_resident(13)
    cold = Segment(7)
    for sequence in (7, 8, 9):
        cold.append(everything[sequence], 10 * sequence)
    lent = window.lend(8, cold)
    assert lent is cold
    assert [message(window, sequence) == everything[sequence] for sequence in (6, 7, 8, 9, 10)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    window.give_back(lent)
    assert window.find(8) is None


def test_what_a_store_does_not_have_is_lent_as_a_hole() -> None:
    window = MessageWindow(0, 0, 0)
    window.restore(1, 10, 10, 1000, 0)
    elsewhere = Segment(8)
    elsewhere.append(b"x", 1)
    for given_segment in (None, elsewhere, Segment(5)):
        lent = window.lend(5, given_segment)
        assert (lent.base, lent.count, lent.size_at(0)) == (5, 1, 0)
        assert window.find(5) is lent
        assert window.find(4) is None
        assert window.find(6) is None
        window.give_back(lent)
    assert window.find(5) is None


def test_adopted_segments_must_lead_up_to_the_end() -> None:
    def segment(base: int, count: int) -> Segment:
        made = Segment(base)
        for _ in range(count):
            made.append(b"x", 1)
        return made

    for bases, expected in [
        ([(1, 3), (4, 3)], [1, 4]),
        ([(4, 3)], [4]),
        ([(1, 2), (4, 3)], [4]),
        ([(1, 3)], []),
        ([], []),
        ([(4, 5)], []),
    ]:
        window = MessageWindow(0, 0, 0)
        window.restore(1, 6, 6, 6, 1)
        window.adopt([segment(*place) for place in bases])
        assert [adopted.base for adopted in window.segments] == expected
        assert window.resident == sum(adopted.buffer.used for adopted in window.segments)
        assert append(window, b"x") == 7
        assert window.is_resident(1) == (expected[:1] == [1])


# Everything at once.


class Model:
    """The same in dictionaries; everything is in memory."""

    def __init__(self, overhead: int, max_messages: int, max_bytes: int) -> None:
        self.overhead, self.max_messages, self.max_bytes = overhead, max_messages, max_bytes
        self.messages: dict[int, bytes] = {}
        self.times: dict[int, int] = {}
        self.first = self.last = self.committed = 0
        self.last_time = 0

    def size(self, upto: int) -> int:
        return sum(len(data) + self.overhead for sequence, data in self.messages.items() if sequence <= upto)

    def append(self, data: bytes, now_ns: int) -> None:
        self.last += 1
        self.first = self.first or self.last
        self.last_time = max(self.last_time, now_ns)
        self.times[self.last] = self.last_time
        self.messages[self.last] = encoded(self.last, data, self.last_time)

    def drop(self, first: int) -> None:
        """Let everything before `first` go, and the holes that follow."""
        if self.last:
            self.first = max(self.first, min(first, self.last + 1))
        self.messages = {sequence: data for sequence, data in self.messages.items() if sequence >= self.first}
        if self.last:
            self.first = min(self.messages, default=self.last + 1)

    def commit(self, upto: int) -> None:
        self.committed = upto
        while self.first < self.committed:
            durable = [sequence for sequence in self.messages if sequence <= upto]
            if not (
                (self.max_messages and len(durable) > self.max_messages)
                or (self.max_bytes and self.size(upto) > self.max_bytes)
            ):
                break
            self.drop(self.first + 1)

    def roll_back(self) -> None:
        self.messages = {sequence: data for sequence, data in self.messages.items() if sequence <= self.committed}
        self.last = self.committed
        self.first = min(self.first, self.last + 1) if self.last else 0

    def sequence_at(self, timestamp_ns: int) -> int:
        found = [sequence for sequence, time in self.times.items() if time >= timestamp_ns and sequence <= self.last]
        return max(min(found, default=self.last + 1), self.first) if self.last else 1


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 40), st.integers(-3, 5)),
        st.tuples(st.just("append"), st.integers(0, 40), st.integers(-3, 5)),
        st.tuples(st.just("append"), st.integers(0, 40), st.integers(-3, 5)),
        st.tuples(st.just("commit"), st.integers(0, 3), st.none()),
        st.tuples(st.just("commit"), st.integers(0, 3), st.none()),
        st.tuples(st.just("roll back"), st.none(), st.none()),
        st.tuples(st.just("drop"), st.integers(0, 12), st.none()),
        st.tuples(st.just("delete"), st.integers(0, 12), st.none()),
        st.tuples(st.just("new segment"), st.none(), st.none()),
        st.tuples(st.just("too large"), st.none(), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=100)
@given(st.sampled_from([0, 40]), st.sampled_from([0, 1, 4]), st.sampled_from([0, 150]), OPERATIONS)
def test_any_operations(
    overhead: int, max_messages: int, max_bytes: int, operations: list[tuple[str, Any, Any]]
) -> None:
    window = MessageWindow(overhead, max_messages, max_bytes)
    model = Model(overhead, max_messages, max_bytes)
    now_ns = 100
    appended = {0: 0}  # the counter behind each sequence, as a batch remembers it
    for operation, value, step in operations:
        if operation == "append":
            now_ns += step
            assert append(window, b"x" * value, now_ns) == model.last + 1
            model.append(b"x" * value, now_ns)
            appended[window.last] = window.appended
        elif operation == "commit":
            upto = min(model.last, model.committed + value)
            window.commit(upto, appended[upto])
            model.commit(upto)
        elif operation == "roll back":
            window.roll_back()
            model.roll_back()
        elif operation == "drop":
            upto = min(model.first + value, model.committed + 1)
            window.drop_until(upto)
            model.drop(upto)
        elif operation == "delete":
            sequence = min(model.first + value, model.committed)
            assert window.delete(sequence) == (model.messages.pop(sequence, None) is not None)
            model.drop(model.first)
        elif operation == "too large":
            assert append(window, b"x" * 100, now_ns, 50) == 0
        elif window.tail is not None:
            fill_tail(window)
        check(window, model)


def check(window: MessageWindow, model: Model) -> None:
    assert (window.first, window.last, window.committed) == (model.first, model.last, model.committed)
    assert (window.count, window.bytes) == (len(model.messages), model.size(model.last))
    assert window.durable_count() == len([sequence for sequence in model.messages if sequence <= model.committed])
    assert window.durable_bytes() == model.size(model.committed)
    assert existing(window) == model.messages
    ends = [segment.base + segment.count for segment in window.segments]
    assert [segment.base for segment in window.segments[1:]] == ends[:-1], "no gaps"
    assert not ends or ends[-1] == window.last + 1
    for sequence in (model.first - 1, model.last + 1):
        assert window.size_of(sequence) == 0
    if window.count:
        assert window.first_timestamp_ns() == model.times[model.first]
        for timestamp_ns in (0, model.times[model.first], model.last_time, model.last_time + 1):
            assert window.sequence_at(timestamp_ns) == model.sequence_at(timestamp_ns)


# Memory.


def overhead_of(size: int, total_bytes: int) -> float:
    """Measured bytes per message over its encoding."""
    data = bytes(size)
    count = total_bytes // (size + 40)
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        window = MessageWindow(0, 0, 0)
        for number in range(count):
            window.append(FOO, data, 0, 0, 0, size, number, SIZE_MAX)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The last segment has the room that it grows into.
    tail = window.segments[-1]
    room = len(tail.buffer.data) - tail.buffer.used
    return (after - before - room - window.bytes) / count


@pytest.mark.parametrize("size", [0, 33, 128, 1024, 4096, 5000])
def test_a_message_costs_little_more_than_its_bytes(is_compiled: bool, size: int) -> None:
    if not is_compiled and size > 128:
        pytest.skip("copied byte by byte")
    assert overhead_of(size, 5 << 20 if is_compiled else 1 << 17) <= 60


@pytest.mark.parametrize("size", [40_000, 70_000, 150_000, 300_000, 600_000])
def test_large_messages_leave_no_large_gaps(is_compiled: bool, size: int) -> None:
    if not is_compiled:
        pytest.skip("copied byte by byte")
    assert overhead_of(size, 8 << 20) <= size / 50


def test_a_full_segment_is_as_large_as_what_it_holds() -> None:
    window = MessageWindow(0, 0, 0)
    append(window, b"x" * 2000)
    fill_tail(window)
    append(window, b"next")
    full = window.segments[0]
    assert len(full.buffer.data) - full.buffer.used <= 16
    assert existing(window) == {1: encoded(1, b"x" * 2000), 2: encoded(2, b"next")}
