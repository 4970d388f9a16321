"""Fault tolerance: one member of a group is active, another takes over, and never are there two."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from nats_streaming.protocol.server_messages import encode_heartbeat
from tests.support import stan_messages as stan
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.raw_client import NatsClient, StanClient
from tests.support.servers import STANDBY, ServerProcess, free_port
from tests.support.stan_messages import StartPosition
from tests.support.world import eventually

GROUP = "orders"
SUBJECT = f"_STAN.ft.test-cluster.{GROUP}"
ACTIVE = "STREAM: Server is active"
READY = "Streaming Server is ready"
BUSY = "ft: unable to get store lock at this time, going back to standby"


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    with running_nats_server() as server:
        yield server


class MakeMember(Protocol):
    def __call__(self, *arguments: str, directory: Path | None = None, url: str | None = None) -> ServerProcess: ...


@pytest.fixture
def member(nats: NatsServer, tmp_path: Path) -> Iterator[MakeMember]:
    """Starts members of the group on the shared directory and NATS, as standbys; ends them after the test."""
    servers: list[ServerProcess] = []

    def make(*arguments: str, directory: Path | None = None, url: str | None = None) -> ServerProcess:
        place = ("-ns", url or nats.url, "-st", "FILE", "-dir", str(directory or tmp_path / "store"))
        server = ServerProcess(*place, "-ft_group", GROUP, *arguments, external=True)
        servers.append(server)
        return server.start(until=STANDBY)

    yield make
    for server in servers:
        server.close()


async def active(server: ServerProcess) -> None:
    """Wait until this member serves clients."""
    await logged(server, READY)


async def logged(server: ServerProcess, pattern: str, seconds: float = 10.0) -> None:
    compiled = re.compile(pattern)

    def found() -> bool:
        if compiled.search(server.log()):
            return True
        assert server.process is not None
        assert server.process.poll() is None or compiled.search(server.log()), f"ended:\n{server.log()}"
        return False

    await eventually(found, f"log line {pattern!r} in\n{server.log()[-3000:]}", seconds)


async def ended(server: ServerProcess) -> int:
    """The exit status, when it has ended by itself."""
    assert server.process is not None
    process = server.process
    await eventually(lambda: process.poll() is not None, "the server ends", 10.0)
    return process.returncode


@contextlib.asynccontextmanager
async def stan_client(port: int, name: str) -> AsyncIterator[StanClient]:
    connection = await NatsClient.connect(port)
    try:
        yield await StanClient.connect(connection, name)
    finally:
        await connection.close()


@pytest.mark.operations(51)
def test_a_store_that_cannot_be_handed_on_is_refused() -> None:
    server = ServerProcess("-ft_group", GROUP)
    try:
        with pytest.raises(RuntimeError, match="server exited with 1"):
            server.start()
        assert "[FTL] STREAM: Failed to start: ft: only FILE or SQL stores supported in FT mode" in server.log()
    finally:
        server.close()


@pytest.mark.parametrize("group", ["a b", "a..b", "a.*", ">"])
def test_a_group_name_that_is_no_subject_is_refused(group: str, tmp_path: Path) -> None:
    server = ServerProcess("-ft_group", group, "-st", "FILE", "-dir", str(tmp_path / "store"))
    try:
        with pytest.raises(RuntimeError, match="server exited with 1"):
            server.start()
        assert "the name of a fault-tolerance group is part of a NATS subject" in server.log()
        assert not (tmp_path / "store").exists()
    finally:
        server.close()


@pytest.mark.operations(52)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_take_over(end: signal.Signals, member: MakeMember, nats: NatsServer) -> None:
    """The client stays connected, its durable goes on, and what it had not acked comes again."""
    first = member()
    await active(first)
    log = first.log()
    assert log.index(STANDBY) < log.index(ACTIVE) < log.index("Recovering the state...") < log.index(READY)
    second = member()
    async with stan_client(nats.port, "a-client") as client:
        durable = await client.subscribe("foo", durable="dur", start=StartPosition.FIRST, ack_wait=1)
        await client.publish_many("foo", [b"one", b"two", b"three"])
        durable.ack(await durable.next())
        assert await durable.sequences(2) == [2, 3]
        await asyncio.sleep(0.3)  # acks ride in a later commit
        begun = time.monotonic()
        first.stop(end)
        await active(second)
        assert time.monotonic() - begun < 5
        assert await durable.repeats(2) == [(2, 1), (3, 1)]
        await client.publish("foo", b"four")
        while (delivery := await durable.next()).sequence < 4:
            durable.ack(delivery)
        assert (delivery.sequence, delivery.data) == (4, b"four")
        assert ACTIVE not in second.log().split(STANDBY)[0]


@pytest.mark.operations(52)
async def test_kills_under_load_lose_nothing_that_was_acked(member: MakeMember, nats: NatsServer) -> None:
    """Three actives die by SIGKILL, each with a standby; one client publishes all the time, a durable consumes."""
    members = [member()]
    await active(members[0])
    acked: set[bytes] = set()
    received: dict[int, bytes] = {}
    numbers = itertools.count(1)
    async with stan_client(nats.port, "publisher") as publisher, stan_client(nats.port, "consumer") as consumer:
        durable = await consumer.subscribe(
            "foo", durable="dur", start=StartPosition.FIRST, max_in_flight=200, ack_wait=1
        )

        async def publish() -> None:
            waiting: dict[bytes, bytes] = {}
            while True:
                while len(waiting) < 100:
                    payload = b"%d" % next(numbers)
                    waiting[publisher.publish_nowait("foo", payload)] = payload
                try:
                    async with asyncio.timeout(0.5):
                        ack = await publisher.acks.get()
                except TimeoutError:
                    waiting.clear()  # nobody was active: these may or may not be there
                    continue
                payload = waiting.pop(ack.guid, b"")
                if not ack.error and payload:
                    acked.add(payload)

        async def consume() -> None:
            while True:
                delivery = await durable.next(3600)
                assert received.setdefault(delivery.sequence, delivery.data) == delivery.data
                durable.ack(delivery)

        jobs = [asyncio.create_task(publish()), asyncio.create_task(consume())]
        for _ in range(3):
            standby = member()
            before = len(acked)
            await eventually(lambda before=before: len(acked) > before + 500, "publishes are acked", 10.0)  # type: ignore[misc]
            members[-1].kill()
            await active(standby)
            members.append(standby)
        before = len(acked)
        await eventually(lambda: len(acked) > before + 100, "publishes are acked at last", 10.0)
        jobs[0].cancel()
        await eventually(lambda: acked <= set(received.values()), "everything acked was delivered", 20.0)
        jobs[1].cancel()
        for outcome in await asyncio.gather(*jobs, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome
    assert sorted(received) == list(range(1, len(received) + 1)), "no gap"


@pytest.mark.operations(53)
async def test_standbys_stop_cleanly(member: MakeMember) -> None:
    first = member()
    assert first.stop(signal.SIGINT) == 0
    first = member()
    await active(first)
    second = member()
    await asyncio.sleep(1.6)
    assert second.stop(signal.SIGTERM) == 143
    assert ACTIVE not in second.log()
    assert BUSY not in second.log(), "it hears the active one, and need not try"
    assert first.stop(signal.SIGINT) == 0


@contextlib.contextmanager
def locked_by_another(lock_file: Path) -> Iterator[None]:
    """Have another process hold the lock, in a new file if there is one already."""
    script = (
        "import fcntl, os, sys\n"
        "path = sys.argv[1]\n"
        "os.path.exists(path) and os.unlink(path)\n"
        "file = open(path, 'w')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(lock_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.communicate()


@pytest.mark.operations(53)
async def test_a_standby_touches_nothing(member: MakeMember, tmp_path: Path) -> None:
    """It cannot even be told by the directory that it is there, whatever lies in it."""
    store = tmp_path / "store"
    store.mkdir()
    for name in ("server.dat", "clients.dat", "journal.1.stan", ".truncate.lck"):
        (store / name).write_bytes(b"what another server is writing")
    with locked_by_another(store / ".rootdir.lck"):
        before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.iterdir()}
        server = member()
        await logged(server, BUSY)
        assert server.stop() == 143
        after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.iterdir()}
        before.pop(".rootdir.lck")
        assert after.pop(".rootdir.lck")[0] == b""
        assert before == after


@pytest.mark.operations(54)
async def test_members_without_a_common_nats(member: MakeMember, nats: NatsServer) -> None:
    """The lock alone keeps the second out, for as long as it takes."""
    with running_nats_server() as other:
        first = member()
        await active(first)
        second = member(url=other.url)
        await eventually(lambda: second.log().count(BUSY) >= 2, "it tries and fails", 10.0)
        assert ACTIVE not in second.log()
        async with stan_client(nats.port, "a-client") as client:
            await client.publish("foo")
        assert "[ERR]" not in first.log()
        first.kill()
        await active(second)


@pytest.mark.operations(55)
async def test_two_active_members_by_mistake(member: MakeMember, tmp_path: Path) -> None:
    """With separate directories no lock helps: the one that became active later ends, without serving on."""
    first = member()
    await active(first)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second = member(directory=tmp_path / "another")
        await active(second)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert await ended(second) == 2
    assert re.search(r'\[FTL\] STREAM: ft: serverID "\w{22}" claims to be active, aborting\n', second.log())
    assert re.search(r'\[ERR\] STREAM: ft: serverID "\w{22}" claims to be active\n', first.log())
    assert first.process is not None
    assert first.process.poll() is None


@pytest.mark.operations(56)
async def test_a_standby_with_another_cluster_id(member: MakeMember) -> None:
    """It is noticed only when it would serve."""
    first = member()
    await active(first)
    second = member("-cid", "other")
    await logged(second, BUSY)
    first.stop()
    assert await ended(second) == 1
    line = '[FTL] STREAM: cluster ID "other" does not match recovered value of "test-cluster"'
    assert line in second.log()


@pytest.mark.operations(57)
async def test_heartbeats(member: MakeMember, nats: NatsServer) -> None:
    """Of an active member, to the byte; and what a standby makes of others'."""
    connection = await NatsClient.connect(nats.port)
    beats = connection.subscribe(SUBJECT)
    begun = time.time()
    with contextlib.suppress(TimeoutError):
        while True:  # nothing of an earlier test is left
            await beats.next(1.5)

    async def send(payloads: list[bytes]) -> None:
        for payload in itertools.cycle(payloads):
            connection.publish(SUBJECT, payload)
            await asyncio.sleep(0.2)

    claim = encode_heartbeat(b"somebody", int(begun * 1e9))
    noise = asyncio.create_task(send([claim]))
    server = member()
    with pytest.raises(AssertionError):
        await eventually(lambda: ACTIVE in server.log(), "active beside another", 2.0)
    noise.cancel()
    no_time = stan.CtrlMsg(MsgType=3, ServerID=b"somebody", Data=b"x").SerializeToString()
    noise = asyncio.create_task(send([b"", b"garbage", claim[:-4], stan.CtrlMsg(MsgType=4).SerializeToString()]))
    await active(server)
    noise.cancel()
    connection.publish(SUBJECT, no_time)
    await logged(server, r"\[ERR\] STREAM: Error decoding activation time")
    beats.queue = asyncio.Queue()
    received: list[tuple[float, bytes]] = []
    while len(received) < 2:
        message = await beats.next()
        control = stan.CtrlMsg.FromString(message.payload)
        if control.ServerID != b"somebody" and control.Data:
            received.append((message.received_at, message.payload))
    (one_at, one), (two_at, two) = received
    assert one == two
    assert 0.85 < two_at - one_at < 1.5
    control = stan.CtrlMsg.FromString(one)
    (server_id,) = re.findall(r"ServerID: (\w{22})", server.log())
    assert (control.MsgType, control.ServerID) == (3, server_id.encode())
    assert (control.Data[0], control.Data[-2:], len(control.Data)) == (1, b"\xff\xff", 15)
    activated = int.from_bytes(control.Data[1:9], "big") - 62_135_596_800
    assert begun - 1 < activated <= time.time()
    await connection.close()


