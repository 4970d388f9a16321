"""Log records to lines: the original's text, JSON, and what syslog wants around a text.

    [PID] YYYY/MM/DD hh:mm:ss.uuuuuu [LVL] STREAM: text       ours: logger `nats_streaming` and below
    [PID] YYYY/MM/DD hh:mm:ss.uuuuuu [LVL] text               the embedded server's: `nats_streaming.nats_server`

No input or output here. Formatters are used by several threads.

Source: operations specification, section 3.1.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Final

from nats_streaming.constants import NS_PER_SECOND, TRACE
from nats_streaming.server.settings.options import LogOptions

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
_SEVERITIES: Final = {
    TRACE: 5,
    logging.DEBUG: 7,
    logging.INFO: 5,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Syslog's; the original sends traces and information as notices."""

_FACILITY_DAEMON: Final = 3 << 3
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in any locale


class LineFormatter(logging.Formatter):
    """The original's lines; remembers how the current second is written."""

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
        self._second = (-1, "")  # one value, replaced as a whole: threads share it
        self._levels = {
            level: f"[\x1b[{_COLOURS[name]}m{name}\x1b[0m] " if colour else f"[{name}] "
            for level, name in _LEVEL_NAMES.items()
        }

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback follows on lines of its own."""
        level = self._levels.get(record.levelno) or f"[{record.levelname[:3]}] "
        line = f"{self._start}{self._time(record.created) if self._timestamps else ''}{level}{plain_text(record)}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line

    def _time(self, created_s: float) -> str:
        second = int(created_s)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y/%m/%d %H:%M:%S.", self._convert(second))
            self._second = (second, text)
        return f"{text}{int((created_s - second) * 1_000_000):06d} "


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time` (RFC 3339), `level`, `pid`, `source`, `text`, sometimes `traceback`.

    `source` is `streaming` for our own lines and `nats-server` for the embedded server's; texts have no `STREAM: `.
    """

    def __init__(self, options: LogOptions, pid: int) -> None:
        super().__init__()
        self._pid = pid
        self._timestamps = options.timestamps
        self._convert = time.gmtime if options.utc else time.localtime

    def format(self, record: logging.LogRecord) -> str:
        """The object, without a line end."""
        fields: dict[str, object] = {}
        if self._timestamps:
            second = int(record.created)
            zone_free = time.strftime("%Y-%m-%dT%H:%M:%S", moment := self._convert(second))
            microseconds = int((record.created - second) * 1_000_000)
            fields["time"] = f"{zone_free}.{microseconds:06d}{_zone(moment)}"
        fields["level"] = _LEVEL_NAMES.get(record.levelno, record.levelname[:3])
        fields["pid"] = self._pid
        fields["source"] = "nats-server" if record.name == NATS_SERVER_LOGGER else "streaming"
        fields["text"] = record.getMessage()
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, separators=(",", ":"))


class SyslogFormatter(logging.Formatter):
    """A syslog packet, as Go's library writes it: without facility and with time zone and host for a remote one."""

    def __init__(self, pid: int, tag: str, host: str, inner: logging.Formatter | None) -> None:
        """
        Args:
            tag: name of the program.
            host: our name, "" for a syslog on this machine, which knows it.
            inner: gives the text; None takes the plain one.
        """
        super().__init__()
        self._sender = f" {host} {tag}[{pid}]: " if host else f" {tag}[{pid}]: "
        self._is_local = not host
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The packet, without its line end. A traceback stays in the same packet, its line ends written as `\\n`."""
        priority = _SEVERITIES.get(record.levelno, 5) | (_FACILITY_DAEMON if self._is_local else 0)
        moment = time.localtime(int(record.created))
        if self._is_local:
            at = f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2d} {time.strftime('%H:%M:%S', moment)}"
        else:
            at = time.strftime("%Y-%m-%dT%H:%M:%S", moment) + _zone(moment)
        if self._inner is not None:
            text = self._inner.format(record)
        else:
            text = plain_text(record)
            if record.exc_info:
                text += printable("\n" + self.formatException(record.exc_info))
        return f"<{priority}>{at}{self._sender}{text}"


def plain_text(record: logging.LogRecord) -> str:
    """The text with its prefix, in one line: names of channels and inboxes come from clients, none may forge a line."""
    text = record.getMessage()
    if not text.isprintable():
        text = printable(text)
    return text if record.name == NATS_SERVER_LOGGER else f"STREAM: {text}"


def printable(text: str) -> str:
    """`text` with an escape in place of each character that is not for printing."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def line_bytes(line: str) -> bytes:
    """A line as it is written. What is not UTF-8 in a name would break the log's encoding, so it is escaped."""
    return line.encode("utf-8", "backslashreplace") + b"\n"


def own_line(formatter: logging.Formatter, logger: str, level: int, text: str) -> bytes:
    """A line that is not logged but put among those to be written: one about the log itself.

    Args:
        logger: name of the logger it appears to come from.
        level: of `logging`.
    """
    return line_bytes(formatter.format(logging.LogRecord(logger, level, "", 0, "%s", (text,), None)))


def backup_suffix(wall_ns: int) -> str:
    """What a rotated file's name gets: the local time, down to the nanosecond."""
    second, rest_ns = divmod(wall_ns, NS_PER_SECOND)
    return f"{time.strftime('.%Y.%m.%d.%H.%M.%S', time.localtime(second))}.{rest_ns:09d}"


def _zone(moment: time.struct_time) -> str:
    if not moment.tm_gmtoff:
        return "Z"
    sign = "-" if moment.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(moment.tm_gmtoff) // 60, 60)
    return f"{sign}{hours:02d}:{minutes:02d}"
