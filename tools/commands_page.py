"""Writes docs/reference/commands.md from the tool's commands: `python -m tools.commands_page`. A tidy test compares."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from nats_streaming.cli.exits import ExitCode
from nats_streaming.cli.main import application
from nats_streaming.cli.parameters import ConnectionOptions, MonitoringOptions, OutputOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "commands.md"

HEAD = """\
# Commands

Every command of `nats-streaming` with its options, made from the program itself; `nats-streaming COMMAND --help` says
the same. What they are good for is told in [The command-line tool](../guide/command-line.md).
"""

SHARED: tuple[tuple[str, type], ...] = (
    ("Connection options", ConnectionOptions),
    ("Monitoring options", MonitoringOptions),
    ("Output options", OutputOptions),
)
"""Groups that several commands have; each is listed once."""

_HEAD_ROW = ["| option | value | default | variable | what it does |", "| --- | --- | --- | --- | --- |"]


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(application())
    groups = {title: {member.name for member in fields(kind)} for title, kind in SHARED}
    shared: dict[str, dict[str, Any]] = {title: {} for title in groups}
    sections: list[str] = []
    for name, command in group.commands.items():
        own = []
        has = []
        for title, names in groups.items():
            found = {parameter.name: parameter for parameter in command.params if parameter.name in names}
            shared[title] |= found
            if found:
                has.append(f"[{title.lower()}](#{title.lower().replace(' ', '-')})")
        for parameter in command.params:
            if not any(parameter.name in names for names in groups.values()):
                own.append(parameter)
        sections += _command(name, command.help or "", own, has)
    lines = [HEAD, *sections]
    for title, parameters in shared.items():
        lines += [f"## {title}", "", *_HEAD_ROW, *map(_row, parameters.values()), ""]
    lines += ["## Exit codes", "", "| code | means |", "| --- | --- |"]
    lines += [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(lines) + "\n"


def _command(name: str, help_text: str, parameters: list[Any], has: list[str]) -> list[str]:
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
    call = " ".join(["nats-streaming", name, *(argument.metavar for argument in arguments)])
    lines = [f"## {name}", "", f"    {call}", "", inspect.cleandoc(help_text), ""]
    for argument in arguments:
        if argument.help:
            lines += [f"- `{argument.metavar}`: {argument.help}"]
    if any(argument.help for argument in arguments):
        lines.append("")
    if options:
        lines += [*_HEAD_ROW, *map(_row, options), ""]
    return [*lines, f"And {', '.join(has)}.", ""]


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    has_default = default not in ("", None) and not isinstance(default, bool) and not callable(default)
    shown = f"`{default}`" if has_default else ""
    variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
    value = "" if getattr(parameter, "is_flag", False) else parameter.metavar or ""
    help_text = (parameter.help or "").replace("|", "/")
    return f"| {names} | {value} | {shown} | {f'`{variable}`' if variable else ''} | {help_text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
