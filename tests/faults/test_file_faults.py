"""The FILE store when calls fail: each in turn, a full disk, a disk whose channel files cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
from pathlib import Path

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelRemoved,
    ClientPut,
    Deleted,
    Record,
    Sent,
    ServerPut,
    SubscriptionPut,
    Trimmed,
    decode_batch,
    encode_batch,
)
from nats_streaming.stores.file.bypass import BYPASS_BYTES
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.faulty_files import IO_ERROR, NO_DESCRIPTORS, NO_SPACE, FaultyFiles, FileFault, nth
from nats_streaming.testing.store_suite import START_NS, compare_states, make_run
from tests.faults.test_file_power_loss import Ledger, compare_messages

FAULTS = {
    "I/O error": IO_ERROR,
    "no space": NO_SPACE,
    "no space after a part": FileFault(errno.ENOSPC, written=9),
    "short write": FileFault(written=3),
    "out of descriptors": NO_DESCRIPTORS,
}


def scenario() -> list[list[Record]]:
    """A little of everything."""
    return [
        [ServerPut(ServerInfo(b"cluster", b"d")), ClientPut(ClientInfo(b"me", b"inbox"))],
        [make_run(b"foo", 1, [b"a", b"b" * 3000, b"c"]), make_run(b"bar", 1, [b"x"])],
        [SubscriptionPut(b"foo", SubscriptionState(id=1, client_id=b"me", inbox=b"i")), Sent(b"foo", 1, [1, 2, 3])],
        [Acked(b"foo", 1, [1]), make_run(b"foo", 4, [b"d"], START_NS + 10_000)],
        [Deleted(b"foo", [2]), Trimmed(b"foo", 2)],
        [ChannelRemoved(b"bar"), make_run(b"baz", 1, [b"z"] * 5)],
        [make_run(b"bar", 1, [b"new"])],
        [make_run(b"foo", 5, [b"e"], START_NS + 20_000), Acked(b"foo", 1, [3])],
    ]


def opened(
    directory: Path, files: FaultyFiles | None = None, *, bypass_bytes: int = BYPASS_BYTES, **settings: object
) -> FileStore:
    options = {"directory": str(directory), "slice_max_msgs": 3, "compact_min_size": 0, "auto_sync_ns": 0}
    return FileStore(
        {**options, **settings},
        files=files,
        checkpoint_bytes=600,
        apply_delay_s=0.0,
        retry_s=0.01,
        bypass_bytes=bypass_bytes,
    )


async def commit(store: FileStore, ledger: Ledger, batch: list[Record]) -> bool:
    encoded = encode_batch(batch)
    store.stage(decode_batch(encoded))
    try:
        async with asyncio.timeout(20):
            await store.commit()
    except StoreError:
        ledger.in_doubt.append(encoded)
        return False
    ledger.confirmed.append(encoded)
    ledger.in_doubt.clear()
    return True


async def compare_patiently(store: FileStore, ledger: Ledger) -> None:
    """What must wait for the channel files is refused while they fail, not answered wrongly."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await compare_messages(store, ledger.state())
            except StoreError:
                await asyncio.sleep(0.02)


async def run_with_fault(tmp_path: Path, number: int, fault: FileFault, *, crash: bool, bypass_bytes: int) -> bool:
    """The scenario with one failing call; False when there are not so many calls."""
    directory = tmp_path / f"{number}"
    directory.mkdir(parents=True)
    files = FaultyFiles(directory, nth(number, fault))
    ledger = Ledger()
    try:
        store = opened(directory, files, bypass_bytes=bypass_bytes, strict=number % 2 == 0)
    except StoreError:
        return True
    try:
        assert await store.recover() is None
    except StoreError:
        # Said so and does not serve; nothing was confirmed.
        store.abandon()
        return True
    for batch in scenario():
        if not await commit(store, ledger, batch):
            assert await commit(store, ledger, batch), f"call {number} failed, and so did the commit after it"
        await asyncio.sleep(0.001)
    await compare_patiently(store, ledger)
    passed = files.count >= number
    if crash:
        store.abandon()
        target = tmp_path / f"{number}-after"
        files.materialise(target, random.Random(number))
    else:
        await store.close()
        target = directory
    store = opened(target, strict=True)
    try:
        recovered = await store.recover()
        assert recovered is not None
        compare_states(recovered, ledger.state())
        await compare_messages(store, ledger.state())
    finally:
        await store.close()
    return passed


