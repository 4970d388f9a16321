"""Text as a string in quotes of the NATS configuration grammar. By itself, because every start needs it."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(r'["\\\x00-\x1f\x7f\udc80-\udcff]')
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote_value(text: str) -> str:
    """Put a text in quotes; bytes that are no text (lone surrogates) and control characters are escaped."""
    return f'"{_UNSAFE.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPES.get(character) or f"\\x{ord(character) & 0xFF:02x}"
