"""What a service manager's variables may hold. That they are obeyed is held by the operator tests."""

from __future__ import annotations

import os

import pytest

from nats_streaming.server.process.service_manager import ServiceManager


def test_the_variables_are_not_for_children() -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "OTHER": "y"}
    ServiceManager(environment)
    assert environment == {"OTHER": "y"}


def test_without_a_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({})
    manager.ready("up")
    manager.watch()
    manager.stopping()
    manager.close()
    assert not caplog.records


@pytest.mark.parametrize("address", ["relative", "vsock:2:1234", "/nonexistent/socket", "@nobody-listens-here"])
def test_an_address_that_leads_nowhere_is_reported_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.ready("up")
    manager.stopping()
    manager.close()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"cannot notify the service manager at {address}: ")


@pytest.mark.parametrize(
    ("interval", "pid", "seconds"),
    [
        ("30000000", "", 15.0),
        ("30000000", str(os.getpid()), 15.0),
        ("30000000", "1", 0.0),
        ("", "", 0.0),
        ("-5", "", 0.0),
        ("soon", "", 0.0),
        ("9" * 40, "", 0.0),
    ],
)
def test_the_watchdog_s_interval(interval: str, pid: str, seconds: float) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": interval, "WATCHDOG_PID": pid})
    assert manager._watchdog_s == seconds
