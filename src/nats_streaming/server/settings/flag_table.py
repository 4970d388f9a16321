"""Every flag of the original, and our own: names, kind, what it sets, what to say about it.

Data only. `flags` gives it meaning, `help_text` prints it. A flag whose function does not exist
yet stands here with `available=False`: it parses, and using it is refused by name.

Source: operations specification, sections 1.2 and 1.3.
"""

from __future__ import annotations

from typing import Final, NamedTuple

STRING: Final = "string"
INT: Final = "int"
BOOL: Final = "bool"
DURATION: Final = "duration"
SIZE: Final = "size"

CHILD: Final = "child"
"""Target of a flag that is handed to the embedded nats-server as it is."""


class Flag(NamedTuple):
    """One flag under all its names.

    Attributes:
        names: without dashes; all mean the same.
        kind: how its value is written: `STRING`, `INT`, `BOOL`, `DURATION` or `SIZE`.
        help: one line for the operator.
        default: as text, "" for none.
        targets: attributes of `Options` it sets, dotted; `CHILD`; or none.
        available: whether using it has an effect in this version.
    """

    names: tuple[str, ...]
    kind: str
    help: str
    default: str = ""
    targets: tuple[str, ...] = ()
    available: bool = True


def _set(names: str, kind: str, target: str, default: str, text: str) -> Flag:
    return Flag(tuple(names.split()), kind, text, default, tuple(target.split()))


def _pass_on(names: str, kind: str, text: str) -> Flag:
    return Flag(tuple(names.split()), kind, text, targets=(CHILD,))


def _later(names: str, kind: str, default: str, text: str) -> Flag:
    return Flag(tuple(names.split()), kind, text, default, available=False)


VERSION: Final = Flag(("v", "version"), BOOL, "Print the version and exit")
HELP: Final = Flag(("h", "help"), BOOL, "Print this text and exit")
SQL_INIT: Final = Flag(("sql_init",), BOOL, "Create or update the tables of the SQL store and exit")
SQL_SCRIPT: Final = Flag(("sql_script",), BOOL, "Print the statements that create its tables and exit")
HELP_TLS: Final = Flag(("help_tls",), BOOL, "Print what nats-server says of TLS options and exit")
CONFIG: Final = Flag(("c", "config"), STRING, "Configuration file, for NATS and streaming")
STAN_CONFIG: Final = Flag(("sc", "stan_config"), STRING, "Configuration file for streaming; alone, for NATS, too")
TEST: Final = Flag(("t",), BOOL, "Test the configuration file and exit")
SIGNAL: Final = Flag(
    ("sl", "signal"), STRING, "Signal a running server: stop, quit, term, reopen, reload or ldm, =PID or =PIDFILE"
)

