"""Large batches go straight to the channel files: seen from the calls, and from what a crash or a fault leaves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    SubscriptionPut,
)
from nats_streaming.stores.file.bypass import MESSAGE_BYTES
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.faulty_files import IO_ERROR, FaultyFiles, FileFault
from nats_streaming.testing.store_suite import START_NS, make_run

LARGE = 1000
DATA, INDEX, JOURNAL = "msgs.1.dat", "msgs.1.idx", "journal.1.stan"


class WatchedFiles(FaultyFiles):
    """Notes which files were brought to the disk, and which bytes were written to the journal."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.synced: list[str] = []
        self.journaled = b""

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if operation == "sync":
            self.synced.append(Path(path).name)
        if operation == "pwrite" and "journal" in path:
            self.journaled += bytes(arguments[1]).rstrip(b"\0")
        return super().system(operation, path, call, *arguments)

    def take(self) -> list[str]:
        synced, self.synced = self.synced, []
        return synced


def opened(directory: Path, files: FaultyFiles, **options: Any) -> FileStore:
    settings = {"directory": str(directory), "auto_sync_ns": 0, **options}
    return FileStore(settings, files=files, apply_delay_s=3600, retry_s=0.01, bypass_bytes=LARGE)


def run(first: int, count: int, size: int = LARGE + MESSAGE_BYTES, name: bytes = b"foo") -> Messages:
    return make_run(name, first, [b"%d" % (first + number) + b"." * size for number in range(count)], START_NS + first)


async def commit(store: FileStore, *records: Record) -> None:
    store.stage(records)
    async with asyncio.timeout(20):
        await store.commit()


async def create(store: FileStore, *records: Record) -> None:
    """Commit what a channel begins with, and wait until its files are there."""
    await commit(store, ChannelCreated(b"foo"), *records)
    await store._behind.applied_to(store._journal.last)


async def payloads(store: FileStore, last: int, name: bytes = b"foo") -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    sequence = 1
    while sequence <= last:
        segment = await store.read(name, sequence, 1000)
        if segment is None:
            break
        found.update((each, message) for each, _, message in segment.messages(sequence, last))
        sequence = segment.base + len(segment)
    return found


def content(*runs: Messages) -> dict[int, bytes]:
    return {each: message for run in runs for each, _, message in run.segment.messages(run.first, run.last)}


def restarted(directory: Path, last: int, expected: dict[int, bytes], *, strict: bool = True) -> None:
    async def body() -> None:
        store = opened(directory, FaultyFiles(directory), strict=strict)
        state = await store.recover()
        assert state is not None
        assert state.channels[b"foo"].last == last
        assert await payloads(store, last) == expected
        await store.close()

    asyncio.run(body())


Life = Callable[[FileStore, WatchedFiles], Coroutine[Any, Any, None]]


def lived(directory: Path, life: Life, *, crash: bool = False) -> None:
    async def body() -> None:
        directory.mkdir(exist_ok=True)
        files = WatchedFiles(directory)
        store = opened(directory, files)
        await store.recover()
        try:
            await life(store, files)
        finally:
            if crash:
                store.abandon()
            else:
                await store.close()

    asyncio.run(body())


def test_what_is_large_is_written_and_synced_once(tmp_path: Path) -> None:
    first, second = run(1, 3), run(4, 5)

    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store)
        await commit(store, first)
        files.take()
        files.journaled = b""
        await commit(store, second)
        assert files.take() == [DATA, INDEX]
        assert files.journaled == b""
        assert await payloads(store, 8) == content(first, second)

    lived(tmp_path / "data", life)
    restarted(tmp_path / "data", 8, content(first, second))


