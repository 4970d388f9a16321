"""`doctor` as somebody at a terminal meets it; what it finds is held by tests/unit/stores/file/test_inspection.py."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from nats_streaming.cli.exits import ExitCode
from tests.support.servers import running_server

from .tool import run, run_json

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEY = "fixture-secret-key"


@pytest.fixture
def go_store(tmp_path: Path) -> Path:
    return unpacked("go-filestore-v0.25.6", tmp_path)


@pytest.fixture
def encrypted_store(tmp_path: Path) -> Path:
    return unpacked("go-filestore-encrypted-aes-v0.25.6", tmp_path)


def unpacked(name: str, to: Path) -> Path:
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
        archive.extractall(to, filter="data")
    return to / name


def test_a_sound_store(go_store: Path) -> None:
    shown = run("doctor", str(go_store)).stdout
    assert "cluster fixture" in shown
    assert "3 registered when the server stopped: alice, bob, carol" in shown
    assert "foo.bar.baz" in shown
    assert "durable queue, offline" in shown
    assert shown.endswith("Verdict    sound\n")


def test_json(go_store: Path) -> None:
    found = run_json("doctor", str(go_store))
    assert found["verdict"] == "sound"
    assert found["is_sound"] is True
    channels = {channel["name"]: channel for channel in found["inspection"]["channels"]}
    assert (channels["limited"]["first"], channels["limited"]["last"], channels["limited"]["messages"]) == (5, 12, 8)


def test_damage_is_shown_and_ends_with_its_code(go_store: Path) -> None:
    data = go_store / "queue" / "msgs.1.dat"
    content = bytearray(data.read_bytes())
    content[30] ^= 0x10
    data.write_bytes(content)
    torn = go_store / "foo" / "msgs.3.dat"
    torn.write_bytes(torn.read_bytes()[:-3])
    shown = run("doctor", str(go_store), code=ExitCode.DAMAGED).stdout
    assert "queue 1: file" in shown
    assert "corrupted data, expected crc" in shown
    assert "foo/msgs.3.dat.corrupt-1" in shown
    assert "would not start: unable to recover message store for [foo]" in shown
    assert shown.endswith("Verdict    damaged\n")
    found = run_json("doctor", str(go_store), code=ExitCode.DAMAGED)
    assert found["verdict"] == "damaged"


def test_a_key_is_tried(encrypted_store: Path) -> None:
    shutil.rmtree(encrypted_store / "mixed")
    assert "perhaps 4" in run("doctor", str(encrypted_store)).stdout
    variable = {"NATS_STREAMING_ENCRYPTION_KEY": KEY}
    assert "4, decrypted 4" in run("doctor", str(encrypted_store), **variable).stdout
    shown = run("doctor", str(encrypted_store), "--encryption-key", "wrong", code=ExitCode.DAMAGED).stdout
    assert "message 1 cannot be decrypted" in shown


def test_a_directory_in_use(tmp_path: Path) -> None:
    with running_server("-st", "FILE", "-dir", str(tmp_path)) as server:
        shown = run("doctor", str(tmp_path), code=ExitCode.IN_USE)
        assert f"in use by process {server.pid}" in shown.stderr
        assert "stop that server" in shown.stderr
    run("doctor", str(tmp_path))


def test_what_is_no_store(tmp_path: Path) -> None:
    assert "holds no FILE store" in run("doctor", str(tmp_path), code=ExitCode.FAILED).stderr
    assert "does not exist" in run("doctor", str(tmp_path / "x"), code=ExitCode.FAILED).stderr
