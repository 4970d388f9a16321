"""Fixtures of the interop tests: prepared client programs, and one server per language."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from ..support.coroutine_tests import run_if_coroutine
from ..support.servers import ServerProcess, running_server
from .prepare import Program, ToolchainMissing, prepare

TEST_SECONDS = 120.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_if_coroutine(pyfuncitem, TEST_SECONDS)


@pytest.fixture(scope="session")
def prepared() -> Callable[[str], Program]:
    """Prepare a piece by name. A missing toolchain skips the test on a developer's machine and fails it in CI."""
    known: dict[str, Program | ToolchainMissing] = {}

    def prepare_or_skip(name: str) -> Program:
        if name not in known:
            try:
                known[name] = prepare(name)
            except ToolchainMissing as error:
                known[name] = error
        program = known[name]
        if isinstance(program, Program):
            return program
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name}: {program}", pytrace=False)
        pytest.skip(f"{name}: {program}")

    return prepare_or_skip


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    # Every scenario has channels of its own, more together than the default limit of 100.
    with running_server("-mc", "1000") as running:
        yield running
