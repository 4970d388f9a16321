"""Real databases for tests: PostgreSQL and MariaDB (or MySQL), each a process of ours in a temporary directory.

A database that is not installed fails the test that needs it; `.ci/run` installs them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from tests.support.servers import free_port
from tests.support.small_disk import SmallDisk

_START_S = 60.0
_STOP_S = 30.0


class DatabaseServer(ABC):
    """One database server on a free loopback port; `create` makes databases in it.

    Attributes:
        driver: as `-sql_driver` has it.
        port: where it listens; the same after `start` again.
        data: the directory of its data, as the server sees it.
        tls: paths of its certificate, of the key to it, and of the authority of its clients' certificates.
    """

    driver: ClassVar[str]

    def __init__(
        self, under: str | None = None, *, disk: SmallDisk | None = None, tls: tuple[Path, Path, Path] | None = None
    ) -> None:
        """
        Args:
            under: where its directory is made; by default where a sync costs nothing.
            disk: where its data lie instead.
            tls: see the attribute; it takes connections in clear, too.
        """
        self.port = free_port()
        self._disk = disk
        # Not below the test's own directory: its path may be too long for a Unix socket.
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.driver}-", dir=under or memory_directory()))
        self.data = self.directory / "data" if disk is None else disk.inside / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self._count = 0
        if disk is None:
            _give_away(self.directory, self.user())
        try:
            self.tls = tls and (self._own(tls[0]), self._own(tls[1]), self._own(tls[2]))
            self._initialize()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _own(self, path: Path) -> Path:
        """A copy that the server may read, and nobody else."""
        copy = self.directory / path.name
        copy.touch(0o600)
        copy.write_bytes(path.read_bytes())
        _give_away(copy, self.user())
        return copy

    @classmethod
    @abstractmethod
    def user(cls) -> str:
        """Who runs it where we are root: databases refuse to be run by root."""

    @abstractmethod
    def _initialize(self) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def execute(self, statement: str, database: str = "") -> str:
        """Run statements by the database's own client; returns its output, one row a line, columns by tabs.

        Raises:
            subprocess.CalledProcessError: the database refuses.
        """

    @abstractmethod
    def run_script(self, path: Path, database: str) -> None:
        """Feed a file to the database's own client, as an operator does.

        Raises:
            subprocess.CalledProcessError: the database refuses a statement of it.
        """

    @abstractmethod
    def source(self, database: str) -> str:
        """What `-sql_source` takes, for the Go server, too."""

    def create(self) -> str:
        """A new, empty database; returns its name."""
        self._count += 1
        name = f"nss{os.getpid()}x{self._count}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name}")

    def start(self) -> DatabaseServer:
        """Start and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._within(self._command()), stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_user()
            )
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.execute("SELECT 1")
                return self
            except subprocess.CalledProcessError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError(
                        f"{self.driver} does not start: {error.stderr!r}\n{self.log()[-3000:]}"
                    ) from None
            time.sleep(0.02)

    def _within(self, command: list[str]) -> list[str]:
        """A command that is to see the data."""
        return command if self._disk is None else [*self._disk.enter(self.user()), *command]

    def _as_user(self) -> dict[str, str]:
        return as_user(self.user()) if self._disk is None else {}

    def _prepare(self, command: list[str]) -> None:
        run(self._within(command), **self._as_user())

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """An orderly end that waits for no client."""
        self._end(signal.SIGINT if self.driver == "postgres" else signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut, though what was written without a sync is kept by the system."""
        self._end(signal.SIGKILL)

    def _end(self, sig: signal.Signals) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(sig)
            self.process.wait(_STOP_S)

    def pause(self) -> None:
        """Let it take connections and answer nothing."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self.pids()):
            os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process is not None and self.process.poll() is None:
                self.resume()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class PostgresServer(DatabaseServer):
    driver = "postgres"

    @classmethod
    def user(cls) -> str:
        return "postgres"

    def _initialize(self) -> None:
        self._prepare([tool("initdb"), "-D", str(self.data), "-U", "nss", "-A", "trust", "--no-sync"])

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "max_connections": "200",
            # Else one that is killed leaves its segments in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
        }
        if self._disk is not None:
            # The log of what is not yet in the tables keeps to a part of the disk.
            settings |= {"min_wal_size": "32MB", "max_wal_size": "48MB"}
        if self.tls is not None:
            names = ("ssl_cert_file", "ssl_key_file", "ssl_ca_file")
            settings |= {"ssl": "on", **dict(zip(names, map(str, self.tls), strict=True))}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [tool("postgres"), "-D", str(self.data), *options]

    def execute(self, statement: str, database: str = "") -> str:
        return run([*self._client(database or "postgres"), "-qAt", "-F", "\t", "-c", statement])

    def run_script(self, path: Path, database: str) -> None:
        run([*self._client(database), "-f", str(path)])

    def _client(self, database: str) -> list[str]:
        place = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "nss", "-d", database]
        return [tool("psql"), "-X", "-v", "ON_ERROR_STOP=1", *place]

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def source(self, database: str) -> str:
        return f"postgres://nss:unused@127.0.0.1:{self.port}/{database}?sslmode=disable"


