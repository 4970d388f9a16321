"""Encryption at rest over MEMORY: the format, the keys, and that the wrapper is a store like any other.

Source: stores specification, section 6, and its checklist, entries 75 to 81.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.protocol.protobuf import FieldReader
from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import ChannelRemoved
from nats_streaming.stores.encrypted import AES, CHACHA, KEY_VARIABLE, EncryptedStore, cipher_name, master_key
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.stores.segment import Segment
from nats_streaming.testing.faulty_store import FaultyStore
from nats_streaming.testing.recoverable_store import Journal, RecoverableMemoryStore
from nats_streaming.testing.store_suite import StoreSuite, make_run

KEY = hashlib.sha256(b"fixture-secret-key").digest()


class TestEncryptedMemoryStore(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return EncryptedStore(MemoryStore(), KEY, AES)


class TestEncryptedMemoryStoreWithChaCha(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return EncryptedStore(MemoryStore(), KEY, CHACHA)


def payload_of(segment: Segment | None, sequence: int) -> bytes:
    """Field 4 of a message, empty when it has none."""
    assert segment is not None
    message = segment.message(sequence)
    assert message is not None
    reader = FieldReader()
    reader.open(message, 0, len(message))
    while reader.next_field() == 1:
        if reader.number == 4:
            return message[reader.start : reader.stop]
    return b""


async def put(store: Store, *payloads: bytes, channel: bytes = b"secret", first: int = 1) -> None:
    store.stage([make_run(channel, first, list(payloads))])
    await store.commit()


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.mark.store_spec(75)
def test_the_given_key_is_wiped() -> None:
    given = bytearray(b"fixture-secret-key")
    assert master_key(given) == KEY
    assert given == b"x" * 18


@pytest.mark.store_spec(75)
def test_no_key() -> None:
    with pytest.raises(ConfigError, match=r"^encryption key required$"):
        master_key(bytearray())


@pytest.mark.store_spec(75)
def test_the_variable_beats_the_given_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "fixture-secret-key")
    given = bytearray(b"another")
    assert master_key(given) == KEY
    assert given == b"xxxxxxx"
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert master_key(bytearray(b"fixture-secret-key")) == KEY


@pytest.mark.store_spec(75)
def test_cipher_names() -> None:
    assert (cipher_name("aes"), cipher_name("ChaCha")) == (AES, CHACHA)
    assert cipher_name("") in (AES, CHACHA)
    with pytest.raises(ConfigError, match=r"^encryption cipher not supported$"):
        cipher_name("DES")


@pytest.mark.store_spec(80)
@pytest.mark.parametrize(("cipher", "marker", "aead"), [(AES, 1, AESGCM), (CHACHA, 2, ChaCha20Poly1305)])
def test_what_is_stored(cipher: str, marker: int, aead: type[AESGCM] | type[ChaCha20Poly1305]) -> None:
    """Marker, nonce with its counter, and the key with its 33 + 6 zero bytes."""

    async def body() -> None:
        inner = MemoryStore()
        store = EncryptedStore(inner, KEY, cipher)
        await put(store, b"one", b"", b"three")
        stored = await inner.read(b"secret", 1, 3)
        first, empty, third = (payload_of(stored, sequence) for sequence in (1, 2, 3))
        assert empty == b""
        assert first[0] == third[0] == marker
        assert first[1:5] == third[1:5]
        assert first[5:13] == (1).to_bytes(8, "big")
        assert third[5:13] == (2).to_bytes(8, "big")
        assert len(first) == 3 + 29
        key = hashlib.sha256(bytes(39) + KEY + b".secret").digest()
        assert aead(key).decrypt(third[1:13], third[13:], None) == b"three"
        clear = await store.read(b"secret", 1, 3)
        assert [payload_of(clear, sequence) for sequence in (1, 2, 3)] == [b"one", b"", b"three"]

    asyncio.run(body())


def test_stored_bytes_of_the_original() -> None:
    """Message 4 of channel "mixed" in the encrypted fixture."""
    stored = bytes.fromhex("0168777c0600000000000000045645456600d699428ec21a21dc242244bd6113ae75")

    async def body() -> None:
        inner = MemoryStore()
        await put(inner, stored, channel=b"mixed", first=4)
        store = EncryptedStore(inner, KEY, CHACHA)
        assert payload_of(await store.read(b"mixed", 4, 1), 4) == b"aes-4"

    asyncio.run(body())


@pytest.mark.store_spec(77, 80)
def test_mixed_ciphers_and_plain_text_in_one_channel() -> None:
    async def body() -> None:
        inner = MemoryStore()
        await put(inner, b"plain")
        await put(EncryptedStore(inner, KEY, AES), b"aes", first=2)
        await put(EncryptedStore(inner, KEY, CHACHA), b"chacha", first=3)
        store = EncryptedStore(inner, KEY, AES)
        found = [payload_of(await store.read(b"secret", sequence, 1), sequence) for sequence in (1, 2, 3)]
        assert found == [b"plain", b"aes", b"chacha"]

    asyncio.run(body())


@pytest.mark.store_spec(79)
@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (b"\x01abcd", r"trying to decrypt data that is not \(len=5\)"),
        (b"\x02" + b"x" * 12, r"trying to decrypt data that is not \(len=13\)"),
        (b"\x01" + b"x" * 40, "cipher: message authentication failed"),
        (b"\x02" + b"x" * 40, "chacha20poly1305: message authentication failed"),
    ],
)
def test_plain_text_that_looks_encrypted(stored: bytes, text: str) -> None:
    async def body() -> None:
        inner = MemoryStore()
        await put(inner, b"abcd", stored)
        store = EncryptedStore(inner, KEY, AES)
        # What comes before it is given, without it.
        segment = await store.read(b"secret", 1, 2)
        assert payload_of(segment, 1) == b"abcd"
        assert segment is not None
        assert len(segment) == 1
        with pytest.raises(StoreError, match=f"^{text}$"):
            await store.read(b"secret", 2, 1)

    asyncio.run(body())


@pytest.mark.store_spec(78)
@pytest.mark.parametrize("cipher", [AES, CHACHA])
def test_a_wrong_key_recovers_and_publishes_and_reads_nothing_old(cipher: str) -> None:
    async def body() -> None:
        journal = Journal()
        store = EncryptedStore(RecoverableMemoryStore(journal), KEY, cipher)
        await store.recover()
        await put(store, b"old", b"old")
        wrong = EncryptedStore(RecoverableMemoryStore(journal), hashlib.sha256(b"wrong").digest(), cipher)
        state = await wrong.recover()
        assert state is not None
        assert state.channels[b"secret"].count == 2
        await put(wrong, b"new", first=3)
        for sequence in (1, 2):
            with pytest.raises(StoreError, match="message authentication failed"):
                await wrong.read(b"secret", sequence, 1)
        assert payload_of(await wrong.read(b"secret", 3, 1), 3) == b"new"

    asyncio.run(body())


@pytest.mark.store_spec(81)
def test_the_counter_goes_on_at_the_last_sequence() -> None:
    async def body() -> None:
        journal = Journal()
        store = EncryptedStore(RecoverableMemoryStore(journal), KEY, AES)
        await store.recover()
        await put(store, *[b"x"] * 200)
        inner = RecoverableMemoryStore(journal)
        store = EncryptedStore(inner, KEY, AES)
        await store.recover()
        await put(store, b"y", first=201)
        assert payload_of(await inner.read(b"secret", 201, 1), 201)[12] == 201
        store.stage([ChannelRemoved(b"secret")])
        await put(store, b"z")
        assert payload_of(await inner.read(b"secret", 1, 1), 1)[12] == 1

    asyncio.run(body())


def test_a_failed_commit_uses_no_nonce_twice() -> None:
    async def body() -> None:
        inner = FaultyStore(MemoryStore())
        store = EncryptedStore(inner, KEY, AES)
        await put(store, b"one")
        inner.fail_next("commit", applied=True)
        with pytest.raises(StoreError):
            await put(store, b"two", first=2)
        failed = payload_of(await inner.read(b"secret", 2, 1), 2)
        await put(store, b"instead", first=2)
        stored = payload_of(await inner.read(b"secret", 2, 1), 2)
        assert stored[1:13] != failed[1:13]
        assert payload_of(await store.read(b"secret", 2, 1), 2) == b"instead"

    asyncio.run(body())


@pytest.mark.store_spec(2)
def test_the_overhead_is_declared() -> None:
    assert EncryptedStore(MemoryStore(), KEY, AES).capabilities.message_overhead_bytes == 29
    assert not EncryptedStore(MemoryStore(), KEY, AES).capabilities.resident
