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

SUITE_SECONDS_MAX = 230.0

# Subtests are indented, and count with their test.
GO_OUTCOME = re.compile(r"^--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)
TAP_OUTCOME = re.compile(r"^(ok|not ok) \d+ (.*?)( # SKIP -)?$", re.MULTILINE)


@dataclass(frozen=True)
class OwnSuite:
    """What a suite needs, and what it gives on the Go server 0.25.6. Names of tests map to the reason."""

    piece: str
    ports: tuple[int, ...]
    tests: int
    skipped: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    not_judged: dict[str, str] = field(default_factory=dict)

    def judge(self, outcomes: Outcomes, output: str) -> None:
        unjudged = set(self.not_judged)
        assert outcomes.failed - unjudged == set(self.failing), output[-20000:]
        assert outcomes.skipped == set(self.skipped), output[-20000:]
        # A suite that dies half way reports no failure for what it did not reach.
        assert len(outcomes.passed | outcomes.failed | outcomes.skipped) == self.tests, output[-20000:]


@dataclass(frozen=True)
class Outcomes:
    passed: set[str]
    failed: set[str]
    skipped: set[str]


STAN_GO = OwnSuite(
    piece="stan-go-suite",
    ports=(4222,),
    tests=60,
    skipped={"TestVersionMatchesTag": "runs in stan.go's own release build only"},
)

CONNECTING_EVENTS = (
    "Basic Connectivity should emit connecting events and try repeatedly if configured and no server available"
)
STAN_JS = OwnSuite(
    piece="stan-js-suite",
    ports=(1423, 9876, 22222, 22223),
    tests=48,
    not_judged={CONNECTING_EVENTS: "counts the ticks of a timer in 550 ms; no server takes part"},
)


def require_free(ports: tuple[int, ...]) -> None:
    """Fail at once, and say why, when another server would be tested instead of ours."""
    for port in ports:
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
        env={**os.environ, **program.environment, "PATH": search_path, "TMPDIR": str(directory)},
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


def test_stan_go(prepared: Callable[[str], Program], search_path: str, tmp_path: Path) -> None:
    require_free(STAN_GO.ports)
    output = run_suite(prepared(STAN_GO.piece), tmp_path, search_path)
    outcomes = Outcomes(set(), set(), set())
    for outcome, name in GO_OUTCOME.findall(output):
        {"PASS": outcomes.passed, "FAIL": outcomes.failed, "SKIP": outcomes.skipped}[outcome].add(name)
    STAN_GO.judge(outcomes, output)


def test_stan_js(prepared: Callable[[str], Program], search_path: str, tmp_path: Path) -> None:
    require_free(STAN_JS.ports)
    output = run_suite(prepared(STAN_JS.piece), tmp_path, search_path)
    outcomes = Outcomes(set(), set(), set())
    for outcome, name, skipped in TAP_OUTCOME.findall(output):
        (outcomes.skipped if skipped else outcomes.passed if outcome == "ok" else outcomes.failed).add(name)
    STAN_JS.judge(outcomes, output)
