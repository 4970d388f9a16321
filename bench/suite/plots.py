"""The pictures of a run: few, with axes that say what they show, and the spread of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.suite.figures import CPU, P50, RATE, ratios, spread
from bench.suite.results import Curve, Part, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"MEMORY": "#1f6fb4", "FILE": "#c8641b"}
STYLES = ("-", "--")
_INK = "#30343a"


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what the run has numbers for; returns the files."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "bench",  # the same numbers give the same file
        "font.family": "sans-serif", "font.size": 10, "axes.edgecolor": _INK, "axes.labelcolor": _INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e6ea",
        "legend.frameon": False, "figure.facecolor": "white",
    })  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    compared = [part for part in results.parts if part.values("ours", _key(part)) and part.values("Go", _key(part))]
    if compared:
        drawn.append(_save(_ratios(compared), directory / "ratios.svg"))
    curves = [curve for curve in results.curves if curve.points]
    if curves:
        drawn.append(_save(_growth(curves, RATE), directory / "growth-rate.svg"))
        drawn.append(_save(_growth(curves, CPU), directory / "growth-cpu.svg"))
    return drawn


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    # Lines of the repository end cleanly.
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    return path


def _key(part: Part) -> str:
    """What a workload is compared by."""
    return P50 if part.values("ours", P50) else RATE


def _ratios(parts: Sequence[Part]) -> Figure:
    """How many times better ours is, a row per workload, a mark per store."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys((part.title, part.load) for part in parts))
    figure = Figure(figsize=(8.5, 1.2 + 0.3 * len(rows)), layout="constrained")
    axes: Axes = figure.subplots()
    for part in parts:
        key = _key(part)
        ours, other = part.values("ours", key), part.values("Go", key)
        if len(ours) != len(other):
            continue
        # Of latencies the reciprocal, so that to the right is better everywhere.
        ratio = ratios(other, ours) if key == P50 else ratios(ours, other)
        if ratio is None:
            continue
        row = rows.index((part.title, part.load)) + (0.13 if part.store == "FILE" else -0.13)
        axes.errorbar(
            ratio.median, row, xerr=[[ratio.median - ratio.least], [ratio.greatest - ratio.median]],
            fmt="o", markersize=5, capsize=2, color=COLOURS[part.store],
        )  # fmt: skip
    for store, colour in COLOURS.items():
        axes.plot([], [], "o", color=colour, label=f"{store} store")
    axes.axvline(1.0, color=_INK, linewidth=1)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64) if _is_near(tick, axes.get_xlim())]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [f"{title}  [{load}]" for title, load in rows])
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the Go server: median, least and greatest")
    axes.legend(loc="lower right")
    return figure


def _is_near(tick: float, limits: tuple[float, float]) -> bool:
    return limits[0] / 2 <= tick <= limits[1] * 2


def _growth(curves: Sequence[Curve], key: str) -> Figure:
    """A panel for each thing that grows, a line per figure and store."""
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(curve.group for curve in curves))
    figure = Figure(figsize=(8.5, 3.1 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        shown = [curve for curve in curves if curve.group == group]
        titles = list(dict.fromkeys(curve.title for curve in shown))
        for curve in shown:
            spreads = [spread([row[key] for row in point.rounds]) for point in curve.points]
            medians = [item.median for item in spreads]
            axes.errorbar(
                [point.size for point in curve.points], medians,
                yerr=[
                    [item.median - item.least for item in spreads],
                    [item.greatest - item.median for item in spreads],
                ],
                linestyle=STYLES[titles.index(curve.title) % len(STYLES)], color=COLOURS[curve.store],
                marker="o", markersize=4, capsize=3, label=f"{curve.title}, {curve.store}",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(group)
        axes.set_ylabel("messages/s" if key == RATE else "CPU, µs per message")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if key == RATE else f"{value:g}")
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=4)
    return figure
