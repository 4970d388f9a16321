"""What signals ask of the process, from its first moments to its last.

    SIGINT, SIGTERM   stop in order; a second one is answered in the log, a third ends the process at once
    SIGQUIT           show where every thread is, on standard error, and end with status 2
    SIGUSR1           open the log file anew
    SIGUSR2           nothing
    SIGHUP            have the embedded nats-server read its configuration again

A signal that comes before the event loop runs is kept and obeyed when it does.

Source: operations specification, section 3.5.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

from nats_streaming.server.logs.log import flush, reopen
from nats_streaming.server.state import EXIT_ABORTED

_log = logging.getLogger("nats_streaming")

EXIT_TERMINATED: Final = 128 + 15
_STOP_STATUS: Final = {signal.SIGINT: 0, signal.SIGTERM: EXIT_TERMINATED}


class ProcessSignals:
    """The process's signal handlers; made once, by the executable, on the main thread."""

    def __init__(self) -> None:
        self._early: list[signal.Signals] = []
        self._stop_count = 0
        self._stopped: asyncio.Future[int] | None = None
        self._on_reload: Callable[[], None] = lambda: None
        self._numbers: list[signal.Signals] = [*_STOP_STATUS]
        if sys.platform != "win32":
            self._numbers += [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]
            signal.signal(signal.SIGQUIT, _die)
            # The traces are written by C code: also when the event loop hangs, which is when people ask for them.
            faulthandler.register(signal.SIGQUIT, file=2, all_threads=True, chain=True)
        for number in self._numbers:
            signal.signal(number, self._keep)

    def attach(self, on_reload: Callable[[], None]) -> asyncio.Future[int]:
        """Obey on the running loop, first what came before.

        Args:
            on_reload: what SIGHUP asks for.

        Returns:
            Done when the process is to stop; the exit status it shall have.
        """
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        self._on_reload = on_reload
        for number in self._numbers:
            if sys.platform == "win32":  # its loop has no signal handlers of its own
                signal.signal(number, lambda got, _: loop.call_soon_threadsafe(self._obey, signal.Signals(got)))
            else:
                loop.add_signal_handler(number, self._obey, number)
        early, self._early = self._early, []
        for number in early:
            self._obey(number)
        return self._stopped

    def _keep(self, number: int, _frame: FrameType | None) -> None:
        self._early.append(signal.Signals(number))

    def _obey(self, number: signal.Signals) -> None:
        if number in _STOP_STATUS:
            self._stop(number)
        elif number == signal.SIGUSR1:
            reopen()
        elif number == signal.SIGHUP:
            self._on_reload()

    def _stop(self, number: signal.Signals) -> None:
        assert self._stopped is not None
        self._stop_count += 1
        if self._stop_count > 2:
            _log.warning("Shutting down at once: %s again", number.name)
            flush()
            os._exit(128 + number)
        if not self._stopped.done():
            self._stopped.set_result(_STOP_STATUS[number])
        elif self._stop_count == 2:
            _log.warning("Shutting down already; a further %s ends the process at once", number.name)


def _die(_number: int, _frame: FrameType | None) -> None:
    """After the traces, without any clean-up: what is on disk is what a crash leaves, and recovery is made for that."""
    flush()
    os._exit(EXIT_ABORTED)
