"""The FILE store is a store like any other, and what is behind its commits does not show."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.stores.api import Store
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.store_suite import StoreSuite, make_run


class TestFileStore(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return FileStore({"directory": str(directory)})


class TestFileStoreThatAppliesAtOnce(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return FileStore({"directory": str(directory)}, checkpoint_bytes=20_000, apply_delay_s=0.0)


class TestFileStoreWhoseBatchesBypassTheJournal(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return FileStore({"directory": str(directory)}, apply_delay_s=0.0, bypass_bytes=1)


def test_a_clean_end_leaves_what_a_go_server_opens(tmp_path: Path) -> None:
    async def body() -> None:
        store = FileStore({"directory": str(tmp_path)})
        await store.recover()
        store.stage([make_run(b"foo.bar", 1, [b"x"] * 3)])
        await store.commit()
        assert (tmp_path / "journal.1.stan").exists()
        await store.close()

    asyncio.run(body())
    assert not list(tmp_path.glob("journal.*"))
    assert sorted(path.name for path in (tmp_path / "foo.bar").glob("*.dat")) == ["msgs.1.dat", "subs.dat"]


def test_it_needs_a_directory_and_knows_its_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^for FILE stores, root directory must be specified$"):
        FileStore({})
    with pytest.raises(ConfigError, match="'speed'"):
        FileStore({"directory": str(tmp_path), "speed": "high"})


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        store = FileStore({"directory": str(tmp_path)})
        await store.recover()
        await store.close()
        store.stage([make_run(b"foo", 1, [b"x"])])
        with pytest.raises(StoreError, match="closed"):
            await store.commit()

    asyncio.run(body())


def test_commits_go_on_when_a_waiting_one_is_cancelled(tmp_path: Path) -> None:
    """Who waited is gone; the batch was written all the same and must not be forgotten."""

    async def body() -> None:
        store = FileStore({"directory": str(tmp_path)})
        await store.recover()
        store.stage([make_run(b"foo", 1, [b"x"])])
        waiting = asyncio.ensure_future(store.commit())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        store.stage([make_run(b"bar", 1, [b"y"])])
        await store.commit()
        await store.close()
        store = FileStore({"directory": str(tmp_path)})
        state = await store.recover()
        assert state is not None
        assert {name: channel.last for name, channel in state.channels.items()} == {b"foo": 1, b"bar": 1}
        await store.close()

    asyncio.run(body())


_OTHER_PROCESS = """
import asyncio, sys
from nats_streaming.stores.file.store import FileStore

async def body():
    store = FileStore({"directory": sys.argv[1]})
    print(await store.try_lock())
    await store.close()

asyncio.run(body())
"""


def locked_out(directory: Path) -> bool:
    """Whether another process is refused the lock."""
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS, str(directory)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip() == "False"


@pytest.mark.store_spec(56)
def test_the_lock_between_processes(tmp_path: Path) -> None:
    """Entry 56 of the checklist: the second is refused, the holder may ask again, the end gives it up."""

    async def body() -> None:
        store = FileStore({"directory": str(tmp_path)})
        assert await store.try_lock()
        assert await store.try_lock()
        second = FileStore({"directory": str(tmp_path)})
        assert not await second.try_lock()
        await second.close()
        assert locked_out(tmp_path), "a second store of this process must not give the lock up"
        await store.close()
        assert not locked_out(tmp_path)
        assert (tmp_path / ".rootdir.lck").stat().st_size == 0

    asyncio.run(body())


@pytest.mark.store_spec(56)
def test_a_lock_file_that_cannot_be_opened(tmp_path: Path) -> None:
    async def body() -> None:
        store = FileStore({"directory": str(tmp_path / "data")})
        (tmp_path / "data" / ".rootdir.lck").mkdir()
        assert not await store.try_lock()
        (tmp_path / "data" / ".rootdir.lck").rmdir()
        (tmp_path / "data").rename(tmp_path / "moved")
        with pytest.raises(StoreError, match=r"open .*\.rootdir\.lck: No such file or directory"):
            await store.try_lock()
        (tmp_path / "moved").rename(tmp_path / "data")
        await store.close()

    asyncio.run(body())
