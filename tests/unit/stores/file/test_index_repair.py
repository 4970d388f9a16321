"""Index entries that are damaged while the server runs: written anew from the data, and nothing is ever wrong."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from nats_streaming.stores.batch import Messages, ServerPut
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.store_suite import contents_of

from .directory import CHANNEL, SERVER, TIMESTAMP_NS, QuickFiles, SliceBytes, data_of, payload, segment_of

COUNT = 8


async def prepared(directory: Path) -> FileStore:
    """A store that has nothing of its messages in memory."""
    store = FileStore({"directory": str(directory)}, files=QuickFiles(), apply_delay_s=0)
    await store.recover()
    run = Messages(CHANNEL, segment_of(1, map(payload, range(1, COUNT + 1))), 1, COUNT)
    store.stage([ServerPut(SERVER), run])
    await store.commit()
    async with asyncio.timeout(10):
        while store._unapplied:
            await asyncio.sleep(0.001)
    return store


async def everything(store: FileStore) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    sequence = 1
    while (segment := await store.read(CHANNEL, sequence, 3)) is not None:
        last = segment.base + len(segment) - 1
        found.update({key: bytes(value[1]) for key, value in contents_of(segment, sequence, last).items()})
        sequence = last + 1
    return data_of(found)


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def expected(*lost: int) -> dict[int, bytes]:
    return {sequence: payload(sequence) for sequence in range(1, COUNT + 1) if sequence not in lost}


@pytest.mark.parametrize("entry", range(COUNT))
def test_an_entry_is_written_anew(tmp_path: Path, entry: int) -> None:
    async def body() -> None:
        store = await prepared(tmp_path)
        index = tmp_path / "foo/msgs.1.idx"
        before = index.read_bytes()
        for octet in range(32):
            flip(index, 4 + 32 * entry + octet)
            assert await everything(store) == expected()
            assert index.read_bytes() == before
        assert store.failure == ""
        await store.close()

    asyncio.run(body())
    assert len(list((tmp_path / "foo").glob("msgs.1.idx.corrupt-*"))) == 32


def test_a_search_by_time_is_never_misled(tmp_path: Path) -> None:
    async def body() -> None:
        store = await prepared(tmp_path)
        rng = random.Random(1)
        for _ in range(200):
            flip(tmp_path / "foo/msgs.1.idx", 4 + 32 * rng.randrange(COUNT) + 16 + rng.randrange(8))
            wanted = rng.randrange(1, COUNT + 1)
            assert await store.find_time(CHANNEL, TIMESTAMP_NS + wanted) == wanted
        await store.close()

    asyncio.run(body())


@pytest.mark.parametrize("entry", range(COUNT))
def test_an_entry_and_its_message(tmp_path: Path, entry: int) -> None:
    """The message is lost, and no other."""

    async def body() -> None:
        store = await prepared(tmp_path)
        index = (tmp_path / "foo/msgs.1.idx").read_bytes()
        offset = int.from_bytes(index[4 + 32 * entry + 8 :][:8], "little")
        flip(tmp_path / "foo/msgs.1.idx", 4 + 32 * entry + 3)
        flip(tmp_path / "foo/msgs.1.dat", offset + 8 + 5)
        assert await everything(store) == expected(entry + 1)
        await store.close()
        store = FileStore({"directory": str(tmp_path)}, files=QuickFiles())
        state = await store.recover()
        assert state is not None
        assert await everything(store) == expected(entry + 1)
        await store.close()

    asyncio.run(body())


def test_several_in_a_row_and_records_that_the_index_passes_over(tmp_path: Path) -> None:
    slices = SliceBytes()
    for sequence in range(1, 4):
        slices.add(sequence)
    slices.add(2, b"passed over", in_index=False)
    for sequence in range(4, COUNT + 1):
        slices.add(sequence)
    slices.write(tmp_path)

    async def body() -> None:
        store = FileStore({"directory": str(tmp_path)}, files=QuickFiles())
        await store.recover()
        for entry in (2, 3, 4):
            flip(tmp_path / "foo/msgs.1.idx", 4 + 32 * entry + 9)
        assert await everything(store) == expected()
        await store.close()

    asyncio.run(body())
    assert (tmp_path / "foo/msgs.1.idx").read_bytes() == slices.index
