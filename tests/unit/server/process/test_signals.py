"""Signals that come before there is a loop to obey them, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, os, signal, sys
from nats_streaming.server.process.signals import ProcessSignals

signals = ProcessSignals()
for number in sys.argv[1].split(","):
    os.kill(os.getpid(), int(number))

async def main():
    reloads = []
    stopped = signals.attach(lambda: reloads.append(1))
    print(len(reloads), stopped.result() if stopped.done() else "goes on")

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("numbers", "outcome"),
    [
        ([signal.SIGINT], "0 0"),
        ([signal.SIGTERM], "0 143"),
        ([signal.SIGTERM, signal.SIGINT], "0 143"),
        ([signal.SIGUSR1, signal.SIGUSR2], "0 goes on"),
        ([signal.SIGHUP], "1 goes on"),
    ],
)
def test_early_signals_are_kept(numbers: list[signal.Signals], outcome: str) -> None:
    argument = ",".join(str(int(number)) for number in numbers)
    done = subprocess.run([sys.executable, "-c", SCRIPT, argument], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, outcome), done.stderr
