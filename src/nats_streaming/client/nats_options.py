"""The connect options of nats-py, passed through, and which of them the native link knows itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import ssl


class NatsOptions(TypedDict, total=False):
    """Keyword arguments of nats-py's `connect`, with their names and meanings; `servers` stands on its own."""

    name: str
    user: str
    password: str
    token: str
    tls: ssl.SSLContext
    tls_hostname: str
    tls_handshake_first: bool
    connect_timeout: float
    reconnect_time_wait: float
    ping_interval: float
    max_outstanding_pings: int
    dont_randomize: bool
    inbox_prefix: str | bytes

    error_cb: Callable[[Exception], Awaitable[None]]
    disconnected_cb: Callable[[], Awaitable[None]]
    closed_cb: Callable[[], Awaitable[None]]
    discovered_server_cb: Callable[[], Awaitable[None]]
    reconnected_cb: Callable[[], Awaitable[None]]
    lame_duck_mode_cb: Callable[[], Awaitable[None]]
    reconnect_to_server_handler: Callable[..., Any]
    pedantic: bool
    verbose: bool
    allow_reconnect: bool
    max_reconnect_attempts: int
    flusher_queue_size: int
    no_echo: bool
    drain_timeout: float
    signature_cb: Callable[[str], bytes]
    user_jwt_cb: Callable[[], bytearray | bytes]
    user_credentials: Any
    nkeys_seed: str
    nkeys_seed_str: str
    pending_size: int
    flush_timeout: float
    ws_connection_headers: dict[str, list[str]]
    skip_subject_validation: bool


NATIVE = frozenset(
    {
        "name",
        "user",
        "password",
        "token",
        "tls",
        "tls_hostname",
        "tls_handshake_first",
        "connect_timeout",
        "reconnect_time_wait",
        "ping_interval",
        "max_outstanding_pings",
        "dont_randomize",
        "inbox_prefix",
        "user_credentials",
        "nkeys_seed",
    }
)
"""The options of the native link. Any other one makes the client use nats-py."""


def check_names(options: NatsOptions) -> None:
    """
    Raises:
        TypeError: an option is neither ours nor one of nats-py.
    """
    unknown = sorted(options.keys() - NatsOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"connect: no option {', '.join(unknown)}, neither of this client nor of nats-py")


def only_nats_py(servers: list[str], options: NatsOptions) -> list[str]:
    """What of these the native link does not know: names of options, and addresses of WebSockets."""
    values: dict[str, object] = dict(options)
    names = [name for name in values if name not in NATIVE]
    names += [name for name in ("user", "password", "token") if callable(values.get(name))]
    if not isinstance(values.get("user_credentials", ""), str | Path):
        names.append("user_credentials that are not one file")
    return names + [address for address in servers if address.startswith(("ws://", "wss://"))]
