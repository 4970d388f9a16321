"""One key of a configuration file and its value: checked, converted, set; and what was noticed on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from nats_streaming import literals
from nats_streaming.errors import quoted
from nats_streaming.nats.config.values import Place, Setting, Settings, Value, kind_name
from nats_streaming.server.settings.config_keys import Key, Section
from nats_streaming.server.settings.flag_parser import convert, convert_size
from nats_streaming.server.settings.flag_table import BOOL, DURATION, INT, SIZE, STRING, Flag
from nats_streaming.server.settings.options import Options

_KINDS: Final = {STRING: "string", DURATION: "string", BOOL: "bool", INT: "int64", SIZE: "int64"}
"""Kind of a flag to the kind of a value in the file, as the original names it."""

_DURATION_PART: Final = re.compile(r"(?:\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)

_HINTS: Final = {
    STRING: "write text, in quotes if it looks like anything else",
    DURATION: 'write a duration in quotes: "30s", "1m30s" or "500ms"',
    BOOL: "write true or false, without quotes",
    INT: "write a whole number, without quotes",
    SIZE: "write a number of bytes, without quotes: 1000, 2KB, 1GB",
}


class Findings:
    """What reading a configuration brings to light besides options.

    Attributes:
        targets: attributes of `Options` that were set.
        unavailable: places and names of keys that ask for what this version cannot do.
        warnings: what stands there in vain.
        cluster: where clustered mode is asked for, None if it is not.
    """

    def __init__(self) -> None:
        self.targets: set[str] = set()
        self.unavailable: list[str] = []
        self.warnings: list[str] = []
        self.cluster: Place | None = None

    def unknown(self, name: str, setting: Setting, where: str, known: Iterable[str]) -> None:
        """Note a key that means nothing; like the original we go on.

        Args:
            name: as written.
            setting: its value.
            where: what it stands in.
            known: keys that would mean something there.
        """
        import difflib  # only who mistypes pays for it

        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.7)
        hint = f"; did you mean {close[0]}?" if close else ""
        self.warnings.append(f"{setting.key_place}: unknown key {quoted(name)} in {where} is ignored{hint}")


def by_name(keys: Iterable[Key]) -> dict[str, Key]:
    """Each name of the keys to its key."""
    return {name: key for key in keys for name in key.names}


def set_key(options: Options, key: Key, name: str, setting: Setting, findings: Findings) -> None:
    """Set what a key sets.

    Args:
        options: changed in place.
        key: its entry in the table.
        name: as written.
        setting: its value.
        findings: takes notes.

    Raises:
        ConfigError: the value is of another kind, or cannot be read.
    """
    value = converted(key.flag, name, setting)
    if not key.flag.available and value != _default(key.flag):
        findings.unavailable.append(f"{setting.key_place}: {name}")
        return
    for target in key.flag.targets:
        options.set(target, value)
        findings.targets.add(target)


def set_section(options: Options, section: Section, setting: Setting, findings: Findings, *, warn: bool = True) -> None:
    """Set what the keys of a section set.

    Args:
        options, findings: as for `set_key`.
        section: its entry in the table.
        setting: the map.
        warn: whether keys that mean nothing are noted.

    Raises:
        ConfigError: it is no map, or a value in it is wrong.
    """
    keys = by_name(section.keys)
    for name, inner in as_map(section.title, setting).items():
        key = keys.get(name.lower())
        if key is not None:
            set_key(options, key, name, inner, findings)
        elif warn:
            findings.unknown(name, inner, section.title, keys)


def as_map(title: str, setting: Setting) -> Settings:
    """The map a setting must be.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(setting.value, dict):
        raise setting.place.error(
            f"expected {title} to be a map/struct, got {_value_text(setting.value)} (write a map: {{ key: value }})"
        )
    return setting.value


def converted(flag: Flag, name: str, setting: Setting) -> str | int | bool:
    """A value as the kind of its flag.

    Raises:
        ConfigError: it is of another kind, or cannot be read.
    """
    value, wanted = setting.value, _KINDS[flag.kind]
    got = kind_name(value)
    if got != wanted or not isinstance(value, str | int | bool):
        raise setting.place.error(
            f'parameter "{name}" value is expected to be {wanted}, got {got} ({_HINTS[flag.kind]})', name
        )
    if flag.kind != DURATION:
        return value
    assert isinstance(value, str)
    try:
        return literals.parse_duration(value)
    except ValueError as error:
        reason = _duration_error(value, str(error))
        raise setting.place.error(f'{reason} (parameter "{name}": {_HINTS[DURATION]})', name) from None


def _default(flag: Flag) -> str | int | bool:
    if flag.kind == SIZE:
        return convert_size(flag.names[0], flag.default)
    return convert(flag.kind, flag.default)


def _duration_error(text: str, reason: str) -> str:
    """What Go says of a duration it cannot read."""
    position = 1 if text[:1] in ("+", "-") else 0
    while reason == literals.PARSE_ERROR and (match := _DURATION_PART.match(text, position)) is not None:
        if not match[1]:
            return f"time: missing unit in duration {quoted(text)}"
        if match[1] not in literals.DURATION_UNITS_NS:
            return f"time: unknown unit {quoted(match[1])} in duration {quoted(text)}"
        position = match.end()
    return f"time: invalid duration {quoted(text)}"


def _value_text(value: Value) -> str:
    """A value in an error message, in one short line."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else str(value)
