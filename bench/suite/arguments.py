"""Kinds of arguments that the programs share."""

from __future__ import annotations

from argparse import ArgumentTypeError


def count(text: str) -> int:
    """How many of something there are to be: figures are divided by it. Raises ArgumentTypeError below 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number
