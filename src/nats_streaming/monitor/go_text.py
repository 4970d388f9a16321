"""Values as the original's pages write them, which programs compare and parse: Go's JSON, times, lengths of time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime

from nats_streaming.constants import NS_PER_SECOND

INDENT = "  "

_PLAIN = re.compile(rb"[ !#-%'-;=?-\[\]-~]*")  # printable ASCII but for `"`, `&`, `<`, `>` and `\`
_SPECIAL = re.compile("[<>&\u2028\u2029]")
_NO_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of a byte that is not UTF-8


def json_string(value: bytes | str) -> str:
    """A JSON string as Go writes it: safe inside HTML, and a byte that is not UTF-8 becomes U+FFFD.

    Args:
        value: any bytes, UTF-8 or not, or text.
    """
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if _PLAIN.fullmatch(data):
        return f'"{data.decode("ascii")}"'
    text = json.dumps(data.decode("utf-8", "surrogateescape"), ensure_ascii=False)
    text = _SPECIAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return _NO_UTF8.sub(r"\\ufffd", text)


def json_bool(value: bool) -> str:
    return "true" if value else "false"


def json_object(fields: Iterable[tuple[str, str]], indent: str = "") -> str:
    """A JSON object over several lines.

    Args:
        fields: plain key and JSON text of each field.
        indent: white space before the line on which it begins.
    """
    lines = [f'{indent}{INDENT}"{key}": {value}' for key, value in fields]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if lines else "{}"


def rfc3339_text(wall_ns: int) -> str:
    """A moment in the local time zone, nanoseconds without trailing zeros: `2026-11-23T01:22:59.39681Z`.

    Args:
        wall_ns: nanoseconds since 1970-01-01 UTC.
    """
    seconds, nanoseconds = divmod(wall_ns, NS_PER_SECOND)
    moment = datetime.fromtimestamp(seconds).astimezone()
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    offset = moment.utcoffset()
    minutes = int(offset.total_seconds()) // 60 if offset is not None else 0
    sign = "-" if minutes < 0 else "+"
    hours, minutes = divmod(abs(minutes), 60)
    zone = f"{sign}{hours:02d}:{minutes:02d}" if hours or minutes else "Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"


def uptime_text(duration_ns: int) -> str:
    """A length of time in whole seconds: `4s`, `3m4s`, `2h3m4s`, `1d2h3m4s`, `1y2d3h4m5s`; a year has 365 days.

    Args:
        duration_ns: nanoseconds, not negative.
    """
    minutes, seconds = divmod(duration_ns // NS_PER_SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    years, days = divmod(days, 365)
    parts = [(years, "y"), (days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        del parts[0]
    return "".join(f"{value}{unit}" for value, unit in parts)
