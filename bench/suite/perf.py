"""Linux's perf: samples of processes that run, from one moment to another."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.suite.stages import Sample, read_samples

# Of the clock, not of the processor's counters, which virtual machines seldom have; odd, so as not to run in step with
# what happens a round number of times a second.
_RECORD = ("perf", "record", "-q", "-e", "cpu-clock", "-F", "3999", "-g", "--delay=-1")
_SECONDS_MAX = 120


class PerfFailed(RuntimeError):
    """perf is there and did not do what it should; the text holds what it said."""


def why_not() -> str:
    """Why processes cannot be sampled here, "" if they can."""
    if shutil.which("perf") is None:
        return "there is no `perf` on PATH"
    done = subprocess.run(
        ["perf", "record", "-q", "-e", "cpu-clock", "-o", os.devnull, "true"], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else f"`perf record` fails: {done.stderr.strip()[:300]}"


@contextlib.contextmanager
def sampling(pids: list[int], file: Path) -> Iterator[None]:
    """Sample the processes as long as the body runs, into a file for `samples`.

    Raises:
        PerfFailed
    """
    control_read, control_write = os.pipe()
    ack_read, ack_write = os.pipe()
    with contextlib.ExitStack() as opened:
        control = opened.enter_context(os.fdopen(control_write, "w"))
        acks = opened.enter_context(os.fdopen(ack_read))
        process = subprocess.Popen(
            [*_RECORD, f"--control=fd:{control_read},{ack_write}", "-p", ",".join(map(str, pids)), "-o", str(file)],
            pass_fds=(control_read, ack_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(control_read)
        os.close(ack_write)

        def tell(command: str) -> None:
            control.write(f"{command}\n")
            control.flush()
            if "ack" not in acks.readline():
                raise PerfFailed(f"perf does not `{command}`")

        try:
            tell("enable")
            yield
            tell("disable")
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=_SECONDS_MAX)
        if not file.exists():
            raise PerfFailed(f"perf wrote nothing: {said.strip()[:300]}")


def samples(file: Path) -> list[Sample]:
    """Raises PerfFailed when perf cannot read its own file."""
    done = subprocess.run(
        ["perf", "script", "-i", str(file), "-F", "comm,pid,tid,ip,sym,dso"],
        capture_output=True, text=True, errors="replace", timeout=_SECONDS_MAX, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise PerfFailed(f"`perf script` fails: {done.stderr.strip()[:300]}")
    return list(read_samples(done.stdout.splitlines()))
