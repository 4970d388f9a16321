"""The lines a server logs while it starts; operators and scripts look for them. Text only, nothing is logged here.

Source: operations specification, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nats_streaming import __version__
from nats_streaming.clock import duration_text
from nats_streaming.constants import COMPATIBLE_VERSION
from nats_streaming.server.settings.options import Options
from nats_streaming.server.version import python_text
from nats_streaming.stores.limits import ChannelLimits, ResolvedEntry, StoreLimits, bytes_text

READY: Final = "Streaming Server is ready"
"""The last line of a start."""

_DEFAULTS: Final = StoreLimits()
_TITLE: Final = "---------- Store Limits ----------"

_CHANNEL_LIMITS: Final[tuple[tuple[str, str, Callable[[int], str]], ...]] = (
    ("Subscriptions", "max_subscriptions", str),
    ("Messages", "max_messages", str),
    ("Bytes", "max_bytes", bytes_text),
    ("Age", "max_age_ns", duration_text),
    ("Inactivity", "max_inactivity_ns", duration_text),
)


def starting_lines(options: Options, server_id: str) -> list[str]:
    """What is said first.

    Args:
        options: names the cluster.
        server_id: NUID of this run.
    """
    return [
        f"Starting nats-streaming-server[{options.cluster_id}] version {__version__}",
        f"ServerID: {server_id}",
        f"Compatible with nats-streaming-server {COMPATIBLE_VERSION}",
        f"Python version: {python_text()}",
    ]


def recovered_line(channel_count: int | None) -> str:
    """What was found in the store.

    Args:
        channel_count: recovered channels; None if the store was empty.
    """
    return "No recovered state" if channel_count is None else f"Recovered {channel_count} channel(s)"


def subject_lines(
    discover: str, publish: str, subscribe: str, sub_close: str, unsubscribe: str, close: str, *, partitioned: bool
) -> list[str]:
    """For debugging: the subjects in use, `publish` without its `.>`."""
    return [
        f"Discover subject:           {discover}",
        f"Publish subjects root:      {publish}" if partitioned else f"Publish subject:            {publish}.>",
        f"Subscribe subject:          {subscribe}",
        f"Subscription Close subject: {sub_close}",
        f"Unsubscribe subject:        {unsubscribe}",
        f"Close subject:              {close}",
    ]


def store_lines(options: Options, store_name: str) -> list[str]:
    """The store and its limits, after recovery.

    Args:
        options: where the store is and what it may hold.
        store_name: as the store calls itself.

    Raises:
        ConfigError: the limits are wrong.
    """
    location = [f"Store location: {options.store_dir}"] if options.store_dir else []
    return [f"Message store is {store_name}", *location, *limits_lines(options.limits)]


def limits_lines(limits: StoreLimits) -> list[str]:
    """A table of the limits; ` *` marks a value that is the built-in default.

    Args:
        limits: of the server and its channels.

    Raises:
        ConfigError: the limits are wrong.
    """
    resolved = limits.build()
    lines = [
        _TITLE,
        f"Channels:        {_marked(limits.max_channels, _DEFAULTS.max_channels, str)}",
        "--------- Channels Limits --------",
    ]
    for title, name, text in _CHANNEL_LIMITS:
        lines.append(f"  {title:<13}: {_marked(getattr(limits, name), getattr(_DEFAULTS, name), text)}")
    levels = resolved.levels()
    channel_lines = [line for entry in resolved.entries() for line in _entry_lines(entry, levels)]
    width = max(len(_TITLE), *map(len, channel_lines)) if channel_lines else len(_TITLE)
    if channel_lines:
        title = " List of Channels "
        left = (width - len(title)) // 2
        lines.append("-" * left + title + "-" * (width - len(title) - left))
    return [*lines, *channel_lines, "-" * width]


def _entry_lines(entry: ResolvedEntry, levels: int) -> list[str]:
    """One configured channel or pattern: its name, and what differs from its parent."""
    indent = " " * entry.depth
    lines = [indent + entry.name.decode("utf-8", "backslashreplace")]
    for title, name, text in _CHANNEL_LIMITS:
        value = _value(entry.limits, name)
        if value != _value(entry.parent, name):
            padding = " " * (levels - entry.depth)  # all values end in one column
            lines.append(f"{indent} |-> {title:<13} {padding}{_value_text(value, text):>13}")
    return lines


def _value(limits: ChannelLimits, name: str) -> int:
    value: int = getattr(limits, name)
    return value


def _marked(value: int, default: int, text: Callable[[int], str]) -> str:
    return f"{_value_text(value, text):>13}{' *' if value == default else ''}"


def _value_text(value: int, text: Callable[[int], str]) -> str:
    return text(value) if value else "unlimited"
