"""Ours against the Go server with the Go load generator, alternating in one run; medians, spread and ratios.

    python bench/side_by_side.py [--rounds 5] [--messages 200000] [--scale 1.0]

Both the server (nats-streaming-server v0.25.6) and the generator (stan-bench of stan.go v0.10.4) are built with the Go
toolchain as ordinary modules into .cache/bench; without Go nothing is measured and the program says so. CPU seconds
are those of the whole process tree of the server, our embedded nats-server included.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.cpu_per_message import children, cpu_seconds, peak_bytes
from tests.support.servers import ServerProcess, executable

CACHE = Path(__file__).parents[1] / ".cache" / "bench"
GO_SERVER = "github.com/nats-io/nats-streaming-server@v0.25.6"
GO_BENCH = "github.com/nats-io/stan.go/examples/stan-bench@v0.10.4"
RATE = re.compile(r"(?:NATS Streaming Pub/Sub|Pub) stats: ([\d,]+) msgs/sec")


@dataclass(frozen=True)
class Workload:
    """One line of the table; `share` is its part of --messages."""

    name: str
    arguments: tuple[str, ...]
    share: float = 1.0


WORKLOADS = (
    Workload("publish, 1 publisher", ("-np", "1", "-ns", "0", "-mpa", "1000")),
    Workload("publish, 4 publishers", ("-np", "4", "-ns", "0", "-mpa", "1000")),
    Workload("1 publisher to 1 subscriber", ("-np", "1", "-ns", "1", "-mpa", "1000"), 0.5),
    Workload("1 publisher to 4 subscribers", ("-np", "1", "-ns", "4", "-mpa", "1000"), 0.2),
    Workload("publish, one at a time", ("-np", "1", "-ns", "0", "-sync"), 0.05),
)


def go_binary(module: str) -> str:
    """Build a Go program once, from the module proxy."""
    name = module.rsplit("/", 1)[1].split("@")[0]
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "install", module], check=True, env={**os.environ, "GOBIN": str(CACHE)})
    return str(path)


def measure(server_path: str, generator: str, workload: Workload, messages: int) -> dict[str, float]:
    os.environ["STAN_SERVER_UNDER_TEST"] = server_path
    server = ServerProcess("-mm", "0", "-mb", "0").start()
    try:
        count = max(1000, int(messages * workload.share))
        url = f"nats://127.0.0.1:{server.port}"
        tree = [server.pid, *children(server.pid)]
        before = sum(map(cpu_seconds, tree))
        done = subprocess.run(
            [generator, "-s", url, "-n", str(count), "-ms", "128", *workload.arguments, "bench"],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        rate = RATE.search(done.stdout + done.stderr)
        if rate is None:
            raise RuntimeError(f"the load generator said:\n{done.stdout}{done.stderr}")
        return {
            "msgs/s": float(rate.group(1).replace(",", "")),
            "CPU us/msg": (sum(map(cpu_seconds, tree)) - before) / count * 1e6,
            "peak MB": sum(map(peak_bytes, tree)) / 1e6,
        }
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200_000)
    options = parser.parse_args()
    if shutil.which("go") is None:
        print("skipped: the comparison needs the Go toolchain, which is not on PATH")
        return
    ours = executable()
    theirs, generator = go_binary(GO_SERVER), go_binary(GO_BENCH)
    print(f"128-byte messages, memory store, {options.rounds} rounds, medians (min..max); ratio = ours / Go\n")
    print("| workload | figure | ours | Go | ratio |\n|---|---|--:|--:|--:|")
    for workload in WORKLOADS:
        rounds: list[tuple[dict[str, float], dict[str, float]]] = []
        for number in range(options.rounds):
            order: list[Callable[[], dict[str, float]]] = [
                lambda w=workload: measure(ours, generator, w, options.messages),
                lambda w=workload: measure(theirs, generator, w, options.messages),
            ]
            # Who goes first alternates too: the machine's speed drifts.
            if number % 2:
                second, first = order[1](), order[0]()
            else:
                first, second = order[0](), order[1]()
            rounds.append((first, second))
        for key in rounds[0][0]:
            mine, other = [r[0][key] for r in rounds], [r[1][key] for r in rounds]
            ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True) if b)
            print(f"| {workload.name} | {key} | {text(mine)} | {text(other)} | {ratio:.2f} |", flush=True)


def text(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f}..{max(values):,.1f})"


if __name__ == "__main__":
    main()
