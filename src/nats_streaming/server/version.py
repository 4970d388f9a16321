"""Which versions of what are running. The nats-server's is asked for only here and only for `-version`."""

from __future__ import annotations

import sys

from nats_streaming import __version__
from nats_streaming.constants import COMPATIBLE_VERSION
from nats_streaming.errors import NatsServerError
from nats_streaming.protocol import nats_reader

_ASK_TIMEOUT_S = 10


def build_kind() -> str:
    """`compiled` if the data plane runs as machine code, `plain` if it is interpreted."""
    # Either all modules of setup.py's list are compiled or none: one stands for them.
    return "plain" if (nats_reader.__file__ or "").endswith((".py", ".pyc")) else "compiled"


def version_text() -> str:
    """Our version and the original's we are compatible with."""
    return f"{__version__} (compatible with {COMPATIBLE_VERSION})"


def python_text() -> str:
    """The Python that runs us, and our build."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{version} ({sys.implementation.name}), build: {build_kind()}"


def version_line(nats_server_binary: str = "") -> str:
    """What `-version` prints.

    Args:
        nats_server_binary: path of the nats-server, "" looks for it.
    """
    nats_server = nats_server_version(nats_server_binary)
    return f"nats-streaming-server version {version_text()}, build: {build_kind()}, nats-server: {nats_server}"


def nats_server_version(binary: str = "") -> str:
    """The version the nats-server reports, such as `v2.11.0`, or why there is none.

    Args:
        binary: its path, "" looks for it.
    """
    import subprocess

    from nats_streaming.nats.binary import find_nats_server

    try:
        path = find_nats_server(binary or None)
        done = subprocess.run([path, "-v"], capture_output=True, timeout=_ASK_TIMEOUT_S, check=True)
    except NatsServerError as error:
        return f"none ({error})"
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
    return done.stdout.decode("utf-8", "replace").strip().removeprefix("nats-server: ")
