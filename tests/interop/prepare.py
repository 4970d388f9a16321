"""Install what the interop tests need, once, into a cache: `python -m tests.interop.prepare [piece...]`.

A piece is the scenario program of one language, or the copy of a client's own test suite. Everything is installed by
the ordinary client of its language (npm, pip, go, mvn, apt-get) from the package source that client is configured with.
A piece that was prepared from the same inputs is left alone, so calling this again costs milliseconds.

The cache is `.cache/interop` in the checkout, or the directory named by `STAN_INTEROP_CACHE`.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import logging
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CLIENTS = HERE / "clients"
OWN_SUITES = HERE / "own_suites"

INSTALL_SECONDS_MAX = 900.0
STAN_GO = "github.com/nats-io/stan.go@v0.10.4"

logger = logging.getLogger("tests.interop.prepare")


class ToolchainMissing(RuntimeError):
    """A program this piece cannot be prepared without is not on this machine; the text names it."""


class PreparationFailed(RuntimeError):
    """A tool is there but failed; the text holds its output."""


@dataclass(frozen=True)
class Program:
    """How to start something that was prepared."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def cache_directory() -> Path:
    return Path(os.environ.get("STAN_INTEROP_CACHE") or CHECKOUT / ".cache" / "interop").resolve()


def tool(*names: str) -> str:
    """The first of these executables on PATH."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise ToolchainMissing(f"{' or '.join(names)} is not on PATH")


def run(*command: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run one installing command and return what it wrote to its standard output."""
    logger.info("%s", " ".join(command))
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-4000:]
        raise PreparationFailed(f"`{' '.join(command)}` exited with {done.returncode}:\n{output}")
    return done.stdout


