"""Log lines as the original writes them. Source: operations specification, section 3.1."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from nats_streaming.constants import TRACE
from nats_streaming.errors import ConfigError
from nats_streaming.server.logs.lines import (
    NATS_SERVER_LOGGER,
    STREAMING_LOGGER,
    JsonFormatter,
    LineFormatter,
    SyslogFormatter,
)
from nats_streaming.server.logs.log import reopen, setup_logging
from nats_streaming.server.settings.options import LogOptions, Options

LEVELS = {
    TRACE: ("TRC", "33"),
    logging.DEBUG: ("DBG", "36"),
    logging.INFO: ("INF", "32"),
    logging.WARNING: ("WRN", "0;93"),
    logging.ERROR: ("ERR", "31"),
    logging.CRITICAL: ("FTL", "31"),
}


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (STREAMING_LOGGER, NATS_SERVER_LOGGER)]
    before = [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    switches = (logging.logThreads, logging.logMultiprocessing, logging.logProcesses)
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        for handler in logger.handlers[:]:
            if handler not in handlers:
                logger.removeHandler(handler)
                handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
    logging.logThreads, logging.logMultiprocessing, logging.logProcesses = switches


def line(
    text: str = "text",
    *,
    level: int = logging.INFO,
    name: str = "nats_streaming.x",
    created_s: float = 0.0,
    timestamps: bool = False,
    utc: bool = True,
    colour: bool = False,
) -> str:
    record = logging.LogRecord(name, level, __file__, 1, "%s", (text,), None)
    record.created = created_s
    return LineFormatter(LogOptions(timestamps=timestamps, utc=utc), 7, colour=colour).format(record)


def file_options(path: Path, *, debug: bool = False, trace: bool = False) -> Options:
    return Options(debug=debug, trace=trace, log=LogOptions(file=str(path), timestamps=False))


def texts(path: Path) -> list[str]:
    return [text.partition("] ")[2] for text in path.read_text().splitlines()]


def test_a_line_with_its_time() -> None:
    at_s = 1_700_000_000.25
    assert line(created_s=at_s, timestamps=True) == "[7] 2023/11/14 22:13:20.250000 [INF] STREAM: text"
    local = datetime.fromtimestamp(at_s).strftime("%Y/%m/%d %H:%M:%S.%f")
    assert line(created_s=at_s, timestamps=True, utc=False) == f"[7] {local} [INF] STREAM: text"


def test_the_time_of_several_lines() -> None:
    formatter = LineFormatter(LogOptions(utc=True), 7)
    record = logging.LogRecord("nats_streaming", logging.INFO, __file__, 1, "m", (), None)
    times = []
    for created_s in (1.5, 1.75, 2.0, 1.0):
        record.created = created_s
        times.append(formatter.format(record)[15:30])
    assert times == ["00:00:01.500000", "00:00:01.750000", "00:00:02.000000", "00:00:01.000000"]


@pytest.mark.parametrize("level", LEVELS)
def test_levels_and_their_colours(level: int) -> None:
    name, colour = LEVELS[level]
    assert line(level=level) == f"[7] [{name}] STREAM: text"
    assert line(level=level, colour=True) == f"[7] [\x1b[{colour}m{name}\x1b[0m] STREAM: text"


def test_the_embedded_server_s_lines_have_no_prefix() -> None:
    assert line(name=NATS_SERVER_LOGGER) == "[7] [INF] text"


def test_a_name_from_outside_cannot_forge_a_line() -> None:
    assert line("a\n[7] [FTL] \x1b[31mb\u2028\udcff é") == (
        "[7] [INF] STREAM: a\\n[7] [FTL] \\x1b[31mb\\u2028\\udcff é"
    )


def test_a_traceback_follows_its_line(tmp_path: Path) -> None:
    setup_logging(file_options(tmp_path / "log"))
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger(STREAMING_LOGGER).exception("failed")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == f"[{os.getpid()}] [ERR] STREAM: failed"
    assert lines[-1] == "RuntimeError: boom"


@pytest.mark.parametrize(
    ("debug", "trace", "shown"),
    [
        (False, False, ["[INF] STREAM: i"]),
        (True, False, ["[DBG] STREAM: d", "[INF] STREAM: i"]),
        (False, True, ["[TRC] STREAM: t", "[INF] STREAM: i"]),
        (True, True, ["[TRC] STREAM: t", "[DBG] STREAM: d", "[INF] STREAM: i"]),
    ],
)
def test_debug_and_trace_are_independent(tmp_path: Path, debug: bool, trace: bool, shown: list[str]) -> None:
    setup_logging(file_options(tmp_path / "log", debug=debug, trace=trace))
    for name in ("nats_streaming.engine", NATS_SERVER_LOGGER):
        for level, text in ((TRACE, "t"), (logging.DEBUG, "d"), (logging.INFO, "i")):
            logging.getLogger(name).log(level, text)
    assert texts(tmp_path / "log") == [*shown, "[TRC] t", "[DBG] d", "[INF] i"]


def test_standard_error_without_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    setup_logging(Options())
    logging.getLogger(STREAMING_LOGGER).info("hello")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        rf"\[{os.getpid()}\] \d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{{6}} \[INF\] STREAM: hello\n", captured.err
    )


def test_setting_up_again_replaces_the_handler(tmp_path: Path) -> None:
    setup_logging(file_options(tmp_path / "one"))
    setup_logging(file_options(tmp_path / "two"))
    logging.getLogger(STREAMING_LOGGER).info("hello")
    assert texts(tmp_path / "one") == []
    assert texts(tmp_path / "two") == ["[INF] STREAM: hello"]


def test_a_file_is_appended_to_and_not_for_everyone(tmp_path: Path) -> None:
    for text in ("a", "b"):
        setup_logging(file_options(tmp_path / "log"))
        logging.getLogger(STREAMING_LOGGER).info(text)
    assert texts(tmp_path / "log") == ["[INF] STREAM: a", "[INF] STREAM: b"]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) & 0o137 == 0


def test_a_file_is_opened_anew(tmp_path: Path) -> None:
    setup_logging(file_options(tmp_path / "log"))
    log = logging.getLogger(STREAMING_LOGGER)
    log.info("a")
    for number in (1, 2):
        (tmp_path / "log").rename(tmp_path / f"moved{number}")
        log.info("still")
        reopen()
    assert texts(tmp_path / "moved1") == ["[INF] STREAM: a", "[INF] STREAM: still"]
    assert texts(tmp_path / "moved2") == ["[INF] STREAM: File log re-opened", "[INF] STREAM: still"]
    assert texts(tmp_path / "log") == ["[INF] STREAM: File log re-opened"]


def test_what_cannot_be_opened_anew_goes_on_in_the_old_file(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    setup_logging(file_options(directory / "log"))
    directory.rename(tmp_path / "moved")
    reopen()
    assert texts(tmp_path / "moved" / "log")[0].startswith("[ERR] STREAM: File log re-open failed")


def test_without_a_file_there_is_nothing_to_open_anew(capfd: pytest.CaptureFixture[str]) -> None:
    setup_logging(Options())
    reopen()
    assert capfd.readouterr().err.endswith("[INF] STREAM: File log re-open ignored, not a file logger\n")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no" / "log", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError) as caught:
            setup_logging(file_options(path))
        assert str(caught.value) == f"error opening file: open {path}: {reason}"


def record(text: str, level: int, name: str = STREAMING_LOGGER) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, "%s", (text,), None)
    made.created = 1_700_000_000.25
    return made


def test_lines_in_json() -> None:
    formatter = JsonFormatter(LogOptions(utc=True), 7)
    assert json.loads(formatter.format(record('a "b"\n\udcff é', logging.WARNING))) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "WRN",
        "pid": 7,
        "source": "streaming",
        "text": 'a "b"\n\udcff é',
    }
    nats = json.loads(formatter.format(record("Server is ready", logging.INFO, NATS_SERVER_LOGGER)))
    assert (nats["source"], nats["text"]) == ("nats-server", "Server is ready")
    assert "\n" not in formatter.format(record("a\nb", logging.INFO))


def test_a_traceback_in_json_stays_in_its_line() -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError as error:
        failed = logging.LogRecord(STREAMING_LOGGER, logging.ERROR, "", 1, "m", (), (type(error), error, None))
    line = JsonFormatter(LogOptions(timestamps=False), 7).format(failed)
    assert "\n" not in line
    assert json.loads(line) == {
        "level": "ERR",
        "pid": 7,
        "source": "streaming",
        "text": "m",
        "traceback": "RuntimeError: boom",
    }


def test_local_time_in_json_and_syslog_names_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-05:30")
    time.tzset()
    try:
        line = json.loads(JsonFormatter(LogOptions(), 7).format(record("t", logging.INFO)))
        packet = SyslogFormatter(7, "tag", "host", None).format(record("t", logging.INFO))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert line["time"] == "2023-11-15T03:43:20.250000+05:30"
    assert packet == "<5>2023-11-15T03:43:20+05:30 host tag[7]: STREAM: t"


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        (TRACE, 5),
        (logging.DEBUG, 7),
        (logging.INFO, 5),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
    ],
)
def test_severities_of_syslog(level: int, severity: int) -> None:
    remote = SyslogFormatter(7, "tag", "host", None).format(record("t", level, NATS_SERVER_LOGGER))
    assert remote.startswith(f"<{severity}>")
    assert remote.endswith(" host tag[7]: t")
    local = SyslogFormatter(7, "tag", "", None).format(record("t", level))
    assert re.fullmatch(rf"<{24 + severity}>Nov 1[45] \d\d:\d\d:\d\d tag\[7\]: STREAM: t", local)


def test_wrong_log_options() -> None:
    for options, text in (
        (LogOptions(format="xml"), '-log_format must be text or json, got "xml"'),
        (
            LogOptions(event_source="x"),
            "-syslog_name: no Windows event log is written; leave it out, and use -log for a file",
        ),
        (LogOptions(size_limit=-5), "-log_size_limit must be a number of bytes, or 0 for no limit, got -5"),
    ):
        with pytest.raises(ConfigError) as caught:
            setup_logging(Options(log=options))
        assert str(caught.value) == text
