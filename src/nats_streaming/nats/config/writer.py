"""Writes a configuration that a nats-server reads back as the same values, and remembers what each line came from.

One entry a line, strings always in quotes: what is special to one version of the grammar is avoided.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from nats_streaming.nats.config.parser import CONFIG_BYTES_MAX
from nats_streaming.nats.config.quoting import quote_value
from nats_streaming.nats.config.values import Place, Setting, Settings, Value

WRITTEN_CHARACTERS_MAX: Final = 4 * CONFIG_BYTES_MAX
"""A small file can stand for a huge one: arrays that name the array before them several times."""

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_BARE_KEY: Final = re.compile(r"[^\s=:{}\[\]#/,;()'\"\x00][^\s=:\x00]*")


class WrittenConfig(NamedTuple):
    """A configuration as text.

    Attributes:
        text: lines, each with its end.
        places: for each line where what stands in it was read.
    """

    text: str
    places: tuple[Place, ...]


def write_config(settings: Settings) -> WrittenConfig:
    """Write settings.

    Args:
        settings: of any origin; what variables stood for is written out.

    Raises:
        ConfigError: a key cannot be written in this grammar, or the text would be too long.
    """
    writer = _Writer()
    writer.entries(settings, 0)
    return WrittenConfig("".join(writer.lines), tuple(writer.places))


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.places: list[Place] = []
        self._characters_left = WRITTEN_CHARACTERS_MAX

    def entries(self, settings: Settings, depth: int) -> None:
        for key, setting in settings.items():
            self._value(f"{_key(key, setting.key_place)}: ", setting.value, setting.key_place, depth)

    def _value(self, head: str, value: Value, place: Place, depth: int) -> None:
        if isinstance(value, dict):
            self._line(f"{head}{{", place, depth)
            self.entries(value, depth + 1)
            self._line("}", place, depth)
        elif isinstance(value, list):
            self._line(f"{head}[", place, depth)
            for setting in value:
                self._element(setting, depth + 1)
            self._line("]", place, depth)
        else:
            self._line(head + _scalar(value), place, depth)

    def _element(self, setting: Setting, depth: int) -> None:
        self._value("", setting.value, setting.place, depth)

    def _line(self, text: str, place: Place, depth: int) -> None:
        line = f"{'  ' * depth}{text}\n"
        self._characters_left -= len(line)
        if self._characters_left < 0:
            raise place.error(
                f"with its variables written out this configuration has more than {WRITTEN_CHARACTERS_MAX} characters"
            )
        self.lines.append(line)
        self.places.extend([place] * line.count("\n"))  # a key in quotes may hold line ends


def _key(key: str, place: Place) -> str:
    if _PLAIN_KEY.fullmatch(key) and key.lower() != "include":
        return key
    for quote in ('"', "'"):
        # No escapes in a key; a byte that is no text has no way into one but as it is.
        if quote not in key and "\0" not in key:
            return f"{quote}{key}{quote}"
    if _BARE_KEY.fullmatch(key):
        return key
    raise place.error("a key with quotes of both kinds cannot be handed on: rename it", key)


def _scalar(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")  # the grammar has no exponents
        return text if "." in text else f"{text}.0"
    if isinstance(value, datetime):
        return f"{value.year:04d}-{value:%m-%dT%H:%M:%SZ}"
    assert isinstance(value, str), "maps and arrays are written line by line"
    return quote_value(value)
