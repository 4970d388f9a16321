"""The listening socket of monitoring, and its TLS. Errors are in the words of the original.

Source: operations specification, section 1.3.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from nats_streaming.errors import ConfigError
from nats_streaming.nats.embedded_options import bracketed
from nats_streaming.server.settings.options import Options

if TYPE_CHECKING:
    import ssl

_BACKLOG: Final = 128


def is_monitoring_on(options: Options) -> bool:
    return options.nats.http_port != 0 or options.nats.https_port != 0


def monitoring_host(options: Options) -> str:
    """Address to listen on; NATS's own if none is set."""
    return options.nats.http_host or options.nats.host


def monitoring_urls(options: Options) -> list[str]:
    """Where it is to be reached, empty when it is off; a port of -1 is the real one as soon as it is bound."""
    if not is_monitoring_on(options):
        return []
    scheme, port = ("http", options.nats.http_port) if options.nats.http_port else ("https", options.nats.https_port)
    return [f"{scheme}://{bracketed(monitoring_host(options))}:{port}"]


def monitoring_tls(options: Options) -> ssl.SSLContext | None:
    """The TLS context of the port, None for HTTP.

    Raises:
        ConfigError: both ports are asked for, or there is no usable certificate.
    """
    nats = options.nats
    if nats.http_port and nats.https_port:
        raise _error(f"can't specify both HTTP ({nats.http_port}) and HTTPs ({nats.https_port}) ports")
    if not nats.https_port:
        return None
    if not (nats.tls_cert and nats.tls_key):
        raise _error("TLS cert and key required for HTTPS", option="https_port")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(nats.tls_cert, nats.tls_key)
    except OSError as error:  # an SSLError is one
        reason = error.strerror or error
        text = f"error parsing X509 certificate/key pair {nats.tls_cert}, {nats.tls_key}: {reason}"
        raise _error(text, option="tlscert") from error
    return context


def bind_monitoring_port(options: Options) -> socket.socket:
    """Listen; nobody is answered yet.

    Raises:
        ConfigError: the port cannot be had.
    """
    host = monitoring_host(options)
    port = max(options.nats.http_port or options.nats.https_port, 0)  # -1 is any free one
    where = f"can't listen to the monitor port: listen tcp {bracketed(host)}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _error(f"{where}: lookup {host}: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _error(f"{where}: bind: {(error.strerror or str(error)).lower()}") from error
    listener.setblocking(False)
    return listener


def _error(text: str, *, option: str = "http_port") -> ConfigError:
    return ConfigError(text, option=option)
