"""Texts that travel to clients, and names in quotes."""

from __future__ import annotations

import pytest

from nats_streaming.errors import ConfigError, ReplyText, RequestError, channel_case_clash, quoted


def test_a_request_error_carries_its_wire_form() -> None:
    error = RequestError(ReplyText.INVALID_CLIENT_ID)
    assert error.text == str(error)
    assert error.wire == b"stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed"


def test_the_case_clash_keeps_the_original_s_misspelling() -> None:
    assert channel_case_clash(b"FOO", b"foo").text == (
        'rejecting channel "FOO" because channel "foo" alreay exists (different cases not allowed)'
    )


def test_a_case_clash_of_bytes_that_are_no_text_can_be_sent() -> None:
    assert channel_case_clash(b"\xff\n", b"a").wire.startswith(b'rejecting channel "\\xff\\n" because')


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"foo", '"foo"'),
        (b"", '""'),
        (b'a"b\\', '"a\\"b\\\\"'),
        (b"\x00\x07\n\t\x7f", '"\\x00\\a\\n\\t\\x7f"'),
        ("Zürich €".encode(), '"Zürich €"'),
        (b"\xfe\xff", '"\\xfe\\xff"'),
        ("\u2028\U000e0001", '"\\u2028\\U000e0001"'),
    ],
)
def test_quoted_is_go_s(name: bytes | str, text: str) -> None:
    assert quoted(name) == text


def test_a_config_error_says_where() -> None:
    assert str(ConfigError("no such key")) == "no such key"
    assert str(ConfigError("no such key", file="a.conf")) == "a.conf: no such key"
    error = ConfigError("no such key", option="x", file="a.conf", line=3)
    assert (str(error), error.option, error.file, error.line) == ("a.conf:3: no such key", "x", "a.conf", 3)
