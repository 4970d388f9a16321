"""What is written is read back as the same, and every line is known by where it came from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import parse_config
from nats_streaming.nats.config.values import Place, Setting, Settings
from nats_streaming.nats.config.writer import quote_value, write_config

from .test_parser import plain

NOWHERE = Place("f.conf", 1, 1)

_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_bytes_as_text = st.binary(max_size=12).map(lambda data: data.decode("utf-8", "surrogateescape"))
_keys = _texts.filter(lambda text: not ('"' in text and "'" in text)) | st.sampled_from(["include", "true", "a.>", "1"])
_scalars = (
    _texts
    | _bytes_as_text
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)


def setting(value: Any) -> Setting:
    if isinstance(value, dict):
        value = {key: setting(inner) for key, inner in value.items()}
    elif isinstance(value, list):
        value = [setting(inner) for inner in value]
    return Setting(value, NOWHERE, NOWHERE)


def settings(values: dict[str, Any]) -> Settings:
    return {key: setting(value) for key, value in values.items()}


@given(st.dictionaries(_keys, _values, max_size=5))
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    written = write_config(settings(values))
    assert plain(parse_config(written.text, "again", {})) == values
    assert len(written.places) == written.text.count("\n")


@given(_bytes_as_text)
def test_a_quoted_string_is_one_line(text: str) -> None:
    quoted = quote_value(text)
    assert "\n" not in quoted
    assert plain(parse_config(f"a: {quoted}", "f", {})) == {"a": text}


def test_every_line_is_known_by_its_place() -> None:
    text = "a: 1\nm {\n  b: $a\n\n  c: [\n x, y\n ]\n}\n"
    written = write_config(parse_config(text, "f.conf"))
    lines = written.text.splitlines()
    assert lines == ["a: 1", "m: {", "  b: 1", "  c: [", '    "x"', '    "y"', "  ]", "}"]
    assert [(place.line, place.column) for place in written.places] == [
        (1, 1), (2, 1), (3, 3), (5, 3), (6, 2), (6, 5), (5, 3), (2, 1),
    ]  # fmt: skip


def test_values_are_written_in_the_grammar_s_own_way() -> None:
    values = {
        "a": 1e22,
        "b": 1e-9,
        "c": -0.5,
        "d": datetime(31, 1, 2, 3, 4, 5, tzinfo=UTC),
        "e": 'a"b\\c\n\x01',
        "include": False,
        'q"': 1,
    }
    assert write_config(settings(values)).text.splitlines() == [
        "a: 10000000000000000000000.0",
        "b: 0.000000001",
        "c: -0.5",
        "d: 0031-01-02T03:04:05Z",
        'e: "a\\"b\\\\c\\n\\x01"',
        '"include": false',
        "'q\"': 1",
    ]


def test_a_key_with_both_quotes_is_written_bare_or_refused() -> None:
    config = parse_config("m { a\"b'c: 1 }", "f.conf")
    assert plain(parse_config(write_config(config).text, "again")) == {"m": {"a\"b'c": 1}}
    config = parse_config("m { {b\"c': 1 }", "f.conf")
    with pytest.raises(ConfigError, match=r"^f\.conf:1:5: a key with quotes of both kinds"):
        write_config(config)


def test_a_small_file_that_stands_for_a_huge_one_is_refused() -> None:
    lines = ['a0: ["0123456789"]'] + [f"a{i}: [" + f"$a{i - 1}, " * 10 + "]" for i in range(1, 20)]
    with pytest.raises(ConfigError, match="with its variables written out"):
        write_config(parse_config("\n".join(lines), "f.conf"))
