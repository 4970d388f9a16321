"""The executable `nats-streaming-server`: from arguments to a running server and an exit status.

What is wrong before the log exists is printed to standard error; what is wrong after it is logged as FTL.
Both end with status 1, also a wrong flag: the original printed its whole help then, and ended with 0.

Source: operations specification, sections 1.6 and 3.1.
"""

from __future__ import annotations

import sys

from nats_streaming.errors import ConfigError
from nats_streaming.server.flags import SHOW_HELP, SHOW_VERSION, read_command_line

_FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is stopped.

    Args:
        arguments: without the program's name; None takes the process's own.

    Returns:
        The exit status.
    """
    try:
        command = read_command_line(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        print("run 'nats-streaming-server -help' for the flags and their values", file=sys.stderr)
        return _FAILED
    if command.action == SHOW_VERSION:
        from nats_streaming.server.version import version_line

        print(version_line(command.options.nats.binary))
        return 0
    if command.action == SHOW_HELP:
        from nats_streaming.server.help_text import help_text

        print(help_text())
        return 0

    import logging

    from nats_streaming.server.log import STREAMING_LOGGER, setup_logging

    options = command.options
    try:
        setup_logging(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return _FAILED
    try:
        options.check()
    except ConfigError as error:
        logging.getLogger(STREAMING_LOGGER).critical("Failed to start: %s", error)
        return _FAILED

    from nats_streaming.server.app import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
