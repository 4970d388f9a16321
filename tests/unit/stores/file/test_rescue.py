"""A journal that a Go server has passed over: nothing that either server has acknowledged is lost.

The Go server is played by the files layer, which knows no journal either; tests/interop has the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.batch import (
    Acked,
    ChannelRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    ServerPut,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)
from nats_streaming.stores.file.inspection import inspect_store
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.file.store import FileStore
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.faulty_files import POWER_LOSS, FaultyFiles, PowerLossError, nth

from .directory import CHANNEL, SERVER, QuickFiles, data_of, open_root, payload, read_all, segment_of, subscription
from .directory import append as go_writes

WITNESS = ".truncate.lck"
Life = Callable[[RootFiles], None]


def ours(first: int, last: int) -> Record:
    return Messages(CHANNEL, segment_of(first, [b"ours %d" % each for each in range(first, last + 1)]), first, last)


def before(last: int) -> list[Record]:
    run = Messages(CHANNEL, segment_of(1, map(payload, range(1, last + 1))), 1, last)
    return [ServerPut(SERVER), run, SubscriptionPut(CHANNEL, durable(1, b"old"))]


def durable(number: int, name: bytes, **more: object) -> SubscriptionState:
    return subscription(number, durable_name=name, is_durable=True, **more)


async def crash(directory: Path, safe: list[Record], *journaled: list[Record]) -> None:
    """A run that ends without a close: `safe` is in the channel files, the rest in the journal only."""
    store = FileStore({"directory": str(directory)}, files=QuickFiles())
    await store.recover()
    store.stage(safe)
    await store.commit()
    await store.close()
    store = FileStore({"directory": str(directory)}, files=QuickFiles(), apply_delay_s=3600)
    await store.recover()
    for records in journaled:
        store.stage(records)
        await store.commit()
    store.abandon()


def go_opens(directory: Path, writes: Life) -> None:
    """What a Go server does with `.truncate.lck` and the channel files."""
    (directory / WITNESS).unlink()
    root = open_root(directory)
    state = root.recover()
    assert state is not None
    root.settle(state)
    writes(root)
    root.close()
    (directory / "sizes.stan").unlink()


async def recovered(directory: Path, check: Callable[[FileStore, StoreState], None]) -> dict[int, bytes]:
    """Start, look, stop; then start again and find the same. Returns the payloads."""
    contents = []
    for _ in range(2):
        store = FileStore({"directory": str(directory)}, files=QuickFiles())
        state = await store.recover()
        assert state is not None
        check(store, state)
        files = store._root.channel(CHANNEL)
        contents.append(data_of(read_all(files)) if files is not None else {})
        await store.close()
        assert not (directory / WITNESS).exists(), "the directory is whole"
    assert contents[0] == contents[1]
    return contents[0]


def nothing(_store: FileStore, _state: StoreState) -> None:
    return


def safe(count: int) -> dict[int, bytes]:
    return {sequence: payload(sequence) for sequence in range(1, count + 1)}


def test_the_witness_stands_from_the_start_to_the_clean_end(tmp_path: Path) -> None:
    asyncio.run(crash(tmp_path, before(2), [ours(3, 4)]))
    assert (tmp_path / WITNESS).read_bytes().startswith(b"journal")
    assert asyncio.run(recovered(tmp_path, nothing)) == safe(2) | {3: b"ours 3", 4: b"ours 4"}
    assert not list(tmp_path.glob("*set-aside"))


def test_a_witness_of_nothing_but_a_crash_is_in_nobodys_way(tmp_path: Path) -> None:
    """A server may cut bad ends off after a crash; one that has done so may not the next time."""

    async def body() -> None:
        await crash(tmp_path, before(2), [ours(3, 3)])
        for truncate in (True, False):
            store = FileStore({"directory": str(tmp_path), "truncate_bad_eof": truncate}, files=QuickFiles())
            state = await store.recover()
            assert state is not None
            assert state.channels[CHANNEL].last == 3
            assert list(tmp_path.glob("*set-aside")) == []
            store.abandon()

    asyncio.run(body())


def test_a_standby_that_was_there_before_the_active_one_began(tmp_path: Path) -> None:
    async def body() -> None:
        standby = FileStore({"directory": str(tmp_path)}, files=QuickFiles())
        await crash(tmp_path, before(2), [ours(3, 4), SubscriptionRemoved(CHANNEL, 1)])
        state = await standby.recover()
        assert state is not None
        assert (state.channels[CHANNEL].last, state.channels[CHANNEL].subscriptions) == (4, {})
        assert list(tmp_path.glob("*set-aside")) == []
        await standby.close()

    asyncio.run(body())


def test_sequences_that_both_have_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(crash(tmp_path, before(3), [ours(4, 5)], [ours(6, 6)]))
    go_opens(tmp_path, lambda root: go_writes(root.create_channel(CHANNEL), 4, 5))
    found = asyncio.run(recovered(tmp_path, nothing))
    assert found == safe(5) | {6: b"ours 4", 7: b"ours 5", 8: b"ours 6"}
    assert len(list(tmp_path.glob("journal.*.set-aside"))) == 1
    text = "from message 4 on another server has gone its own way: 3 messages that only the journal had are now 6 to 8"
    assert text in caplog.text
    assert "Go server has opened this directory" in caplog.text


def test_a_go_server_that_only_looked_leaves_the_sequences(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(crash(tmp_path, before(3), [ours(4, 6), Trimmed(CHANNEL, 2)], [Deleted(CHANNEL, [3])]))
    go_opens(tmp_path, lambda root: None)
    found = asyncio.run(recovered(tmp_path, nothing))
    assert found == {2: payload(2), 4: b"ours 4", 5: b"ours 5", 6: b"ours 6"}
    assert "3 messages that only the journal had are stored" in caplog.text


def test_holes_at_the_end_are_no_fork(tmp_path: Path) -> None:
    with_holes = Messages(CHANNEL, segment_of(1, [payload(1), payload(2), None, None]), 1, 4)
    asyncio.run(crash(tmp_path, [ServerPut(SERVER), with_holes], [ours(5, 6)]))
    go_opens(tmp_path, lambda root: None)
    assert asyncio.run(recovered(tmp_path, nothing)) == safe(2) | {5: b"ours 5", 6: b"ours 6"}


def test_what_was_in_the_files_already_is_not_stored_twice(tmp_path: Path) -> None:
    """The channel files had half of the journal when the crash came, and the Go server went on there."""
    asyncio.run(crash(tmp_path, before(3), [ours(4, 7)]))

    def go(root: RootFiles) -> None:
        root.apply([ours(4, 5)])
        go_writes(root.create_channel(CHANNEL), 6, 6)

    go_opens(tmp_path, go)
    found = asyncio.run(recovered(tmp_path, nothing))
    assert found == safe(3) | {4: b"ours 4", 5: b"ours 5", 6: payload(6), 7: b"ours 6", 8: b"ours 7"}


def test_a_go_server_that_went_on_behind_everything(tmp_path: Path) -> None:
    asyncio.run(crash(tmp_path, before(3), [ours(4, 5)]))

    def go(root: RootFiles) -> None:
        root.apply([ours(4, 5)])
        go_writes(root.create_channel(CHANNEL), 6, 8)

    go_opens(tmp_path, go)
    expected = safe(3) | {4: b"ours 4", 5: b"ours 5"} | {each: payload(each) for each in (6, 7, 8)}
    assert asyncio.run(recovered(tmp_path, nothing)) == expected


def test_a_channel_that_was_to_be_removed_and_is_in_use_again(tmp_path: Path) -> None:
    asyncio.run(crash(tmp_path, before(3), [ChannelRemoved(CHANNEL)], [ours(1, 2)]))
    go_opens(tmp_path, lambda root: go_writes(root.create_channel(CHANNEL), 4, 4))
    assert asyncio.run(recovered(tmp_path, nothing)) == safe(4) | {5: b"ours 1", 6: b"ours 2"}


def test_a_channel_that_the_go_server_has_removed_and_begun_anew(tmp_path: Path) -> None:
    asyncio.run(crash(tmp_path, before(9), [ours(10, 11), Trimmed(CHANNEL, 8)]))

    def go(root: RootFiles) -> None:
        root.remove_channel(CHANNEL)
        go_writes(root.create_channel(CHANNEL), 1, 3)

    go_opens(tmp_path, go)
    assert asyncio.run(recovered(tmp_path, nothing)) == safe(3) | {4: b"ours 10", 5: b"ours 11"}


def test_subscriptions_are_the_go_servers_and_durables_of_the_journal_come_to_them(tmp_path: Path) -> None:
    journaled: list[Record] = [
        ours(4, 6),
        Sent(CHANNEL, 1, [1, 2]),
        Acked(CHANNEL, 1, [1]),
        SubscriptionPut(CHANNEL, durable(2, b"new", last_sent=2)),
        Sent(CHANNEL, 2, [3, 4, 5]),
        Acked(CHANNEL, 2, [4]),
        SubscriptionPut(CHANNEL, subscription(3)),
        SubscriptionPut(CHANNEL, durable(4, b"", queue_group=b"q:g", inbox=b"a")),
        SubscriptionPut(CHANNEL, durable(5, b"", queue_group=b"q:g", inbox=b"b")),
        Sent(CHANNEL, 4, [1, 2]),
        Sent(CHANNEL, 5, [3]),
        SubscriptionPut(CHANNEL, durable(6, b"gone")),
        SubscriptionRemoved(CHANNEL, 6),
    ]
    asyncio.run(crash(tmp_path, before(3), journaled))

    def go(root: RootFiles) -> None:
        channel = root.create_channel(CHANNEL)
        go_writes(channel, 4, 4)
        channel.put_subscription(durable(2, b"of the Go server"))

    go_opens(tmp_path, go)

    def check(_store: FileStore, state: StoreState) -> None:
        subscriptions = state.channels[CHANNEL].subscriptions
        found = {
            (each.state.durable_name or each.state.queue_group): (number, each.state.last_sent, each.pending)
            for number, each in subscriptions.items()
        }
        assert found == {
            b"old": (1, 0, set()),
            b"of the Go server": (2, 0, set()),
            b"new": (7, 3, {3}),
            b"q:g": (8, 3, {1, 2, 3}),
        }
        group = subscriptions[8].state
        assert (group.client_id, group.is_closed) == (b"", False), "it stands for a group without members"
        assert subscriptions[7].state.is_closed

    asyncio.run(recovered(tmp_path, check))


@pytest.mark.parametrize("calls", range(1, 30))
def test_a_crash_of_the_rescue_changes_nothing(tmp_path: Path, calls: int) -> None:
    asyncio.run(crash(tmp_path, before(3), [ours(4, 5)], [ours(6, 6)]))
    go_opens(tmp_path, lambda root: go_writes(root.create_channel(CHANNEL), 4, 5))

    async def interrupted() -> None:
        store = FileStore({"directory": str(tmp_path)}, files=FaultyFiles(tmp_path, nth(calls, POWER_LOSS)))
        try:
            await store.recover()
        except PowerLossError:
            return
        finally:
            store.abandon()

    asyncio.run(interrupted())
    found = asyncio.run(recovered(tmp_path, nothing))
    assert found == safe(5) | {6: b"ours 4", 7: b"ours 5", 8: b"ours 6"}


def test_an_inspection_says_what_a_start_would_do_and_does_nothing(tmp_path: Path) -> None:
    asyncio.run(crash(tmp_path, before(3), [ours(4, 5)]))
    go_opens(tmp_path, lambda root: go_writes(root.create_channel(CHANNEL), 4, 4))
    before_it = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    inspection = inspect_store(str(tmp_path))
    assert [(channel.last, channel.messages) for channel in inspection.channels] == [(6, 6)]
    assert any("Go server has opened this directory" in finding.text for finding in inspection.findings)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".rootdir.lck"}
    assert after == before_it
