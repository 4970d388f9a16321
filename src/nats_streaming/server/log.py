"""The log in the original's format, by means of the standard `logging` package.

    [PID] YYYY/MM/DD hh:mm:ss.uuuuuu [LVL] STREAM: text       ours: logger `nats_streaming` and below
    [PID] YYYY/MM/DD hh:mm:ss.uuuuuu [LVL] text               the embedded server's: `nats_streaming.nats_server`

Modules get their logger by `logging.getLogger(__name__)` and know nothing of this one.

Source: operations specification, section 3.1.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import IO, Final

from nats_streaming.constants import TRACE
from nats_streaming.errors import ConfigError
from nats_streaming.server.options import LogOptions, Options

STREAMING_LOGGER: Final = "nats_streaming"
NATS_SERVER_LOGGER: Final = "nats_streaming.nats_server"

_LEVEL_NAMES: Final = {
    TRACE: "TRC",
    logging.DEBUG: "DBG",
    logging.INFO: "INF",
    logging.WARNING: "WRN",
    logging.ERROR: "ERR",
    logging.CRITICAL: "FTL",
}
_COLOURS: Final = {"TRC": "33", "DBG": "36", "INF": "32", "WRN": "0;93", "ERR": "31", "FTL": "31"}
_FILE_MODE = 0o640  # what messages and clients are called is not for everyone on the machine


def setup_logging(options: Options) -> None:
    """Send log lines where the options say; may be called again and then replaces what was set up.

    Args:
        options: `log`, `debug` and `trace` are read.

    Raises:
        ConfigError: the log file cannot be opened.
    """
    handler: logging.StreamHandler[IO[str]]
    if options.log.file:
        handler = _ReopeningFileHandler(options.log.file)
    else:
        handler = logging.StreamHandler(sys.stderr)
    on_terminal = not options.log.file and sys.stderr is not None and sys.stderr.isatty()
    handler.setFormatter(LineFormatter(options.log, os.getpid(), colour=on_terminal))
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


def reopen() -> None:
    """Open the log file anew, after someone moved it away; says in the log what became of it."""
    logger = logging.getLogger(STREAMING_LOGGER)
    for handler in logger.handlers:
        if isinstance(handler, _ReopeningFileHandler):
            try:
                handler.reopen()
            except ConfigError as error:
                logger.error("File log re-open failed, still writing to the old file: %s", error)
            else:
                logger.info("File log re-opened")
            return
    logger.info("File log re-open ignored, not a file logger")


class LineFormatter(logging.Formatter):
    """Records to lines; remembers how the current second is written."""

    def __init__(self, options: LogOptions, pid: int, *, colour: bool = False) -> None:
        """
        Args:
            options: whether lines carry the time, and which.
            pid: the process ID shown.
            colour: whether levels are coloured for a terminal.
        """
        super().__init__()
        self._start = f"[{pid}] "
        self._timestamps = options.timestamps
        self._convert = time.gmtime if options.utc else time.localtime
        self._second = -1
        self._second_text = ""
        self._levels = {
            level: f"[\x1b[{_COLOURS[name]}m{name}\x1b[0m] " if colour else f"[{name}] "
            for level, name in _LEVEL_NAMES.items()
        }

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback follows on lines of its own."""
        text = record.getMessage()
        # Names of channels and inboxes come from clients: none may forge a line of its own.
        if not text.isprintable():
            text = _printable(text)
        level = self._levels.get(record.levelno) or f"[{record.levelname[:3]}] "
        prefix = "" if record.name == NATS_SERVER_LOGGER else "STREAM: "
        line = f"{self._start}{self._time(record.created) if self._timestamps else ''}{level}{prefix}{text}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line

    def _time(self, created_s: float) -> str:
        second = int(created_s)
        if second != self._second:
            self._second_text = time.strftime("%Y/%m/%d %H:%M:%S.", self._convert(second))
            self._second = second
        return f"{self._second_text}{int((created_s - second) * 1_000_000):06d} "


class _LevelFilter(logging.Filter):
    """Streaming's debug and trace are chosen separately, but levels only have one threshold."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def filter(self, record: logging.LogRecord) -> bool:
        return self._debug or record.levelno != logging.DEBUG or record.name == NATS_SERVER_LOGGER


class _ReopeningFileHandler(logging.StreamHandler[IO[str]]):
    """Appends to a file that may be moved away and opened anew."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _open_for_append(path)
        super().__init__(self._file)

    def reopen(self) -> None:
        """Write to the path's file from now on; if it cannot be opened, to the old one still.

        Raises:
            ConfigError: the file cannot be opened.
        """
        new, old = _open_for_append(self._path), self._file
        self.setStream(new)
        self._file = new
        old.close()

    def close(self) -> None:
        super().close()
        self._file.close()


def _open_for_append(path: str) -> IO[str]:
    try:
        # surrogateescape would write a name's broken bytes back; a log is to stay valid UTF-8.
        return open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_create_private)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"error opening file: open {path}: {reason}", option="log") from error


def _create_private(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE_MODE)


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