@pytest.mark.operations(57)
async def test_a_lock_that_cannot_be_tried(member: MakeMember, tmp_path: Path) -> None:
    """The standby says so, stays, and takes over when it can."""
    (tmp_path / "store").mkdir()
    gone = tmp_path / "gone"
    server = member()
    (tmp_path / "store").rename(gone)
    await logged(
        server,
        r"\[ERR\] STREAM: ft: error attempting to get the store lock: ft: fatal error getting the store lock: ",
    )
    assert ACTIVE not in server.log()
    shutil.move(gone, tmp_path / "store")
    await active(server)


async def test_a_lock_that_is_lost(member: MakeMember, tmp_path: Path) -> None:
    """Somebody removes the lock file, and another process takes the lock in a new one: the active member ends."""
    server = member()
    await active(server)
    with locked_by_another(tmp_path / "store" / ".rootdir.lck"):
        assert await ended(server) == 2
        assert "[FTL] STREAM: ft: lost store lock, aborting" in server.log()


async def test_nats_is_away_for_a_while(member: MakeMember) -> None:
    """The lock counts: the active member stays active, says what it cannot do, and nobody takes over."""
    with running_nats_server() as nats:
        first = member(url=nats.url)
        await active(first)
        second = member(url=nats.url)
        nats.stop()
        await logged(first, r"\[ERR\] STREAM: Unable to send FT heartbeat: nats: not connected")
        await logged(second, BUSY)
        nats.start()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(TimeoutError, Exception):
                    async with stan_client(nats.port, "a-client") as client:
                        await client.publish("foo")
                        break
                await asyncio.sleep(0.05)
        assert ACTIVE not in second.log()
        assert first.log().count("Unable to send FT heartbeat") <= 4


