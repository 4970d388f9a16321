"""The executable: what is printed where, and its exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nats_streaming.cli.server_main import main
from nats_streaming.errors import NatsServerError
from nats_streaming.server.process.pid_file import write_pid_file


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nats_streaming.cli.server_main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_version(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    binary = tmp_path / "nats-server"
    binary.write_text("#!/bin/sh\necho 'nats-server: v9.9.9'\n")
    binary.chmod(0o755)
    assert main(["-nats_server_binary", str(binary), "--version"]) == 0
    assert re.fullmatch(
        r"nats-streaming-server version \d+\.\d+\.\d+ \(compatible with 0\.25\.6\), build: (compiled|plain),"
        r" nats-server: v9\.9\.9\n",
        capsys.readouterr().out,
    )


def test_version_without_a_nats_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["version", "-nats_server_binary"]) == 0  # words behind it are ignored
    assert main(["-v", "-nats_server_binary", str(tmp_path / "none")]) == 0
    assert "nats-server: none (" in capsys.readouterr().out.splitlines()[1]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-help"]) == 0
    assert capsys.readouterr().out.startswith("\nUsage: nats-streaming-server [options]\n")


def test_a_wrong_flag_is_a_failure_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-max_chanels", "3"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "flag provided but not defined: -max_chanels",
        "did you mean -max_channels?",
        "run 'nats-streaming-server -help' for the flags and their values",
    ]


def test_what_is_wrong_before_and_after_the_log_exists(tmp_path: Path) -> None:
    before = run("-l", str(tmp_path / "no" / "log"))
    assert (before.returncode, before.stdout) == (1, "")
    assert before.stderr == f"error opening file: open {tmp_path}/no/log: no such file or directory\n"
    after = run("-T=false", "-mc", "-1")
    assert (after.returncode, after.stdout) == (1, "")
    assert re.fullmatch(
        r"\[\d+\] \[FTL\] STREAM: Failed to start: max channels limit cannot be negative \(-1\)\n", after.stderr
    )
    pid_file = run("-T=false", "-p", "-1", "-P", str(tmp_path / "no" / "pid"))
    assert pid_file.returncode == 1
    assert "Could not write pidfile: open " in pid_file.stderr


def test_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("an old and longer text")
    write_pid_file(str(path))
    assert path.read_text() == str(os.getpid())
    with pytest.raises(NatsServerError, match=r"^Could not write pidfile: open .*: no such file or directory$"):
        write_pid_file(str(tmp_path / "no" / "pid"))


def test_reading_the_command_line_does_not_load_the_event_loop() -> None:
    code = (
        "import sys\n"
        "from nats_streaming.cli import server_main\n"
        "from nats_streaming.server.logs import log; from nats_streaming.server.process import pid_file\n"
        "print(sorted({'asyncio', 'argparse', 'subprocess', 'difflib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
