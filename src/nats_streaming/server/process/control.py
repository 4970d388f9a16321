"""`-signal COMMAND[=PID|PIDFILE]`: sends a signal to a running server, of ours or the original.

Source: operations specification, section 3.5.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from nats_streaming.errors import ConfigError, quoted

EXECUTABLE: Final = "nats-streaming-server"
_MODULE: Final = "nats_streaming"

_COMMANDS: Final = {
    "stop": "SIGKILL",
    "quit": "SIGINT",
    "term": "SIGTERM",
    "reopen": "SIGUSR1",
    "reload": "SIGHUP",
    "ldm": "SIGUSR2",
}
_PID_DIGITS_MAX: Final = 10


def send_signal(argument: str) -> None:
    """Do what the flag's value asks for.

    Args:
        argument: `stop`, `quit`, `term`, `reopen`, `reload` or `ldm`, perhaps with `=` and a process ID or the path
            of a file that holds one; without, the only such server of this machine is meant.

    Raises:
        ConfigError: no signal was sent; the text says why.
    """
    command, *rest = argument.split("=")
    if len(rest) > 1:
        raise _error(f"invalid signal parameters: [{' '.join(rest)}]")
    if command not in _COMMANDS:
        raise _error(f"unknown signal {quoted(command)}\nit is one of {', '.join(_COMMANDS)}")
    if sys.platform == "win32":
        raise _error("-signal is not supported on Windows: stop the server by Ctrl-C, or end its task")
    pid = _pid(rest[0]) if rest and rest[0] else _only_server()
    try:
        os.kill(pid, getattr(signal, _COMMANDS[command]))
    except ProcessLookupError:
        raise _error("no such process") from None
    except PermissionError:
        raise _error(f"operation not permitted: process {pid} belongs to somebody else") from None


def running_servers(commands: Iterable[tuple[int, list[str]]]) -> list[int]:
    """The process IDs among `commands`, process IDs with their argument lists, that are streaming servers."""
    return [pid for pid, arguments in commands if _is_server(arguments)]


def _pid(text: str) -> int:
    with suppress(OSError, ValueError):  # not a file: then it must be the number itself
        text = Path(text).read_text(encoding="ascii", errors="replace")
    # A line end is what people's own scripts put into such a file; the original refuses it.
    number = text.strip()
    if not (number.isascii() and number.isdigit()) or len(number) > _PID_DIGITS_MAX or int(number) == 0:
        raise _error(f"invalid pid: {number}")  # 0 and negative ones would reach whole process groups
    return int(number)


def _only_server() -> int:
    pids = [pid for pid in running_servers(_commands()) if pid != os.getpid()]
    if not pids:
        raise _error(f"no {EXECUTABLE} processes running")
    if len(pids) > 1:
        listed = "\n".join(map(str, sorted(pids)))
        raise _error(f"multiple {EXECUTABLE} processes running:\n{listed}")
    return pids[0]


def _is_server(arguments: list[str]) -> bool:
    """Whether this is the executable itself, or a Python that runs it."""
    names = [os.path.basename(argument) for argument in arguments[:2]]
    if names[:1] == [EXECUTABLE]:
        return True
    if not names or not names[0].lower().startswith(("python", "pypy")):
        return False
    return names[1:] == [EXECUTABLE] or arguments[1:3] == ["-m", _MODULE]


def _commands() -> Iterable[tuple[int, list[str]]]:
    if sys.platform == "linux":
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                try:
                    line = (directory / "cmdline").read_bytes()
                except OSError:
                    continue  # it has ended meanwhile
                yield int(directory.name), line.decode("utf-8", "replace").split("\0")
        return
    listed = subprocess.run(["ps", "-axo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    for entry in listed.splitlines():
        pid, *arguments = entry.split()
        yield int(pid), arguments


def _error(text: str) -> ConfigError:
    return ConfigError(text, option="signal")
