"""Writes docs/reference/options.md from the tables of flags and keys: `python -m tools.options_page`.

A tidy test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nats_streaming.server.settings.config_keys import (
    NATS_KEYS,
    OUR_NATS_KEYS,
    PER_CHANNEL_NAMES,
    STREAMING_KEYS,
)
from nats_streaming.server.settings.config_keys import SECTIONS as KEY_SECTIONS
from nats_streaming.server.settings.flag_table import BOOL, CHILD, FLAGS, Flag
from nats_streaming.server.settings.flag_table import SECTIONS as FLAG_SECTIONS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "options.md"

HEAD = """\
# Options

Every flag of the command line and every key of a configuration file, made from the tables the parsers use;
`nats-streaming-server -help` prints the flags. How the server is started and what surrounds it is told in
[Running the server](../guide/running.md), how files are written and what wins in
[Configuration files](../guide/configuration.md).

- One dash or two: `-cid` and `--cid` are the same, and so are all names in a row of the tables.
- A value follows as `-flag value` or `-flag=value`. A flag of kind *bool* needs none; `true` and `false` go behind an
  equals sign: `-logtime=false`.
- Durations are written `30s`, `1m30s`, `500ms`. Sizes are bytes, perhaps with a unit: `1000`, `2k` (2000),
  `2KB` (2048), `1GB`.
- The second column has the names of the key in a file; those before a colon are names of the map it is in. All of them
  are in `streaming { }`, but those that are marked *top*, which are NATS's. Durations are text there and go in quotes.
- The last column says what a flag does today. **yes**: it works. **handed on**: the embedded nats-server gets it as it
  is. **not yet**: giving it, other than its default, ends the start with an error that names it, and exit status 1.
"""

COLUMNS = "| flag | in a file | kind | default | what it does | |"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, flags in FLAG_SECTIONS:
        lines += [f"## {title}", "", COLUMNS, "| --- | --- | --- | --- | --- | --- |"]
        lines += [_row(flag) for flag in flags]
        lines.append("")
    lines += [
        "## Keys without a flag",
        "",
        COLUMNS.replace(" flag ", " "),
        "| --- | --- | --- | --- | --- | --- |",
        *(_row(flag) for flag in _KEYS if FLAGS.get(flag.names[0]) is not flag),
        "",
        f"`limits` has one more key: {_names(PER_CHANNEL_NAMES)}.",
        "It is a map from channel names to limits of their own, see",
        "[Configuration files](../guide/configuration.md#limits-per-channel).",
        "Keys of NATS that are not listed on this page are handed on to the embedded nats-server.",
        "",
    ]
    return "\n".join(lines)


def _keys() -> dict[Flag, list[str]]:
    """Each flag to the keys that do the same, as the page shows them."""
    found: dict[Flag, list[str]] = {}
    for prefix, keys in (
        ("", STREAMING_KEYS),
        *((f"{_names(section.names)}: ", section.keys) for section in KEY_SECTIONS),
        ("*top* ", NATS_KEYS),
        ("*top* ", OUR_NATS_KEYS),
    ):
        for key in keys:
            found.setdefault(key.flag, []).append(prefix + _names(key.names))
    return found


def _names(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _row(flag: Flag) -> str:
    is_flag = FLAGS.get(flag.names[0]) is flag
    names = ", ".join(f"`-{name}`" for name in flag.names) if is_flag else ""
    handed_on = flag.targets == (CHILD,)
    default = flag.default or ("false" if flag.kind == BOOL and not handed_on else "")
    default = f"`{default}`" if default else ""
    state = "handed on" if handed_on else "yes" if flag.available else "not yet"
    keys = "<br>".join(_KEYS.get(flag, ()))
    return f"| {names} | {keys} | {flag.kind} | {default} | {flag.help.replace('|', '/')} | {state} |"


_KEYS = _keys()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