_SERVER: Final = (
    _set("cid cluster_id", STRING, "cluster_id", "test-cluster", "Cluster ID: what clients ask for"),
    _set("st store", STRING, "store_type", "MEMORY", "Where messages are kept: MEMORY, FILE or SQL"),
    _set("dir", STRING, "store_dir file.directory", "", "Root directory of a FILE store"),
    _set("mc max_channels", INT, "limits.max_channels", "100", "Channels of the server, 0 is unlimited"),
    _set("msu max_subs", INT, "limits.max_subscriptions", "1000", "Subscriptions per channel, 0 is unlimited"),
    _set("mm max_msgs", INT, "limits.max_messages", "1000000", "Messages kept per channel, 0 is unlimited"),
    _set("mb max_bytes", SIZE, "limits.max_bytes", "1024000000", "Bytes kept per channel, 0 is unlimited"),
    _set("ma max_age", DURATION, "limits.max_age_ns", "0", "How long a message is kept, 0 is for ever"),
    _set(
        "mi max_inactivity", DURATION, "limits.max_inactivity_ns", "0", "Delete channels unused for so long, 0 is never"
    ),
    _set("ns nats_server", STRING, "nats_server_url", "", "Use NATS at this URL, or these, instead of embedding one"),
    STAN_CONFIG,
    _set("hbi hb_interval", DURATION, "heartbeat_interval_ns", "30s", "Pause between heartbeats to a client"),
    _set("hbt hb_timeout", DURATION, "heartbeat_timeout_ns", "10s", "How long to wait for a heartbeat's reply"),
    _set("hbf hb_fail_count", INT, "heartbeat_fail_count", "10", "Failed heartbeats a client survives"),
    _set("ft_group", STRING, "ft_group", "", "Name of the fault-tolerance group: one of its members is active"),
    SIGNAL,
    _set("encrypt", BOOL, "encryption.enabled", "false", "Encrypt the messages that the store keeps"),
    _set("encryption_cipher", STRING, "encryption.cipher", "", "Cipher of the store: AES or CHACHA"),
    _set("encryption_key", STRING, "encryption.key", "", "Key of the store; better in NATS_STREAMING_ENCRYPTION_KEY"),
    _set("replace_durable", BOOL, "replace_durable", "false", "Let a second subscriber take over a durable's name"),
    _set("io_batch_size", INT, "io_batch_size", "1024", "Messages committed together at most"),
    _set("io_sleep_time", INT, "io_sleep_time_us", "0", "Microseconds to wait for more messages to commit"),
    _set("direct_clients", BOOL, "direct_clients", "true", "Take publishes from clients past a plain embedded NATS"),
)

CLUSTERING: Final = (
    _later("clustered", BOOL, "false", "Run as a node of a replicated cluster"),
    _later("cluster_node_id", STRING, "", "ID of this node"),
    _later("cluster_bootstrap", BOOL, "false", "Start a new cluster with this node as its leader"),
    _later("cluster_peers", STRING, "", "IDs of the other nodes, comma separated"),
    _later("cluster_log_path", STRING, "", "Directory of the replicated log"),
    _later("cluster_log_cache_size", INT, "512", "Log entries kept in memory"),
    _later("cluster_log_snapshots", INT, "2", "Snapshots kept"),
    _later("cluster_trailing_logs", INT, "10240", "Log entries kept after a snapshot"),
    _later("cluster_sync", BOOL, "false", "Sync to disk after every write"),
    _later("cluster_raft_logging", BOOL, "false", "Log what replication does"),
    _later("cluster_allow_add_remove_node", BOOL, "false", "Allow requests that add and remove nodes"),
    _later("cluster_proceed_on_restore_failure", BOOL, "false", "Start although a snapshot cannot be restored"),
)

_FILE_STORE: Final = (
    _set("file_compact_enabled", BOOL, "file.compact_enabled", "true", "Compact files"),
    _set("file_compact_frag", INT, "file.compact_frag", "50", "Compact a file when so many percent of it are waste"),
    _set("file_compact_interval", INT, "file.compact_interval_seconds", "300", "Seconds between compactions at least"),
    _set("file_compact_min_size", SIZE, "file.compact_min_size", "1048576", "Leave smaller files alone"),
    _set("file_buffer_size", SIZE, "file.buffer_size", "2097152", "Size of the write buffer"),
    _set("file_read_buffer_size", SIZE, "file.read_buffer_size", "2097152", "Size of the read-ahead buffer, 0 is none"),
    _set("file_crc", BOOL, "file.crc", "true", "Check records by CRC-32"),
    _set("file_crc_poly", INT, "file.crc_poly", "3988292384", "Polynomial of the CRC-32"),
    _set("file_sync", BOOL, "file.sync", "true", "Sync to disk before a publisher is acknowledged"),
    _set("file_slice_max_msgs", INT, "file.slice_max_msgs", "0", "Messages per file slice"),
    _set("file_slice_max_bytes", SIZE, "file.slice_max_bytes", "67108864", "Bytes per file slice"),
    _set("file_slice_max_age", DURATION, "file.slice_max_age_ns", "0", "Age of a file slice"),
    _set(
        "file_slice_archive_script",
        STRING,
        "file.slice_archive_script",
        "",
        "Script that gets a slice before it is removed",
    ),
    _set("file_fds_limit", INT, "file.fds_limit", "0", "Open files at most, 0 is no limit"),
    _set("file_parallel_recovery", INT, "file.parallel_recovery", "1", "Channels recovered at the same time"),
    _set("file_truncate_bad_eof", BOOL, "file.truncate_bad_eof", "false", "Cut off a damaged end of file at recovery"),
    _set("file_auto_sync", DURATION, "file.auto_sync_ns", "1m", "Pause between syncs of what is not synced yet"),
    _set("file_strict", BOOL, "file.strict", "false", "Refuse to start on damaged files, as the original does"),
)

