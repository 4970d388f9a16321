"""Channel names and client IDs. Source: protocol and delivery specification, sections 2.1 and 4.2."""

from __future__ import annotations

from itertools import product

import pytest

from nats_streaming.protocol.subjects import PatternSet, covers, is_channel_name, is_client_id


@pytest.mark.parametrize(
    "name",
    [
        b"foo",
        b"foo.bar",
        b"a.b.c.d",
        b" ",
        b"a b",
        b"a\tb",
        b"a\\b",
        b"a:b",
        b"$SYS",
        b"_STAN.x",
        "größe".encode(),
        b"\xff\xfe",
        b"x" * 500,
        b"-",
        b"\x00",
    ],
)
def test_channel_names(name: bytes) -> None:
    assert is_channel_name(name)


@pytest.mark.parametrize(
    "name",
    [b"", b".", b"..", b".a", b"a.", b"a..b", b"/", b"a/b", b"*", b">", b"a.*", b"a.>", b"a*", b"*a.b", b"foo.b>r"],
)
def test_what_is_no_channel_name(name: bytes) -> None:
    assert not is_channel_name(name)


@pytest.mark.parametrize("client_id", [b"a", b"Z9", b"me", b"-", b"_", b"client-1_x", b"0" * 300])
def test_client_ids(client_id: bytes) -> None:
    assert is_client_id(client_id)


@pytest.mark.parametrize(
    "client_id", [b"", b" ", b"a b", b"a.b", b"a:b", b"a\n", b"\na", b"a\x00", "ä".encode(), b"\xff", b"a/b", b"a*"]
)
def test_what_is_no_client_id(client_id: bytes) -> None:
    assert not is_client_id(client_id)


def channels_of(pattern: bytes) -> set[bytes]:
    """All names of up to three tokens out of two that belong to a pattern, found by trying."""
    names = [b".".join(tokens) for size in (1, 2, 3) for tokens in product((b"a", b"b"), repeat=size)]
    wanted = pattern.split(b".")
    found = set()
    for name in names:
        tokens = name.split(b".")
        if wanted[-1] == b">":
            fits = len(tokens) >= len(wanted) and _fit(wanted[:-1], tokens[: len(wanted) - 1])
        else:
            fits = len(tokens) == len(wanted) and _fit(wanted, tokens)
        if fits:
            found.add(name)
    return found


def _fit(wanted: list[bytes], tokens: list[bytes]) -> bool:
    return all(want in (b"*", token) for want, token in zip(wanted, tokens, strict=True))


def test_patterns_overlap_if_a_channel_belongs_to_both() -> None:
    heads = [b".".join(tokens) for size in (1, 2) for tokens in product((b"a", b"b", b"*"), repeat=size)]
    patterns = [*heads, b">", *(head + b".>" for head in heads)]
    for one in patterns:
        alone = PatternSet([one])
        for other in patterns:
            assert (alone.overlapping(other) is not None) == bool(channels_of(one) & channels_of(other)), (one, other)
            assert covers(one, other) == (channels_of(other) <= channels_of(one)), (one, other)
    together = PatternSet(patterns)
    for one in patterns:
        found = sorted(together.all_overlapping(one))
        assert found == sorted(other for other in patterns if channels_of(one) & channels_of(other))


def test_the_overlapping_member_is_named() -> None:
    patterns = PatternSet([b"foo.*", b"bar", b"baz.>"])
    assert patterns.overlapping(b"foo.bar") == b"foo.*"
    assert patterns.overlapping(b"*") == b"bar"
    assert patterns.overlapping(b"baz.*.x") == b"baz.>"
    assert patterns.overlapping(b">") in (b"foo.*", b"bar", b"baz.>")
    assert patterns.overlapping(b"foo") is None
    assert patterns.overlapping(b"baz") is None
    assert PatternSet([]).overlapping(b">") is None