@pytest.mark.operations(52)
async def test_embedded_servers_with_routes(tmp_path: Path, start: Callable[..., ServerProcess]) -> None:
    """A client at the standby's NATS reaches the active member by a route, and the standby when it has taken over."""
    cluster = free_port()
    common = ("-st", "FILE", "-dir", str(tmp_path / "store"), "-ft_group", GROUP, "-cluster_name", "c")
    first = start(*common, "-cluster", f"nats://127.0.0.1:{cluster}")
    second = ServerProcess(
        *common, "-cluster", f"nats://127.0.0.1:{free_port()}", "-routes", f"nats://127.0.0.1:{cluster}"
    )
    try:
        second.start(until=STANDBY)
        await logged(second, "Route connection created")
        async with stan_client(second.port, "a-client") as client:
            subscription = await client.subscribe("foo", durable="dur", auto_ack=True)
            await client.publish("foo", b"one")
            assert (await subscription.next()).data == b"one"
            first.kill()
            await active(second)
            await client.publish("foo", b"two")
            while (await subscription.next()).data != b"two":
                pass  # what was sent in the last tenth of a second before the kill comes again
    finally:
        second.close()


async def test_an_sql_store(nats: NatsServer, tmp_path: Path) -> None:
    """The lock is a row: a member that hung while another took it ends before it acks anything."""
    source = ("-st", "SQL", "-sql_driver", "sqlite", "-sql_source", str(tmp_path / "store.sqlite"))
    members = [ServerProcess("-ns", nats.url, *source, "-ft_group", GROUP, external=True) for _ in range(3)]
    first, second, third = members
    try:
        first.start()
        second.start(until=STANDBY)
        async with stan_client(nats.port, "a-client") as client:
            durable = await client.subscribe("foo", durable="dur", start=StartPosition.FIRST, ack_wait=1)
            await client.publish_many("foo", [b"one", b"two"])
            os.kill(first.pid, signal.SIGSTOP)
            try:
                await logged(second, READY, 20.0)
            finally:
                os.kill(first.pid, signal.SIGCONT)
            assert await ended(first) == 2
            assert "lost store lock" in first.log()
            third.start(until=STANDBY)
            await client.publish("foo", b"three")
            second.kill()
            await logged(third, READY, 20.0)
            received: dict[int, bytes] = {}
            while len(received) < 3:
                delivery = await durable.next()
                received[delivery.sequence] = delivery.data
            assert received == {1: b"one", 2: b"two", 3: b"three"}
    finally:
        for server in members:
            server.close()
