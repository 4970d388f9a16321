"""Configuration files: which file serves what, and from their settings to options.

Imported only when a file is named: reading none costs nothing.

Source: operations specification, sections 1.4 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import read_config_file
from nats_streaming.nats.config.values import Settings
from nats_streaming.server.settings.config_keys import STREAMING_SECTION
from nats_streaming.server.settings.config_values import Findings
from nats_streaming.server.settings.nats_config import NATS_NAMES, apply_nats, nats_server_config
from nats_streaming.server.settings.options import Options
from nats_streaming.server.settings.streaming_config import STREAMING_NAMES, apply_streaming, find_streaming

_KNOWN_NAMES: Final = NATS_NAMES | STREAMING_NAMES | {STREAMING_SECTION}


class LoadedConfig(NamedTuple):
    """What the files said, as far as it is not in the options.

    Attributes:
        findings: notes of the reading.
        nats: settings for nats-server.
        unknown: top-level keys of the same file that mean nothing to us; perhaps this nats-server knows them.
    """

    findings: Findings
    nats: Settings
    unknown: Settings


def load_config(config: str, stan_config: str, options: Options) -> LoadedConfig:
    """Read the configuration files, before flags are applied.

    Args:
        config: path given by `-config`, or "".
        stan_config: path given by `-stan_config`, or ""; one of the two is given. The only one serves both NATS and
            streaming; of two each serves its own.
        options: changed in place.

    Raises:
        ConfigError: a file cannot be read, or something in it is wrong.
    """
    findings = Findings()
    nats_file = config or stan_config
    settings = read_config_file(nats_file)
    if not settings:
        text = f"{nats_file}: config has no values or is empty"
        if not config:
            raise ConfigError(text)
        findings.warnings.append(text)
    loaded = LoadedConfig(findings, apply_nats(settings, options, findings), _unknown(settings))
    options.nats.config_name = nats_file
    if config and stan_config:
        try:
            settings = read_config_file(stan_config)
        except ConfigError as error:
            raise error if error.file else ConfigError(f"error opening config file: {error}") from None
        _note_unknown(_unknown(settings), findings)
    streaming, is_section = find_streaming(settings)
    apply_streaming(streaming, options, findings, is_section=is_section)
    return loaded


def set_nats_text(loaded: LoadedConfig, options: Options) -> list[str]:
    """Set what nats-server reads, after flags were applied.

    Args:
        loaded: as from `load_config`.
        options: changed in place.

    Returns:
        What the files say in vain, for the log.

    Raises:
        ConfigError: it cannot be written.
    """
    settings, unknown = dict(loaded.nats), dict(loaded.unknown)
    if unknown and not options.nats_server_url:
        # A newer nats-server has keys that were not there when our list was made.
        from nats_streaming.nats.ask_binary import known_fields

        for name in known_fields(options.nats.binary or None, list(unknown)):
            settings[name] = unknown.pop(name)
    _note_unknown(unknown, loaded.findings)
    written = nats_server_config(settings, options.nats)
    options.nats.config_text = written.text
    options.nats.config_keys = frozenset(_key_names(settings))
    options.nats.config_places = tuple(map(str, written.places))
    return loaded.findings.warnings


class Reread(NamedTuple):
    """What a file says now.

    Attributes:
        warnings: what it says in vain, for the log.
        host, port: where NATS is to listen, flags heeded.
    """

    warnings: list[str]
    host: str
    port: int


def reread_nats_text(options: Options) -> Reread:
    """Read the file again and set what nats-server is to read now; nothing else changes, and nothing at all on error.

    Args:
        options: of the running server, with a `nats.config_name`.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong.
    """
    findings = Findings()
    settings = read_config_file(options.nats.config_name)
    fresh = Options()
    loaded = LoadedConfig(findings, apply_nats(settings, fresh, findings), _unknown(settings))
    warnings = set_nats_text(loaded, options)
    host, port = (
        getattr(options.nats if name in options.nats.flagged else fresh.nats, name) for name in ("host", "port")
    )
    return Reread(warnings, host, port)


def _key_names(settings: Settings) -> Iterator[str]:
    for name, setting in settings.items():
        yield name.lower()
        if isinstance(setting.value, dict):
            yield from (f"{name}.{inner}".lower() for inner in setting.value)


def _unknown(settings: Settings) -> Settings:
    """Top-level keys that mean nothing; those that variables name are there for them."""
    return {
        name: setting for name, setting in settings.items() if name.lower() not in _KNOWN_NAMES and not setting.is_used
    }


def _note_unknown(unknown: Settings, findings: Findings) -> None:
    for name, setting in unknown.items():
        findings.unknown(name, setting, "the file", _KNOWN_NAMES)
