"""What a commit of a journal waits for, by where on the disk it goes: why journal files are used again.

    python bench/commit_places.py [--directory DIR] [--size 30000] [--commits 300] [--rounds 5]

Each commit is one write and one fdatasync. "grows": behind the end of the file; "reserved": into space from
posix_fallocate, which holds nothing yet; "filled": over bytes that are on the disk already; "zeros ahead": as "grows",
with 256 KiB of zeros written by the commit that finds no filled place. The kinds take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.suite.arguments import count

KINDS = ("grows", "reserved", "filled", "zeros ahead")
_ZEROS = bytes(1 << 18)


def run(kind: str, path: str, size: int, commits: int) -> list[float]:
    """Microseconds of each commit."""
    content = os.urandom(size)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        if kind == "reserved":
            os.posix_fallocate(file, 0, size * commits)
        if kind == "filled":
            for number in range(commits):
                os.pwrite(file, bytes(size), number * size)
        os.fsync(file)
        filled, waits = 0, []
        for number in range(commits):
            begun = time.perf_counter()
            os.pwrite(file, content, number * size)
            if kind == "zeros ahead" and (number + 1) * size > filled:
                os.pwrite(file, _ZEROS, (number + 1) * size)
                filled = (number + 1) * size + len(_ZEROS)
            os.fdatasync(file)
            waits.append((time.perf_counter() - begun) * 1e6)
        return waits
    finally:
        os.close(file)
        os.unlink(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--directory", help="on the disk in question; a temporary one is made in it")
    parser.add_argument("--size", type=count, default=30_000, help="bytes of a commit")
    parser.add_argument("--commits", type=count, default=300)
    parser.add_argument("--rounds", type=count, default=5)
    options = parser.parse_args()
    medians: dict[str, list[float]] = {kind: [] for kind in KINDS}
    means: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for number in range(options.rounds):
            for kind in KINDS:
                waits = run(kind, os.path.join(directory, str(number)), options.size, options.commits)
                medians[kind].append(statistics.median(waits))
                means[kind].append(statistics.fmean(waits))
    print(f"commits of {options.size} bytes, microseconds: median of {options.rounds} rounds (least..greatest)")
    for kind in KINDS:
        for name, figures in (("p50", medians[kind]), ("mean", means[kind])):
            print(f"{kind:>12} {name:>4} {statistics.median(figures):8.0f} ({min(figures):.0f}..{max(figures):.0f})")


if __name__ == "__main__":
    main()
