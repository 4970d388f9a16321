"""The raw numbers of a run, as they lie in bench/results: everything that the page and the pictures are made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.suite.figures import Figures

FORMAT = 1


@dataclass
class Part:
    """One workload over one store.

    Attributes:
        name, title, store, load: as the workload has them; `load` is the load generator.
        count: messages of a round.
        rounds: side ("ours", "Go"; of a ceiling "ours", "through", "idle") to its figures, round by round.
        busy_cores: cores that were busy before the part, of each round.
        error: why it is not complete, "" when it is.
    """

    name: str
    title: str
    store: str
    load: str
    count: int
    is_headline: bool = False
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    busy_cores: list[float] = field(default_factory=list)
    error: str = ""

    def values(self, side: str, figure: str) -> list[float]:
        """That figure of each round; empty when it was not measured."""
        return [row[figure] for row in self.rounds.get(side, []) if figure in row]


@dataclass
class Point:
    """Ours at one size: `rounds` hold its figures."""

    size: int
    rounds: list[Figures] = field(default_factory=list)


@dataclass
class Curve:
    """How a figure of ours goes with the size of something.

    Attributes:
        group: what grows, the title of a picture's panel.
        per: what the figures are per, in the plural.
        burst: how many of them a round has.
    """

    name: str
    group: str
    title: str
    store: str
    per: str
    burst: int = 0
    points: list[Point] = field(default_factory=list)
    busy_cores: list[float] = field(default_factory=list)
    error: str = ""


@dataclass
class Results:
    """A run.

    Attributes:
        date: UTC, ISO 8601.
        command: what was typed.
        machine: what it ran on and which versions ran, by the words the page uses.
        notes: what was not measured, and why.
        failures: what went wrong beside the parts.
    """

    date: str
    command: str
    seconds: float
    machine: dict[str, str]
    rounds: int
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    ceilings: list[Part] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def errors(self) -> list[str]:
        """A line for whatever failed."""
        everything: list[Part | Curve] = [*self.parts, *self.ceilings, *self.curves]
        return self.failures + [f"{part.name} ({part.store}): {part.error}" for part in everything if part.error]


def save(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, **_rounded(asdict(results))}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Raises ValueError when it was written in another format."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not in format {FORMAT} of the results")
    content["parts"] = [Part(**part) for part in content["parts"]]
    content["ceilings"] = [Part(**part) for part in content["ceilings"]]
    content["curves"] = [
        Curve(**{**curve, "points": [Point(**point) for point in curve["points"]]}) for curve in content["curves"]
    ]
    return Results(**content)


def _rounded(value: Any) -> Any:
    """Six digits are more than any of the numbers is worth."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
