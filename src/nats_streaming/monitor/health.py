"""Health as JSON: whether the server does its work, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence

from nats_streaming.monitor.go_text import INDENT, json_object, json_string
from nats_streaming.monitor.snapshot import Problem


def health_text(state: str, problems: Sequence[Problem]) -> str:
    """The body of a health check's answer.

    Args:
        state: of the server, as `serverz` shows it.
        problems: none when all is well.
    """
    fields = [("status", json_string("error" if problems else "ok")), ("state", json_string(state))]
    if problems:
        inner = INDENT * 2
        texts = [
            json_object([("check", json_string(each.check)), ("error", json_string(each.text))], inner)
            for each in problems
        ]
        fields.append(("problems", "[\n" + ",\n".join(inner + text for text in texts) + f"\n{INDENT}]"))
    return json_object(fields)
