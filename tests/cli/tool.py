"""Runs `nats-streaming` as a process, as a person or a script does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

COMMAND = (sys.executable, "-P", "-m", "nats_streaming.cli.main")
"""The same module as the console script: so the build under test is the one this Python imports."""

RUN_SECONDS = 60.0
_VARIABLES = ("STAN_", "NATS_STREAMING_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


def environment(**variables: str) -> dict[str, str]:
    """Ours without what would change the tool's behaviour, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_VARIABLES)}
    return {**kept, **variables}


def run(*arguments: str, given: str | bytes = "", code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        arguments: of the command.
        given: what it reads.
        code: the exit code it must have.
        variables: of its environment.
    """
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=given if isinstance(given, bytes) else given.encode(),
        capture_output=True,
        timeout=RUN_SECONDS,
        env=environment(**variables),
        check=False,
    )
    shown = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert shown.returncode == code, (arguments, shown.returncode, shown.stdout, shown.stderr)
    assert "Traceback" not in shown.stderr, shown.stderr
    return shown


def run_json(*arguments: str, code: int = 0, **variables: str) -> Any:
    """Run a command with `--json` and read what it prints."""
    return json.loads(run(*arguments, "--json", code=code, **variables).stdout)


def start(*arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start a command; its output is piped."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**variables),
    )
