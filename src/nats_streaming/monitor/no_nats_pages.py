"""NATS's own pages where no nats-server is embedded: what programs expect to find, of a NATS server without clients.

The original shows a NATS server that was never started then; exporters take their server ID from its `varz`, and
its `healthz` says that nothing can connect here.

Source: operations specification, section 4.1.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import traceback
from base64 import b32encode
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from nats_streaming.clock import Clock
from nats_streaming.constants import DEFAULT_NATS_PORT
from nats_streaming.monitor.answers import HTML_HEADERS, JSON_HEADERS, JSONP_HEADERS, TEXT_HEADERS, not_found
from nats_streaming.monitor.go_text import rfc3339_text, uptime_text
from nats_streaming.monitor.pages import PYTHON_TEXT
from nats_streaming.monitor.query import read_query

_COUNTS: Final = (
    "connections", "total_connections", "routes", "remotes", "leafnodes", "in_msgs", "out_msgs", "in_bytes",
    "out_bytes", "slow_consumers", "subscriptions",
)  # fmt: skip
_SUBSZ: Final = (
    "num_subscriptions", "num_cache", "num_inserts", "num_removes", "num_matches", "cache_hit_rate", "max_fanout",
    "avg_fanout",
)  # fmt: skip
_NEVER_READY: Final = "failed to be ready for connections after 1ms: server"


def new_server_id() -> str:
    """An ID of the form that NATS servers have: `N` and 55 characters of base 32."""
    return "N" + b32encode(secrets.token_bytes(35)).decode()[:55]


class NoNatsPages:
    """Answers for a NATS server that is not there."""

    def __init__(
        self, clock: Clock, host: str, *, http_port: int, https_port: int, base_path: str = "", version: str
    ) -> None:
        """
        Args:
            host: on which we listen.
            http_port, https_port: the ports we listen on, 0 for none.
            base_path: what precedes the paths of NATS's pages, "" for nothing.
            version: shown as the server's.
        """
        self.server_id = new_server_id()
        self._clock = clock
        self._start_ns = clock.wall_ns()
        self._host = host
        self._http_port = http_port
        self._https_port = https_port
        self._base_path = base_path
        self._version = version
        stripped = base_path.strip("/")
        self._root = base = f"/{stripped}" if stripped else ""
        self._pages: dict[str, Callable[[], dict[str, Any]]] = {
            f"{base}/{name}": page
            for name, page in (
                ("varz", self._varz),
                ("connz", self._connz),
                ("routez", self._routez),
                ("gatewayz", self._gatewayz),
                ("leafz", self._leafz),
                ("subsz", _subsz),
                ("subscriptionsz", _subsz),
                ("accountz", self._accountz),
                ("accstatz", self._accstatz),
                ("jsz", self._jsz),
                ("ipqueuesz", dict),
            )
        }
        self._healthz = f"{base}/healthz"
        self._stacksz = f"{base}/stacksz"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The page, or 404."""
        path = request.path
        page = self._pages.get(path)
        if page is not None:
            text = json.dumps(page(), indent=2)
            callback = read_query(request.rel_url.raw_query_string).callback
            if callback:
                return web.Response(
                    headers=JSONP_HEADERS, body=f"{callback}({text})".encode("utf-8", "surrogateescape")
                )
            return web.Response(headers=JSON_HEADERS, body=text.encode())
        if path == self._healthz:
            body = json.dumps({"status": "error", "error": _NEVER_READY}, separators=(",", ":"))
            return web.Response(status=503, headers=JSON_HEADERS, body=body.encode())
        if path == self._stacksz:
            return web.Response(headers=TEXT_HEADERS, body=_stacks().encode())
        if path.rstrip("/") == self._root:
            return web.Response(headers=HTML_HEADERS, body=self._index().encode())
        return not_found()

    async def close(self) -> None:
        """Nothing is open."""

    def _index(self) -> str:
        paths = [*self._pages, self._healthz, self._stacksz]
        links = "".join(f'<a href="{path}">{path}</a><br>\n' for path in paths)
        return f"<!doctype html>\n<title>NATS</title>\n<p>No NATS server is embedded here.</p>\n{links}"

    def _now(self) -> str:
        return rfc3339_text(self._clock.wall_ns())

    def _varz(self) -> dict[str, Any]:
        now_ns = self._clock.wall_ns()
        start = rfc3339_text(self._start_ns)
        return {
            "server_id": self.server_id,
            "server_name": self.server_id,
            "version": self._version,
            "proto": 1,
            "go": PYTHON_TEXT,
            "host": self._host,
            "port": DEFAULT_NATS_PORT,
            "http_host": self._host,
            "http_port": self._http_port,
            "http_base_path": self._base_path,
            "https_port": self._https_port,
            "cluster": {},
            "gateway": {},
            "leaf": {},
            "jetstream": {},
            "start": start,
            "now": rfc3339_text(now_ns),
            "uptime": uptime_text(max(now_ns - self._start_ns, 0)),
            "mem": 0,
            "cores": os.cpu_count() or 1,
            "cpu": 0,
            **dict.fromkeys(_COUNTS, 0),
            "config_load_time": start,
        }

    def _connz(self) -> dict[str, Any]:
        return self._identified(num_connections=0, total=0, offset=0, limit=1024, connections=[])

    def _routez(self) -> dict[str, Any]:
        return {"server_id": self.server_id, "server_name": "", "now": self._now(), "num_routes": 0, "routes": []}

    def _gatewayz(self) -> dict[str, Any]:
        return self._identified(outbound_gateways={}, inbound_gateways={})

    def _leafz(self) -> dict[str, Any]:
        return self._identified(leafnodes=0, leafs=None)

    def _accountz(self) -> dict[str, Any]:
        return self._identified(accounts=[])

    def _accstatz(self) -> dict[str, Any]:
        return self._identified(account_statz=[])

    def _jsz(self) -> dict[str, Any]:
        limits = {"max_memory": 0, "max_storage": 0}
        counts = dict.fromkeys(("memory", "storage", "reserved_memory", "reserved_storage", "accounts", "ha_assets"), 0)
        more = dict.fromkeys(("streams", "consumers", "messages", "bytes"), 0)
        return self._identified(disabled=True, config=limits, **counts, api={"total": 0, "errors": 0}, **more)

    def _identified(self, **fields: Any) -> dict[str, Any]:
        return {"server_id": self.server_id, "now": self._now(), **fields}


def _subsz() -> dict[str, Any]:
    return dict.fromkeys(_SUBSZ, 0)


def _stacks() -> str:
    """Where every thread of this process is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        parts.append(f"thread {ident} [{names.get(ident, 'unknown')}]:\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(parts)
