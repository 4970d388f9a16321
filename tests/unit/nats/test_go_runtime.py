"""The cores and the garbage collector of the embedded nats-server, on machines of all sorts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nats_streaming.nats import go_runtime
from nats_streaming.nats.go_runtime import go_runtime_variables, has_cpu_quota

V2 = "0::/system.slice/nats.service\n"
V1 = "12:cpuset:/\n9:cpu,cpuacct:/docker/4711\n3:memory:/\n"


def machine(root: Path, cgroup: str | None, files: dict[str, str]) -> str:
    if cgroup is not None:
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(("cores", "left"), [(1, "1"), (2, "1"), (3, "2"), (64, "63")])
def test_one_core_is_left_to_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, left: str) -> None:
    monkeypatch.setattr(go_runtime, "usable_cores", lambda: cores)
    assert go_runtime_variables({"PATH": "/bin"}, root=str(tmp_path)) == {"GOGC": "200", "GOMAXPROCS": left}


def test_what_is_given_is_not_touched(tmp_path: Path) -> None:
    assert "GOGC" not in go_runtime_variables({"GOGC": "off"}, root=str(tmp_path))
    assert go_runtime_variables({"GOGC": "", "GOMAXPROCS": ""}, root=str(tmp_path)) == {}


@pytest.mark.parametrize(
    ("cgroup", "files", "limited"),
    [
        (None, {}, False),
        (V2, {}, False),
        (V2, {"system.slice/nats.service/cpu.max": "max 100000\n"}, False),
        (V2, {"system.slice/nats.service/cpu.max": "150000 100000\n"}, True),
        (V2, {"system.slice/nats.service/cpu.max": "max 100000\n", "system.slice/cpu.max": "50000 100000\n"}, True),
        # A container without a namespace of its own: the path is the host's, what is mounted is its own.
        (V2, {"cpu.max": "50000 100000\n"}, True),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, True),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}, False),
        (V1, {"cpu,cpuacct/docker/4711/cpu.cfs_quota_us": "50000\n"}, True),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n"}, True),
        (V1, {"cpuset/cpu.cfs_quota_us": "50000\n"}, False),
        (V2, {"system.slice/nats.service/cpu.max": ""}, False),
        ("nonsense\n", {}, False),
    ],
)
def test_a_cgroup_that_limits_the_cpu_is_seen(
    tmp_path: Path, cgroup: str | None, files: dict[str, str], limited: bool
) -> None:
    root = machine(tmp_path, cgroup, files)
    assert has_cpu_quota(root) is limited
    assert ("GOMAXPROCS" in go_runtime_variables({}, root=root)) is not limited
