"""Every entry of the stores specification's checklist that speaks of what is here has a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ENTRIES = {*range(1, 63), *range(75, 82)}
"""All stores, limits, the FILE store, encryption."""


def marked(path: Path) -> Iterator[int]:
    """Entries in the arguments of `pytest.mark.store_spec(…)` on tests."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.store_spec":
                for argument in decorator.args:
                    assert isinstance(argument, ast.Constant), f"{path}: the entries are numbers"
                    yield argument.value


def test_no_entry_is_without_a_test() -> None:
    held = {entry for path in TESTS.rglob("test_*.py") for entry in marked(path)}
    assert sorted(ENTRIES - held) == []
    assert held <= set(range(1, 83)), "the checklist ends at 82"
