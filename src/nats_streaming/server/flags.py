"""The command line: what is asked for, and the `Options` that follow from it.

Defaults, then the configuration file (not yet), then flags: whoever reads the file calls `apply`
again after it.

Source: operations specification, sections 1.1 to 1.6.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from nats_streaming.constants import DEFAULT_NATS_PORT
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.server.flag_parser import GivenFlag, Value, convert, convert_size, parse_arguments
from nats_streaming.server.flag_table import BOOL, CHILD, HELP, SIZE, VERSION, Flag
from nats_streaming.server.options import Options

RUN: Final = "run"
SHOW_VERSION: Final = "version"
SHOW_HELP: Final = "help"

_STORES_TO_COME = ("SQL",)


class CommandLine(NamedTuple):
    """What a command line asks for.

    Attributes:
        action: `RUN`, `SHOW_VERSION` or `SHOW_HELP`.
        options: those to run with; only the nats-server's path is set if nothing is to run.
    """

    action: str
    options: Options


def read_command_line(arguments: list[str]) -> CommandLine:
    """Work out what to do.

    Args:
        arguments: without the program's name.

    Raises:
        ConfigError: something is wrong with the arguments; the text says what and how to mend it.
    """
    given, words = parse_arguments(arguments)
    options = Options()
    action = _action(given, words)
    if action != RUN:
        binary = [item.value for item in given if "nats.binary" in item.flag.targets]
        options.nats.binary = str(binary[-1]) if binary else ""
        return CommandLine(action, options)
    _refuse_what_is_to_come(given)
    apply(given, options)
    _check_combinations(options, {name for item in given for name in item.flag.names})
    return CommandLine(RUN, options)


def apply(given: list[GivenFlag], options: Options) -> None:
    """Set options by flags; of flags that set the same, the last wins, with the original's exceptions.

    Args:
        given: flags in the order of the command line.
        options: changed in place.

    Raises:
        ConfigError: a size cannot be read.
    """
    child: dict[Flag, Value] = {}
    late: list[GivenFlag] = []
    for item in given:
        if item.flag.targets == (CHILD,):
            child[item.flag] = item.value
        elif item.flag.kind == SIZE or len(item.flag.targets) > 1:
            late.append(item)
        else:
            _set(options, item.flag, item.value)
    # The original visits these by name after all others: -mb beats -max_bytes and -SDV beats -SD
    # whatever their order. The sort is stable: of the same name still the last wins.
    for item in sorted(late, key=lambda item: item.name):
        value = convert_size(item.name, str(item.value)) if item.flag.kind == SIZE else item.value
        _set(options, item.flag, value)
    options.store_type = options.store_type.upper()
    options.nats.port = options.nats.port or DEFAULT_NATS_PORT  # as nats-server does; -1 is any free port
    options.nats.child_arguments = [
        argument for flag, value in child.items() for argument in _child_arguments(flag, value)
    ]


def _action(given: list[GivenFlag], words: list[str]) -> str:
    if _last(given, VERSION) is True:
        return SHOW_VERSION
    if _last(given, HELP) is True:
        return SHOW_HELP
    if not words:
        return RUN
    word = words[0].lower()
    if word in (SHOW_VERSION, SHOW_HELP):
        return word
    text = f"unrecognized command: {quoted(words[0])}"
    if given and given[-1].flag.kind == BOOL:
        text += f"\na true or false for -{given[-1].name} goes behind an equals sign: -{given[-1].name}={words[0]}"
    raise ConfigError(text)


def _last(given: list[GivenFlag], flag: Flag) -> Value | None:
    value: Value | None = None
    for item in given:
        if item.flag is flag:
            value = item.value
    return value


def _set(options: Options, flag: Flag, value: Value) -> None:
    for target in flag.targets:
        room, _, name = target.rpartition(".")
        setattr(getattr(options, room) if room else options, name, value)


def _child_arguments(flag: Flag, value: Value) -> list[str]:
    name = f"-{flag.names[0]}"
    if flag.kind == BOOL:
        return [f"{name}={'true' if value else 'false'}"]
    return [name, str(value)]


def _refuse_what_is_to_come(given: list[GivenFlag]) -> None:
    """Refuse flags without a function, unless they ask for what is the case anyway."""
    last: dict[Flag, GivenFlag] = {item.flag: item for item in given if not item.flag.available}
    wanted = [f"-{item.name}" for flag, item in last.items() if not _is_default(flag, item)]
    for item in given:
        if "store_type" in item.flag.targets and str(item.value).upper() in _STORES_TO_COME:
            wanted.append(f"-{item.name} {item.value}")
    if wanted:
        raise ConfigError(f"not available in this version yet: {', '.join(wanted)}", option=wanted[0].lstrip("-"))


def _is_default(flag: Flag, item: GivenFlag) -> bool:
    if flag.kind == SIZE:
        return convert_size(item.name, str(item.value)) == convert_size(item.name, flag.default)
    return item.value == convert(flag.kind, flag.default)


def _check_combinations(options: Options, names: set[str]) -> None:
    if options.nats_server_url and options.nats.http_port:
        raise ConfigError(
            "not available in this version yet: -http_port together with -nats_server", option="http_port"
        )
    if "routes" in names and "cluster" not in names:
        raise ConfigError("solicited routes require cluster capabilities, e.g. --cluster", option="routes")
