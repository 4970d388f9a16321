"""Who we are by NKey: a seed file, or a NATS 2 credentials file with a JWT and the seed that belongs to it.

The files are read when they are needed and their contents not kept, so rotated ones are picked up by a reconnect.
No error text shows what a file holds.

Source: the `nkeys` library for seeds and signatures; NATS client protocol, fields `nkey`, `jwt` and `sig` of CONNECT.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from nats_streaming.errors import NatsLinkError

if TYPE_CHECKING:
    from nkeys import KeyPair

_FILE_BYTES_MAX: Final = 1 << 20
_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+([\w.=-]+)\s+-+END NATS USER JWT-+")
_SEED: Final = re.compile(r"^\s*(S[A-Z2-7]{57,})\s*$", re.MULTILINE)


class NkeySeedFile:
    """Logs in by signing the server's nonce; the server knows our public key. See `Authenticator`."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            NatsLinkError: the file cannot be read or holds no seed.
        """
        self._path = path
        _key_pair(path)  # said at the start, not at the first nonce

    def connect_fields(self, nonce: str | None) -> Mapping[str, str]:
        """The public key, and the signature if there is a nonce to sign."""
        keys = _key_pair(self._path)
        fields = {"nkey": keys.public_key.decode()}
        return fields if nonce is None else {**fields, "sig": _signature(keys, nonce)}


class CredentialsFile:
    """Logs in with a JWT and proves by a signature that it is ours. See `Authenticator`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def connect_fields(self, nonce: str | None) -> Mapping[str, str]:
        """JWT and signature; nothing for a server that sends no nonce, as it wants neither."""
        if nonce is None:
            return {}
        jwt = _JWT.search(_read(self._path))
        if jwt is None:
            raise NatsLinkError(f"nats: no user JWT found in {self._path}")
        return {"jwt": jwt[1], "sig": _signature(_key_pair(self._path), nonce)}


def _key_pair(path: str) -> KeyPair:
    import nkeys

    seed = _SEED.search(_read(path))
    if seed is None:
        raise NatsLinkError(f"nkeys: no nkey seed found in {path}")
    text = seed[1].encode()
    try:
        decoded = base64.b32decode(text + b"=" * (-len(text) % 8))
        if int.from_bytes(decoded[-2:], "little") != nkeys.crc16(bytearray(decoded[:-2])):
            raise NatsLinkError(f"nkeys: invalid checksum of the nkey seed in {path}")
        return nkeys.from_seed(bytearray(text))
    except (binascii.Error, nkeys.NkeysError, ValueError):
        raise NatsLinkError(f"nkeys: invalid nkey seed in {path}") from None


def _signature(keys: KeyPair, nonce: str) -> str:
    signed: bytes = keys.sign(nonce.encode())
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise NatsLinkError(f"nats: open {path}: {(error.strerror or str(error)).lower()}") from None
