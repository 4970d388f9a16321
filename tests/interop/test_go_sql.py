"""Databases travel between the original and us: Go -> ours -> Go, on tables of the original's own scripts.

Both caching modes and both kinds of rows; we always run in the other mode than the Go server that was before us.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nats_streaming.stores.batch import Deleted
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.stores.state import StoredChannel

from ..support.database_fixtures import database_servers
from ..support.databases import DatabaseServer
from ..support.raw_client import Delivery, NatsClient, StanClient, StartPosition
from ..support.servers import ServerProcess, run_to_end, running_server
from .prepare import Program, run, tool

__all__ = ["database_servers"]

MODULE = "github.com/nats-io/nats-streaming-server@v0.25.6"
DRIVERS = ("postgres", "mysql")
COMPLAINTS = ("[ERR]", "[FTL]", "panic", "Traceback")
CACHING = ("-sql_no_caching=false", "-sql_no_caching=true")


@pytest.fixture(scope="session")
def go_scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the original's schema scripts, which its module carries."""
    found = run(tool("go"), "mod", "download", "-json", MODULE, cwd=tmp_path_factory.mktemp("go"))
    return Path(json.loads(found)["Dir"]) / "scripts"


@pytest.fixture
def database(
    request: pytest.FixtureRequest, database_servers: Callable[[str], DatabaseServer], go_scripts: Path
) -> Iterator[tuple[DatabaseServer, str]]:
    """A new database with the tables of the original's script."""
    driver: str = request.param
    server = database_servers(driver)
    name = server.create()
    # PostgreSQL refuses one line of the script, and people went on.
    statements = (go_scripts / f"{driver}.db.sql").read_text().split(";")
    for statement in statements:
        if statement.strip() and not statement.strip().lower().startswith(("create database", "use ")):
            try:
                server.execute(statement, name)
            except subprocess.CalledProcessError as error:
                if "Idx_ChannelsName" not in statement:
                    raise AssertionError(error.stderr) from error
    yield server, name
    server.drop(name)


@contextmanager
def serving(database: tuple[DatabaseServer, str], *arguments: str) -> Iterator[ServerProcess]:
    server, name = database
    source = ("-store", "SQL", "-sql_driver", server.driver, "-sql_source", server.source(name))
    with running_server(*source, *arguments) as process:
        yield process
        process.stop(signal.SIGINT)
        log = process.log()
    assert not [line for line in log.splitlines() if any(each in line for each in COMPLAINTS)], log[-3000:]


async def resume(port: int, take: int, ack: list[int], payloads: list[bytes]) -> list[Delivery]:
    """Publish, resume the durable, take so many deliveries, ack some sequences, and leave."""
    client = await StanClient.connect(await NatsClient.connect(port), b"traveller")
    for payload in payloads:
        await client.publish(b"foo", payload)
    subscription = await client.subscribe(
        b"foo", durable=b"dur", start=StartPosition.FIRST, max_in_flight=take, ack_wait=30
    )
    found = await subscription.take(take)
    for delivery in found:
        if delivery.sequence in ack:
            subscription.ack(delivery)
    await client.nats.flush()
    # An ack is stored with the next publish, by either server.
    await client.publish(b"other", b"x")
    await client.close()
    await client.nats.close()
    return found


def shown(deliveries: list[Delivery]) -> list[tuple[int, bytes]]:
    return sorted((delivery.sequence, delivery.data) for delivery in deliveries)


