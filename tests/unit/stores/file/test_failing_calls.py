"""Every call to the file system fails once: what is applied again afterwards is there, and nothing else."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import ClientInfo
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
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.faulty_files import FaultyFiles, FileFault, Plan, nth

from .directory import CHANNEL, SERVER, payload, read_all, reopen, segment_of, subscription

OPTIONS = {"slice_max_msgs": 3, "compact_min_size": 0, "compact_frag": 40, "compact_interval_seconds": 1}
SYNC = None
BAR = b"bar"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable is known from the model of `FaultyFiles`."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def messages(first: int, last: int, name: bytes = CHANNEL) -> Messages:
    return Messages(name, segment_of(first, map(payload, range(first, last + 1)), channel=name), first, last)


HISTORY: list[list[Record] | None] = [
    [ServerPut(SERVER), ChannelCreated(CHANNEL), messages(1, 4)],
    [ClientPut(ClientInfo(b"one")), SubscriptionPut(CHANNEL, subscription(1)), Sent(CHANNEL, 1, [1, 2, 3])],
    SYNC,
    [messages(5, 8), Acked(CHANNEL, 1, [1, 3]), messages(1, 2, BAR)],
    [Trimmed(CHANNEL, 4), Deleted(CHANNEL, [6]), ClientRemoved(b"one"), ClientPut(ClientInfo(b"two"))],
    SYNC,
    [ChannelRemoved(BAR), messages(9, 10), SubscriptionPut(CHANNEL, subscription(2)), SubscriptionRemoved(CHANNEL, 2)],
    [ChannelCreated(BAR), messages(1, 1, BAR), Trimmed(CHANNEL, 7)],
    SYNC,
    [messages(11, 11), Sent(CHANNEL, 1, [11]), Acked(CHANNEL, 1, [2, 11])],
    SYNC,
]


def copied(records: list[Record]) -> list[Record]:
    """As they come out of a journal."""
    return decode_batch(encode_batch(records))


def model() -> StoreState:
    state = StoreState()
    for records in HISTORY:
        if records is not SYNC:
            state.apply(copied(records))
    return state


class Run:
    """A store that applies the history, and what failed again, as the store above it does."""

    def __init__(self, directory: Path, plan: Plan | None) -> None:
        self.files = FaultyFiles(directory, plan)
        self.options = FileOptions(directory=str(directory), **OPTIONS)  # type: ignore[arg-type]
        self.failures = 0
        self.root = self.open()

    def open(self) -> RootFiles:
        while True:
            root = None
            try:
                root = RootFiles(self.options.directory, self.options, self.files)
                root.recover()
            except StoreError:
                self.failures += 1
                if root is not None:
                    root.close()
            else:
                return root

    def apply(self) -> None:
        since: list[list[Record]] = []
        for records in HISTORY:
            if records is not SYNC:
                since.append(records)
                self.attempt([records], sync=False, since=since)
            else:
                self.attempt([], sync=True, since=since)
                since = []

    def attempt(self, batches: list[list[Record]], *, sync: bool, since: list[list[Record]]) -> None:
        try:
            self.hand_over(batches, sync)
        except StoreError:
            self.failures += 1
            while True:
                try:
                    self.hand_over(since, True)
                except StoreError:
                    self.failures += 1
                else:
                    return

    def hand_over(self, batches: list[list[Record]], sync: bool) -> None:
        for records in batches:
            self.root.apply(copied(records))
        self.root.flush()
        if sync:
            self.root.sync()


def check(directory: Path) -> None:
    wanted = model()
    with reopen(directory) as opened:
        assert opened.errors == []
        assert opened.state.server == wanted.server
        assert opened.state.clients == wanted.clients
        assert set(opened.state.channels) == set(wanted.channels)
        for name, channel in wanted.channels.items():
            found = opened.state.channels[name]
            assert (found.first, found.last) == (channel.first, channel.last)
            assert (found.count, found.size) == (channel.count, channel.size)
            assert found.subscriptions == channel.subscriptions
            files = opened.root.channel(name)
            assert files is not None
            kept = {
                sequence: message
                for segment in channel.segments
                for sequence, _, message in segment.messages(channel.first, channel.last)
            }
            assert read_all(files) == kept


def calls(tmp_path: Path) -> int:
    run = Run(tmp_path / "count", None)
    run.apply()
    run.root.close()
    check(tmp_path / "count")
    return run.files.count


FAULTS = {
    "EIO": FileFault(errno.EIO),
    "ENOSPC": FileFault(errno.ENOSPC),
    "ENOSPC after 5 bytes": FileFault(errno.ENOSPC, written=5),
    "5 bytes": FileFault(written=5),
}


def numbers(count: int, part: int) -> Iterator[int]:
    yield from range(1 + part, count + 1, 4)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_call_fails_once(tmp_path: Path, fault: str, part: int) -> None:
    count = calls(tmp_path)
    assert count > 100
    for number in numbers(count, part):
        directory = tmp_path / str(number)
        directory.mkdir()
        run = Run(directory, nth(number, FAULTS[fault]))
        run.apply()
        try:
            run.root.close()
        except StoreError:
            run.failures += 1
        assert FAULTS[fault].code == 0 or run.failures <= 1
        check(directory)


@pytest.mark.parametrize("seed", range(12))
def test_after_any_failure_a_good_sync_survives_the_loss_of_power(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    def plan(_count: int, _operation: str, _path: str) -> FileFault | None:
        return rng.choice(list(FAULTS.values())) if rng.random() < 0.05 else None

    directory = tmp_path / "store"
    directory.mkdir()
    run = Run(directory, plan)
    run.apply()
    lost = tmp_path / "lost"
    run.files.materialise(lost, rng, loses=1.0)
    check(lost)
