"""The command line as an operator types it: what is printed where, and the exit status."""

from __future__ import annotations

import re

import pytest

from tests.support.servers import run_to_end

VERSION_LINE = re.compile(r"nats-streaming-server version [^\n]*nats-server: v\d+\.\d+\.\d+[^\n]*\n")


@pytest.mark.operations(1)
@pytest.mark.parametrize("word", ["-v", "--version", "version", "VERSION"])
def test_the_version_is_one_line(word: str) -> None:
    ended = run_to_end(word)
    assert (ended.status, ended.err) == (0, "")
    assert VERSION_LINE.fullmatch(ended.out)


@pytest.mark.operations(2)
def test_an_unknown_flag_is_one_message_and_a_failure() -> None:
    ended = run_to_end("-max_chanels", "3")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[:2] == [
        "flag provided but not defined: -max_chanels",
        "did you mean -max_channels?",
    ]


@pytest.mark.operations(3)
@pytest.mark.parametrize(
    ("arguments", "first_line"),
    [
        (["-cid"], "flag needs an argument: -cid"),
        (["-max_channels", "abc"], 'invalid value "abc" for flag -max_channels: parse error'),
        (["-SD=maybe"], 'invalid boolean value "maybe" for -SD: parse error'),
        (["-hbi", "5"], 'invalid value "5" for flag -hbi: parse error'),
        (["-mc", "9223372036854775808"], 'invalid value "9223372036854775808" for flag -mc: value out of range'),
        (["---x"], "bad flag syntax: ---x"),
    ],
)
def test_a_bad_value_is_one_message_and_a_failure(arguments: list[str], first_line: str) -> None:
    ended = run_to_end(*arguments)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == first_line
    assert "-help" in ended.err


@pytest.mark.operations(4)
def test_a_boolean_does_not_take_the_next_word() -> None:
    ended = run_to_end("-SD", "true")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[:2] == [
        'unrecognized command: "true"',
        "a true or false for -SD goes behind an equals sign: -SD=true",
    ]
