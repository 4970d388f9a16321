"""How much a server and each of its channels may hold, and how channels inherit.

`StoreLimits` is what the operator wrote; `build` checks it and works out, once, what holds for
each channel. Knows nothing of messages: stores and engine enforce, this module only answers.

Inheritance. For a channel, or for a pattern read as if it were one, the matching patterns form a
chain from the widest to the narrowest: at each token `>`, then everything under `*`, then the
literal branch. A limit that an entry leaves out comes from the entry before it, and for the first
from the server's own limits. The last entry of a channel's chain is what holds for it.

Source: stores specification, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nats_streaming.clock import duration_text
from nats_streaming.constants import (
    DEFAULT_MAX_AGE_NS,
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_CHANNELS,
    DEFAULT_MAX_INACTIVITY_NS,
    DEFAULT_MAX_MESSAGES,
    DEFAULT_MAX_SUBSCRIPTIONS,
)
from nats_streaming.errors import ConfigError, quoted

UNLIMITED: Final = -1
"""In a per-channel entry before `build`: no limit, whatever the wider entries say."""

_CACHED_CHANNELS_MAX = 4096  # names come from clients: what is remembered for them must have an end
_ANY_TOKEN = b"*"
_ANY_TAIL = b">"


class ChannelLimits(NamedTuple):
    """The limits of one channel.

    As an entry of `StoreLimits.per_channel` 0 inherits and a negative value is unlimited;
    in what `StoreLimits.for_channel` returns 0 is unlimited and nothing is negative.

    Attributes:
        max_messages: messages kept.
        max_bytes: bytes kept, counted as the store counts them.
        max_age_ns: nanoseconds a message is kept.
        max_subscriptions: subscriptions, offline durables included.
        max_inactivity_ns: nanoseconds without subscriber and publisher before the channel is deleted.
    """

    max_messages: int = 0
    max_bytes: int = 0
    max_age_ns: int = 0
    max_subscriptions: int = 0
    max_inactivity_ns: int = 0


@dataclass(slots=True)
class StoreLimits:
    """What the operator set: the server's limits, which are every channel's defaults, and exceptions.

    0 is unlimited here, except inside `per_channel`. `build` must be called again after a change.

    Attributes:
        max_channels: channels of the server.
        max_messages, max_bytes, max_age_ns, max_subscriptions, max_inactivity_ns: see `ChannelLimits`.
        per_channel: channel name or pattern (`*` one token, a last `>` the rest) to its exceptions.
    """

    max_channels: int = DEFAULT_MAX_CHANNELS
    max_messages: int = DEFAULT_MAX_MESSAGES
    max_bytes: int = DEFAULT_MAX_BYTES
    max_age_ns: int = DEFAULT_MAX_AGE_NS
    max_subscriptions: int = DEFAULT_MAX_SUBSCRIPTIONS
    max_inactivity_ns: int = DEFAULT_MAX_INACTIVITY_NS
    per_channel: dict[bytes, ChannelLimits] = field(default_factory=dict)
    _resolved: ResolvedLimits | None = field(default=None, init=False, repr=False, compare=False)

    def channel_defaults(self) -> ChannelLimits:
        """The limits of a channel that no pattern matches."""
        return ChannelLimits(
            max_messages=self.max_messages,
            max_bytes=self.max_bytes,
            max_age_ns=self.max_age_ns,
            max_subscriptions=self.max_subscriptions,
            max_inactivity_ns=self.max_inactivity_ns,
        )

    def build(self) -> ResolvedLimits:
        """Check everything and resolve the inheritance; `per_channel` itself is left as it was.

        Raises:
            ConfigError: a limit is negative, a name is invalid, or more channels are named than allowed.
        """
        self._check()
        self._resolved = ResolvedLimits(self.channel_defaults(), self.per_channel)
        return self._resolved

    def for_channel(self, name: bytes) -> ChannelLimits:
        """What holds for a channel; builds at the first call.

        Args:
            name: a valid channel name, without wildcards.

        Raises:
            ConfigError: as `build`.
        """
        resolved = self._resolved or self.build()
        return resolved.for_channel(name)

    def _check(self) -> None:
        for title, value, text in (
            ("channels", self.max_channels, str(self.max_channels)),
            ("subscriptions", self.max_subscriptions, str(self.max_subscriptions)),
            ("messages", self.max_messages, str(self.max_messages)),
            ("bytes", self.max_bytes, str(self.max_bytes)),
            ("age", self.max_age_ns, duration_text(self.max_age_ns)),
            ("inactivity", self.max_inactivity_ns, duration_text(self.max_inactivity_ns)),
        ):
            if value < 0:
                raise ConfigError(f"max {title} limit cannot be negative ({text})", option=f"max_{title}")
        for name in self.per_channel:
            if not is_pattern_valid(name):
                raise ConfigError(f"invalid channel name {quoted(name)}", option="channels")
        literals = sum(1 for name in self.per_channel if is_literal(name))
        if 0 < self.max_channels < literals:
            raise ConfigError(
                f"too many channels defined ({literals}). The max channels limit is set to {self.max_channels}",
                option="max_channels",
            )


class ResolvedEntry(NamedTuple):
    """One configured pattern with nothing left to inherit.

    Attributes:
        name: the channel name or pattern.
        limits: what holds under it; 0 is unlimited.
        parent: limits of the entry before it in its chain, or the server's own.
        depth: entries before it in its chain, from 0.
    """

    name: bytes
    limits: ChannelLimits
    parent: ChannelLimits
    depth: int


class ResolvedLimits:
    """Limits per channel, inheritance worked out; does not change any more."""

    def __init__(self, defaults: ChannelLimits, per_channel: dict[bytes, ChannelLimits]) -> None:
        """
        Args:
            defaults: limits of a channel no pattern matches; 0 is unlimited.
            per_channel: valid names and patterns; 0 inherits, negative is unlimited.
        """
        self._defaults = defaults
        self._root = _Level()
        self._entries: dict[bytes, ResolvedEntry] = {}
        self._cache: dict[bytes, ChannelLimits] = {}
        for name in per_channel:
            self._root.insert(name)
        # Widest first, so that every entry's parent is ready before it.
        for name in self._root.names():
            chain = list(self._root.matches(name.split(b".")))
            depth = chain.index(name)
            parent = self._entries[chain[depth - 1]].limits if depth else defaults
            limits = _inherited(per_channel[name], parent)
            self._entries[name] = ResolvedEntry(name, limits, parent, depth)

    def for_channel(self, name: bytes) -> ChannelLimits:
        """What holds for a channel; 0 is unlimited.

        Args:
            name: a valid channel name, without wildcards.
        """
        if not self._entries:
            return self._defaults
        limits = self._cache.get(name)
        if limits is None:
            limits = self._defaults
            for match in self._root.matches(name.split(b".")):
                limits = self._entries[match].limits
            if len(self._cache) >= _CACHED_CHANNELS_MAX:
                self._cache.clear()
            self._cache[name] = limits
        return limits

    def entries(self) -> list[ResolvedEntry]:
        """The configured patterns, wider ones first, otherwise by name."""
        return list(self._entries.values())

    def levels(self) -> int:
        """Tokens of the longest configured pattern; 0 if there is none."""
        return max((name.count(b".") + 1 for name in self._entries), default=0)


class _Level:
    """The patterns that share the tokens so far, by their next token."""

    __slots__ = ("name", "next")

    def __init__(self) -> None:
        self.name: bytes | None = None  # the pattern that ends here
        self.next: dict[bytes, _Level] = {}

    def insert(self, name: bytes) -> None:
        level = self
        for token in name.split(b"."):
            level = level.next.setdefault(token, _Level())
        level.name = name

    def names(self) -> Iterator[bytes]:
        """All patterns at and below here, wider ones first."""
        if self.name is not None:
            yield self.name
        for token in sorted(self.next, key=_width_order):
            yield from self.next[token].names()

    def matches(self, tokens: list[bytes]) -> Iterator[bytes]:
        """The patterns that match the tokens, wider ones first."""
        if not tokens:
            if self.name is not None:
                yield self.name
            return
        tail = self.next.get(_ANY_TAIL)
        if tail is not None and tail.name is not None:
            yield tail.name
        any_token = self.next.get(_ANY_TOKEN)
        if any_token is not None:
            yield from any_token.matches(tokens[1:])
        # A pattern read as a channel name has wildcards as tokens: those two branches are done.
        if tokens[0] not in (_ANY_TAIL, _ANY_TOKEN):
            literal = self.next.get(tokens[0])
            if literal is not None:
                yield from literal.matches(tokens[1:])


def _width_order(token: bytes) -> tuple[int, bytes]:
    return (0 if token == _ANY_TAIL else 1 if token == _ANY_TOKEN else 2, token)


def _inherited(own: ChannelLimits, parent: ChannelLimits) -> ChannelLimits:
    return ChannelLimits(
        max_messages=_inherited_value(own.max_messages, parent.max_messages),
        max_bytes=_inherited_value(own.max_bytes, parent.max_bytes),
        max_age_ns=_inherited_value(own.max_age_ns, parent.max_age_ns),
        max_subscriptions=_inherited_value(own.max_subscriptions, parent.max_subscriptions),
        max_inactivity_ns=_inherited_value(own.max_inactivity_ns, parent.max_inactivity_ns),
    )


def _inherited_value(own: int, parent: int) -> int:
    if own < 0:
        return 0
    return own or parent


def is_pattern_valid(name: bytes) -> bool:
    """Whether limits may be set for a name: a channel name, or a pattern with whole-token wildcards."""
    if b"/" in name:
        return False
    tokens = name.split(b".")
    last = len(tokens) - 1
    for index, token in enumerate(tokens):
        if not token:
            return False
        if token == _ANY_TOKEN or (token == _ANY_TAIL and index == last):
            continue
        if _ANY_TOKEN in token or _ANY_TAIL in token:
            return False
    return True


def is_literal(name: bytes) -> bool:
    """Whether a valid name or pattern has no wildcard."""
    return _ANY_TOKEN not in name and _ANY_TAIL not in name


def bytes_text(count: int) -> str:
    """Write a size as the original does: `976.56 MB`, units of 1024, below that `38 B`.

    Args:
        count: bytes, not negative.
    """
    if count < 1024:
        return f"{count} B"
    exponent = (count.bit_length() - 1) // 10
    return f"{count / 1024**exponent:.2f} {'KMGTPEZY'[exponent - 1]}B"
