from __future__ import annotations

import logging

import pytest

from nats_streaming.constants import TRACE
from nats_streaming.nats.child_log import ChildLog

START = b"""[7350] 2026/11/23 04:04:00.324887 [INF] Starting nats-server
[7350] 2026/11/23 04:04:00.324887 [INF]   ID:       NBXYY
[7350] 2026/11/23 04:04:00.324887 [INF] Using configuration file: /proc/self/fd/6 (sha256:abc)
[7350] 2026/11/23 04:04:00.324887 [INF] Starting http monitor on 127.0.0.1:43411
[7350] 2026/11/23 04:04:00.326472 [INF] Listening for client connections on 0.0.0.0:42595
[7350] 2026/11/23 04:04:00.326925 [INF] Server is ready
"""


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.message) for record in caplog.records]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_facts_and_records_in_pieces(caplog: pytest.LogCaptureFixture, size: int) -> None:
    log = ChildLog("/proc/self/fd/6", "/etc/nats.conf")
    for start in range(0, len(START), size):
        log.feed(START[start : start + size])
    assert log.is_ready
    assert log.client_address == ("0.0.0.0", 42595)
    assert log.http_address == ("127.0.0.1", 43411)
    assert log.server_id == "NBXYY"
    assert records(caplog) == [
        (logging.INFO, "Starting nats-server"),
        (logging.INFO, "  ID:       NBXYY"),
        (logging.INFO, "Using configuration file: /etc/nats.conf"),
        (logging.INFO, "Starting http monitor on 127.0.0.1:43411"),
        (logging.INFO, "Listening for client connections on 0.0.0.0:42595"),
        (logging.INFO, "Server is ready"),
    ]
    assert {record.name for record in caplog.records} == {"nats_streaming.nats_server"}


def test_what_is_ours_alone_is_not_for_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    ChildLog("/proc/self/fd/6", hide_monitor=True).feed(START)
    shown = [message for level, message in records(caplog) if level >= logging.INFO]
    assert not [message for message in shown if "configuration" in message or "http monitor" in message]
    assert "/proc/self" not in caplog.text
    assert "sha256" not in caplog.text


def test_levels_and_forms_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    log = ChildLog()
    log.is_ready = True
    log.feed(b"[1] [WRN] no time\n[1] 2026/11/23 04:04:00.1 UTC [ERR] utc\r\n[1] 2026/11/23 04:04:00.1 [DBG] d\n")
    log.feed(b"[1] 2026/11/23 04:04:00.1 [TRC] t\n  of two lines\n\nlast, without an end")
    log.finish()
    assert records(caplog) == [
        (logging.WARNING, "no time"),
        (logging.ERROR, "utc"),
        (logging.DEBUG, "d"),
        (TRACE, "t"),
        (TRACE, "  of two lines"),
        (TRACE, "last, without an end"),
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("[::]:4222", ("::", 4222)), ("localhost:1", ("localhost", 1)), ("[fd00::1]:2", ("fd00::1", 2)), ("x", None)],
)
def test_addresses(address: str, expected: tuple[str, int] | None) -> None:
    log = ChildLog()
    log.feed(b"[1] [INF] Listening for client connections on %b\n" % address.encode())
    assert log.client_address == expected


def test_a_fatal_line_at_start_is_for_whoever_starts(caplog: pytest.LogCaptureFixture) -> None:
    log = ChildLog()
    log.feed(b'[1] 2026/11/23 04:04:00.1 [FTL] Error listening on port: 0.0.0.0:4222, "listen tcp ..."\n')
    assert log.fatal == 'Error listening on port: 0.0.0.0:4222, "listen tcp ..."'
    assert records(caplog) == []


def test_a_fatal_line_later_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    log = ChildLog()
    log.feed(START + b"[1] [FTL] gone\n")
    assert records(caplog)[-1] == (logging.ERROR, "gone")


def test_complaints_before_there_is_a_logger() -> None:
    log = ChildLog("/proc/self/fd/6", "my.conf")
    log.feed(b'nats-server: /proc/self/fd/6:2:1: unknown field "foo"\n/proc/self/fd/6:3:1: other\n\n')
    assert log.output == ['my.conf:2:1: unknown field "foo"', "my.conf:3:1: other"]


def test_lines_of_the_configuration_are_told_by_where_they_come_from() -> None:
    log = ChildLog("/proc/self/fd/6", "my.conf", config_places=("my.conf:4:1", "part.conf:7:3"))
    log.feed(b"nats-server: /proc/self/fd/6:2:9: other\n/proc/self/fd/6:3:1: beyond\nopen /proc/self/fd/6: x\n")
    assert log.output == ["part.conf:7:3: other", "my.conf:3:1: beyond", "open my.conf: x"]


def test_output_without_end_is_bounded() -> None:
    log = ChildLog()
    for _ in range(40):
        log.feed(b"x" * 100_000)
    log.feed(b"\n" * 1000 + b"y\n" * 1000)
    assert len(log.output) <= 50
    assert not log.is_ready
