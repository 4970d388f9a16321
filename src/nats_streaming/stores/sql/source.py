"""Source strings, as the Go drivers lib/pq and go-sql-driver/mysql accept them, read into one value.

    postgres   postgres://user:password@host:5432/db?sslmode=verify-full&connect_timeout=5
               user=me password='it''s' host=/run/postgresql dbname=db sslmode=disable readTimeout=2s
    mysql      user:password@tcp(host:3306)/db?timeout=5s&readTimeout=2s&tls=true
               user@unix(/run/mysqld.sock)/db
    sqlite     /path/to/file.db

A parameter that is not known here is a setting of the database session, as with the Go drivers. What would
change the meaning of stored bytes or weaken TLS unseen is refused by name. Knows no driver of ours.

Source: documentation of lib/pq and go-sql-driver/mysql; stores specification, section 4.6.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError
from nats_streaming.literals import parse_bool, parse_duration

POSTGRES: Final = "postgres"
MYSQL: Final = "mysql"
SQLITE: Final = "sqlite"
DRIVERS: Final = (POSTGRES, MYSQL, SQLITE)

CONNECT_TIMEOUT_S: Final = 5.0
"""Where the source names none: a publisher is refused after so long when the database's host is silent."""

STATEMENT_TIMEOUT_S: Final = 30.0
"""Where the source names none: the Go drivers wait for ever, and so would every publisher."""

_TIMEOUT_MAX_S = 86_400.0
_PORT_MAX = 65_535


@dataclass(slots=True, frozen=True)
class Tls:
    """How the connection is secured.

    Attributes:
        verify: whether the server's certificate must be signed by a known authority.
        verify_name: whether it must carry the host's name, too.
        optional: go on without TLS where the server has none.
        ca, certificate, key: paths, "" for none.
    """

    verify: bool = True
    verify_name: bool = True
    optional: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(slots=True, frozen=True)
class Source:
    """Where a database is and how to reach it.

    Attributes:
        driver: one of `DRIVERS`.
        host: name or address; "" when `socket` is set.
        socket: path of a Unix socket (mysql) or of its directory (postgres).
        database: its name; the file's path for sqlite.
        tls: None for a connection in clear.
        connect_timeout_s, statement_timeout_s: seconds, above 0.
        settings: of the database session.
    """

    driver: str
    host: str = ""
    port: int = 0
    socket: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    tls: Tls | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    statement_timeout_s: float = STATEMENT_TIMEOUT_S
    settings: dict[str, str] = field(default_factory=dict)

    def place(self) -> str:
        """For log lines and errors: no password, no parameter."""
        if self.driver == SQLITE:
            return f"SQLite database {self.database}"
        where = self.socket or f"{self.host}:{self.port}"
        return f"{'PostgreSQL' if self.driver == POSTGRES else 'MySQL'} database {self.database} at {where}"


def parse_source(driver: str, text: str) -> Source:
    """Read a source string.

    Args:
        driver: one of `DRIVERS`, in this spelling.

    Raises:
        ConfigError: it names the parameter at fault, and never the password.
    """
    check_driver_name(driver)
    if driver == POSTGRES:
        return _postgres(text)
    if driver == MYSQL:
        return _mysql(text)
    return _sqlite(text)


def check_driver_name(driver: str) -> None:
    """
    Raises:
        ConfigError: it is none of ours.
    """
    if driver not in DRIVERS:
        raise ConfigError(
            f"sql: unknown driver {driver!r} (forgotten import?): use one of {', '.join(DRIVERS)}", option="sql_driver"
        )


def _fail(text: str) -> NoReturn:
    raise ConfigError(f"sql_source: {text}", option="sql_source")


def _sqlite(text: str) -> Source:
    path = text.removeprefix("file:")
    if not path or path == ":memory:" or "?" in path:
        _fail("for sqlite it is the path of the database file, without parameters; its directory must exist")
    return Source(SQLITE, database=path)


# PostgreSQL.

