"""Command lines that start no server but ask the nats-server something: is this configuration right, what of TLS."""

from __future__ import annotations

from nats_streaming.nats import ask_binary
from nats_streaming.server.nats_side import embedded_options
from nats_streaming.server.settings.options import Options


def check_config(options: Options) -> None:
    """Whether a server could start with these options, as far as can be said without starting one.

    Raises:
        ConfigError, NatsServerError: it could not; the text says why.
    """
    options.check()
    if not options.nats_server_url:
        ask_binary.check_configuration(embedded_options(options))


def tls_help(options: Options) -> str:
    """What the nats-server tells of ciphers and curves.

    Raises:
        NatsServerError: it cannot be asked.
    """
    return ask_binary.tls_help(options.nats.binary or None)
