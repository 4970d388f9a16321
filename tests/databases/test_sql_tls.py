"""TLS to the databases: what each form of the source demands, and what is said when it is not so."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.stores.sql.create import create_tables
from nats_streaming.stores.sql.store import SqlStore
from nats_streaming.testing.store_suite import make_run
from tests.support.certificates import Authority
from tests.support.databases import SERVERS, DatabaseServer
from tests.support.servers import ServerProcess, run_to_end

OTHER_NAME = "database.example"


class Secured:
    """Database servers with certificates of one authority: by driver, and by whether theirs is for this host."""

    def __init__(self, directory: Path) -> None:
        self.ours = Authority(directory, "ours")
        self.stranger = Authority(directory, "stranger")
        self.client = self.ours.issue("client")
        self._certificates = {
            True: self.ours.issue("here", "127.0.0.1", "localhost"),
            False: self.ours.issue("elsewhere", OTHER_NAME),
        }
        self._running: dict[tuple[str, bool], tuple[DatabaseServer, str]] = {}

    def database(self, driver: str, *, is_named: bool = True) -> tuple[DatabaseServer, str]:
        """A server and a database with our tables.

        Args:
            is_named: its certificate has the name by which it is reached.
        """
        key = driver, is_named
        if key not in self._running:
            server = SERVERS[driver](tls=(*self._certificates[is_named], self.ours.path))
            self._running[key] = server, ""
            server.start()
            name = server.create()
            asyncio.run(create_tables({"driver": driver, "source": server.source(name)}))
            self._running[key] = server, name
        return self._running[key]

    def close(self) -> None:
        for server, _ in self._running.values():
            server.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    secured = Secured(tmp_path_factory.mktemp("certificates"))
    yield secured
    secured.close()


def is_encrypted(server: DatabaseServer, source: str) -> bool:
    """Whether the connections of a store on this source are; it writes something, too."""

    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    if server.driver == "mysql":
        query = "SHOW SESSION STATUS WHERE Variable_name = 'Ssl_cipher' AND Value <> ''"

    async def body() -> bool:
        store = SqlStore({"driver": server.driver, "source": source})
        try:
            await store.recover()
            store.stage([make_run(b"foo", 1, [b"x"])])
            await store.commit()
            return bool(await store._database.query(lambda connection: connection.scalar(text(query))))
        finally:
            await store.close()

    return asyncio.run(body())


def refusal(server: DatabaseServer, source: str) -> str:
    """The error of a store that cannot connect."""

    async def body() -> None:
        store = SqlStore({"driver": server.driver, "source": source})
        try:
            await store.recover()
        finally:
            await store.close()

    with pytest.raises((StoreError, ConfigError)) as caught:
        asyncio.run(body())
    return str(caught.value)


def with_mode(server: DatabaseServer, name: str, parameters: str) -> str:
    return server.source(name).replace("sslmode=disable", parameters)


@pytest.mark.parametrize(
    ("parameters", "encrypted"),
    [
        ("sslmode=disable", False),
        ("sslmode=allow", True),
        ("sslmode=prefer", True),
        ("sslmode=require", True),
        ("", True),
        ("sslmode=require&sslrootcert={ours}", True),
        ("sslmode=verify-ca&sslrootcert={ours}", True),
        ("sslmode=verify-full&sslrootcert={ours}", True),
        ("sslmode=verify-full&sslrootcert={ours}&sslcert={certificate}&sslkey={key}", True),
    ],
)
def test_postgres(parameters: str, encrypted: bool, secured: Secured) -> None:
    server, name = secured.database("postgres")
    certificate, key = secured.client
    given = parameters.format(ours=secured.ours.path, certificate=certificate, key=key)
    assert is_encrypted(server, with_mode(server, name, given)) == encrypted


@pytest.mark.parametrize(
    ("parameters", "is_named", "says"),
    [
        ("sslmode=require&sslrootcert={stranger}", True, "certificate verify failed: "),
        ("sslmode=verify-ca&sslrootcert={stranger}", True, "certificate verify failed: "),
        ("sslmode=verify-full&sslrootcert={stranger}", True, "certificate verify failed: "),
        ("sslmode=verify-full", True, "certificate verify failed: "),
        (
            "sslmode=verify-full&sslrootcert={ours}",
            False,
            "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
        ("sslmode=verify-full&sslrootcert=/no/such/file", True, "sql_source: TLS files /no/such/file: [Errno 2]"),
        ("sslmode=verify", True, "sslmode 'verify' is not one of disable, allow, prefer"),
    ],
)
def test_postgres_refused(parameters: str, is_named: bool, says: str, secured: Secured) -> None:
    server, name = secured.database("postgres", is_named=is_named)
    given = parameters.format(ours=secured.ours.path, stranger=secured.stranger.path)
    error = refusal(server, with_mode(server, name, given))
    assert says in error
    assert "unused" not in error, "the password"


def test_postgres_authority_without_the_name(secured: Secured) -> None:
    """`verify-ca` asks who signed the certificate, and not whose it is."""
    server, name = secured.database("postgres", is_named=False)
    assert is_encrypted(server, with_mode(server, name, f"sslmode=verify-ca&sslrootcert={secured.ours.path}"))


@pytest.mark.parametrize(
    ("parameters", "encrypted"),
    [("tls=false", False), ("", False), ("tls=skip-verify", True), ("tls=preferred", True), ("tls=true", True)],
)
def test_mysql(parameters: str, encrypted: bool, secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """`true` believes the authorities of the system, which a variable replaces, for the Go server, too."""
    server, name = secured.database("mysql")
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.ours.path))
    assert is_encrypted(server, f"{server.source(name)}&{parameters}".rstrip("&")) == encrypted


@pytest.mark.parametrize(
    ("authority", "is_named", "says"),
    [
        ("stranger", True, "certificate verify failed: "),
        ("", True, "certificate verify failed: "),
        ("ours", False, "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
)
def test_mysql_refused(
    authority: str, is_named: bool, says: str, secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, name = secured.database("mysql", is_named=is_named)
    if authority:
        monkeypatch.setenv("SSL_CERT_FILE", str(getattr(secured, authority).path))
    error = refusal(server, f"{server.source(name)}&tls=true")
    assert says in error
    assert "p@ss" not in error
    assert is_encrypted(server, f"{server.source(name)}&tls=skip-verify")


def test_mysql_custom(secured: Secured) -> None:
    server, name = secured.database("mysql")
    assert "tls 'custom' is not true, false, skip-verify or preferred" in refusal(
        server, f"{server.source(name)}&tls=custom"
    )


@pytest.mark.parametrize(
    ("driver", "parameters", "says"),
    [
        ("postgres", "sslmode=require", "PostgreSQL server at .* rejected SSL upgrade"),
        ("mysql", "tls=skip-verify", "the source demands TLS, which the server does not support"),
    ],
)
def test_a_server_without_tls(
    driver: str, parameters: str, says: str, database_servers: Callable[[str], DatabaseServer]
) -> None:
    """What is demanded is never given up; `preferred` is content without."""
    server = database_servers(driver)
    name = server.create()
    source = server.source(name)
    given = with_mode(server, name, parameters) if driver == "postgres" else f"{source}&{parameters}"
    assert re.search(says, refusal(server, given))
    asyncio.run(create_tables({"driver": driver, "source": source}))
    relaxed = with_mode(server, name, "sslmode=prefer") if driver == "postgres" else f"{source}&tls=preferred"
    assert not is_encrypted(server, relaxed)
    server.drop(name)


def test_the_server_itself(secured: Secured) -> None:
    """The same over the executable: it starts, or ends with the error."""
    server, name = secured.database("postgres", is_named=False)
    place = ["-store", "SQL", "-sql_driver", "postgres", "-sql_source"]
    process = ServerProcess(*place, with_mode(server, name, f"sslmode=verify-ca&sslrootcert={secured.ours.path}"))
    try:
        assert process.start().stop(signal.SIGINT) == 0
    finally:
        process.close()
    ended = run_to_end(
        *place, with_mode(server, name, f"sslmode=verify-full&sslrootcert={secured.ours.path}"), "-p", "-1"
    )
    assert ended.status == 1
    assert "[FTL] STREAM: Failed to start: " in ended.err
    assert "certificate is not valid for '127.0.0.1'" in ended.err
