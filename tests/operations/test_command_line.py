"""The command line as an operator types it: what is printed where, and the exit status."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import ServerProcess, run_to_end

VERSION_LINE = re.compile(r"nats-streaming-server version [^\n]*nats-server: v\d+\.\d+\.\d+[^\n]*\n")


@pytest.mark.operations(1)
@pytest.mark.parametrize("word", ["-v", "--version", "version", "VERSION"])
def test_the_version_is_one_line(word: str) -> None:
    ended = run_to_end(word)
    assert (ended.status, ended.err) == (0, "")
    assert VERSION_LINE.fullmatch(ended.out)


@pytest.mark.operations(2)
def test_an_unknown_flag_is_one_message_and_a_failure() -> None:
    ended = run_to_end("-max_chanels", "3")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[:2] == [
        "flag provided but not defined: -max_chanels",
        "did you mean -max_channels?",
    ]


@pytest.mark.operations(3)
@pytest.mark.parametrize(
    ("arguments", "first_line"),
    [
        (["-cid"], "flag needs an argument: -cid"),
        (["-max_channels", "abc"], 'invalid value "abc" for flag -max_channels: parse error'),
        (["-SD=maybe"], 'invalid boolean value "maybe" for -SD: parse error'),
        (["-hbi", "5"], 'invalid value "5" for flag -hbi: parse error'),
        (["-mc", "9223372036854775808"], 'invalid value "9223372036854775808" for flag -mc: value out of range'),
        (["---x"], "bad flag syntax: ---x"),
    ],
)
def test_a_bad_value_is_one_message_and_a_failure(arguments: list[str], first_line: str) -> None:
    ended = run_to_end(*arguments)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == first_line
    assert "-help" in ended.err


@pytest.mark.operations(4)
def test_a_boolean_does_not_take_the_next_word() -> None:
    ended = run_to_end("-SD", "true")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[:2] == [
        'unrecognized command: "true"',
        "a true or false for -SD goes behind an equals sign: -SD=true",
    ]


@pytest.mark.operations(5)
def test_sizes(start: Callable[..., ServerProcess]) -> None:
    ended = run_to_end("-mb", "12abc")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("mb should be a size, got '12abc'\n")
    log = start("-max_bytes", "5k", "-mb", "2k", "-max_bytes", "6k").log()
    assert re.search(r"Bytes +: +1\.95 KB$", log, re.MULTILINE)


@pytest.mark.operations(81)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-tls"], "TLS Server certificate must be present and valid"),
        (["-tlsverify"], "TLS Server certificate must be present and valid"),
        (["-tlskey", "k"], "TLS Server certificate must be present and valid"),
        (["-tlscert", "c"], "TLS Server private key must be present and valid"),
        (["-tls_client_cacert", "ca"], "TLS Server certificate must be present and valid"),
        (["-ns", "nats://h:1", "-tls_client_cert", "c"], "TLS Server certificate must be present and valid"),
    ],
)
def test_any_flag_that_begins_with_tls_asks_for_tls_of_clients(arguments: list[str], told: str) -> None:
    ended = run_to_end(*arguments)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(told)


def test_the_embedded_server_gets_the_tls_flags(tmp_path: Path) -> None:
    ended = run_to_end("-p", "-1", "-tlscert", f"{tmp_path}/c.pem", "-tlskey", f"{tmp_path}/k.pem")
    assert ended.status == 1
    assert f"open {tmp_path}/c.pem: no such file or directory" in ended.err


def test_routes_need_a_cluster(tmp_path: Path) -> None:
    ended = run_to_end("-routes", "nats://h:1")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("solicited routes require cluster capabilities, e.g. --cluster\n")


def test_help_of_tls_is_nats_server_s() -> None:
    ended = run_to_end("--help_tls")
    assert (ended.status, ended.err) == (0, "")
    assert "cipher_suites" in ended.out
    assert "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" in ended.out


def test_help_has_the_original_s_groups() -> None:
    for word in ("-h", "--help", "help"):
        ended = run_to_end(word)
        assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[:2] == ["", "Usage: nats-streaming-server [options]"]
    groups = [line.removesuffix(":") for line in lines if line.endswith("Options:")]
    assert groups == [
        "Streaming Server Options",
        "Streaming Server Clustering Options",
        "Streaming Server File Store Options",
        "Streaming Server SQL Store Options",
        "Streaming Server TLS Options",
        "Streaming Server Logging Options",
        "Embedded NATS Server Options",
        "Logging Options",
        "JetStream Options",
        "Authorization Options",
        "TLS Options",
        "NATS Clustering Options",
        "Common Options",
    ]


class TestPortsFile:
    def test_it_lists_the_ports_in_use(self, start: Callable[..., ServerProcess], tmp_path: Path) -> None:
        server = start("-p", "-1", "-a", "127.0.0.1", "--ports_file_dir", str(tmp_path), external=True)
        (path,) = tmp_path.iterdir()
        assert path.name == f"nats-streaming-server_{server.pid}.ports"
        ports = json.loads(path.read_text())
        address = re.search(r"Listening for client connections on (127\.0\.0\.1:\d+)", server.log())
        assert address
        assert ports["nats"] == [f"nats://{address[1]}"]
        assert server.stop(signal.SIGINT) == 0
        assert list(tmp_path.iterdir()) == []
        assert "[ERR]" not in server.log()

    def test_its_directory_must_be_there(self, tmp_path: Path) -> None:
        ended = run_to_end("-p", "-1", "--ports_file_dir", f"{tmp_path}/none")
        assert ended.status == 1
        assert f"ports_file_dir: there is no directory {tmp_path}/none" in ended.err
