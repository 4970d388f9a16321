"""Limits: inheritance, lookup, refusals. Source: stores specification, section 5."""

from __future__ import annotations

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError
from nats_streaming.stores.limits import (
    UNLIMITED,
    ChannelLimits,
    StoreLimits,
    bytes_text,
    is_pattern_valid,
)


def example() -> StoreLimits:
    return StoreLimits(
        max_messages=11,
        max_bytes=12,
        max_age_ns=13,
        max_subscriptions=14,
        max_inactivity_ns=15,
        per_channel={
            b"foo.baz": ChannelLimits(max_bytes=70, max_subscriptions=80),
            b"foo.a.b.c": ChannelLimits(max_subscriptions=40),
            b"foo.*.*.>": ChannelLimits(max_age_ns=30),
            b"foo.*.>": ChannelLimits(max_bytes=20),
            b"foo.>": ChannelLimits(max_messages=10),
            b"bar.*.>": ChannelLimits(max_messages=90),
            b"*.*": ChannelLimits(max_bytes=2),
            b"*.>": ChannelLimits(max_subscriptions=5),
        },
    )


INHERITED = {
    b"*.>": (11, 12, 13, 5, 15),
    b"*.*": (11, 2, 13, 5, 15),
    b"foo.>": (10, 2, 13, 5, 15),
    b"foo.*.>": (10, 20, 13, 5, 15),
    b"foo.*.*.>": (10, 20, 30, 5, 15),
    b"foo.a.b.c": (10, 20, 30, 40, 15),
    b"foo.baz": (10, 70, 13, 80, 15),
    b"bar.*.>": (90, 12, 13, 5, 15),
}


@pytest.mark.store_spec(28)
def test_inheritance_is_the_specification_s_table() -> None:
    resolved = example().build()
    assert {entry.name: entry.limits for entry in resolved.entries()} == INHERITED


@pytest.mark.store_spec(27, 32)
@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (b"foo", (11, 12, 13, 14, 15)),  # one token: nothing matches
        (b"x.y", INHERITED[b"*.*"]),
        (b"x.y.z", INHERITED[b"*.>"]),
        (b"foo.bar", INHERITED[b"foo.>"]),
        (b"foo.baz", INHERITED[b"foo.baz"]),
        (b"foo.a.b", INHERITED[b"foo.*.>"]),
        (b"foo.a.b.d", INHERITED[b"foo.*.*.>"]),
        (b"foo.a.b.c", INHERITED[b"foo.a.b.c"]),
        (b"bar.a", INHERITED[b"*.*"]),
        (b"bar.a.b", INHERITED[b"bar.*.>"]),
    ],
)
def test_a_channel_takes_the_narrowest_match(channel: bytes, expected: tuple[int, ...]) -> None:
    limits = example()
    assert limits.for_channel(channel) == expected
    assert limits.for_channel(channel) is limits.for_channel(channel)


@pytest.mark.parametrize(
    ("patterns", "winner"),
    [
        ([b"*.bar", b"foo.>"], b"foo.>"),
        ([b"*.bar", b"foo.*"], b"foo.*"),
        ([b"foo.>", b"foo.*"], b"foo.*"),
        ([b"*.*", b"*.bar"], b"*.bar"),
        ([b">", b"*.bar"], b"*.bar"),
        ([b">", b"*.>", b"foo.bar", b"foo.*"], b"foo.bar"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_leftmost_literal_is_narrower(patterns: list[bytes], winner: bytes, backwards: bool) -> None:
    if backwards:
        patterns = patterns[::-1]
    limits = StoreLimits(per_channel={name: ChannelLimits(max_messages=i + 1) for i, name in enumerate(patterns)})
    assert limits.for_channel(b"foo.bar").max_messages == patterns.index(winner) + 1


@pytest.mark.store_spec(27, 31)
def test_unlimited_is_passed_on_and_building_twice_changes_nothing() -> None:
    limits = StoreLimits(
        per_channel={b"foo.>": ChannelLimits(max_messages=UNLIMITED), b"foo.bar": ChannelLimits(max_bytes=5)}
    )
    for _ in range(2):
        limits.build()
        assert limits.for_channel(b"foo.x").max_messages == 0
        assert limits.for_channel(b"foo.bar") == (0, 5, 0, 1000, 0)


@pytest.mark.store_spec(27)
def test_without_exceptions_every_channel_has_the_defaults() -> None:
    assert StoreLimits().for_channel(b"any") == (1_000_000, 1_024_000_000, 0, 1000, 0)


def test_many_different_channels_do_not_pile_up() -> None:
    limits = example()
    for number in range(10_000):
        assert limits.for_channel(b"foo.%d" % number) == INHERITED[b"foo.>"]


@pytest.mark.store_spec(26)
def test_refusals_come_in_the_original_s_order_and_words() -> None:
    limits = StoreLimits(
        max_channels=-1,
        max_subscriptions=-2,
        max_messages=-3,
        max_bytes=-4,
        max_age_ns=-NS_PER_SECOND,
        max_inactivity_ns=-90 * NS_PER_SECOND,
        per_channel={b"a..b": ChannelLimits()},
    )
    for field, text in [
        ("max_channels", "max channels limit cannot be negative (-1)"),
        ("max_subscriptions", "max subscriptions limit cannot be negative (-2)"),
        ("max_messages", "max messages limit cannot be negative (-3)"),
        ("max_bytes", "max bytes limit cannot be negative (-4)"),
        ("max_age_ns", "max age limit cannot be negative (-1s)"),
        ("max_inactivity_ns", "max inactivity limit cannot be negative (-1m30s)"),
    ]:
        with pytest.raises(ConfigError) as caught:
            limits.build()
        assert str(caught.value) == text
        setattr(limits, field, 0)
    with pytest.raises(ConfigError, match=r'^invalid channel name "a\.\.b"$'):
        limits.build()


@pytest.mark.store_spec(29)
def test_only_literal_names_count_against_max_channels() -> None:
    limits = StoreLimits(
        max_channels=2, per_channel={b"a": ChannelLimits(), b"b": ChannelLimits(), b"c.>": ChannelLimits()}
    )
    limits.build()
    limits.per_channel[b"c"] = ChannelLimits()
    with pytest.raises(ConfigError) as caught:
        limits.build()
    assert str(caught.value) == "too many channels defined (3). The max channels limit is set to 2"
    limits.max_channels = 0
    limits.build()


@pytest.mark.parametrize("name", [b"foo", b"*", b">", b"foo.*", b"foo.>", b"*.*.bar", b"a b.\xff"])
def test_valid_patterns(name: bytes) -> None:
    assert is_pattern_valid(name)


@pytest.mark.store_spec(30)
@pytest.mark.parametrize(
    "name", [b"", b".", b".a", b"a.", b"a..b", b"a/b", b"foo.*bar", b"foo.>.>", b"foo.>.a", b"a>", b"foo.b*"]
)
def test_invalid_patterns(name: bytes) -> None:
    assert not is_pattern_valid(name)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KB"),
        (1_024_000_000, "976.56 MB"),
        (1 << 30, "1.00 GB"),
        (5 << 40, "5.00 TB"),
        (2**63 - 1, "8.00 EB"),
    ],
)
def test_bytes_text(count: int, text: str) -> None:
    assert bytes_text(count) == text
