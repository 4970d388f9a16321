"""Reads a configuration: entries, maps and arrays, with what files include and what variables stand for.

Blocking file access, for the start and for a reload. Everything that somebody's file can make large is bounded.

Source: operations specification, section 2.1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NoReturn

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.scanner import Scanner, Variable, shown
from nats_streaming.nats.config.values import Place, Setting, Settings, Value, put

CONFIG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a file with all it includes: ten thousand accounts fit, a log file named by mistake does not."""

NESTING_MAX: Final = 100
"""Maps and arrays in one another: far more than any option needs, far less than Python's stack bears."""

INCLUDE_DEPTH_MAX: Final = 20
"""Files that include one another."""

_BCRYPT_PREFIX: Final = "2a$"
_ENVIRONMENT_KEY: Final = "pk"  # as in nats-server, so that its peculiar errors are the same


def read_config_file(path: str, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a file and all it includes.

    Args:
        path: of the file; what it includes is looked for beside it.
        environment: what variables may stand for; None takes the process's own.

    Raises:
        ConfigError: a file cannot be read, or breaks the grammar; the text says where, and how to mend it.
    """
    return _read_file(path, _Reading(os.environ if environment is None else environment))


def parse_config(text: str, name: str, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a configuration that is in memory; files it includes are looked for in the current directory.

    Args:
        text: what a file would hold.
        name: what places call it.
        environment: as for `read_config_file`.

    Raises:
        ConfigError: as `read_config_file`.
    """
    reading = _Reading(os.environ if environment is None else environment)
    return _Parser(Scanner(text, name), "", reading).parse()


class _Reading:
    """What the parsers of one file, of what it includes and of its variables have in common."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.variables: list[str] = []  # being read from the environment: each may name another
        self.files: list[str] = []  # being read: each is included by the one before it
        self.bytes_left = CONFIG_BYTES_MAX


def _read_file(path: str, reading: _Reading) -> Settings:
    try:
        with open(path, "rb") as file:
            data = file.read(reading.bytes_left + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(f"open {path}: {(reason or str(error)).lower()}") from None
    if len(data) > reading.bytes_left:
        raise ConfigError(
            f"{path} is too large: a configuration has at most {CONFIG_BYTES_MAX} bytes, with all it includes"
        )
    reading.bytes_left -= len(data)
    real_path = os.path.realpath(path)
    if real_path in reading.files:
        raise ConfigError(f"{path} includes itself, perhaps through others")
    if len(reading.files) > INCLUDE_DEPTH_MAX:
        raise ConfigError(f"more than {INCLUDE_DEPTH_MAX} files include one another")
    reading.files.append(real_path)
    try:
        scanner = Scanner(data.decode("utf-8", "surrogateescape"), path)
        return _Parser(scanner, os.path.dirname(path), reading).parse()
    finally:
        reading.files.pop()


class _Parser:
    """Reads one text; files it includes and variables get parsers of their own."""

    def __init__(self, scanner: Scanner, directory: str, reading: _Reading) -> None:
        self._scan = scanner
        self._directory = directory
        self._reading = reading
        self._scopes: list[Settings] = []  # the maps round the position: where variables are looked for
        self._depth = 0

    def parse(self) -> Settings:
        scan = self._scan
        settings: Settings = {}
        self._scopes.append(settings)
        braces = 0  # a file may stand in braces, like JSON; whether they are closed does not matter
        while True:
            scan.skip_spaces()
            if scan.skip_comment():
                continue
            if not scan.next:
                return settings
            if scan.next == "{":
                scan.position += 1
                braces += 1
            elif scan.next == "}":
                self._outer_brace(braces)
                braces -= 1
            else:
                self._entry(settings, in_map=False)
                braces -= self._end_of_entry()

    def _outer_brace(self, braces: int) -> None:
        scan = self._scan
        start = scan.position
        scan.position += 1
        if braces <= 0:
            scan.skip_spaces()
            if scan.next:
                raise scan.error("a } that closes nothing", start)

    def _end_of_entry(self) -> bool:
        """Go over what ends an entry outside of maps; whether that was a brace."""
        scan = self._scan
        scan.skip_blanks()
        if not scan.next or scan.skip_comment():
            return False
        if scan.next not in "\n\r;,}":
            raise scan.error(
                "expected the end of this entry (a line end, ; or ,) or a comment, "
                f"but got {shown(scan.next)}: a value with spaces goes in quotes"
            )
        scan.position += 1
        return scan.text[scan.position - 1] == "}"

    def _entry(self, settings: Settings, *, in_map: bool) -> None:
        """A key with its value, or an include."""
        scan = self._scan
        start = scan.position
        if scan.next in "=:":
            raise scan.error(f"a '{scan.next}' without a key before it")
        if scan.next in "\"'":
            key = scan.quoted_key()
        else:
            if in_map and scan.next == "]":
                raise scan.error("a ] in a map: maps end with }")
            key = scan.bare_key()
            # Only with white space behind it is the word an include, not a key.
            if key.lower() == "include" and scan.next and scan.next not in "=:":
                self._include(settings, start)
                return
        scan.skip_spaces()
        if not scan.next:
            raise scan.error(f"config is invalid: the key {shown(key)} has no value", start)
        if scan.next in "=:":
            separator = scan.next
            scan.position += 1
            if in_map:
                scan.skip_spaces()
            else:
                scan.skip_blanks()
                if scan.at_line_end:
                    raise scan.error(f"expected the value of {shown(key)} on the line of its '{separator}'")
        if in_map and scan.next and scan.next in ",}":
            raise scan.error(f"the key {shown(key)} has no value")
        value_start = scan.position
        value = self._value(in_array=False)
        put(settings, key, Setting(value, scan.place(value_start), scan.place(start)))

    def _value(self, *, in_array: bool) -> Value:
        scan = self._scan
        if scan.next == "{":
            return self._map()
        if scan.next == "[":
            return self._array()
        start = scan.position
        value = scan.scalar(in_array=in_array)
        return self._variable(value, start) if isinstance(value, Variable) else value

    def _map(self) -> Settings:
        scan = self._scan
        start = self._enter()
        settings: Settings = {}
        self._scopes.append(settings)
        while True:
            scan.skip_spaces()
            if scan.skip_comment():
                continue
            if not scan.next:
                raise scan.error("this map has no closing }", start)
            if scan.next == "}":
                break
            self._entry(settings, in_map=True)
            scan.skip_blanks()
            if scan.skip_comment() or scan.next == "}":
                continue
            if not scan.next:
                raise scan.error("this map has no closing }", start)
            if scan.next not in "\n\r;,":
                raise scan.error(
                    f"expected a line end, ',', ';' or '}}' after a value in a map, but got {shown(scan.next)}: "
                    "a value with spaces goes in quotes"
                )
            scan.position += 1
        self._scopes.pop()
        self._leave()
        return settings

    def _array(self) -> list[Setting]:
        scan = self._scan
        start = self._enter()
        settings: list[Setting] = []
        while True:
            scan.skip_spaces()
            if scan.skip_comment():
                continue
            if scan.next == "]":
                break
            if not scan.next:
                raise scan.error("this array has no closing ]", start)
            if scan.next == ",":
                raise scan.error("a ',' without a value before it")
            place = scan.place(scan.position)
            settings.append(Setting(self._value(in_array=True), place, place))
            while True:
                scan.skip_blanks()
                if not scan.skip_comment():
                    break
            if scan.next == "]":
                break
            if not scan.next:
                raise scan.error("this array has no closing ]", start)
            if scan.next not in "\n\r,":
                raise scan.error(
                    f"expected ',', a line end or ']' after a value in an array, but got {shown(scan.next)}"
                )
            scan.position += 1
        self._leave()
        return settings

    def _enter(self) -> int:
        """Go into a map or array; its start."""
        start = self._scan.position
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self._scan.error(f"more than {NESTING_MAX} maps and arrays in one another")
        self._scan.position += 1
        return start

    def _leave(self) -> None:
        self._depth -= 1
        self._scan.position += 1

    def _include(self, settings: Settings, start: int) -> None:
        scan = self._scan
        path = scan.include_path()
        # A leading slash is no exception in the original, either: paths begin at the file that includes.
        beside = os.path.normpath(os.path.join(self._directory, path.lstrip("/")))
        try:
            included = _read_file(beside, self._reading)
        except ConfigError as error:
            told = f"error parsing include file {shown(path)}, "
            if error.file:
                raise ConfigError(
                    f"{error.text} ({told}included at {scan.place(start)})",
                    file=error.file, line=error.line, column=error.column,
                ) from None  # fmt: skip
            hint = "; the path of an included file begins at the directory of this one, with a leading / too"
            raise scan.error(f"{told}{error}{hint if path.startswith('/') else ''}", start) from None
        for key, setting in included.items():
            put(settings, key, setting)

    def _variable(self, name: str, start: int) -> Value:
        """What a variable stands for: a key read before, innermost map first, else text of the environment."""
        if name.startswith(_BCRYPT_PREFIX):
            return f"${name}"
        for scope in reversed(self._scopes):
            if name in scope:
                scope[name].is_used = True
                return scope[name].value
        reading = self._reading
        text = reading.environment.get(name) if name else None
        if text is None:
            self._refuse_variable(
                name, start, "can not be found: it is no key before this line and no environment variable"
            )
        if name in reading.variables:
            self._refuse_variable(name, start, f"could not be parsed: variable reference cycle for {shown(name)}")
        if len(text) > reading.bytes_left:
            self._refuse_variable(name, start, "could not be parsed: its text is too long")
        reading.bytes_left -= len(text)
        reading.variables.append(name)
        try:
            settings = _Parser(Scanner(f"{_ENVIRONMENT_KEY}={text}", f"${name}"), "", reading).parse()
        except ConfigError as error:
            self._refuse_variable(name, start, f"could not be parsed: {error}")
        finally:
            reading.variables.pop()
        return settings[_ENVIRONMENT_KEY].value

    def _refuse_variable(self, name: str, start: int, why: str) -> NoReturn:
        place: Place = self._scan.place(start)
        raise place.error(f"variable reference for {shown(name)} on line {place.line} {why}")
