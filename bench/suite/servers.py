"""The two servers as sides of a comparison: how each is started over a store, and what it used."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.suite import processes
from bench.suite.figures import CPU, PEAK, Figures
from tests.support.servers import ServerProcess

MEMORY, FILE = STORES = ("MEMORY", "FILE")
UNLIMITED = ("-mm", "0", "-mb", "0", "-mc", "0", "-msu", "0")
START_SECONDS_MAX = 120.0

THROUGH_NATS = "--direct_clients=false"
"""Makes our server let every frame pass through its nats-server."""


@dataclass(frozen=True)
class Side:
    """One of those compared. `arguments` are given to it and not to the other."""

    name: str
    program: str
    arguments: tuple[str, ...] = ()


class Server:
    """A server of one side; `restart_cold` leaves its messages where they are."""

    def __init__(self, side: Side, store_arguments: Sequence[str], directory: Path) -> None:
        """
        Args:
            store_arguments: say which store, and where.
            directory: what of it lies in files; may be empty.
        """
        self.directory = directory
        self.start_seconds = 0.0
        self._process = ServerProcess(*UNLIMITED, *store_arguments, *side.arguments, program=side.program)
        self._pids: list[int] = []
        self._cpu_before = 0.0

    @property
    def port(self) -> int:
        return self._process.port

    def start(self) -> None:
        begun = time.perf_counter()
        self._process.start(START_SECONDS_MAX)
        self.start_seconds = time.perf_counter() - begun

    def stop(self) -> None:
        self._process.stop()

    def restart_cold(self) -> None:
        """Stop it, let the system forget its files, and start it."""
        self.stop()
        processes.forget_cached(self.directory)
        self.start()

    def pids(self) -> list[int]:
        """Its processes, the streaming server's own first."""
        return processes.tree(self._process.pid)

    def begin(self) -> None:
        """From here on processor time counts."""
        self._pids = self.pids()
        self._cpu_before = processes.cpu_seconds(self._pids)

    def used(self, messages: int) -> Figures:
        """Processor time per message since `begin`, and the peak of memory since the start."""
        cpu = processes.cpu_seconds(self._pids) - self._cpu_before
        return {CPU: cpu / messages * 1e6, PEAK: processes.peak_bytes(self._pids) / 1e6}

    def log(self) -> str:
        return self._process.log()

    def log_end(self) -> str:
        return self.log()[-1500:]

    def close(self) -> None:
        self._process.close()


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server that runs inside; what goes wrong there is told with the end of its log."""
    try:
        server.start()
        yield server
    except Exception as error:
        error.add_note(f"the end of the server's log:\n{server.log_end()}")
        raise
    finally:
        server.close()


def file_arguments(directory: Path) -> tuple[str, ...]:
    """What starts a server on a FILE store."""
    return ("-st", FILE, "-dir", str(directory))


@contextlib.contextmanager
def running(side: Side, store: str, under: Path) -> Iterator[Server]:
    """A server with an empty store, gone with it at the end.

    Args:
        under: on a real disk, where a FILE store's directory is made.
    """
    under.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=under))
    try:
        with serving(Server(side, file_arguments(directory) if store == FILE else (), directory)) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sides(ours: str, ours_arguments: Sequence[str], theirs: str | None) -> list[Side]:
    """Ours, and the Go server if there is one."""
    found = [Side("ours", ours, tuple(ours_arguments))]
    if theirs is not None:
        found.append(Side("Go", theirs))
    return found
