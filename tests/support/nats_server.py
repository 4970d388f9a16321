"""A real nats-server beside the streaming servers under test, to be stopped, restarted and joined by routes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nats_streaming.nats.binary import find_nats_server
from tests.support.servers import free_port

_START_SECONDS = 30.0


class NatsServer:
    """One nats-server on a free loopback port; started again it has the same port."""

    def __init__(self, *arguments: str, config: str = "") -> None:
        """
        Args:
            arguments: further command-line arguments.
            config: text of a configuration file; "" for none.
        """
        self.port = free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="nats-test-")
        self.log_path = Path(self.directory.name) / "nats.log"
        self.arguments = list(arguments)
        if config:
            path = Path(self.directory.name) / "nats.conf"
            path.write_text(config)
            self.arguments += ["-c", str(path)]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> NatsServer:
        """Spawn and wait until it takes connections."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [find_nats_server(None), "-a", "127.0.0.1", "-p", str(self.port), *self.arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return self
            log_text = self.log_path.read_text(errors="replace")
            assert self.process.poll() is None, f"nats-server ended:\n{log_text}"
            assert time.monotonic() < deadline, f"nats-server is not ready:\n{log_text}"
            time.sleep(0.005)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def close(self) -> None:
        self.stop()
        self.directory.cleanup()


@contextlib.contextmanager
def running_nats_server(*arguments: str, config: str = "") -> Iterator[NatsServer]:
    server = NatsServer(*arguments, config=config)
    try:
        yield server.start()
    finally:
        server.close()
