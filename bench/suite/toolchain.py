"""The Go server and its load generator, built once with the Go toolchain as ordinary modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache" / "bench"

GO_SERVER = "github.com/nats-io/nats-streaming-server@v0.25.6"
STAN_BENCH = "github.com/nats-io/stan.go/examples/stan-bench@v0.10.4"

BUILD_SECONDS_MAX = 900.0


class GoMissing(RuntimeError):
    """There is no Go toolchain; the text says what is not measured for want of it."""


class BuildFailed(RuntimeError):
    """Go is there and could not build; the text holds what it said."""


def go_binary(module: str) -> str:
    """The executable of a Go program, built if it is not there yet.

    Args:
        module: its path, `@` and its version.

    Raises:
        GoMissing, BuildFailed
    """
    path, _, version = module.partition("@")
    directory = CACHE / version
    executable = directory / path.rsplit("/", 1)[1]
    if executable.exists():
        return str(executable)
    if shutil.which("go") is None:
        raise GoMissing(f"no `go` on PATH to build {module} with")
    directory.mkdir(parents=True, exist_ok=True)
    print(f"building {module}", flush=True)
    done = subprocess.run(
        ["go", "install", module],
        env={**os.environ, "GOBIN": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        raise BuildFailed(f"`go install {module}` exited with {done.returncode}:\n{done.stderr[-2000:]}")
    return str(executable)


def go_version() -> str:
    """What `go version` says of itself, or that there is none."""
    go = shutil.which("go")
    if go is None:
        return "none"
    return subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
