"""Every key of a configuration file that we read: its names, and the flag that does the same.

Data only: `streaming_config` and `nats_config` give it meaning. A key is available when its flag is; keys without a
flag in the original have an entry here that stands in for one. Keys are compared in lower case.

Source: operations specification, sections 2.3, 2.4 and 2.6.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from nats_streaming.server.settings.flag_table import BOOL, FLAGS, STRING, Flag


class Key(NamedTuple):
    """One key under all its names.

    Attributes:
        names: all mean the same.
        flag: the kind of its value, what it sets, what to say about it.
    """

    names: tuple[str, ...]
    flag: Flag


class Section(NamedTuple):
    """A map of keys.

    Attributes:
        names: of the key whose value it is.
        title: how the original calls it in errors.
        keys: those in it.
    """

    names: tuple[str, ...]
    title: str
    keys: tuple[Key, ...]


def _like(flag: str, names: str) -> Key:
    return Key(tuple(names.split()), FLAGS[flag])


def _only(names: str, kind: str, target: str, default: str, text: str, *, available: bool = True) -> Key:
    """A key that no flag stands for."""
    all_names = tuple(names.split())
    return Key(all_names, Flag(all_names[:1], kind, text, default, (target,), available))


STREAMING_KEYS: Final = (
    _like("cid", "id cid cluster_id"),
    _only("discover_prefix", STRING, "discover_prefix", "_STAN.discover", "Subject of connect requests, before the ID"),
    _like("st", "st store store_type storetype"),
    _like("dir", "dir datastore"),
    _like("SD", "sd stan_debug"),
    _like("SV", "sv stan_trace"),
    _like("ns", "ns nats_server nats_server_url"),
    _only("username user", STRING, "link.user", "", "Our user name towards NATS, where NATS has none for us"),
    _only("password pass", STRING, "link.password", "", "Our password towards NATS, likewise"),
    _only("token", STRING, "link.token", "", "Our token towards NATS, likewise"),
    _only("credentials", STRING, "link.credentials", "", "NATS credentials file (JWT and seed) of ours"),
    _only("nkey_seed_file", STRING, "link.nkey_seed_file", "", "File with the NKey seed of ours"),
    _like("secure", "secure"),
    _like("hbi", "hbi hb_interval server_to_client_hb_interval"),
    _like("hbt", "hbt hb_timeout server_to_client_hb_timeout"),
    _like("hbf", "hbf hb_fail_count server_to_client_hb_fail_count"),
    _like("ft_group", "ft_group ft_group_name"),
    _only("partitioning", BOOL, "partitioning", "false", "Serve only the channels that the limits name"),
    _like("syslog_name", "syslog_name"),
    _like("metrics_channels", "metrics_channels"),
    _like("metrics_subs", "metrics_subs metrics_subscriptions"),
    _like("encrypt", "encrypt"),
    _like("encryption_cipher", "encryption_cipher"),
    _like("encryption_key", "encryption_key"),
    _like("replace_durable", "replace_durable replace_durables replace_duplicate_durable replace_duplicate_durables"),
    # From here on ours: the original has flags of these only, or nothing.
    _like("io_batch_size", "io_batch_size"),
    _like("io_sleep_time", "io_sleep_time"),
    _like("log_format", "log_format"),
    _like("nats_server_binary", "nats_server_binary"),
    _like("direct_clients", "direct_clients"),
)
"""Keys of `streaming { }` that are no maps."""

CHANNEL_LIMIT_KEYS: Final = (
    _like("msu", "msu max_subs max_subscriptions maxsubscriptions"),
    _like("mm", "mm max_msgs maxmsgs max_count maxcount"),
    _like("mb", "mb max_bytes maxbytes"),
    _like("ma", "ma max_age maxage"),
    _like("mi", "mi max_inactivity maxinactivity"),
)
"""Keys both of the limits and of one channel's."""

LIMITS: Final = Section(
    ("limits", "store_limits", "storelimits"),
    "store limits",
    (_like("mc", "mc max_channels maxchannels"), *CHANNEL_LIMIT_KEYS),
)

PER_CHANNEL_NAMES: Final = ("channels", "channels_limits", "channelslimits", "per_channel", "per_channel_limits")
"""Key of the limits: a map of channel names to maps of `CHANNEL_LIMIT_KEYS`."""

LINK_TLS: Final = Section(
    ("tls",),
    "TLS",
    (
        _like("tls_client_cert", "client_cert"),
        _like("tls_client_key", "client_key"),
        _like("tls_client_cacert", "client_ca client_cacert"),
        _only("server_name server_hostname", STRING, "link.server_name", "", "Name NATS must have in its certificate"),
        _only(
            "skip_verify insecure", BOOL, "link.insecure", "false", "Take any certificate of NATS: not for production"
        ),
        _only("handshake_first", BOOL, "link.handshake_first", "false", "Begin with TLS, as NATS's handshake_first"),
    ),
)

