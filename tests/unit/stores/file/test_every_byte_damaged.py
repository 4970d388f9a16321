"""A small store, cut at every byte, a bit flipped in every byte: recovered or reported, never wrong in silence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nats_streaming.protocol.control_messages import ClientInfo
from nats_streaming.stores.file.findings import CorruptMessageError, Severity
from nats_streaming.stores.state import StoredSubscription

from .directory import SERVER, Opened, append, read_all, reopen, subscription

OTHER = b"other"


def build(directory: Path) -> None:
    with reopen(directory, slice_max_msgs=4) as opened:
        opened.root.put_client(ClientInfo(id=b"me", heartbeat_inbox=b"_INBOX.hb", connection_id=b"c"))
        opened.root.put_client(ClientInfo(id=b"gone", heartbeat_inbox=b"_INBOX.hb2"))
        opened.root.remove_client(b"gone")
        channel = opened.channel
        append(channel, 1, 7)
        channel.drop_until(3)
        channel.delete([5])
        channel.put_subscription(subscription(1, durable_name=b"dur", is_durable=True))
        channel.sent(1, [1, 2, 3])
        channel.acked(1, [2])
        channel.put_subscription(subscription(2))
        channel.remove_subscription(2)
        channel.put_subscription(subscription(1, durable_name=b"dur", is_durable=True, last_sent=3, is_closed=True))
        append(opened.root.create_channel(OTHER), 1, 2, name=OTHER)


class Content:
    """What a directory gives back, and whether it said that something is wrong."""

    def __init__(self, opened: Opened) -> None:
        self.reported = any(finding.severity is not Severity.INFO for finding in opened.root.findings)
        self.noticed = bool(opened.root.findings)
        self.server = opened.state.server
        self.clients = opened.state.clients
        self.channels = set(opened.state.channels)
        channel = opened.channel
        self.first, self.last = channel.first_sequence, channel.last_sequence
        self.messages = read_past_damage(opened)
        self.other = read_all(opened.root.create_channel(OTHER))
        self.subscriptions: dict[int, StoredSubscription] = opened.stored.subscriptions
        self.highest_id = opened.stored.last_subscription_id


def read_past_damage(opened: Opened) -> dict[int, bytes]:
    """As the store reads: a damaged message is set aside, and reading goes on."""
    channel = opened.channel
    while True:
        try:
            return read_all(channel)
        except CorruptMessageError as error:
            opened.root.findings.append(channel.set_aside(error.sequence))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sound")
    build(directory)
    return directory


@pytest.fixture(scope="module")
def expected(sound: Path) -> Content:
    with reopen(sound) as opened:
        content = Content(opened)
    assert not content.noticed
    assert set(content.messages) == {3, 4, 6, 7}
    return content


FILES = [
    "server.dat",
    "clients.dat",
    "foo/msgs.1.dat",
    "foo/msgs.1.idx",
    "foo/msgs.2.dat",
    "foo/msgs.2.idx",
    "foo/subs.dat",
    "foo/removed.stan",
]


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    for size in range(len(content)):
        yield f"cut at {size}", content[:size]
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at * 5 % 8
        yield f"bit {at * 5 % 8} of byte {at}", bytes(flipped)


def judge(found: Content, expected: Content, where: str) -> None:
    assert found.channels == expected.channels, where
    assert found.other == expected.other, where
    # What is given back is what was stored.
    for sequence, message in found.messages.items():
        assert sequence in range(1, 8), where
        assert message == expected.messages.get(sequence, message), where
    if not found.reported:
        assert found.messages == expected.messages, where
        assert (found.first, found.last) == (expected.first, expected.last), where
        assert found.server == expected.server, where
        assert found.clients == expected.clients, where
        assert found.highest_id == expected.highest_id, where
    if not found.noticed:
        assert found.subscriptions == expected.subscriptions, where


@pytest.mark.parametrize("name", FILES)
def test_damage_is_recovered_or_reported(sound: Path, expected: Content, tmp_path: Path, name: str) -> None:
    content = (sound / name).read_bytes()
    for number, (damage, damaged) in enumerate(damages(content)):
        directory = tmp_path / str(number)
        shutil.copytree(sound, directory, copy_function=shutil.copyfile)
        (directory / name).write_bytes(damaged)
        where = f"{name}, {damage}"
        with reopen(directory) as opened:
            found = Content(opened)
            found.reported = any(each.severity is not Severity.INFO for each in opened.root.findings)
            found.noticed = bool(opened.root.findings)
            if found.server is None:
                opened.root.put_server(SERVER)
        judge(found, expected, where)
        # It is mended: the next start has nothing to say and finds the same.
        with reopen(directory) as opened:
            again = Content(opened)
            assert [each for each in opened.root.findings if each.severity is not Severity.INFO] == [], where
        assert again.messages == found.messages, where
        assert again.subscriptions == found.subscriptions, where
        assert (again.first, again.last) == (found.first, found.last), where
        shutil.rmtree(directory)
