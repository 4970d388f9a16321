"""What a client says of itself: its CONNECT, as a nats-server understands it.

Source: NATS client protocol, operation CONNECT.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

_BOOLEANS = frozenset(("echo", "headers", "new_account", "no_responders", "pedantic", "tls_required", "verbose"))
_TEXTS = frozenset((
    "account", "auth_token", "jwt", "lang", "name", "nkey", "pass", "proxy_sig", "remote_account", "sig", "user",
    "version",
))  # fmt: skip
_NOT_OF_CLIENTS = frozenset(("account", "export", "import", "new_account"))


@dataclass(frozen=True)
class ConnectOptions:
    """
    Attributes:
        is_verbose: each operation gets an answer.
        is_sound: a nats-server has no reason to refuse it but who the client is.
    """

    is_verbose: bool
    is_sound: bool


def read_connect(line: bytes, was_verbose: bool) -> ConnectOptions:
    """Read a CONNECT.

    Args:
        line: without its end.
        was_verbose: what holds when it says nothing of that.
    """
    found: dict[str, object] = {}

    def note(pairs: list[tuple[str, object]]) -> None:
        # To nats-server large letters are small ones, and of several pairs the last counts. The outermost comes last.
        found.clear()
        found.update((key.casefold(), value) for key, value in pairs)

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON, whatever Python says")

    try:
        outermost = json.loads(line[len(b"CONNECT") :].decode(), object_pairs_hook=note, parse_constant=refuse)
    except (ValueError, RecursionError):
        return ConnectOptions(True, False)
    if outermost is not None:  # a list or a number: the hook gives nothing back for an object
        return ConnectOptions(True, False)
    is_verbose = found.get("verbose", was_verbose)
    is_sound = (
        all(isinstance(found[key], bool) for key in _BOOLEANS & found.keys())
        and all(isinstance(found[key], str) for key in _TEXTS & found.keys())
        and not any(found.get(key) for key in _NOT_OF_CLIENTS)
        and type(protocol := found.get("protocol", 0)) is int
        and 0 <= protocol <= 1
        and (not found.get("no_responders") or found.get("headers") is True)
    )
    return ConnectOptions(is_verbose is not False, is_sound)
