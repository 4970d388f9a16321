"""A publisher that waits for each ack: how long it waits, and what CPU one such publish costs the server.

    python bench/lone_publish.py [--rounds 20] [--messages 300] [--store FILE] [--executable PATH ...]

All servers run at once and get `--messages` publishes of 128 bytes in turn, so that a drift of the machine meets each
of them. With several executables the first one is what the others are compared to. CPU is that of the streaming
process and, beside it, of its embedded nats-server (the Go server is one process).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.loadgen import Client
from bench.suite.arguments import count
from bench.suite.processes import tree
from tests.support.servers import ServerProcess, executable

_SIZE = 128
_WARM_UP = 300


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process, by the scheduler's clock: ticks are too coarse for short rounds."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


class Lone:
    """One server with its publisher."""

    def __init__(self, program: str, store: str, directory: str) -> None:
        arguments = ["-st", "FILE", "-dir", directory] if store == "FILE" else []
        self.program = program
        self.server = ServerProcess("-mm", "0", "-mb", "0", *arguments, program=program).start()
        self._client = Client(self.server.port, b"pub")
        self._client.link.socket.sendall(b"SUB _STAN.acks.pub 3\r\n")
        self._numbers = itertools.count()
        self.waits_us: list[float] = []
        self.cpu_us: list[float] = []
        self.nats_cpu_us: list[float] = []

    def publish(self, count: int) -> list[float]:
        """Microseconds that each of `count` publishes waited for its ack."""
        socket = self._client.link.socket
        frames = [self._client.publish_frames(b"bench", 1, _SIZE, next(self._numbers)) for _ in range(count)]
        waits = []
        for frame in frames:
            begun = time.perf_counter_ns()
            socket.sendall(frame)
            answer = b""
            while b"MSG _STAN.acks" not in answer or not answer.endswith(b"\r\n"):
                answer += socket.recv(65536)
            waits.append((time.perf_counter_ns() - begun) / 1e3)
        return waits

    def round(self, count: int) -> None:
        pids = tree(self.server.pid)
        before = [cpu_ns(pid) for pid in pids]
        waits = self.publish(count)
        used = [(cpu_ns(pid) - was) / count / 1e3 for pid, was in zip(pids, before, strict=True)]
        self.waits_us.append(statistics.median(waits))
        self.cpu_us.append(used[0])
        self.nats_cpu_us.append(sum(used[1:]))


def compared(values: list[float], first: list[float]) -> str:
    """Median, spread and the median ratio to the first server's figure of the same round."""
    ratios = [value / other for value, other in zip(values, first, strict=True) if other]
    ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
    return f"{statistics.median(values):.1f} ({min(values):.1f}..{max(values):.1f}) | {ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=20)
    parser.add_argument("--messages", type=count, default=300, help="publishes of each server in each round")
    parser.add_argument("--store", choices=("MEMORY", "FILE"), action="append", help="default: one after the other")
    parser.add_argument("--executable", action="append", help="to measure instead of the installed server")
    parser.add_argument("--go-server", help="the original's executable, to compare with")
    options = parser.parse_args()
    programs = options.executable or [executable()]
    if options.go_server:
        programs.append(options.go_server)
    for store in options.store or ("MEMORY", "FILE"):
        print(f"{store}, {options.rounds} rounds of {options.messages}; medians (min..max) | ratio to the first\n")
        print("| server | p50 us | ratio | CPU us | ratio | nats-server CPU us | ratio |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        with contextlib.ExitStack() as stack:
            lones = []
            for program in programs:
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-lone-"))
                lone = Lone(program, store, directory)
                stack.callback(lone.server.close)
                lone.publish(_WARM_UP)
                lones.append(lone)
            for number in range(options.rounds):
                for lone in lones if number % 2 == 0 else reversed(lones):
                    lone.round(options.messages)
        for lone in lones:
            figures = ((lone.waits_us, lones[0].waits_us), (lone.cpu_us, lones[0].cpu_us))
            figures += ((lone.nats_cpu_us, lones[0].nats_cpu_us),)
            print(f"| {lone.program} | {' | '.join(compared(*figure) for figure in figures)} |")
        print(flush=True)


if __name__ == "__main__":
    main()
