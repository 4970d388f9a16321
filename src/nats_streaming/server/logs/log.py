"""The log, by means of the standard `logging` package: set up, opened anew, brought to its end.

Modules get their logger by `logging.getLogger(__name__)` and know nothing of this one. How a line looks is in
`log_lines`, where it ends up in `log_sinks` and `log_syslog`, and that it holds up nobody in `log_writer`.

Source: operations specification, section 3.1.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

from nats_streaming.constants import TRACE
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.server.logs.lines import (
    NATS_SERVER_LOGGER,
    STREAMING_LOGGER,
    JsonFormatter,
    LineFormatter,
    SyslogFormatter,
)
from nats_streaming.server.logs.sinks import LogFile, StandardError
from nats_streaming.server.logs.writer import LogWriter, Sink
from nats_streaming.server.settings.options import LogOptions, Options

TEXT: Final = "text"
JSON: Final = "json"

_SYSLOG_TAG: Final = "nats-streaming-server"


def setup_logging(options: Options) -> None:
    """Send log lines where the options say; may be called again and then replaces what was set up.

    Args:
        options: `log`, `debug` and `trace` are read.

    Raises:
        ConfigError: the options are wrong, the log file cannot be opened, or the syslog not be reached.
    """
    handler = LogWriter(*_sink_and_formatter(options.log))
    handler.addFilter(_LevelFilter(debug=options.debug))
    logger = logging.getLogger(STREAMING_LOGGER)
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(TRACE if options.trace else logging.DEBUG if options.debug else logging.INFO)
    # What the embedded server prints was chosen by its own flags.
    logging.getLogger(NATS_SERVER_LOGGER).setLevel(TRACE)
    # Otherwise each record looks up thread and process names that no line shows.
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False


def write_in_background() -> None:
    """From now on no caller waits for a line to be written."""
    for writer in _writers():
        writer.start()


def flush() -> None:
    """Wait until what was logged is written, for two seconds at most."""
    for writer in _writers():
        writer.flush()


def reopen() -> None:
    """Open the log file anew, after someone moved it away; says in the log what became of it."""
    for writer in _writers():
        writer.do(lambda writer=writer: _reopen(writer))  # type: ignore[misc]


def secure_standard_streams() -> None:
    """Open the null device in place of standard streams that were closed before we were started.

    Otherwise the next file opened, a store's perhaps, gets such a number, and somebody's error text is written to it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # It takes the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _writers() -> list[LogWriter]:
    return [handler for handler in logging.getLogger(STREAMING_LOGGER).handlers if isinstance(handler, LogWriter)]


def _reopen(writer: LogWriter) -> None:
    if not isinstance(writer.sink, LogFile):
        writer.say(logging.INFO, "File log re-open ignored, not a file logger")
        return
    try:
        writer.sink.reopen()
    except ConfigError as error:
        writer.say(logging.ERROR, f"File log re-open failed, still writing to the old file: {error}")
    else:
        writer.say(logging.INFO, "File log re-opened")


def _sink_and_formatter(options: LogOptions) -> tuple[Sink, logging.Formatter]:
    """A file goes before a remote syslog, that before the local one, and standard error is what is left."""
    _check(options)
    pid = os.getpid()
    in_json = JsonFormatter(options, pid) if options.format == JSON else None
    if options.file:
        formatter = in_json or LineFormatter(options, pid)
        return LogFile(options.file, options.size_limit, formatter), formatter
    if options.remote_syslog or options.syslog:
        import socket

        from nats_streaming.server.logs.syslog import local_syslog, remote_syslog

        is_remote = options.remote_syslog and not options.remote_syslog.startswith("unix:")
        host = socket.gethostname() if is_remote else ""
        sink = remote_syslog(options.remote_syslog) if options.remote_syslog else local_syslog()
        return sink, SyslogFormatter(pid, _SYSLOG_TAG, host, in_json)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return StandardError(), in_json or LineFormatter(options, pid, colour=on_terminal)


def _check(options: LogOptions) -> None:
    if options.format not in (TEXT, JSON):
        raise ConfigError(f"-log_format must be {TEXT} or {JSON}, got {quoted(options.format)}", option="log_format")
    if options.event_source:
        text = "-syslog_name: no Windows event log is written; leave it out, and use -log for a file"
        raise ConfigError(text, option="syslog_name")
    if options.size_limit < 0:
        text = f"-log_size_limit must be a number of bytes, or 0 for no limit, got {options.size_limit}"
        raise ConfigError(text, option="log_size_limit")


class _LevelFilter(logging.Filter):
    """Streaming's debug and trace are chosen separately, but levels only have one threshold."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def filter(self, record: logging.LogRecord) -> bool:
        return self._debug or record.levelno != logging.DEBUG or record.name == NATS_SERVER_LOGGER
