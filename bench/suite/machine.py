"""What a run ran on: enough to judge its numbers by, and nothing that names the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from bench.suite import toolchain
from nats_streaming.server.version import build_kind, nats_server_version, version_text


def describe(stores: Path, *, with_go: bool) -> dict[str, str]:
    """
    Args:
        stores: where the FILE stores lie.
        with_go: whether the Go server is measured.
    """
    described = {
        "cores": str(os.cpu_count()),
        "CPU": _proc_value("/proc/cpuinfo", "model name"),
        "memory": f"{int(_proc_value('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.0f} GB",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "file system of the stores": filesystem(stores),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        "nats-streaming-server (ours)": f"{version_text()}, {build_kind()}",
        "nats-server": nats_server_version(),
    }
    if with_go:
        described["nats-streaming-server (Go)"] = toolchain.GO_SERVER.partition("@")[2]
        described["stan-bench of stan.go"] = toolchain.STAN_BENCH.partition("@")[2]
        described["Go toolchain"] = toolchain.go_version()
    return described


def _proc_value(file: str, key: str) -> str:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def filesystem(path: Path) -> str:
    """The kind of file system that holds a directory."""
    path = path.resolve()
    best, kind = Path("/"), "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mounted, found = line.split()[:3]
        point = Path(mounted.encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, found
    return kind
