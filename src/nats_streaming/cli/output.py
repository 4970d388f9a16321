"""Printing: tables for people, JSON for scripts, and how values look in both."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from nats_streaming.cli.parameters import OutputOptions
from nats_streaming.constants import NS_PER_SECOND

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_COLUMNS = 200
_UNITS = ("KB", "MB", "GB", "TB", "PB")


def console(options: OutputOptions, *, stderr: bool = False) -> Console:
    """A console that wraps at the terminal's width, and not at all when it writes to a file."""
    from rich.console import Console

    made = Console(stderr=stderr, no_color=options.no_color or None, highlight=False)
    if not made.is_terminal:
        made.width = max(_PIPE_COLUMNS, made.width)
    return made


def print_json(value: object) -> None:
    """One document, indented."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: object) -> None:
    """One document of several, on one line, at once."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """A value as JSON has it; names that are not UTF-8 with their bytes escaped."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {member.name: plain(getattr(value, member.name)) for member in fields(value)}
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def print_table(
    to: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "none"
) -> None:
    """A table; columns whose head begins with `>` are numbers.

    Args:
        to: where it is printed.
        title: above it.
        columns: heads.
        rows: cells, as rich markup.
        empty: printed instead of a table without rows.
    """
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        if column.startswith(">"):
            table.add_column(column[1:], justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*row)
        count += 1
    if count:
        to.print(table)
    else:
        to.print(f"[bold]{title}[/bold]  {empty}")


def escaped(given: str | bytes) -> str:
    """Text from outside, in which nothing is markup and nothing steers the terminal."""
    from rich.markup import escape

    shown = text(given) if isinstance(given, bytes) else given
    return escape("".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown))


def size_text(size: float) -> str:
    """Bytes with a unit of 1024."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1024
        if size < 1024 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}"


def count_text(count: float) -> str:
    """A count with its thousands apart."""
    return f"{count:,.0f}".replace(",", " ")


def time_text(wall_ns: int) -> str:
    """A moment in local time, to the millisecond; "" for 0, which means unknown."""
    from datetime import datetime

    if wall_ns == 0:
        return ""
    moment = datetime.fromtimestamp(wall_ns // NS_PER_SECOND).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{wall_ns % NS_PER_SECOND // 1_000_000:03}"


def forget_stdout() -> None:
    """Nobody reads it any more: let the flush at the end of the process go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
