"""Channel names, client IDs and the wildcard rules: pure functions over bytes.

Source: NATS Streaming channel rules; core NATS wildcards (`*` one token, `>` the rest).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CLIENT_ID = re.compile(rb"[a-zA-Z0-9_-]+\Z")


def is_channel_name(name: bytes) -> bool:
    """Whether a message can be published to a channel of this name.

    Not allowed: nothing at all, a leading, trailing or double dot, `/`, and `*` or `>` anywhere.
    """
    return bool(name) and not (
        name[0] == 46 or name[-1] == 46 or b".." in name or b"/" in name or b"*" in name or b">" in name
    )


def is_client_id(client_id: bytes) -> bool:
    """Whether `client_id` has only letters, digits, `-` and `_`, and at least one of them."""
    return _CLIENT_ID.match(client_id) is not None


class PatternSet:
    """Channel names and patterns (`*` one token, a last `>` one or more), to ask which of them share a channel."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self._root = _Node()
        for pattern in patterns:
            node = self._root
            for token in pattern.split(b"."):
                node = node.next.setdefault(token, _Node())
            node.pattern = pattern

    def overlapping(self, pattern: bytes) -> bytes | None:
        """A member such that some channel belongs to both; None if there is none.

        Args:
            pattern: valid; a channel name is a pattern without wildcards.
        """
        return _overlapping(self._root, pattern.split(b"."), 0)


class _Node:
    """The patterns that share the tokens so far, by their next token."""

    __slots__ = ("next", "pattern")

    def __init__(self) -> None:
        self.pattern: bytes | None = None  # the one that ends here
        self.next: dict[bytes, _Node] = {}


def _overlapping(node: _Node, tokens: list[bytes], position: int) -> bytes | None:
    if position == len(tokens):
        return node.pattern
    token = tokens[position]
    tail = node.next.get(b">")
    if tail is not None:
        return tail.pattern
    if token == b">":
        return _first_below(node)
    nodes = node.next.values() if token == b"*" else filter(None, (node.next.get(token), node.next.get(b"*")))
    for child in nodes:
        found = _overlapping(child, tokens, position + 1)
        if found is not None:
            return found
    return None


def _first_below(node: _Node) -> bytes | None:
    for child in node.next.values():
        found = child.pattern or _first_below(child)
        if found is not None:
            return found
    return None
