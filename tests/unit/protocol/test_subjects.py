"""Channel names and client IDs. Source: protocol and delivery specification, sections 2.1 and 4.2."""

from __future__ import annotations

import pytest

from nats_streaming.protocol.subjects import is_channel_name, is_client_id


@pytest.mark.parametrize(
    "name",
    [
        b"foo",
        b"foo.bar",
        b"a.b.c.d",
        b" ",
        b"a b",
        b"a\tb",
        b"a\\b",
        b"a:b",
        b"$SYS",
        b"_STAN.x",
        "größe".encode(),
        b"\xff\xfe",
        b"x" * 500,
        b"-",
        b"\x00",
    ],
)
def test_channel_names(name: bytes) -> None:
    assert is_channel_name(name)


@pytest.mark.parametrize(
    "name",
    [b"", b".", b"..", b".a", b"a.", b"a..b", b"/", b"a/b", b"*", b">", b"a.*", b"a.>", b"a*", b"*a.b", b"foo.b>r"],
)
def test_what_is_no_channel_name(name: bytes) -> None:
    assert not is_channel_name(name)


@pytest.mark.parametrize("client_id", [b"a", b"Z9", b"me", b"-", b"_", b"client-1_x", b"0" * 300])
def test_client_ids(client_id: bytes) -> None:
    assert is_client_id(client_id)


@pytest.mark.parametrize(
    "client_id", [b"", b" ", b"a b", b"a.b", b"a:b", b"a\n", b"\na", b"a\x00", "ä".encode(), b"\xff", b"a/b", b"a*"]
)
def test_what_is_no_client_id(client_id: bytes) -> None:
    assert not is_client_id(client_id)
