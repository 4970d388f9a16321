"""Options for a server inside another program: its defaults, and the executable's flags and files as a function."""

from __future__ import annotations

import os
from collections.abc import Sequence

from nats_streaming.errors import ConfigError
from nats_streaming.nats.embedded_options import RANDOM_PORT
from nats_streaming.server.settings.options import NatsOptions, Options


def default_options() -> Options:
    """Those of the executable, but that the embedded NATS listens on 127.0.0.1 only, at any free port."""
    return Options(nats=NatsOptions(host="127.0.0.1", port=RANDOM_PORT))


def options_from_arguments(arguments: Sequence[str]) -> Options:
    """The options that the executable would have with these arguments, defaults included: 0.0.0.0, port 4222.

    Args:
        arguments: as on a command line, without the program's name; configuration files they name are read.

    Raises:
        ConfigError: they are wrong, or ask for something else than to run a server.
    """
    from nats_streaming.server.settings.flags import RUN, read_command_line

    command = read_command_line(list(arguments))
    if command.action != RUN:
        raise ConfigError(f"these arguments do not ask for a server to run: {' '.join(arguments)}")
    return command.options


def options_from_file(path: str | os.PathLike[str]) -> Options:
    """The options in a configuration file, for NATS and for streaming, as the executable's `-c` reads them.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the text says what and where.
    """
    return options_from_arguments(["-c", os.fspath(path)])
