"""Configuration files: which file serves what, and from their settings to options.

Imported only when a file is named: reading none costs nothing.

Source: operations specification, sections 1.4 and 2.
"""

from __future__ import annotations

from typing import NamedTuple

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import read_config_file
from nats_streaming.nats.config.values import Settings
from nats_streaming.server.config_keys import STREAMING_SECTION
from nats_streaming.server.config_values import Findings
from nats_streaming.server.nats_config import NATS_NAMES, apply_nats, nats_server_config
from nats_streaming.server.options import Options
from nats_streaming.server.streaming_config import STREAMING_NAMES, apply_streaming, find_streaming


class LoadedConfig(NamedTuple):
    """What the files said, as far as it is not in the options.

    Attributes:
        findings: notes of the reading.
        nats: settings for nats-server.
    """

    findings: Findings
    nats: Settings


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
    passed = apply_nats(settings, options, findings)
    _warn_of_unknown(settings, findings)
    options.nats.config_name = nats_file
    if config and stan_config:
        try:
            settings = read_config_file(stan_config)
        except ConfigError as error:
            raise error if error.file else ConfigError(f"error opening config file: {error}") from None
        _warn_of_unknown(settings, findings)
    streaming, is_section = find_streaming(settings)
    apply_streaming(streaming, options, findings, is_section=is_section)
    options.warnings += findings.warnings
    return LoadedConfig(findings, passed)


def set_nats_text(loaded: LoadedConfig, options: Options) -> None:
    """Set what nats-server reads, after flags were applied.

    Args:
        loaded: as from `load_config`.
        options: changed in place.

    Raises:
        ConfigError: it cannot be written.
    """
    written = nats_server_config(loaded.nats, options.nats)
    options.nats.config_text = written.text
    options.nats.config_places = tuple(map(str, written.places))


def reread_nats_text(options: Options) -> None:
    """Read the file again and set what nats-server is to read now; nothing else changes, and nothing at all on error.

    Args:
        options: of the running server, with a `nats.config_name`.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong.
    """
    findings = Findings()
    passed = apply_nats(read_config_file(options.nats.config_name), Options(), findings)
    set_nats_text(LoadedConfig(findings, passed), options)


def _warn_of_unknown(settings: Settings, findings: Findings) -> None:
    """Note top-level keys that mean something to nobody; what variables name is there for them."""
    known = NATS_NAMES | STREAMING_NAMES | {STREAMING_SECTION}
    for name, setting in settings.items():
        if name.lower() not in known and not setting.is_used:
            findings.unknown(name, setting, "the file", known)
