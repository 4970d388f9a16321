"""Channel names, client IDs and the wildcard rules: pure functions over bytes.

Source: NATS Streaming channel rules; core NATS wildcards (`*` one token, `>` the rest).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

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
        return next(_overlapping(self._root, pattern.split(b"."), 0), None)

    def all_overlapping(self, pattern: bytes) -> Iterator[bytes]:
        """Every member that shares a channel with a valid pattern, itself included."""
        return _overlapping(self._root, pattern.split(b"."), 0)


class _Node:
    """The patterns that share the tokens so far, by their next token."""

    __slots__ = ("next", "pattern")

    def __init__(self) -> None:
        self.pattern: bytes | None = None  # the one that ends here
        self.next: dict[bytes, _Node] = {}


def _overlapping(node: _Node, tokens: list[bytes], position: int) -> Iterator[bytes]:
    if position == len(tokens):
        if node.pattern is not None:
            yield node.pattern
        return
    token = tokens[position]
    if token == b">":
        yield from _below(node)
        return
    tail = node.next.get(b">")
    if tail is not None and tail.pattern is not None:
        yield tail.pattern
    if token == b"*":
        children = [child for name, child in node.next.items() if name != b">"]
    else:
        children = [child for child in (node.next.get(token), node.next.get(b"*")) if child is not None]
    for child in children:
        yield from _overlapping(child, tokens, position + 1)


def _below(node: _Node) -> Iterator[bytes]:
    for child in node.next.values():
        if child.pattern is not None:
            yield child.pattern
        yield from _below(child)


def covers(wide: bytes, pattern: bytes) -> bool:
    """Whether every channel of a valid pattern belongs to `wide`, too."""
    wanted, tokens = wide.split(b"."), pattern.split(b".")
    if wanted[-1] == b">":
        if len(tokens) < len(wanted):
            return False
        wanted.pop()
    elif len(tokens) != len(wanted) or tokens[-1] == b">":
        return False
    return all(want == token or (want == b"*" and token != b">") for want, token in zip(wanted, tokens, strict=False))
