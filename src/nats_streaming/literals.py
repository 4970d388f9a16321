"""The original's way to write values in text: Go's booleans, integers and durations, NATS's sizes.

Text in, value out; knows no option. Every function raises `ValueError` whose text is the original's
`PARSE_ERROR` or `OUT_OF_RANGE`, so that callers can say which flag or key it was.

Source: operations specification, sections 1.1 (flags) and 2.1 (sizes).
"""

from __future__ import annotations

from typing import Final

from nats_streaming.constants import INT64_MAX, INT64_MIN, NS_PER_MS, NS_PER_SECOND, NS_PER_US

PARSE_ERROR: Final = "parse error"
OUT_OF_RANGE: Final = "value out of range"

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

_BASES: Final = {"0x": 16, "0o": 8, "0b": 2}
_DIGITS: Final = "0123456789abcdef"

DURATION_UNITS_NS: Final = {
    "ns": 1,
    "us": NS_PER_US,
    "µs": NS_PER_US,  # U+00B5 micro sign
    "μs": NS_PER_US,  # U+03BC Greek letter mu
    "ms": NS_PER_MS,
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
}

_SIZE_LETTERS: Final = "kmgtpe"


def parse_bool(text: str) -> bool:
    """Read `1 t T true TRUE True` or `0 f F false FALSE False`; nothing else, no blanks."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(PARSE_ERROR)


def parse_int(text: str) -> int:
    """Read a 64-bit signed integer: `-7`, `0x1f`, `0o17`, `017` (octal), `0b11`, `1_000`."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    digits = digits.lower()
    base = _BASES.get(digits[:2], 0)
    if base:
        # An underscore may follow a prefix, but nowhere else at the start.
        digits = digits[2:].removeprefix("_")
    elif digits.startswith("0") and len(digits) > 1:
        base = 8
    else:
        base = 10
    if digits.startswith("_") or digits.endswith("_") or "__" in digits:
        raise ValueError(PARSE_ERROR)
    digits = digits.replace("_", "")
    # Not int(text, 0): that takes blanks and digits of other scripts, and refuses a leading 0.
    valid = _DIGITS[:base]
    if not digits or any(digit not in valid for digit in digits):
        raise ValueError(PARSE_ERROR)
    # Text of a command line may be long; 64 bits end before 70 digits in any base.
    significant = digits.lstrip("0")
    return _in_range(-1 if text.startswith("-") else 1, int(significant or "0", base) if len(significant) < 70 else -1)


def parse_duration(text: str) -> int:
    """Read a length of time in nanoseconds: `30s`, `1h30m`, `-1.5h`, `250ms`, `1µs`; without a unit only `0`."""
    left = text[1:] if text[:1] in ("+", "-") else text
    if left == "0":
        return 0
    if not left:
        raise ValueError(PARSE_ERROR)
    total_ns = 0
    while left:
        whole, left = _leading_digits(left)
        fraction = ""
        if left.startswith("."):
            fraction, left = _leading_digits(left[1:])
        if not whole and not fraction:
            raise ValueError(PARSE_ERROR)
        end = 0
        while end < len(left) and left[end] != "." and left[end] not in "0123456789":
            end += 1
        unit_ns = DURATION_UNITS_NS.get(left[:end])
        if unit_ns is None:
            raise ValueError(PARSE_ERROR)
        left = left[end:]
        # Bounded before it is converted: 64 bits of nanoseconds have 19 digits.
        whole = whole.lstrip("0")
        if len(whole) > 19:
            raise ValueError(OUT_OF_RANGE)
        fraction = fraction[:19]
        total_ns += int(whole or "0") * unit_ns + int(fraction or "0") * unit_ns // 10 ** len(fraction)
        if total_ns > INT64_MAX + 1:
            raise ValueError(OUT_OF_RANGE)
    return _in_range(-1 if text.startswith("-") else 1, total_ns)


def parse_size(text: str) -> int:
    """Read a number of bytes: `1000`, `-5`, `2k` (2000), `2KB`, `2ki`, `2KiB` (2048); letters up to `e`, any case."""
    left = text.strip(" \t").lower()
    sign = -1 if left.startswith("-") else 1
    digits, suffix = _leading_digits(left.removeprefix("-"))
    if not digits or not text.isascii():  # lower() turns the Kelvin sign into a k
        raise ValueError(PARSE_ERROR)
    factor = 1
    if suffix:
        exponent = _SIZE_LETTERS.find(suffix[0]) + 1
        if exponent == 0 or suffix[1:] not in ("", "b", "i", "ib"):
            raise ValueError(PARSE_ERROR)
        factor = 1000**exponent if len(suffix) == 1 else 1024**exponent
    significant = digits.lstrip("0")
    return _in_range(sign, int(significant or "0") * factor if len(significant) < 20 else -1)


def _leading_digits(text: str) -> tuple[str, str]:
    """Split what is left after the ASCII digits text begins with."""
    end = 0
    while end < len(text) and text[end] in "0123456789":
        end += 1
    return text[:end], text[end:]


def _in_range(sign: int, magnitude: int) -> int:
    """Apply the sign; a magnitude of -1 stands for one too long to convert."""
    value = sign * magnitude
    if magnitude < 0 or not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(OUT_OF_RANGE)
    return value
