"""Fault-tolerance groups of the Go server and ours: they keep each other out, hear each other, and take over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ..support.nats_server import NatsServer, running_nats_server
from ..support.raw_client import NatsClient, StanClient
from ..support.servers import READY, STANDBY, ServerProcess
from ..support.stan_messages import StartPosition
from ..support.world import eventually
from .prepare import Program

BUSY = "ft: unable to get store lock at this time, going back to standby"
ACTIVE = "Server is active"


class MakeMember(Protocol):
    def __call__(self, kind: str, nats: NatsServer, directory: Path) -> ServerProcess: ...


@pytest.fixture
def member(prepared: Callable[[str], Program]) -> Iterator[MakeMember]:
    """Starts a member, `go` or `ours`, as a standby."""
    (go,) = prepared("go-server").command
    servers: list[ServerProcess] = []

    def make(kind: str, nats: NatsServer, directory: Path) -> ServerProcess:
        arguments = ("-ns", nats.url, "-st", "FILE", "-dir", str(directory), "-ft_group", "group")
        server = ServerProcess(*arguments, external=True, program=go if kind == "go" else None)
        servers.append(server)
        return server.start(until=STANDBY)

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    with running_nats_server() as server:
        yield server


@contextlib.asynccontextmanager
async def stan_client(port: int, name: str) -> AsyncIterator[StanClient]:
    connection = await NatsClient.connect(port)
    try:
        yield await StanClient.connect(connection, name)
    finally:
        await connection.close()


async def logged(server: ServerProcess, text: str) -> None:
    await eventually(lambda: text in server.log(), f"{text!r} in\n{server.log()[-2000:]}", 10.0)


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [("go", "ours", signal.SIGKILL), ("go", "ours", signal.SIGINT), ("ours", "go", signal.SIGINT)],
)
def test_one_takes_over_from_the_other(
    first: str, second: str, end: signal.Signals, member: MakeMember, nats: NatsServer, tmp_path: Path
) -> None:
    """Messages, the durable and what it had not acked go over; the standby waits while it hears the active one."""

    async def main() -> None:
        active = member(first, nats, tmp_path / "store")
        await logged(active, READY)
        standby = member(second, nats, tmp_path / "store")
        async with stan_client(nats.port, "a-client") as client:
            durable = await client.subscribe("foo", durable="dur", start=StartPosition.FIRST, ack_wait=1)
            await client.publish_many("foo", [b"one", b"two", b"three"])
            durable.ack(await durable.next())
            assert await durable.sequences(2) == [2, 3]
            await asyncio.sleep(1.5)
            assert ACTIVE not in standby.log()
            assert BUSY not in standby.log(), "it hears the other's heartbeats"
            durable.waiting()
            active.stop(end)
            await logged(standby, READY)
            await client.publish("foo", b"four")
            received: dict[int, bytes] = {}
            while not received.keys() >= {2, 3, 4}:
                delivery = await durable.next()
                received[delivery.sequence] = delivery.data
                durable.ack(delivery)
            if end != signal.SIGKILL:  # a killed Go server may not have written the ack of the first yet
                assert 1 not in received
            assert (received[2], received[3], received[4]) == (b"two", b"three", b"four")

    asyncio.run(main())


@pytest.mark.parametrize(("first", "second"), [("go", "ours"), ("ours", "go")])
def test_they_keep_each_other_out_of_a_directory(
    first: str, second: str, member: MakeMember, nats: NatsServer, tmp_path: Path
) -> None:
    """Without a common NATS only the lock is between them."""

    async def main() -> None:
        active = member(first, nats, tmp_path / "store")
        await logged(active, READY)
        with running_nats_server() as other:
            standby = member(second, other, tmp_path / "store")
            await eventually(lambda: standby.log().count(BUSY) >= 2, "it tries and fails", 10.0)
            assert ACTIVE not in standby.log()
            active.stop()
            await logged(standby, READY)

    asyncio.run(main())


@pytest.mark.parametrize(("first", "second"), [("go", "ours"), ("ours", "go")])
def test_two_active_members_by_mistake(
    first: str, second: str, member: MakeMember, nats: NatsServer, tmp_path: Path
) -> None:
    """Each reads when the other became active: the later one ends with 2."""

    async def main() -> None:
        earlier = member(first, nats, tmp_path / "one")
        await logged(earlier, READY)
        os.kill(earlier.pid, signal.SIGSTOP)
        try:
            later = member(second, nats, tmp_path / "two")
            await logged(later, READY)
        finally:
            os.kill(earlier.pid, signal.SIGCONT)
        process = later.process
        assert process is not None
        await eventually(lambda: process.poll() is not None, "the later one ends", 10.0)
        assert process.returncode == 2
        assert re.search(r'ft: serverID "\w{22}" claims to be active, aborting', later.log())
        assert re.search(r'\[ERR\] STREAM: ft: serverID "\w{22}" claims to be active', earlier.log())
        assert earlier.stop(signal.SIGINT) == 0

    asyncio.run(main())
