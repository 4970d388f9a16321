"""Data directories travel between the original and us: Go -> ours -> Go -> ours, with the real Go server."""

from __future__ import annotations

import asyncio
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.stores.file.channel_files import ChannelFiles
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.findings import Severity
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState

from ..support import stan_messages as stan
from ..support.raw_client import Delivery, NatsClient, StanClient, StartPosition
from ..support.servers import ServerProcess, running_server
from .prepare import Program

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAMES = ("discover", "pub", "sub", "unsub", "close", "subclose", "ack")
COMPLAINTS = ("[ERR]", "[FTL]", "Error with index", "Corrupted", "panic")
SLICES = ("-file_slice_max_msgs", "4")


def server_info(cluster: str) -> ServerInfo:
    return ServerInfo(cluster.encode(), *(f"_STAN.{name}.{cluster}".encode() for name in NAMES))


@pytest.fixture
def go_server(prepared: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `running_server` start the original."""
    (executable,) = prepared("go-server").command
    monkeypatch.setenv("STAN_SERVER_UNDER_TEST", executable)


@contextmanager
def go_on(directory: Path, *arguments: str, cluster: str = "test-cluster") -> Iterator[ServerProcess]:
    """The Go server on a data directory, stopped as people stop it; it must have nothing to complain about."""
    store = ("-store", "FILE", "-dir", str(directory), "-cid", cluster, *SLICES)
    with running_server(*store, *arguments) as server:
        yield server
        server.stop(signal.SIGINT)
        log = server.log()
    assert not [line for line in log.splitlines() if any(each in line for each in COMPLAINTS)]


@contextmanager
def ours_on(directory: Path) -> Iterator[tuple[RootFiles, StoreState]]:
    """Our files layer on a data directory; it must have nothing to complain about either."""
    root = RootFiles(str(directory), FileOptions(directory=str(directory), slice_max_msgs=4), Files())
    state = root.recover()
    if state is None:
        state = StoreState(server=server_info("test-cluster"))
        assert state.server is not None
        root.put_server(state.server)
    root.settle(state)
    assert [each for each in root.findings if each.severity is not Severity.INFO] == []
    yield root, state
    root.close()


def timestamp_of(sequence: int) -> int:
    return 1_700_000_000_000_000_000 + sequence * 1_000_000_000


def append(channel: ChannelFiles, name: bytes, first: int, payloads: list[bytes]) -> None:
    segment = Segment(first)
    for sequence, data in enumerate(payloads, first):
        timestamp_ns = timestamp_of(sequence)
        message = stan.MsgProto(sequence=sequence, subject=name, data=data, timestamp=timestamp_ns)
        segment.append(message.SerializeToString(), timestamp_ns)
    channel.append(segment, first, first + len(payloads) - 1)


def messages_of(channel: ChannelFiles) -> dict[int, bytes]:
    """Payloads by sequence."""
    found: dict[int, bytes] = {}
    first = 1
    while (segment := channel.read(first, 1000)) is not None:
        stop = first + len(segment)
        for sequence, _, message in segment.messages(first, stop - 1):
            found[sequence] = stan.MsgProto.FromString(message).data
        first = stop
    return found


async def deliveries(server: ServerProcess, channel: str, count: int, **start: object) -> list[Delivery]:
    nats = await NatsClient.connect(server.port)
    client = await StanClient.connect(nats, "reader")
    subscription = await client.subscribe(channel, **{"start": StartPosition.FIRST, **start})  # type: ignore[arg-type]
    found = await subscription.take(count)
    await subscription.quiet(0.1)
    await client.close()
    await nats.close()
    return found


@pytest.mark.store_spec(34)
def test_a_directory_of_ours_goes_to_go_and_back(go_server: None, tmp_path: Path) -> None:
    directory = tmp_path / "store"
    payloads = {sequence: b"ours %d" % sequence for sequence in range(1, 11)}
    with ours_on(directory) as (root, _):
        foo = root.create_channel(b"foo")
        append(foo, b"foo", 1, list(payloads.values()))
        foo.drop_until(2)
        foo.delete([3, 6])
        append(foo, b"foo", 13, [b"behind a gap"])
        root.put_client(ClientInfo(b"cli", b"_INBOX.hb", b"conn", 1, 5, 3))
        state = SubscriptionState(
            id=1,
            client_id=b"cli",
            inbox=b"_INBOX.gone",
            ack_inbox=b"_INBOX.gone.ack",
            max_in_flight=5,
            ack_wait_seconds=30,
            durable_name=b"dur",
            is_durable=True,
            is_closed=True,
        )
        foo.put_subscription(state)
        foo.sent(1, [2, 4, 5, 7])
        foo.acked(1, [2, 5])
        root.create_channel(b"only.subscriptions").put_subscription(SubscriptionState(id=7, inbox=b"_INBOX.x"))
        bar = root.create_channel(b"bar.baz")
        append(bar, b"bar.baz", 100, [b"begins late", b""])

    async def visit() -> None:
        with go_on(directory) as server:
            found = await deliveries(server, "foo", 13)
            # The original knows nothing of what is gone: dropped messages are back, deleted ones are empty.
            seen = {each.sequence: each.data for each in found}
            assert seen == payloads | {1: b"ours 1", 3: b"", 6: b"", 11: b"", 12: b"", 13: b"behind a gap"}
            assert [each.sequence for each in await deliveries(server, "bar.baz", 2)] == [100, 101]
            nats = await NatsClient.connect(server.port)
            client = await StanClient.connect(nats, "writer")
            await client.publish_many("foo", [b"go 14", b"go 15"])
            await client.publish_many("new", [b"n"] * 6)
            await nats.close()

    asyncio.run(visit())
    gone = {1, 3, 6}
    with ours_on(directory) as (root, recovered):
        stored = recovered.channels[b"foo"]
        kept = {sequence: data for sequence, data in payloads.items() if sequence not in gone}
        kept |= {13: b"behind a gap", 14: b"go 14", 15: b"go 15"}
        assert (stored.first, stored.last, stored.count) == (2, 15, len(kept))
        channel = root.channel(b"foo")
        assert channel is not None
        assert messages_of(channel) == kept
        durable = stored.subscriptions[1]
        assert durable.pending == {4, 7}
        assert (durable.state.last_sent, durable.state.is_closed) == (7, True)
        assert recovered.channels[b"new"].count == 6
        assert b"cli" in recovered.clients
        append(channel, b"foo", 16, [b"ours 16"])
        channel.delete([14])

    async def visit_again() -> None:
        with go_on(directory) as server:
            found = {each.sequence: each.data for each in await deliveries(server, "foo", 16)}
            assert (found[14], found[15], found[16]) == (b"", b"go 15", b"ours 16")
            # A search by time walks over what was a gap here.
            delta_ns = time.time_ns() - timestamp_of(13) + 500_000_000
            late = await deliveries(server, "foo", 6, start=StartPosition.TIME_DELTA_START, delta_ns=delta_ns)
            assert [each.sequence for each in late] == [11, 12, 13, 14, 15, 16]

    asyncio.run(visit_again())
    with ours_on(directory) as (root, recovered):
        channel = root.channel(b"foo")
        assert channel is not None
        expected = {sequence: data for sequence, data in kept.items() if sequence != 14} | {16: b"ours 16"}
        assert messages_of(channel) == expected


@pytest.mark.store_spec(34)
@pytest.mark.parametrize("name", ["go-filestore-v0.25.6"])
def test_a_directory_of_go_goes_to_us_and_back(go_server: None, tmp_path: Path, name: str) -> None:
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    directory = tmp_path / name
    with ours_on(directory) as (root, state):
        before = {channel: stored.last for channel, stored in state.channels.items()}
        for channel, last in before.items():
            files = root.channel(channel)
            assert files is not None
            append(files, channel, last + 1, [b"from us"])
        durable = root.channel(b"foo")
        assert durable is not None
        durable.acked(1, [2])

    async def visit() -> None:
        with go_on(directory, cluster="fixture") as server:
            nats = await NatsClient.connect(server.port)
            client = await StanClient.connect(nats, "reader", cluster="fixture")
            for channel, last in before.items():
                subscription = await client.subscribe(channel, start=StartPosition.SEQUENCE_START, sequence=last + 1)
                (delivery,) = await subscription.take(1)
                assert (delivery.sequence, delivery.data) == (last + 1, b"from us")
            await nats.close()

    asyncio.run(visit())
    with ours_on(directory) as (_, state):
        assert {channel: stored.last for channel, stored in state.channels.items()} == {
            channel: last + 1 for channel, last in before.items()
        }
        assert 2 not in state.channels[b"foo"].subscriptions[1].pending