@pytest.mark.parametrize("bypass_bytes", [BYPASS_BYTES, 1])
def test_every_call_fails_once(
    bypass_bytes: int, tmp_path: Path, pytestconfig: pytest.Config, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call of the scenario in turn; with `--long` in every way, else in one way each, another one each run."""
    caplog.set_level(logging.CRITICAL)
    ways = [(name, crash) for crash in (False, True) for name in FAULTS]
    offset = random.SystemRandom().randrange(len(ways))
    print(f"offset {offset}")  # noqa: T201
    number, more = 0, True
    while more:
        number += 1
        chosen = ways if pytestconfig.getoption("--long") else [ways[(number * 3 + offset) % len(ways)]]
        for name, crash in chosen:
            place = tmp_path / f"{name} {crash}"
            try:
                more = asyncio.run(run_with_fault(place, number, FAULTS[name], crash=crash, bypass_bytes=bypass_bytes))
            except (AssertionError, StoreError) as error:
                raise AssertionError(f"call {number}, {name}, power loss {crash}: {error}") from error
    assert number > 40


@pytest.mark.parametrize("bypass_bytes", [BYPASS_BYTES, 1])
def test_a_full_disk_refuses_serves_and_recovers(bypass_bytes: int, tmp_path: Path) -> None:
    async def body() -> None:
        files = FaultyFiles(tmp_path / "data")
        store = opened(tmp_path / "data", files, bypass_bytes=bypass_bytes)
        await store.recover()
        ledger = Ledger()
        first = make_run(b"foo", 1, [b"before"] * 10)
        assert await commit(store, ledger, [first])
        files.plan = lambda _number, operation, _path: NO_SPACE if operation in ("write", "pwrite", "mkdir") else None
        for _ in range(5):
            store.stage([make_run(b"foo", 11, [b"refused"])])
            with pytest.raises(StoreError, match="No space left on device"):
                await store.commit()
            await compare_messages(store, ledger.state())
        files.plan = None
        assert await commit(store, ledger, [make_run(b"foo", 11, [b"after"], START_NS + 10**6)])
        await compare_messages(store, ledger.state())
        await store.close()
        store = opened(tmp_path / "data", strict=True)
        recovered = await store.recover()
        assert recovered is not None
        compare_states(recovered, ledger.state())
        await store.close()

    (tmp_path / "data").mkdir()
    asyncio.run(body())


def test_channel_files_that_cannot_be_written_lose_nothing(tmp_path: Path) -> None:
    """The journal keeps what they do not take, until it is full; then commits say why they fail."""

    async def body() -> None:
        directory = tmp_path / "data"
        directory.mkdir()
        files = FaultyFiles(directory)
        store = FileStore(
            {"directory": str(directory)},
            files=files,
            checkpoint_bytes=3000,
            journal_bytes_max=20_000,
            apply_delay_s=0,
            retry_s=0.05,
        )
        await store.recover()
        ledger = Ledger()
        assert await commit(store, ledger, [make_run(b"foo", 1, [b"x" * 500])])
        files.plan = lambda _number, operation, path: (
            IO_ERROR if operation in ("write", "pwrite") and "journal" not in path else None
        )
        last = 1
        while True:
            store.stage([make_run(b"foo", last + 1, [b"x" * 500], START_NS + last * 1000)])
            try:
                async with asyncio.timeout(20):
                    await store.commit()
            except StoreError as error:
                assert "the journal is full" in str(error)  # noqa: PT017
                assert "Input/output error" in str(error)  # noqa: PT017
                break
            last += 1
            ledger.confirmed.append(encode_batch([make_run(b"foo", last, [b"x" * 500], START_NS + (last - 1) * 1000)]))
            await asyncio.sleep(0.001)
        assert 20 < last < 200
        assert store.failure
        await compare_messages(store, ledger.state())
        files.plan = None
        async with asyncio.timeout(20):
            while store.failure:
                await asyncio.sleep(0.05)
        assert await commit(store, ledger, [make_run(b"foo", last + 1, [b"y"], START_NS + last * 1000)])
        await store.close()
        assert not list(directory.glob("journal.*"))
        store = opened(directory, strict=True)
        recovered = await store.recover()
        assert recovered is not None
        compare_states(recovered, ledger.state())
        await compare_messages(store, ledger.state())
        await store.close()

    asyncio.run(body())


def test_a_failing_disk_leaves_the_journal_for_the_next_start(tmp_path: Path) -> None:
    async def body() -> None:
        directory = tmp_path / "data"
        directory.mkdir()
        files = FaultyFiles(directory)
        store = opened(directory, files)
        await store.recover()
        ledger = Ledger()
        assert await commit(store, ledger, [make_run(b"foo", 1, [b"a", b"b"])])
        files.plan = lambda _number, operation, path: (
            IO_ERROR if operation != "unlink" and "journal" not in path else None
        )
        assert await commit(store, ledger, [make_run(b"bar", 1, [b"c"])])
        with contextlib.suppress(StoreError):
            await store.close()
        assert list(directory.glob("journal.*.stan"))
        store = opened(directory, strict=True)
        recovered = await store.recover()
        assert recovered is not None
        compare_states(recovered, ledger.state())
        await compare_messages(store, ledger.state())
        await store.close()

    asyncio.run(body())
