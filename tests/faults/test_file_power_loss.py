"""The FILE store loses its power again and again, at random moments: what a commit had confirmed is there.

The file system is `FaultyFiles`: what was not synced is there, or not, or torn. Each seed is a history of
several lives of one directory. `--long` runs more of them. With `sync` off the same test must find losses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from pathlib import Path

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.stores.batch import Deleted, Messages, Record, decode_batch, encode_batch
from nats_streaming.stores.file.bypass import BYPASS_BYTES
from nats_streaming.stores.file.store import FileStore
from nats_streaming.stores.state import StoreState
from nats_streaming.testing.faulty_files import IO_ERROR, POWER_LOSS, FaultyFiles, FileFault, PowerLossError
from nats_streaming.testing.store_suite import Contents, History, compare_states, contents_of

LIVES = 4
_PATIENCE_S = 20.0


class Lost(AssertionError):
    """Something that had been confirmed is not there, or not as it was."""


def histories(config: pytest.Config) -> int:
    return 200 if config.getoption("--long") else 20


class Ledger:
    """All that was confirmed, as encoded batches, and the one of which nobody knows."""

    def __init__(self) -> None:
        self.confirmed: list[bytes] = []
        self.in_doubt: list[bytes] = []

    def state(self, *more: bytes) -> StoreState:
        state = StoreState()
        for encoded in (*self.confirmed, *more):
            state.apply(decode_batch(encoded))
        return state

    async def settle(self, store: FileStore, recovered: StoreState | None) -> StoreState:
        """Compare with what was recovered; whatever was in doubt is decided now."""
        failures: list[str] = []
        parts = [part for batch in self.in_doubt if (part := await part_of(store, recovered, batch)) is not None]
        for more in ([], *([batch] for batch in (*self.in_doubt, *parts))):
            wanted = self.state(*more)
            try:
                compare(recovered or StoreState(), wanted)
                await compare_messages(store, wanted)
            except AssertionError as error:
                failures.append(str(error))
                continue
            self.confirmed += more
            self.in_doubt = []
            return wanted
        raise Lost(" / ".join(failures))


async def part_of(store: FileStore, recovered: StoreState | None, batch: bytes) -> bytes | None:
    """What there may be of the messages of a large batch that nobody had confirmed; None if there are none."""
    part: list[Record] = []
    for record in decode_batch(batch):
        channel = recovered.channels.get(record.channel) if recovered and isinstance(record, Messages) else None
        if channel is None or not isinstance(record, Messages) or channel.last < record.first:
            continue
        last = min(record.last, channel.last)
        found = await read(store, record.channel, record.first, last)
        part.append(Messages(record.channel, record.segment, record.first, last))
        missing = contents_of(record.segment, record.first, last).keys() - found.keys()
        if missing:
            part.append(Deleted(record.channel, sorted(missing)))
    return encode_batch(part) if part else None


async def read(store: FileStore, name: bytes, first: int, last: int) -> Contents:
    found: Contents = {}
    sequence = first
    while sequence <= last:
        part = await store.read(name, sequence, 100)
        if part is None:
            break
        found.update(contents_of(part, sequence, last))
        sequence = part.base + len(part)
    return found


def compare(found: StoreState, wanted: StoreState) -> None:
    """As `compare_states`, saying what differs."""
    for name, channel in wanted.channels.items():
        other = found.channels.get(name)
        assert other is not None, f"channel {name!r} is missing"
        totals = (channel.last, channel.count, channel.size)
        assert (other.last, other.count, other.size) == totals, (
            f"channel {name!r}: {(other.last, other.count, other.size)} instead of {totals}"
        )
        for number, subscription in channel.subscriptions.items():
            assert other.subscriptions.get(number) == subscription, (
                f"channel {name!r}: {other.subscriptions.get(number)} instead of {subscription}"
            )
    compare_states(found, wanted)


async def compare_messages(store: FileStore, wanted: StoreState) -> None:
    for name, channel in wanted.channels.items():
        contents: Contents = {}
        for segment in channel.segments:
            contents.update(contents_of(segment, channel.first, channel.last))
        found = await read(store, name, max(channel.first, 1), channel.last)
        if found != contents:
            missing = sorted(contents.keys() - found.keys())
            others = sorted(key for key, value in found.items() if contents.get(key) != value)
            raise AssertionError(f"channel {name!r}: messages {missing[:9]} are missing, {others[:9]} are others")


def settings(directory: Path, *, sync: bool, strict: bool = False) -> dict[str, object]:
    return {
        "directory": str(directory),
        "sync": sync,
        "strict": strict,
        "compact_min_size": 2000,
        "compact_interval_seconds": 1,
    }


async def live(store: FileStore, files: FaultyFiles, history: History, ledger: Ledger, rng: random.Random) -> None:
    """Commit until the power goes."""
    for _ in range(400):
        batch: list[Record] = [record for _ in range(rng.randrange(1, 6)) for record in history.step()]
        encoded = encode_batch(batch)
        store.stage(decode_batch(encoded))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await store.commit()
        except StoreError:
            # Void, unless nothing is committed after it any more.
            ledger.in_doubt.append(encoded)
            roll_back(history, ledger.state())
        except PowerLossError:
            ledger.in_doubt.append(encoded)
            return
        else:
            ledger.confirmed.append(encoded)
            ledger.in_doubt = []
        if files.dead:
            return
        if rng.random() < 0.2:
            await asyncio.sleep(0.002)


def roll_back(history: History, state: StoreState) -> None:
    history.last = {name: channel.last for name, channel in state.channels.items() if channel.last}
    history.subscriptions = {
        name: list(range(1, channel.last_subscription_id + 1))
        for name, channel in state.channels.items()
        if channel.last_subscription_id
    }


async def run_history(
    tmp_path: Path,
    seed: int,
    *,
    sync: bool = True,
    strict: bool = False,
    failing_syncs: float = 0.0,
    bypass_bytes: int = BYPASS_BYTES,
) -> int:
    """Several lives; returns how many power losses there were."""
    rng = random.Random(seed)
    ledger = Ledger()
    history = History(rng)
    directory = tmp_path / "0"
    directory.mkdir(parents=True)
    losses = 0
    for life in range(1, LIVES + 1):
        files = FaultyFiles(directory)
        dies_at = rng.randrange(1, rng.choice([40, 400, 2000]))

        def plan(count: int, operation: str, _path: str, dies_at: int = dies_at) -> FileFault | None:
            if count >= dies_at:
                return POWER_LOSS
            return IO_ERROR if operation == "sync" and rng.random() < failing_syncs else None

        files.plan = plan
        store: FileStore | None = None
        try:
            try:
                store = FileStore(
                    settings(directory, sync=sync, strict=strict),
                    files=files,
                    checkpoint_bytes=30_000,
                    apply_delay_s=0.0,
                    bypass_bytes=bypass_bytes,
                )
                recovered = await store.recover()
            except StoreError as error:
                # It says so and does not start, which a power loss alone is no reason for.
                if sync and not failing_syncs:
                    raise Lost(f"refused to start: {error}") from error
            else:
                roll_back(history, await ledger.settle(store, recovered))
                await live(store, files, history, ledger, rng)
        except PowerLossError:
            pass
        finally:
            if store is not None:
                store.abandon()
        losses += 1
        directory = tmp_path / str(life)
        files.materialise(directory, rng)
    store = FileStore(settings(directory, sync=sync, strict=strict))
    try:
        await ledger.settle(store, await store.recover())
    finally:
        await store.close()
    return losses


@pytest.mark.parametrize("bypass_bytes", [BYPASS_BYTES, 1])
def test_what_was_confirmed_survives(
    bypass_bytes: int, tmp_path: Path, pytestconfig: pytest.Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    losses = 0
    for seed in range(histories(pytestconfig)):
        try:
            losses += asyncio.run(
                run_history(tmp_path / str(seed), seed, strict=seed % 2 == 1, bypass_bytes=bypass_bytes)
            )
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    print(f"{losses} power losses survived")  # noqa: T201


@pytest.mark.parametrize("bypass_bytes", [BYPASS_BYTES, 1])
def test_what_was_confirmed_survives_failing_syncs_too(
    bypass_bytes: int, tmp_path: Path, pytestconfig: pytest.Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in range(histories(pytestconfig) // 4):
        try:
            asyncio.run(run_history(tmp_path / str(seed), seed, failing_syncs=0.03, bypass_bytes=bypass_bytes))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_without_syncs_the_same_test_finds_losses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Proves that the test can fail, and what `file_sync: false` means."""
    caplog.set_level(logging.CRITICAL)
    found = 0
    for seed in range(10):
        with contextlib.suppress(StoreError):
            try:
                asyncio.run(run_history(tmp_path / str(seed), seed, sync=False))
            except Lost:
                found += 1
    assert found > 0
