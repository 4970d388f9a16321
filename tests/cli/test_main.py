"""What holds for every command: version, help, usage errors, completion, a quick start."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nats_streaming
from nats_streaming.cli.exits import ExitCode

from .tool import COMMAND, environment, run, run_process

HEAVY = ("asyncio", "rich", "cryptography", "uvloop", "nats", "nats_streaming.client", "nats_streaming.stores")
"""Modules that a command imports when it needs them, and no help or completion does."""

NAMED_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""Lets the option take a shell's name; else it is for the shell that the process was started from."""


def test_version() -> None:
    assert run_process("--version").stdout == f"nats-streaming {nats_streaming.__version__}\n"


def test_the_console_script_is_this_program() -> None:
    (script,) = (
        entry
        for entry in metadata.distribution("nats-streaming-server").entry_points
        if entry.group == "console_scripts" and entry.name == "nats-streaming"
    )
    assert script.value == "nats_streaming.cli.main:main"
    assert callable(script.load())


def test_help_names_every_command_and_exit_code() -> None:
    shown = " ".join(run("--help", COLUMNS="200").stdout.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in shown
    assert "doctor" in shown


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("doctor",), ("doctor", "--nonsense"), ("doctor", ".", "--crc-poly", "0")]
)
def test_wrong_arguments_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    shown = run(*arguments, code=ExitCode.USAGE)
    assert "Usage: nats-streaming" in shown.stderr
    assert shown.stdout == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = run_process("--show-completion", shell, **NAMED_SHELL).stdout
    assert "_NATS_STREAMING_COMPLETE" in script


def test_completion_completes() -> None:
    """As bash asks: the words typed so far, and which of them the cursor is on."""
    shown = run_process(_NATS_STREAMING_COMPLETE="complete_bash", COMP_WORDS="nats-streaming do", COMP_CWORD="1")
    assert shown.stdout.split() == ["doctor"]


def test_bash_accepts_the_completion_script() -> None:
    script = run_process("--show-completion", "bash", **NAMED_SHELL).stdout
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)


def test_nothing_heavy_is_imported_before_a_command_needs_it() -> None:
    program = (
        "import sys\n"
        "from nats_streaming.cli.main import application\n"
        "application()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, env=environment(), check=True)
    assert done.stdout.decode().strip() == "[]"


def test_who_stops_reading_is_no_error() -> None:
    command = " ".join(f"'{word}'" for word in (*COMMAND, "--help"))
    done = subprocess.run(["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, check=True)
    assert done.stdout.decode().strip() in ("0", str(ExitCode.READER_GONE.value))
    assert done.stderr == b""


def test_the_documentation_lists_every_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "command-line.md").read_text()
    assert re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE) == [
        (str(code.value), code.meaning) for code in ExitCode
    ]