_PG_IGNORED = frozenset(("binary_parameters", "fallback_application_name", "disable_prepared_binary_result"))
_PG_REFUSED = {
    "krbsrvname": "Kerberos is not supported",
    "krbspn": "Kerberos is not supported",
    "service": "service files are not supported: write the parameters themselves",
    "servicefile": "service files are not supported: write the parameters themselves",
    "sslinline": "certificates inside the source are not supported: give their paths",
    "client_encoding": "it is always UTF8",
    "datestyle": "it is fixed",
}
_PG_ENVIRONMENT = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGDATABASE": "dbname",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGAPPNAME": "application_name",
    "PGOPTIONS": "options",
}


def _postgres(text: str) -> Source:
    given = {key: os.environ[name] for name, key in _PG_ENVIRONMENT.items() if os.environ.get(name)}
    if text.startswith(("postgres://", "postgresql://")):
        given |= _pg_url(text)
    else:
        given |= _key_values(text)
    for key, why in _PG_REFUSED.items():
        if key in given and not (key == "client_encoding" and given[key].upper().replace("-", "") == "UTF8"):
            _fail(f"parameter {key!r}: {why}")
    given = {key: value for key, value in given.items() if key not in _PG_IGNORED and key != "client_encoding"}
    host = given.pop("host", "") or "localhost"
    user = given.pop("user", "") or os.environ.get("USER", "")
    if not user:
        _fail("it names no user")
    connect_s = _seconds(given, "connect_timeout") or CONNECT_TIMEOUT_S
    return Source(
        POSTGRES,
        host="" if host.startswith(("/", "@")) else host,
        socket=host if host.startswith(("/", "@")) else "",
        port=_port(given.pop("port", "") or "5432"),
        user=user,
        password=given.pop("password", ""),
        database=given.pop("dbname", "") or user,
        tls=_pg_tls(given, is_local=host.startswith(("/", "@"))),
        connect_timeout_s=connect_s,
        statement_timeout_s=_statement_timeout_s(given),
        settings=given,
    )


def _pg_url(text: str) -> dict[str, str]:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        # The text of the error may hold a part of the password.
        raise ConfigError("sql_source: the URL has no valid host and port", option="sql_source") from error
    given = dict(_pairs(parts.query))
    for key, value in (
        ("user", parts.username),
        ("password", parts.password),
        ("host", host),
        ("port", str(port) if port else ""),
        ("dbname", parts.path.removeprefix("/")),
    ):
        if value:
            given[key] = unquote(value)
    return given


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as error:
        raise ConfigError("sql_source: a parameter has no value (write name=value)", option="sql_source") from error


_KEY_VALUE = re.compile(r"\s*([^\s=']+)\s*=\s*(?:'((?:[^'\\]|\\.|'')*)'|((?:[^\s'\\]|\\.)*))(?=\s|\Z)", re.DOTALL)


