"""Answers that several pages give."""

from __future__ import annotations

from typing import Final

from aiohttp import web

JSON_HEADERS: Final = {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"}
JSONP_HEADERS: Final = {"Content-Type": "application/javascript"}
TEXT_HEADERS: Final = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
HTML_HEADERS: Final = {"Content-Type": "text/html; charset=utf-8"}


def error(status: int, text: str) -> web.Response:
    """An error in the original's form: text and a line end."""
    body = f"{text}\n".encode("utf-8", "surrogateescape")
    return web.Response(status=status, headers=TEXT_HEADERS, body=body)


def not_found() -> web.Response:
    return error(404, "404 page not found")
