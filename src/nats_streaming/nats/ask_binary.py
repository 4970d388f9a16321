"""Questions that a nats-server answers at once, run to its end: is this configuration right, what of TLS.

Blocking; for command lines that start no server.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

from nats_streaming.errors import NatsServerError
from nats_streaming.nats.binary import find_nats_server
from nats_streaming.nats.child_log import ChildLog
from nats_streaming.nats.embedded_options import EmbeddedOptions, server_arguments, server_config
from nats_streaming.nats.private_config import PrivateConfig

_TIMEOUT_S: Final = 30.0
_FIELDS_MAX: Final = 20


def check_configuration(options: EmbeddedOptions) -> None:
    """Have a nats-server read what it would be started with.

    Raises:
        NatsServerError: it refuses that, with its reasons; or it cannot be asked.
    """
    binary = find_nats_server(options.binary)
    config = PrivateConfig(server_config(options))
    try:
        arguments = [binary, "-t", *server_arguments(options, config.path)]
        done = _run(arguments, config.inherited)
        if done.returncode != 0:
            log = ChildLog(config.path, options.config_name, config_places=options.config_places)
            log.feed(done.stderr + done.stdout)
            log.finish()
            raise NatsServerError("\n".join(log.output) or log.fatal or f"nats-server ended with {done.returncode}")
    finally:
        config.close()


def known_fields(binary: str | None, names: Sequence[str]) -> list[str]:
    """Which of these top-level keys of a configuration the nats-server knows.

    Args:
        binary: its path, None looks for it.
        names: keys; of very many only the first are asked for, and only those that can be a field's name.
    """
    return [name for name in names[:_FIELDS_MAX] if name.isidentifier() and _is_known(binary, name)]


def _is_known(binary: str | None, name: str) -> bool:
    try:
        config = PrivateConfig(f"{name}: 1\n")
        try:
            done = _run([find_nats_server(binary), "-t", "-c", config.path], config.inherited)
        finally:
            config.close()
    except NatsServerError:
        return False  # whoever starts it says what is wrong with it
    return b"unknown field" not in done.stderr + done.stdout


def tls_help(binary: str | None) -> str:
    """What the nats-server tells of ciphers and curves.

    Args:
        binary: its path, None looks for it.

    Raises:
        NatsServerError: it cannot be asked.
    """
    done = _run([find_nats_server(binary), "--help_tls"], ())
    return (done.stdout or done.stderr).decode("utf-8", "replace").strip("\n")


def _run(arguments: list[str], inherited: tuple[int, ...]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=inherited,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NatsServerError(f"cannot execute {arguments[0]}: {error}") from None
