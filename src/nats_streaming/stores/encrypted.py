"""Encryption at rest: a wrapper round any store, in which no payload is then to be read.

Only the payload of a message is encrypted, field 4 of its MsgProto. Subjects, replies, timestamps, clients
and subscriptions are clear; an empty payload stays empty. The format is the original's, to the byte:

    payload := marker(1) nonce(12) ciphertext tag(16)       marker 1: AES-256-GCM, 2: ChaCha20-Poly1305
    master  := SHA-256(key)
    key of a channel := SHA-256(33 + len(channel) zero bytes, master, ".", channel)
    nonce   := four random bytes per channel and run, then a counter that begins at the channel's next sequence

The zero bytes come from a slip in the original; they are part of the format. A payload that begins with
neither marker is returned as it is: it was stored before encryption was switched on.

Source: stores specification, section 6.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from nats_streaming.errors import ConfigError, CorruptionError
from nats_streaming.protocol.protobuf import FIELD, FieldReader
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.stores.api import Capabilities, Store, abandon
from nats_streaming.stores.batch import ChannelRemoved, Messages, Record
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState

KEY_VARIABLE: Final = "NATS_STREAMING_ENCRYPTION_KEY"
AES: Final = "AES"
CHACHA: Final = "CHACHA"
OVERHEAD_BYTES: Final = 29

_DATA_FIELD = 4
_NONCE_BYTES = 12
_SHORTEST = 1 + _NONCE_BYTES  # a marker and a nonce
_MARKERS = {AES: b"\x01", CHACHA: b"\x02"}
_FAILURES = {
    1: "cipher: message authentication failed",
    2: "chacha20poly1305: message authentication failed",
}


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


def master_key(given: bytearray) -> bytes:
    """The key that all others come from.

    Args:
        given: what the operator configured, may be empty; overwritten, so that it is not in memory for long.
            The environment variable `KEY_VARIABLE` comes before it.

    Raises:
        ConfigError: there is no key.
    """
    variable = os.environb.get(KEY_VARIABLE.encode(), b"") if os.supports_bytes_environ else _variable()
    key = variable or bytes(given)
    for index in range(len(given)):
        given[index] = ord("x")
    if not key:
        raise ConfigError("encryption key required", option="encryption_key")
    return hashlib.sha256(key).digest()


def _variable() -> bytes:
    return os.environ.get(KEY_VARIABLE, "").encode()


def cipher_name(given: str) -> str:
    """The cipher for new messages.

    Args:
        given: AES or CHACHA in any case; "" is what this machine does fastest.

    Raises:
        ConfigError: another one.
    """
    name = given.upper()
    if not name:
        return AES if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686", "x86") else CHACHA
    if name not in _MARKERS:
        raise ConfigError("encryption cipher not supported", option="encryption_cipher")
    return name


class _Channel:
    """The ciphers of one channel, and the encrypted copies of its newest messages."""

    def __init__(self, name: bytes, master: bytes, cipher: str, last: int) -> None:
        key = hashlib.sha256(bytes(33 + len(name)) + master + b"." + name).digest()
        self._ciphers: dict[int, _Aead] = {1: AESGCM(key), 2: ChaCha20Poly1305(key)}
        self._marker = _MARKERS[cipher]
        self._cipher = self._ciphers[self._marker[0]]
        self._nonce = int.from_bytes(os.urandom(4) + (last + 1).to_bytes(8, "big"), "big")
        self.tail: Segment | None = None

    def encrypt(self, data: bytes) -> bytes:
        nonce = self._nonce.to_bytes(_NONCE_BYTES, "big")
        self._nonce = (self._nonce + 1) % (1 << 8 * _NONCE_BYTES)
        return self._marker + nonce + self._cipher.encrypt(nonce, data, None)

    def decrypt(self, data: bytes) -> bytes:
        cipher = self._ciphers.get(data[0])
        if cipher is None:
            return data
        if len(data) <= _SHORTEST:
            raise CorruptionError(f"trying to decrypt data that is not (len={len(data)})")
        try:
            return cipher.decrypt(data[1:_SHORTEST], data[_SHORTEST:], None)
        except InvalidTag as error:
            raise CorruptionError(_FAILURES[data[0]]) from error

    def segment_for(self, sequence: int, size: int) -> Segment:
        """Where the encrypted message with this sequence belongs."""
        tail = self.tail
        if tail is None or tail.base + len(tail) != sequence or not tail.has_room(size):
            tail = self.tail = Segment(sequence)
        return tail


def decryptor(channel: bytes, master: bytes) -> Callable[[bytes], bytes]:
    """What turns a stored payload of a channel, which must not be empty, into the one that was published.

    Args:
        channel: its name.
        master: from `master_key`.

    Returns:
        A function; it raises CorruptionError where the key or the bytes are not those of the message, and
        returns a payload with no marker as it is.
    """
    return _Channel(channel, master, AES, 0).decrypt


class EncryptedStore:
    """See `stores.api.Store`. The segments it is given are the engine's: the inner store gets copies."""

    def __init__(self, inner: Store, master: bytes, cipher: str) -> None:
        """
        Args:
            inner: keeps what is encrypted; closed with this.
            master: from `master_key`.
            cipher: from `cipher_name`; both can be read, whatever it is.
        """
        self.name = inner.name
        self._inner = inner
        self._master = master
        self._cipher = cipher
        self._channels: dict[bytes, _Channel] = {}
        self._last: dict[bytes, int] = {}
        self._touched: list[_Channel] = []
        self._reader = FieldReader()

    @property
    def capabilities(self) -> Capabilities:
        """The inner store's, which may know more of them once it has recovered."""
        inner = self._inner.capabilities
        # An encoded length may become one byte longer, twice.
        room = inner.message_bytes_max - OVERHEAD_BYTES - 2 if inner.message_bytes_max else 0
        return replace(
            inner,
            resident=False,
            message_overhead_bytes=inner.message_overhead_bytes + OVERHEAD_BYTES,
            message_bytes_max=room,
        )

    @property
    def failure(self) -> str:
        return self._inner.failure

    async def recover(self) -> StoreState | None:
        state = await self._inner.recover()
        if state is not None:
            for name, channel in state.channels.items():
                self._last[name] = channel.last
                channel.segments.clear()
                # The overhead is counted per message, by whoever reads our capabilities.
                channel.size = max(channel.size - OVERHEAD_BYTES * channel.count, 0)
        return state

    def stage(self, records: Sequence[Record]) -> None:
        staged: list[Record] = []
        for record in records:
            if isinstance(record, Messages):
                staged += self._encrypted(record)
                continue
            if isinstance(record, ChannelRemoved):
                self._channels.pop(record.channel, None)
                self._last.pop(record.channel, None)
            staged.append(record)
        self._inner.stage(staged)

    def _channel(self, name: bytes) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name, self._master, self._cipher, self._last.get(name, 0))
        return channel

    def _encrypted(self, record: Messages) -> list[Record]:
        channel = self._channel(record.channel)
        copies: list[Record] = []
        copy: Messages | None = None
        for sequence in range(record.first, record.last + 1):
            message = record.segment.message(sequence)
            encoded = self._with_payload(message, channel.encrypt) if message is not None else b""
            segment = channel.segment_for(sequence, len(encoded))
            segment.append(encoded, record.segment.timestamp_at(sequence - record.segment.base))
            if copy is None or copy.segment is not segment:
                copy = Messages(record.channel, segment, sequence, sequence)
                copies.append(copy)
            copy.last = sequence
        self._touched.append(channel)
        return copies

    def _with_payload(self, message: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """The message with another payload; one without payload as it is."""
        reader = self._reader
        reader.open(message, 0, len(message))
        begin = 0
        while reader.next_field() == FIELD:
            if reader.number == _DATA_FIELD and reader.stop > reader.start:
                field = length_field(_DATA_FIELD, change(message[reader.start : reader.stop]))
                return message[:begin] + field + message[reader.stop :]
            begin = reader.position
        return message

    async def commit(self) -> None:
        touched, self._touched = self._touched, []
        try:
            await self._inner.commit()
        except BaseException:
            # The engine uses these sequences again, with other messages.
            for channel in touched:
                channel.tail = None
            raise

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        segment = await self._inner.read(channel, first, count)
        return self._decrypted(self._channel(channel), segment, first, count) if segment is not None else None

    def _decrypted(self, channel: _Channel, segment: Segment, first: int, count: int) -> Segment:
        """A segment of its own; a message that cannot be decrypted ends it, and is an error where it begins."""
        first = max(first, segment.base)
        clear = Segment(first)
        for sequence in range(first, min(first + max(count, 1), segment.base + len(segment))):
            message = segment.message(sequence)
            encoded = b""
            if message is not None:
                try:
                    encoded = self._with_payload(message, channel.decrypt)
                except CorruptionError:
                    if sequence == first:
                        raise
                    break
            if not clear.has_room(len(encoded)):
                break
            clear.append(encoded, segment.timestamp_at(sequence - segment.base))
        return clear

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        return await self._inner.find_time(channel, timestamp_ns)

    async def try_lock(self) -> bool:
        return await self._inner.try_lock()

    async def close(self) -> None:
        await self._inner.close()

    def abandon(self) -> None:
        abandon(self._inner)
