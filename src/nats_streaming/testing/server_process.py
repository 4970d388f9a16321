"""PUBLIC: a real streaming server as a process of its own, for tests: start, stop, kill, start again.

Knows nothing of pytest; `pytest_plugin` makes fixtures of it.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Final, Self

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 20.0

_READY = "Streaming Server is ready"
_PORT_TAKEN = "address already in use"
_POLL_S = 0.005
_PORT_ATTEMPTS = 5


class StanServerError(Exception):
    """The server did not do what was asked of it; the text holds the end of its log."""


class StanServer:
    """One server on the loopback address. Its port and its store stay the same from one start to the next.

    Attributes:
        cluster_id: what clients ask for.
        port: client port of its embedded NATS.
        directory: holds its log, its store and its configuration file; it is also the process's current directory.
        store_dir: directory of a FILE store, whether there is one or not.
        arguments: further arguments of the executable.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        store: str = "MEMORY",
        cluster_id: str = "test-cluster",
        args: Sequence[str] = (),
        config: str = "",
        port: int = 0,
    ) -> None:
        """
        Args:
            directory: exists; everything of this server lies in it, and nobody else's.
            store: MEMORY or FILE, or another one that `args` say the rest of.
            args: further arguments of `nats-streaming-server`, for instance `["-hbi", "1s"]`.
            config: text of a configuration file, for NATS and streaming; it does not set the port.
            port: 0 takes a free one.
        """
        self.cluster_id = cluster_id
        self.directory = Path(directory)
        self.store_dir = self.directory / "store"
        self.arguments = list(args)
        self._store = store.upper()
        self._is_port_free_to_choose = port == 0
        self.port = port or _free_port()
        self._config_path = self.directory / "server.conf"
        if config:
            self._config_path.write_text(config, encoding="utf-8")
        self._log_path = self.directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client_url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process ID of the streaming server.

        Raises:
            StanServerError: it does not run.
        """
        if self._process is None or self._process.poll() is not None:
            raise StanServerError(f"the server does not run{self._log_end()}")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it has logged, over all its starts."""
        return self._log_path.read_text(encoding="utf-8", errors="replace") if self._log_path.exists() else ""

    def start(self) -> Self:
        """Start it, and wait until it serves clients.

        Raises:
            StanServerError: it ended, or was not ready within `START_SECONDS`; or it runs already.
        """
        if self.is_running:
            raise StanServerError("the server runs already")
        for _ in range(_PORT_ATTEMPTS):
            begun = len(self.log)
            self._spawn()
            if self._is_ready(begun):
                return self
            # Only as long as nobody was told the port may it be another one.
            if not self._is_port_free_to_choose or _PORT_TAKEN not in self.log[begun:]:
                break
            self.port = _free_port()
        status = self._process.returncode if self._process is not None else None
        raise StanServerError(f"the server ended with status {status} before it was ready{self._log_end()}")

    def stop(self) -> int:
        """Stop it in order (SIGTERM), and wait for it. Nothing happens if it does not run.

        Returns:
            Its exit status, 143 after a stop in order.

        Raises:
            StanServerError: it did not end within `STOP_SECONDS`, and was killed.
        """
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StanServerError(f"the server did not stop within {STOP_SECONDS} s{self._log_end()}") from None
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        """End it as a crash would (SIGKILL): no last commit, no goodbye. Its NATS ends with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            _poll(self._is_port_free, STOP_SECONDS)

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the same port and store.

        Raises:
            StanServerError: see `start` and `stop`.
        """
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Let it do nothing until `resume` (SIGSTOP), as a hanging machine would; its NATS goes on."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _spawn(self) -> None:
        # -P: what lies in the current directory must not be taken for a module of ours.
        command = [sys.executable, "-P", "-m", "nats_streaming", "-a", "127.0.0.1", "-p", str(self.port)]
        command += ["-cid", self.cluster_id, "-st", self._store]
        if self._store == "FILE":
            command += ["-dir", str(self.store_dir)]
        if self._config_path.exists():
            command += ["-c", str(self._config_path)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )

    def _is_ready(self, begun: int) -> bool:
        """Wait for it; False if it has ended."""
        process = self._process
        assert process is not None
        if not _poll(lambda: _READY in self.log[begun:] or process.poll() is not None, START_SECONDS):
            self.kill()
            raise StanServerError(f"the server was not ready within {START_SECONDS} s{self._log_end()}")
        is_ready = process.poll() is None
        self._is_port_free_to_choose = self._is_port_free_to_choose and not is_ready
        return is_ready

    def _is_port_free(self) -> bool:
        with socket.socket() as probe:
            # As servers do: connections of the last one that are still fading away do not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return False
        return True

    def _log_end(self) -> str:
        lines = self.log.splitlines()[-50:]
        return ":\n" + "\n".join(lines) if lines else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    never = Event()
    for _ in range(int(seconds / _POLL_S)):
        if condition():
            return True
        with suppress(TimeoutError):
            never.wait(_POLL_S)
    return condition()
