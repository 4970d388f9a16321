"""Every entry of the stores specification's checklist that speaks of what is here has a test, for each store."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = {*range(34, 63)}
ENCRYPTED = {*range(75, 82)}
DATABASE = {*range(63, 75)}
EVERY_STORE = {*range(1, 34)}
OF_NO_STORE = {26, 27, 28, 29, 30, 31, 33}
"""Limits as they are given, checked, inherited and shown, before any store sees them."""
OF_A_DATABASE_SERVER = {74}
"""Not of SQLite, which is no server: answers that do not come, connections that are cut."""


@pytest.fixture(scope="module")
def held() -> dict[str, set[int]]:
    """Store to entries, from the report of a run that only collects."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--store-report"]
    places = ["unit/stores", "unit/server/settings", "unit/test_limits.py", "unit/test_banner.py"]
    places += ["databases", "faults", "interop"]
    done = subprocess.run(
        [*command, *(f"tests/{place}" for place in places)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found: dict[str, set[int]] = defaultdict(set)
    for entry, store in re.findall(r"^ *(\d+)  (\S+) +\S+\.py::", done.stdout, re.MULTILINE):
        found[store].add(int(entry))
    return found


def test_no_entry_is_without_a_test(held: dict[str, set[int]]) -> None:
    entries = set().union(*held.values())
    assert sorted({*EVERY_STORE, *FILE, *DATABASE, *ENCRYPTED} - entries) == []
    assert entries <= set(range(1, 83)), "the checklist ends at 82"


@pytest.mark.parametrize("store", ["FILE", "SQL:sqlite", "SQL:postgres", "SQL:mysql"])
def test_each_store_holds_what_every_store_must(store: str, held: dict[str, set[int]]) -> None:
    assert sorted(EVERY_STORE - OF_NO_STORE - held[store]) == []
    assert sorted(OF_NO_STORE - held["any"]) == []


@pytest.mark.parametrize("driver", ["sqlite", "postgres", "mysql"])
def test_each_database_holds_what_a_database_must(driver: str, held: dict[str, set[int]]) -> None:
    wanted = DATABASE - (OF_A_DATABASE_SERVER if driver == "sqlite" else set())
    assert sorted(wanted - held[f"SQL:{driver}"]) == []