class MariaDbServer(DatabaseServer):
    driver = "mysql"

    @classmethod
    def user(cls) -> str:
        return "mysql"

    def _initialize(self) -> None:
        self._prepare(
            [
                *(tool("mariadb-install-db", "mysql_install_db"), "--no-defaults", "--skip-test-db"),
                *("--auth-root-authentication-method=normal", f"--datadir={self.data}"),
            ]
        )

    def _command(self) -> list[str]:
        names = ("cert", "key", "ca")
        tls = [f"--ssl-{name}={path}" for name, path in zip(names, self.tls or (), strict=self.tls is not None)]
        return [
            tool("mariadbd", "mysqld"),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=256M",
            *tls,
        ]

    def execute(self, statement: str, database: str = "") -> str:
        return run([*self._client(database), "-NB", "-e", statement])

    def run_script(self, path: Path, database: str) -> None:
        run([*self._client(database), "-e", f"source {path}"])

    def _client(self, database: str) -> list[str]:
        place = ["-h", "127.0.0.1", f"-P{self.port}", "-uroot", *([database] if database else [])]
        return [tool("mariadb", "mysql"), "--no-defaults", *place]

    def start(self) -> DatabaseServer:
        super().start()
        self.execute("CREATE USER IF NOT EXISTS nss@'127.0.0.1' IDENTIFIED BY 'p@ss/w:rd'")
        self.execute("GRANT ALL ON *.* TO nss@'127.0.0.1'")
        return self

    def source(self, database: str) -> str:
        return f"nss:p@ss/w:rd@tcp(127.0.0.1:{self.port})/{database}?readTimeout=30s&writeTimeout=30s"


class MySqlServer(MariaDbServer):
    """MySQL itself, which Debian's stable releases do not have: the program that `TEST_MYSQLD` names."""

    def _initialize(self) -> None:
        self._prepare([os.environ["TEST_MYSQLD"], "--no-defaults", "--initialize-insecure", f"--datadir={self.data}"])

    def _command(self) -> list[str]:
        _, *options = super()._command()
        if self.tls is None:
            options.append("--tls-version=")  # else it makes certificates for itself
        return [os.environ["TEST_MYSQLD"], *options, "--mysqlx=OFF", "--disable-log-bin", "--secure-file-priv="]


SERVERS: dict[str, type[DatabaseServer]] = {
    "postgres": PostgresServer,
    "mysql": MySqlServer if os.environ.get("TEST_MYSQLD") else MariaDbServer,
}


def memory_directory() -> str | None:
    """A file system in memory if there is one: nothing here outlives the machine, and a sync costs nothing there."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def tool(*names: str) -> str:
    """The first of these programs that is installed; Debian keeps some off the PATH."""
    places = ["/usr/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))
        if found:
            return os.path.realpath(found) if name == "postgres" else found
    raise RuntimeError(f"{' or '.join(names)} is not installed: apt-get install postgresql mariadb-server")


def as_user(name: str) -> dict[str, str]:
    """Arguments for a process that must not run as root."""
    return {"user": name} if os.geteuid() == 0 else {}


def _give_away(directory: Path, user: str) -> None:
    if os.geteuid() == 0:
        os.chown(directory, pwd.getpwnam(user).pw_uid, -1)


def run(command: list[str], **options: str) -> str:
    done = subprocess.run(
        command,
        check=True,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
        timeout=_START_S,
        **options,
    )
    return done.stdout
