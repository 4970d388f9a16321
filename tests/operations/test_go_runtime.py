"""What the embedded nats-server is told of the machine, as its environment shows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nats_streaming.nats.go_runtime import has_cpu_quota
from tests.support.servers import ServerProcess
from tests.support.world import eventually

Start = Callable[..., ServerProcess]


def children(server: ServerProcess) -> list[int]:
    tasks = Path(f"/proc/{server.pid}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def go_variables(server: ServerProcess) -> dict[str, str]:
    (child,) = children(server)
    entries = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
    variables = dict(entry.split("=", 1) for entry in entries if entry)
    assert variables["PATH"] == os.environ["PATH"]
    return {name: variables[name] for name in ("GOGC", "GOMAXPROCS") if name in variables}


def expected() -> dict[str, str]:
    cores = {} if has_cpu_quota(Path("/")) else {"GOMAXPROCS": str(max(1, len(os.sched_getaffinity(0)) - 1))}
    return {"GOGC": "200", **cores}


@pytest.fixture(autouse=True)
def no_go_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOGC", raising=False)
    monkeypatch.delenv("GOMAXPROCS", raising=False)


async def test_it_leaves_a_core_to_us_and_collects_less_garbage_also_after_a_crash(start: Start) -> None:
    server = start()
    assert go_variables(server) == expected()
    (first,) = children(server)
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: bool(children(server)) and children(server) != [first], "another child")
    server.wait_for_log("reconnected to NATS Server")
    assert go_variables(server) == expected()


@pytest.mark.parametrize("given", [{"GOGC": "50"}, {"GOMAXPROCS": "2"}, {"GOGC": "off", "GOMAXPROCS": "1"}])
def test_what_the_operator_says_holds(start: Start, given: dict[str, str]) -> None:
    assert go_variables(start(environment=given)) == {**expected(), **given}
