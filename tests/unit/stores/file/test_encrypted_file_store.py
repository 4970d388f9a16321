"""Encryption over the FILE store: the original's encrypted directory, and what is in our files.

Source: stores specification, section 6, and its checklist, entries 75 to 81.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import SubscriptionState
from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import SubscriptionPut
from nats_streaming.stores.encrypted import AES, CHACHA, EncryptedStore
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.store_suite import START_NS, STEP_NS, StoreSuite, make_run
from tests.unit.stores.test_encrypted_store import KEY, payload_of

from .test_go_fixtures import ENCRYPTED, unpack

WRONG_KEY = hashlib.sha256(b"wrong").digest()


def opened(directory: Path, key: bytes = KEY, cipher: str = AES) -> EncryptedStore:
    return EncryptedStore(FileStore({"directory": str(directory)}), key, cipher)


class TestEncryptedFileStore(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return opened(directory)

    # Its sizes are those of what is encrypted.
    def check_totals(self, channel: Any, first: int, last: int, count: int, *_: int) -> None:
        assert (channel.first, channel.last, channel.count) == (first, last, count)

    test_any_history_amounts_to_what_the_model_says = None


@pytest.mark.store_spec(34)
def test_the_directory_of_the_original(tmp_path: Path) -> None:
    directory, manifest = unpack(ENCRYPTED, tmp_path)

    async def body() -> None:
        store = opened(directory)
        state = await store.recover()
        assert state is not None
        count = 0
        for name, wanted in manifest["channels"].items():
            channel = name.encode()
            assert (state.channels[channel].first, state.channels[channel].last) == (wanted["first"], wanted["last"])
            for message in wanted["messages"]:
                count += 1
                if "lookup_error" in message:
                    with pytest.raises(StoreError) as raised:
                        await store.read(channel, message["seq"], 1)
                    assert str(raised.value) == message["lookup_error"]
                    continue
                found = payload_of(await store.read(channel, message["seq"], 1), message["seq"])
                assert found == bytes.fromhex(message["plaintext_hex"])
        assert count == 10
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(78)
def test_the_directory_of_the_original_with_a_wrong_key(tmp_path: Path) -> None:
    directory, manifest = unpack(ENCRYPTED, tmp_path)

    async def body() -> None:
        store = opened(directory, WRONG_KEY)
        assert await store.recover() is not None
        for name, wanted in manifest["channels"].items():
            for message in wanted["messages"]:
                if message["cipher"] is None:
                    continue
                with pytest.raises(StoreError, match="message authentication failed"):
                    await store.read(name.encode(), message["seq"], 1)
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(76)
def test_what_is_on_the_disk(tmp_path: Path) -> None:
    async def body() -> None:
        store = opened(tmp_path)
        await store.recover()
        state = SubscriptionState(id=1, client_id=b"me", inbox=b"_INBOX.clear", ack_inbox=b"_INBOX.also-clear")
        store.stage([make_run(b"foo", 1, [b"what nobody may read"]), SubscriptionPut(b"foo", state)])
        await store.commit()
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or b"nobody" not in path.read_bytes()
        await store.close()
        contents = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert not any(b"nobody" in content for content in contents.values())
        assert b"_INBOX.also-clear" in contents["subs.dat"]
        assert "msgs.1.dat" in contents

    asyncio.run(body())


@pytest.mark.store_spec(77)
def test_ciphers_change_over_restarts(tmp_path: Path) -> None:
    async def body() -> None:
        for first, cipher in ((1, AES), (2, CHACHA), (3, None), (4, AES)):
            inner = FileStore({"directory": str(tmp_path)})
            store: Store = EncryptedStore(inner, KEY, cipher) if cipher else inner
            await store.recover()
            store.stage([make_run(b"foo", first, [b"number %d" % first], START_NS + first * STEP_NS)])
            await store.commit()
            await store.close()
        store = opened(tmp_path)
        await store.recover()
        segment = await store.read(b"foo", 1, 10)
        assert [payload_of(segment, number) for number in range(1, 5)] == [b"number %d" % n for n in range(1, 5)]
        await store.close()

    asyncio.run(body())


@pytest.mark.store_spec(81)
def test_the_counter_of_the_nonce(tmp_path: Path) -> None:
    async def body() -> None:
        store = opened(tmp_path)
        await store.recover()
        store.stage([make_run(b"foo", 1, [b"x"] * 200)])
        await store.commit()
        await store.close()
        store = opened(tmp_path)
        await store.recover()
        store.stage([make_run(b"foo", 201, [b"y"], START_NS + 10**9)])
        await store.commit()
        await store.close()
        plain = FileStore({"directory": str(tmp_path)})
        await plain.recover()
        assert payload_of(await plain.read(b"foo", 201, 1), 201)[12] == 201
        await plain.close()

    asyncio.run(body())
