"""What a client and a nats-server tell each other first: INFO, CONNECT, and the errors that may follow.

Values in, bytes out: no socket here.

Source: NATS client protocol, operations INFO, CONNECT and -ERR.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nats_streaming.constants import NATS_RECONNECT_WAIT_NS, NS_PER_SECOND
from nats_streaming.errors import NatsLinkError, ProtocolError

if TYPE_CHECKING:
    import ssl

    from nats_streaming.nats.urls import ServerUrl

_REFUSED_SUBSCRIPTION = re.compile(rb'permissions violation for subscription to "([^"]*)"', re.IGNORECASE)

NATS_MAX_PAYLOAD_BYTES = 1024 * 1024
"""A nats-server's default, used until an INFO says otherwise."""


class Authenticator(Protocol):
    """Extension point for NATS 2 credentials: NKEY seeds and JWT `.creds` files."""

    def connect_fields(self, nonce: str | None) -> Mapping[str, str]:
        """The CONNECT fields that prove who we are, for instance `jwt` and `sig`, or `nkey` and `sig`.

        Called at each connect, so files may be read here and rotated credentials are picked up.

        Args:
            nonce: what the server wants signed; None if it sent none.

        Raises:
            NatsLinkError: the credentials cannot be used; its text says which file and why.
        """


@dataclass(slots=True)
class LinkOptions:
    """How one link connects. Times are seconds, sizes bytes."""

    name: str
    """Client name, shown by the NATS server's monitoring and in our logs."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    """Credentials; user information in a URL goes before them."""

    authenticator: Authenticator | None = None

    ssl_context: ssl.SSLContext | None = None
    """For servers that want TLS; None verifies with the system's roots."""

    tls_required: bool = False
    """Refuse a server without TLS (a `tls://` URL says the same)."""

    tls_hostname: str | None = None
    """Name to verify in the server's certificate instead of the host connected to."""

    tls_handshake_first: bool = False
    """The server starts TLS before it sends INFO."""

    tls_impossible: str = ""
    """Why this process can do no TLS, for whoever reads the error; "" if it can."""

    preamble: bytes = b""
    """Sent before anything else, where the server wants to be told who connects (PROXY protocol)."""

    version: str = ""
    """Our version as the NATS server's monitoring shows it."""

    follow_discovered: bool = True
    """Whether addresses learnt from the server are used to reconnect."""

    connect_timeout_s: float = 2.0
    """For one address, from name look-up to the first PONG (the Go client's default)."""

    reconnect_wait_s: float = NATS_RECONNECT_WAIT_NS / NS_PER_SECOND
    """Between two passes over all addresses."""

    ping_interval_s: float = 120.0
    pings_outstanding_max: int = 2
    """More unanswered PINGs of ours than this, and the connection is stale."""

    write_high_bytes: int = 4 * 1024 * 1024
    write_low_bytes: int = 1024 * 1024
    """Watermarks of what waits to be sent: large enough for one cycle's deliveries, small enough to stay in cache."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The fields of INFO that matter to us."""

    max_payload: int = NATS_MAX_PAYLOAD_BYTES
    server_id: str = ""
    server_name: str = ""
    version: str = ""
    headers: bool = False
    tls_required: bool = False
    tls_available: bool = False
    auth_required: bool = False
    nonce: str | None = None
    client_id: int = 0
    lame_duck: bool = False
    connect_urls: list[str] = field(default_factory=list)


def parse_info(payload: bytes) -> ServerInfo:
    """Decode the JSON of an INFO; unknown fields are ignored, fields of a wrong type too.

    Raises:
        ProtocolError: not a JSON object.
    """
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"NATS link: INFO is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ProtocolError("NATS link: INFO is not a JSON object")
    max_payload = _integer(values, "max_payload")
    addresses = values.get("connect_urls")
    return ServerInfo(
        max_payload=max_payload if max_payload > 0 else NATS_MAX_PAYLOAD_BYTES,
        server_id=_text(values, "server_id"),
        server_name=_text(values, "server_name"),
        version=_text(values, "version"),
        headers=values.get("headers") is True,
        tls_required=values.get("tls_required") is True,
        tls_available=values.get("tls_available") is True,
        auth_required=values.get("auth_required") is True,
        nonce=_text(values, "nonce") or None,
        client_id=_integer(values, "client_id"),
        lame_duck=values.get("ldm") is True,
        connect_urls=[text for text in addresses if isinstance(text, str)] if isinstance(addresses, list) else [],
    )


def connect_frame(options: LinkOptions, url: ServerUrl, info: ServerInfo, *, tls: bool) -> bytes:
    """The CONNECT operation.

    Args:
        options: name and credentials.
        url: its user information goes before the credentials in `options`; a user without password is a token.
        info: what this server said of itself; a server before 2.2 is not asked for headers.
        tls: whether the connection is encrypted.

    Raises:
        NatsLinkError: the credentials cannot be used.
    """
    fields: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": tls,
        "name": options.name,
        "lang": "python",
        "version": options.version,
        "protocol": 1,  # we understand INFO at any time
        "echo": True,  # requests to ourselves find another server with our cluster ID
        "headers": info.headers,
        "no_responders": info.headers,
    }
    if url.user is not None and url.password is None:
        fields["auth_token"] = url.user
    elif url.user is not None:
        fields["user"], fields["pass"] = url.user, url.password
    else:
        if options.user:
            fields["user"], fields["pass"] = options.user, options.password or ""
        if options.token:
            fields["auth_token"] = options.token
    if options.authenticator is not None:
        fields.update(options.authenticator.connect_fields(info.nonce))
    return b"CONNECT " + json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\r\n"


def link_error(text: bytes) -> NatsLinkError:
    """The -ERR `text` of a server as an error, in the words of the Go client."""
    decoded = text.decode("utf-8", "replace")
    if decoded.lower() == "stale connection":
        decoded = "stale connection"
    return NatsLinkError(f"nats: {decoded}")


def is_permissions_violation(text: bytes) -> bool:
    """Whether a -ERR concerns one publish or subscription, and leaves the connection open."""
    return text[:22].lower() == b"permissions violation "


def refused_subject(text: bytes) -> str | None:
    """The subject of a subscription that a -ERR says we may not have; None if it says something else."""
    match = _REFUSED_SUBSCRIPTION.match(text)
    return None if match is None else match[1].decode("utf-8", "replace")


def is_valid_subject(subject: bytes) -> bool:
    """Whether NATS takes this as the subject of a subscription: no white space, no empty token."""
    return not any(byte in b" \t\r\n" for byte in subject) and all(subject.split(b"."))


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _integer(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
