"""A real terminal for commands: tmux, steered from a program, and its screen as a picture.

For tests of what is drawn on a terminal, and for the pictures in docs/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05

_WRAPPER = 'ended=$1; shift; trap : INT; "$@"; echo $? >"$ended.part"; mv "$ended.part" "$ended"; exec sleep 1000000'
"""Keeps the screen when the command has ended, and its exit code, which tmux does not always get to know."""


class Terminal:
    """One command in a tmux of its own; ended with it."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 110, rows: int = 40, variables: Mapping[str, str] | None = None
    ) -> None:
        """
        Args:
            command: what runs in it; the screen stays when it has ended.
            columns, rows: of the screen.
            variables: of its environment, beside this process's own.

        Raises:
            RuntimeError: tmux is not installed.
        """
        if shutil.which("tmux") is None:
            raise RuntimeError("tmux is not installed: it is the terminal that this is tried in (Debian: tmux)")
        self._directory = tempfile.mkdtemp(prefix="terminal-")
        self._socket = os.path.join(self._directory, "tmux")
        self._ended = os.path.join(self._directory, "ended")
        self._command = list(command)
        self._size = (columns, rows)
        self._variables = {**os.environ, **(variables or {}), "TERM": "screen-256color", "LC_ALL": "C.UTF-8"}
        self._variables.pop("TMUX", None)

    def __enter__(self) -> Terminal:
        columns, rows = map(str, self._size)
        begin = ["-f", "/dev/null", "start-server", ";", "set-option", "-g", "status", "off", ";"]
        session = ["new-session", "-d", "-x", columns, "-y", rows, "sh", "-c", _WRAPPER, "sh", self._ended]
        self._tmux(*begin, *session, *self._command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-S", self._socket, *arguments]
        done = subprocess.run(command, env=self._variables, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"tmux {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def send(self, *keys: str) -> None:
        """Press keys, by tmux's names: `C-c`, `Enter`."""
        self._tmux("send-keys", *keys)

    def screen(self, *, colours: bool = False) -> str:
        """What is to be seen now, with escape sequences for its colours if asked for."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def wait_for(self, text: str, seconds: float = WAIT_SECONDS) -> str:
        """The screen, as soon as it shows a text.

        Raises:
            TimeoutError: it does not.
        """
        deadline = time.monotonic() + seconds
        while text not in (screen := self.screen()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} did not show within {seconds} s on\n{screen}")
            time.sleep(_POLL_SECONDS)
        return screen

    def wait_for_end(self, seconds: float = WAIT_SECONDS) -> int:
        """The command's exit code, when it has ended.

        Raises:
            TimeoutError: it does not.
        """
        deadline = time.monotonic() + seconds
        while not os.path.exists(self._ended):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the command has not ended within {seconds} s:\n{self.screen()}")
            time.sleep(_POLL_SECONDS)
        before = ""
        while (screen := self.screen()) != before:  # the last of the output may be on its way to the screen
            before = screen
            time.sleep(_POLL_SECONDS)
        return int(Path(self._ended).read_text())

    def picture(self, title: str) -> str:
        """The screen as SVG."""
        return svg(self.screen(colours=True), title, self._size[0])


def svg(screen: str, title: str, columns: int) -> str:
    """A screen with its escape sequences as SVG."""
    import io

    from rich.console import Console
    from rich.text import Text

    text = Text.from_ansi(screen.rstrip())
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="256")
    console.print(text)
    drawn = console.export_svg(title=title, unique_id="screen")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def save(path: Path, drawn: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(drawn, encoding="utf-8")
