"""Unique IDs in the form that NATS uses: 22 characters of base 62."""

from __future__ import annotations

import os

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_nuid() -> bytes:
    """22 characters that nobody else has and nobody can guess."""
    value = int.from_bytes(os.urandom(17))  # 136 bits, a little more than 22 digits hold
    text = []
    for _ in range(22):
        value, digit = divmod(value, 62)
        text.append(_DIGITS[digit])
    return "".join(text).encode()