def _key_values(text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    position = 0
    text = text.strip()
    while position < len(text):
        found = _KEY_VALUE.match(text, position)
        if found is None:
            names = ", ".join(given) or "none"
            _fail(f"what follows the parameters {names} is not name=value; quote a value with blanks: 'a b'")
        key, quoted_value, bare_value = found.groups()
        value = bare_value if quoted_value is None else quoted_value.replace("''", "'")
        given[key] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = found.end()
    return given


def _pg_tls(given: dict[str, str], *, is_local: bool) -> Tls | None:
    mode = given.pop("sslmode", "") or "require"
    ca, certificate, key = (given.pop(name, "") for name in ("sslrootcert", "sslcert", "sslkey"))
    given.pop("sslsni", None)
    if mode not in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
        _fail(f"sslmode {mode!r} is not one of disable, allow, prefer, require, verify-ca, verify-full")
    if mode == "disable" or is_local:
        return None
    # lib/pq: `require` verifies nothing, unless an authority is given.
    return Tls(
        verify=mode.startswith("verify") or bool(ca and mode == "require"),
        verify_name=mode == "verify-full",
        optional=mode in ("allow", "prefer"),
        ca=ca,
        certificate=certificate,
        key=key,
    )


# MySQL.

_MY_IGNORED = frozenset(
    (
        "allowNativePasswords",
        "checkConnLiveness",
        "clientFoundRows",
        "columnsWithAlias",
        "connectionAttributes",
        "interpolateParams",
        "loc",
        "maxAllowedPacket",
        "multiStatements",
        "parseTime",
        "rejectReadOnly",
        "timeTruncate",
        "compress",
    )
)
_MY_REFUSED = {
    "allowCleartextPasswords": "passwords in clear are not supported",
    "allowOldPasswords": "passwords of MySQL 4.0 are not supported",
    "allowAllFiles": "files are never loaded",
    "allowFallbackToPlaintext": "write tls=preferred",
    "serverPubKey": "registered keys are not supported",
}
_MY_DSN = re.compile(
    r"(?:(?P<login>.*)@)?(?P<net>[A-Za-z0-9]*)(?:\((?P<address>[^()]*)\))?/(?P<db>[^/?]*)(?:\?(?P<query>.*))?\Z",
    re.DOTALL,
)


def _mysql(text: str) -> Source:
    found = _MY_DSN.match(text)
    if found is None:
        _fail("for mysql it is user:password@tcp(host:port)/database?parameters")
    user, _, password = (found["login"] or "").partition(":")
    net, address = found["net"] or "tcp", found["address"] or ""
    if net not in ("tcp", "unix"):
        _fail(f"network {net!r} is not tcp or unix")
    given = dict(_pairs(found["query"] or ""))
    for key, why in _MY_REFUSED.items():
        if given.get(key) not in (None, "false", "0", ""):
            _fail(f"parameter {key!r}: {why}")
    given = {key: value for key, value in given.items() if key not in _MY_IGNORED and key not in _MY_REFUSED}
    for key in ("charset", "collation"):
        value = given.pop(key, "utf8mb4")
        if not any(name.strip().lower().startswith("utf8mb4") for name in value.split(",")):
            _fail(f"{key} {value!r}: the names of channels need utf8mb4")
    for key in given:
        if not re.fullmatch(r"[A-Za-z0-9_.]+", key):
            _fail(f"parameter {key[:40]!r} is no name of a system variable")
    host, port = _my_address(address) if net == "tcp" else ("", 0)
    connect_s = _seconds(given, "timeout") or CONNECT_TIMEOUT_S
    if not user:
        _fail("it names no user")
    return Source(
        MYSQL,
        host=host,
        port=port,
        socket=(address or "/tmp/mysql.sock") if net == "unix" else "",
        user=user,
        password=password,
        database=unquote(found["db"]) or _fail("it names no database"),
        tls=_my_tls(given.pop("tls", "false")) if net == "tcp" else None,
        connect_timeout_s=connect_s,
        statement_timeout_s=_statement_timeout_s(given),
        settings=given,
    )


def _my_address(address: str) -> tuple[str, int]:
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, _port(rest.removeprefix(":") or "3306")
    host, _, port = address.partition(":")
    return host or "127.0.0.1", _port(port or "3306")


def _my_tls(value: str) -> Tls | None:
    if value in ("skip-verify", "preferred"):
        return Tls(verify=False, verify_name=False, optional=value == "preferred")
    try:
        return Tls() if parse_bool(value) else None
    except ValueError:
        _fail(f"tls {value!r} is not true, false, skip-verify or preferred (names of Go programs mean nothing here)")


# Both.


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) <= _PORT_MAX or len(text) > 5:
        _fail(f"port {text[:20]!r} is not a number from 1 to {_PORT_MAX}")
    return int(text)


def _seconds(given: dict[str, str], key: str) -> float:
    """Take a length of time out of the parameters: Go's notation, or a bare number of seconds; 0 if it is not there."""
    text = given.pop(key, "")
    if not text:
        return 0.0
    try:
        seconds = parse_duration(text if not text.isdigit() else text + "s") / NS_PER_SECOND
    except ValueError:
        _fail(f"{key} {text[:40]!r} is no length of time: write 5s or 500ms")
    if not 0 <= seconds <= _TIMEOUT_MAX_S:
        _fail(f"{key} {text!r} is not between 0 and a day")
    return seconds


def _statement_timeout_s(given: dict[str, str]) -> float:
    """The Go drivers bound each read and each write; we bound a statement, which is both, by the longer one."""
    return max(_seconds(given, "readTimeout"), _seconds(given, "writeTimeout")) or STATEMENT_TIMEOUT_S
