"""Fault-tolerance groups over one database, of the Go server and ours: they take over from each other, keep each other
out, and one that hung while another took over writes nothing when it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from nats_streaming.testing.engine_driver import decode_message

from ..databases.one_database import OneDatabase
from ..support.database_fixtures import database_servers
from ..support.databases import DatabaseServer
from ..support.nats_server import NatsServer, running_nats_server
from ..support.servers import READY, STANDBY, ServerProcess
from ..support.stan_messages import StartPosition
from ..support.world import eventually
from .prepare import Program
from .test_go_fault_tolerance import ACTIVE, BUSY, logged, nats, stan_client

__all__ = ["database_servers", "nats"]

TAKE_OVER_S = 15.0
KILL, INT = signal.SIGKILL, signal.SIGINT


class MakeMember(Protocol):
    def __call__(self, kind: str, nats: NatsServer) -> ServerProcess: ...


@pytest.fixture
def database(driver: str, database_servers: Callable[[str], DatabaseServer], tmp_path: Path) -> Iterator[OneDatabase]:
    made = OneDatabase(driver, database_servers, tmp_path)
    yield made
    made.drop()


@pytest.fixture
def member(database: OneDatabase, prepared: Callable[[str], Program]) -> Iterator[MakeMember]:
    """Starts a member, `go` or `ours`, as a standby."""
    servers: list[ServerProcess] = []

    def make(kind: str, nats: NatsServer) -> ServerProcess:
        source = ("-st", "SQL", "-sql_driver", database.driver, "-sql_source", database.source)
        program = prepared("go-server").command[0] if kind == "go" else None
        server = ServerProcess("-ns", nats.url, *source, "-ft_group", "group", external=True, program=program)
        servers.append(server)
        return server.start(until=STANDBY)

    yield make
    for server in servers:
        server.close()


async def ready(server: ServerProcess) -> None:
    await eventually(lambda: READY in server.log(), f"it takes over:\n{server.log()[-2000:]}", TAKE_OVER_S)


@pytest.mark.store_spec(73)
@pytest.mark.parametrize(
    ("driver", "first", "second", "end"),
    [
        ("postgres", "ours", "ours", KILL),
        ("postgres", "go", "ours", KILL),
        ("postgres", "ours", "go", KILL),
        ("mysql", "ours", "ours", KILL),
        ("mysql", "go", "ours", KILL),
        ("mysql", "ours", "go", INT),
    ],
)
async def test_one_takes_over_from_the_other(
    first: str, second: str, end: signal.Signals, member: MakeMember, nats: NatsServer
) -> None:
    """Messages, the durable and what it had not acked go over."""
    active = member(first, nats)
    await ready(active)
    standby = member(second, nats)
    async with stan_client(nats.port, "a-client") as client:
        durable = await client.subscribe("foo", durable="dur", start=StartPosition.FIRST, ack_wait=1)
        await client.publish_many("foo", [b"one", b"two", b"three"])
        durable.ack(await durable.next())
        assert await durable.sequences(2) == [2, 3]
        await client.publish("other", b"an ack is stored with the next publish")
        assert ACTIVE not in standby.log()
        durable.waiting()
        active.stop(end)
        await ready(standby)
        await client.publish("foo", b"four")
        received: dict[int, bytes] = {}
        while not received.keys() >= {2, 3, 4}:
            delivery = await durable.next()
            received[delivery.sequence] = delivery.data
            durable.ack(delivery)
        if (first, end) != ("go", KILL):  # a killed Go server may not have written the ack of the first yet
            assert 1 not in received
        assert (received[2], received[3], received[4]) == (b"two", b"three", b"four")


@pytest.mark.store_spec(73)
@pytest.mark.parametrize(
    ("driver", "first", "second"),
    [("postgres", "go", "ours"), ("mysql", "ours", "go")],
)
async def test_they_keep_each_other_out_of_a_database(
    first: str, second: str, member: MakeMember, nats: NatsServer
) -> None:
    """Without a common NATS only the lock is between them."""
    active = member(first, nats)
    await ready(active)
    with running_nats_server() as other:
        standby = member(second, other)
        await eventually(lambda: BUSY in standby.log(), "it tries and fails", TAKE_OVER_S)
        assert ACTIVE not in standby.log()
        active.stop()
        await ready(standby)


@pytest.mark.store_spec(73)
@pytest.mark.parametrize(("driver", "second"), [("postgres", "ours"), ("mysql", "go")])
async def test_a_member_that_hung_writes_nothing(
    second: str, member: MakeMember, nats: NatsServer, database: OneDatabase
) -> None:
    """It is stopped under load for longer than the lock lasts, most likely in the middle of a transaction. What it
    finds in its socket when it goes on it may not store, nor may it scare its successor.
    """
    active = member("ours", nats)
    await ready(active)
    standby = member(second, nats)
    async with stan_client(nats.port, "a-client") as client:
        acked: list[bytes] = []
        waiting: dict[bytes, bytes] = {}

        async def publish() -> None:
            number = 0
            while True:
                while len(waiting) < 50:
                    number += 1
                    waiting[client.publish_nowait("foo", b"%d" % number)] = b"%d" % number
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        ack = await client.acks.get()
                        payload = waiting.pop(ack.guid, b"")
                        if payload and not ack.error:
                            acked.append(payload)
                        continue
                waiting.clear()  # nobody is active: these may be there or not

        job = asyncio.create_task(publish())
        await eventually(lambda: len(acked) > 200, "publishes are acked")
        os.kill(active.pid, signal.SIGSTOP)
        try:
            await ready(standby)
            before = len(acked)
            await eventually(lambda: len(acked) > before + 200, "publishes are acked by the other", TAKE_OVER_S)
        finally:
            os.kill(active.pid, signal.SIGCONT)
        process = active.process
        assert process is not None
        await eventually(lambda: process.poll() is not None, "it ends", TAKE_OVER_S)
        assert process.returncode == 2
        before = len(acked)
        await eventually(lambda: len(acked) > before + 200, "publishes are acked still", TAKE_OVER_S)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    assert "lost store lock" in active.log()
    await logged(standby, READY)
    standby.stop(INT)
    ids = await database.rows("SELECT id FROM Channels WHERE name = 'foo'")
    rows = await database.rows(f"SELECT seq, data FROM Messages WHERE id = {ids[0][0]} ORDER BY seq")
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), "two servers would write the same sequences"
    assert len({payload_of(row[1]) for row in rows}) == len(rows), "nothing is there twice"
    assert set(acked) <= {payload_of(row[1]) for row in rows}


def payload_of(encoded: bytes) -> bytes:
    return decode_message(encoded).data
