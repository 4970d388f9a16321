"""Where each microsecond of a message goes, by profile; with --write into docs/internals/cost-model.md.

    python bench/cost_model.py [--messages 300000] [--rounds 3] [--write] [--only TITLE] [--ours-arguments WORDS]

A server is driven by `bench.suite.load`. How much processor time a message takes is measured without a profiler; then
perf samples the same load, and the shares of its samples divide that time among the stages. Without perf only the
engine by itself is timed, in this process. Not named profile.py, since it must not be taken for Python's own module.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.suite import machine, page, perf, processes
from bench.suite.arguments import count
from bench.suite.engine_times import engine_times
from bench.suite.load import Party, Publisher, Subscriber, drive
from bench.suite.servers import FILE, MEMORY, THROUGH_NATS, Server, Side, running
from bench.suite.stages import Sample, divide, stage_order
from bench.suite.toolchain import CACHE, CHECKOUT
from bench.suite.workloads import CHANNEL, IN_FLIGHT, SIZE, WINDOW, connect, frames, warm_up
from tests.support.servers import executable

PAGE = CHECKOUT / "docs" / "internals" / "cost-model.md"
BEGIN, END = "<!-- cost model: begin -->", "<!-- cost model: end -->"
ROUND_SECONDS_MAX = 120.0
NATS_ALONE = "nats-server: "


def publishing(server: Server, count: int) -> list[Party]:
    client = connect(server, b"pub")
    return [Publisher(client, frames(client, SIZE), count, WINDOW)]


def one_at_a_time(server: Server, count: int) -> list[Party]:
    client = connect(server, b"pub")
    return [Publisher(client, frames(client, SIZE), count, 1)]


def one_to_one(server: Server, count: int) -> list[Party]:
    subscriber = connect(server, b"sub")
    return [
        Subscriber(subscriber, CHANNEL, subscriber.subscribe(CHANNEL, IN_FLIGHT), count),
        *publishing(server, count),
    ]


@dataclass(frozen=True)
class Scenario:
    """A load; `share` is its part of --messages."""

    title: str
    store: str
    parties: Callable[[Server, int], list[Party]]
    share: float = 1.0


SCENARIOS = (
    Scenario("publish, MEMORY", MEMORY, publishing),
    Scenario("publish, FILE", FILE, publishing),
    Scenario("1 to 1, MEMORY", MEMORY, one_to_one),
    Scenario("1 to 1, FILE", FILE, one_to_one),
    Scenario("one at a time, MEMORY", MEMORY, one_at_a_time, 0.05),
)


def run_once(side: Side, scenario: Scenario, count: int, samples_file: Path | None) -> list[tuple[float, list[Sample]]]:
    """Microseconds of processor time per message and samples, of our process and then of nats-server."""
    with running(side, scenario.store, CACHE / "stores") as server:
        deadline = time.monotonic() + ROUND_SECONDS_MAX
        warm_up(server, deadline)
        parties = scenario.parties(server, count)
        pids = server.pids()
        before = [processes.cpu_seconds([pid]) for pid in pids]
        if samples_file is None:
            drive(parties, deadline)
            found: list[Sample] = []
        else:
            with perf.sampling(pids, samples_file):
                drive(parties, deadline)
            found = perf.samples(samples_file)
        used = [processes.cpu_seconds([pid]) - spent for pid, spent in zip(pids, before, strict=True)]
    return [
        (seconds / count * 1e6, [sample for sample in found if sample.pid == pid])
        for pid, seconds in zip(pids, used, strict=True)
    ]


def stages_of(side: Side, scenario: Scenario, count: int, rounds: int) -> dict[str, float]:
    """Microseconds per message by stage, those of nats-server with its name before them."""
    plain = [run_once(side, scenario, count, None) for _ in range(rounds)]
    ours_us, nats_us = (statistics.median(run[place][0] for run in plain) for place in (0, 1))
    with tempfile.TemporaryDirectory(prefix="bench-perf-") as directory:
        (_, ours), (_, nats) = run_once(side, scenario, count, Path(directory) / "samples")
    found = divide(ours, ours_us, is_ours=True)
    # Where nothing passes through it, it has hardly anything to sample.
    if nats:
        found |= {NATS_ALONE + stage: us for stage, us in divide(nats, nats_us, is_ours=False).items()}
    return found


def table(columns: dict[str, dict[str, float]]) -> str:
    """A row per stage, a column per scenario, with sums for either process."""
    ours = stage_order(is_ours=True)
    nats = [NATS_ALONE + stage for stage in stage_order(is_ours=False)]
    rows = []
    for stages, total in ((ours, "our process"), (nats, "nats-server")):
        rows += [
            [stage, *(f"{column.get(stage, 0.0):.2f}" for column in columns.values())]
            for stage in stages
            if any(column.get(stage, 0.0) >= 0.005 for column in columns.values())
        ]
        sums = [sum(column.get(stage, 0.0) for stage in stages) for column in columns.values()]
        rows.append([f"**{total}**", *(f"**{us:.2f}**" for us in sums)])
    sums = [sum(column.values()) for column in columns.values()]
    rows.append(["**together**", *(f"**{us:.2f}**" for us in sums)])
    return page.table(["µs of processor time per message", *columns], rows, left=1)


def engine_table() -> str:
    times = engine_times(400)
    rows = [[step, f"{us:.3f}"] for step, us in times.items()]
    rows.append(["**together**", f"**{sum(times.values()):.3f}**"])
    return page.table(["step", "µs per publish"], rows, left=1)


def report(options: argparse.Namespace) -> str:
    """What stands between the marks of the page."""
    described = machine.describe(CACHE, with_go=False)
    told = ", ".join(f"{key} {described[key]}" for key in ("cores", "CPU", "kernel", "Python", "nats-server"))
    pieces = [
        f"Measured on {datetime.now(UTC).date().isoformat()} with {SIZE}-byte messages, {WINDOW:,} of them without an"
        f" ack, {options.messages:,} a round,\n{options.rounds} rounds. The machine: {told}.\n"
    ]
    reason = perf.why_not()
    if reason:
        pieces.append(f"**Not divided by stages: {reason}.**\n")
    else:
        words = shlex.split(options.ours_arguments)
        variants = {"Clients served past nats-server": [], f"With `{THROUGH_NATS}`": [THROUGH_NATS]}
        if words:
            variants = {f"With `{options.ours_arguments}`": words}
        for title, arguments in variants.items():
            side = Side("ours", executable(), tuple(arguments))
            columns = {
                scenario.title: stages_of(
                    side, scenario, max(1, int(options.messages * scenario.share)), options.rounds
                )
                for scenario in SCENARIOS
                if options.only in scenario.title
            }
            pieces.append(f"### {title}\n\n{table(columns)}")
    pieces.append(f"### The engine alone\n\n{engine_table()}")
    return "\n".join(pieces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=count, default=300_000)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--ours-arguments", default="", metavar="WORDS", help="of one table instead of the two")
    parser.add_argument("--only", default="", help="a part of a scenario's title")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(CHECKOUT)}")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write shows all scenarios: leave out --only")
    text = report(options)
    print(text)
    if options.write:
        PAGE.write_text(page.between(PAGE.read_text(encoding="utf-8"), BEGIN, END, text), encoding="utf-8")


if __name__ == "__main__":
    main()