@pytest.mark.store_spec(65, 66)
@pytest.mark.parametrize("database", DRIVERS, indirect=True)
@pytest.mark.parametrize("mode", [0, 1], ids=["caching", "no_caching"])
def test_a_database_travels(
    mode: int,
    database: tuple[DatabaseServer, str],
    prepared: Callable[[str], Program],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (go_server,) = prepared("go-server").command
    data = [b"m%d" % number for number in range(1, 9)]
    with monkeypatch.context() as patch:
        patch.setenv("STAN_SERVER_UNDER_TEST", go_server)
        with serving(database, CACHING[mode]) as server:
            found = asyncio.run(resume(server.port, 3, [1], data[:5]))
            assert shown(found) == [(1, b"m1"), (2, b"m2"), (3, b"m3")]
    for other in (1 - mode, mode):
        # Twice: what was acked in the first run must not come back in the second.
        with serving(database, CACHING[other]) as server:
            if other != mode:
                found = asyncio.run(resume(server.port, 4, [2, 3], data[5:6]))
                assert shown(found) == [(2, b"m2"), (3, b"m3"), (4, b"m4"), (5, b"m5")]
            else:
                found = asyncio.run(resume(server.port, 2, [4], data[6:7]))
                assert shown(found) == [(4, b"m4"), (5, b"m5")]
    with monkeypatch.context() as patch:
        patch.setenv("STAN_SERVER_UNDER_TEST", go_server)
        with serving(database, CACHING[mode]) as server:
            found = asyncio.run(resume(server.port, 4, [], data[7:8]))
            assert shown(found) == [(5, b"m5"), (6, b"m6"), (7, b"m7"), (8, b"m8")]
    database_server, name = database
    assert database_server.execute("SELECT count(*) FROM Messages WHERE id = 1", name).strip() == "8"


@pytest.mark.store_spec(63)
@pytest.mark.parametrize("database", DRIVERS, indirect=True)
def test_the_original_s_tables_are_brought_up_to_date(
    database: tuple[DatabaseServer, str], prepared: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MySQL a message over 64 KiB is refused by a clear error, alone, until `-sql_init` has widened the column."""
    from ..support.servers import executable

    server, name = database
    large = b"x" * 100_000

    async def publish(port: int) -> list[str]:
        client = await StanClient.connect(await NatsClient.connect(port), b"large")
        guids = [client.publish_nowait(b"foo", payload) for payload in (b"small", large, b"after")]
        acks = {ack.guid: ack.error.decode() for ack in await client.take_acks(3)}
        await client.nats.close()
        return [acks[guid] for guid in guids]

    source = ["-sql_driver", server.driver, "-sql_source", server.source(name)]
    with running_server("-store", "SQL", *source) as process:
        errors = asyncio.run(publish(process.port))
        process.stop(signal.SIGINT)
    refused = "message is too large for the store: its column holds 65535 encoded bytes"
    assert errors == ["", refused if server.driver == "mysql" else "", ""]
    done = subprocess.run([executable(), *source, "-sql_init"], check=True, capture_output=True, text=True, timeout=60)
    assert ("Messages: column data holds messages of any size" in done.stdout) == (server.driver == "mysql")
    (go_server,) = prepared("go-server").command
    with running_server("-store", "SQL", *source) as process:
        assert asyncio.run(publish(process.port)) == ["", "", ""]
        process.stop(signal.SIGINT)
    monkeypatch.setenv("STAN_SERVER_UNDER_TEST", go_server)
    with serving(database) as process:
        assert asyncio.run(publish(process.port)) == ["", "", ""]


@pytest.mark.parametrize("database", DRIVERS, indirect=True)
def test_figures_after_a_go_server(
    database: tuple[DatabaseServer, str], prepared: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It adds messages and removes old ones past our totals; the next start of ours has the figures of the rows."""
    (go_server,) = prepared("go-server").command
    server, name = database
    asyncio.run(create_tables({"driver": server.driver, "source": server.source(name)}))
    size = 0

    def figures() -> tuple[int, ...]:
        found = server.execute("SELECT count(*), sum(size), min(seq), max(seq) FROM Messages WHERE id = 1", name)
        return tuple(map(int, found.split("\t")))

    async def publish(port: int, count: int) -> None:
        client = await StanClient.connect(await NatsClient.connect(port), b"figures")
        for number in range(count):
            client.publish_nowait(b"foo", b"x" * (size + number % 5))
        assert not any(ack.error for ack in await client.take_acks(count))
        await client.close()
        await client.nats.close()

    async def recovered() -> StoredChannel:
        store = SqlStore({"driver": server.driver, "source": server.source(name)})
        try:
            state = await store.recover()
        finally:
            await store.close()
        assert state is not None
        return state.channels[b"foo"]

    for number, limit in enumerate(("3000", "1500", "1200")):
        size += 10
        with monkeypatch.context() as patch:
            if number == 1:
                patch.setenv("STAN_SERVER_UNDER_TEST", go_server)
            with serving(database, "-max_msgs", limit) as process:
                asyncio.run(publish(process.port, 1300))
        channel = asyncio.run(recovered())
        assert (channel.count, channel.size, channel.first, channel.last) == figures()
        assert channel.count == min(int(limit), 1300 * (number + 1))
        # Ours have told all there is when they end, and the Go server's are told by the one that found them.
        told = server.execute(f"SELECT sum(messages) FROM MessageTotals WHERE first >= {channel.first}", name)
        assert int(told) == channel.count


@pytest.mark.store_spec(63)
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("first", ["ours", "go"])
def test_the_printed_script_serves_both(
    first: str,
    driver: str,
    database_servers: Callable[[str], DatabaseServer],
    prepared: Callable[[str], Program],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever may not let a server create tables feeds the file to the database's client; nothing is left to do."""
    server = database_servers(driver)
    name = server.create()
    source = ("-sql_driver", driver, "-sql_source", server.source(name))
    script = tmp_path / "tables.sql"
    printed = run_to_end(*source, "-sql_script")
    assert (printed.status, printed.err) == (0, "")
    script.write_text(printed.out)
    server.run_script(script, name)
    done = run_to_end(*source, "-sql_init")
    assert (done.status, done.out, done.err) == (0, "every table is there and up to date\n", "")
    (go_server,) = prepared("go-server").command
    data = [b"m%d" % number for number in range(1, 6)]
    with monkeypatch.context() as patch:
        if first == "go":
            patch.setenv("STAN_SERVER_UNDER_TEST", go_server)
        with serving((server, name)) as process:
            found = asyncio.run(resume(process.port, 3, [1], data[:4]))
            assert shown(found) == [(1, b"m1"), (2, b"m2"), (3, b"m3")]
    with monkeypatch.context() as patch:
        if first == "ours":
            patch.setenv("STAN_SERVER_UNDER_TEST", go_server)
        with serving((server, name)) as process:
            found = asyncio.run(resume(process.port, 4, [], data[4:]))
            assert shown(found) == [(2, b"m2"), (3, b"m3"), (4, b"m4"), (5, b"m5")]
    server.drop(name)


@pytest.mark.parametrize("database", DRIVERS, indirect=True)
def test_the_original_reads_past_a_gap(
    database: tuple[DatabaseServer, str], prepared: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last message of a channel was deleted it shows none of the others, and they are there again with us."""

    async def publish(port: int, *channels: bytes) -> None:
        client = await StanClient.connect(await NatsClient.connect(port), b"publisher")
        for channel in channels:
            await client.publish_many(channel, [b"%d" % number for number in range(1, 6)])
        await client.close()
        await client.nats.close()

    async def delete() -> None:
        server, name = database
        store = SqlStore({"driver": server.driver, "source": server.source(name)})
        await store.recover()
        store.stage([Deleted(b"middle", [1, 3]), Deleted(b"end", [5])])
        await store.commit()
        await store.close()

    async def readable(port: int) -> dict[bytes, list[int]]:
        """The sequences of each channel, to the end of which a message is added."""
        client = await StanClient.connect(await NatsClient.connect(port), b"reader")
        found: dict[bytes, list[int]] = {}
        for channel in (b"middle", b"end"):
            await client.publish(channel, b"the end")
            subscription = await client.subscribe(channel, start=StartPosition.FIRST, auto_ack=True)
            found[channel] = []
            while (delivery := await subscription.next()).data != b"the end":
                found[channel].append(delivery.sequence)
        await client.close()
        await client.nats.close()
        return found

    with serving(database) as process:
        asyncio.run(publish(process.port, b"middle", b"end"))
    asyncio.run(delete())
    with monkeypatch.context() as patch:
        patch.setenv("STAN_SERVER_UNDER_TEST", *prepared("go-server").command)
        with serving(database) as process:
            assert asyncio.run(readable(process.port)) == {b"middle": [2, 4, 5], b"end": []}
    server, name = database
    server.execute("DELETE FROM Messages WHERE seq > 5", name)
    with serving(database) as process:
        assert asyncio.run(readable(process.port)) == {b"middle": [2, 4, 5], b"end": [1, 2, 3, 4]}
