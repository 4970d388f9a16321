"""The command line: what is asked for, and the `Options` that follow from it.

Defaults, then configuration files, then flags. What the original does otherwise in single cases is here, too.

Source: operations specification, sections 1.1 to 1.6.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Final, NamedTuple

from nats_streaming.constants import DEFAULT_NATS_PORT
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.server.settings.flag_parser import GivenFlag, Value, convert, convert_size, parse_arguments
from nats_streaming.server.settings.flag_table import (
    BOOL,
    CHILD,
    CLUSTERING,
    CONFIG,
    FLAGS,
    HELP,
    HELP_TLS,
    SIGNAL,
    SIZE,
    SQL_INIT,
    SQL_SCRIPT,
    STAN_CONFIG,
    TEST,
    VERSION,
    Flag,
)
from nats_streaming.server.settings.options import Options

if TYPE_CHECKING:
    from nats_streaming.server.settings.config import LoadedConfig

RUN: Final = "run"
TEST_CONFIG: Final = "test"
SHOW_VERSION: Final = "version"
SHOW_HELP: Final = "help"
SHOW_TLS_HELP: Final = "tls help"
SEND_SIGNAL: Final = "signal"
CREATE_TABLES: Final = "sql init"
SHOW_TABLES: Final = "sql script"

_ENCRYPTION_KEY: Final = "encryption.key"
_COMBINED_LEVELS: Final = ("DV", "VV", "DVV")
_NATS: Final = "nats."

_NO_CLUSTERING: Final = (
    "clustered mode is not available in this version: several servers with one -ft_group over one FILE or SQL store"
    " take over from each other, if that is what it is for"
)


_OURS_TOO: Final = {"tlscert": "nats.tls_cert", "tlskey": "nats.tls_key"}
"""Flags that are handed on, and of which we need the value, too."""


class CommandLine(NamedTuple):
    """What a command line asks for.

    Attributes:
        action: `RUN`, `TEST_CONFIG`, `SHOW_VERSION`, `SHOW_HELP`, `SHOW_TLS_HELP`, `SEND_SIGNAL`, `CREATE_TABLES` or
            `SHOW_TABLES`.
        options: those to run with; only the nats-server's path is set if nothing is to run.
        signal: what to send to whom, for `SEND_SIGNAL`.
    """

    action: str
    options: Options
    signal: str = ""


def read_command_line(arguments: list[str]) -> CommandLine:
    """Work out what to do; reads the configuration files that are named.

    Args:
        arguments: without the program's name.

    Raises:
        ConfigError: something is wrong with arguments or files; the text says what and how to mend it.
    """
    given, words = parse_arguments(arguments)
    options = Options()
    action = _action(given, words)
    if action not in (RUN, TEST_CONFIG):
        binary = [item.value for item in given if "nats.binary" in item.flag.targets]
        options.nats.binary = str(binary[-1]) if binary else ""
        return CommandLine(action, options)
    if signal := _last(given, SIGNAL):
        return CommandLine(SEND_SIGNAL, options, str(signal))
    config, stan_config = str(_last(given, CONFIG) or ""), str(_last(given, STAN_CONFIG) or "")
    loaded: LoadedConfig | None = None
    if config or stan_config:
        from nats_streaming.server.settings.config import load_config

        loaded = load_config(config, stan_config, options)
    elif action == TEST_CONFIG:
        raise ConfigError("must specify [-c, --config] option to check configuration file syntax", option="t")
    _refuse_clustering(given, loaded)
    apply(given, options, frozenset() if loaded is None else _kept(loaded.findings.targets, only_streaming=not config))
    _refuse_what_is_to_come(given, loaded)
    _check_combinations(given, options, loaded)
    if loaded is not None:
        from nats_streaming.server.settings.config import set_nats_text

        options.warnings += set_nats_text(loaded, options)
    if action == RUN and _last(given, SQL_SCRIPT):
        action = SHOW_TABLES
    elif action == RUN and _last(given, SQL_INIT):
        action = CREATE_TABLES
    return CommandLine(action, options)


def apply(given: list[GivenFlag], options: Options, kept: Set[tuple[str, str]] = frozenset()) -> None:
    """Set options by flags; of flags that set the same, the last wins, with the original's exceptions.

    Args:
        given: flags in the order of the command line.
        options: changed in place.
        kept: first name of a flag and attribute which that flag leaves as the file has set it.

    Raises:
        ConfigError: a size cannot be read.
    """
    child: dict[Flag, Value] = {}
    late: list[GivenFlag] = []
    flagged: set[str] = set()

    def set_targets(item: GivenFlag, value: Value) -> None:
        for target in item.flag.targets:
            if (item.flag.names[0], target) not in kept:
                options.set(target, value)
                flagged.add(target)

    for item in given:
        if item.flag.targets == (CHILD,):
            child[item.flag] = item.value
        elif item.flag.kind == SIZE or len(item.flag.targets) > 1:
            late.append(item)
        else:
            set_targets(item, item.value)
    # The original visits these by name after all others: -mb beats -max_bytes and -SDV beats -SD
    # whatever their order. The sort is stable: of the same name still the last wins.
    for item in sorted(late, key=lambda item: item.name):
        set_targets(item, convert_size(item.name, str(item.value)) if item.flag.kind == SIZE else item.value)
    for flag, value in child.items():
        if (target := _OURS_TOO.get(flag.names[0])) is not None:
            options.set(target, value)
    options.store_type = options.store_type.upper()
    options.nats.port = options.nats.port or DEFAULT_NATS_PORT  # as nats-server does; -1 is any free port
    options.nats.flagged = frozenset(target.removeprefix(_NATS) for target in flagged if target.startswith(_NATS))
    options.nats.child_arguments = [
        argument for flag, value in child.items() for argument in _child_arguments(flag, value)
    ]


def _kept(file_targets: Set[str], *, only_streaming: bool) -> frozenset[tuple[str, str]]:
    """Where the file goes before a flag, as in the original."""
    kept = {("encryption_key", _ENCRYPTION_KEY)} if _ENCRYPTION_KEY in file_targets else set()
    if only_streaming:  # the original reads such a file after it has looked at these flags
        for name in _COMBINED_LEVELS:
            kept |= {(name, target) for target in FLAGS[name].targets if target in file_targets}
    return frozenset(kept)


def _action(given: list[GivenFlag], words: list[str]) -> str:
    for flag, action in ((VERSION, SHOW_VERSION), (HELP, SHOW_HELP), (HELP_TLS, SHOW_TLS_HELP)):
        if _last(given, flag) is True:
            return action
    if not words:
        return TEST_CONFIG if _last(given, TEST) is True else RUN
    word = words[0].lower()
    if word in (SHOW_VERSION, SHOW_HELP):
        return word
    text = f"unrecognized command: {quoted(words[0])}"
    if given and given[-1].flag.kind == BOOL:
        text += f"\na true or false for -{given[-1].name} goes behind an equals sign: -{given[-1].name}={words[0]}"
    raise ConfigError(text, option=words[0] or "-")


def _last(given: list[GivenFlag], flag: Flag) -> Value | None:
    value: Value | None = None
    for item in given:
        if item.flag is flag:
            value = item.value
    return value


def _child_arguments(flag: Flag, value: Value) -> list[str]:
    name = f"-{flag.names[0]}"
    if flag.kind == BOOL:
        return [f"{name}={'true' if value else 'false'}"]
    return [name, str(value)]


def _refuse_clustering(given: list[GivenFlag], loaded: LoadedConfig | None) -> None:
    """Refuse flags and sections that ask for clustered mode, unless they ask for what is the case anyway."""
    wanted = [f"-{item.name}" for item in _effective(given) if item.flag in CLUSTERING]
    if wanted:
        raise ConfigError(f"{_NO_CLUSTERING} ({', '.join(wanted)})", option=wanted[0].lstrip("-"))
    place = None if loaded is None else loaded.findings.cluster
    if place is None or _last(given, FLAGS["clustered"]) is False:
        return
    raise place.error(
        f"{_NO_CLUSTERING}. If this cluster {{ }} is meant for routes between NATS servers, put the options of"
        " streaming into a section of their own: streaming { }",
        "cluster",
    )


def _refuse_what_is_to_come(given: list[GivenFlag], loaded: LoadedConfig | None) -> None:
    """Refuse flags and keys without a function, unless they ask for what is the case anyway."""
    wanted = [f"-{item.name}" for item in _effective(given) if item.flag not in CLUSTERING]
    if loaded is not None:
        wanted += loaded.findings.unavailable
    if wanted:
        raise ConfigError(f"not available in this version yet: {', '.join(wanted)}", option=wanted[0].lstrip("-"))


def _effective(given: list[GivenFlag]) -> list[GivenFlag]:
    """Of the flags without a function the last of each, if it is not as by default."""
    last = {item.flag: item for item in given if not item.flag.available}
    return [item for flag, item in last.items() if not _is_default(flag, item)]


def _is_default(flag: Flag, item: GivenFlag) -> bool:
    if flag.kind == SIZE:
        return convert_size(item.name, str(item.value)) == convert_size(item.name, flag.default)
    return item.value == convert(flag.kind, flag.default)


def _check_combinations(given: list[GivenFlag], options: Options, loaded: LoadedConfig | None) -> None:
    has_cluster = _last(given, FLAGS["cluster"]) or (
        loaded is not None and any(name.lower() == "cluster" for name in loaded.nats)
    )
    if _last(given, FLAGS["routes"]) and not has_cluster:
        raise ConfigError("solicited routes require cluster capabilities, e.g. --cluster", option="routes")
    _check_tls(given)


def _check_tls(given: list[GivenFlag]) -> None:
    """Any flag that begins with tls, even of our own link, asks for TLS of clients: a trap of the original."""
    names = [item.name for item in given if item.name.startswith("tls")]
    if _last(given, FLAGS["tls"]) is False or not names:
        return
    for flag, what in (("tlscert", "certificate"), ("tlskey", "private key")):
        if not _last(given, FLAGS[flag]):
            text = f"TLS Server {what} must be present and valid (-{names[-1]} without -{flag})"
            if names[-1].startswith("tls_client"):
                text += (
                    "\na flag that begins with tls asks for TLS of NATS clients, too; for our own connection alone use"
                    " a configuration file: streaming { tls { client_cert, client_key, client_ca } }"
                )
            raise ConfigError(text, option=flag)
