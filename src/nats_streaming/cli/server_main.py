"""The executable `nats-streaming-server`: from arguments to a running server and an exit status.

What is wrong before the log exists is printed to standard error; what is wrong after it is logged as FTL.
Both end with status 1, also a wrong flag: the original printed its whole help then, and ended with 0.

Source: operations specification, sections 1.6 and 3.1.
"""

from __future__ import annotations

import sys

from nats_streaming.errors import ConfigError, NatsServerError, StoreError
from nats_streaming.server.settings.flags import (
    CREATE_TABLES,
    SEND_SIGNAL,
    SHOW_HELP,
    SHOW_TABLES,
    SHOW_TLS_HELP,
    SHOW_VERSION,
    TEST_CONFIG,
    read_command_line,
)
from nats_streaming.server.settings.options import Options

_FAILED = 1
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is stopped.

    Args:
        arguments: without the program's name; None takes the process's own.

    Returns:
        The exit status.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # before the server handles its signals
        return _INTERRUPTED


def _run(arguments: list[str]) -> int:
    try:
        command = read_command_line(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        if error.option and not error.file:
            print("run 'nats-streaming-server -help' for the flags and their values", file=sys.stderr)
        return _FAILED
    if command.action == SHOW_VERSION:
        from nats_streaming.server.version import version_line

        print(version_line(command.options.nats.binary))
        return 0
    if command.action == SHOW_HELP:
        from nats_streaming.server.settings.help_text import help_text

        print(help_text())
        return 0
    if command.action == SHOW_TLS_HELP:
        return _show_tls_help(command.options)
    if command.action == TEST_CONFIG:
        return _test_config(command.options)

    if command.action in (CREATE_TABLES, SHOW_TABLES):
        return _tables(command.options, show=command.action == SHOW_TABLES)
    if command.action == SEND_SIGNAL:
        from nats_streaming.server.process.control import send_signal

        try:
            send_signal(command.signal)
        except ConfigError as error:
            print(error, file=sys.stderr)
            return _FAILED
        return 0

    import logging

    from nats_streaming.server.logs.lines import STREAMING_LOGGER
    from nats_streaming.server.logs.log import secure_standard_streams, setup_logging

    options = command.options
    secure_standard_streams()
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
    for warning in options.warnings:
        logging.getLogger(STREAMING_LOGGER).warning("%s", warning)

    from nats_streaming.server.process.openssl import leave_out_openssl, may_encrypt

    if not may_encrypt(options):
        leave_out_openssl()

    from nats_streaming.server.app import run

    return run(options)


def _test_config(options: Options) -> int:
    """Say whether a server could start with this configuration, without starting one."""
    from nats_streaming.server.settings.config_check import check_config

    for warning in options.warnings:
        print(warning, file=sys.stderr)
    try:
        check_config(options)
    except (ConfigError, NatsServerError) as error:
        print(error, file=sys.stderr)
        return _FAILED
    print(f"nats-streaming-server: configuration file {options.nats.config_name} is valid")
    return 0


def _show_tls_help(options: Options) -> int:
    from nats_streaming.server.settings.config_check import tls_help

    try:
        print(tls_help(options))
    except NatsServerError as error:
        print(error, file=sys.stderr)
        return _FAILED
    return 0


def _tables(options: Options, *, show: bool) -> int:
    """Create the tables of the SQL store, or show how."""
    from nats_streaming.server.sql_tables import create_sql_tables, sql_script

    try:
        print("\n".join([sql_script(options)] if show else create_sql_tables(options)))
    except (ConfigError, StoreError) as error:
        print(error, file=sys.stderr)
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
