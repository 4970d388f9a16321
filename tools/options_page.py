"""Writes docs/reference/options.md from the flag table: `python -m tools.options_page`. A tidy test compares them."""

from __future__ import annotations

from pathlib import Path

from nats_streaming.server.flag_table import BOOL, CHILD, SECTIONS, Flag

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "options.md"

HEAD = """\
# Options

Every flag of the command line, made from the table the parser uses; `nats-streaming-server -help` prints the same.
How the server is started and what surrounds it is told in [Running the server](../guide/running.md).

- One dash or two: `-cid` and `--cid` are the same, and so are all names in a row of the tables.
- A value follows as `-flag value` or `-flag=value`. A flag of kind *bool* needs none; `true` and `false` go behind an
  equals sign: `-logtime=false`.
- Durations are written `30s`, `1m30s`, `500ms`. Sizes are bytes, perhaps with a unit: `1000`, `2k` (2000),
  `2KB` (2048), `1GB`.
- The last column says what a flag does today. **yes**: it works. **handed on**: the embedded nats-server gets it as it
  is. **not yet**: giving it, other than its default, ends the start with an error that names it, and exit status 1.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, flags in SECTIONS:
        lines += [f"## {title}", "", "| flag | kind | default | what it does | |", "| --- | --- | --- | --- | --- |"]
        lines += [_row(flag) for flag in flags]
        lines.append("")
    return "\n".join(lines)


def _row(flag: Flag) -> str:
    names = ", ".join(f"`-{name}`" for name in flag.names)
    handed_on = flag.targets == (CHILD,)
    default = flag.default or ("false" if flag.kind == BOOL and not handed_on else "")
    default = f"`{default}`" if default else ""
    state = "handed on" if handed_on else "yes" if flag.available else "not yet"
    return f"| {names} | {flag.kind} | {default} | {flag.help.replace('|', '/')} | {state} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
