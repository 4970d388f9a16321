"""How much of the machine the embedded nats-server's Go runtime may take, told by its environment.

It works for our one process and beside it. With a thread per core it wakes threads for every message that travels
alone, on the core where the engine is about to run; and its small heap makes it collect garbage all the time. The
figures are in docs/guide/running.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

GC_PERCENT: Final = 200  # Go's own is 100; 400 gains little more and costs three times the memory


def go_runtime_variables(given: Mapping[str, str], *, root: str = "/") -> dict[str, str]:
    """What to add to the environment of the nats-server.

    Args:
        given: the environment so far; what it has already is the operator's word and stays.
        root: where `proc` and `sys` are; for tests.

    Returns:
        Perhaps GOGC; perhaps GOMAXPROCS, one core less than we may use, since one is the engine's. Where a cgroup
        limits the CPU time the Go runtime follows that limit by itself, unless GOMAXPROCS is set: so it is not.
    """
    added = {}
    if "GOGC" not in given:
        added["GOGC"] = str(GC_PERCENT)
    if "GOMAXPROCS" not in given and not has_cpu_quota(root):
        added["GOMAXPROCS"] = str(max(1, usable_cores() - 1))
    return added


def usable_cores() -> int:
    """Cores that this process may run on, at least 1."""
    if sys.platform != "win32" and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_cpu_quota(root: str) -> bool:
    """Whether a control group, ours or one above it, limits our CPU time (Linux).

    Source: cgroups(7); `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1.
    """
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return False  # no Linux, or none with control groups
    mounted = os.path.join(root, "sys/fs/cgroup")
    return any(_is_limit(path) for line in lines for path in _limit_files(mounted, line))


def _limit_files(mounted: str, line: str) -> Iterator[str]:
    """Where the limits of one line of /proc/self/cgroup may stand: its group and those above, in either version."""
    _, _, named = line.partition(":")
    controllers, _, group = named.partition(":")
    if not controllers:
        top, name = mounted, "cpu.max"
    elif "cpu" in controllers.split(","):
        top, name = os.path.join(mounted, controllers), "cpu.cfs_quota_us"
    else:
        return
    path = [part for part in group.split("/") if part]
    # Without a namespace of its own a container sees the path on the host, and its own group mounted as the top.
    for depth in range(len(path), -1, -1):
        yield os.path.join(top, *path[:depth], name)


def _is_limit(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            quota = file.read().split()[0]
    except (OSError, IndexError):
        return False
    return quota not in ("max", "-1")
