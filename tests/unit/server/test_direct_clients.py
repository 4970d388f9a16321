"""Whether clients are served past the nats-server, where that depends on which nats-server it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nats_streaming.nats.binary import BINARY_VARIABLE
from nats_streaming.server.direct_clients import why_not_direct
from nats_streaming.server.settings.options import NatsOptions, Options

KNOWS_NOT = "this nats-server knows no PROXY protocol"
OLD = """#!/bin/sh
echo 'nats-server: unknown field "proxy_protocol"' >&2
exit 1
"""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nats-server that knows less."""
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    binary = tmp_path / "nats-server"
    binary.write_text(OLD)
    binary.chmod(0o755)
    return binary


def test_one_that_was_named(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not_direct(Options()) == ""
    assert why_not_direct(Options(nats=NatsOptions(binary=str(old)))) == KNOWS_NOT
    monkeypatch.setenv(BINARY_VARIABLE, str(old))
    assert why_not_direct(Options()) == KNOWS_NOT


def test_the_system_s_beside_the_system_s_python(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(old.with_name("python3")))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert why_not_direct(Options()) == KNOWS_NOT
