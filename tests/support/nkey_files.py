"""NKeys and the JWTs of a NATS operator, account and user, made for one test."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import nkeys


class Identity:
    """A key pair of one kind.

    Attributes:
        public: the public key, as configurations name it.
        seed: the secret.
    """

    def __init__(self, kind: int) -> None:
        self.seed: str = nkeys.encode_seed(os.urandom(32), kind).decode()
        self._keys = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public: str = self._keys.public_key.decode()

    def token(self, subject: Identity, name: str, claims: dict[str, Any]) -> str:
        """A JWT by which this identity vouches for another one."""
        body: dict[str, Any] = {
            "iat": 1_700_000_000,
            "iss": self.public,
            "name": name,
            "sub": subject.public,
            "nats": {**claims, "version": 2},
        }
        digest = hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).digest()
        body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
        signed = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(body)}"
        return f"{signed}.{_base64(self._keys.sign(signed.encode()))}"


def new_user() -> Identity:
    return Identity(nkeys.PREFIX_BYTE_USER)


def operator_mode(credentials: Path) -> str:
    """Write a user's credentials file; returns the configuration of a nats-server that knows its account."""
    operator, account, user = Identity(nkeys.PREFIX_BYTE_OPERATOR), Identity(nkeys.PREFIX_BYTE_ACCOUNT), new_user()
    unlimited = {"subs": -1, "data": -1, "payload": -1}
    limits = {**unlimited, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    operator_token = operator.token(operator, "operator", {"type": "operator"})
    account_token = operator.token(account, "account", {"type": "account", "limits": limits})
    user_token = account.token(user, "user", {"type": "user", "pub": {}, "sub": {}, **unlimited})
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    return (
        f'operator: "{operator_token}"\nresolver: MEMORY\nresolver_preload {{ {account.public}: "{account_token}" }}\n'
    )


def _encoded(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
