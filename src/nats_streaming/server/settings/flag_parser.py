"""Arguments to flags, by the rules of Go's `flag` package. Knows the table, not what a flag does.

`-x` and `--x` are the same. A value follows as `-x value` or `-x=value`; a boolean takes it only
the second way. Parsing stops at the first word that is no flag, and after `--`.

Source: operations specification, section 1.1.
"""

from __future__ import annotations

from typing import NamedTuple

from nats_streaming import literals
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.server.settings.flag_table import BOOL, DURATION, FLAGS, INT, SIZE, Flag

Value = str | int | bool

_HINTS = {
    BOOL: "write true or false",
    INT: "write a whole number",
    DURATION: "write a duration such as 30s, 1m30s or 500ms",
}


class GivenFlag(NamedTuple):
    """A flag as it stands on the command line.

    Attributes:
        name: the one of its names that was used.
        flag: its entry in the table.
        value: converted, but a size is still text: the original reads it later.
    """

    name: str
    flag: Flag
    value: Value


def parse_arguments(arguments: list[str]) -> tuple[list[GivenFlag], list[str]]:
    """Split a command line.

    Args:
        arguments: without the program's name.

    Returns:
        The flags in the order given, and the words from the first that is no flag.

    Raises:
        ConfigError: a flag is unknown, lacks its value, or has one that cannot be read.
    """
    given: list[GivenFlag] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if len(word) < 2 or word[0] != "-":
            break
        position += 1
        if word == "--":
            break
        name, equals, text = word[2 if word[1] == "-" else 1 :].partition("=")
        if not name or name[0] == "-":
            raise ConfigError(f"bad flag syntax: {word}", option=word)
        flag = FLAGS.get(name)
        if flag is None:
            raise ConfigError(f"flag provided but not defined: -{name}{_did_you_mean(name)}", option=name)
        if not equals:
            if flag.kind == BOOL:
                text = "true"
            elif position < len(arguments):
                text = arguments[position]
                position += 1
            else:
                raise ConfigError(f"flag needs an argument: -{name}", option=name)
        given.append(GivenFlag(name, flag, _value(name, flag, text)))
    return given, arguments[position:]


def convert(kind: str, text: str) -> Value:
    """Read a value that is not a size.

    Args:
        kind: of the flag.
        text: as written.

    Raises:
        ValueError: the text is no value of that kind, or out of range.
    """
    if kind == BOOL:
        return literals.parse_bool(text)
    if kind == INT:
        return literals.parse_int(text)
    if kind == DURATION:
        return literals.parse_duration(text)
    return text


def convert_size(name: str, text: str) -> int:
    """Read a size.

    Args:
        name: the flag's name as used.
        text: as written.

    Raises:
        ConfigError: the text is no size, or out of range.
    """
    try:
        return literals.parse_size(text)
    except ValueError as error:
        reason = "" if str(error) == literals.PARSE_ERROR else f" ({error})"
        raise ConfigError(
            f"{name} should be a size, got '{text}'{reason}\n"
            "write a number of bytes, perhaps with a unit: 1000, 2k (2000), 2KB (2048), 1GB",
            option=name,
        ) from None


def _value(name: str, flag: Flag, text: str) -> Value:
    if flag.kind == SIZE:
        return text
    try:
        return convert(flag.kind, text)
    except ValueError as error:
        shape = f"boolean value {quoted(text)} for" if flag.kind == BOOL else f"value {quoted(text)} for flag"
        raise ConfigError(f"invalid {shape} -{name}: {error}\n{_HINTS[flag.kind]}", option=name) from None


def _did_you_mean(name: str) -> str:
    import difflib  # only a wrong command line pays for it

    close = difflib.get_close_matches(name, FLAGS, n=3, cutoff=0.7)
    return f"\ndid you mean {' or '.join('-' + match for match in close)}?" if close else ""
