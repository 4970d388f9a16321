"""The clients' own test suites, as far as packages carry them, over the executable under test.

README.md says which suites cannot be had and why.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..support.servers import executable
from .prepare import Program

pytestmark = [pytest.mark.interop, pytest.mark.slow]

# The ports these suites have written in them: clients, a second server's clients, monitoring.
FIXED_PORTS = (4222, 4223, 8222)

SUITE_SECONDS_MAX = 230.0

# Subtests are indented, and count with their test.
GO_OUTCOME = re.compile(r"^--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class OwnSuite:
    """What a suite gives on the Go server 0.25.6. Names of tests map to the reason."""

    passing: int
    skipped: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)


STAN_GO = OwnSuite(passing=59, skipped={"TestVersionMatchesTag": "runs in stan.go's own release build only"})


@pytest.fixture
def fixed_ports() -> None:
    """Fail at once, and say why, when another server would be tested instead of ours."""
    for port in FIXED_PORTS:
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError as error:
                pytest.fail(f"port {port}, which this suite has written in it, is not free: {error}", pytrace=False)


@pytest.fixture
def search_path(tmp_path: Path) -> str:
    """A PATH on which `nats-streaming-server` is the executable under test."""
    wrapper = tmp_path / "bin" / "nats-streaming-server"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(executable())} "$@"\n')
    wrapper.chmod(0o755)
    return f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"


def run_suite(program: Program, directory: Path, search_path: str) -> str:
    """Run a suite to its end and return what it wrote. Its process group ends with it, servers left behind included."""
    process = subprocess.Popen(
        program.command,
        cwd=directory,
        env={**os.environ, **program.environment, "PATH": search_path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SUITE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"the suite did not end in {SUITE_SECONDS_MAX} s:\n{output[-8000:]}", pytrace=False)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return output


@pytest.mark.usefixtures("fixed_ports")
def test_stan_go(prepared: Callable[[str], Program], search_path: str, tmp_path: Path) -> None:
    output = run_suite(prepared("stan-go-suite"), tmp_path, search_path)
    outcomes: dict[str, set[str]] = {"PASS": set(), "FAIL": set(), "SKIP": set()}
    for outcome, name in GO_OUTCOME.findall(output):
        outcomes[outcome].add(name)
    assert outcomes["FAIL"] == set(STAN_GO.failing), output[-20000:]
    assert outcomes["SKIP"] == set(STAN_GO.skipped), output[-20000:]
    # A suite that dies half way reports no failure for what it did not reach.
    assert len(outcomes["PASS"]) == STAN_GO.passing, output[-20000:]
