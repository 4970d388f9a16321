"""The start page of the streaming pages."""

from __future__ import annotations

from typing import Final

_LINKS: Final = (
    ("./streaming/serverz", "server"),
    ("./streaming/storez", "store"),
    ("./streaming/clientsz", "clients"),
    ("./streaming/channelsz", "channels"),
    ("./streaming/channelsz?subs=1", "channels with subscriptions"),
    ("./healthz/ready", "health"),
    ("./metrics", "metrics"),
)

INDEX: Final = (
    "<!doctype html>\n"
    '<html lang="en">\n'
    "<head><title>NATS Streaming</title></head>\n"
    '<body style="font-family: sans-serif">\n'
    "<h1>NATS Streaming</h1>\n"
    + "".join(f'<a href="{target}">{text}</a><br>\n' for target, text in _LINKS)
    + '<p><a href="https://docs.nats.io/legacy/stan/intro/monitoring">help</a></p>\n'
    "</body>\n"
    "</html>\n"
).encode()
"""HTML. Unlike the original's, it loads nothing from another host."""
