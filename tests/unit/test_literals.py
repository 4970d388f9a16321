"""Values as flags and configuration files write them. Expectations were taken from the original."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nats_streaming.clock import duration_text
from nats_streaming.constants import INT64_MAX, INT64_MIN, NS_PER_SECOND
from nats_streaming.literals import (
    OUT_OF_RANGE,
    PARSE_ERROR,
    parse_bool,
    parse_duration,
    parse_int,
    parse_size,
)

int64 = st.integers(INT64_MIN, INT64_MAX)
# Characters that literals are made of, so that random text comes near to being valid.
literal_text = st.text(alphabet="0123456789xXoObBaAfFkKmMgGiInusµμh+-._ \t2e", max_size=12) | st.text(max_size=8)


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_true(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", " true", "tRue", "yes", "on", "2", "-1"])
def test_no_boolean(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{PARSE_ERROR}$"):
        parse_bool(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("0x10", 16),
        ("-0X1f", -31),
        ("0o17", 15),
        ("017", 15),
        ("0_17", 15),
        ("0b101", 5),
        ("0x_f", 15),
        ("1_000_000", 1_000_000),
        ("9223372036854775807", INT64_MAX),
        ("-9223372036854775808", INT64_MIN),
        ("0" * 5000 + "7", 7),
    ],
)
def test_int(text: str, value: int) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "--1", "08", "0x", "0x_", "0b2", "1__0", "_1", "1_", "1.0", "1e3", " 1", "1 ", "\uff12", "abc"],
)
def test_no_int(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{PARSE_ERROR}$"):
        parse_int(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "0x1" + "0" * 16, "9" * 100_000])
def test_int_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{OUT_OF_RANGE}$"):
        parse_int(text)


@given(int64, st.sampled_from(["d", "#x", "#o", "#b", "_d", "#_x"]))
def test_every_int_is_read_in_every_base(value: int, shape: str) -> None:
    assert parse_int(format(value, shape)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("30s", 30 * NS_PER_SECOND),
        ("+5s", 5 * NS_PER_SECOND),
        ("-1s", -NS_PER_SECOND),
        ("1h30m", 5400 * NS_PER_SECOND),
        ("1m1h", 3660 * NS_PER_SECOND),
        ("1.5h", 5400 * NS_PER_SECOND),
        (".5s", NS_PER_SECOND // 2),
        ("1.s", NS_PER_SECOND),
        ("500ms", NS_PER_SECOND // 2),
        ("7us", 7000),
        ("7\u00b5s", 7000),
        ("7\u03bcs", 7000),
        ("9ns", 9),
        ("0.9ns", 0),
        ("9223372036854775807ns", INT64_MAX),
        ("-9223372036854775808ns", INT64_MIN),
    ],
)
def test_duration(text: str, value: int) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", "5", "s", ".s", "1d", "1 s", " 1s", "1s ", "--1s", "1S", "00", "1h-5m", "\uff11s"]
)
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{PARSE_ERROR}$"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9223372036854775808ns", "2562048h", "1" + "0" * 100_000 + "h"])
def test_duration_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{OUT_OF_RANGE}$"):
        parse_duration(text)


@given(int64)
def test_a_written_duration_reads_as_itself(duration_ns: int) -> None:
    assert parse_duration(duration_text(duration_ns)) == duration_ns


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1000", 1000),
        ("-5", -5),
        ("2k", 2000),
        ("2K", 2000),
        ("2KB", 2048),
        ("2kib", 2048),
        ("2Ki", 2048),
        ("3m", 3_000_000),
        ("3mb", 3 << 20),
        ("1g", 10**9),
        ("1GB", 1 << 30),
        ("1t", 10**12),
        ("1pb", 1 << 50),
        ("1e", 10**18),
        ("7EB", 7 << 60),
        (" 12", 12),
    ],
)
def test_size(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", "+1", "k", "12abc", "1kbb", "1kx", "1 k", "1.5", "1.5k", "0x10", "1_000", "2\u212a"]
)
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{PARSE_ERROR}$"):
        parse_size(text)


@pytest.mark.parametrize("text", ["8EB", "9999999999999999999", "-9223372036854775809", "9" * 100_000 + "k"])
def test_size_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{OUT_OF_RANGE}$"):
        parse_size(text)


@given(st.sampled_from([parse_bool, parse_int, parse_duration, parse_size]), literal_text)
@example(parse_int, "\u0663")
@example(parse_size, "\u00b3k")
@example(parse_duration, "\u0967s")
def test_any_text_gives_a_value_or_one_of_two_errors(parse: Callable[[str], int], text: str) -> None:
    outcome: int | str
    try:
        outcome = parse(text)
    except ValueError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert outcome in (PARSE_ERROR, OUT_OF_RANGE)
    else:
        assert INT64_MIN <= outcome <= INT64_MAX
        assert text.replace("\u00b5", "u").replace("\u03bc", "u").isascii()
