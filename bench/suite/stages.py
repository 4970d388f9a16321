"""From the samples of perf to stages: which part of the way of a message a sample was taken in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

KERNEL = "[kernel.kallsyms]"


@dataclass(frozen=True)
class Sample:
    """One interruption of a process; `frames` are symbol and object of what it was in, innermost first."""

    pid: int
    frames: tuple[tuple[str, str], ...]


_HEAD = re.compile(r"^\S.*?\s(\d+)/\d+\s*$")
_FRAME = re.compile(r"^\s+[0-9a-f]+ (.*?) \(([/\[].*)\)$")


def read_samples(lines: Iterable[str]) -> Iterator[Sample]:
    """What `perf script -F comm,pid,tid,ip,sym,dso` writes: a head, its frames, an empty line."""
    pid, frames = 0, []
    for line in lines:
        if head := _HEAD.match(line):
            pid, frames = int(head[1]), []
        elif frame := _FRAME.match(line):
            frames.append((frame[1], frame[2].rsplit("/", 1)[-1]))
        elif frames:
            yield Sample(pid, tuple(frames))
            frames = []
    if frames:
        yield Sample(pid, tuple(frames))


# The first that fits: what the stack in the kernel goes through, from the particular to the general.
_IN_KERNEL = (
    (
        "system calls: disk",
        r"ext4_|xfs_|btrfs_|jbd2_|blk_|vfs_fsync|do_fsync|fdatasync|generic_perform_write|vfs_fallocate",
    ),
    ("system calls: send", r"tcp_sendmsg|sock_write_iter|__sys_sendto|__sys_sendmsg|inet_sendmsg"),
    ("system calls: receive", r"tcp_recvmsg|sock_read_iter|__sys_recvfrom|__sys_recvmsg|inet_recvmsg"),
    ("system calls: wait for events", r"epoll|do_poll|do_sys_poll|eventfd"),
    ("system calls: threads", r"futex|nanosleep|sched_yield"),
    ("memory: page faults, mapping", r"page_fault|mmap|munmap|madvise|mremap|sys_brk"),
    ("system calls: others", r"do_syscall|__x64_sys_|entry_SYSCALL"),
)
OTHER_KERNEL = "interrupts, task switches"

_IN_OURS = (
    ("parse NATS frames", r"^(nats_reader|client_frames|server_frames)\.", ""),
    ("route frames to clients", r"^frame_router\.", ""),
    ("encode acks and deliveries", r"^stan_messages\.", r"put_"),
    ("decode STAN messages", r"^(client_messages|stan_messages|protobuf)\.", ""),
    ("stage", r"^(inlet|message_window|segment|channel)\.", ""),
    ("begin and end of chunks and batches", r"^(engine|context)\.", ""),
    ("commit", r"^(cycle|record|run_writer|index)\.", ""),
    ("deliver, take acks", r"^(delivery|in_flight|subscription)\.", ""),
    ("write into buffers (stage, encode)", r"^byte_buffer\.", ""),
    ("event loop", r"^(loop|uvloop)\.", ""),
    ("checksums", r"^(libz|zlib)", ""),
    ("interpreted Python", r"^(libpython|python|_asyncio\.|_queue\.|_struct\.|array\.)", ""),
    ("C library: copying, memory, clock", r"^(libc|libm|libpthread|ld-|\[vdso\])", ""),
)
OTHER_OURS = "other"

_IN_NATS = (
    ("Go runtime: memory, scheduling", "", r"^(runtime|internal/runtime|sync|time)[./]|^gcWriteBarrier|^gogo$|^memeq"),
    ("nats-server's own code", "", ""),
)


def stage_of(sample: Sample, *, is_ours: bool) -> str:
    """The stage of one sample, of our process or of nats-server's."""
    symbol, where = sample.frames[0]
    if where == KERNEL:
        stack = " ".join(name for name, place in sample.frames if place == KERNEL)
        return next((stage for stage, pattern in _IN_KERNEL if re.search(pattern, stack)), OTHER_KERNEL)
    for stage, place, name in _IN_OURS if is_ours else _IN_NATS:
        if re.search(place, where) and re.search(name, symbol):
            return stage
    return OTHER_OURS


def stage_order(*, is_ours: bool) -> list[str]:
    """Stages in the order of a table."""
    return (
        [row[0] for row in (_IN_OURS if is_ours else _IN_NATS)]
        + [OTHER_OURS]
        + [row[0] for row in _IN_KERNEL]
        + [OTHER_KERNEL]
    )


def divide(samples: Iterable[Sample], total: float, *, is_ours: bool) -> dict[str, float]:
    """Divide what a process used among its stages, by their shares of its samples.

    Raises:
        ValueError: there is no sample.
    """
    counts = Counter(stage_of(sample, is_ours=is_ours) for sample in samples)
    if not counts:
        raise ValueError("perf took no sample of this process")
    return {stage: total * count / counts.total() for stage, count in counts.items()}
