"""Configuration files mean to us what they mean to the Go server: random texts, read by its own parser and by ours.

Some texts are put together at random, others are valid and then damaged. Where we differ, it must be for one of the
reasons below, and seldom.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable
from datetime import datetime
from typing import Any

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import parse_config
from nats_streaming.nats.config.values import Value

from .prepare import Program

SEED = 20_261_123
TEXTS = 6000

STRICTER = re.compile(
    r"has no value"  # of a map's key: the Go parser lets it take the value of its neighbour
    r"|a } that closes nothing"  # there it becomes a key
    r"|has no closing [\"']$"  # at the very end of a file there it is nothing
    r"|a lone '/'"  # there it is skipped, here or there
    r"|is no size"  # there the value is dropped
    r"|put a space between a number"  # there it becomes part of a text, in the few cases where that goes well
)
OTHERWISE = re.compile(
    r"\d[kmgtpeKMGTPE][bBiI]*\d"  # `1m30s` is text, as for newer versions of nats-server
    r"|(?:^|[\n;,}])\s*[{}]"  # what follows a brace that closes the whole file, as for newer versions
    r"|\n\)$"  # the Go parser takes the end of a block that ends the file for a part of it
)

PIECES = [
    "a", "b", "key", "m", "{", "}", "[", "]", "(", ")", "=", ":", ",", ";", "\n", "\n", "\r\n", " ", "  ", "\t", "#c",
    "//c", "/", "'", '"', "'x y'", '"x\\ty"', '"\\x41"', "1", "12", "-5", "1.5", "1k", "2KB", "3mib", "1kbb", "true",
    "no", "YES", "$a", "$b", "$2a$11$x", "10s", "30m", "1.2.3.4:5", "2026-01-31T00:00:00Z", "foo/bar", "nats://h:1",
    "x#y", "\\", "\\n", "é", "\u00a0", "\u2028", "(\n t \n)\n", "{a: 1}", "[1, 2 ]", "['x', y]", "-", ".", " : ", " = ",
    "a: 1\n", "m {", "b 2\n", "}\n", "c: [", "]\n",
]  # fmt: skip
KEYS = ["a", "b", "k1", "'q k'", '"d"']
SCALARS = ["1", "x", "'q r'", '"d\\"q"', "true", "1.5", "-7", "10MB", "$a", "2k", "abc_d", "a.b", "12ab", "(\nz\n)\n"]


class Texts:
    """Makes texts; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def any(self) -> str:
        one = self._random
        if one.random() < 0.5:
            return "".join(one.choice(PIECES) for _ in range(one.randint(1, 12)))
        text = self._entries(2, one.randint(1, 3))
        for _ in range(one.randint(0, 2)):
            position = one.randrange(len(text) + 1)
            if one.random() < 0.5:
                text = text[:position] + text[position + 1 :]
            else:
                text = text[:position] + one.choice(PIECES) + text[position:]
        return text

    def _entries(self, depth: int, count: int) -> str:
        choice = self._random.choice
        return "".join(
            choice(KEYS)
            + choice([": ", " = ", " ", ":", "=", "\n"])
            + self._value(depth)
            + choice(["\n", "; ", ", ", " # c\n", "\n\n", " // d\n"])
            for _ in range(count)
        )

    def _value(self, depth: int) -> str:
        one = self._random
        dice = one.random() if depth else 1.0
        if dice < 0.2:
            inside = self._entries(depth - 1, one.randint(0, 3))
            return "{" + one.choice([" ", "\n"]) + inside + one.choice([" ", "\n", ""]) + "}"
        if dice < 0.35:
            separator = one.choice([", ", "\n", ",", " \n "])
            inside = separator.join(self._value(depth - 1) for _ in range(one.randint(0, 3)))
            return "[" + one.choice(["", " ", "\n"]) + inside + one.choice(["", " ", "\n", ","]) + "]"
        return one.choice(SCALARS)


def described(value: Value) -> list[Any]:
    """A value as the Go program writes it."""
    if isinstance(value, dict):
        return ["map", {hexadecimal(key): described(setting.value) for key, setting in value.items()}]
    if isinstance(value, list):
        return ["array", [described(setting.value) for setting in value]]
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["float", value]
    if isinstance(value, datetime):
        return ["date", value.strftime("%Y-%m-%dT%H:%M:%SZ")]
    return ["string", hexadecimal(value)]


def hexadecimal(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").hex()


def ours(text: str) -> tuple[list[Any], str]:
    """The values we read, or why there are none."""
    try:
        return described(parse_config(text, "f", {})), ""
    except ConfigError as error:
        return [], str(error)


def go_answers(program: Program, texts: list[str]) -> list[str]:
    lines = "".join(f"{json.dumps(text)}\n" for text in texts)
    done = subprocess.run(program.command, input=lines.encode(), capture_output=True, timeout=60, check=True, env={})
    return done.stdout.decode().splitlines()


def test_random_texts_mean_the_same(prepared: Callable[[str], Program]) -> None:
    texts = Texts(SEED)
    samples = [texts.any() for _ in range(TEXTS)]
    answers = go_answers(prepared("config-reader"), samples)
    assert len(answers) == TEXTS
    differences: list[tuple[str, str]] = []
    equal = 0
    for text, answer in zip(samples, answers, strict=True):
        kind, _, theirs = answer.partition(" ")
        values, reason = ours(text)
        if kind == "error" and reason:
            continue
        if kind == "ok" and values == json.loads(theirs):
            equal += 1
            continue
        known = STRICTER.search(reason) or OTHERWISE.search(text)
        assert known, f"{text!r}: we read {values} {reason}, they {answer}"
        differences.append((text, answer))
    assert equal > TEXTS / 4, "too few of the texts are valid to prove anything"
    assert len(differences) < TEXTS / 50
