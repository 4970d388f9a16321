"""Fixtures of the interop tests: prepared client programs, and one server per language."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from ..support.servers import ServerProcess, running_server
from .prepare import Program, ToolchainMissing, prepare


@pytest.fixture(scope="session")
def prepared() -> Callable[[str], Program]:
    """Prepare a piece by name. A missing toolchain skips the test on a developer's machine and fails it in CI."""
    failures: dict[str, ToolchainMissing] = {}

    def prepare_or_skip(name: str) -> Program:
        try:
            if name in failures:
                raise failures[name]
            return prepare(name)
        except ToolchainMissing as error:
            failures[name] = error
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name}: {error}", pytrace=False)
            pytest.skip(f"{name}: {error}")

    return prepare_or_skip


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    # Every scenario has channels of its own, more together than the default limit of 100.
    with running_server("-mc", "1000") as running:
        yield running
