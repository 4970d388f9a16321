"""The NATS part: what we take from it, what nats-server gets, and what it is told instead."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import parse_config
from nats_streaming.server.settings.config_keys import OUR_NATS_KEYS
from nats_streaming.server.settings.config_values import Findings
from nats_streaming.server.settings.nats_config import apply_nats, nats_server_config
from nats_streaming.server.settings.options import NatsOptions, Options


def read(text: str) -> tuple[Options, list[str]]:
    """The options, and the names of what is passed on."""
    options = Options()
    passed = apply_nats(parse_config(text, "f.conf"), options, Findings())
    return options, list(passed)


def written(text: str, **flagged: str) -> str:
    nats = NatsOptions(flagged=frozenset(flagged), **flagged)  # type: ignore[arg-type]
    return nats_server_config(apply_nats(parse_config(text, "f.conf"), Options(), Findings()), nats).text


@pytest.mark.parametrize(
    ("text", "target", "value", "is_passed"),
    [
        ("port: 4333", "nats.port", 4333, True),
        ("HOST: h", "nats.host", "h", True),
        ("net: h", "nats.host", "h", True),
        ("listen: 4333", "nats.port", 4333, True),
        ('listen: "h:4333"', "nats.host", "h", True),
        ('listen: "h:4333"', "nats.port", 4333, True),
        ('listen: "[::1]:4333"', "nats.host", "::1", True),
        ('listen: ":4333"', "nats.host", "0.0.0.0", True),
        ("server_name: n", "nats.name", "n", True),
        ("debug: true", "nats.debug", True, True),
        ("trace: true", "nats.trace", True, True),
        ("trace_verbose: true", "nats.trace_verbose", True, True),
        ("authorization { user: u, pass: p }", "nats.user", "u", True),
        ("authorization { user: u, pass: p }", "nats.password", "p", True),
        ("authorization { username: u, password: p }", "nats.password", "p", True),
        ("authorization { token: t }", "nats.token", "t", True),
        ("authorization { user: u, password: $2a$11$x }", "nats.password", "", True),
        ("authorization { users [ { user: u, password: p } ] }", "nats.user", "", True),
        ("authorization: x", "nats.user", "", True),
        ("http: 8222", "nats.http_port", 8222, False),
        ('http: "localhost:8222"', "nats.http_host", "localhost", False),
        ('https: "localhost:8222"', "nats.https_port", 8222, False),
        ("http_port: 8222", "nats.http_port", 8222, False),
        ("monitor_port: 8222", "nats.http_port", 8222, False),
        ("pid_file: f", "pid_file", "f", False),
        ("pidfile: f", "pid_file", "f", False),
        ("ports_file_dir: d", "ports_file_dir", "d", False),
        ("log_file: f", "log.file", "f", False),
        ("logfile: f", "log.file", "f", False),
        ("logtime: false", "log.timestamps", False, False),
        ("logtime_utc: true", "log.utc", True, False),
    ],
)
def test_what_we_take(text: str, target: str, value: Any, is_passed: bool) -> None:
    options, passed = read(text)
    assert attrgetter(target)(options) == value
    assert bool(passed) == is_passed


def test_what_is_passed_on_is_nats_s_alone() -> None:
    text = "cid: x, store: FILE, limits {}, V: 5, streaming {}, max_payload: $V, TLS {}, what: 5, accounts { A {} }"
    assert read(text)[1] == ["max_payload", "TLS", "accounts"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('port: "4222"', 'f.conf:1:7: parameter "port" value is expected to be int64, got string'),
        ("debug: 1", 'f.conf:1:8: parameter "debug" value is expected to be bool, got int64'),
        ("pid_file: 5", 'f.conf:1:11: parameter "pid_file" value is expected to be string, got int64'),
        ("http: {}", "f.conf:1:7: http must be a port, or an address with a port"),
        ("http: true", "f.conf:1:7: http must be a port, or an address with a port"),
        ("listen: localhost", "f.conf:1:9: listen must be a port, or an address with a port"),
        ('listen: "h:x"', "f.conf:1:9: listen must be a port, or an address with a port"),
    ],
)
def test_what_we_need_is_checked(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(told)


def test_keys_done_by_us_never_reach_nats_server() -> None:
    for key in OUR_NATS_KEYS:
        for name in key.names:
            sample = {"string": '"x"', "int": "1", "bool": "true"}[key.flag.kind]
            assert read(f"{name}: {sample}")[1] == []


def one_line(text: str) -> str:
    return " ".join(text.split())


class TestCredentialsOfFlags:
    def test_they_replace_those_of_the_file_one_by_one(self) -> None:
        text = "authorization { username: a, password: b, timeout: 2 }"
        assert one_line(written(text)) == 'authorization: { username: "a" password: "b" timeout: 2 }'
        assert one_line(written(text, user="x")) == 'authorization: { password: "b" timeout: 2 user: "x" }'

    def test_they_stand_alone_without_any(self) -> None:
        assert one_line(written("port: 1", user="x", password="y")) == (
            'port: 1 authorization: { user: "x" password: "y" }'
        )

    def test_a_list_of_users_stays(self) -> None:
        text = "authorization { users [ { user: a, password: b } ] }"
        assert written(text, user="a", password="b") == written(text)

    def test_only_what_flags_have_set(self) -> None:
        nats = NatsOptions(user="a", password="b")
        settings = apply_nats(parse_config("authorization { user: a, password: b }", "f"), Options(), Findings())
        assert nats_server_config(settings, nats) == nats_server_config(settings, NatsOptions())
