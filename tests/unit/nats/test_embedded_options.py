from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from nats_streaming.errors import NatsServerError
from nats_streaming.nats.binary import find_nats_server
from nats_streaming.nats.embedded_options import EmbeddedOptions, quote_value, server_arguments, server_config
from nats_streaming.nats.private_config import PrivateConfig

SECRETS = EmbeddedOptions(user="bob", password="s3cr3t", token="t0k3n", name="n", http_port=-1)


def test_arguments() -> None:
    assert server_arguments(EmbeddedOptions(), "F") == ["-c", "F", "-a", "0.0.0.0", "-p", "4222"]
    options = EmbeddedOptions(
        host="::1", port=-1, http_port=8222, debug=True, trace=True, trace_verbose=True, arguments=["-js"]
    )
    assert server_arguments(options, "F") == [
        *("-c", "F", "-a", "::1", "-p", "-1", "-m", "8222"),
        *("-D", "-V", "-VV", "-js"),
    ]
    assert server_arguments(EmbeddedOptions(host=None, port=None, config_text="port: 1"), "F") == ["-c", "F"]


def test_secrets_are_not_in_the_arguments() -> None:
    assert not {"bob", "s3cr3t", "t0k3n"} & set(" ".join(server_arguments(SECRETS, "F")).split())


def test_config() -> None:
    assert server_config(EmbeddedOptions()) == 'max_pending: 268435456; write_deadline: "30s"; \n'
    assert server_config(SECRETS).splitlines()[1:] == [
        'server_name: "n"',
        'http: "127.0.0.1:-1"',
        'authorization { user: "bob", password: "s3cr3t", token: "t0k3n" }',
    ]


def test_line_numbers_of_the_user_s_text_are_kept() -> None:
    lines = server_config(EmbeddedOptions(config_text="a: 1\nb: 2\n\n", name="n")).splitlines()
    assert lines[0].endswith("; a: 1")
    assert lines[1:] == ["b: 2", 'server_name: "n"']


def test_quoting() -> None:
    assert quote_value('a"b\\c\nd$e') == '"a\\"b\\\\c\\nd$e"'


def test_ipv6_monitor() -> None:
    assert 'http: "[::1]:8222"' in server_config(EmbeddedOptions(http_port=8222, http_host="::1"))


@pytest.mark.parametrize("in_memory", [True, False])
def test_private_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_memory: bool) -> None:
    if in_memory and not hasattr(os, "memfd_create"):
        pytest.skip("no files in memory here")
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = PrivateConfig("password: long text\n")
    path = Path(config.path)
    assert path.read_text() == "password: long text\n"
    config.write("short\n")
    assert path.read_text() == "short\n"
    if in_memory:
        assert list(config.inherited) == [int(path.name)]
    else:
        assert config.inherited == ()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    config.close()
    config.close()
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_where_the_binary_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "nats-server"
    variable = "NATS_STREAMING_NATS_SERVER_BINARY"
    for directory in ("python", "path", "other"):
        (tmp_path / directory).mkdir()
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python" / "python3"))
    monkeypatch.setattr("nats_streaming.nats.binary.DISTRIBUTION", "no-such-distribution")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    with pytest.raises(NatsServerError, match=r"^nats-server binary not found: install "):
        find_nats_server()
    in_path = executable(tmp_path / "path" / name)
    assert find_nats_server() == str(in_path)
    beside = executable(tmp_path / "python" / name)
    assert find_nats_server() == str(beside)
    by_variable = executable(tmp_path / "other" / "variable")
    monkeypatch.setenv(variable, str(by_variable))
    assert find_nats_server() == str(by_variable)
    by_option = executable(tmp_path / "other" / "option")
    assert find_nats_server(str(by_option)) == str(by_option)
    assert find_nats_server(name) == str(in_path)


def test_the_installed_distribution_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NATS_STREAMING_NATS_SERVER_BINARY", raising=False)
    assert os.access(find_nats_server(), os.X_OK)


def test_a_named_binary_must_be_usable(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(NatsServerError) as caught:
        find_nats_server(str(missing))
    assert str(caught.value) == f"nats-server binary not found: {missing}"
    plain = tmp_path / "plain"
    plain.write_text("")
    plain.chmod(0o644)
    for unusable in (plain, tmp_path):
        with pytest.raises(NatsServerError) as caught:
            find_nats_server(str(unusable))
        assert str(caught.value) == f"nats-server binary is not executable: {unusable}"
