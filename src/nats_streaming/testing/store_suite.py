"""PUBLIC: the contract of `stores.api.Store` as tests. Subclass `StoreSuite` and give it your store:

    class TestRedisStore(StoreSuite):
        def open_store(self, directory: Path) -> Store:
            return RedisStore({"prefix": str(directory)})

pytest finds the tests in the subclass. What a store declares in its capabilities decides which of them
apply. Needs pytest, and nothing of this package's own tests.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.stores.api import API_VERSION, Store
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
from nats_streaming.stores.segment import SEGMENT_BYTES, Segment
from nats_streaming.stores.state import StoredChannel, StoreState

START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000
Contents = dict[int, tuple[int, bytes]]
"""Sequence to timestamp and encoded message; holes are left out."""


def in_loop(test: Callable[..., Awaitable[None]]) -> Any:
    """Run a coroutine as a test, in a loop of its own, and close the stores that it opened."""

    @functools.wraps(test)
    def run(self: StoreSuite, **fixtures: Any) -> None:
        async def body() -> None:
            self.opened = []
            try:
                await test(self, **fixtures)
            finally:
                for store in self.opened:
                    await store.close()

        asyncio.run(body())

    return run


def put_message(segment: Segment, channel: bytes, data: bytes, timestamp_ns: int, reply: bytes = b"") -> int:
    """Append a message as the engine does; returns its sequence."""
    segment.append_message(
        length_field(2, channel), reply + data, 0, len(reply), len(reply), len(reply) + len(data), timestamp_ns
    )
    return segment.base + len(segment) - 1


def make_run(channel: bytes, first: int, data: Sequence[bytes | None], timestamp_ns: int = START_NS) -> Messages:
    """Messages with these data from sequence `first` on, None for a hole; a thousand nanoseconds apart."""
    segment = Segment(first)
    for index, item in enumerate(data):
        if item is None:
            segment.append(b"", timestamp_ns + index * STEP_NS)
        else:
            put_message(segment, channel, item, timestamp_ns + index * STEP_NS)
    return Messages(channel, segment, first, first + len(data) - 1)


def contents_of(segment: Segment, first: int, last: int) -> Contents:
    return {
        sequence: (timestamp_ns, bytes(encoded)) for sequence, timestamp_ns, encoded in segment.messages(first, last)
    }


class StoreSuite:
    """What every store must do. Each test gets a directory of its own.

    Attributes:
        channel_names: what must work as channel name beside the plain ones; shorten it if your store cannot.
        seed: of the random tests; None takes another one each time and prints it. The environment variable
            STORE_SUITE_SEED sets it too.
    """

    channel_names: tuple[bytes, ...] = (
        b"a.b.c",
        b"with space",
        b"tab\tand\\backslash",
        b"$dollar:colon",
        "größe.日本".encode(),
        b"x" * 200,
        b"_STAN.x",
        b"percent%20%2F",
        b"quote'\"`",
    )
    seed: int | None = None
    opened: list[Store]

    def open_store(self, directory: Path) -> Store:
        """A store over `directory`, which is empty at first; called again for a restart, after `close`.

        A store that keeps its data elsewhere derives a name from the directory.
        """
        raise NotImplementedError

    # Tools.

    async def start(self, directory: Path, *, expect_nothing: bool = True) -> Store:
        """Open a store and recover, as the server does."""
        store = self.open_store(directory)
        self.opened.append(store)
        state = await store.recover()
        if expect_nothing:
            assert state is None, "a new store recovers nothing"
        return store

    async def restart(self, store: Store, directory: Path) -> tuple[Store, StoreState]:
        """Close and open again; skips the test when the store forgets everything."""
        if not store.capabilities.recoverable:
            pytest.skip("the store is not recoverable")
        await store.close()
        store = self.open_store(directory)
        self.opened.append(store)
        state = await store.recover()
        assert state is not None, "what was committed is recovered"
        return store, state

    async def put(self, store: Store, *records: Record) -> None:
        store.stage(list(records))
        await store.commit()

    async def read_all(self, store: Store, channel: bytes, first: int, last: int, count: int = 4096) -> Contents:
        """Everything from `first` to `last`, read as the engine reads: on from where the last segment ended."""
        found: Contents = {}
        sequence = first
        while sequence <= last:
            segment = await store.read(channel, sequence, count)
            if segment is None:
                break
            end = segment.base + len(segment) - 1
            assert segment.base <= sequence <= end, f"read({sequence}) gave {segment.base} to {end}"
            found.update(contents_of(segment, sequence, min(end, last)))
            sequence = end + 1
        return found

    async def expect(self, store: Store, channel: bytes, runs: Sequence[Messages], gone: Sequence[int] = ()) -> None:
        """The channel holds exactly these messages, whichever way it is read."""
        wanted: Contents = {}
        for run in runs:
            wanted.update(contents_of(run.segment, run.first, run.last))
        for sequence in gone:
            wanted.pop(sequence, None)
        first, last = min(run.first for run in runs), max(run.last for run in runs)
        first = min((sequence for sequence in wanted if sequence >= first), default=first)
        for count in (1, 3, 4096):
            assert await self.read_all(store, channel, first, last, count) == wanted

    def random(self) -> random.Random:
        seed = self.seed
        if seed is None:
            seed = int(os.environ.get("STORE_SUITE_SEED") or random.SystemRandom().randrange(2**32))
        print(f"seed: {seed} (STORE_SUITE_SEED={seed} repeats it)")  # noqa: T201 - shown when the test fails
        return random.Random(seed)

    # Declarations.

    @in_loop
    async def test_declares_itself(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        assert store.name == store.name.upper() != ""
        assert store.capabilities.api_version == API_VERSION
        assert store.capabilities.message_overhead_bytes >= 0
        assert store.failure == ""

    @in_loop
    async def test_a_resident_store_never_waits(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        if not store.capabilities.resident:
            pytest.skip("the store is not resident")
        store.stage([make_run(b"foo", 1, [b"a"])])
        waits: list[Awaitable[Any]] = [store.commit(), store.read(b"foo", 1, 1), store.find_time(b"foo", 0)]
        for awaitable in waits:
            with pytest.raises(StopIteration):
                next(awaitable.__await__())

    # Messages.

    @in_loop
    async def test_gives_back_what_was_committed(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"one", b"", b"three" * 100])
        await self.put(store, ChannelCreated(b"foo"), run)
        await self.expect(store, b"foo", [run])

    @in_loop
    async def test_keeps_reply_subjects_and_binary_data(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        segment = Segment(1)
        put_message(segment, b"foo", bytes(range(256)), START_NS, reply=b"my.reply")
        run = Messages(b"foo", segment, 1, 1)
        await self.put(store, run)
        await self.expect(store, b"foo", [run])

    @in_loop
    async def test_a_count_is_a_wish_and_one_slot_is_the_least(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"] * 50))
        for sequence in (1, 2, 25, 50):
            for count in (1, 2, 1000):
                segment = await store.read(b"foo", sequence, count)
                assert segment is not None
                assert segment.message(sequence) is not None

    @in_loop
    async def test_nothing_to_read_behind_the_last_or_in_an_unknown_channel(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"] * 3))
        assert await store.read(b"foo", 4, 10) is None
        assert await store.read(b"bar", 1, 10) is None

    @in_loop
    async def test_one_batch_over_many_channels(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs = [make_run(b"channel.%d" % number, 1, [b"%d" % number, b"second"]) for number in range(60)]
        await self.put(store, *[record for run in runs for record in (ChannelCreated(run.channel), run)])
        more = [make_run(run.channel, 3, [b"third"]) for run in runs]
        await self.put(store, *more)
        for run, next_run in zip(runs, more, strict=True):
            await self.expect(store, run.channel, [run, next_run])

    @in_loop
    async def test_channel_names(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs = [make_run(name, 1, [name]) for name in self.channel_names]
        await self.put(store, *runs)
        for run in runs:
            await self.expect(store, run.channel, [run])
        _, state = await self.restart(store, tmp_path)
        assert set(state.channels) == set(self.channel_names)

    @in_loop
    async def test_a_batch_may_hold_a_part_of_a_segment(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        whole = make_run(b"foo", 1, [b"%d" % number for number in range(1, 11)])
        await self.put(store, Messages(b"foo", whole.segment, 1, 4))
        assert sorted(await self.read_all(store, b"foo", 1, 4)) == [1, 2, 3, 4]
        await self.put(store, Messages(b"foo", whole.segment, 5, 10))
        await self.expect(store, b"foo", [whole])

    @in_loop
    async def test_a_segment_grows_while_its_beginning_is_committed(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        segment = Segment(1)
        put_message(segment, b"foo", b"one", START_NS)
        store.stage([Messages(b"foo", segment, 1, 1)])
        commit = asyncio.ensure_future(store.commit())
        for number in range(2, 200):
            put_message(segment, b"foo", b"%d" % number, START_NS + number)
            await asyncio.sleep(0)
        await commit
        await self.put(store, Messages(b"foo", segment, 2, 199))
        await self.expect(store, b"foo", [Messages(b"foo", segment, 1, 199)])

    @in_loop
    async def test_records_apply_in_their_order(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run, more = make_run(b"foo", 1, [b"x"] * 5), make_run(b"foo", 6, [b"y"] * 3)
        await self.put(store, run, Trimmed(b"foo", 4), more, Deleted(b"foo", [7]))
        await self.expect(store, b"foo", [run, more], gone=[1, 2, 3, 7])

    @in_loop
    async def test_several_batches_before_a_commit(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs = [make_run(b"foo", first, [b"%d" % first] * 3) for first in (1, 4, 7)]
        for run in runs:
            store.stage([run])
        await store.commit()
        await self.expect(store, b"foo", runs)

    @in_loop
    async def test_nothing_to_commit(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await store.commit()
        store.stage([])
        await store.commit()
        await self.put(store, make_run(b"foo", 1, [b"x"]))
        await store.commit()
        assert sorted(await self.read_all(store, b"foo", 1, 1)) == [1]

    @in_loop
    async def test_what_is_staged_during_a_commit_is_not_lost(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs = [make_run(b"foo", first, [b"x"] * 10) for first in range(1, 200, 10)]
        commit: asyncio.Future[None] | None = None
        for run in runs:
            store.stage([run])
            if commit is not None:
                await commit
            commit = asyncio.ensure_future(store.commit())
            await asyncio.sleep(0)
        assert commit is not None
        await commit
        await store.commit()
        await self.expect(store, b"foo", runs)
        store, state = await self.restart(store, tmp_path)
        assert (state.channels[b"foo"].first, state.channels[b"foo"].last) == (1, 200)
        await self.expect(store, b"foo", runs)

    @in_loop
    async def test_reads_beside_a_commit(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        committed = 0
        runs: list[Messages] = []

        async def write() -> None:
            nonlocal committed
            for first in range(1, 600, 20):
                run = make_run(b"foo", first, [b"%d" % number for number in range(first, first + 20)])
                runs.append(run)
                store.stage([run])
                await store.commit()
                committed = run.last
                await asyncio.sleep(0)

        async def read() -> None:
            while committed < 600:
                if committed:
                    last = committed
                    found = await self.read_all(store, b"foo", 1, last, 64)
                    assert sorted(found) == list(range(1, last + 1))
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())
        await self.expect(store, b"foo", runs)

    @in_loop
    async def test_large_messages_are_read_in_bounded_segments(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        data = [bytes([number]) * SEGMENT_BYTES for number in range(4)]
        runs = [make_run(b"foo", sequence, [item]) for sequence, item in enumerate(data, 1)]
        await self.put(store, *runs)
        for sequence in (1, 4):
            segment = await store.read(b"foo", sequence, 4096)
            assert segment is not None
            assert segment.buffer.used <= 3 * SEGMENT_BYTES, "a count does not bound the bytes: the store must"
            assert segment.message(sequence) == runs[sequence - 1].segment.message(sequence)

    @in_loop
    async def test_many_small_messages(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs = [make_run(b"foo", first, [b"%d" % first] * 1000) for first in range(1, 20_001, 1000)]
        for run in runs:
            await self.put(store, run)
        found = await self.read_all(store, b"foo", 1, 20_000)
        assert sorted(found) == list(range(1, 20_001))

    # Holes.

    @in_loop
    async def test_holes_among_the_messages(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"one", None, b"three", None, None, b"six"])
        await self.put(store, run)
        await self.expect(store, b"foo", [run])
        segment = await store.read(b"foo", 2, 1)
        assert segment is not None
        assert segment.message(2) is None

    @in_loop
    async def test_deleted_messages_are_holes(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"x"] * 6)
        await self.put(store, run)
        await self.put(store, Deleted(b"foo", [2, 3, 6]), Deleted(b"foo", [3, 99]), Deleted(b"bar", [1]))
        await self.expect(store, b"foo", [run], gone=[2, 3, 6])
        more = make_run(b"foo", 7, [b"y"])
        await self.put(store, more)
        await self.expect(store, b"foo", [run, more], gone=[2, 3, 6])
        store, state = await self.restart(store, tmp_path)
        assert state.channels[b"foo"].last == 7
        await self.expect(store, b"foo", [run, more], gone=[2, 3, 6])

    @in_loop
    async def test_trimmed_messages_are_gone(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"x"] * 9)
        await self.put(store, run)
        await self.put(store, Trimmed(b"foo", 5))
        await self.put(store, Trimmed(b"foo", 3))
        await self.expect(store, b"foo", [run], gone=[1, 2, 3, 4])

    @in_loop
    async def test_below_the_first_there_are_holes(self, tmp_path: Path) -> None:
        """A message may be trimmed while somebody is about to read it."""
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"] * 9), Trimmed(b"foo", 5))
        for _ in range(2):
            for sequence in (1, 4):
                segment = await store.read(b"foo", sequence, 3)
                assert segment is not None
                assert segment.base <= sequence < segment.base + len(segment)
                assert segment.message(sequence) is None
            await self.put(store, make_run(b"foo", 10, [b"y"]), Trimmed(b"foo", 6))

    @in_loop
    async def test_a_channel_that_was_trimmed_empty_goes_on_counting(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"] * 3))
        await self.put(store, Trimmed(b"foo", 4))
        assert await store.read(b"foo", 4, 1) is None
        assert await store.find_time(b"foo", 0) == 4
        more = make_run(b"foo", 4, [b"y", b"z"])
        await self.put(store, more)
        await self.expect(store, b"foo", [more])

    # Channels.

    @in_loop
    async def test_removed_and_created_again_in_one_batch(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, ChannelCreated(b"foo"), make_run(b"foo", 1, [b"old"] * 5), make_run(b"bar", 1, [b"x"]))
        await self.put(store, SubscriptionPut(b"foo", SubscriptionState(id=1, inbox=b"i", ack_inbox=b"a")))
        run = make_run(b"foo", 1, [b"new"] * 2)
        await self.put(store, ChannelRemoved(b"foo"), ChannelCreated(b"foo"), run)
        await self.expect(store, b"foo", [run])
        assert await store.read(b"foo", 3, 1) is None
        assert sorted(await self.read_all(store, b"bar", 1, 1)) == [1]
        store, state = await self.restart(store, tmp_path)
        assert (state.channels[b"foo"].first, state.channels[b"foo"].last) == (1, 2)
        assert state.channels[b"foo"].subscriptions == {}
        await self.expect(store, b"foo", [run])

    @in_loop
    async def test_a_removed_channel_is_gone(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"]), make_run(b"bar", 1, [b"x"]))
        await self.put(store, ChannelRemoved(b"foo"), ChannelRemoved(b"never.seen"))
        assert await store.read(b"foo", 1, 1) is None
        store, state = await self.restart(store, tmp_path)
        assert set(state.channels) == {b"bar"}

    # Time.

    @in_loop
    async def test_find_time(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        segment = Segment(1)
        for offset in (0, 10, 10, 10, 25, 40):
            put_message(segment, b"foo", b"x", START_NS + offset)
        await self.put(store, Messages(b"foo", segment, 1, 6))
        for offset, expected in ((-5, 1), (0, 1), (1, 2), (10, 2), (11, 5), (25, 5), (26, 6), (40, 6), (41, 7)):
            assert await store.find_time(b"foo", START_NS + offset) == expected, f"at {offset} ns"
        assert await store.find_time(b"bar", START_NS) == 1

    @in_loop
    async def test_find_time_never_goes_behind_what_was_trimmed(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs = [make_run(b"foo", first, [b"x"] * 100, START_NS + first * STEP_NS) for first in range(1, 1001, 100)]
        for run in runs:
            await self.put(store, run)
        await self.put(store, Trimmed(b"foo", 351))
        assert await store.find_time(b"foo", 0) == 351
        for sequence in (351, 400, 401, 777, 1000):
            assert await store.find_time(b"foo", START_NS + sequence * STEP_NS) == sequence
        assert await store.find_time(b"foo", START_NS + 1001 * STEP_NS) == 1001

    # Twice, and instead.

    @in_loop
    async def test_a_batch_applied_twice_changes_nothing(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"x"] * 5)
        batch: list[Record] = [
            run,
            Trimmed(b"foo", 2),
            Deleted(b"foo", [4]),
            SubscriptionPut(b"foo", SubscriptionState(id=1, client_id=b"me", inbox=b"i", ack_inbox=b"a")),
            Sent(b"foo", 1, [2, 3]),
            Acked(b"foo", 1, [2]),
        ]
        await self.put(store, *decode_batch(encode_batch(batch)))
        await self.put(store, *decode_batch(encode_batch(batch)))
        await self.expect(store, b"foo", [run], gone=[1, 4])
        _, state = await self.restart(store, tmp_path)
        assert state.channels[b"foo"].subscriptions[1].pending == {3}

    @in_loop
    async def test_other_messages_under_known_sequences_replace_them(self, tmp_path: Path) -> None:
        """After a failed commit the engine uses the sequences again, and nobody knows what became durable."""
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"kept", b"kept", b"void", b"void", b"void"])
        await self.put(store, run)
        again = make_run(b"foo", 3, [b"instead"], START_NS + 2 * STEP_NS)
        await self.put(store, again)
        await self.expect(store, b"foo", [Messages(b"foo", run.segment, 1, 2), again])
        assert await store.read(b"foo", 4, 1) is None
        last = make_run(b"foo", 4, [b"next"], START_NS + 9 * STEP_NS)
        await self.put(store, last)
        await self.expect(store, b"foo", [Messages(b"foo", run.segment, 1, 2), again, last])
        store, state = await self.restart(store, tmp_path)
        assert (state.channels[b"foo"].last, state.channels[b"foo"].count) == (4, 4)
        await self.expect(store, b"foo", [Messages(b"foo", run.segment, 1, 2), again, last])

    # Recovery.

    @in_loop
    async def test_nothing_to_recover(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await store.close()
        await self.start(tmp_path)

    @in_loop
    async def test_a_store_that_is_not_recoverable_forgets(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        if store.capabilities.recoverable:
            pytest.skip("the store is recoverable")
        await self.put(store, make_run(b"foo", 1, [b"x"]))
        await store.close()
        await self.start(tmp_path)

    @in_loop
    async def test_recovers_the_server_and_its_clients(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        server = ServerInfo(b"cluster", b"d", b"p", b"s", b"u", b"c", b"sc", b"a", b"node")
        first = ClientInfo(b"one", b"inbox.1", b"connection", 1, -300, 88)
        second = ClientInfo(b"two", b"inbox.2")
        await self.put(store, ServerPut(ServerInfo(b"earlier")), ServerPut(server))
        await self.put(store, ClientPut(ClientInfo(b"one", b"old.inbox")), ClientPut(second), ClientPut(first))
        await self.put(store, ClientPut(ClientInfo(b"three", b"x")), ClientRemoved(b"three"), ClientRemoved(b"four"))
        store, state = await self.restart(store, tmp_path)
        assert state.server == server
        assert state.clients == {b"one": first, b"two": second}
        await self.put(store, ClientRemoved(b"one"))
        _, state = await self.restart(store, tmp_path)
        assert state.clients == {b"two": second}

    @in_loop
    async def test_recovers_messages_and_their_totals(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"x" * number for number in range(10)])
        await self.put(store, ChannelCreated(b"empty"), run)
        await self.put(store, Trimmed(b"foo", 3), Deleted(b"foo", [5]))
        store, state = await self.restart(store, tmp_path)
        left = [sequence for sequence in range(3, 11) if sequence != 5]
        size = sum(len(run.segment.message(sequence) or b"") for sequence in left)
        self.check_totals(state.channels[b"foo"], 3, 10, len(left), size, START_NS + 9 * STEP_NS)
        self.check_totals(state.channels[b"empty"], 0, 0, 0, 0, 0)
        await self.expect(store, b"foo", [run], gone=[1, 2, 5])
        for segment in state.channels[b"foo"].segments:
            last = segment.base + len(segment) - 1
            given = contents_of(segment, max(segment.base, 3), last)
            assert given == await self.read_all(store, b"foo", max(segment.base, 3), last)

    def check_totals(
        self, channel: StoredChannel, first: int, last: int, count: int, size: int, last_timestamp_ns: int
    ) -> None:
        assert (channel.first, channel.last, channel.count, channel.size) == (first, last, count, size)
        assert channel.last_timestamp_ns in (last_timestamp_ns, 0)

    @in_loop
    async def test_the_last_sequence_outlives_the_messages(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"] * 7), Trimmed(b"foo", 8))
        for _ in range(2):
            store, state = await self.restart(store, tmp_path)
            self.check_totals(state.channels[b"foo"], 8, 7, 0, 0, START_NS + 6 * STEP_NS)
        run = make_run(b"foo", 8, [b"next"], START_NS + 20 * STEP_NS)
        await self.put(store, run)
        store, state = await self.restart(store, tmp_path)
        assert (state.channels[b"foo"].first, state.channels[b"foo"].last) == (8, 8)
        await self.expect(store, b"foo", [run])

    @in_loop
    async def test_recovers_subscriptions_and_what_is_pending(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        state = SubscriptionState(
            id=3,
            client_id=b"me",
            queue_group=b"durable:group",
            inbox=b"inbox",
            ack_inbox=b"ack.inbox",
            max_in_flight=7,
            ack_wait_seconds=30,
            durable_name=b"",
            last_sent=2,
            is_durable=True,
        )
        await self.put(store, make_run(b"foo", 1, [b"x"] * 9), SubscriptionPut(b"foo", state))
        await self.put(store, Sent(b"foo", 3, [3, 4]), Sent(b"foo", 3, [5]), Acked(b"foo", 3, [4, 77]))
        await self.put(store, Sent(b"foo", 99, [1]), Acked(b"foo", 99, [1]), SubscriptionRemoved(b"foo", 98))
        _, recovered = await self.restart(store, tmp_path)
        assert list(recovered.channels[b"foo"].subscriptions) == [3]
        stored = recovered.channels[b"foo"].subscriptions[3]
        assert stored.pending == {3, 5}
        assert stored.state.last_sent == 5
        stored.state.last_sent = 2
        assert stored.state == state

    @in_loop
    async def test_a_changed_subscription_keeps_what_is_pending(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, SubscriptionPut(b"foo", SubscriptionState(id=1, client_id=b"me", inbox=b"old")))
        await self.put(store, Sent(b"foo", 1, [1, 2]))
        changed = SubscriptionState(id=1, client_id=b"me", inbox=b"new", last_sent=2, is_durable=True, is_closed=True)
        await self.put(store, SubscriptionPut(b"foo", changed))
        _, recovered = await self.restart(store, tmp_path)
        stored = recovered.channels[b"foo"].subscriptions[1]
        assert stored.state == changed
        assert stored.pending == {1, 2}

    @in_loop
    async def test_the_last_sent_is_the_highest_whatever_was_acked(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, SubscriptionPut(b"foo", SubscriptionState(id=1, inbox=b"i")))
        await self.put(store, Sent(b"foo", 1, [5, 2]), Sent(b"foo", 1, [3]), Acked(b"foo", 1, [2, 3, 5]))
        _, recovered = await self.restart(store, tmp_path)
        stored = recovered.channels[b"foo"].subscriptions[1]
        assert (stored.state.last_sent, stored.pending) == (5, set())

    @in_loop
    async def test_a_removed_subscription_is_gone_with_its_pending(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(
            store, *[SubscriptionPut(b"foo", SubscriptionState(id=number, inbox=b"i")) for number in (1, 2, 3)]
        )
        await self.put(store, Sent(b"foo", 2, [1]), Sent(b"foo", 3, [2]), SubscriptionRemoved(b"foo", 2))
        store, recovered = await self.restart(store, tmp_path)
        subscriptions = recovered.channels[b"foo"].subscriptions
        assert {number: stored.pending for number, stored in subscriptions.items()} == {1: set(), 3: {2}}
        await self.put(store, SubscriptionPut(b"foo", SubscriptionState(id=2, inbox=b"i")))
        _, recovered = await self.restart(store, tmp_path)
        assert recovered.channels[b"foo"].subscriptions[2].pending == set()

    @in_loop
    async def test_the_recovered_state_belongs_to_the_caller(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        run = make_run(b"foo", 1, [b"x"] * 3)
        await self.put(store, run, SubscriptionPut(b"foo", SubscriptionState(id=1, inbox=b"i")), Sent(b"foo", 1, [1]))
        store, state = await self.restart(store, tmp_path)
        state.channels[b"foo"].subscriptions.clear()
        state.channels.clear()
        await self.expect(store, b"foo", [run])
        _, state = await self.restart(store, tmp_path)
        assert state.channels[b"foo"].subscriptions[1].pending == {1}

    @in_loop
    async def test_what_was_not_committed_is_not_recovered(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"]))
        store.stage([make_run(b"foo", 2, [b"y"])])
        _, state = await self.restart(store, tmp_path)
        assert state.channels[b"foo"].last == 1

    @in_loop
    async def test_goes_on_after_a_restart(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        runs: list[Messages] = []
        for first in range(1, 50, 10):
            run = make_run(b"foo", first, [b"%d" % first] * 10, START_NS + first * STEP_NS)
            await self.put(store, run)
            runs.append(run)
            store, state = await self.restart(store, tmp_path)
            assert state.channels[b"foo"].last == first + 9
            await self.expect(store, b"foo", runs)
            assert await store.find_time(b"foo", START_NS + (first + 3) * STEP_NS) == first + 3

    # The model.

    @in_loop
    async def test_any_history_amounts_to_what_the_model_says(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        rng = self.random()
        model = StoreState()
        history = History(rng, shared_ids=store.capabilities.shared_subscription_ids)
        for _ in range(80):
            batch = [record for _ in range(rng.randrange(1, 6)) for record in history.step()]
            encoded = encode_batch(batch)
            await self.put(store, *decode_batch(encoded))
            model.apply(decode_batch(encoded))
            if rng.random() < 0.1:
                await self.compare(store, model)
            if rng.random() < 0.05 and store.capabilities.recoverable:
                store, state = await self.restart(store, tmp_path)
                compare_states(state, model)
        await self.compare(store, model)

    async def compare(self, store: Store, model: StoreState) -> None:
        for name, channel in model.channels.items():
            if channel.last == 0:
                continue
            wanted: Contents = {}
            for segment in channel.segments:
                wanted.update(contents_of(segment, channel.first, channel.last))
            assert await self.read_all(store, name, channel.first, channel.last) == wanted

    # The end.

    @in_loop
    async def test_close_may_be_called_again(self, tmp_path: Path) -> None:
        store = await self.start(tmp_path)
        await self.put(store, make_run(b"foo", 1, [b"x"]))
        await store.close()
        await store.close()

    @in_loop
    async def test_close_without_recover(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        await store.close()
        await store.close()

    @in_loop
    async def test_the_lock_keeps_a_second_server_out(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        self.opened.append(store)
        if not store.capabilities.exclusive_lock:
            with pytest.raises(StoreError, match="not supported"):
                await store.try_lock()
            return
        assert await store.try_lock()
        second = self.open_store(tmp_path)
        self.opened.append(second)
        assert not await second.try_lock()
        await store.close()
        assert await second.try_lock()


class History:
    """Random records that an engine could stage."""

    def __init__(self, rng: random.Random, *, shared_ids: bool = False) -> None:
        """
        Args:
            shared_ids: see `Capabilities.shared_subscription_ids`.
        """
        self.rng = rng
        self.shared_ids = shared_ids
        self.last_id = 0
        self.last: dict[bytes, int] = {}
        self.now_ns = START_NS
        self.subscriptions: dict[bytes, list[int]] = {}

    def step(self) -> list[Record]:
        rng = self.rng
        name = rng.choice([b"one", b"two.three", b"four"])
        last = self.last.get(name, 0)
        choice = rng.random()
        if choice < 0.45 or last == 0:
            return [self.messages(name)]
        if choice < 0.55:
            return [Trimmed(name, rng.randrange(1, last + 2))]
        if choice < 0.65:
            return [Deleted(name, sorted({rng.randrange(1, last + 1) for _ in range(3)}))]
        if choice < 0.68:
            self.last.pop(name)
            self.subscriptions.pop(name, None)
            return [ChannelRemoved(name), ChannelCreated(name)]
        if choice < 0.72:
            client = ClientInfo(rng.choice([b"a", b"b"]), b"inbox.%d" % rng.randrange(9))
            return [ClientPut(client) if rng.random() < 0.7 else ClientRemoved(client.id)]
        known = self.subscriptions.setdefault(name, [])
        if choice < 0.80 or not known:
            self.last_id += 1
            known.append(self.last_id if self.shared_ids else len(known) + 1)
            return [SubscriptionPut(name, SubscriptionState(id=known[-1], client_id=b"a", inbox=b"i", last_sent=last))]
        number = rng.choice(known)
        sequences = sorted({rng.randrange(1, last + 1) for _ in range(4)})
        if choice < 0.90:
            return [Sent(name, number, sequences)]
        if choice < 0.97:
            return [Acked(name, number, sequences)]
        return [SubscriptionRemoved(name, number)]

    def messages(self, name: bytes) -> Messages:
        rng = self.rng
        first = self.last.get(name, 0) + 1
        segment = Segment(first)
        for _ in range(rng.choice([1, 2, 5, 40])):
            self.now_ns += rng.choice([0, 1, 1000])
            put_message(segment, name, rng.randbytes(rng.choice([0, 3, 20, 200])), self.now_ns)
        self.last[name] = first + len(segment) - 1
        return Messages(name, segment, first, self.last[name])


def compare_states(state: StoreState, model: StoreState) -> None:
    """What was recovered against what should be, segments aside."""
    assert state.clients == model.clients
    assert state.server == model.server
    assert set(state.channels) == set(model.channels)
    for name, wanted in model.channels.items():
        found = state.channels[name]
        assert found.subscriptions == wanted.subscriptions, name
        totals = (wanted.last, wanted.count, wanted.size)
        assert (found.last, found.count, found.size) == totals, name
        # A store need not remember holes before the first message that is there.
        front = min((sequence for segment in wanted.segments for sequence in _live(segment, wanted)), default=0)
        assert wanted.first <= found.first <= (front or wanted.last + 1), name


def _live(segment: Segment, channel: StoredChannel) -> list[int]:
    return [sequence for sequence, _, _ in segment.messages(channel.first, channel.last)]
