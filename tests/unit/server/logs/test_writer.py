"""Lines get to where they belong, in order, and nobody who logs waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from nats_streaming.server.logs import writer as log_writer
from nats_streaming.server.logs.lines import LineFormatter
from nats_streaming.server.logs.writer import LogWriter
from nats_streaming.server.settings.options import LogOptions

PATIENCE_S = 30.0


class Sink:
    """Keeps lines; fails with `error`, and waits while `is_open` is not set."""

    name = ""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.error: OSError | None = None
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_closed = False
        self.attempts = 0

    def write(self, lines: deque[bytes]) -> None:
        while lines:
            self.attempts += 1
            assert self.is_open.wait(PATIENCE_S)
            if self.error is not None:
                raise self.error
            self.lines.append(lines.popleft().decode().rstrip("\n").partition("] ")[2])

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def writer(sink: Sink) -> Iterator[LogWriter]:
    writer = LogWriter(sink, LineFormatter(LogOptions(timestamps=False), 7))
    yield writer
    sink.error = None
    sink.is_open.set()
    writer.close()


def log(writer: LogWriter, text: str, name: str = "nats_streaming") -> None:
    writer.handle(logging.LogRecord(name, logging.INFO, "", 0, "%s", (text,), None))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_at_first_the_caller_writes(writer: LogWriter, sink: Sink) -> None:
    log(writer, "a")
    assert sink.lines == ["[INF] STREAM: a"]


def test_then_a_thread_does_and_order_holds_over_both(writer: LogWriter, sink: Sink) -> None:
    expected = []
    for number in range(3000):
        if number == 10:
            writer.start()
        log(writer, str(number))
        expected.append(f"[INF] STREAM: {number}")
    writer.flush()
    assert sink.lines == expected


def test_lines_of_several_threads_are_all_there(writer: LogWriter, sink: Sink) -> None:
    writer.start()
    threads = [
        threading.Thread(target=lambda name=name: [log(writer, f"{name}{n}") for n in range(500)]) for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    for name in "abcd":
        own = [line for line in sink.lines if line.startswith(f"[INF] STREAM: {name}")]
        assert own == [f"[INF] STREAM: {name}{n}" for n in range(500)]


def test_who_logs_does_not_wait_for_a_blocked_sink(writer: LogWriter, sink: Sink) -> None:
    writer.start()
    sink.is_open.clear()
    log(writer, "a")
    wait_until(lambda: sink.attempts == 1)
    for _ in range(100):
        log(writer, "b")  # would wait for ever otherwise
    assert sink.lines == []
    sink.is_open.set()
    writer.flush()
    assert len(sink.lines) == 101


def test_what_waits_is_bounded_and_what_is_dropped_is_told(
    writer: LogWriter, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "WAITING_BYTES_MAX", 10_000)
    writer.start()
    sink.is_open.clear()
    for _ in range(500):
        log(writer, "x" * 80)
    kept = 500 - writer.dropped_count
    assert 50 < kept < 150
    sink.is_open.set()
    wait_until(lambda: len(sink.lines) == kept + 1)
    assert sink.lines[-1] == (
        f"[WRN] STREAM: Log lines dropped: {500 - kept} (they came faster than they could be written)"
    )
    log(writer, "after")
    writer.flush()
    assert sink.lines[-1] == "[INF] STREAM: after"


@pytest.mark.parametrize("in_background", [True, False])
def test_lines_survive_a_failing_sink(writer: LogWriter, sink: Sink, in_background: bool) -> None:
    if in_background:
        writer.start()
    log(writer, "before")
    writer.flush()
    sink.error = OSError(28, "No space left on device")
    log(writer, "meanwhile")
    wait_until(lambda: sink.attempts == 2)
    sink.error = None
    log(writer, "after")
    writer.flush()
    assert sink.lines == [
        "[INF] STREAM: before",
        "[INF] STREAM: meanwhile",
        "[INF] STREAM: after",
        "[WRN] STREAM: Log could not be written for a while (no space left on device); no line is missing",
    ]


def test_a_failing_sink_is_tried_again_by_itself(
    writer: LogWriter, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "_RETRY_S", 0.01)
    writer.start()
    sink.error = OSError(5, "Input/output error")
    log(writer, "a")
    wait_until(lambda: sink.attempts > 2)
    sink.error = None
    wait_until(lambda: len(sink.lines) == 2)
    assert sink.lines[0] == "[INF] STREAM: a"


def test_a_task_runs_between_the_lines(writer: LogWriter, sink: Sink) -> None:
    writer.start()
    log(writer, "a")
    writer.do(lambda: writer.say(logging.WARNING, "task"))
    log(writer, "b")
    writer.flush()
    assert sink.lines == ["[INF] STREAM: a", "[WRN] STREAM: task", "[INF] STREAM: b"]


def test_closing_writes_what_waits(writer: LogWriter, sink: Sink) -> None:
    writer.start()
    for number in range(1000):
        log(writer, str(number))
    writer.close()
    assert len(sink.lines) == 1000
    assert sink.is_closed
    log(writer, "late")
    assert len(sink.lines) == 1000


def test_the_end_waits_for_a_blocked_sink_once_and_not_for_ever(
    writer: LogWriter, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "STOP_S", 0.05)
    writer.start()
    sink.is_open.clear()
    log(writer, "a")
    started = time.monotonic()
    writer.flush()
    writer.close()
    assert time.monotonic() - started < PATIENCE_S
    assert not sink.is_closed
