"""Syslog, on this machine or another one, in the packets that Go's library sends.

Source: operations specification, sections 1.3 and 3.1; RFC 3164 for the priority.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from nats_streaming.errors import ConfigError, quoted
from nats_streaming.nats.urls import split_host_port

LOCAL_PATHS: Final = ("/dev/log", "/var/run/syslog", "/var/run/log")
"""Sockets at which a syslog of this machine listens, by system."""

_TIMEOUT_S: Final = 5.0  # only the log's own thread waits
_NETWORKS: Final = ("udp", "tcp", "unix")


class Syslog:
    """A connection to a syslog, made again when it breaks. What a stream's peer had not read then is lost."""

    def __init__(self, name: str, network: str, paths: list[str], host: str = "", port: int = 0) -> None:
        """
        Args:
            name: for messages about it.
            network: `udp`, `tcp` or `unix`.
            paths: sockets on this machine, tried in this order; empty for a network address.
            host: name or address of the syslog's machine.
            port: its port there.

        Raises:
            ConfigError: none takes a connection.
        """
        self.name = name
        self._kind = socket.SOCK_DGRAM if network == "udp" else socket.SOCK_STREAM
        self._paths = paths
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        try:
            self._connect()
        except OSError as error:
            address = f"{host}:{port}" if host else " ".join(paths)
            reason = (error.strerror or str(error)).lower()
            text = f"dial {network} {address}: {reason}" if address else "Unix syslog delivery error"
            raise ConfigError(f"error connecting to syslog: {quoted(text)}", option="syslog") from error

    def write(self, lines: deque[bytes]) -> None:
        """See `Sink`."""
        while lines:
            try:
                self._send(lines[0])
            except OSError:
                # The daemon may have been restarted: a new connection must take the line.
                self._connect()
                self._send(lines[0])
            lines.popleft()

    def close(self) -> None:
        """See `Sink`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, line: bytes) -> None:
        if self._socket is None:
            raise OSError("not connected")
        self._socket.sendall(line)

    def _connect(self) -> None:
        self.close()
        failure = OSError("no syslog listens on this machine")
        for family, kind, address in self._targets():
            connection = socket.socket(family, kind)
            connection.settimeout(_TIMEOUT_S)
            try:
                connection.connect(address)
            except OSError as error:
                connection.close()
                failure = error
            else:
                self._socket = connection
                return
        raise failure

    def _targets(self) -> Iterator[tuple[int, int, Any]]:
        for path in self._paths:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                yield socket.AF_UNIX, kind, path
        if self._host:
            for family, kind, _, _, address in socket.getaddrinfo(self._host, self._port, type=self._kind):
                yield family, kind, address


def local_syslog() -> Syslog:
    """The syslog of this machine.

    Raises:
        ConfigError: there is none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("-syslog: this system has no syslog; -log writes a file", option="syslog")
    return Syslog("syslog", "unix", [path for path in LOCAL_PATHS if os.path.exists(path)])


def remote_syslog(url: str) -> Syslog:
    """A syslog at `udp://HOST:PORT`, `tcp://HOST:PORT` or `unix:///PATH`.

    Raises:
        ConfigError: no such URL, or nobody takes a connection there.
    """
    network, separator, rest = url.partition("://")
    if not separator or network not in _NETWORKS:
        raise ConfigError(
            f"error invalid network type: {quoted(network if separator else '')}"
            " (-remote_syslog takes udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH)",
            option="remote_syslog",
        )
    if network == "unix":
        return Syslog(url, network, [rest])
    try:
        host, port = split_host_port(rest.partition("/")[0])
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
            raise ConfigError(f"address {rest}: invalid port")
    except ConfigError as error:
        text = quoted(f"dial {network}: {error}")
        raise ConfigError(f"error connecting to syslog: {text}", option="remote_syslog") from None
    return Syslog(url, network, [], host or "127.0.0.1", int(port))