FILE_STORE: Final = Section(
    ("file", "file_options"),
    "file options",
    (
        _like("file_compact_enabled", "compact compact_enabled"),
        _like("file_compact_frag", "compact_frag compact_fragmentation"),
        _like("file_compact_interval", "compact_interval"),
        _like("file_compact_min_size", "compact_min_size"),
        _like("file_buffer_size", "buffer_size"),
        _like("file_read_buffer_size", "read_buffer_size file_read_buffer_size"),
        _like("file_crc", "crc do_crc"),
        _like("file_crc_poly", "crc_poly"),
        _like("file_sync", "sync do_sync sync_on_flush"),
        _like("file_auto_sync", "auto_sync file_auto_sync"),
        _like("file_slice_max_msgs", "slice_max_msgs slice_max_count slice_msgs slice_count"),
        _like("file_slice_max_bytes", "slice_max_bytes slice_max_size slice_bytes slice_size"),
        _like("file_slice_max_age", "slice_max_age slice_age slice_max_time slice_time_limit"),
        _like("file_slice_archive_script", "slice_archive_script slice_archive slice_script"),
        _like("file_fds_limit", "fds_limit file_descriptors_limit"),
        _like("file_parallel_recovery", "parallel_recovery"),
        _like("file_strict", "strict"),
    ),
)

SQL_STORE: Final = Section(
    ("sql", "sql_options"),
    "SQL options",
    (
        _like("sql_driver", "driver"),
        _like("sql_source", "source"),
        _like("sql_no_caching", "no_caching"),
        _like("sql_max_open_conns", "max_open_conns max_conns"),
        _like("sql_bulk_insert_limit", "bulk_insert_limit"),
    ),
)

SECTIONS: Final = (LIMITS, LINK_TLS, FILE_STORE, SQL_STORE)
"""Maps in `streaming { }`, besides the cluster."""

CLUSTER_NAMES: Final = ("cluster",)

STREAMING_SECTION: Final = "streaming"

NATS_KEYS: Final = (
    _like("a", "host net"),
    _like("p", "port"),
    _like("n", "server_name"),
    _like("D", "debug"),
    _like("V", "trace"),
    _only("trace_verbose", BOOL, "nats.trace_verbose", "false", "Trace the system account too"),
)
"""Keys of the NATS part that we need to know and nats-server gets, too."""

OUR_NATS_KEYS: Final = (
    _like("m", "http_port monitor_port"),
    _like("ms", "https_port"),
    _like("P", "pid_file pidfile"),
    _like("ports_file_dir", "ports_file_dir"),
    _like("l", "log_file logfile"),
    _like("T", "logtime"),
    _like("logtime_utc", "logtime_utc"),
    _like("log_size_limit", "log_size_limit logfile_size_limit"),
    _like("s", "syslog"),
    _like("r", "remote_syslog"),
)
"""Keys of the NATS part that are done by us, in nats-server's stead."""

LISTEN: Final = "listen"
MONITOR_ADDRESSES: Final = {"http": "nats.http_port", "https": "nats.https_port"}
"""Keys whose value is a port or `host:port`."""

PASSED_NATS_KEYS: Final = frozenset((
    "accounts", "account_resolver", "accounts_resolver", "allow_non_tls", "authorization", "client_advertise",
    "cluster", "connect_error_reports", "default_js_domain", "default_sentinel", "disable_sublist_cache",
    "feature_flags", "gateway", "http_base_path", "jetstream", "lame_duck_duration", "lame_duck_grace_period", "leaf",
    "leafnodes", "mappings", "maps", "max_closed_clients", "max_conn", "max_connections", "max_control_line",
    "max_payload", "max_pending", "max_sub_tokens", "max_subs", "max_subscription_tokens", "max_subscriptions",
    "max_traced_msg_len", "mqtt", "no_auth_user", "no_fast_producer_stall", "no_header_support", "no_sublist_cache",
    "no_sys_acc", "no_system", "no_system_account", "ocsp", "ocsp_cache", "operator", "operators", "ping_interval",
    "ping_max", "prof_block_rate", "prof_port", "proxies", "proxy_protocol", "reconnect_error_reports", "resolver",
    "resolver_pinned_accounts", "resolver_preload", "resolver_tls", "root", "root_operator", "root_operators",
    "roots", "server_metadata", "server_tags", "store_dir", "storedir", "system", "system_account", "tls",
    "trace_headers", "trusted", "trusted_keys", "websocket", "write_deadline", "write_timeout", "ws",
))  # fmt: skip
"""Keys of the NATS part that are nats-server's own affair."""

UNUSED_NATS_KEYS: Final = frozenset(("logfile_max_num", "log_max_num"))
"""Known to nats-server, about its own log file, which it does not have here."""