class Piece(ABC):
    """Something to prepare. Subclasses say what it is made from, how it is installed and how it is started."""

    name: str
    source: Path

    @property
    def directory(self) -> Path:
        return cache_directory() / self.name

    @abstractmethod
    def tools(self) -> Sequence[str]:
        """Paths of the tools in use. Raises ToolchainMissing. Quick, since it runs even when all is prepared."""

    @abstractmethod
    def install(self) -> None:
        """Fill `directory`, which exists and is empty."""

    @abstractmethod
    def program(self) -> Program:
        """How to start what `install` made."""

    def fingerprint(self) -> str:
        digest = hashlib.sha256(inspect.getsource(type(self)).encode())
        for part in (*self.tools(), str(self.directory)):
            digest.update(part.encode() + b"\0")
        sources = (path for path in self.source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        for path in sorted(sources):
            digest.update(str(path.relative_to(self.source)).encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()


def npm_install(source: Path, target: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, target)
    run(tool("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=target)


class Node(Piece):
    name = "node"
    source = CLIENTS / "node"

    def tools(self) -> Sequence[str]:
        return [tool("node"), tool("npm")]

    def install(self) -> None:
        npm_install(self.source, self.directory)

    def program(self) -> Program:
        modules = {"NODE_PATH": str(self.directory / "node_modules")}
        return Program((tool("node"), str(self.source / "client.js")), modules)


class OldPython(Piece):
    """asyncio-nats-client 0.11.5 passes `loop=` to asyncio, which Python 3.10 took away."""

    name = "python"
    source = CLIENTS / "python"
    versions = ("3.7", "3.8", "3.9")

    def tools(self) -> Sequence[str]:
        return [self.interpreter()]

    def interpreter(self) -> str:
        """The old Python: from STAN_INTEROP_PYTHON, PATH, or what pyenv or uv installed."""
        wanted = os.environ.get("STAN_INTEROP_PYTHON")
        if wanted:
            return wanted
        for candidate in self.candidates():
            probe = subprocess.run([candidate, "-c", "import ensurepip, ssl, venv"], capture_output=True, check=False)
            if probe.returncode == 0:
                return candidate
        raise ToolchainMissing(
            f"no usable Python {', '.join(self.versions)} on PATH or among pyenv's and uv's versions "
            "(set STAN_INTEROP_PYTHON to one); asyncio-nats-client 0.11.5 does not run on later ones"
        )

    def candidates(self) -> Iterator[str]:
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
        uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
        for version in self.versions:
            found = shutil.which(f"python{version}")
            if found is not None:
                yield found
            for pattern in (f"{version}.*", f"cpython-{version}.*"):
                for root in (pyenv, uv):
                    yield from map(str, sorted(root.glob(f"{pattern}/bin/python{version}")))

    def install(self) -> None:
        run(self.interpreter(), "-m", "venv", str(self.directory))
        pip = (str(self.directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--requirement", str(self.source / "requirements.txt"))

    def program(self) -> Program:
        # Isolated: the tests' own PYTHONPATH must not reach the old interpreter.
        return Program((str(self.directory / "bin" / "python"), "-I", str(self.source / "client.py")))


class C(Piece):
    name = "c"
    source = CLIENTS / "c"

    def tools(self) -> Sequence[str]:
        return [tool("cc", "gcc", "clang")]

    def install(self) -> None:
        if not self.has_library():
            self.install_library()
        run(*self.compile(self.source / "client.c", self.directory / "client"))

    def compile(self, source: Path, target: Path) -> tuple[str, ...]:
        return (
            self.tools()[0],
            "-O1",
            "-Wall",
            "-Werror",
            "-DNATS_HAS_STREAMING",
            "-o",
            str(target),
            str(source),
            "-lnats",
            "-lpthread",
        )

    def has_library(self) -> bool:
        probe = self.directory / "probe.c"
        probe.write_text("#include <nats/nats.h>\nint main(void) { return stanConnOptions_Create(0) == NATS_OK; }\n")
        compiled = subprocess.run(self.compile(probe, self.directory / "probe"), capture_output=True, check=False)
        return compiled.returncode == 0

    def install_library(self) -> None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise ToolchainMissing("libnats with its streaming part is missing (Debian: apt-get install libnats-dev)")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", environment=quiet)
        run("apt-get", "install", "--yes", "--no-install-recommends", "libnats-dev", environment=quiet)

    def program(self) -> Program:
        return Program((str(self.directory / "client"),))


class Go(Piece):
    name = "go"
    source = CLIENTS / "go"

    def tools(self) -> Sequence[str]:
        return [tool("go")]

    def install(self) -> None:
        run(tool("go"), "build", "-buildvcs=false", "-o", str(self.directory / "client"), ".", cwd=self.source)

    def program(self) -> Program:
        return Program((str(self.directory / "client"),))


class Java(Piece):
    name = "java"
    source = CLIENTS / "java"

    def tools(self) -> Sequence[str]:
        return [tool("java"), tool("javac"), tool("mvn")]

    def install(self) -> None:
        shutil.copy(self.source / "pom.xml", self.directory)
        libraries, classes = self.directory / "lib", self.directory / "classes"
        copy = "dependency:copy-dependencies"
        run(tool("mvn"), "--batch-mode", "--quiet", copy, f"-DoutputDirectory={libraries}", cwd=self.directory)
        run(tool("javac"), "-cp", f"{libraries}/*", "-d", str(classes), str(self.source / "Client.java"))

    def program(self) -> Program:
        # A short-lived program on a busy machine: the simplest collector and compiler start fastest.
        quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        path = f"{self.directory / 'classes'}:{self.directory / 'lib'}/*"
        return Program((tool("java"), *quick, "-cp", path, "Client"))


class StanGoSuite(Piece):
    """stan.go's own tests, which its module carries, built over a stand-in for the server package they import.

    The NATS server some of them run beside the streaming server is the real one, in the version stan.go names.
    """

    name = "stan-go-suite"
    source = OWN_SUITES / "stan_go"

    def tools(self) -> Sequence[str]:
        return [tool("go")]

    def install(self) -> None:
        go = tool("go")
        module = json.loads(run(go, "mod", "download", "-json", STAN_GO, cwd=self.directory))
        suite = self.directory / "suite"
        # The module cache is read-only, and copies of its files would be too.
        shutil.copytree(module["Dir"], suite, copy_function=shutil.copyfile)
        suite.chmod(0o755)
        # The module keeps what only its tests need in files of their own.
        shutil.copyfile(suite / "go_tests.mod", suite / "go.mod")
        shutil.copyfile(suite / "go_tests.sum", suite / "go.sum")
        stand_in = f"github.com/nats-io/nats-streaming-server={self.source / 'streaming'}"
        run(go, "mod", "edit", "-replace", stand_in, cwd=suite)
        run(go, "test", "-mod=mod", "-c", "-o", str(self.directory / "suite.test"), ".", cwd=suite)

    def program(self) -> Program:
        return Program((str(self.directory / "suite.test"), "-test.v", "-test.timeout=200s"))


class StanJsSuite(Piece):
    """The tests of stan.js 0.0.26, the last version whose npm package carries them. It speaks protocol 0: no pings."""

    name = "stan-js-suite"
    source = OWN_SUITES / "stan_js"

    def tools(self) -> Sequence[str]:
        return [tool("node"), tool("npm")]

    def install(self) -> None:
        npm_install(self.source, self.directory)
        shutil.copy(self.source / "stan_server_control.js", self.tests() / "support")

    def tests(self) -> Path:
        return self.directory / "node_modules" / "node-nats-streaming" / "test"

    def program(self) -> Program:
        mocha = self.directory / "node_modules" / "mocha" / "bin" / "_mocha"
        return Program((tool("node"), str(mocha), "--timeout", "10000", "--reporter", "tap", str(self.tests())))


class GoServer(Piece):
    """The original itself: its data directories must open here, and ours there."""

    name = "go-server"
    source = HERE / "go_server"  # nothing is kept of it but its version
    module = "github.com/nats-io/nats-streaming-server@v0.25.6"

    def tools(self) -> Sequence[str]:
        return [tool("go")]

    def install(self) -> None:
        run(tool("go"), "install", self.module, environment={"GOBIN": str(self.directory)})

    def program(self) -> Program:
        return Program((str(self.directory / "nats-streaming-server"),))


class ConfigReader(Piece):
    """The parser of configuration files that the Go server embeds, as a program: ours must read the same."""

    name = "config-reader"
    source = HERE / "config_reader"

    def tools(self) -> Sequence[str]:
        return [tool("go")]

    def install(self) -> None:
        run(tool("go"), "build", "-buildvcs=false", "-o", str(self.directory / "reader"), ".", cwd=self.source)

    def program(self) -> Program:
        return Program((str(self.directory / "reader"),))


LANGUAGES: dict[str, Piece] = {piece.name: piece for piece in (Node(), OldPython(), C(), Go(), Java())}
SUITES: dict[str, Piece] = {piece.name: piece for piece in (StanGoSuite(), StanJsSuite())}
SERVERS: dict[str, Piece] = {piece.name: piece for piece in (GoServer(),)}
READERS: dict[str, Piece] = {piece.name: piece for piece in (ConfigReader(),)}
PIECES: dict[str, Piece] = LANGUAGES | SUITES | SERVERS | READERS


@contextmanager
def locked() -> Iterator[None]:
    """Two test runs may share a cache: one of them prepares, the other waits."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(name: str) -> Program:
    """Make sure that this piece is installed and say how to start it.

    Raises:
        ToolchainMissing: it cannot be prepared on this machine.
        PreparationFailed: a tool failed.
    """
    piece = PIECES[name]
    fingerprint = piece.fingerprint()
    stamp = piece.directory / ".prepared"
    with locked():
        if not stamp.exists() or stamp.read_text() != fingerprint:
            shutil.rmtree(piece.directory, ignore_errors=True)
            piece.directory.mkdir(parents=True)
            piece.install()
            stamp.write_text(fingerprint)
    return piece.program()


def main(arguments: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    unknown = sorted(set(arguments) - set(PIECES))
    if unknown:
        logger.error("unknown: %s; known are %s", ", ".join(unknown), ", ".join(PIECES))
        return 2
    failures = 0
    for name in arguments or PIECES:
        try:
            prepare(name)
        except (ToolchainMissing, PreparationFailed) as error:
            logger.error("%s: %s", name, error)
            failures += 1
        else:
            logger.info("%s: ready", name)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
