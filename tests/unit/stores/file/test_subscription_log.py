"""Subscriptions and clients: what is written, what is read back, when a file is written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, encode
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.testing.fake_clock import FakeClock

from .directory import CHANNEL, QuickFiles, open_root, record, reopen, subscription


def kinds(path: Path) -> list[int]:
    """The types of a file's records."""
    content, found = path.read_bytes()[4:], []
    while content:
        found.append(content[3])
        content = content[8 + int.from_bytes(content[:3], "little") :]
    return found


def pending(directory: Path) -> dict[int, tuple[int, set[int]]]:
    with reopen(directory) as opened:
        assert opened.texts == []
        return {each: (sub.state.last_sent, sub.pending) for each, sub in opened.stored.subscriptions.items()}


@pytest.mark.store_spec(18, 19)
def test_only_what_is_not_acked_is_pending_and_the_highest_is_last(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        channel = opened.channel
        channel.put_subscription(subscription(1))
        channel.put_subscription(subscription(2))
        channel.sent(1, [1, 5, 2])
        channel.sent(1, [2])
        channel.acked(1, [5, 1])
        channel.acked(1, [5, 77])
        channel.sent(2, [3])
        channel.acked(2, [3])
    assert kinds(tmp_path / "foo/subs.dat") == [1, 1, 5, 5, 5, 4, 4, 5, 4]
    assert pending(tmp_path) == {1: (5, {2}), 2: (3, set())}


@pytest.mark.store_spec(20)
def test_a_changed_subscription_keeps_what_is_pending_and_its_last_sent_may_go_down(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        channel = opened.channel
        channel.put_subscription(subscription(1))
        channel.sent(1, [1, 2])
        channel.put_subscription(subscription(1, is_closed=True, last_sent=1))
        channel.put_subscription(subscription(1, is_closed=True, last_sent=1))
    assert kinds(tmp_path / "foo/subs.dat") == [1, 5, 5, 2]
    assert pending(tmp_path) == {1: (1, {1, 2})}


def test_the_callers_state_is_not_kept(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        state = subscription(1)
        opened.channel.put_subscription(state)
        opened.channel.sent(1, [4])
        assert state.last_sent == 0
        state.inbox = b"changed"
        opened.channel.put_subscription(subscription(1, last_sent=4))
    assert kinds(tmp_path / "foo/subs.dat") == [1, 5]


@pytest.mark.store_spec(18)
def test_what_names_an_unknown_subscription_is_ignored(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        opened.channel.sent(9, [1])
        opened.channel.acked(9, [1])
        opened.channel.remove_subscription(9)
    assert kinds(tmp_path / "foo/subs.dat") == []


@pytest.mark.store_spec(20, 21)
def test_a_change_without_a_beginning_is_recovered_and_traces_of_the_unknown_are_not(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        assert opened.channel.name == CHANNEL
    path = tmp_path / "foo/subs.dat"
    removal, trace = record(b"\x08\x03", 3), b"\x08\x03\x10\x05"
    path.write_bytes(
        path.read_bytes() + record(trace, 5) + record(encode(subscription(2)), 2) + record(trace, 4) + removal
    )
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        assert set(opened.stored.subscriptions) == {2}
        assert opened.stored.last_subscription_id == 3


@pytest.mark.store_spec(17)
@pytest.mark.parametrize("compact", [False, True])
def test_an_id_is_never_used_again(tmp_path: Path, compact: bool) -> None:
    options: dict[str, Any] = {"compact_min_size": 0, "compact_frag": 1} if compact else {"compact_enabled": False}
    with reopen(tmp_path, **options) as opened:
        for subscription_id in (1, 2, 3):
            opened.channel.put_subscription(subscription(subscription_id))
        opened.channel.remove_subscription(2)
        opened.channel.remove_subscription(3)
        assert opened.channel.highest_subscription_id == 3
    (tmp_path / "sizes.stan").unlink()
    with reopen(tmp_path) as opened:
        assert opened.stored.last_subscription_id == 3
        assert set(opened.stored.subscriptions) == {1}


class Store:
    """A root with a clock that is turned by hand."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.clock = FakeClock()
        given = FileOptions(directory=str(directory), sync=False, **options)
        self.root = RootFiles(str(directory), given, QuickFiles(), clock=self.clock)
        if self.root.recover() is None:
            self.root.put_server(ServerInfo(b"test"))
        self.channel = self.root.create_channel(CHANNEL)
        self.file = directory / "foo/subs.dat"
        self.clients = directory / "clients.dat"

    def kinds(self) -> list[int]:
        self.channel.flush()
        return kinds(self.file)


@pytest.mark.store_spec(54)
def test_the_file_is_written_anew_when_half_of_it_is_void(tmp_path: Path) -> None:
    store = Store(tmp_path, compact_min_size=0)
    channel = store.channel
    channel.put_subscription(subscription(1))
    channel.sent(1, [1, 2, 3, 4])
    channel.acked(1, [4])  # 1 of 5
    channel.acked(1, [2])  # 2 of 5
    assert store.kinds() == [1, 5, 5, 5, 5, 4, 4]
    channel.acked(1, [3])  # 3 of 5
    assert store.kinds() == [1, 5]
    # Then not before the interval has passed.
    channel.sent(1, [5, 6])
    channel.acked(1, [5, 6])
    assert store.kinds() == [1, 5, 5, 5, 4, 4]
    store.clock.advance(300 * NS_PER_SECOND - 1)
    channel.sent(1, [7])
    channel.acked(1, [7])
    assert len(store.kinds()) == 8
    store.clock.advance(1)
    channel.acked(1, [1])
    assert store.kinds() == [1]
    store.root.close()
    assert pending(tmp_path) == {1: (7, set())}


@pytest.mark.store_spec(54)
def test_a_removed_subscription_frees_what_it_had_pending(tmp_path: Path) -> None:
    store = Store(tmp_path, compact_min_size=0)
    channel = store.channel
    for subscription_id in (1, 2):
        channel.put_subscription(subscription(subscription_id))
    channel.sent(1, [1])
    channel.sent(2, [1])
    channel.remove_subscription(2)  # 2 of 4
    assert store.kinds() == [1, 5, 3]
    store.root.close()
    assert pending(tmp_path) == {1: (1, {1})}


@pytest.mark.store_spec(54)
def test_a_change_frees_a_record(tmp_path: Path) -> None:
    store = Store(tmp_path, compact_min_size=0, compact_frag=60)
    channel = store.channel
    channel.put_subscription(subscription(1))
    for last_sent in (1, 2, 3):
        channel.put_subscription(subscription(1, last_sent=last_sent))
    channel.sent(1, [4])
    assert store.kinds() == [1, 2, 2, 2, 5]  # checked with removals and acks only
    channel.acked(1, [4])  # 4 of 5
    assert store.kinds() == [1]
    store.root.close()


@pytest.mark.store_spec(54)
@pytest.mark.parametrize("options", [{"compact_enabled": False, "compact_min_size": 0}, {"compact_min_size": 200}])
def test_a_file_that_may_not_or_is_not_worth_it_is_left_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    store = Store(tmp_path, **options)
    store.channel.put_subscription(subscription(1))
    for sequence in (1, 2, 3):
        store.channel.sent(1, [sequence])
        store.channel.acked(1, [sequence])
    assert store.kinds() == [1, 5, 4, 5, 4, 5, 4]
    store.root.close()


@pytest.mark.store_spec(54)
@pytest.mark.parametrize(("more", "wanted"), [(0, [1]), (1, [1, 5, 4])])
def test_the_smallest_size_counts_what_was_recovered_and_not_the_header(
    tmp_path: Path, more: int, wanted: list[int]
) -> None:
    store = Store(tmp_path)
    store.channel.put_subscription(subscription(1))
    store.channel.sent(1, [1])
    store.root.close()
    size = store.file.stat().st_size - 4 + 12  # with the ack
    again = Store(tmp_path, compact_min_size=size + more)
    again.channel.acked(1, [1])
    assert again.kinds() == wanted
    again.root.close()


# Clients.


@pytest.mark.store_spec(22)
def test_the_registered_clients_are_recovered_and_no_others(tmp_path: Path) -> None:
    one = ClientInfo(b"one", b"_INBOX.1", b"c1", 1, 5, 3)
    with reopen(tmp_path) as opened:
        root = opened.root
        root.remove_client(b"unknown")
        root.put_client(one)
        root.put_client(one)
        root.put_client(ClientInfo(b"two", b"_INBOX.2"))
        root.put_client(ClientInfo(b"two", b"_INBOX.2b"))
        root.put_client(ClientInfo(b"three", b"_INBOX.3"))
        root.remove_client(b"three")
        assert kinds(tmp_path / "clients.dat") == [1, 1, 1, 1, 2]  # written at once
    with reopen(tmp_path) as opened:
        assert opened.state.clients == {b"one": one, b"two": ClientInfo(b"two", b"_INBOX.2b")}


@pytest.mark.store_spec(54)
def test_the_clients_are_written_anew_when_half_of_the_records_are_void(tmp_path: Path) -> None:
    store = Store(tmp_path, compact_min_size=0)
    for name in (b"a", b"b", b"c"):
        store.root.put_client(ClientInfo(name))
    store.root.remove_client(b"a")  # 1 of 3
    assert kinds(store.clients) == [1, 1, 1, 2]
    store.root.remove_client(b"b")  # 2 of 3
    assert kinds(store.clients) == [1]
    store.root.put_client(ClientInfo(b"d"))
    store.root.remove_client(b"d")
    store.root.remove_client(b"c")
    assert kinds(store.clients) == [1, 1, 2, 2]
    store.root.close()


@pytest.mark.store_spec(23)
def test_the_server_is_what_was_put_last(tmp_path: Path) -> None:
    root = open_root(tmp_path)
    assert root.recover() is None
    root.put_server(ServerInfo(b"one"))
    root.put_server(ServerInfo(b"two", node_id=b"n"))
    root.close()
    with reopen(tmp_path) as opened:
        assert opened.state.server == ServerInfo(b"two", node_id=b"n")
    assert len((tmp_path / "server.dat").read_bytes()) == 12 + 8


@pytest.mark.parametrize("damaged_at", [None, 500, 1203, 3000])
def test_a_large_file_is_read_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged_at: int | None
) -> None:
    def recovered() -> tuple[dict[int, set[int]], list[str]]:
        with reopen(tmp_path, compact_enabled=False) as opened:
            subscriptions = opened.stored.subscriptions
            return {number: each.pending for number, each in subscriptions.items()}, opened.errors

    with reopen(tmp_path, compact_enabled=False) as opened:
        opened.channel.put_subscription(subscription(1))
        opened.channel.put_subscription(subscription(2, inbox=b"x" * 700))
        for first in range(1, 300, 3):
            opened.channel.sent(1, [first, first + 1, first + 2])
            opened.channel.acked(1, [first])
    path = tmp_path / "foo/subs.dat"
    content = bytearray(path.read_bytes())
    if damaged_at is not None:
        content[damaged_at] ^= 1
    damaged = bytes(content)
    path.write_bytes(damaged)
    whole = recovered()
    for left in (tmp_path / "foo").glob("*.corrupt-*"):
        left.unlink()
    path.write_bytes(damaged)
    monkeypatch.setattr("nats_streaming.stores.file.typed_recovery._WINDOW_BYTES", 64)
    monkeypatch.setattr("nats_streaming.stores.file.typed_recovery._SEARCH_BYTES", 512)
    in_parts = recovered()
    assert (in_parts[0], len(in_parts[1])) == (whole[0], len(whole[1]))
    assert len(whole[1]) == (damaged_at is not None)
