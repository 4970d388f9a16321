"""Everything an operator can set, as one value; the defaults are a server started without arguments.

Filled in by `flags` and, later, the configuration file; read by everyone who assembles the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nats_streaming.constants import (
    DEFAULT_CLUSTER_ID,
    DEFAULT_DISCOVER_PREFIX,
    DEFAULT_HEARTBEAT_FAIL_COUNT,
    DEFAULT_HEARTBEAT_INTERVAL_NS,
    DEFAULT_HEARTBEAT_TIMEOUT_NS,
    DEFAULT_IO_BATCH_SIZE,
    DEFAULT_IO_SLEEP_TIME_US,
    DEFAULT_METRICS_CHANNELS,
    DEFAULT_METRICS_SUBSCRIPTIONS,
    DEFAULT_NATS_HOST,
    DEFAULT_NATS_PORT,
    DEFAULT_STORE_TYPE,
)
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.sql.options import SqlOptions

_PORT_MAX = 65_535


@dataclass(slots=True)
class NatsOptions:
    """The embedded nats-server, and how we log in to NATS, embedded or not.

    Attributes:
        host: address the embedded server listens on.
        port: its client port; -1 means any free one.
        http_host: address of the monitoring; "" is `host`.
        http_port: monitoring port; 0 means none, -1 any free one.
        https_port: the same over TLS.
        http_base_path: what precedes the paths of NATS's own monitoring pages.
        tls_cert, tls_key: paths of the certificate, and its key, that the monitoring port shows.
        name: its name; "" lets it choose.
        debug, trace, trace_verbose: its own log levels, independent of the streaming ones.
        user, password, token: asked of clients when embedded, and used by our own link.
        binary: path of the nats-server executable; "" means look for it (`nats.binary`).
        child_arguments: further arguments handed to it unchanged.
        config_text: the NATS part of the operator's configuration, includes and variables resolved.
        config_name: path of the file that text comes from; "" without one.
        config_places: for each line of that text where it stands in the operator's files.
        config_keys: keys of that text, and of its maps as `map.key`; small letters.
        flagged: attributes of this class that flags have set: these go before the file's.
    """

    host: str = DEFAULT_NATS_HOST
    port: int = DEFAULT_NATS_PORT
    http_host: str = ""
    http_port: int = 0
    https_port: int = 0
    http_base_path: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    name: str = ""
    debug: bool = False
    trace: bool = False
    trace_verbose: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    binary: str = ""
    child_arguments: list[str] = field(default_factory=list)
    config_text: str = field(default="", repr=False)
    config_name: str = ""
    config_places: tuple[str, ...] = field(default=(), repr=False)
    config_keys: frozenset[str] = frozenset()
    flagged: frozenset[str] = frozenset()


@dataclass(slots=True)
class LinkSecurity:
    """How our own link shows who it is to NATS, and what it asks of NATS in turn.

    Attributes:
        user, password, token: each holds where `NatsOptions` leaves it empty.
        credentials: path of a NATS 2 credentials file.
        nkey_seed_file: path of a file with an NKey seed.
        secure: refuse a NATS server without TLS.
        client_cert, client_key: paths of our certificate and its key.
        client_ca: path of the authority that signed the server's certificate.
        server_name: name the certificate must carry; "" is the host we connect to.
        insecure: take any certificate.
        handshake_first: begin with TLS, as a nats-server with `handshake_first` wants it, not when it has said INFO.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials: str = ""
    nkey_seed_file: str = ""
    secure: bool = False
    client_cert: str = ""
    client_key: str = ""
    client_ca: str = ""
    server_name: str = ""
    insecure: bool = False
    handshake_first: bool = False

    @property
    def wants_tls(self) -> bool:
        """Whoever says how TLS shall be wants it: a server without is refused then."""
        return bool(
            self.secure
            or self.client_ca
            or self.client_cert
            or self.client_key
            or self.server_name
            or self.insecure
            or self.handshake_first
        )


@dataclass(slots=True)
class EncryptionOptions:
    """Encryption of what the store keeps.

    Attributes:
        enabled: whether it is asked for; a key asks for it too.
        cipher: AES or CHACHA in any case; "" is what the machine does fastest.
        key: the operator's; the environment variable comes before it.
    """

    enabled: bool = False
    cipher: str = ""
    key: str = field(default="", repr=False)


@dataclass(slots=True)
class LogOptions:
    """Where log lines go and how they begin.

    Attributes:
        file: path of the log file; "" means standard error.
        timestamps: whether lines carry the time.
        utc: whether that time is UTC, not local.
        size_limit: bytes at which the file is rotated; 0 is never.
        syslog: whether lines go to the local syslog.
        remote_syslog: URL of a syslog server; "" means none.
        format: `text` or `json`.
        event_source: name in a Windows event log, which is not written: anything but "" is refused.
    """

    file: str = ""
    timestamps: bool = True
    utc: bool = False
    size_limit: int = 0
    syslog: bool = False
    remote_syslog: str = ""
    format: str = "text"
    event_source: str = ""


