"""A strict server after a crash: what the crash has torn is mended, what had been safe must be as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nats_streaming.errors import CorruptionError
from nats_streaming.stores.batch import Messages, Sent, ServerPut, SubscriptionPut
from nats_streaming.stores.file.store import FileStore

from .directory import CHANNEL, SERVER, QuickFiles, payload, segment_of, subscription

SAFE, JOURNALED = 3, 3


def opened(directory: Path, *, strict: bool = True) -> FileStore:
    return FileStore(
        {"directory": str(directory), "strict": strict}, files=QuickFiles(), checkpoint_bytes=1, apply_delay_s=0
    )


def run(first: int, count: int) -> Messages:
    last = first + count - 1
    return Messages(CHANNEL, segment_of(first, map(payload, range(first, last + 1))), first, last)


async def crash(directory: Path, *, strict: bool = True) -> Path:
    """Leave `SAFE` messages behind a checkpoint, more in the files and in the journal; returns the channel."""
    store = opened(directory, strict=strict)
    await store.recover()
    store.stage([ServerPut(SERVER), run(1, SAFE), SubscriptionPut(CHANNEL, subscription(1)), Sent(CHANNEL, 1, [1])])
    await store.commit()
    async with asyncio.timeout(10):
        while list(directory.glob("journal.*.stan")):
            await asyncio.sleep(0.001)
    store.abandon()
    store = FileStore(
        {"directory": str(directory), "strict": strict}, files=QuickFiles(), checkpoint_bytes=1 << 20, apply_delay_s=0
    )
    await store.recover()
    store.stage([run(SAFE + 1, JOURNALED), Sent(CHANNEL, 1, [2, 3])])
    await store.commit()
    while store._unapplied:
        await asyncio.sleep(0.001)
    store.abandon()
    return directory / CHANNEL.decode()


async def start(directory: Path) -> list[int]:
    """Start strictly; returns the sequences that are there."""
    store = opened(directory)
    try:
        state = await store.recover()
        assert state is not None
        channel = state.channels[CHANNEL]
        assert channel.subscriptions[1].pending == {1, 2, 3}
        segment = await store.read(CHANNEL, 1, 100)
        assert segment is not None
        return [sequence for sequence, _, _ in segment.messages(1, channel.last)]
    finally:
        await store.close()


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def size_of_safe(channel: Path) -> int:
    index = (channel / "msgs.1.idx").read_bytes()
    return int.from_bytes(index[4 + 32 * SAFE + 8 :][:8], "little")


TORN: dict[str, Callable[[Path], None]] = {
    "data ends in a record": lambda channel: cut(channel / "msgs.1.dat", size_of_safe(channel) + 11),
    "and the index with it": lambda channel: (
        cut(channel / "msgs.1.dat", size_of_safe(channel) + 11),
        cut(channel / "msgs.1.idx", 4 + 32 * SAFE + 5),
    )[0],
    "a page of the data is lost": lambda channel: (
        flip(channel / "msgs.1.dat", size_of_safe(channel) + 20),
        (channel / "msgs.1.idx").unlink(),
    )[0],
    "subscriptions end in a record": lambda channel: cut(
        channel / "subs.dat", (channel / "subs.dat").stat().st_size - 3
    ),
    "a new slice has no header": lambda channel: (channel / "msgs.2.dat").touch(),
}


@pytest.mark.parametrize("tear", TORN.values(), ids=list(TORN))
def test_what_a_crash_has_torn_is_mended(tmp_path: Path, tear: Callable[[Path], None]) -> None:
    channel = asyncio.run(crash(tmp_path))
    tear(channel)
    for _ in range(2):
        assert asyncio.run(start(tmp_path)) == list(range(1, SAFE + JOURNALED + 1))


def test_a_batch_that_nobody_had_confirmed_may_have_lost_a_page(tmp_path: Path) -> None:
    """It went past the journal, which cannot bring it again: what is there of it is served, the rest is a hole."""

    async def body() -> Path:
        store = FileStore(
            {"directory": str(tmp_path), "strict": True}, files=QuickFiles(), apply_delay_s=0, bypass_bytes=1
        )
        await store.recover()
        store.stage([ServerPut(SERVER), SubscriptionPut(CHANNEL, subscription(1)), Sent(CHANNEL, 1, [1, 2, 3])])
        await store.commit()
        while store._unapplied:
            await asyncio.sleep(0.001)
        store.stage([run(1, SAFE + JOURNALED)])
        await store.commit()
        store.abandon()
        return tmp_path / CHANNEL.decode()

    channel = asyncio.run(body())
    flip(channel / "msgs.1.dat", size_of_safe(channel) + 20)
    for _ in range(2):
        assert asyncio.run(start(tmp_path)) == [1, 2, 3, 5, 6]
    assert list(channel.glob("*.corrupt-1"))


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a message that was safe": (
        lambda channel: (flip(channel / "msgs.1.dat", 20), (channel / "msgs.1.idx").unlink())[0],
        "corrupted data, expected crc",
    ),
    "the data ends before": (
        lambda channel: (cut(channel / "msgs.1.dat", size_of_safe(channel) - 2), cut(channel / "msgs.1.idx", 4))[0],
        "unexpected EOF",
    ),
    "a subscription that was safe": (lambda channel: flip(channel / "subs.dat", 15), "corrupted data, expected crc"),
    "the header": (lambda channel: flip(channel / "subs.dat", 0), "unsupported file version"),
    "the server": (lambda channel: flip(channel.parent / "server.dat", 20), "unable to recover server file"),
}


@pytest.mark.parametrize(("damage", "text"), DAMAGED.values(), ids=list(DAMAGED))
def test_damage_to_what_was_safe_is_refused(tmp_path: Path, damage: Callable[[Path], None], text: str) -> None:
    channel = asyncio.run(crash(tmp_path))
    damage(channel)
    with pytest.raises(CorruptionError, match=text):
        asyncio.run(start(tmp_path))


def test_without_a_note_of_what_was_safe_a_crash_explains_everything(tmp_path: Path) -> None:
    """The server that crashed was not strict, and wrote none: the damage is mended or kept aside, and told."""
    channel = asyncio.run(crash(tmp_path, strict=False))
    flip(channel / "msgs.1.dat", 20)
    (channel / "msgs.1.idx").unlink()
    assert asyncio.run(start(tmp_path)) == [2, 3, 4, 5, 6]
    assert list(channel.glob("*.corrupt-1"))
