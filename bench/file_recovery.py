"""Starting on a FILE store that is already large, and replaying it, beside the Go server; alternating in one run.

    python bench/file_recovery.py [--rounds 5] [--messages 1000000] [--channels 100]

The Go server writes the directory; each server gets a copy, is started on it once and stopped, and then measured.
Start: from the spawn to the line that says ready. Peak: the memory of the whole process tree up to then. Replay: one
subscriber after the other, a channel each, from the first message on, every message acked; nothing of it is in the
server's memory, while the system may have the files in its cache.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.suite import page
from bench.suite.arguments import count
from bench.suite.figures import PEAK, RATE, START, Figures
from bench.suite.load import Publisher, Subscriber, drive
from bench.suite.results import Part
from bench.suite.servers import FILE, Server, Side, file_arguments, serving
from bench.suite.toolchain import CACHE, GO_SERVER, go_binary
from bench.suite.workloads import IN_FLIGHT, SIZE, WINDOW, connect, frames
from tests.support.servers import executable

REPLAYED = 0.2  # part of the channels
SECONDS_MAX = 300.0


def fill(go: Side, directory: Path, messages: int, channels: list[bytes]) -> None:
    """Round robin over the channels, the same number in each."""
    unsynced = Side(go.name, go.program, ("-file_sync=false",))
    with serving(Server(unsynced, file_arguments(directory), directory)) as server:
        client = connect(server, b"fill")
        drive([Publisher(client, frames(client, SIZE, channels), messages, WINDOW)], time.monotonic() + SECONDS_MAX)
        server.stop()


def measure(side: Side, directory: Path, each: int, channels: list[bytes]) -> Figures:
    """Start on a directory and replay the channels, each of which holds `each` messages."""
    with serving(Server(side, file_arguments(directory), directory)) as server:
        deadline = time.monotonic() + SECONDS_MAX
        server.begin()
        peak = server.used(1)[PEAK]
        seconds = 0.0
        for channel in channels:
            # A new one each time: the server remembers those of earlier rounds.
            client = connect(server, b"replay-%d" % time.monotonic_ns())
            seconds += drive([Subscriber(client, channel, client.subscribe(channel, IN_FLIGHT), each)], deadline)
            client.link.close()
        count = each * len(channels)
        figures = {START: server.start_seconds, RATE: count / seconds, **server.used(count), PEAK: peak}
        server.stop()
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--messages", type=count, default=1_000_000)
    parser.add_argument("--channels", type=count, default=100)
    parser.add_argument("--directory", type=Path, default=CACHE / "stores", help="on a real disk")
    options = parser.parse_args()
    if options.messages < options.channels:
        parser.error("--messages must be at least --channels: each holds some")
    sides = [Side("ours", executable()), Side("Go", go_binary(GO_SERVER))]
    channels = [b"bench.%d" % number for number in range(options.channels)]
    each = options.messages // options.channels
    title = f"{each * options.channels:,} messages in {options.channels} channels"
    part = Part("recovery", title, FILE, "own", options.messages, rounds={side.name: [] for side in sides})
    options.directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="bench-recovery-", dir=options.directory))
    try:
        filled = root / "filled"
        fill(sides[1], filled, each * options.channels, channels)
        for side in sides:
            shutil.copytree(filled, root / side.name)
            with serving(Server(side, file_arguments(root / side.name), root / side.name)) as server:
                server.stop()
        replayed = channels[: max(1, int(len(channels) * REPLAYED))]
        for number in range(options.rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                part.rounds[side.name].append(measure(side, root / side.name, each, replayed))
        print(page.side_by_side([part]))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
