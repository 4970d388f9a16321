"""Starting on a FILE store that is already large, and replaying it cold, beside the Go server; alternating in one run.

    python bench/file_recovery.py [--rounds 5] [--messages 1000000] [--channels 100] [--go-server PATH]

The Go server writes the directory; each server gets a copy, is started on it once and stopped, and then measured.
Start: from the spawn to the line that says ready. Memory: the peak of the whole process tree up to then. Replay: one
subscriber after the other, a channel each, from the first message on, every message acked; nothing of it is in the
server's memory, while the system may have the files in its cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.cpu_per_message import children, peak_bytes
from bench.file_store import Figures, Publisher, frames_for, table_head, table_rows
from bench.loadgen import Acker, Client, ack_tails
from bench.suite.toolchain import GO_SERVER, go_binary
from tests.support.servers import ServerProcess, executable

SIZE = 128
REPLAYED = 0.2  # part of the channels


def start(path: str, directory: str, *arguments: str) -> ServerProcess:
    os.environ["STAN_SERVER_UNDER_TEST"] = path
    return ServerProcess("-st", "FILE", "-dir", directory, "-mm", "0", "-mb", "0", *arguments).start(300)


def fill(go_server: str, directory: str, messages: int, channels: list[bytes]) -> None:
    server = start(go_server, directory, "-file_sync=false")
    try:
        client = Client(server.port, b"fill")
        Publisher(client, frames_for(client, channels, messages, SIZE)).run()
    finally:
        server.stop()


def measure(path: str, directory: str, messages: int, channels: list[bytes]) -> Figures:
    begin = time.monotonic()
    server = start(path, directory)
    seconds = time.monotonic() - begin
    try:
        peak = sum(map(peak_bytes, [server.pid, *children(server.pid)]))
        replayed = channels[: max(1, int(len(channels) * REPLAYED))]
        each = messages // len(channels)
        for channel in replayed:
            ack_tails(channel, each)
        begin = time.monotonic()
        for channel in replayed:
            # A new one each time: the server remembers those of earlier rounds.
            subscriber = Client(server.port, b"replay-%d" % time.monotonic_ns())
            acker = Acker(subscriber, channel, subscriber.subscribe(channel, 1024), each)
            acker.join(300)
            if acker.count != each:
                raise RuntimeError(f"{acker.count} of {each} messages of {channel.decode()}:\n{server.log()[-3000:]}")
            subscriber.link.close()
        rate = len(replayed) * each / (time.monotonic() - begin)
        return {"start s": seconds, "peak MB after start": peak / 1e6, "cold replay msgs/s": rate}
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--go-server")
    parser.add_argument("--directory", help="where the store directories are made")
    options = parser.parse_args()
    if options.go_server is None and shutil.which("go") is None:
        print("skipped: the comparison needs the Go server or the Go toolchain")
        return
    ours, theirs = executable(), options.go_server or go_binary(GO_SERVER)
    channels = [b"bench.%d" % number for number in range(options.channels)]
    root = tempfile.mkdtemp(prefix="bench-recovery-", dir=options.directory)
    try:
        filled = os.path.join(root, "filled")
        fill(theirs, filled, options.messages, channels)
        directories = {path: os.path.join(root, name) for path, name in ((ours, "ours"), (theirs, "theirs"))}
        for path, directory in directories.items():
            shutil.copytree(filled, directory)
            start(path, directory).stop()
        rounds: list[tuple[Figures, Figures]] = []
        for number in range(options.rounds):
            pair = {
                path: measure(path, directories[path], options.messages, channels)
                for path in ((ours, theirs) if number % 2 == 0 else (theirs, ours))
            }
            rounds.append((pair[ours], pair[theirs]))
        print(table_head(f"{options.messages} messages of {SIZE} bytes in {options.channels} channels", options.rounds))
        print(table_rows("start and replay", rounds), flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
