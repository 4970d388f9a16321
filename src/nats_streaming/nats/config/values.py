"""What a configuration file is made of, after reading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from nats_streaming.errors import ConfigError


class Place(NamedTuple):
    """Where something stands.

    Attributes:
        file: path of the file, or `$NAME` of the environment variable.
        line, column: from 1; columns count characters.
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def error(self, text: str, option: str = "") -> ConfigError:
        """What is wrong here, as an error to raise."""
        return ConfigError(text, option=option, file=self.file, line=self.line, column=self.column)


Value = str | int | float | bool | datetime | list["Setting"] | dict[str, "Setting"]
"""Bytes of a file that are not UTF-8 are lone surrogates in a string (`surrogateescape`); dates are UTC."""


@dataclass(slots=True)
class Setting:
    """One value of a map or an array.

    Attributes:
        value: what was read; what a variable stands for is shared with the place it comes from.
        place: where the value stands, or the variable in its stead.
        key_place: where the key of a map's value stands; of an array's value the same as `place`.
        is_used: a variable has named it, so it is there for a reason even if its key means nothing.
    """

    value: Value
    place: Place
    key_place: Place
    is_used: bool = False


Settings = dict[str, Setting]
"""A map: keys as written, in the order in which their last values stand in the text."""


def put(settings: Settings, key: str, setting: Setting) -> None:
    """Add a key at the end; of equal keys the last one holds."""
    settings.pop(key, None)
    settings[key] = setting


def kind_name(value: Value) -> str:
    """The kind as error messages call it, which is how the original called it."""
    if isinstance(value, bool):
        return "bool"
    return {str: "string", int: "int64", float: "float64", list: "slice", dict: "map", datetime: "struct"}[type(value)]