_SQL_STORE: Final = (
    _set("sql_driver", STRING, "sql.driver", "", "Database: postgres, mysql (MariaDB, too) or sqlite"),
    _set("sql_source", STRING, "sql.source", "", "How to reach the database"),
    _set("sql_no_caching", BOOL, "sql.no_caching", "false", "Store what is unacked in one row per message"),
    _set("sql_max_open_conns", INT, "sql.max_open_conns", "0", "Connections to the database, 0 is our choice"),
    _set("sql_bulk_insert_limit", INT, "sql.bulk_insert_limit", "0", "Messages per INSERT statement, 0 is our choice"),
    SQL_INIT,
    SQL_SCRIPT,
)

_STREAMING_TLS: Final = (
    _set("secure", BOOL, "link.secure", "false", "Refuse a NATS server without TLS"),
    _set("tls_client_key", STRING, "link.client_key", "", "Key of our client certificate"),
    _set("tls_client_cert", STRING, "link.client_cert", "", "Our client certificate"),
    _set("tls_client_cacert", STRING, "link.client_ca", "", "Certificate authority of the NATS server"),
)

_STREAMING_LOG: Final = (
    _set("SD stan_debug", BOOL, "debug", "false", "Debug lines of the streaming server"),
    _set("SV stan_trace", BOOL, "trace", "false", "Trace what streaming clients send and get"),
    _set("SDV", BOOL, "debug trace", "false", "Both; overrides the other two"),
    _set("syslog_name", STRING, "log.event_source", "", "Refused: there is no Windows event log to name a source for"),
)

_NATS: Final = (
    _set("a addr net", STRING, "nats.host", "0.0.0.0", "Address to listen on"),
    _set("p port", INT, "nats.port", "4222", "Port for clients, -1 is any free one"),
    _set("n name server_name", STRING, "nats.name", "", "Name of the NATS server"),
    _set("P pid", STRING, "pid_file", "", "File to write the process ID to"),
    _set("m http_port", INT, "nats.http_port", "0", "Port for monitoring over HTTP, 0 is none"),
    _set("ms https_port", INT, "nats.https_port", "0", "Port for monitoring over HTTPS, 0 is none"),
    CONFIG,
    TEST,
    _pass_on("client_advertise", STRING, "Address told to other servers' clients"),
    _set("metrics_channels", INT, "monitor.metrics_channels", "1000", "Channels with series of their own in /metrics"),
    _set("metrics_subs", INT, "monitor.metrics_subscriptions", "1000", "Subscriptions with series of their own there"),
    _set("ports_file_dir", STRING, "ports_file_dir", "", "Directory for a file that lists the ports in use"),
    _set(
        "nats_server_binary", STRING, "nats.binary", "", "The nats-server to embed (NATS_STREAMING_NATS_SERVER_BINARY)"
    ),
)

