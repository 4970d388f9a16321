"""Syslog over every way there is, with real sockets."""

from __future__ import annotations

import re
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.server.logs import syslog as log_syslog
from nats_streaming.server.logs.syslog import local_syslog, remote_syslog

PATIENCE_S = 30.0


@contextmanager
def receiver(family: int, kind: int, address: object) -> Iterator[socket.socket]:
    with socket.socket(family, kind) as found:
        found.settimeout(PATIENCE_S)
        found.bind(address)
        if kind == socket.SOCK_STREAM:
            found.listen()
        yield found


def test_udp_sends_a_packet_per_line() -> None:
    with receiver(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) as server:
        syslog = remote_syslog(f"udp://127.0.0.1:{server.getsockname()[1]}")
        syslog.write(deque([b"one\n", b"two\n"]))
        assert [server.recv(100), server.recv(100)] == [b"one\n", b"two\n"]
        syslog.close()


def test_tcp_connects_again() -> None:
    with receiver(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)) as server:
        syslog = remote_syslog(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        first, _ = server.accept()
        first.settimeout(PATIENCE_S)
        syslog.write(deque([b"one\n"]))
        assert first.recv(100) == b"one\n"
        # Unread data makes the close a reset, which the next writes notice.
        syslog.write(deque([b"lost\n"]))
        first.close()
        waiting = deque(b"%d\n" % number for number in range(100))
        syslog.write(waiting)
        second, _ = server.accept()
        second.settimeout(PATIENCE_S)
        received = b""
        while not received.endswith(b"99\n"):
            received += second.recv(4096)
        syslog.close()
        second.close()


def test_a_stream_that_is_gone_is_an_error_and_keeps_the_line() -> None:
    with receiver(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)) as server:
        syslog = remote_syslog(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        server.accept()[0].close()
    waiting = deque(b"%d\n" % number for number in range(100))
    with pytest.raises(OSError, match="refused"):
        syslog.write(waiting)
    assert waiting[-1] == b"99\n"
    with pytest.raises(OSError, match="refused"):
        syslog.write(waiting)
    syslog.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_local_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    path = str(tmp_path / "log")
    monkeypatch.setattr(log_syslog, "LOCAL_PATHS", (str(tmp_path / "none"), path))
    with receiver(socket.AF_UNIX, kind, path) as server:
        syslog = local_syslog()
        peer = server.accept()[0] if kind == socket.SOCK_STREAM else server
        peer.settimeout(PATIENCE_S)
        syslog.write(deque([b"one\n"]))
        assert peer.recv(100) == b"one\n"
        syslog.close()
        if peer is not server:
            peer.close()


def test_a_machine_without_syslog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_syslog, "LOCAL_PATHS", ())
    with pytest.raises(ConfigError, match=r'^error connecting to syslog: "Unix syslog delivery error"$'):
        local_syslog()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("foo", 'error invalid network type: ""'),
        ("http://x:1", 'error invalid network type: "http"'),
        ("udp://127.0.0.1", 'error connecting to syslog: "dial udp: address 127.0.0.1: missing port in address"'),
        ("udp://127.0.0.1:99999", 'error connecting to syslog: "dial udp: address 127.0.0.1:99999: invalid port"'),
        ("unix:///nosuch", 'error connecting to syslog: "dial unix /nosuch: no such file or directory"'),
        ("tcp://127.0.0.1:1", 'error connecting to syslog: "dial tcp 127.0.0.1:1: connection refused"'),
    ],
)
def test_urls_that_lead_nowhere(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}"):
        remote_syslog(url)
