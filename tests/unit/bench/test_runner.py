"""Rounds, their order, and parts that fail."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.suite import runner
from bench.suite.figures import Figures
from bench.suite.growth import Growth, GrowthSetting
from bench.suite.servers import Server, Side
from bench.suite.workloads import Setting, Workload

OURS, GO = Side("ours", "ours"), Side("Go", "go")


@pytest.fixture(autouse=True)
def no_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.processes, "busy_cores", lambda _seconds: 0.0)


def plan(**changes: object) -> runner.Plan:
    return runner.Plan(**{"sides": [OURS, GO], "under": Path(), "rounds": 3, "scale": 0.5, **changes})  # type: ignore[arg-type]


def no_servers(side: Side) -> AbstractContextManager[Server]:
    raise AssertionError("the workloads here start none")


def test_who_goes_first_alternates() -> None:
    order = []

    def measure(setting: Setting) -> Figures:
        order.append(setting.side.name)
        return {"rate": float(setting.count)}

    part = runner.measure_part(plan(), Workload("w", "W", measure, {"FILE": 1000}), "FILE", [OURS, GO], no_servers)
    assert order == ["ours", "Go", "Go", "ours", "ours", "Go"]
    assert part.rounds == {"ours": [{"rate": 500.0}] * 3, "Go": [{"rate": 500.0}] * 3}
    assert part.error == ""


def test_a_part_that_fails_keeps_its_reason_and_what_it_had(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(setting: Setting) -> Figures:
        if setting.side == GO:
            error = RuntimeError("no answer\nsecond line")
            error.add_note("the end of its log")
            raise error
        return {"rate": 1.0}

    part = runner.measure_part(plan(), Workload("w", "W", measure, {"FILE": 1}), "FILE", [OURS, GO], no_servers)
    assert part.error == "Go, round 1: RuntimeError: no answer"
    assert part.values("ours", "rate") == [1.0]
    assert "the end of its log" in capsys.readouterr().out


def test_a_curve_that_fails_keeps_the_points_before() -> None:
    def measure(setting: GrowthSetting, size: int):  # type: ignore[no-untyped-def]
        if size > 10:
            raise OSError("disk full")
        yield {"rate": float(size)}

    growth = Growth("g", "things", "G", "publishes", measure, {"MEMORY": (1, 10, 100)})
    curve = runner.measure_curve(plan(scale=1.0), growth, "MEMORY")
    assert [point.size for point in curve.points] == [1, 10]
    assert curve.error == "at 100: OSError: disk full"


def test_a_small_scale_leaves_out_large_sizes_but_never_all() -> None:
    assert runner.reachable((1000, 10_000, 100_000), 1.0) == (1000, 10_000, 100_000)
    assert runner.reachable((1000, 10_000, 100_000), 0.1) == (1000, 10_000)
    assert runner.reachable((1000, 10_000, 100_000), 1e-9) == (1000,)


def test_counts_never_become_too_small_to_measure() -> None:
    assert plan(scale=1e-9).scaled(1_000_000) == runner.COUNT_MIN


@pytest.mark.parametrize(
    ("only", "selected"),
    [((), True), (("publish-1",), True), (("publish-*",), True), (("publish",), False), (("x", "*-1"), True)],
)
def test_parts_are_selected_by_name_or_pattern(only: tuple[str, ...], selected: bool) -> None:
    assert plan(only=only).selects("publish-1") == selected


def test_names_are_unique() -> None:
    assert len(set(runner.known_names())) == len(runner.known_names())