@dataclass(slots=True)
class MonitorOptions:
    """What monitoring shows; the port is NATS's (`NatsOptions.http_port`).

    Attributes:
        metrics_channels: channels that have series of their own in `/metrics`.
        metrics_subscriptions: the same for subscriptions.
    """

    metrics_channels: int = DEFAULT_METRICS_CHANNELS
    metrics_subscriptions: int = DEFAULT_METRICS_SUBSCRIPTIONS

    def check(self) -> None:
        """
        Raises:
            ConfigError: a number is negative.
        """
        for name in ("metrics_channels", "metrics_subscriptions"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"{name} cannot be negative ({value}); 0 is none", option=name)


@dataclass(slots=True)
class Options:
    """A server's options.

    Attributes:
        cluster_id: names this server among those on the same NATS; part of its subjects.
        discover_prefix: connect requests arrive on this, a dot, and the cluster ID.
        store_type: name of the store, upper case.
        store_dir: root directory of stores that have one.
        limits: what the server and its channels may hold.
        file: the FILE store.
        encryption: whether and how the store encrypts messages.
        heartbeat_interval_ns: nanoseconds between heartbeats to a client.
        heartbeat_timeout_ns: nanoseconds to wait for a heartbeat's reply.
        heartbeat_fail_count: failures in a row a client survives.
        io_batch_size: messages of one batch; 0 and 1 mean single messages.
        io_sleep_time_us: microseconds to wait for more messages before a commit.
        direct_clients: whether we listen for clients in place of a plain embedded NATS (`server.direct_clients`).
        replace_durable: whether a second active subscription takes over a durable's name.
        nats_server_url: NATS to connect to; "" means embed one.
        debug, trace: whether streaming writes DBG and TRC lines.
        nats: the embedded nats-server and our credentials.
        link: how our link logs in to NATS.
        monitor: what monitoring shows.
        log: the log.
        pid_file: file to write the process ID to; "" means none.
        ports_file_dir: directory for a file that lists the ports in use; "" means none.
        ft_group: name of the fault-tolerance group; "" means none.
        partitioning: whether this server serves only the channels its limits name.
        sql: the SQL store.
        warnings: what the configuration says in vain, for the log.
    """

    cluster_id: str = DEFAULT_CLUSTER_ID
    discover_prefix: str = DEFAULT_DISCOVER_PREFIX
    store_type: str = DEFAULT_STORE_TYPE
    store_dir: str = ""
    limits: StoreLimits = field(default_factory=StoreLimits)
    file: FileOptions = field(default_factory=FileOptions)
    encryption: EncryptionOptions = field(default_factory=EncryptionOptions)
    heartbeat_interval_ns: int = DEFAULT_HEARTBEAT_INTERVAL_NS
    heartbeat_timeout_ns: int = DEFAULT_HEARTBEAT_TIMEOUT_NS
    heartbeat_fail_count: int = DEFAULT_HEARTBEAT_FAIL_COUNT
    io_batch_size: int = DEFAULT_IO_BATCH_SIZE
    io_sleep_time_us: int = DEFAULT_IO_SLEEP_TIME_US
    direct_clients: bool = True
    replace_durable: bool = False
    nats_server_url: str = ""
    debug: bool = False
    trace: bool = False
    nats: NatsOptions = field(default_factory=NatsOptions)
    link: LinkSecurity = field(default_factory=LinkSecurity)
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    log: LogOptions = field(default_factory=LogOptions)
    pid_file: str = ""
    ports_file_dir: str = ""
    ft_group: str = ""
    partitioning: bool = False
    sql: SqlOptions = field(default_factory=SqlOptions)
    warnings: list[str] = field(default_factory=list)

    def set(self, target: str, value: object) -> None:
        """Set one attribute.

        Args:
            target: its name, perhaps with that of the attribute it is in: `nats.port`.
            value: of the right type.
        """
        room, _, name = target.rpartition(".")
        setattr(getattr(self, room) if room else self, name, value)

    def check(self) -> None:
        """Refuse values no server can start with, before anything is opened.

        Raises:
            ConfigError: names the option; the text is the original's where it has one.
        """
        self.limits.build()
        if self.store_type == "FILE":
            self.file.check()
        if self.store_type == "SQL":
            self.sql.check()
        if not self.cluster_id or any(not token or token.split() != [token] for token in self.cluster_id.split(".")):
            raise ConfigError(
                "could not subscribe to discover subject: nats: invalid subject"
                " (a cluster ID is part of NATS subjects: no spaces, no empty tokens)",
                option="cluster_id",
            )
        if self.partitioning and not self.limits.per_channel:
            raise ConfigError(
                "stan: no configured channel (with partitioning the channels to serve are those of the limits)",
                option="partitioning",
            )
        tokens = self.ft_group.split(".") if self.ft_group else []
        if any(token in ("", "*", ">") or token.split() != [token] for token in tokens):
            raise ConfigError(
                "the name of a fault-tolerance group is part of a NATS subject: no spaces, empty tokens or wildcards,"
                f" got {quoted(self.ft_group)}",
                option="ft_group",
            )
        _check_port("port", self.nats.port)
        _check_port("http_port", self.nats.http_port)
        _check_port("https_port", self.nats.https_port)
        self.monitor.check()


def _check_port(option: str, port: int) -> None:
    if not -1 <= port <= _PORT_MAX:
        raise ConfigError(
            f"-{option} must be a port up to {_PORT_MAX} or -1 for any free one, got {port}", option=option
        )
