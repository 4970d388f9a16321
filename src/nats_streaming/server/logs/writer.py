"""Takes log lines from whoever logs, and writes them on a thread of its own once the server serves.

Standard error may be a pipe that nobody reads, the log's disk may be full or hang, a syslog may be slow: none of that
may hold up messages. So a line waits in a queue of bounded size; beyond the bound lines are dropped, counted, and the
count is logged when lines can be written again. Before `start` lines are written at once by the caller: a failing
start has said why when it ends, and nobody is served yet.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final, Protocol

from nats_streaming.server.logs.lines import STREAMING_LOGGER, line_bytes, own_line

WAITING_BYTES_MAX: Final = 8 << 20
"""Lines that wait for a slow log. A debug session writes some MB a second, so this is a pause of seconds."""

STOP_S: Final = 2.0
"""How long the end of the process waits for a slow log."""

_RETRY_S: Final = 1.0
_LINES_AT_ONCE: Final = 512

_Item = bytes | Callable[[], None] | None


class Sink(Protocol):
    """Where lines end up. Called by one thread at a time.

    Attributes:
        name: what to call it when it fails; "" for standard error, where that cannot be said.
    """

    name: str

    def write(self, lines: deque[bytes]) -> None:
        """Write lines, taking each away from the left as it is written; what is left after an error is tried again.

        Raises:
            OSError: no more can be written now.
        """

    def close(self) -> None:
        """Release what it holds."""


class LogWriter(logging.Handler):
    """Formats records and sees that a sink gets their lines, in order.

    Attributes:
        sink: where the lines go; its thread's alone after `start`.
        dropped_count: lines dropped since the beginning, since too many waited.
    """

    def __init__(self, sink: Sink, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.dropped_count = 0
        self._lines_of = formatter
        self.sink = sink
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._thread: Thread | None = None
        self._is_closed = False
        self._is_stuck = False
        # Who logs counts what is taken, holding the handler's lock; the thread counts what is done. Neither
        # needs the other's lock.
        self._taken_bytes = 0
        self._received_bytes = 0
        self._done_bytes = 0
        self._pending: deque[bytes] = deque()
        self._reported_count = 0
        self._trouble = ""

    def start(self) -> None:
        """From now on write on a thread of its own."""
        if self._thread is None and not self._is_closed:
            self._thread = Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; called with the handler's lock held."""
        if self._is_closed:
            return
        line = line_bytes(self._lines_of.format(record))
        if self._taken_bytes - self._done_bytes + len(line) > WAITING_BYTES_MAX:
            self.dropped_count += 1
            return
        self._taken_bytes += len(line)
        if self._thread is None:
            self._receive(line)
            self._write()
        else:
            self._queue.put(line)

    def do(self, task: Callable[[], None]) -> None:
        """Call `task` where lines are written, behind all lines logged before. It must not raise."""
        if self._thread is None:
            task()
        else:
            self._queue.put(task)

    def say(self, level: int, text: str) -> None:
        """Write a line about the log itself; for tasks only."""
        self._pending.append(own_line(self._lines_of, STREAMING_LOGGER, level, text))
        self._write()

    def flush(self) -> None:
        """Wait until what was logged is written, for two seconds at most."""
        if self._thread is not None and not self._is_closed:
            written = Event()
            self._queue.put(written.set)
            self._is_stuck = not written.wait(STOP_S)

    def close(self) -> None:
        """Write what waits, for two seconds at most, and end; later lines are lost."""
        if not self._is_closed:
            self._is_closed = True
            if self._thread is None:
                self.sink.close()
            else:
                self._queue.put(None)
                self._thread.join(0 if self._is_stuck else STOP_S)  # if not enough, the process ends without it
        super().close()

    # On the thread, or the caller's before `start`.

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_RETRY_S if self._pending else None)
                while True:
                    if item is None:
                        self._write()
                        self.sink.close()
                        return
                    if isinstance(item, bytes):
                        self._receive(item)
                        if len(self._pending) % _LINES_AT_ONCE == 0:
                            self._write()
                    else:
                        self._write()
                        item()
                    item = self._queue.get_nowait()
            except Empty:
                self._write()

    def _receive(self, line: bytes) -> None:
        self._pending.append(line)
        self._received_bytes += len(line)

    def _write(self) -> None:
        """Hand what is pending to the sink. An error never gets further: nobody could log it."""
        try:
            while self._pending:
                self.sink.write(self._pending)
                self._report()
        except OSError as error:
            self._on_trouble(error)
        self._done_bytes = self._received_bytes - sum(map(len, self._pending))

    def _report(self) -> None:
        """Say what is missing, now that lines can be written."""
        trouble, self._trouble = self._trouble, ""
        dropped_count = self.dropped_count - self._reported_count
        self._reported_count += dropped_count
        if dropped_count:
            reason = trouble or "they came faster than they could be written"
            text = f"Log lines dropped: {dropped_count} ({reason})"
        elif trouble:
            text = f"Log could not be written for a while ({trouble}); no line is missing"
        else:
            return
        self._pending.append(own_line(self._lines_of, STREAMING_LOGGER, logging.WARNING, text))

    def _on_trouble(self, error: OSError) -> None:
        if self._trouble:
            return
        self._trouble = (error.strerror or str(error)).lower()
        if self.sink.name:
            with suppress(OSError):  # there is no other place left to say it
                os.write(2, f"log {self.sink.name} cannot be written: {self._trouble}\n".encode())
