"""For all tests: say in the header which build of which installation is under test."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import nats_streaming
from nats_streaming.server.version import build_kind
from tests.support.store_entries import report_stores


def pytest_report_header() -> list[str]:
    lines = [
        f"nats_streaming {nats_streaming.__version__}, {build_kind()} build: {Path(nats_streaming.__file__).parent}"
    ]
    other = os.environ.get("STAN_SERVER_UNDER_TEST")
    return [*lines, f"server under test: {other}"] if other else lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try again, and report it, where real time has a part: that a machine pauses is no fault of a server."""
    timed = {
        Path(__file__).parent / name for name in ("bench", "cli", "client", "conformance", "interop", "operations")
    }
    for item in items:
        if timed & set(item.path.parents):
            item.add_marker(pytest.mark.flaky(reruns=2))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="more kills and power losses: minutes instead of seconds")
    parser.addoption("--store-report", action="store_true", help="list which test holds which entry on which store")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "store_spec(*entries): entries of the stores specification's checklist which the test holds"
    )
    if hasattr(signal, "SIGHUP"):
        # Under nohup it is ignored, and every process that a test starts would ignore it too.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the same for a job in the background of a shell


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("store_report", False):
        report_stores(terminalreporter)
