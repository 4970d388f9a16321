"""`kill -9` of the server, and of the database under it, at random moments under load: nothing acknowledged is lost.

The load and the checks are those of the FILE store's test. `--long` kills each fifty times.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.test_file_kill import (
    IN_FLIGHT,
    Ledger,
    check,
    check_durable,
    connect,
    consume,
    one_life,
    publish,
    wait_until_free,
)
from tests.support.database_fixtures import database_servers, sql_arguments
from tests.support.databases import DatabaseServer
from tests.support.servers import ServerProcess

__all__ = ["database_servers"]

Kill = Callable[[ServerProcess, Ledger, random.Random], Awaitable[None]]


async def run(arguments: list[str], kills: int, kill: Kill, *, stays: bool) -> str:
    """Kill often, then look at everything.

    Args:
        stays: the server does; it is the database that is killed.
    """
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    ledger = Ledger()
    server = ServerProcess(*arguments)
    try:
        for number in range(kills):
            if not stays or number == 0:
                server.start()
            await kill(server, ledger, rng)
            if not stays:
                await wait_until_free(server.port)
        if not stays:
            server.start()
        total = await check(server, ledger)
        await check_durable(server, ledger)
        assert server.stop(signal.SIGINT) == 0
        log = server.log()
        for trouble in ("Traceback (most recent call last)", "bug:"):
            assert trouble not in log, log[-5000:]
    except BaseException:
        print(server.log()[-10_000:])  # noqa: T201
        raise
    finally:
        server.close()
    acknowledged = sum(map(len, ledger.acknowledged.values()))
    assert acknowledged > 100
    assert len(ledger.again) <= kills * IN_FLIGHT
    if not stays:
        assert not ledger.forgotten, f"acked before a publish that was acknowledged, came again: {ledger.forgotten[:9]}"
    return (
        f"{kills} kills, {acknowledged} acknowledged, 0 lost, {total} stored;"
        f" durable: {len(ledger.received)} delivered, {len(ledger.again)} again after their ack"
    )


def kills(pytestconfig: pytest.Config, few: int) -> int:
    return 50 if pytestconfig.getoption("--long") else few


@pytest.mark.parametrize("driver", ["sqlite", "postgres", "mysql"])
def test_the_server_is_killed(
    driver: str, database_servers: Callable[[str], DatabaseServer], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    arguments = sql_arguments(driver, database_servers, tmp_path)
    print(asyncio.run(run(arguments, kills(pytestconfig, 3), one_life, stays=False)))  # noqa: T201


@pytest.mark.store_spec(74)
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_the_database_is_killed(
    driver: str, database_servers: Callable[[str], DatabaseServer], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    arguments = sql_arguments(driver, database_servers, tmp_path)
    database = database_servers(driver)

    async def kill(server: ServerProcess, ledger: Ledger, rng: random.Random) -> None:
        """The clients stay and see error acks; after the restart publishes succeed again."""
        publisher = await connect(server.port, b"publisher")
        consumer = await connect(server.port, b"consumer")
        jobs = [
            asyncio.create_task(publish(publisher, ledger, rng)),
            asyncio.create_task(consume(consumer, ledger)),
        ]
        await asyncio.sleep(rng.choice([0.1, 0.3, 0.8]) * (0.5 + rng.random()))
        await asyncio.to_thread(database.kill)
        await asyncio.sleep(rng.choice([0.0, 0.3]))
        await asyncio.to_thread(database.start)
        before = sum(map(len, ledger.acknowledged.values()))
        async with asyncio.timeout(20):
            while sum(map(len, ledger.acknowledged.values())) == before:
                await asyncio.sleep(0.02)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for client in (publisher, consumer):
            await client.close()
            await client.nats.close()

    print(asyncio.run(run(arguments, kills(pytestconfig, 2), kill, stays=True)))  # noqa: T201
