"""When the FILE store waits for the disk: `file_sync` and `file_auto_sync`, seen from the calls it makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.constants import NS_PER_MS
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.store_suite import make_run


class CountedFiles(Files):
    """Notes which files were brought to the disk."""

    def __init__(self) -> None:
        self.synced: list[str] = []

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if operation == "sync":
            self.synced.append(Path(path).name)
        return super().system(operation, path, call, *arguments)

    def take(self) -> list[str]:
        synced, self.synced = self.synced, []
        return sorted(synced)


async def opened(directory: Path, files: Files, **options: Any) -> FileStore:
    store = FileStore({"directory": str(directory), **options}, files=files, apply_delay_s=0.0)
    await store.recover()
    return store


async def commit(store: FileStore, sequence: int) -> None:
    store.stage([make_run(b"foo", sequence, [b"x"])])
    await store.commit()


async def applied(store: FileStore) -> None:
    async with asyncio.timeout(10):
        while store._unapplied:
            await asyncio.sleep(0.001)


@pytest.mark.store_spec(53)
@pytest.mark.parametrize("sync", [True, False])
def test_a_commit_is_one_sync_or_none(tmp_path: Path, sync: bool) -> None:
    async def body() -> None:
        files = CountedFiles()
        store = await opened(tmp_path, files, sync=sync, auto_sync_ns=0)
        await commit(store, 1)
        await applied(store)
        files.take()
        for sequence in range(2, 12):
            await commit(store, sequence)
        await applied(store)
        assert files.take() == ["journal.1.stan"] * 10 * sync, "auto-sync is off, so nothing else is waited for"
        await store.close()
        assert {"msgs.1.dat", "msgs.1.idx"} <= set(files.take()), "a clean end is on the disk in any case"

    asyncio.run(body())


@pytest.mark.store_spec(53)
@pytest.mark.parametrize("sync", [True, False])
def test_auto_sync_brings_idle_data_to_the_disk_once(tmp_path: Path, sync: bool) -> None:
    async def body() -> None:
        files = CountedFiles()
        store = await opened(tmp_path, files, sync=sync, auto_sync_ns=50 * NS_PER_MS)
        await commit(store, 1)
        async with asyncio.timeout(10):
            while list(tmp_path.glob("journal.*.stan")):
                await asyncio.sleep(0.005)
        assert {"msgs.1.dat", "msgs.1.idx"} <= set(files.take())
        await asyncio.sleep(0.2)  # four times the interval
        assert files.take() == [], "nothing is new"
        await store.close()

    asyncio.run(body())
