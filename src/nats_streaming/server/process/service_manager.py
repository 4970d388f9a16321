"""Tells a service manager how we are: systemd, or whoever else has set `NOTIFY_SOCKET`.

Datagrams of `NAME=value` lines, to a path or, with `@` in front, to an abstract address. Without the variable
nothing happens.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from nats_streaming.clock import Clock, SystemClock
from nats_streaming.constants import NS_PER_US

_log = logging.getLogger("nats_streaming")

_US_PER_S: Final = 1_000_000


class ServiceManager:
    """One process's words to its service manager. A message that cannot be delivered is reported once and dropped."""

    def __init__(self, environment: MutableMapping[str, str] | None = None, clock: Clock | None = None) -> None:
        """
        Args:
            environment: the process's own if None; our variables are taken out of it, since children must not use them.
        """
        environment = os.environ if environment is None else environment
        self._clock = clock or SystemClock()
        self._socket: socket.socket | None = None
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_s(environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", ""))
        self._watchdog: asyncio.TimerHandle | None = None
        self._has_failed = False

    def ready(self, status: str) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """What to show an operator, in a line."""
        self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock.monotonic_ns() // NS_PER_US}", "STATUS=Reloading")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=Shutting down")

    def watch(self) -> None:
        """From now on show, as often as the manager asks, that the running event loop does not hang."""
        if self._watchdog_s and self._address:
            self._send("WATCHDOG=1")
            self._watchdog = asyncio.get_running_loop().call_later(self._watchdog_s, self.watch)

    def close(self) -> None:
        """Nothing more will be said."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._address = ""

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = _connect(self._address)
            self._socket.send("\n".join(lines).encode())
        except OSError as error:
            if not self._has_failed:
                _log.warning("cannot notify the service manager at %s: %s", self._address, error.strerror or error)
            self._has_failed = True


def _connect(address: str) -> socket.socket:
    if address[0] not in "/@" or not hasattr(socket, "AF_UNIX"):
        raise OSError("not an address of a Unix socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        connection.setblocking(False)
        connection.connect("\0" + address[1:] if address[0] == "@" else address)
    except BaseException:
        connection.close()
        raise
    return connection


def _watchdog_s(interval_us: str, pid: str) -> float:
    """Seconds between two signs of life: half of what the manager waits for; 0 if it waits for none of ours."""
    if pid and pid != str(os.getpid()):
        return 0.0
    if not (interval_us.isascii() and interval_us.isdigit()) or len(interval_us) > 18:
        return 0.0
    return int(interval_us) / _US_PER_S / 2
