"""The report that says which test holds which entry of a black-box checklist of the specification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest


def report(terminal: Any, marker: str, length: int, elsewhere: Mapping[str, Mapping[int, str]]) -> None:
    """Print entry -> tests for the tests of this run, then what is not held here and why.

    Args:
        terminal: pytest's terminal reporter.
        marker: name of the mark whose arguments are the entries.
        length: entries of the checklist, numbered from 1.
        elsewhere: reason -> entry -> which part of it is not held here.
    """
    session: pytest.Session = terminal._session
    holders: dict[int, list[str]] = defaultdict(list)
    for item in session.items:
        for mark in item.iter_markers(marker):
            for entry in mark.args:
                name = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
                if name not in holders[entry]:
                    holders[entry].append(name)
    terminal.section("checklist entry -> tests")
    for entry in sorted(holders):
        terminal.write_line(f"{entry:4}  " + "\n      ".join(holders[entry]))
    told: set[int] = set()
    for reason, entries in elsewhere.items():
        terminal.section(f"not here: {reason}")
        for entry, what in sorted(entries.items()):
            told.add(entry)
            terminal.write_line(f"{entry:4}  {what}")
    missing = set(range(1, length + 1)) - holders.keys() - told
    terminal.section("in neither list")
    terminal.write_line(", ".join(map(str, sorted(missing))) or "none")
