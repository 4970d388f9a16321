"""Processor time and memory of a process and all that it started, as Linux tells them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and its descendants, itself first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes that run."""
    # A process's clock has nanoseconds where /proc/<pid>/stat has ticks of 10 ms. Source: clock_getcpuclockid(3).
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def peak_bytes(pids: Iterable[int]) -> int:
    """The most that each had in memory at a time, added up: their peaks may have been at different times."""
    return sum(_status_bytes(pid, "VmHWM") for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """What they have in memory now."""
    return sum(_status_bytes(pid, "VmRSS") for pid in pids)


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no {name}: it has ended")


def forget_cached(directory: Path) -> None:
    """Drop the files of a directory from the system's cache; nobody may have them open for writing."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # only what is on disk can be dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def busy_cores(seconds: float) -> float:
    """How many cores are busy now, watched for so long; what a hypervisor takes away counts as busy."""
    before, begin = _busy_ticks(), time.monotonic()
    time.sleep(seconds)
    return (_busy_ticks() - before) / _TICKS / (time.monotonic() - begin)


def _busy_ticks() -> int:
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return user + nice + system + interrupts + soft_interrupts + stolen
