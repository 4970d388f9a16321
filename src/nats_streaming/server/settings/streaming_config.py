"""The streaming part of a configuration file: settings to options, with the original's names and errors.

Source: operations specification, sections 2.2 to 2.4; stores specification, sections 2.7 and 5.
"""

from __future__ import annotations

from typing import Final

from nats_streaming.errors import quoted
from nats_streaming.nats.config.values import Setting, Settings
from nats_streaming.server.settings.config_keys import (
    CHANNEL_LIMIT_KEYS,
    CLUSTER_NAMES,
    LIMITS,
    PER_CHANNEL_NAMES,
    SECTIONS,
    STREAMING_KEYS,
    STREAMING_SECTION,
)
from nats_streaming.server.settings.config_values import Findings, as_map, by_name, converted, set_key, set_section
from nats_streaming.server.settings.options import Options
from nats_streaming.stores.limits import UNLIMITED, ChannelLimits, is_pattern_valid

_KEYS: Final = by_name(STREAMING_KEYS)
_SECTIONS: Final = {name: section for section in SECTIONS for name in section.names}
_CHANNEL_LIMITS: Final = by_name(CHANNEL_LIMIT_KEYS)
_OUR_STORES: Final = ("MEMORY", "FILE", "SQL")

STREAMING_NAMES: Final = frozenset((*_KEYS, *_SECTIONS, *CLUSTER_NAMES))
"""Every key of `streaming { }`, and of a file without that."""


def find_streaming(settings: Settings) -> tuple[Settings, bool]:
    """The streaming part of a file.

    Args:
        settings: the whole file.

    Returns:
        The map `streaming`, or without one the whole file; and whether it was the map.

    Raises:
        ConfigError: `streaming` is no map.
    """
    section: Setting | None = None
    for name, setting in settings.items():
        if name.lower() == STREAMING_SECTION:
            section = setting
    if section is None:
        return settings, False
    return as_map("streaming section", section), True


def apply_streaming(settings: Settings, options: Options, findings: Findings, *, is_section: bool) -> None:
    """Set options by the streaming part.

    Args:
        settings: as from `find_streaming`.
        options: changed in place.
        findings: takes notes.
        is_section: it stands in a map of its own; else NATS's keys stand among it.

    Raises:
        ConfigError: a value is wrong.
    """
    for name, setting in settings.items():
        lower = name.lower()
        if lower in _KEYS:
            key = _KEYS[lower]
            if "store_type" in key.flag.targets:
                _check_store_type(name, setting)
            set_key(options, key, name, setting, findings)
        elif lower in LIMITS.names:
            _apply_limits(setting, options, findings)
        elif lower in _SECTIONS:
            # NATS has a map `tls`, too: outside of `streaming` its keys are no mistakes.
            set_section(options, _SECTIONS[lower], setting, findings, warn=is_section)
        elif lower in CLUSTER_NAMES:
            as_map("cluster", setting)
            findings.cluster = setting.key_place
        elif is_section and not setting.is_used:
            findings.unknown(name, setting, STREAMING_SECTION, STREAMING_NAMES)


def _check_store_type(name: str, setting: Setting) -> None:
    value = str(converted(_KEYS["st"].flag, name, setting))
    if value.upper() in _OUR_STORES:
        return
    # Who names another one waits for all of them to be looked up; the engine's modules come with that.
    from nats_streaming.stores.registry import installed_stores

    if value.upper() not in installed_stores():
        raise setting.place.error(f"unknown store type: {value} (MEMORY, FILE or SQL)", name)


def _apply_limits(setting: Setting, options: Options, findings: Findings) -> None:
    keys = by_name(LIMITS.keys)
    for name, inner in as_map(LIMITS.title, setting).items():
        lower = name.lower()
        if lower in PER_CHANNEL_NAMES:
            for channel, limits in as_map("per channel limits", inner).items():
                _apply_channel(channel, limits, options, findings)
        elif lower in keys:
            set_key(options, keys[lower], name, inner, findings)
        else:
            findings.unknown(name, inner, LIMITS.title, (*keys, *PER_CHANNEL_NAMES))


def _apply_channel(channel: str, setting: Setting, options: Options, findings: Findings) -> None:
    limits = as_map("channel limits", setting)
    pattern = channel.encode("utf-8", "surrogateescape")
    if not is_pattern_valid(pattern):
        raise setting.key_place.error(
            f"invalid channel name {quoted(channel)} (tokens between dots; * is a whole token, > the last one; no /)",
            channel,
        )
    values: dict[str, int] = {}
    for name, inner in limits.items():
        key = _CHANNEL_LIMITS.get(name.lower())
        if key is None:
            findings.unknown(name, inner, f"the limits of {channel}", _CHANNEL_LIMITS)
            continue
        value = converted(key.flag, name, inner)
        assert isinstance(value, int)
        for target in key.flag.targets:
            values[target.removeprefix("limits.")] = value or UNLIMITED
    options.limits.per_channel[pattern] = ChannelLimits(**values)
