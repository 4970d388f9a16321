"""Addresses of NATS servers: the forms that `-ns` takes, and how an address is shown in logs.

One URL must be `scheme://host:port`. A value with `@` or `,` is a comma list whose members may leave
out the scheme (`nats`) and the port (4222) and may hold user information.

Source: the Go server's option `nats_server` and the URL pool of the Go NATS client.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace

from nats_streaming.errors import ConfigError

NATS_PORT = 4222
REDACTED = "[REDACTED]"

_TLS_SCHEMES = ("tls", "nats+tls")
_SCHEMES = ("nats", *_TLS_SCHEMES)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """One address to connect to. Its text form never shows the user information."""

    host: str
    port: int
    scheme: str = "nats"
    user: str | None = None
    password: str | None = None
    discovered: bool = False  # learnt from a server's INFO, not configured
    tls_name: str | None = None  # host name to verify when `host` is an IP address that a server told us

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return join_host_port(self.host, self.port)

    @property
    def is_tls(self) -> bool:
        return self.scheme in _TLS_SCHEMES

    def __str__(self) -> str:
        user = "" if self.user is None else f"{REDACTED}@"
        return f"{self.scheme}://{user}{self.address}"

    def __repr__(self) -> str:
        return f"ServerUrl({self})"


def parse_server_urls(value: str) -> list[ServerUrl]:
    """The addresses in the value of `-ns`.

    Args:
        value: one URL, or a comma list of them.

    Returns:
        At least one address, in the order given.

    Raises:
        ConfigError: with the Go server's text, for instance `malformed url: x`.
    """
    if "@" not in value and "," not in value:
        parts = value.split("://")
        if len(parts) != 2:
            raise ConfigError(f"malformed url: {value}")
        split_host_port(parts[1].partition("/")[0])  # here the port is obligatory
        return [parse_server_url(value)]
    urls = [parse_server_url(part.strip()) for part in value.split(",") if part.strip()]
    if not urls:
        raise ConfigError(f"malformed url: {value}")
    return urls


def discovered_urls(addresses: list[str], current: ServerUrl, configured: list[ServerUrl]) -> list[ServerUrl]:
    """The addresses that a server's INFO lists in `connect_urls` and that are not configured anyway.

    They take over the scheme of the current connection and the first configured user information. Members that
    cannot be understood are left out: a server's list must not break a working link.
    """
    known = {(url.host, url.port) for url in configured}
    with_user = next((url for url in (current, *configured) if url.user is not None), current)
    found = []
    for address in addresses:
        try:
            host, port_text = split_host_port(address)
            port = _port_number(port_text, address)
        except ConfigError:
            continue
        if not host or (host, port) in known:
            continue
        known.add((host, port))
        tls_name = None
        if is_ip_address(host):
            tls_name = current.tls_name or (None if is_ip_address(current.host) else current.host)
        user = replace(with_user, host=host, port=port, scheme=current.scheme, discovered=True, tls_name=tls_name)
        found.append(user)
    return found


def join_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(address: str) -> tuple[str, str]:
    """Split `host:port` or `[host]:port`.

    Raises:
        ConfigError: with the text of the Go function of this name.
    """
    colon = address.rfind(":")
    if colon < 0:
        raise ConfigError(f"address {address}: missing port in address")
    if address.startswith("["):
        end = address.find("]")
        if end < 0:
            raise ConfigError(f"address {address}: missing ']' in address")
        if end + 1 != colon:
            several = address[end + 1 : end + 2] == ":"
            raise ConfigError(f"address {address}: {'too many colons' if several else 'missing port'} in address")
        host = address[1:end]
    else:
        host = address[:colon]
        if ":" in host:
            raise ConfigError(f"address {address}: too many colons in address")
    port = address[colon + 1 :]
    for bracket in "[]":
        if bracket in host or bracket in port:
            raise ConfigError(f"address {address}: unexpected '{bracket}' in address")
    return host, port


def is_ip_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def parse_server_url(text: str) -> ServerUrl:
    """One address, scheme and port optional. An error text shows no user information.

    Raises:
        ConfigError: it cannot be understood.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "nats", text
    rest = rest.partition("/")[0]
    user_information, at, hostport = rest.rpartition("@")
    shown = f"{scheme}://{REDACTED + '@' if at else ''}{hostport}"
    if scheme.lower() not in _SCHEMES:
        raise ConfigError(f"malformed url: {shown}: the scheme must be nats or tls")
    if not hostport.endswith("]") and ":" in hostport:
        host, port_text = split_host_port(hostport)
    else:
        host, port_text = hostport.strip("[]"), ""
    user = password = None
    if at:
        user_text, colon, password_text = user_information.partition(":")
        user = _unquote(user_text)
        password = _unquote(password_text) if colon else None
    port = _port_number(port_text, shown) if port_text else NATS_PORT
    return ServerUrl(host or "127.0.0.1", port, scheme.lower(), user, password)


def _port_number(text: str, shown: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f'parse "{shown}": invalid port ":{text}" after host')
    if len(text) > 5 or not 0 < int(text) < 65536:
        raise ConfigError(f"address {text}: invalid port")
    return int(text)


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # rarely needed, and slow to import

    return unquote(text)
