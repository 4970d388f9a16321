"""What an embedded nats-server says on its standard error: bytes in, log records and facts out.

    [PID] 2026/01/31 23:59:59.123456 [INF] text      with `logtime: false` without the date
    nats-server: text                                before its logger exists: wrong flags or configuration

Its lines are logged again, at the same level, as our own; no input or output here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from nats_streaming.constants import TRACE
from nats_streaming.errors import ConfigError
from nats_streaming.nats.urls import split_host_port

_LEVELS = {
    b"INF": logging.INFO,
    b"WRN": logging.WARNING,
    b"ERR": logging.ERROR,
    b"FTL": logging.CRITICAL,
    b"DBG": logging.DEBUG,
    b"TRC": TRACE,
}
_LINE = re.compile(rb"\[\d+\] (?:\d{4}/\d\d/\d\d [\d:.]+ (?:UTC )?)?\[(INF|WRN|ERR|FTL|DBG|TRC)\] (.*)", re.DOTALL)
_LISTENING = "Listening for client connections on "
_USING_FILE = "Using configuration file: "
_LINE_BYTES_MAX = 1 << 20
_OUTPUT_LINES_MAX = 50

_logger = logging.getLogger("nats_streaming.nats_server")


class ChildLog:
    """Follows the output of one nats-server process.

    Attributes:
        is_ready: it has said that it is ready, so `client_address` is its own.
        client_address: host as configured and port as bound; None before it listens.
        http_address: the same of its monitoring; None if it has none.
        server_id: its ID, as INFO shows it.
        config_places: where each line of its configuration comes from; replaced when that is.
        fatal: text of its fatal line, "" if it had none.
        output: the first lines that were not log lines; how it ends before it has a logger.
    """

    def __init__(
        self,
        config_path: str = "",
        config_name: str = "",
        hide_monitor: bool = False,
        config_places: Sequence[str] = (),
        public_address: str = "",
    ) -> None:
        """
        Args:
            config_path: private path of the configuration, never to be shown.
            config_name: what to show instead; "" leaves out the line that names the file.
            config_places: what to show for each of its lines, beginning with the first.
            hide_monitor: the monitoring is for us alone: its line is left out.
            public_address: where clients connect, if that is not where it listens: shown instead.
        """
        self.is_ready = False
        self.client_address: tuple[str, int] | None = None
        self.http_address: tuple[str, int] | None = None
        self.server_id = ""
        self.fatal = ""
        self.output: list[str] = []
        self._config_path = config_path
        self._config_name = config_name
        self.config_places = config_places
        self._config_line = re.compile(rf"{re.escape(config_path)}:(\d+)(?::\d+)?")
        self._hide_monitor = hide_monitor
        self._public_address = public_address
        self._rest = b""
        self._level = logging.ERROR

    def feed(self, data: bytes) -> None:
        """Take what was read; whole lines are logged."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line.rstrip(b"\r"))

    def finish(self) -> None:
        """The process has closed its output."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        match = _LINE.fullmatch(line)
        text = (line if match is None else match[2]).decode("utf-8", "replace")
        if self._config_path:
            text = self._config_line.sub(self._place, text)
            text = text.replace(self._config_path, self._config_name or "NATS options")
        if text.startswith((_USING_FILE, "Reloaded server configuration (")):
            text = text.partition(" (sha256")[0]  # a digest of a text that may hold passwords
        if match is None:
            if text and not self.is_ready and len(self.output) < _OUTPUT_LINES_MAX:
                self.output.append(text.removeprefix("nats-server: "))
            elif text:
                _logger.log(self._level, "%s", text)  # a further line of the last record, or a Go panic
            return
        self._level = level = _LEVELS[match[1]]
        if level == logging.CRITICAL:
            self.fatal = text
            if self.is_ready:
                _logger.error("%s", text)  # fatal for the child, not for us
            return
        if self._learn(text):
            if self._public_address and text.startswith(_LISTENING):
                text = _LISTENING + self._public_address
            _logger.log(level, "%s", text)

    def _place(self, match: re.Match[str]) -> str:
        """Where in the operator's files a line of the configuration comes from."""
        line = int(match[1]) if len(match[1]) < 10 else 0
        return self.config_places[line - 1] if 0 < line <= len(self.config_places) else match[0]

    def _learn(self, text: str) -> bool:
        """Take what a line tells us; whether it is of interest to an operator."""
        if text.startswith(_LISTENING):
            self.client_address = _address(text)
        elif text == "Server is ready":
            self.is_ready = True
        elif text.startswith(("Starting http monitor on ", "Starting https monitor on ")):
            self.http_address = _address(text)
            return not self._hide_monitor
        elif text.startswith("  ID: "):
            self.server_id = text[6:].strip()
        elif self._public_address and text.startswith("PROXY protocol enabled"):
            return False  # between it and us
        elif text.startswith("Trapped ") or (text.startswith(_USING_FILE) and not self._config_name):
            return False  # signals come from us, and so does the file
        return True


def _address(text: str) -> tuple[str, int] | None:
    try:
        host, port = split_host_port(text.rpartition(" ")[2])
        return host, int(port)
    except (ConfigError, ValueError):
        return None
