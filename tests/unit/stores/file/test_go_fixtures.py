"""Directories that the original wrote are read as its manifests say, and stay as they are."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.file.record import MESSAGE_OVERHEAD_BYTES
from nats_streaming.stores.state import StoredChannel
from tests.support.stan_messages import MsgProto

from .directory import Opened, read_all, reopen

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
SERVER_FIELDS = [
    ("cluster_id", "cluster_id"),
    ("discovery", "discovery"),
    ("publish", "publish"),
    ("subscribe", "subscribe"),
    ("unsubscribe", "unsubscribe"),
    ("close", "close"),
    ("subscription_close", "sub_close"),
    ("acks_subjects", "acks_subs"),
    ("node_id", "node_id"),
]
PLAIN, ENCRYPTED = "go-filestore-v0.25.6", "go-filestore-encrypted-aes-v0.25.6"


def unpack(name: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    manifest = json.loads((FIXTURES / f"{name}.json").read_text())
    tarball = FIXTURES / manifest["tarball"]
    assert hashlib.sha256(tarball.read_bytes()).hexdigest() == manifest["sha256"]
    with tarfile.open(tarball) as archive:
        archive.extractall(directory, filter="data")
    return directory / manifest["top_directory"], manifest


def check_server_and_clients(opened: Opened, manifest: dict[str, Any]) -> None:
    server, wanted = opened.state.server, manifest["server"]
    assert server is not None
    assert [getattr(server, ours) for ours, _ in SERVER_FIELDS] == [wanted[its].encode() for _, its in SERVER_FIELDS]
    clients = {
        info.id: (info.heartbeat_inbox, info.connection_id, info.protocol, info.ping_interval, info.ping_max_out)
        for info in opened.state.clients.values()
    }
    assert clients == {
        each["id"].encode(): (
            each["hb_inbox"].encode(),
            each["conn_id"].encode(),
            each["protocol"],
            each["ping_interval"],
            each["ping_max_out"],
        )
        for each in manifest["clients"]
    }


def check_subscriptions(stored: StoredChannel, wanted: list[dict[str, Any]]) -> None:
    assert {each: (sub.state, sorted(sub.pending)) for each, sub in stored.subscriptions.items()} == {
        each["id"]: (
            SubscriptionState(
                each["id"],
                each["client_id"].encode(),
                each["q_group"].encode(),
                each["inbox"].encode(),
                each["ack_inbox"].encode(),
                each["max_in_flight"],
                each["ack_wait_in_secs"],
                each["durable_name"].encode(),
                each["last_sent"],
                each["is_durable"],
                each["is_closed"],
            ),
            sorted(each["pending"]),
        )
        for each in wanted
    }


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".stan"
    }


@pytest.mark.store_spec(34)
def test_the_plain_directory_equals_its_manifest(tmp_path: Path) -> None:
    directory, manifest = unpack(PLAIN, tmp_path)
    before = files_of(directory)
    with reopen(directory) as opened:
        assert opened.texts == []
        check_server_and_clients(opened, manifest)
        assert {name.decode() for name in opened.state.channels} == set(manifest["channels"])
        for name, wanted in manifest["channels"].items():
            stored = opened.state.channels[name.encode()]
            numbers = wanted["without_limits"]
            assert (stored.first, stored.last, stored.count) == (numbers["first"], numbers["last"], numbers["count"])
            assert stored.size + MESSAGE_OVERHEAD_BYTES * stored.count == numbers["bytes"]
            assert stored.last_subscription_id == wanted["max_sub_id_on_disk"]
            check_subscriptions(stored, wanted["subscriptions"])
            channel = opened.root.channel(name.encode())
            assert channel is not None
            found = {}
            for sequence, message in read_all(channel).items():
                proto = MsgProto.FromString(message)
                assert proto.sequence == sequence
                found[sequence] = (proto.subject.decode(), proto.reply.decode(), proto.timestamp, proto.data.hex())
            assert found == {
                each["seq"]: (each["subject"], each["reply"], each["timestamp"], each["data_hex"])
                for each in wanted["messages"]
            }
    assert files_of(directory) == before


@pytest.mark.store_spec(34)
def test_what_limits_left_stays_after_a_restart_without_them(tmp_path: Path) -> None:
    """The engine drops by limits; once dropped, the messages are gone, which the original does not keep."""
    directory, manifest = unpack(PLAIN, tmp_path)
    with reopen(directory) as opened:
        for name, wanted in manifest["channels"].items():
            channel = opened.root.channel(name.encode())
            assert channel is not None
            channel.drop_until(wanted["with_limits"]["first"])
    with reopen(directory) as opened:
        for name, wanted in manifest["channels"].items():
            stored = opened.state.channels[name.encode()]
            numbers = wanted["with_limits"]
            assert (stored.first, stored.last, stored.count) == (numbers["first"], numbers["last"], numbers["count"])
            assert stored.size + MESSAGE_OVERHEAD_BYTES * stored.count == numbers["bytes"]
            channel = opened.root.channel(name.encode())
            assert channel is not None
            alive = [each["seq"] for each in wanted["messages"] if each["alive_with_limits"]]
            assert list(read_all(channel)) == alive


@pytest.mark.store_spec(34)
def test_the_encrypted_directory_holds_what_its_manifest_says(tmp_path: Path) -> None:
    directory, manifest = unpack(ENCRYPTED, tmp_path)
    with reopen(directory) as opened:
        assert opened.texts == []
        check_server_and_clients(opened, manifest)
        for name, wanted in manifest["channels"].items():
            stored = opened.state.channels[name.encode()]
            assert (stored.first, stored.last, stored.count) == (wanted["first"], wanted["last"], wanted["count"])
            assert stored.size + MESSAGE_OVERHEAD_BYTES * stored.count == wanted["bytes"]
            channel = opened.root.channel(name.encode())
            assert channel is not None
            found = {
                sequence: MsgProto.FromString(message).data.hex() for sequence, message in read_all(channel).items()
            }
            assert found == {each["seq"]: each["stored_hex"] for each in wanted["messages"]}


@pytest.mark.store_spec(38)
@pytest.mark.parametrize("name", ["foo", "limited", "durables"])
def test_an_index_that_is_missing_is_built_byte_for_byte(tmp_path: Path, name: str) -> None:
    directory, _ = unpack(PLAIN, tmp_path)
    before = files_of(directory)
    indexes = list((directory / name).glob("*.idx"))
    for position, index in enumerate(indexes):
        if position:
            index.unlink()
        else:
            index.write_bytes(index.read_bytes()[:4])
    with reopen(directory) as opened:
        assert opened.texts == []
    assert files_of(directory) == before
