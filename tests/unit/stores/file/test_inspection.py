"""Inspection: it says what a start then does, and leaves every byte and time of the directory alone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.stores.batch import ChannelCreated, Messages, Sent, ServerPut, SubscriptionPut
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.inspection import ChannelReport, Inspection, inspect_store
from nats_streaming.stores.file.overlay import ChangeKind
from nats_streaming.stores.file.root_lock import DirectoryInUseError
from nats_streaming.stores.file.store import FileStore

from .directory import CHANNEL, SERVER, SliceBytes, open_root, payload, reopen, segment_of, subscription

FIXTURES = Path(__file__).parents[3] / "fixtures"
GO, GO_ENCRYPTED = "go-filestore-v0.25.6", "go-filestore-encrypted-aes-v0.25.6"


def unpacked(name: str, to: Path) -> Path:
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
        archive.extractall(to, filter="data")
    return to / name


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


def inspected(directory: Path, **options: Any) -> Inspection:
    """Inspect, and hold that nothing was touched."""

    def everything() -> dict[str, tuple[bytes, int]]:
        paths = [path for path in directory.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}

    before = everything()
    found = inspect_store(str(directory), **options)
    assert everything() == before
    assert found.changed_meanwhile == []
    return found


def report(found: Inspection, name: bytes = CHANNEL) -> ChannelReport:
    (channel,) = (channel for channel in found.channels if channel.name == name)
    return channel


def texts(found: Inspection, severity: Severity = Severity.ERROR) -> str:
    return "\n".join(finding.text for finding in found.findings if finding.severity is severity)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Messages 1 to 9 in slices of four, as a clean stop leaves them, and a subscription that was sent 5."""
    directory = tmp_path / "store"
    with reopen(directory, slice_max_msgs=4) as opened:
        opened.channel.append(segment_of(1, map(payload, range(1, 10))), 1, 9)
        opened.channel.put_subscription(subscription(1, durable_name=b"d", is_durable=True))
        opened.channel.sent(1, [4, 5])
        opened.channel.acked(1, [4])
    return directory


def test_a_directory_of_the_go_server_is_sound(tmp_path: Path) -> None:
    found = inspected(unpacked(GO, tmp_path))
    assert found.is_sound
    assert (found.findings, found.changes, found.refusal) == ([], [], "")
    assert found.server is not None
    assert found.server.cluster_id == b"fixture"
    assert [client.id for client in found.clients] == [b"alice", b"bob", b"carol"]
    assert {channel.name: (channel.first, channel.last, channel.messages) for channel in found.channels} == {
        b"aged": (1, 3, 3), b"bytes.limited": (1, 4, 4), b"durables": (1, 6, 6), b"foo": (1, 10, 10),
        b"foo.bar.baz": (1, 3, 3), b"limited": (5, 12, 8), b"no.messages": (0, 0, 0), b"queue": (1, 8, 8),
    }  # fmt: skip
    assert [each.state.durable_name for each in report(found, b"durables").subscriptions] == [
        b"off-closed", b"off-disc", b"resumed",
    ]  # fmt: skip
    assert [each.pending for each in report(found, b"durables").subscriptions] == [3, 2, 4]


def test_our_own_directory_is_sound(store: Path) -> None:
    found = inspected(store)
    channel = report(found)
    assert found.is_sound
    assert (channel.first, channel.last, channel.messages, channel.damaged_count) == (1, 9, 9, 0)
    assert channel.last_ns - channel.first_ns == 8
    assert channel.file_bytes == sum(path.stat().st_size for path in (store / "foo").iterdir())
    (subscribed,) = channel.subscriptions
    assert (subscribed.state.last_sent, subscribed.pending) == (5, 1)
    # What the last stop noted is removed by every start.
    assert [(os.path.basename(change.path), change.kind) for change in found.changes] == [
        ("sizes.stan", ChangeKind.REMOVED)
    ]


def test_progress_is_told(store: Path) -> None:
    told: list[tuple[bytes, int, int]] = []
    inspect_store(str(store), on_progress=lambda *given: told.append(given))
    assert told[-1] == (CHANNEL, 9, 9)


def test_a_flipped_bit_that_recovery_does_not_see(store: Path) -> None:
    """Recovery trusts an index whose last entry is true; only reading finds the damage."""
    path = store / "foo" / "msgs.2.dat"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    found = inspected(store)
    channel = report(found)
    assert not found.is_sound
    assert found.findings == []
    assert channel.damaged_count == 1
    (damaged,) = channel.damaged
    assert (damaged.sequence, damaged.file, damaged.offset) == (5, str(path), 4)
    assert "expected crc" in damaged.reason
    assert channel.messages == 9


def test_a_flipped_bit_in_an_index_costs_nothing(store: Path) -> None:
    path = store / "foo" / "msgs.1.idx"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    found = inspected(store)
    assert report(found).messages == 9
    assert report(found).damaged_count == 0
    assert "Truncating and recovering from data file" in texts(found)


