"""The NATS part of a configuration file: what we must know of it, and what the embedded nats-server gets to read.

Source: operations specification, section 2.6.
"""

from __future__ import annotations

from typing import Final

from nats_streaming import literals
from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.values import Place, Setting, Settings, put
from nats_streaming.nats.config.writer import WrittenConfig, write_config
from nats_streaming.nats.urls import split_host_port
from nats_streaming.server.settings.config_keys import (
    LISTEN,
    MONITOR_ADDRESSES,
    NATS_KEYS,
    OUR_NATS_KEYS,
    PASSED_NATS_KEYS,
    STREAMING_SECTION,
    UNUSED_NATS_KEYS,
)
from nats_streaming.server.settings.config_values import Findings, by_name, set_key
from nats_streaming.server.settings.options import NatsOptions, Options

_KNOWN: Final = by_name(NATS_KEYS)
_OURS: Final = by_name(OUR_NATS_KEYS)
_AUTHORIZATION: Final = "authorization"
_TLS: Final = "tls"
_HTTP_BASE_PATH: Final = "http_base_path"
_CREDENTIALS: Final = {
    "user": ("user", "username"),
    "password": ("password", "pass"),
    "token": ("token",),
}
"""Attribute of `NatsOptions` to its keys in `authorization`."""

_BCRYPT_PREFIX: Final = "$2a$"

NATS_NAMES: Final = frozenset(
    (*_KNOWN, *_OURS, LISTEN, *MONITOR_ADDRESSES, *PASSED_NATS_KEYS, *UNUSED_NATS_KEYS, _AUTHORIZATION)
)
"""Every top-level key that means something to NATS."""


def apply_nats(settings: Settings, options: Options, findings: Findings) -> Settings:
    """Set options by the NATS part.

    Args:
        settings: a whole file.
        options: changed in place.
        findings: takes notes.

    Returns:
        What is for nats-server.

    Raises:
        ConfigError: a value that we need is wrong; others are for nats-server to judge.
    """
    passed: Settings = {}
    for name, setting in settings.items():
        lower = name.lower()
        if lower in _KNOWN:
            set_key(options, _KNOWN[lower], name, setting, findings)
        elif lower in _OURS:
            set_key(options, _OURS[lower], name, setting, findings)
            continue
        elif lower in MONITOR_ADDRESSES:
            options.nats.http_host, port = _address(name, setting)
            options.set(MONITOR_ADDRESSES[lower], port)
            continue
        elif lower == LISTEN:
            host, options.nats.port = _address(name, setting)
            options.nats.host = host or options.nats.host
        elif lower == _AUTHORIZATION:
            _take_credentials(setting, options.nats)
        elif lower == _TLS:
            _take_certificate(setting, options.nats)
        elif lower == _HTTP_BASE_PATH and isinstance(setting.value, str):
            options.nats.http_base_path = setting.value
        elif lower == STREAMING_SECTION or lower not in PASSED_NATS_KEYS:
            continue
        put(passed, name, setting)
    return passed


def nats_server_config(settings: Settings, nats: NatsOptions) -> WrittenConfig:
    """The text for nats-server, with the credentials that flags have set.

    Args:
        settings: as from `apply_nats`.
        nats: with flags applied.

    Raises:
        ConfigError: it cannot be written.
    """
    given = {name: getattr(nats, name) for name in _CREDENTIALS if name in nats.flagged}
    return write_config(_with_credentials(settings, given) if given else settings)


def _with_credentials(settings: Settings, given: dict[str, str]) -> Settings:
    """The settings with credentials in place of those there; a list of users stays, ours must be one of them."""
    name = next((name for name in settings if name.lower() == _AUTHORIZATION), _AUTHORIZATION)
    place = settings[name].key_place if name in settings else Place("-user, -pass or -auth", 1, 1)
    old = settings[name].value if name in settings else {}
    if not isinstance(old, dict) or "users" in map(str.lower, old):
        return settings
    replaced = {key for attribute in given for key in _CREDENTIALS[attribute]}
    new = {key: setting for key, setting in old.items() if key.lower() not in replaced}
    new.update({attribute: Setting(value, place, place) for attribute, value in given.items()})
    return {**settings, name: Setting(new, place, place)}


def _take_credentials(setting: Setting, nats: NatsOptions) -> None:
    """What the only user of the embedded server is called: we log in as that one."""
    if not isinstance(setting.value, dict):
        return  # nats-server says what is wrong
    for name, inner in setting.value.items():
        for attribute, names in _CREDENTIALS.items():
            # A hash is no password: the streaming keys must give ours.
            if name.lower() in names and isinstance(inner.value, str) and not inner.value.startswith(_BCRYPT_PREFIX):
                setattr(nats, attribute, inner.value)


def _take_certificate(setting: Setting, nats: NatsOptions) -> None:
    """What the embedded server shows its clients: the monitoring port shows the same."""
    if not isinstance(setting.value, dict):
        return  # nats-server says what is wrong
    for name, inner in setting.value.items():
        attribute = {"cert_file": "tls_cert", "key_file": "tls_key"}.get(name.lower())
        if attribute is not None and isinstance(inner.value, str):
            setattr(nats, attribute, inner.value)


def _address(name: str, setting: Setting) -> tuple[str, int]:
    """A port, or `host:port`, as host ("" if there is none) and port."""
    value = setting.value
    if isinstance(value, int) and not isinstance(value, bool):
        return "", value
    if isinstance(value, str):
        try:
            host, port = split_host_port(value)
            return host, literals.parse_int(port)
        except (ConfigError, ValueError):
            pass
    raise setting.place.error(f'{name} must be a port, or an address with a port like "127.0.0.1:4222"', name)
