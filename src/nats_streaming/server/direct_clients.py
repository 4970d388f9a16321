"""Whether clients may be served past the embedded nats-server: only where it does nothing with them that we do not.

What a nats-server may have been told is much; what is known to make no difference is listed, and everything else keeps
clients where they were, connected to the nats-server itself.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from nats_streaming.nats.binary import BINARY_VARIABLE, is_beside_python
from nats_streaming.server.settings.options import NatsOptions, Options

PLAIN_NATS_KEYS: Final = frozenset((
    "authorization", "connect_error_reports", "debug", "host", "http_base_path", "lame_duck_duration",
    "lame_duck_grace_period", "listen", "max_closed_clients", "max_conn", "max_connections", "max_payload", "net",
    "ping_interval", "ping_max", "port", "reconnect_error_reports", "server_metadata", "server_name", "server_tags",
))  # fmt: skip
"""Keys of the NATS part that change nothing of who gets which message."""

_ONE_USER: Final = frozenset(
    f"authorization.{key}" for key in ("pass", "password", "timeout", "token", "user", "username")
)
"""Of `authorization` what makes no difference between clients: those who are let in may do everything."""


def why_not_direct(options: Options) -> str:
    """Why clients connect to the embedded nats-server itself, "" if they connect to us."""
    nats = options.nats
    if not options.direct_clients:
        return "direct_clients is false"
    if options.nats_server_url:
        return "NATS is not embedded"
    if sys.platform == "win32":
        return "this system's event loop reads into buffers of its own"
    if options.ports_file_dir:
        return "nats-server lists the ports"
    if options.ft_group or options.partitioning:
        return "other servers share the subjects"
    if nats.trace or nats.trace_verbose:
        return "the NATS protocol is traced"
    reason = why_not_plain(nats)
    if reason:
        return reason
    if not _is_our_own(nats.binary) and not _knows_proxies(nats.binary):
        return "this nats-server knows no PROXY protocol"
    return ""


def why_not_plain(nats: NatsOptions) -> str:
    """What the embedded nats-server is told that may change who gets which message, and how; "" if nothing is."""
    if nats.child_arguments:
        return f"NATS has the argument {nats.child_arguments[0]}"
    for key in sorted(nats.config_keys):
        if not _is_plain(key):
            return f"the NATS configuration has {key}"
    return ""


def _is_plain(key: str) -> bool:
    section, is_inner, _ = key.partition(".")
    if section == "authorization" and is_inner:
        return key in _ONE_USER
    return section in PLAIN_NATS_KEYS or key == "trace"  # which is looked at by its value


def _is_our_own(binary: str) -> bool:
    """Whether the nats-server is the one that our own dependency put into this virtual environment: that is new enough.

    Beside the system's Python there may be the system's nats-server, of any age.
    """
    named = binary or os.environ.get(BINARY_VARIABLE)
    return not named and sys.prefix != sys.base_prefix and is_beside_python()


def _knows_proxies(binary: str) -> bool:
    from nats_streaming.nats.ask_binary import known_fields

    return bool(known_fields(binary or None, ["proxy_protocol"]))
