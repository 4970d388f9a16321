"""Which processes are streaming servers, by their argument lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.server.process.control import running_servers, send_signal


@pytest.mark.parametrize(
    ("arguments", "is_server"),
    [
        (["/usr/bin/nats-streaming-server", "-p", "4222"], True),
        (["nats-streaming-server"], True),
        (["/opt/venv/bin/python3.12", "/opt/venv/bin/nats-streaming-server", "-SD"], True),
        (["python", "-m", "nats_streaming", "-p", "1"], True),
        (["python", "-m", "nats_streaming_tools"], False),
        (["python", "-c", "nats-streaming-server"], False),
        (["vim", "nats-streaming-server"], False),
        (["/bin/sh", "-c", "nats-streaming-server"], False),
        (["nats-server", "-c", "nats-streaming-server"], False),
        ([""], False),
        ([], False),
    ],
)
def test_servers_among_processes(arguments: list[str], is_server: bool) -> None:
    assert running_servers([(7, arguments)]) == ([7] if is_server else [])


@pytest.mark.parametrize("content", ["", "\n", "12 34", "-1", "0", "0x10", "9" * 30, "\udcff"])
def test_pid_files_that_name_no_process(tmp_path: Path, content: str) -> None:
    """Above all none that would reach a whole process group."""
    path = tmp_path / "pid"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigError, match=r"^invalid pid: "):
        send_signal(f"term={path}")
