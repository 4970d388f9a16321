"""The PID file, by which scripts find a running server."""

from __future__ import annotations

import os

from nats_streaming.errors import NatsServerError

_MODE = 0o660


def write_pid_file(path: str) -> None:
    """Write our process ID: decimal, without a line end, since the original's `-sl` refuses one.

    Args:
        path: of the file, replaced if it exists; it stays behind when we end, as the original's does.

    Raises:
        NatsServerError: it cannot be written; the original leaves that to NATS, whose text it is.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NatsServerError(f"Could not write pidfile: open {path}: {reason}") from error
