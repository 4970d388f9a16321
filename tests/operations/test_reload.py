"""SIGHUP: the embedded nats-server reads its part of the file again, streaming keeps what it was told at its start."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import ServerProcess, free_port

Start = Callable[..., ServerProcess]


def reload(server: ServerProcess) -> int:
    """Send the signal; returns how much was in the log before."""
    size = len(server.log())
    os.kill(server.pid, signal.SIGHUP)
    return size


@pytest.mark.operations(27)
@pytest.mark.parametrize("flag", ["-c", "-sc"])
def test_the_nats_part_is_read_again(start: Start, tmp_path: Path, flag: str) -> None:
    (tmp_path / "part.conf").write_text("debug: false\n")
    file = tmp_path / "stan.conf"
    port = free_port()
    text = (
        f"host: 127.0.0.1, port: {port}\ninclude part.conf\n"
        + "streaming { cid: first, sd: false, limits { mm: 5 } }\n"
    )
    file.write_text(text)
    server = start(flag, str(file), listens_by_file=True, port=port)

    (tmp_path / "part.conf").write_text("debug: true\nmax_payload: 2MB\n")
    file.write_text(text.replace("first", "second").replace("mm: 5", "mm: 6").replace("sd: false", "sd: true"))
    before = reload(server)
    server.wait_for_log("Reloaded server configuration", since=before)
    told = server.log()[before:]
    assert "Reloaded: debug = true" in told
    assert "Reloaded: max_payload = 2097152" in told
    assert "[DBG] STREAM:" not in told

    (tmp_path / "part.conf").write_text("debug: true\nmax_payload: 2MB\nno_such_field: 1\nping_max: many\n")
    before = reload(server)
    assert server.wait_for_log(r"part\.conf:4:1: .*", since=before)

    file.write_text(text.replace(str(port), str(free_port())))
    (tmp_path / "part.conf").write_text("")
    before = reload(server)
    server.wait_for_log(f"config reload not supported for Port: old={port}, new=", since=before)

    file.write_text(text + "port: [\n")
    before = reload(server)
    server.wait_for_log(r"\[ERR\] STREAM: Reload: .*stan\.conf:4:7: this array has no closing", since=before)

    file.unlink()
    before = reload(server)
    server.wait_for_log(r"\[ERR\] STREAM: Reload: open .*stan\.conf: no such file", since=before)

    file.write_text(text)
    (tmp_path / "part.conf").write_text("")
    before = reload(server)
    server.wait_for_log("Reloaded: debug = false", since=before)


@pytest.mark.operations(27)
def test_flags_keep_winning(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "stan.conf"
    file.write_text("debug: false\nauthorization { user: a, password: b }\n")
    server = start("-c", str(file), "-D", "-user", "x", "-pass", "y")
    file.write_text("debug: false\nmax_payload: 2MB\nauthorization { user: c, password: d }\n")
    before = reload(server)
    server.wait_for_log("Reloaded: max_payload", since=before)
    assert "Reloaded: debug" not in server.log()[before:]
    assert "uthorization Violation" not in server.log()
