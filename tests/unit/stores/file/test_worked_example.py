"""The directory of the specification's worked example, written by us byte for byte, and read.

Source: stores specification, section 3.
"""

from __future__ import annotations

import struct
from pathlib import Path

from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.segment import Segment
from tests.support.stan_messages import MsgProto

from .directory import open_root, read_all, reopen

TIMESTAMPS = [struct.unpack("<q", bytes.fromhex(each))[0] for each in (
    "8db3c71aae87ea18", "2c2cb01cae87ea18", "4be8c81cae87ea18"
)]  # fmt: skip
INDEX = bytes.fromhex(
    "01000000"
    "0100000000000000 0400000000000000 8db3c71aae87ea18 16000000 3007ef34"
    "0200000000000000 2200000000000000 2c2cb01cae87ea18 16000000 47d7dd66"
    "0300000000000000 4000000000000000 4be8c81cae87ea18 18000000 e1c459ca"
)
DATA_BEGIN = bytes.fromhex("01000000 16000000 0a5dd046 0801 1203666f6f 22036f6e65 28 8de79ed6e1f5a1f518")
SECOND_HEADER, THIRD_HEADER = bytes.fromhex("16000000 a1797d25"), bytes.fromhex("18000000 1751e241")
PAIRS = bytes.fromhex(
    "04000005 03bff7d8 0801 100104000005 b9eefe41 0801 100204000004 03bff7d8 0801 100104000005 2fdef936 0801 1003"
)
REMOVAL = bytes.fromhex("02000003 61a807fe 0801")


def write(directory: Path) -> None:
    root = open_root(directory)
    assert root.recover() is None
    names = ("discover", "pub", "sub", "unsub", "close", "subclose", "ack")
    root.put_server(ServerInfo(b"ex", *(f"_STAN.{name}.ex".encode() for name in names)))
    root.put_client(ClientInfo(b"cli", b"_INBOX." + b"c" * 22, b"4" * 22, 1, 5, 3))
    foo = root.create_channel(b"foo")
    segment = Segment(1)
    for sequence, (data, timestamp_ns) in enumerate(zip((b"one", b"two", b"three"), TIMESTAMPS, strict=True), 1):
        message = MsgProto(sequence=sequence, subject=b"foo", data=data, timestamp=timestamp_ns)
        segment.append(message.SerializeToString(), timestamp_ns)
    foo.append(segment, 1, 3)
    foo.put_subscription(
        SubscriptionState(
            1, b"cli", b"", b"_INBOX." + b"8" * 22, b"_INBOX." + b"B" * 22, 2, 30, b"dur", is_durable=True
        )
    )
    foo.sent(1, [1, 2])
    foo.acked(1, [1])
    foo.sent(1, [3])
    bar = root.create_channel(b"foo.bar")
    empty = Segment(1)
    empty.append(MsgProto(sequence=1, subject=b"foo.bar", reply=b"r.1", timestamp=TIMESTAMPS[0]).SerializeToString(), 1)
    bar.append(empty, 1, 1)
    bar.put_subscription(SubscriptionState(1, b"cli", b"g", b"_INBOX.a", b"_INBOX.b", 2, 30))
    bar.sent(1, [1])
    bar.acked(1, [1])
    bar.remove_subscription(1)
    root.close()


def test_what_is_written(tmp_path: Path) -> None:
    write(tmp_path)
    server = (tmp_path / "server.dat").read_bytes()
    assert server[:12] == bytes.fromhex("01000000 74000000 5f3ff2ba")
    assert len(server) == 12 + 116
    clients = (tmp_path / "clients.dat").read_bytes()
    assert clients[:8] == bytes.fromhex("01000000 42000001")
    assert clients[12:17] == b"\x0a\x03cli"
    assert clients[-6:] == bytes.fromhex("2001 2805 3003")
    assert (tmp_path / "foo/msgs.1.idx").read_bytes() == INDEX
    data = (tmp_path / "foo/msgs.1.dat").read_bytes()
    assert data[:34] == DATA_BEGIN
    assert (data[34:42], data[64:72]) == (SECOND_HEADER, THIRD_HEADER)
    assert len(data) == 64 + 8 + 24
    subscriptions = (tmp_path / "foo/subs.dat").read_bytes()
    assert subscriptions[4:8] == bytes.fromhex("50000001")
    assert subscriptions[-len(PAIRS) :] == PAIRS
    assert len(subscriptions) == 4 + 8 + 80 + len(PAIRS)
    bar = (tmp_path / "foo.bar/msgs.1.dat").read_bytes()
    assert bar[4:8] == bytes.fromhex("1a000000")
    assert bar[12:28] == b"\x08\x01\x12\x07foo.bar\x1a\x03r.1"
    subscriptions = (tmp_path / "foo.bar/subs.dat").read_bytes()
    # The original writes the removal twice here; once is enough for both.
    assert subscriptions[-22:] == bytes.fromhex("04000004") + subscriptions[-18:-14] + b"\x08\x01\x10\x01" + REMOVAL
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".stan") == [
        "clients.dat", "foo", "foo.bar", "server.dat"
    ]  # fmt: skip


def test_what_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    with reopen(tmp_path) as opened:
        assert opened.texts == []
        foo, bar = opened.state.channels[b"foo"], opened.state.channels[b"foo.bar"]
        assert (foo.count, foo.size + 40 * foo.count) == (3, 188)
        assert (bar.count, bar.size + 40 * bar.count) == (1, 66)
        assert foo.subscriptions[1].pending == {2, 3}
        assert foo.subscriptions[1].state.last_sent == 3
        assert bar.subscriptions == {}
        assert bar.last_subscription_id == 1
        channel = opened.root.channel(b"foo")
        assert channel is not None
        assert [MsgProto.FromString(each).data for each in read_all(channel).values()] == [b"one", b"two", b"three"]
