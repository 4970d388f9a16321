"""The page of a run, made from its raw numbers and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.suite.figures import CPU, FIGURES, HEADLINES, P50, PEAK, RATE, Spread, ratios, spread
from bench.suite.results import Curve, Part, Results

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
NONE = "–"

_HEAD = """# Benchmarks

Made by `{command}` on {date}, in {minutes:.0f} minutes.
Do not edit: the text is in `bench/suite/page.py`, the raw numbers are in
[bench/results/{raw}](../../bench/results/{raw}).

Ours and the Go server, one after the other in every round, who goes first alternating. Each cell has the median of the
rounds and their spread (least..greatest); there {were} {rounds}. A ratio is ours divided by the Go server's: the median
of the ratios within a round. For rates a ratio above 1 is better, for latency, processor time and memory one below 1.

- **messages/s**: published messages per second until the last one was acked and delivered to everyone.
- **p50, p99, p99.9**: what a publisher waits for its ack that sends nothing before it has it.
- **CPU** is processor time per message, **peak** the most memory since the server's start; both are those of the whole
  tree of processes, our nats-server included.
- **load**: `own` is `bench/suite/load.py`, which has its frames ready and costs little processor time, so that the
  server is what is measured; `stan-bench` is the Go client's load generator, which costs as much as a server does.
- **FILE**: `file_sync` is on for both: an ack means that the message is on the disk.
- Messages have 128 bytes where nothing else is said, 1,000 of each publisher may be without an ack.
- **replay**: one subscriber takes {replayed:,} messages from the first on. Warm: they were published right before, and
  are in the server's memory or the system's cache. Cold: after a restart, the files out of the system's cache, too.
- **busy**: cores that others used right before, the most of all rounds. Above 0.2 the figures of a part are doubtful.
"""


def page(results: Results, raw: str, pictures: Sequence[str]) -> str:
    """
    Args:
        raw: name of the file with the raw numbers.
        pictures: names of those that were drawn.
    """
    head = _HEAD.format(
        command=results.command, date=results.date, minutes=results.seconds / 60, raw=raw, rounds=results.rounds,
        were="was" if results.rounds == 1 else "were",
        replayed=max([part.count for part in results.parts if part.name.startswith("replay")], default=0),
    )  # fmt: skip
    pieces = [head, *(f"**{note}**\n" for note in results.notes)]
    if results.errors():
        pieces.append("## What failed\n\n" + "\n".join(f"- {_cell(failure)}" for failure in results.errors()) + "\n")
    pieces.append("## The machine\n\n" + table(["", ""], results.machine.items()))
    for store in dict.fromkeys(part.store for part in results.parts):
        parts = [part for part in results.parts if part.store == store]
        pieces.append(f"## Side by side: {store} store\n\n{_picture(pictures, 'ratios')}{side_by_side(parts)}")
        pictures = [name for name in pictures if not name.startswith("ratios")]
    if results.ceilings:
        pieces.append(_ceiling_section(results.ceilings))
    if results.curves:
        pieces.append(_growth_section(results.curves, pictures))
    return "\n".join(pieces)


def side_by_side(parts: Sequence[Part]) -> str:
    """A table with a row per workload and figure that is compared."""
    columns = ["workload", "load", "figure", "ours", "Go server", "ours / Go", "CPU, µs: ours", "Go", "ours / Go"]
    columns += ["peak, MB: ours", "Go", "ours / Go", "busy"]
    rows = []
    for part in parts:
        measured = [key for key in HEADLINES if part.values("ours", key) or part.values("Go", key)]
        for place, key in enumerate(measured):
            row = [part.title, part.load, FIGURES[key].title, *_compared(part, key)]
            beside = [cell for other in (CPU, PEAK) for cell in _compared(part, other)]
            beside.append(f"{max(part.busy_cores):.1f}" if part.busy_cores else NONE)
            # What belongs to the whole part stands beside its first figure only.
            rows.append([*row, *beside] if place == 0 else ["", "", *row[2:], *[""] * len(beside)])
        if part.error:
            rows.append([part.title, part.load, f"failed: {_cell(part.error)}", *[""] * 9, ""])
    return table(columns, rows, left=3)


def headlines(results: Results) -> str:
    """The table for the README: a row per workload, by its latency if that is what it is for."""
    rows = []
    for part in results.parts:
        key = next((key for key in (P50, RATE) if part.values("ours", key)), None)
        if part.is_headline and key is not None:
            beside = [_compared(part, other)[2] for other in (CPU, PEAK)]
            rows.append([part.title, part.store, part.load, FIGURES[key].title, *_compared(part, key), *beside])
    for part in results.ceilings[:1]:  # of one publisher; the page has the others
        if part.values("ours", RATE) and not part.error:
            for side, way in (("ours", "past"), ("through", "through")):
                title = f"{part.title}, {way} nats-server: of what that allows"
                rows.append([title, part.store, part.load, "percent", _percent(part, side), *[NONE] * 4])
    columns = ["workload", "store", "load", "figure", "ours", "Go server", "ours / Go", "CPU", "peak memory"]
    return (
        f"Made by `{results.command}` on {results.date[:10]}. CPU and peak memory, of all processes: ours / Go.\n\n"
        + table(columns, rows, left=4)
    )


def with_headlines(readme: str, results: Results) -> str:
    """The README with its table made anew. Raises ValueError, see `between`."""
    return between(readme, BEGIN, END, headlines(results))


def between(text: str, begin: str, end: str, content: str) -> str:
    """A page with what stands between two marks replaced.

    Raises:
        ValueError: the marks are not there.
    """
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page has no {begin} with an {end} behind it")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def bend(curve: Curve, figure: str) -> Spread | None:
    """How many times the least of the points' medians the greatest is, and these two; None when the least is 0."""
    medians = [spread([row[figure] for row in point.rounds]).median for point in curve.points]
    least, greatest = min(medians), max(medians)
    return Spread(greatest / least, least, greatest) if least else None


