"""What a configuration says, where it says it, and what is told when it says nothing sensible."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import (
    CONFIG_BYTES_MAX,
    INCLUDE_DEPTH_MAX,
    NESTING_MAX,
    parse_config,
    read_config_file,
)
from nats_streaming.nats.config.values import Settings, Value, kind_name


def plain(value: Value) -> Any:
    """A value without its places."""
    if isinstance(value, dict):
        return {key: plain(setting.value) for key, setting in value.items()}
    if isinstance(value, list):
        return [plain(setting.value) for setting in value]
    return value


def parsed(text: str, **environment: str) -> Any:
    return plain(parse_config(text, "f.conf", environment))


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "f.conf", environment)
    return str(caught.value)


class TestValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("yes", True),
            ("OFF", False),
            ('"true"', "true"),
            ("T", "T"),
            ("-7", -7),
            ("007", 7),
            ("2k", 2000),
            ("2KB", 2048),
            ("2ki", 2048),
            ("2KiB", 2048),
            ("1g", 10**9),
            ("3mb", 3 << 20),
            ("-1e", -(10**18)),
            ("7EiB", 7 << 60),
            ("9223372036854775807", 2**63 - 1),
            ("-9223372036854775808", -(2**63)),
            ("1.50", 1.5),
            ("-0.25", -0.25),
            ("127.0.0.1:4222", "127.0.0.1:4222"),
            ("30m", 30_000_000),
            ("1m30s", "1m30s"),
            ("10s", "10s"),
            ("12abc", "12abc"),
            ("0x10", "0x10"),
            ("12'", "12'"),
            ("1]", "1]"),
            ("2026-01-31T23:59:59Z", datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)),
            ("nats://h:1", "nats://h:1"),
            ("a#b", "a#b"),
            ("#b", "#b"),
            ("z//x", "z//x"),
            ("it'", "it"),
            (r"\x41b\"", 'Ab"'),
            (r'"\xc3\xa9\xff\n"', "é\udcff\n"),
            ("'\\n'", "\\n"),
            ("'two\nlines'", "two\nlines"),
            ("(\nblock ) 'x' \n)\n", "\nblock ) 'x' \n"),
            ("$2a$11$x", "$2a$11$x"),
            ("[a, 1\n[ ], {b: 2}, # c\n]", ["a", 1, [], {"b": 2}]),
            ("{b: 1, c 2; d = 3\ne {}}", {"b": 1, "c": 2, "d": 3, "e": {}}),
        ],
    )
    def test_a_value(self, text: str, value: object) -> None:
        got = parsed(f"a: {text}")["a"]
        assert got == value
        assert type(got) is type(value)

    def test_json(self) -> None:
        text = '{\n  "port": 4222,\n  "streaming": { "cluster_id": "c", "limits": { "max_channels": 5 } }\n}\n'
        assert parsed(text) == {"port": 4222, "streaming": {"cluster_id": "c", "limits": {"max_channels": 5}}}

    def test_the_last_of_equal_keys_holds_and_stands_where_it_is(self) -> None:
        assert list(parsed("a: 1\nb: 2\na: 3").items()) == [("b", 2), ("a", 3)]

    def test_keys_keep_their_case_and_may_be_quoted(self) -> None:
        assert parsed("'a b': 1\nAb: 2\n\"it's\" 3\na{b: 4") == {"a b": 1, "Ab": 2, "it's": 3, "a{b": 4}

    def test_kinds_have_the_original_s_names(self) -> None:
        kinds = {key: kind_name(setting.value) for key, setting in parse_config(
            "a: x, b: 1, c: 1.5, d: yes, e: [], f: {}, g: 2026-01-31T23:59:59Z", "f").items()}  # fmt: skip
        assert list(kinds.values()) == ["string", "int64", "float64", "bool", "slice", "map", "struct"]


class TestPlaces:
    def test_keys_and_values_know_where_they_stand(self) -> None:
        config = parse_config("# c\nlimits {\n  é: 5,  ma: '1h'\n}\nlist [\n x ]\n", "f.conf")
        limits, array = config["limits"].value, config["list"].value
        assert isinstance(limits, dict)
        assert isinstance(array, list)
        assert str(config["limits"].key_place) == "f.conf:2:1"
        assert (str(limits["é"].key_place), str(limits["é"].place)) == ("f.conf:3:3", "f.conf:3:6")
        assert (str(limits["ma"].key_place), str(limits["ma"].place)) == ("f.conf:3:10", "f.conf:3:14")
        assert (str(array[0].key_place), str(array[0].place)) == ("f.conf:6:2", "f.conf:6:2")

    def test_a_variable_s_value_stands_where_the_variable_does(self) -> None:
        assert str(parse_config("a: 1\nb: $a", "f.conf")["b"].place) == "f.conf:2:4"


class TestVariables:
    def test_inner_maps_go_before_outer_ones_and_those_before_the_environment(self) -> None:
        assert parsed("v: 1, m { v: 2, n { a: $v } }, b: $v, c: $w", w="3")["m"]["n"] == {"a": 2}
        assert parsed("v: 1, m { a: $v }, b: $w", v="9", w="3") == {"v": 1, "m": {"a": 1}, "b": 3}

    def test_only_what_was_read_before_counts(self) -> None:
        assert parsed("a: $v\nv: 1", v="9")["a"] == 9
        assert "can not be found" in refusal("m { v: 1 }\na: $v")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("8222", 8222), ("true", True), ("{x: 1}", {"x": 1}), ('"a b"', "a b"), ("", ""), ("2KB", 2048),
            ("$w", 7), ("[1, $w]", None),
        ],
    )  # fmt: skip
    def test_the_environment_s_text_is_a_value(self, text: str, value: object) -> None:
        if value is None:
            assert parsed("a: $v", v=text.replace("]", " ]"), w="7")["a"] == [1, 7]
        else:
            assert parsed("a: $v", v=text, w="7")["a"] == value

    def test_there_is_no_interpolation(self) -> None:
        text = refusal("x: 1\na: $HOME/x", HOME="/h")
        assert text.startswith("f.conf:2:4: variable reference for 'HOME/x' on line 2 can not be found")

    def test_environment_variables_may_not_go_in_circles(self) -> None:
        assert "variable reference cycle for 'v'" in refusal("a: $v", v="$w", w="$v")

    def test_a_bad_text_in_the_environment_is_told_with_its_name(self) -> None:
        assert refusal("a: $v", v="x y").startswith(
            "f.conf:1:4: variable reference for 'v' on line 1 could not be parsed: $v:1:6"
        )


class TestIncludes:
    def test_what_is_included_becomes_part_of_the_map(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "b.conf").write_text("x: 2, y: 3\ninclude c.conf")
        (tmp_path / "sub" / "c.conf").write_text("z: 4")
        (tmp_path / "a.conf").write_text("x: 1\nm { include sub/b.conf; w: $y }\ninclude './sub/../sub/c.conf'; q: $z")
        assert plain(read_config_file(str(tmp_path / "a.conf"), {})) == {
            "x": 1, "m": {"x": 2, "y": 3, "z": 4, "w": 3}, "z": 4, "q": 4,
        }  # fmt: skip

    def test_places_are_those_in_the_included_file(self, tmp_path: Path) -> None:
        (tmp_path / "b.conf").write_text("\nx: 1")
        (tmp_path / "a.conf").write_text("include b.conf")
        assert str(read_config_file(str(tmp_path / "a.conf"))["x"].key_place) == f"{tmp_path}/b.conf:2:1"

    def test_an_absolute_path_begins_at_the_file_too(self, tmp_path: Path) -> None:
        (tmp_path / "b.conf").write_text("x: 1")
        (tmp_path / "a.conf").write_text("include /b.conf")
        assert plain(read_config_file(str(tmp_path / "a.conf"))) == {"x": 1}
        (tmp_path / "a.conf").write_text(f"\n include {tmp_path}/b.conf")
        with pytest.raises(ConfigError, match=r"a\.conf:2:2: error parsing include file '.*no such file.*leading /"):
            read_config_file(str(tmp_path / "a.conf"))

    def test_an_included_file_does_not_see_the_variables_round_it(self, tmp_path: Path) -> None:
        (tmp_path / "b.conf").write_text("y: $x")
        (tmp_path / "a.conf").write_text("x: 1\ninclude b.conf")
        with pytest.raises(ConfigError) as caught:
            read_config_file(str(tmp_path / "a.conf"), {})
        assert str(caught.value).startswith(f"{tmp_path}/b.conf:1:4: variable reference for 'x'")
        assert f"included at {tmp_path}/a.conf:2:1" in str(caught.value)
        assert plain(read_config_file(str(tmp_path / "a.conf"), {"x": "5"})) == {"x": 1, "y": 5}

    def test_circles_and_depth_are_bounded(self, tmp_path: Path) -> None:
        (tmp_path / "a.conf").write_text("include b.conf")
        (tmp_path / "b.conf").write_text("include ./a.conf")
        with pytest.raises(ConfigError, match="includes itself"):
            read_config_file(str(tmp_path / "a.conf"))
        for index in range(INCLUDE_DEPTH_MAX + 2):
            (tmp_path / f"n{index}.conf").write_text(f"include n{index + 1}.conf")
        with pytest.raises(ConfigError, match=f"more than {INCLUDE_DEPTH_MAX} files"):
            read_config_file(str(tmp_path / "n0.conf"))

    def test_the_same_file_may_be_included_twice(self, tmp_path: Path) -> None:
        (tmp_path / "b.conf").write_text("x: 1")
        (tmp_path / "a.conf").write_text("m { include b.conf }\nn { include b.conf }")
        assert plain(read_config_file(str(tmp_path / "a.conf"))) == {"m": {"x": 1}, "n": {"x": 1}}


class TestFiles:
    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        for name, reason in (("none", "no such file or directory"), ("", "is a directory"), ("a\0b", "null byte")):
            with pytest.raises(ConfigError) as caught:
                read_config_file(f"{tmp_path}/{name}")
            assert str(caught.value).startswith(f"open {tmp_path}/")
            assert reason in str(caught.value)

    def test_size_is_bounded_with_all_that_is_included(self, tmp_path: Path) -> None:
        (tmp_path / "b.conf").write_bytes(b" " * (CONFIG_BYTES_MAX // 2))
        (tmp_path / "a.conf").write_text("include b.conf\n" * 3)
        with pytest.raises(ConfigError, match=r"a\.conf:2:1: error parsing include file 'b\.conf', .* is too large"):
            read_config_file(str(tmp_path / "a.conf"))

    def test_bytes_that_are_no_text_stay(self, tmp_path: Path) -> None:
        (tmp_path / "a.conf").write_bytes(b"a: \xff\xc3\xa9")
        assert plain(read_config_file(str(tmp_path / "a.conf"))) == {"a": "\udcffé"}


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a: b c", "f.conf:1:6: expected the end of this entry (a line end, ; or ,) or a comment, but got 'c': "),
            ("\na:\n b", "f.conf:2:3: expected the value of 'a' on the line of its ':'"),
            ("a: 1\nb ", "f.conf:2:1: config is invalid: the key 'b' has no value"),
            ("a: [1,2]", "f.conf:1:8: put a space between a number and the ] behind it"),
            ("m {\n a: [1 2 ] }", "f.conf:2:8: expected ',', a line end or ']' after a value in an array, but got '2'"),
            ("m {\n n {\n }", "f.conf:1:3: this map has no closing }"),
            ("a: ./data", "f.conf:1:4: Floats must start with a digit; a path or name that begins with a dot"),
            ("a: -x", "f.conf:1:4: expected a digit after '-'"),
            ("id: 12-34", "f.conf:1:5: All ISO8601 dates must be in full Zulu form"),
            ("a: 1.5h", "f.conf:1:7: expected the end of this entry"),
            ("a: 8EB", "f.conf:1:4: integer '8EB' is out of the range of 64 bits"),
            (f"a: {'9' * 5000}", f"f.conf:1:4: integer '{'9' * 57}...' is out of the range"),
            (f"a: {'9' * 400}.0", f"f.conf:1:4: float '{'9' * 57}...' is out of the range"),
            ("a: 1kbb", "f.conf:1:4: '1kbb' is no size: units are k, kb, ki, kib"),
            (r'a: "x\q"', "f.conf:1:6: invalid escape \\q: there are"),
            (r"a: C:\foo", "f.conf:1:6: invalid escape \\f: there are"),
            ('a: "x\n', 'f.conf:1:4: this string has no closing "'),
            ("a: 2026-02-30T00:00:00Z", "f.conf:1:4: there is no date 2026-02-30T00:00:00Z"),
            ("a: \0", "f.conf:1:4: a NUL byte"),
            ("\ufeffa: 1", "f.conf:1:1: the file begins with a byte order mark"),
            (f"'{'k' * 5000}\n'", f"f.conf:1:1: config is invalid: the key '{'k' * 57}...' has no value"),
            ("m { 'a\n' }", r"f.conf:2:3: the key 'a\n' has no value"),
            ("m { a: }", "f.conf:1:8: the key 'a' has no value"),
            ("a: 1\n} b: 2", "f.conf:2:1: a } that closes nothing"),
            ("a: ٣", "f.conf:1:4: expected integer, but got '٣'"),
        ],
    )  # fmt: skip
    def test_the_place_and_the_remedy_are_told(self, text: str, told: str) -> None:
        assert refusal(text).startswith(told)

    def test_nesting_is_bounded(self) -> None:
        parsed("a: " + "[" * NESTING_MAX + "]" * NESTING_MAX)
        assert f"more than {NESTING_MAX} maps and arrays" in refusal("a: " + "[" * 100_000)
        assert f"more than {NESTING_MAX} maps and arrays" in refusal("a {" * 100_000)


GRAMMAR_CHARACTERS = "{}[]()=:;,#/\\'\"$. \t\r\n-x1ktT0é\x85\xa0\udcff"


@given(st.text(GRAMMAR_CHARACTERS, max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ConfigError):
        parse_config(text, "f.conf", {"x": "1", "t": "$x", "T": text.replace("\0", "")})


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", "k", "KB", "m", "MiB", "g", "t", "p", "e", "eb"]))
def test_numbers_are_exact_or_refused(number: int, unit: str) -> None:
    exponent = "kmgtpe".find(unit[:1].lower()) + 1 if unit else 0
    expected = number * (1000 if len(unit) < 2 else 1024) ** exponent
    try:
        got = parsed(f"a: {number}{unit}")["a"]
    except ConfigError as error:
        assert "out of the range" in str(error)  # noqa: PT017 - both outcomes are right, each for its numbers
        assert not -(2**63) <= expected < 2**63
    else:
        assert got == expected


def test_settings_is_a_plain_dictionary() -> None:
    config: Settings = parse_config("a: 1", "f")
    assert list(config) == ["a"]
