"""Single values at a position of a text: strings, numbers, dates, and how far blanks and comments reach.

Where a rule looks odd, it is nats-server's: a file must mean the same to both. What nats-server reads as something
that nobody can have meant is an error here; `tests/operations/test_config_grammar.py` lists those.

Source: operations specification, section 2.1.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from datetime import UTC, datetime
from typing import Final

from nats_streaming.constants import INT64_MAX, INT64_MIN
from nats_streaming.errors import ConfigError, bare
from nats_streaming.nats.config.values import Place, Value

# The white space of Unicode: `\s` would add some control characters.
_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES: Final = re.compile(f"[{_SPACE}]*")
_BLANKS: Final = re.compile("[ \t]*")
_COMMENT: Final = re.compile("(?:#|//)[^\n\r]*")
_BARE_KEY: Final = re.compile(f"[^{_SPACE}=:]+")
_BARE_STOP: Final = re.compile("[\n\r;,\\]} \t'\\\\]")
_PATH_STOP: Final = re.compile("[\n\r;} \t']")
_DOUBLE_QUOTED_STOP: Final = re.compile('["\\\\]')
_BLOCK_END: Final = re.compile("\n\\)(?=\n|\\Z)")
_DIGITS: Final = re.compile(r"\d+")
_FRACTION: Final = re.compile(r"\.\d+")
_ADDRESS_REST: Final = re.compile(r"[\d.:-]*")
_SIZE: Final = re.compile("[kmgtpe][bi]*", re.IGNORECASE)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_NUMBER_ENDS: Final = "\n\r};, \t"

_INT64_DIGITS_MAX: Final = 19
_SHOWN_MAX: Final = 60
_UNITS: Final = "kmgtpe"
_TRUE: Final = ("true", "yes", "on")
_FALSE: Final = ("false", "no", "off")
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}


class Variable(str):
    """The name of a variable, where a value is expected."""

    __slots__ = ()


class Scanner:
    """A text and a position in it. Methods that read advance `position`; all errors name a place."""

    def __init__(self, text: str, name: str) -> None:
        """
        Args:
            text: the whole text.
            name: what to call it in places.

        Raises:
            ConfigError: it holds what no configuration may hold.
        """
        self.text = text
        self.name = name
        self.position = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        if text.startswith("\ufeff"):
            raise self.error("the file begins with a byte order mark: save it as UTF-8 without one", 0)
        zero = text.find("\0")
        if zero >= 0:
            raise self.error("a NUL byte: this is no text file", zero)

    def place(self, position: int) -> Place:
        """The place of a position, from 0 to the text's end."""
        line = bisect_right(self._line_starts, position)
        return Place(self.name, line, position - self._line_starts[line - 1] + 1)

    def error(self, text: str, position: int | None = None) -> ConfigError:
        """An error at a position, by default the present one."""
        return self.place(self.position if position is None else position).error(text)

    @property
    def next(self) -> str:
        """The character at the position, "" at the end."""
        return self.text[self.position : self.position + 1]

    @property
    def at_line_end(self) -> bool:
        return self.next in ("\n", "\r")

    def skip_spaces(self) -> None:
        """Go over white space, line ends included."""
        self._skip(_SPACES)

    def skip_blanks(self) -> None:
        """Go over spaces and tabs."""
        self._skip(_BLANKS)

    def skip_comment(self) -> bool:
        """Go to the end of the line if a comment begins here.

        Raises:
            ConfigError: a lone slash.
        """
        if self._skip(_COMMENT):
            return True
        if self.next == "/":
            raise self.error("a lone '/': a comment begins with // or #, and a path goes in quotes")
        return False

    def quoted_key(self) -> str:
        """A key in quotes of either kind; there are no escapes in it."""
        return self._up_to_quote("key")

    def bare_key(self) -> str:
        """A key without quotes: up to white space, `=` or `:`."""
        match = _BARE_KEY.match(self.text, self.position)
        assert match is not None, "callers look for separators and white space first"
        self.position = match.end()
        return match[0]

    def include_path(self) -> str:
        """What follows `include`."""
        self.skip_blanks()
        first = self.next
        if not first or first in "[{(-\\\n\r" or first.isdecimal():
            raise self.error("expected the path of a file to include; put it in quotes")
        if first in "\"'":
            return self._up_to_quote("path")
        match = _PATH_STOP.search(self.text, self.position)
        end = len(self.text) if match is None else match.start()
        path = self.text[self.position : end]
        self.position = end if match is None or match[0] != "'" else end + 1
        return path

    def scalar(self, *, in_array: bool) -> Value | Variable:
        """Any value but a map or an array."""
        first = self.next
        if first == '"':
            return self._double_quoted()
        if first == "'":
            return self._up_to_quote("string")
        if first == "(":
            return self._block()
        if first == "-":
            return self._negative()
        if first.isdecimal():
            return self._digits_first(in_array=in_array)
        if first == ".":
            raise self.error("Floats must start with a digit; a path or name that begins with a dot goes in quotes")
        return self._bare(self.position)

    # Strings

    def _up_to_quote(self, what: str) -> str:
        start = self.position
        end = self.text.find(self.next, start + 1)
        if end < 0:
            raise self.error(f"this {what} has no closing {self.next}", start)
        self.position = end + 1
        return self.text[start + 1 : end]

    def _double_quoted(self) -> str:
        start = self.position
        self.position += 1
        parts: list[str] = []
        while True:
            match = _DOUBLE_QUOTED_STOP.search(self.text, self.position)
            if match is None:
                raise self.error('this string has no closing "', start)
            parts.append(self.text[self.position : match.start()])
            self.position = match.end()
            if match[0] == '"':
                return _joined(parts)
            parts.append(self._escaped())

    def _escaped(self) -> str:
        """What a backslash, which is behind us, makes of what follows."""
        letter = self.next
        if letter == "x":
            digits = self.text[self.position + 1 : self.position + 3]
            if not re.fullmatch("[0-9a-fA-F]{2}", digits):
                raise self.error("expected two hexadecimal digits after \\x", self.position - 1)
            self.position += 3
            code = int(digits, 16)
            return chr(code) if code < 0x80 else chr(0xDC00 + code)
        if letter not in _ESCAPES or not letter:
            raise self.error(
                f'invalid escape \\{letter}: there are \\xHH \\t \\n \\r \\" and \\\\; in single quotes a backslash'
                " is an ordinary character",
                self.position - 1,
            )
        self.position += 1
        return _ESCAPES[letter]

    def _bare(self, start: int) -> str | bool | Variable:
        """Text without quotes that began at `start`; the position may be further on."""
        parts: list[str] = []
        has_escapes = False
        part = start
        while True:
            match = _BARE_STOP.search(self.text, self.position)
            self.position = len(self.text) if match is None else match.start()
            parts.append(self.text[part : self.position])
            if match is None or match[0] not in "\\'":
                break
            self.position += 1
            if match[0] == "'":
                return _joined(parts)  # it ends the text and is no part of it
            has_escapes = True
            parts.append(self._escaped())
            part = self.position
        text = _joined(parts)
        if has_escapes:
            return text
        if text.startswith("$"):
            return Variable(text[1:])
        word = text.lower()
        return True if word in _TRUE else False if word in _FALSE else text

    def _block(self) -> str:
        start = self.position
        match = _BLOCK_END.search(self.text, start + 1)
        if match is None:
            raise self.error("this block has no end: a line that is exactly )", start)
        self.position = match.end()
        return self.text[start + 1 : match.start() + 1]

    # Numbers and dates

    def _negative(self) -> Value | Variable:
        start = self.position
        self.position += 1
        if not self._skip(_DIGITS):
            raise self.error("expected a digit after '-'; text that begins with '-' goes in quotes", start)
        if self._skip_fraction():
            return self._float_or_address(start)
        return self._size(start) if self._skip(_SIZE) else self._integer(start)

    def _digits_first(self, *, in_array: bool) -> Value | Variable:
        start = self.position
        self._skip(_DIGITS)
        follows = self.next
        if follows == "-":
            return self._date(start)
        if self._skip_fraction():
            return self._float_or_address(start)
        if self._skip(_SIZE):
            return self._size(start)
        if not follows or follows in _NUMBER_ENDS:
            return self._integer(start)
        if follows == "]" and in_array:
            raise self.error("put a space between a number and the ] behind it")
        # Whatever it is, it is part of the text; only what comes after it may end that.
        self.position += 1
        return self._bare(start)

    def _size(self, start: int) -> Value | Variable:
        """What digits and the letters of a size begin: a number if nothing follows, else text.

        The original refused a digit here (`1m30s`), nats-server does so no more.
        """
        if not self.next or self.next in _NUMBER_ENDS:
            return self._integer(start)
        return self._bare(start)

    def _float_or_address(self, start: int) -> float | str:
        """What digits, a point and digits begin."""
        if self.next != ".":
            return self._float(start)
        self._skip(_ADDRESS_REST)
        return self.text[start : self.position]

    def _skip_fraction(self) -> bool:
        if self.next != ".":
            return False
        if not self._skip(_FRACTION):
            raise self.error("expected a digit after the '.' of a number; other text goes in quotes")
        return True

    def _integer(self, start: int) -> int:
        text = self.text[start : self.position]
        digits = text.rstrip("bBiIkKmMgGtTpPeE")
        suffix = text[len(digits) :].lower()
        magnitude = digits.removeprefix("-")
        if not magnitude.isascii():
            raise self.error(f"expected integer, but got {shown(text)}: only the digits 0 to 9 make a number", start)
        if suffix[1:] not in ("", "b", "i", "ib"):
            raise self.error(
                f"{shown(text)} is no size: units are k, kb, ki, kib, and so on with m, g, t, p and e", start
            )
        significant = magnitude.lstrip("0")
        exponent = _UNITS.index(suffix[0]) + 1 if suffix else 0
        factor: int = 1000**exponent if len(suffix) < 2 else 1024**exponent
        if len(significant) <= _INT64_DIGITS_MAX:
            value = int(significant or "0") * factor * (-1 if text.startswith("-") else 1)
            if INT64_MIN <= value <= INT64_MAX:
                return value
        raise self.error(f"integer {shown(text)} is out of the range of 64 bits", start)

    def _float(self, start: int) -> float:
        text = self.text[start : self.position]
        if not text.isascii():
            raise self.error(f"expected float, but got {shown(text)}: only the digits 0 to 9 make a number", start)
        value = float(text)
        if math.isinf(value):
            raise self.error(f"float {shown(text)} is out of the range", start)
        return value

    def _date(self, start: int) -> datetime:
        match = _DATE.match(self.text, start)
        if match is None:
            raise self.error(
                "All ISO8601 dates must be in full Zulu form, like 2026-01-31T23:59:59Z; text that begins with digits"
                " and a '-' goes in quotes",
                start,
            )
        self.position = match.end()
        try:
            return datetime.strptime(match[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise self.error(f"there is no date {match[0]}", start) from None

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Go over what matches here; whether anything did."""
        match = pattern.match(self.text, self.position)
        if match is None or match.end() == self.position:
            return False
        self.position = match.end()
        return True


def _joined(parts: list[str]) -> str:
    """The parts as one text; bytes from escapes become characters where they form UTF-8 together."""
    text = "".join(parts)
    if len(parts) == 1 or text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    """Text of a file as an error message shows it: in quotes, printable and of a length to read."""
    return f"'{bare(text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + '...')}'"