_CEILING = """## The ceiling

The same publishes through a nats-server to `bench/suite/idle_responder.py`, which answers with ready-made acks of the
same size and does nothing else: no server behind nats-server can be faster. Ours serves its clients past nats-server
where the configuration allows it; with `--direct_clients=false` everything passes through it, as in the percentage that
says so.
"""


def _ceiling_section(ceilings: Sequence[Part]) -> str:
    rows = []
    for part in ceilings:
        if part.error:
            rows.append([part.title, f"failed: {_cell(part.error)}", *[""] * 5])
        else:
            rates = [_spread_text(part, side, RATE) for side in ("idle", "ours", "through")]
            rows.append([part.title, *rates, _percent(part, "ours"), _percent(part, "through")])
            rows[-1].append(_spread_text(part, "idle", CPU))
    columns = ["messages/s", "idle responder", "ours", "ours through nats-server", "percent", "percent, through"]
    return f"{_CEILING}\n{table([*columns, 'CPU of the responder, µs'], rows, left=1)}"


_GROWTH = """## Growth

Ours alone, at ever larger sizes. It must not bend: the dearest size is compared with the cheapest. Messages stored are
those before a round, whose own come on top. The processor time tells most: the rate depends on what the load generator
has to do, too, which reads every delivery where there are many subscriptions.
"""


def _growth_section(curves: Sequence[Curve], pictures: Sequence[str]) -> str:
    pieces = [f"{_GROWTH}\n{_picture(pictures, 'growth')}"]
    for curve in curves:
        pieces.append(f"### {curve.title}, by {curve.group}, {curve.store}\n\n{_sentence(curve)}")
        columns = [curve.group, f"{curve.per}/s", "CPU, µs each", "peak, MB"]
        rows = [
            [
                f"{point.size:,}",
                *(spread([row[key] for row in point.rounds]).text(FIGURES[key].digits) for key in (RATE, CPU, PEAK)),
            ]
            for point in curve.points
        ]
        pieces.append(table(columns, rows, left=0))
    return "\n".join(pieces)


def _sentence(curve: Curve) -> str:
    if curve.error:
        return f"Failed {_cell(curve.error)}\n"
    rate, cpu = bend(curve, RATE), bend(curve, CPU)
    first, last = curve.points[0].size, curve.points[-1].size
    rounds = f"Rounds of {curve.burst:,} {curve.per}. From {first:,} to {last:,} {curve.group}"
    if rate is None or cpu is None:
        return f"{rounds} there was too little\nto measure: a point took no processor time that the kernel saw.\n"
    return (
        f"{rounds} the fastest point is"
        f" {rate.median:.2f} times\nthe slowest ({rate.least:,.0f} to {rate.greatest:,.0f} a second), the dearest"
        f" {cpu.median:.2f} times the cheapest ({cpu.least:.2f} to {cpu.greatest:.2f} µs).\n"
    )


def _compared(part: Part, key: str) -> list[str]:
    """Ours, the Go server's and the ratio."""
    ours, other = part.values("ours", key), part.values("Go", key)
    ratio = ratios(ours, other) if ours and len(ours) == len(other) else None
    return [_spread_text(part, "ours", key), _spread_text(part, "Go", key), ratio.text(2) if ratio else NONE]


def _percent(part: Part, side: str) -> str:
    share = ratios(part.values(side, RATE), part.values("idle", RATE))
    if share is None:
        return NONE
    return Spread(*(100 * value for value in (share.median, share.least, share.greatest))).text(0)


def _spread_text(part: Part, side: str, key: str) -> str:
    values = part.values(side, key)
    return spread(values).text(FIGURES[key].digits) if values else NONE


def _picture(pictures: Sequence[str], kind: str) -> str:
    return "".join(f"![{name.removesuffix('.svg')}](pictures/{name})\n\n" for name in pictures if name.startswith(kind))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("|", "/"))


def table(columns: Sequence[str], rows: object, left: int = 2) -> str:
    """Markdown; the first `left` columns stand left, numbers right."""
    lines = [f"| {' | '.join(columns)} |", "|" + "|".join(["---"] * left + ["--:"] * (len(columns) - left)) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"
