"""Runs `nats-streaming`: in this process where that makes no difference, as one of its own where it does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NamedTuple

from nats_streaming.cli.main import main

COMMAND = (sys.executable, "-P", "-m", "nats_streaming.cli.main")
"""The same module as the console script: so the build under test is the one this Python imports."""

RUN_SECONDS = 120.0
_VARIABLES = ("STAN_", "_NATS_STREAMING_", "NATS_STREAMING_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


def environment(**variables: str) -> dict[str, str]:
    """Ours without what would change the tool's behaviour, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_VARIABLES)}
    return {**kept, **variables}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def run(*arguments: str, given: str | bytes = "", code: int = 0, **variables: str) -> Done:
    """Run a command to its end, in this process: starting one costs more than most commands.

    Args:
        arguments: of the command.
        given: what it reads.
        code: the exit code it must have.
        variables: of its environment.
    """
    with ExitStack() as stack:
        source, out, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        source.write(given if isinstance(given, bytes) else given.encode())
        source.seek(0)
        stack.enter_context(_environment(environment(**variables)))
        stack.enter_context(_standard_files(source, out, errors))
        ended = main(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
        shown = []
        for file in (out, errors):
            file.seek(0)
            shown.append(file.read().decode())
    done = Done(int(ended), *shown)
    assert done.code == code, (arguments, done)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _standard_files(source: IO[bytes], out: IO[bytes], errors: IO[bytes]) -> Iterator[None]:
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(os.dup(file.fileno()), mode), encoding="utf-8", write_through=mode == "wb")
        for file, mode in ((source, "rb"), (out, "wb"), (errors, "wb"))
    )
    try:
        yield
    finally:
        for file in (sys.stdin, sys.stdout, sys.stderr):
            file.close()
        sys.stdin, sys.stdout, sys.stderr = before


def run_process(*arguments: str, code: int = 0, **variables: str) -> Done:
    """The same as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=RUN_SECONDS,
        env=environment(**variables),
        check=False,
    )
    shown = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert shown.code == code, (arguments, shown)
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
