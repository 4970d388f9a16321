"""Channel names, client IDs and the wildcard rules: pure functions over bytes.

Source: NATS Streaming channel rules; core NATS wildcards (`*` one token, `>` the rest).
"""

from __future__ import annotations

import re

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
