"""Start and stop the streaming server under test as a real process.

`STAN_SERVER_UNDER_TEST` names another executable to test instead of ours (for
instance the Go original), which is how the expectations here were checked.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nats_streaming.nats.binary import find_nats_server


def _ports() -> Iterator[int]:
    """Ports that the system gives to nobody who does not name them, round and round; 0 where it may give any."""
    file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first, last = map(int, file.read_text().split()) if file.exists() else (0, 65535)
    below, above = range(10_000, first), range(last + 1, 65_536)
    ports: Sequence[int] = max(below, above, key=len)
    if len(ports) < 2_000:
        ports = [0]
    # Several runs at a time begin at different ones.
    begin = random.SystemRandom().randrange(len(ports))
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_next_ports = _ports()


def free_port() -> int:
    """A TCP port that is free on every address, and that is not soon somebody else's.

    What the system chooses when asked for any port, it may choose again in the moment before a server listens there:
    for a nats-server of its own, or for a connection.
    """
    while True:
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("", next(_next_ports)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_nats(directory: Path, config: str = "") -> Iterator[int]:
    """A nats-server with no streaming server; gives its port when it takes connections.

    Args:
        directory: where its configuration file goes.
        config: what stands in it beside the address.
    """
    port = free_port()
    file = directory / "nats.conf"
    file.write_text(f"listen: 127.0.0.1:{port}\n{config}")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen([find_nats_server(), "-c", str(file)], **quiet)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, f"nats-server exited with {process.returncode}"
                assert time.monotonic() < deadline, "nats-server does not listen after 30 s"
                time.sleep(0.005)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def executable() -> str:
    """The streaming server's executable: the override, or the one beside this Python."""
    override = os.environ.get("STAN_SERVER_UNDER_TEST")
    if override:
        return override
    beside = Path(sys.executable).with_name("nats-streaming-server")
    if beside.exists():
        return str(beside)
    found = shutil.which("nats-streaming-server")
    if found is None:
        raise RuntimeError("nats-streaming-server is not installed in this environment: run `make setup`")
    return found


READY = "Streaming Server is ready"
STANDBY = "Starting in standby mode"


class ServerProcess:
    """One `nats-streaming-server` process on a free loopback port, its log in a temporary file."""

    def __init__(
        self,
        *arguments: str,
        port: int | None = None,
        external: bool = False,
        listens_by_file: bool = False,
        program: str | None = None,
        log_path: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            arguments: further command-line arguments.
            port: client port of the embedded NATS server; None picks a free one.
            external: True when `arguments` hold `-ns URL` and nothing is embedded.
            listens_by_file: True when a configuration file says where to listen, so no flag may; `port` is that port.
            program: another executable than the one under test, for instance the Go server's.
            log_path: where `arguments` send the log; None when they leave it on standard error.
            environment: variables besides those of this process.
        """
        self.program = program
        self.port = port or free_port()
        self.external = external
        self.listens_by_file = listens_by_file
        self.arguments = list(arguments)
        self.directory = Path(tempfile.mkdtemp(prefix="stan-test-"))
        self.output_path = self.directory / "server.log"
        self.log_path = log_path or self.output_path
        self.environment = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def spawn(self) -> None:
        """Start the process and do not wait."""
        listen = [] if self.external or self.listens_by_file else ["-p", str(self.port), "-a", "127.0.0.1"]
        with self.output_path.open("ab") as output:
            self.process = subprocess.Popen(
                [self.program or executable(), *listen, *self.arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env={**os.environ, **self.environment},
            )

    def start(self, ready_seconds: float = 60.0, *, until: str = READY) -> ServerProcess:
        """Spawn and wait until the log says `until`, by default that the streaming server is ready."""
        already = self.log().count(until)
        self.spawn()
        assert self.process is not None
        deadline = time.monotonic() + ready_seconds
        while self.log().count(until) == already:
            if self.process.poll() is not None:
                raise RuntimeError(f"server exited with {self.process.returncode} before it was ready:\n{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"server not ready after {ready_seconds} s:\n{self.log()}")
            time.sleep(0.005)
        return self

    def wait(self, seconds: float = 30.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def wait_for_log(self, pattern: str, seconds: float = 30.0, *, since: int = 0) -> re.Match[str]:
        """Wait until `pattern` occurs in the log behind its first `since` characters.

        Raises:
            AssertionError: it does not, or the process ends before; the text holds the log.
        """
        deadline = time.monotonic() + seconds
        while True:
            has_ended = self.process is None or self.process.poll() is not None
            found = re.compile(pattern, re.MULTILINE).search(self.log(), since)
            if found is not None:
                return found
            assert not has_ended, f"ended without {pattern!r} in its log:\n{self.log()[-5000:]}"
            assert time.monotonic() < deadline, f"no {pattern!r} within {seconds} s in the log:\n{self.log()[-5000:]}"
            time.sleep(0.005)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process and return its exit code as a shell shows it (128 + signal when killed)."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.wait()
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        """End the process if it still runs and remove its directory."""
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def running_server(*arguments: str, port: int | None = None, external: bool = False) -> Iterator[ServerProcess]:
    server = ServerProcess(*arguments, port=port, external=external)
    try:
        yield server.start()
    finally:
        server.close()


class Ended(NamedTuple):
    """How a command line ended that starts no server.

    Attributes:
        status: exit status, as a shell shows it.
        out, err: what it wrote to its two streams.
    """

    status: int
    out: str
    err: str


def run_to_end(
    *arguments: str, seconds: float = 60.0, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run the server's executable with arguments that make it end by itself.

    Args:
        arguments: of the command line.
        seconds: after which it is killed and the test fails.
        cwd: directory to run in.
        environment: variables besides those of this process.
    """
    done = subprocess.run(
        [executable(), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    return Ended(done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout, done.stderr)
