"""A real nats-server on its own, for streaming servers that use an external NATS."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from nats_streaming.nats.binary import find_nats_server
from tests.support.servers import free_port


class NatsServer:
    """One nats-server process on a loopback port, which it has again after a restart."""

    def __init__(self, config: str = "", *arguments: str) -> None:
        """
        Args:
            config: text of its configuration file.
            arguments: further ones of its command line.
        """
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="nats-test-"))
        self.process: subprocess.Popen[bytes] | None = None
        self._config = self.directory / "nats.conf"
        self._config.write_text(config)
        self._log = self.directory / "nats.log"
        self._arguments = arguments

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self, ready_seconds: float = 20.0) -> NatsServer:
        already = self.log().count("Server is ready")
        listen = ["-a", "127.0.0.1", "-p", str(self.port), "-l", str(self._log)]
        self.process = subprocess.Popen(
            [find_nats_server(None), "-c", str(self._config), *listen, *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + ready_seconds
        while self.log().count("Server is ready") == already:
            assert self.process.poll() is None, f"nats-server ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"nats-server is not ready:\n{self.log()}"
            time.sleep(0.005)
        return self

    def wait_for_log(self, text: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.log():
            assert time.monotonic() < deadline, f"no {text!r} in the log:\n{self.log()}"
            time.sleep(0.005)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