@pytest.mark.parametrize(
    "records",
    [
        [run(1, 9, 10)],
        [run(1, 100, 200)],
        [run(1, 1), *(run(1, 1, 10, name) for name in (b"a", b"b"))],
        [*(run(1, 1, 2 * LARGE, b"%d" % number) for number in range(9))],
        [run(1, 3), Deleted(b"foo", [2])],
        [run(1, 2), run(2, 2)],
        [run(1, 3), ChannelRemoved(b"foo"), ChannelCreated(b"foo")],
    ],
    ids=[
        "small",
        "small messages",
        "small on average",
        "many channels",
        "more than messages",
        "twice the same",
        "removed",
    ],
)
def test_everything_else_goes_to_the_journal(tmp_path: Path, records: list[Record]) -> None:
    async def life(store: FileStore, files: WatchedFiles) -> None:
        names = [b"foo", b"a", b"b", *(b"%d" % number for number in range(9))]
        await create(store, *map(ChannelCreated, names))
        files.take()
        await commit(store, *records)
        assert files.take() == [JOURNAL]

    lived(tmp_path / "data", life)


def test_a_channel_that_a_replay_would_remove_stays_with_the_journal(tmp_path: Path) -> None:
    new = run(1, 3)

    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store, run(1, 1, 10), ChannelRemoved(b"foo"), ChannelCreated(b"foo"))
        files.take()
        await commit(store, new)
        assert files.take() == [JOURNAL]

    lived(tmp_path / "data", life, crash=True)
    restarted(tmp_path / "data", 3, content(new))


def test_a_failure_in_between_makes_a_replay_no_less_thorough(tmp_path: Path) -> None:
    """The channel files are mended, and the journal still holds what came before, a removal among it."""
    new = run(1, 3)

    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store, run(1, 1, 10), ChannelRemoved(b"foo"), ChannelCreated(b"foo"))
        files.plan = lambda _count, operation, path: (
            IO_ERROR if operation == "write" and path.endswith((".dat", ".idx")) else None
        )
        await commit(store, ChannelCreated(b"bar"), run(1, 1, 10, b"bar"))
        await store._behind.applied_to(store._journal.last)
        assert store.failure
        files.plan = None
        async with asyncio.timeout(20):
            while store.failure:
                await asyncio.sleep(0.005)
        await commit(store, new)

    lived(tmp_path / "data", life, crash=True)
    restarted(tmp_path / "data", 3, content(new))


def test_what_is_committed_while_something_is_taken_back_stays(tmp_path: Path) -> None:
    """The journal has it, and the loop has not heard of it yet."""
    first, second = run(1, 2), run(3, 2, 10)

    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store, SubscriptionPut(b"foo", SubscriptionState(id=1, client_id=b"me")))
        await commit(store, first)
        begin, apply_again = asyncio.Event(), store._behind._apply_again

        async def later() -> None:
            await begin.wait()
            await apply_again()

        store._behind._apply_again = later  # type: ignore[method-assign]
        files.plan = lambda _count, operation, path: IO_ERROR if operation == "sync" and "journal" in path else None
        with pytest.raises(StoreError, match="Input/output error"):
            await commit(store, run(3, 5), Sent(b"foo", 1, [1]))
        files.plan = None
        store.stage([second])
        before, committed = store._journal.last, asyncio.ensure_future(store.commit())
        begin.set()
        deadline = time.monotonic() + 20
        while store._journal.last == before and time.monotonic() < deadline:
            time.sleep(0.001)
        await committed
        async with asyncio.timeout(20):
            while store._behind.is_uncertain:
                await asyncio.sleep(0.005)
        assert await payloads(store, 4) == content(first, second)

    lived(tmp_path / "data", life)
    restarted(tmp_path / "data", 4, content(first, second))


def test_a_subscription_is_never_ahead_of_its_channel(tmp_path: Path) -> None:
    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store, SubscriptionPut(b"foo", SubscriptionState(id=1, client_id=b"me")))
        await commit(store, run(1, 1))
        files.take()
        await commit(store, run(2, 3), Sent(b"foo", 1, [2, 3]), Acked(b"foo", 1, [2]))
        assert files.take() == [DATA, INDEX, JOURNAL]

    lived(tmp_path / "data", life, crash=True)

    async def after(store: FileStore) -> None:
        state = await store.recover()
        assert state is not None
        subscription = state.channels[b"foo"].subscriptions[1]
        assert (subscription.pending, subscription.state.last_sent) == ({3}, 3)
        await store.close()

    asyncio.run(after(opened(tmp_path / "data", FaultyFiles(tmp_path / "data"))))