_LOG: Final = (
    _set("l log", STRING, "log.file", "", "Log file, instead of standard error"),
    _set("T logtime", BOOL, "log.timestamps", "true", "Put the time in log lines"),
    _set("logtime_utc", BOOL, "log.utc", "false", "Use UTC for it, not local time"),
    _set("log_size_limit", INT, "log.size_limit", "0", "Rotate the log file at so many bytes, 0 is never"),
    _set("s syslog", BOOL, "log.syslog", "false", "Log to the syslog of this machine"),
    _set("r remote_syslog", STRING, "log.remote_syslog", "", "Log to a syslog at udp://HOST:PORT or tcp://HOST:PORT"),
    _set("log_format", STRING, "log.format", "text", "How log lines are written: text or json"),
    _set("D debug", BOOL, "nats.debug", "false", "Debug lines of NATS"),
    _set("V trace", BOOL, "nats.trace", "false", "Trace the NATS protocol"),
    _set("DV", BOOL, "nats.debug nats.trace", "false", "Both"),
    _set("VV", BOOL, "nats.trace nats.trace_verbose", "false", "Trace, the system account too"),
    _set("DVV", BOOL, "nats.debug nats.trace nats.trace_verbose", "false", "Debug, and trace the system account too"),
    _pass_on("max_traced_msg_len", INT, "Bytes of a message that are traced at most"),
)

_JETSTREAM: Final = (
    _pass_on("js jetstream", BOOL, "Enable JetStream in the embedded NATS"),
    _pass_on("sd store_dir", STRING, "Directory of JetStream"),
)

_AUTHORIZATION: Final = (
    _set("user", STRING, "nats.user", "", "User name asked of NATS clients, and used by us"),
    _set("pass", STRING, "nats.password", "", "Password for it"),
    _set("auth", STRING, "nats.token", "", "Token asked of NATS clients, and used by us"),
)

_NATS_TLS: Final = (
    _pass_on("tls", BOOL, "Require TLS of NATS clients; false turns it off again"),
    _pass_on("tlscert", STRING, "Server certificate"),
    _pass_on("tlskey", STRING, "Key of the server certificate"),
    _pass_on("tlsverify", BOOL, "Require TLS and a client certificate"),
    _pass_on("tlscacert", STRING, "Certificate authority of clients"),
)

_NATS_CLUSTER: Final = (
    _pass_on("routes", STRING, "URLs of NATS servers to connect with"),
    _pass_on("cluster cluster_listen", STRING, "URL to listen on for other NATS servers"),
    _pass_on("cluster_name", STRING, "Name of the NATS cluster"),
    _pass_on("cluster_advertise", STRING, "Address told to other NATS servers"),
    _pass_on("no_advertise", BOOL, "Tell clients nothing of other servers"),
    _pass_on("connect_retries", INT, "Attempts to reach an implicit route"),
)

_COMMON: Final = (
    _pass_on("profile", INT, "Port for profiling the embedded NATS"),
    HELP,
    VERSION,
    HELP_TLS,
)

SECTIONS: Final[tuple[tuple[str, tuple[Flag, ...]], ...]] = (
    ("Streaming Server Options", _SERVER),
    ("Streaming Server Clustering Options", CLUSTERING),
    ("Streaming Server File Store Options", _FILE_STORE),
    ("Streaming Server SQL Store Options", _SQL_STORE),
    ("Streaming Server TLS Options", _STREAMING_TLS),
    ("Streaming Server Logging Options", _STREAMING_LOG),
    ("Embedded NATS Server Options", _NATS),
    ("Logging Options", _LOG),
    ("JetStream Options", _JETSTREAM),
    ("Authorization Options", _AUTHORIZATION),
    ("TLS Options", _NATS_TLS),
    ("NATS Clustering Options", _NATS_CLUSTER),
    ("Common Options", _COMMON),
)
"""The help text's groups, in its order."""

FLAGS: Final[dict[str, Flag]] = {name: flag for _, flags in SECTIONS for flag in flags for name in flag.names}
"""Each name to its flag."""
