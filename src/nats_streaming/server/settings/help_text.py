"""The text of `-help`, made from the flag table. Imported only when it is asked for."""

from __future__ import annotations

from nats_streaming.server.settings.flag_table import BOOL, SECTIONS, Flag

_LATER = " [not yet]"


def help_text() -> str:
    """The whole text, beginning with an empty line as the original's does, without a line end."""
    lines = ["", "Usage: nats-streaming-server [options]"]
    for title, flags in SECTIONS:
        lines += ["", f"{title}:"]
        left = [_left_column(flag) for flag in flags]
        width = max(map(len, left))
        lines += [f"    {text:{width}}  {_right_column(flag)}" for text, flag in zip(left, flags, strict=True)]
    lines += [
        "",
        "Flags take one dash or two, and their value as -flag value or -flag=value; true and false",
        "only behind an equals sign. Durations are written like 30s or 1m30s, sizes like 1000, 2KB or 1GB.",
        f"Flags marked{_LATER} are refused: this version does not have their function yet.",
    ]
    return "\n".join(lines)


def _left_column(flag: Flag) -> str:
    names = ", ".join(_with_dashes(name, first=index == 0) for index, name in enumerate(flag.names))
    if flag.kind != BOOL:
        return f"{names} <{flag.kind}>"
    return f"{names}=<bool>" if flag.default == "true" else names


def _with_dashes(name: str, *, first: bool) -> str:
    return f"-{name}" if len(name) == 1 or name.isupper() or (first and len(name) <= 3) else f"--{name}"


def _right_column(flag: Flag) -> str:
    shows_default = flag.default == "true" if flag.kind == BOOL else flag.available and flag.default
    return f"{flag.help}{f' (default: {flag.default})' if shows_default else ''}{'' if flag.available else _LATER}"
