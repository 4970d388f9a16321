"""What programs compare: JSON strings, times and lengths of time as Go writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.monitor.go_text import json_object, json_string, rfc3339_text, uptime_text

MOMENT_NS = 1_795_397_579 * NS_PER_SECOND  # 2026-11-23T01:32:59Z


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", '""'),
        (b"plain", '"plain"'),
        (b"a<b>&c", r'"a\u003cb\u003e\u0026c"'),
        (b'"\\/', r'"\"\\/"'),
        (b"\x00\x1f\x7f\t\n\r\b\f", '"\\u0000\\u001f\x7f\\t\\n\\r\\b\\f"'),
        ("grün\u2028\u2029线😀".encode(), r'"grün\u2028\u2029线😀"'),
        (b"\xff\xc3(\xed\xa0\x80", r'"\ufffd\ufffd(\ufffd\ufffd\ufffd"'),
    ],
)
def test_strings(value: bytes, text: str) -> None:
    assert json_string(value) == text


@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_name_is_valid_json_safe_in_html(value: bytes) -> None:
    text = json_string(value)
    text.encode()
    decoded = json.loads(text)
    assert not set(text) & set("<>&\u2028\u2029")
    try:
        assert decoded == value.decode()
    except UnicodeDecodeError:
        assert "\ufffd" in decoded


def test_objects() -> None:
    assert json_object([]) == "{}"
    assert json_object([("a", "1"), ("b", json_object([("c", "2")], "  "))]) == (
        '{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}'
    )


@pytest.mark.parametrize(
    ("name", "nanoseconds", "text"),
    [
        ("UTC", 0, "2026-11-23T01:32:59Z"),
        ("UTC", 396_813_232, "2026-11-23T01:32:59.396813232Z"),
        ("UTC", 396_810_000, "2026-11-23T01:32:59.39681Z"),
        ("UTC", 1, "2026-11-23T01:32:59.000000001Z"),
        ("Asia/Kolkata", 500_000_000, "2026-11-23T07:02:59.5+05:30"),
        ("America/New_York", 0, "2026-11-22T20:32:59-05:00"),
        ("Europe/London", 0, "2026-11-23T01:32:59Z"),
    ],
)
def test_times(zone: pytest.MonkeyPatch, name: str, nanoseconds: int, text: str) -> None:
    zone.setenv("TZ", name)
    time.tzset()
    assert rfc3339_text(MOMENT_NS + nanoseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (4, "4s"), (60, "1m0s"), (184, "3m4s"), (7384, "2h3m4s"), (3600, "1h0m0s"), (93784, "1d2h3m4s"),
        (365 * 86400, "1y0d0h0m0s"), (365 * 86400 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5, "1y2d3h4m5s"),
    ],
)  # fmt: skip
def test_uptimes(seconds: int, text: str) -> None:
    assert uptime_text(seconds * NS_PER_SECOND + 999_999_999) == text