def test_a_torn_tail_says_what_a_start_then_does(store: Path) -> None:
    path = store / "foo" / "msgs.3.dat"
    path.write_bytes(path.read_bytes()[:-3])
    found = inspected(store)
    assert not found.is_sound
    assert "unexpected EOF" in found.refusal
    assert (report(found).last, report(found).messages) == (9, 8)
    promised = {change.path: (change.kind, change.size_after) for change in found.changes}
    assert promised[str(path)][0] is ChangeKind.CHANGED
    with reopen(store) as opened:
        assert (opened.stored.last, opened.stored.count) == (9, 8)
        assert opened.errors == [finding.text for finding in found.findings if finding.severity is Severity.ERROR]
        for changed, (kind, size) in promised.items():
            assert os.path.exists(changed) is (kind is not ChangeKind.REMOVED), changed
            if kind is not ChangeKind.REMOVED:
                assert os.path.getsize(changed) == size, changed


def test_an_uncut_journal_is_replayed(tmp_path: Path) -> None:
    async def crash() -> None:
        store = FileStore({"directory": str(tmp_path)}, apply_delay_s=60)
        await store.recover()
        store.stage([ServerPut(SERVER), ChannelCreated(CHANNEL), SubscriptionPut(CHANNEL, subscription(1))])
        await store.commit()
        store.stage([Messages(CHANNEL, segment_of(1, map(payload, range(1, 4))), 1, 3), Sent(CHANNEL, 1, [1])])
        await store.commit()
        store.abandon()

    asyncio.run(crash())
    found = inspected(tmp_path)
    assert found.is_sound
    assert found.journal_batches == 2
    assert found.server == SERVER
    assert (report(found).messages, report(found).subscriptions[0].pending) == (3, 1)
    kinds = {os.path.relpath(change.path, tmp_path): change.kind for change in found.changes}
    assert kinds["journal.1.stan"] is ChangeKind.REMOVED
    assert kinds["foo/msgs.1.dat"] is ChangeKind.CREATED


def test_an_unfinished_commit_is_told_and_no_damage(tmp_path: Path) -> None:
    async def crash() -> None:
        store = FileStore({"directory": str(tmp_path)}, apply_delay_s=60)
        await store.recover()
        for number in (1, 2):
            store.stage([Messages(CHANNEL, segment_of(number, [payload(number)]), number, number)])
            await store.commit()
        store.abandon()

    asyncio.run(crash())
    journal = tmp_path / "journal.1.stan"
    journal.write_bytes(journal.read_bytes().rstrip(b"\0")[:-4])
    found = inspected(tmp_path)
    assert found.is_sound
    assert found.journal_batches == 1
    assert "dropped an unfinished commit" in texts(found, Severity.WARNING)
    assert report(found).last == 1


def test_messages_lost_at_the_end_show_in_the_subscriptions(tmp_path: Path) -> None:
    SliceBytes().add(1).add(2).write(tmp_path)
    with reopen(tmp_path) as opened:
        opened.channel.put_subscription(subscription(1, last_sent=5))
    os.unlink(tmp_path / "sizes.stan")
    found = inspected(tmp_path)
    assert not found.is_sound
    assert "was sent message 5, and the channel ends at 2" in texts(found)


@pytest.mark.parametrize(("key", "decrypted", "damaged"), [(None, 0, 0), (b"fixture-secret-key", 6, 1), (b"x", 0, 7)])
def test_encrypted_messages(tmp_path: Path, key: bytes | None, decrypted: int, damaged: int) -> None:
    """Message 3 of `mixed` is clear text that begins as an encrypted one does: no server can give it back."""
    assert manifest(GO_ENCRYPTED)["encryption_key"] == "fixture-secret-key"
    found = inspected(unpacked(GO_ENCRYPTED, tmp_path), master=hashlib.sha256(key).digest() if key else None)
    assert sum(channel.encrypted for channel in found.channels) == 7
    assert sum(channel.decrypted for channel in found.channels) == decrypted
    assert sum(channel.damaged_count for channel in found.channels) == damaged
    assert found.is_sound is (damaged == 0)


def test_a_directory_in_use_is_left_alone(store: Path) -> None:
    root = open_root(store)
    assert root.try_lock()
    with pytest.raises(DirectoryInUseError, match="in use"):
        inspect_store(str(store))
    root.close()
    assert inspect_store(str(store)).is_sound


@pytest.mark.parametrize(
    ("below", "match"),
    [
        ("nothing", "does not exist: name the directory"),
        ("store/server.dat", "is a file"),
        ("store/foo", "is one channel of a FILE store: name the directory above"),
        ("", "holds no FILE store"),
    ],
)
def test_other_directories_are_refused(store: Path, below: str, match: str) -> None:
    (store.parent / "elsewhere").mkdir()
    place = store.parent / (below or "elsewhere")
    with pytest.raises(StoreError, match=match):
        inspect_store(str(place))


def test_a_channel_that_cannot_be_read_is_no_obstacle(store: Path) -> None:
    directory = store / "bar"
    directory.mkdir()
    (directory / "subs.dat").mkdir()
    found = inspected(store)
    assert not found.is_sound
    assert 'Channel "bar" cannot be used' in texts(found)
    assert report(found).messages == 9
