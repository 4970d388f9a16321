"""The parameters of the streaming pages, read as the original reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from nats_streaming.constants import INT64_MAX, INT64_MIN

DEFAULT_LIMIT = 1024
"""Entries of a page when none, or nothing sensible, is asked for."""

_INTEGER = re.compile(r"([+-]?)(?=[0-9])0*([0-9]*)", re.ASCII)
_DIGITS_MAX = 20
_FIELDS_MAX = 100  # of a query; what comes behind is none of our parameters


@dataclass(slots=True, frozen=True)
class Query:
    """Attributes:
    offset: entries to leave out.
    limit: entries to show at most, at least 1.
    subscriptions: whether subscriptions are shown.
    client, channel: the one to show, empty for the list.
    callback: name of a function to wrap the page in, "" for none.
    """

    offset: int = 0
    limit: int = DEFAULT_LIMIT
    subscriptions: bool = False
    client: bytes = b""
    channel: bytes = b""
    callback: str = ""


def read_query(text: str) -> Query:
    """Read what follows the question mark of a URL. Anything wrong in it counts as not given; of a key the first holds.

    Args:
        text: as received, percent-encoded.
    """
    values: dict[str, str] = {}
    fields = "&".join(text.split("&", _FIELDS_MAX)[:_FIELDS_MAX])
    for key, value in parse_qsl(fields, keep_blank_values=True, errors="surrogateescape"):
        values.setdefault(key, value)
    offset = _integer(values.get("offset", ""))
    limit = _integer(values.get("limit", ""))
    return Query(
        offset=max(offset, 0),
        limit=limit if limit > 0 else DEFAULT_LIMIT,
        subscriptions=_integer(values.get("subs", "")) == 1,
        client=values.get("client", "").encode("utf-8", "surrogateescape"),
        channel=values.get("channel", "").encode("utf-8", "surrogateescape"),
        callback=values.get("callback", ""),
    )


def _integer(text: str) -> int:
    """A decimal number, brought into the range of 64 bits; 0 for anything else."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        return 0
    # More digits than any such number has are as good as the largest one.
    return min(max(int(match[1] + (match[2] or "0")[:_DIGITS_MAX]), INT64_MIN), INT64_MAX)
