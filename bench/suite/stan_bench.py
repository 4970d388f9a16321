"""stan-bench, the load generator of the Go client: what it is asked to do and what it says."""

from __future__ import annotations

import re
import subprocess

_RATE = re.compile(r"(?:NATS Streaming Pub/Sub|Pub) stats: ([\d,]+) msgs/sec")


class StanBenchFailed(RuntimeError):
    """It ended with an error, did not end in time, or said nothing that can be read; the text holds what it said."""


def arguments(
    port: int, messages: int, size: int, *, publishers: int, subscribers: int, window: int, sync: bool, queue: str = ""
) -> list[str]:
    """Its command line behind its name; `window` is the number of publishes without an ack, of each publisher."""
    line = ["-s", f"nats://127.0.0.1:{port}", "-n", str(messages), "-ms", str(size), "-mpa", str(window)]
    line += ["-np", str(publishers), "-ns", str(subscribers)]
    if queue:
        line += ["-qgroup", queue]
    if sync:
        line.append("-sync")
    return [*line, "bench"]


def published_rate(output: str, deliveries: int) -> float:
    """Messages published per second until the last one was acked and delivered.

    Its own figure adds up publishes and deliveries.

    Args:
        output: what it wrote.
        deliveries: of each message.

    Raises:
        StanBenchFailed: no rate is in it.
    """
    found = _RATE.search(output)
    if found is None:
        raise StanBenchFailed(f"stan-bench names no rate:\n{output[-2000:]}")
    return float(found[1].replace(",", "")) / (1 + deliveries)


def run(program: str, line: list[str], seconds: float) -> str:
    """What it wrote.

    Raises:
        StanBenchFailed
    """
    try:
        done = subprocess.run(
            [program, *line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise StanBenchFailed(f"stan-bench did not end within {seconds:.0f} s") from late
    output = done.stdout + done.stderr
    if done.returncode != 0:
        raise StanBenchFailed(f"stan-bench exited with {done.returncode}:\n{output[-2000:]}")
    return output
