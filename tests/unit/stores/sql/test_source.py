"""Source strings of the Go drivers: every form, every parameter, and what is refused by name."""

from __future__ import annotations

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.stores.sql.options import SqlOptions
from nats_streaming.stores.sql.source import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, Source, Tls, parse_source


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE", "SSLMODE", "SSLROOTCERT", "APPNAME", "OPTIONS"):
        monkeypatch.delenv(f"PG{name}", raising=False)
    monkeypatch.setenv("USER", "someone")


CERTIFICATES = Tls(ca="ca.pem", certificate="c.pem", key="k.pem")
UNVERIFIED = Tls(verify=False, verify_name=False)


@pytest.mark.parametrize(
    ("driver", "text", "expected"),
    [
        (
            "postgres",
            "postgres://me:p%40ss@db.example:6000/stan?sslmode=disable",
            Source("postgres", "db.example", 6000, user="me", password="p@ss", database="stan"),
        ),
        (
            "postgres",
            "dbname=stan user=me password='it''s \\'quoted\\' \\\\' host=db sslmode=disable",
            Source("postgres", "db", 5432, user="me", password="it's 'quoted' \\", database="stan"),
        ),
        # lib/pq asks for TLS, and verifies nothing, unless told otherwise.
        (
            "postgres",
            "dbname=stan",
            Source("postgres", "localhost", 5432, user="someone", database="stan", tls=UNVERIFIED),
        ),
        (
            "postgres",
            "host=/run/postgresql user=me connect_timeout=3 readTimeout=500ms writeTimeout=2s search_path=streaming",
            Source(
                "postgres",
                port=5432,
                socket="/run/postgresql",
                user="me",
                database="me",
                connect_timeout_s=3.0,
                statement_timeout_s=2.0,
                settings={"search_path": "streaming"},
            ),
        ),
        (
            "postgres",
            "postgresql://[::1]/stan?user=me&sslmode=verify-full&sslrootcert=ca.pem&sslcert=c.pem&sslkey=k.pem",
            Source(
                "postgres",
                "::1",
                5432,
                user="me",
                database="stan",
                tls=Tls(ca="ca.pem", certificate="c.pem", key="k.pem"),
            ),
        ),
        (
            "mysql",
            "me:p@ss/w:rd?@tcp(db:3307)/stan?timeout=2s&readTimeout=1s&parseTime=true&tls=skip-verify",
            Source(
                "mysql",
                "db",
                3307,
                user="me",
                password="p@ss/w:rd?",
                database="stan",
                tls=UNVERIFIED,
                connect_timeout_s=2.0,
                statement_timeout_s=1.0,
            ),
        ),
        ("mysql", "me@/stan", Source("mysql", "127.0.0.1", 3306, user="me", database="stan")),
        ("mysql", "me@tcp([::1])/stan?tls=true", Source("mysql", "::1", 3306, user="me", database="stan", tls=Tls())),
        ("mysql", "me@unix(/run/db.sock)/stan", Source("mysql", socket="/run/db.sock", user="me", database="stan")),
        (
            "mysql",
            "me@tcp(db)/stan?innodb_lock_wait_timeout=5&charset=utf8mb4,utf8",
            Source("mysql", "db", 3306, user="me", database="stan", settings={"innodb_lock_wait_timeout": "5"}),
        ),
        ("sqlite", "/var/lib/stan.db", Source("sqlite", database="/var/lib/stan.db")),
    ],
)
def test_forms(driver: str, text: str, expected: Source) -> None:
    found = parse_source(driver, text)
    assert found == expected
    assert (found.connect_timeout_s, found.statement_timeout_s) >= (0.5, 0.5)
    assert not found.password or found.password not in repr(found) + found.place()


def test_the_environment_fills_in_for_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db")
    monkeypatch.setenv("PGPASSWORD", "secret")
    found = parse_source("postgres", "user=me sslmode=disable")
    assert (found.host, found.password, found.database) == ("db", "secret", "me")
    assert (found.connect_timeout_s, found.statement_timeout_s) == (CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S)


@pytest.mark.parametrize(
    ("driver", "text", "complaint"),
    [
        ("oracle", "x", r"sql: unknown driver 'oracle' \(forgotten import\?\)"),
        ("postgres", "host=db krbspn=x", "'krbspn': Kerberos is not supported"),
        ("postgres", "host=db sslmode=maybe", "sslmode 'maybe' is not one of"),
        ("postgres", "host=db port=99999", "port '99999' is not a number"),
        ("postgres", "host=db readTimeout=soon", "readTimeout 'soon' is no length of time"),
        ("postgres", "host=db connect_timeout=100000000", "not between 0 and a day"),
        ("postgres", "host=db secret words", "what follows the parameters host is not name=value"),
        ("postgres", "postgres://me:geheim@db:port/x", "no valid host and port"),
        ("postgres", "host=db client_encoding=LATIN1", "'client_encoding': it is always UTF8"),
        ("mysql", "me:geheim@tcp(db:3306)", "user:password@tcp"),
        ("mysql", "me@udp(db)/stan", "network 'udp' is not tcp or unix"),
        ("mysql", "me@tcp(db)/", "it names no database"),
        ("mysql", "@tcp(db)/stan", "it names no user"),
        ("mysql", "me@tcp(db)/stan?tls=custom", "tls 'custom' is not true, false"),
        ("mysql", "me@tcp(db)/stan?charset=latin1", "need utf8mb4"),
        ("mysql", "me@tcp(db)/stan?allowAllFiles=true", "'allowAllFiles': files are never loaded"),
        ("mysql", "me@tcp(db)/stan?x%3D1;DROP=1", "is no name of a system variable"),
        ("sqlite", ":memory:", "it is the path of the database file"),
        ("sqlite", "file:x.db?mode=ro", "without parameters"),
    ],
)
def test_what_is_refused(driver: str, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_source(driver, text)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (SqlOptions(), "driver must be specified"),
        (SqlOptions("postgres"), "source must be specified"),
        (SqlOptions("sqlite", "x", bulk_insert_limit=-1), "must not be negative"),
    ],
)
def test_options(options: SqlOptions, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        options.check()
