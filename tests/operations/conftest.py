"""How the operator tests run: real processes, coroutines as tests, citations of the operations checklist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.checklist import report
from tests.support.coroutine_tests import run_if_coroutine
from tests.support.servers import ServerProcess

TEST_SECONDS = 60.0
CHECKLIST_LENGTH = 83

NOT_HERE: dict[str, dict[int, str]] = {
    "seen by clients, held by tests/conformance": {
        35: "channel names that differ by case only; after a restart: tests/unit/streaming/test_engine_recovery.py",
        36: "limits of channels, subscriptions and messages",
        37: "channels that nobody uses are deleted",
        38: "dead clients are closed after so many heartbeats",
        39: "a client ID in use",
    },
    "their code is no package that a test could install": {
        50: "the exporter and the console themselves; test_health_and_metrics.py holds what they insist on",
    },
    "this version has no clustered mode; asking for it is refused by name (entries 8 and 18)": dict.fromkeys(
        range(59, 74), "clustering"
    ),
}
"""Reason -> entry -> which part of it is held elsewhere, or is not."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--operations-report", action="store_true", help="list which test holds which entry of the operations checklist"
    )
    parser.addoption("--scripts", type=int, default=40, help="how many random scripts of NATS clients are played")
    parser.addoption("--first-seed", type=int, default=1, help="the first of them; the others follow")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "operations(*entries): entries of the operations specification's checklist which the test holds"
    )


@pytest.fixture
def start() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers (arguments as of `ServerProcess`) that are ended and cleaned up after the test."""
    servers: list[ServerProcess] = []

    def start_server(*arguments: str, **options: Any) -> ServerProcess:
        server = ServerProcess(*arguments, **options)
        servers.append(server)
        return server.start()

    yield start_server
    for server in reversed(servers):
        server.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_if_coroutine(pyfuncitem, TEST_SECONDS)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("operations_report", False):
        report(terminalreporter, "operations", CHECKLIST_LENGTH, NOT_HERE)
