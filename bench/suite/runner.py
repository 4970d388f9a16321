"""Measures parts in alternating rounds. One that fails is noted with its reason, and the next one begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from bench.suite import processes
from bench.suite.ceiling import CEILINGS, ceiling_sides
from bench.suite.figures import FIGURES, HEADLINES, spread
from bench.suite.growth import GROWTH, Growth, GrowthSetting
from bench.suite.results import Curve, Part, Point
from bench.suite.servers import Server, Side, running
from bench.suite.workloads import STAN_BENCH, WORKLOADS, Setting, Workload

COUNT_MIN = 100
"""Fewer messages measure nothing, however small the scale is."""

WATCHED_S, WATCHED_S_MIN = 0.3, 0.02  # ticks of the system have 10 ms


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        sides: ours first.
        only: patterns of names; none selects everything.
        scale: of the numbers of messages; growth leaves out sizes above its share of the greatest.
        generator: path of stan-bench, "" when there is none.
    """

    sides: list[Side]
    under: Path
    rounds: int
    scale: float
    only: tuple[str, ...] = ()
    generator: str = ""

    def selects(self, name: str) -> bool:
        return not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)

    @property
    def watched_s(self) -> float:
        """How long others are watched before a part: not longer than what is measured then."""
        return max(WATCHED_S_MIN, WATCHED_S * min(1.0, self.scale))

    def scaled(self, count: int) -> int:
        return max(COUNT_MIN, int(count * self.scale))


def known_names() -> list[str]:
    return [part.name for part in (*WORKLOADS, *CEILINGS, *GROWTH)]


def measure_parts(plan: Plan, store: str) -> list[Part]:
    """Every selected workload that has a count for this store."""
    return [
        measure_part(plan, workload, store, plan.sides, stores_of(plan, store))
        for workload in WORKLOADS
        if store in workload.counts and plan.selects(workload.name) and (workload.load != STAN_BENCH or plan.generator)
    ]


def measure_ceilings(plan: Plan) -> list[Part]:
    return [
        measure_part(plan, workload, store, ceiling_sides(plan.sides[0]), stores_of(plan, store))
        for workload in CEILINGS
        for store in workload.counts
        if plan.selects(workload.name)
    ]


def measure_curves(plan: Plan) -> list[Curve]:
    return [
        measure_curve(plan, growth, store) for growth in GROWTH for store in growth.sizes if plan.selects(growth.name)
    ]


Stores = Callable[[Side], AbstractContextManager[Server]]
"""Starts a server of a side on an empty store."""


def stores_of(plan: Plan, store: str) -> Stores:
    return lambda side: running(side, store, plan.under)


def measure_part(plan: Plan, workload: Workload, store: str, sides: list[Side], stores: Stores) -> Part:
    count = plan.scaled(workload.counts[store])
    part = Part(workload.name, workload.title, store, workload.load, count, workload.is_headline)
    part.rounds = {side.name: [] for side in sides}
    for number in range(plan.rounds):
        part.busy_cores.append(processes.busy_cores(plan.watched_s))
        # Who goes first alternates: the machine's speed drifts.
        for side in sides if number % 2 == 0 else sides[::-1]:
            setting = Setting(side, partial(stores, side), count, time.monotonic() + workload.limit_s, plan.generator)
            try:
                part.rounds[side.name].append(workload.measure(setting))
            except Exception as error:  # noqa: BLE001 - told in the page and by the exit status
                part.error = _reason(f"{side.name}, round {number + 1}", error)
                print(f"{part.name} ({store}): FAILED: {_told(error)}", flush=True)
                return part
    print(f"{part.name} ({store}): {_line(part)}", flush=True)
    return part


def measure_curve(plan: Plan, growth: Growth, store: str) -> Curve:
    curve = Curve(growth.name, growth.group, growth.title, store, growth.per, plan.scaled(growth.burst))
    for size in reachable(growth.sizes[store], plan.scale):
        curve.busy_cores.append(processes.busy_cores(plan.watched_s))
        point = Point(size)
        deadline = time.monotonic() + growth.limit_s
        setting = GrowthSetting(plan.sides[0], store, plan.under, curve.burst, plan.rounds, deadline)
        try:
            point.rounds += growth.measure(setting, size)
        except Exception as error:  # noqa: BLE001 - told in the page and by the exit status
            curve.error = _reason(f"at {size:,}", error)
            print(f"{curve.name} ({store}): FAILED: {_told(error)}", flush=True)
            return curve
        curve.points.append(point)
        rates = spread([row["rate"] for row in point.rounds])
        print(f"{curve.name} ({store}) at {size:,}: {rates.text(0)} messages/s", flush=True)
    return curve


def reachable(sizes: tuple[int, ...], scale: float) -> tuple[int, ...]:
    """The sizes up to `scale` times the greatest, the least one in any case."""
    return tuple(size for size in sizes if size <= max(sizes[0], sizes[-1] * scale))


def _reason(where: str, error: BaseException) -> str:
    return f"{where}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", []))


def _line(part: Part) -> str:
    """What is printed while the run goes on."""
    told = []
    for key in HEADLINES:
        sides = [
            f"{name} {spread(part.values(name, key)).text(FIGURES[key].digits)}"
            for name in part.rounds
            if part.values(name, key)
        ]
        if sides:
            told.append(f"{FIGURES[key].title}: {', '.join(sides)}")
    return "; ".join(told)
