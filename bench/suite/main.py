"""The command: what is measured, and where page, pictures and raw numbers go."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from bench.suite import machine, page, plots, results, runner
from bench.suite.arguments import count
from bench.suite.servers import STORES, sides
from bench.suite.toolchain import CACHE, CHECKOUT, GO_SERVER, STAN_BENCH, BuildFailed, GoMissing, go_binary
from tests.support.servers import executable

PARTIAL = CHECKOUT / "build" / "bench"
"""Where a run goes that is not a whole one: it must not take the place of the figures that the pages show."""

PAGE = Path("docs/internals/benchmarks.md")
PICTURES = Path("docs/internals/pictures")
RAW = Path("bench/results")
README = CHECKOUT / "README.md"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.suite",
        description="Ours and the Go server side by side; a whole run writes docs/internals/benchmarks.md.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one round and a tenth of the messages: about 3 minutes")
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a part or a pattern such as 'go-*'; may be repeated",
    )
    add("--list", action="store_true", help="print the names of the parts and end")
    add("--rounds", type=count, help="of each part on each server; 3, or 1 with --quick")
    add("--scale", type=float, help="of the numbers of messages; 1, or 0.1 with --quick")
    add("--no-go", action="store_true", help="measure ours alone")
    add("--ours-arguments", default="", metavar="WORDS", help="more arguments for our server")
    add("--directory", type=Path, default=CACHE / "stores", help="where FILE stores lie: on a real disk")
    add("--to", type=Path, help="where page and pictures go, instead of the checkout or (not a whole run) build/bench")
    add("--readme", action="store_true", help="put the headlines into README.md, too")
    add("--page-of", type=Path, metavar="FILE", help="measure nothing, show the raw numbers of an earlier run")
    options = parser.parse_args(arguments)
    is_partial = options.quick or options.only or options.rounds or options.scale or options.no_go
    options.is_whole = bool(options.page_of) or not is_partial
    options.rounds = options.rounds if options.rounds is not None else (1 if options.quick else 3)
    options.scale = options.scale if options.scale is not None else (0.1 if options.quick else 1.0)
    for pattern in options.only:
        if not any(fnmatchcase(name, pattern) for name in runner.known_names()):
            parser.error(f"--only {pattern}: no part has such a name; --list prints them")
    if options.scale <= 0:
        parser.error("--scale must be above 0")
    if options.readme and not options.is_whole:
        parser.error("--readme shows a whole run: leave out --quick, --only, --rounds, --scale and --no-go")
    return options


def go_programs() -> tuple[str, str]:
    """The Go server and stan-bench. Raises GoMissing, BuildFailed."""
    return go_binary(GO_SERVER), go_binary(STAN_BENCH)


def measure(
    options: argparse.Namespace, command: str, date: datetime, keep: Callable[[results.Results], None]
) -> results.Results:
    """The whole run, however many of its parts fail.

    Args:
        keep: called whenever there is more, so that an interrupted run leaves what it found.
    """
    begun = time.monotonic()
    theirs, generator, notes, failures = None, "", [], []
    try:
        if options.no_go:
            notes.append("The Go server was not measured: --no-go. Nor was anything with its load generator.")
        else:
            theirs, generator = go_programs()
    except GoMissing as missing:
        notes.append(f"The Go server was not measured, nor anything with its load generator: {missing}.")
        print(f"skipped: the Go server and its load generator: {missing}", flush=True)
    except BuildFailed as failed:
        failures.append(f"the Go programs: {failed}")
        print(f"FAILED: {failed}", flush=True)
    options.directory.mkdir(parents=True, exist_ok=True)
    found = results.Results(
        date=date.isoformat(timespec="minutes"),
        command=command,
        seconds=0.0,
        machine=machine.describe(options.directory, with_go=theirs is not None),
        rounds=options.rounds,
        notes=notes,
        failures=failures,
    )
    ours_arguments = shlex.split(options.ours_arguments)
    if ours_arguments:
        found.machine["arguments of ours"] = options.ours_arguments
    plan = runner.Plan(
        sides(executable(), ours_arguments, theirs),
        options.directory, options.rounds, options.scale, tuple(options.only), generator,
    )  # fmt: skip
    # What the README shows comes first.
    found.ceilings = runner.measure_ceilings(plan)
    for store in STORES:
        found.parts += runner.measure_parts(plan, store)
        found.seconds = time.monotonic() - begun
        keep(found)
    found.curves = runner.measure_curves(plan)
    found.seconds = time.monotonic() - begun
    keep(found)
    return found


def write(found: results.Results, raw: Path, target: Path, *, readme: bool) -> None:
    """Pictures and page under `target`, from raw numbers that lie in `raw`."""
    drawn = plots.draw(found, target / PICTURES)
    text = page.page(found, raw.name, [path.name for path in drawn])
    (target / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (target / PAGE).write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten: {target / PAGE}, {len(drawn)} pictures beside it, raw numbers in {raw}", flush=True)
    if readme:
        README.write_text(page.with_headlines(README.read_text(encoding="utf-8"), found), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when a part failed."""
    typed = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(typed)
    if options.list:
        print("\n".join(runner.known_names()))
        return 0
    target = options.to or (CHECKOUT if options.is_whole else PARTIAL)
    if options.page_of:
        raw = options.page_of
        found = results.load(raw)
    else:
        words = shlex.join(typed)
        begun = datetime.now(UTC)
        raw = target / RAW / f"{begun:%Y-%m-%dT%H%M}.json"
        command = f"make bench ARGS={shlex.quote(words)}" if words else "make bench"
        found = measure(options, command, begun, lambda so_far: results.save(so_far, raw))
    write(found, raw, target, readme=options.readme)
    for failure in found.errors():
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if found.errors() else 0
