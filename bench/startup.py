"""From spawn to the first STAN connect answered, and memory when idle with many subscriptions.

python bench/startup.py [--rounds 15] [--executable PATH] [--subscriptions 10000] [--channels 1000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.loadgen import Client, field, varint
from bench.suite.arguments import count
from bench.suite.processes import resident_bytes, tree
from tests.support.servers import ServerProcess, executable, free_port


def first_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    """Connect as a STAN client as soon as that is possible."""
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"server exited with {process.returncode}")
        try:
            client = Client(port, b"first")
        except (OSError, RuntimeError):
            time.sleep(0.001)
            continue
        client.link.close()
        return


def start_seconds() -> float:
    port = free_port()
    start = time.monotonic()
    process = subprocess.Popen(
        [executable(), "-p", str(port), "-a", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        first_answer(port, process)
        return time.monotonic() - start
    finally:
        process.terminate()
        process.wait(10)


def idle_memory(subscriptions: int, channels: int) -> tuple[float, float]:
    """MB of the streaming process and of its nats-server with so many idle subscriptions."""
    server = ServerProcess("-mc", "0", "-msu", "0").start()
    try:
        client = Client(server.port, b"idle")
        for index in range(subscriptions):
            inbox = b"_INBOX.idle.%d" % index
            client.link.socket.sendall(b"SUB %s %d\r\n" % (inbox, index + 100_000))
            request = (
                field(1, b"idle") + field(2, b"channel-%d" % (index % channels)) + field(4, inbox)
                + b"\x28" + varint(1024) + b"\x30\x1e"
            )  # fmt: skip
            answer = client.link.request(b"_STAN.sub.test-cluster", request)
            if answer[:1] != b"\x12":
                raise RuntimeError(f"subscription {index} refused: {answer!r}")
        client.link.socket.settimeout(5)
        ours, *nats = tree(server.pid)
        return resident_bytes([ours]) / 1e6, resident_bytes(nats) / 1e6
    except TimeoutError as error:
        raise RuntimeError("the server does not answer") from error
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=15)
    parser.add_argument("--executable")
    parser.add_argument("--subscriptions", type=count, default=10_000)
    parser.add_argument("--channels", type=count, default=1_000)
    options = parser.parse_args()
    if options.executable:
        os.environ["STAN_SERVER_UNDER_TEST"] = options.executable
    start_seconds()
    times = [start_seconds() * 1000 for _ in range(options.rounds)]
    print(f"spawn to first connect: median {statistics.median(times):.0f} ms ({min(times):.0f}..{max(times):.0f})")
    ours, nats = idle_memory(options.subscriptions, options.channels)
    idle = f"{options.subscriptions} subscriptions on {options.channels} channels"
    print(f"{idle}: {ours:.0f} MB, nats-server {nats:.0f} MB")


if __name__ == "__main__":
    main()
