"""The FILE store beside the Go server's, file_sync on for both, alternating in one run; medians, spread and ratios.

    python bench/file_store.py [--rounds 5] [--messages 50000] [--size 128] [--go-server PATH] [--directory DIR]

Without `--go-server` it is built with the Go toolchain, as `make bench` does. Latencies are those of a publisher that
waits for each ack. `--only` takes a part of a workload's name.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.cpu_per_message import children, cpu_seconds
from bench.loadgen import Acker, Client, Counter, Frames
from bench.suite.figures import ratios, spread
from bench.suite.toolchain import GO_SERVER, go_binary
from tests.support.servers import ServerProcess, executable

WINDOW = 1000  # publishes without an ack
Figures = dict[str, float]


class Publisher:
    """Sends frames made before, at most `WINDOW` of them without an ack."""

    def __init__(self, client: Client, frames: Iterable[bytes]) -> None:
        self.client = client
        self.frames = Frames(frames)
        client.link.socket.sendall(b"SUB _STAN.acks.%s 3\r\n" % client.client_id)
        self.counter = Counter(client.link, len(self.frames))

    def run(self) -> None:
        sent, total = 0, len(self.frames)
        while sent < total:
            room = min(total, self.counter.count + WINDOW) - sent
            if room <= 0:
                time.sleep(0.0002)
                continue
            self.client.link.socket.sendall(self.frames.slice(sent, sent + room))
            sent += room
        self.counter.join(300)
        if self.counter.count != total:
            raise RuntimeError(f"{self.counter.count} of {total} acks")


def frames_for(client: Client, channels: list[bytes], count: int, size: int) -> list[bytes]:
    return [client.publish_frames(channels[index % len(channels)], 1, size, index) for index in range(count)]


def publish(port: int, count: int, size: int, channels: list[bytes]) -> Figures:
    client = Client(port, b"pub")
    warm = Publisher(client, frames_for(client, channels, len(channels), size))
    warm.run()
    publisher = Publisher(client, frames_for(client, channels, count, size))
    start = time.monotonic()
    publisher.run()
    return {"msgs/s": count / (time.monotonic() - start)}


def one_to_one(port: int, count: int, size: int) -> Figures:
    client, subscriber = Client(port, b"pub"), Client(port, b"sub")
    inbox = subscriber.subscribe(b"bench", 1024)
    publisher = Publisher(client, frames_for(client, [b"bench"], count, size))
    acker = Acker(subscriber, b"bench", inbox, count)
    start = time.monotonic()
    publisher.run()
    acker.join(300)
    if acker.count != count:
        raise RuntimeError(f"{acker.count} of {count} deliveries")
    return {"msgs/s": count / (time.monotonic() - start)}


def one_at_a_time(port: int, count: int, size: int) -> Figures:
    client = Client(port, b"pub")
    client.link.socket.sendall(b"SUB _STAN.acks.pub 3\r\n")
    times: list[float] = []
    for frame in frames_for(client, [b"bench"], count, size):
        start = time.monotonic()
        client.link.socket.sendall(frame)
        buffer = b""
        while b"MSG _STAN.acks" not in buffer or not buffer.endswith(b"\r\n"):
            buffer += client.link.socket.recv(65536)
        times.append(time.monotonic() - start)
    times.sort()
    return {"p50 us": times[len(times) // 2] * 1e6, "p99 us": times[len(times) * 99 // 100] * 1e6}


CHANNELS = [b"bench.%d" % number for number in range(100)]
WORKLOADS: dict[str, tuple[float, Callable[[int, int, int], Figures]]] = {
    "async publish, 1 channel": (1.0, lambda port, count, size: publish(port, count, size, [b"bench"])),
    "async publish, 100 channels round robin": (0.4, lambda port, count, size: publish(port, count, size, CHANNELS)),
    "1 publisher to 1 subscriber": (0.6, one_to_one),
    "publish, one at a time": (0.02, one_at_a_time),
}


def measure(path: str, work: Callable[[int, int, int], Figures], count: int, size: int, under: str | None) -> Figures:
    os.environ["STAN_SERVER_UNDER_TEST"] = path
    directory = tempfile.mkdtemp(prefix="bench-file-", dir=under)
    try:
        return measure_on(ServerProcess("-st", "FILE", "-dir", directory, "-mm", "0", "-mb", "0"), work, count, size)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure_on(server: ServerProcess, work: Callable[[int, int, int], Figures], count: int, size: int) -> Figures:
    """Start a server, do the work, end it; adds the CPU that server and embedded NATS took."""
    server.start()
    try:
        tree = [server.pid, *children(server.pid)]
        before = sum(map(cpu_seconds, tree))
        outcome: list[Figures] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                outcome.append(work(server.port, count, size))
            except BaseException as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(300)
        if failed or not outcome:
            raise RuntimeError(f"no outcome:\n{server.log()[-3000:]}") from (failed[0] if failed else None)
        return {**outcome[0], "CPU us/msg": (sum(map(cpu_seconds, tree)) - before) / count * 1e6}
    finally:
        server.close()


def table_head(what: str, rounds: int, store: str = "FILE") -> str:
    return (
        f"{what}, {store}, {rounds} rounds, medians (min..max); ratio = ours / Go\n\n"
        "| workload | figure | ours | Go | ratio |\n|---|---|--:|--:|--:|"
    )


def table_rows(name: str, rounds: list[tuple[Figures, Figures]]) -> str:
    """A row per figure; each round has ours and theirs."""
    rows = []
    for key in rounds[0][0]:
        mine, other = [r[0][key] for r in rounds], [r[1][key] for r in rounds]
        ratio = ratios(mine, other).median
        rows.append(f"| {name} | {key} | {spread(mine).text(1)} | {spread(other).text(1)} | {ratio:.2f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--go-server")
    parser.add_argument("--directory", help="where the store directories are made")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if options.go_server is None and shutil.which("go") is None:
        print("skipped: the comparison needs the Go server or the Go toolchain")
        return
    ours = executable()
    theirs = options.go_server or go_binary(GO_SERVER)
    print(table_head(f"{options.size}-byte messages", options.rounds))
    for name, (share, work) in WORKLOADS.items():
        if options.only not in name:
            continue
        count = max(200, int(options.messages * share))
        rounds: list[tuple[Figures, Figures]] = []
        for number in range(options.rounds):
            # Who goes first alternates too: the machine's speed drifts.
            pair = {
                path: measure(path, work, count, options.size, options.directory)
                for path in ((ours, theirs) if number % 2 == 0 else (theirs, ours))
            }
            rounds.append((pair[ours], pair[theirs]))
        print(table_rows(name, rounds), flush=True)


if __name__ == "__main__":
    main()
