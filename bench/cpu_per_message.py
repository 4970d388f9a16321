"""CPU seconds of the streaming process per message: publish alone, and publish + one delivery + its ack.

    python bench/cpu_per_message.py [--messages 300000] [--rounds 5] [--executable PATH]

Memory store, 128-byte messages, one connection per role. Only the streaming process is counted, its embedded
nats-server is shown beside it. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.loadgen import Acker, Client, Counter
from bench.suite.arguments import count
from bench.suite.processes import cpu_seconds, peak_bytes, tree
from tests.support.servers import ServerProcess


def run_round(number: int, messages: int, with_delivery: bool, window: int) -> dict[str, float]:
    server = ServerProcess("-mm", "0", "-mb", "0").start()
    try:
        publisher = Client(server.port, b"pub")
        acker = None
        if with_delivery:
            subscriber = Client(server.port, b"sub")
            inbox = subscriber.subscribe(b"bench", window)
            acker = Acker(subscriber, b"bench", inbox, messages)
        frames = publisher.publish_frames(b"bench", messages, 128)
        publisher.link.socket.sendall(b"SUB _STAN.acks.pub 3\r\n")
        counter = Counter(publisher.link, messages)
        ours, *nats = tree(server.pid)
        before, nats_before, start = cpu_seconds([ours]), cpu_seconds(nats), time.monotonic()
        publisher.link.socket.sendall(frames)
        counter.join(120)
        if acker is not None:
            acker.join(120)
        wall = time.monotonic() - start
        if counter.count != messages or (acker is not None and acker.count != messages):
            raise RuntimeError(f"round {number}: {counter.count} acks, {acker.count if acker else 0} deliveries")
        return {
            "us_per_message": (cpu_seconds([ours]) - before) / messages * 1e6,
            "nats_us_per_message": (cpu_seconds(nats) - nats_before) / messages * 1e6,
            "messages_per_second": messages / wall,
            "peak_mb": peak_bytes([ours]) / 1e6,
        }
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=count, default=300_000)
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--window", type=count, default=1024, help="max in flight of the subscriber")
    parser.add_argument("--executable", help="streaming server to measure instead of the installed one")
    options = parser.parse_args()
    if options.executable:
        os.environ["STAN_SERVER_UNDER_TEST"] = options.executable
    for name, with_delivery in (("publish", False), ("publish + delivery + ack", True)):
        rounds = [run_round(n, options.messages, with_delivery, options.window) for n in range(options.rounds)]
        line = ", ".join(
            f"{key} {statistics.median(r[key] for r in rounds):,.2f}"
            f" ({min(r[key] for r in rounds):,.2f}..{max(r[key] for r in rounds):,.2f})"
            for key in rounds[0]
        )
        print(f"{name}: {line}")


if __name__ == "__main__":
    main()