@pytest.mark.parametrize("crash", [False, True])
def test_what_was_committed_before_comes_first(tmp_path: Path, crash: bool) -> None:
    runs = [run(1, 2, 10), run(3, 2), run(5, 3, 10), run(8, 1), run(9, 1, 10)]

    async def life(store: FileStore, _files: WatchedFiles) -> None:
        await create(store)
        for each in runs:
            await commit(store, each)
        assert await payloads(store, 9) == content(*runs)

    lived(tmp_path / "data", life, crash=crash)
    restarted(tmp_path / "data", 9, content(*runs))


def test_a_replay_takes_nothing_back_that_the_journal_does_not_have(tmp_path: Path) -> None:
    """A journaled message is damaged, and behind it are others that only the channel file has."""
    runs = [run(1, 3, 10), run(4, 4), run(8, 2, 10)]

    async def life(store: FileStore, _files: WatchedFiles) -> None:
        await create(store)
        for each in runs:
            await commit(store, each)

    lived(tmp_path / "data", life, crash=True)
    path = tmp_path / "data/foo" / DATA
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"2..........")] ^= 1
    path.write_bytes(damaged)
    (tmp_path / "data/foo/msgs.1.idx").unlink()
    expected = content(*runs)
    del expected[2]
    restarted(tmp_path / "data", 9, expected, strict=False)


def test_files_that_fail_leave_the_batch_to_the_journal(tmp_path: Path) -> None:
    runs = [run(1, 2), run(3, 2), run(5, 2)]

    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store)
        await commit(store, runs[0])
        files.plan = lambda _count, operation, path: fault(operation, path)
        await commit(store, runs[1])
        assert "Input/output error" in store.failure
        assert await payloads(store, 4) == content(*runs[:2])
        files.plan = None
        async with asyncio.timeout(20):
            while store.failure:
                await asyncio.sleep(0.005)
        files.take()
        await commit(store, runs[2])
        assert DATA in files.take()
        assert await payloads(store, 6) == content(*runs)

    def fault(operation: str, path: str) -> FileFault | None:
        return IO_ERROR if operation == "sync" and path.endswith(DATA) else None

    lived(tmp_path / "data", life)
    restarted(tmp_path / "data", 6, content(*runs))


@pytest.mark.parametrize("only_journal", [True, False])
def test_what_was_refused_does_not_stay(tmp_path: Path, only_journal: bool) -> None:
    first = run(1, 2)

    async def life(store: FileStore, files: WatchedFiles) -> None:
        await create(store, SubscriptionPut(b"foo", SubscriptionState(id=1, client_id=b"me")))
        await commit(store, first)
        await commit(store, run(9, 1, 1, b"other"))
        files.plan = lambda _count, operation, path: (
            IO_ERROR if operation == "sync" and (not only_journal or "journal" in path) else None
        )
        with pytest.raises(StoreError, match="Input/output error"):
            await commit(store, run(3, 5), Sent(b"foo", 1, [1]))
        files.plan = None
        async with asyncio.timeout(20):
            while store._behind.is_uncertain:
                await asyncio.sleep(0.005)

    lived(tmp_path / "data", life)
    restarted(tmp_path / "data", 2, content(first))


def test_commits_behind_one_that_bypasses_keep_their_order(tmp_path: Path) -> None:
    runs = [run(1, 2), run(3, 1, 10), run(4, 2), run(6, 1, 10)]

    async def life(store: FileStore, _files: WatchedFiles) -> None:
        await create(store)
        commits = []
        for each in runs:
            store.stage([each])
            commits.append(asyncio.ensure_future(store.commit()))
        await asyncio.gather(*commits)
        assert await payloads(store, 6) == content(*runs)

    lived(tmp_path / "data", life, crash=True)
    restarted(tmp_path / "data", 6, content(*runs))


def test_without_syncs_nothing_bypasses(tmp_path: Path) -> None:
    async def body() -> None:
        files = WatchedFiles(tmp_path)
        store = opened(tmp_path, files, sync=False)
        await store.recover()
        await create(store)
        files.journaled = b""
        await commit(store, run(1, 5))
        assert len(files.journaled) > 5 * LARGE
        await store.close()

    asyncio.run(body())
    assert os.path.getsize(tmp_path / "foo" / DATA) > 5 * LARGE
