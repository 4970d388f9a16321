"""Parameters of the pages, sensible or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.constants import INT64_MAX
from nats_streaming.monitor.query import DEFAULT_LIMIT, Query, read_query


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        ("offset=3&limit=5", Query(offset=3, limit=5)),
        ("offset=-3&limit=-5", Query()),
        ("offset=%2B3&limit=007", Query(offset=3, limit=7)),
        ("offset=3x&limit=0x10", Query()),
        ("offset=1_0&limit=1.0", Query()),
        ("limit=" + "9" * 5000, Query(limit=INT64_MAX)),
        ("offset=-" + "9" * 5000, Query()),
        ("offset=" + "0" * 5000 + "7", Query(offset=7)),
        ("offset=9223372036854775807", Query(offset=INT64_MAX)),
        ("limit=5&limit=6", Query(limit=5)),
        ("subs=1", Query(subscriptions=True)),
        ("subs=01", Query(subscriptions=True)),
        ("subs=true", Query()),
        ("subs=2", Query()),
        ("subs=%D9%A1", Query()),
        ("client=a%20b+c&channel=%ff%3C", Query(client=b"a b c", channel=b"\xff<")),
        ("callback=f", Query(callback="f")),
        ("&&&a=1&" + "b=2&" * 5000 + "limit=5", Query()),
    ],
)
def test_queries(text: str, query: Query) -> None:
    assert read_query(text) == query


@given(st.text(alphabet="abcdefilmnoprstu=&%0123456789+-;\u0661ÿ", max_size=60))
def test_no_query_breaks_anything(text: str) -> None:
    query = read_query(text)
    assert query.offset >= 0
    assert 1 <= query.limit <= INT64_MAX
    assert query.limit == DEFAULT_LIMIT or "limit" in text or "%" in text
