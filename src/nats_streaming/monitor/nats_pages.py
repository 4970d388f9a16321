"""NATS's own pages on our port: asked of the embedded nats-server, which has its monitoring on loopback for us."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

from nats_streaming.monitor.answers import JSONP_HEADERS, error
from nats_streaming.monitor.query import read_query

_TIMEOUT: Final = ClientTimeout(total=60, connect=5)  # a CPU profile takes its time

# What belongs to one connection or one way of sending only, and what we write ourselves.
_NOT_PASSED_ON: Final = frozenset(
    ("connection", "content-length", "date", "keep-alive", "server", "trailer", "transfer-encoding")
)


class NatsPages:
    """Passes requests on, and answers as nats-server does; only `varz` names our listeners, not the hidden ones."""

    def __init__(self, address: Callable[[], tuple[str, int] | None], shown: Mapping[str, str | int]) -> None:
        """
        Args:
            address: host and port of nats-server's monitoring, None while there is none.
            shown: what top-level keys of `varz` have instead of nats-server's own: the addresses where we listen.
        """
        self._address = address
        self._shown = {key.encode(): json.dumps(value).encode() for key, value in shown.items()}
        keys = b"|".join(self._shown)
        self._replaced = re.compile(rb'^  "(%b)": (?:"[^"]*"|-?\d+)' % keys, re.MULTILINE)
        self._session: ClientSession | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Ask nats-server the same and give its answer."""
        address = self._address()
        if address is None:
            return error(503, "the nats-server has no monitoring")
        if self._session is None:
            self._session = ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        host, port = address
        shown_host = f"[{host}]" if ":" in host else host
        url = URL(f"http://{shown_host}:{port}{request.rel_url.raw_path_qs}", encoded=True)
        try:
            # Whatever the method, nats-server answers as to GET, and reads no body.
            async with self._session.get(url, allow_redirects=False) as got:
                body = await got.read()
        except (ClientError, TimeoutError) as failure:
            return error(503, f"the nats-server does not answer: {failure}")
        if request.path.endswith("/varz"):
            body = self._replaced.sub(lambda match: b'  "%b": %b' % (match[1], self._shown[match[1]]), body)
        callback = read_query(request.rel_url.raw_query_string).callback
        if callback and got.content_type == "application/json":
            # Newer nats-servers have given this up.
            body = b"%b(%b)" % (callback.encode("utf-8", "surrogateescape"), body)
            return web.Response(status=got.status, headers=JSONP_HEADERS, body=body)
        headers = [(name, value) for name, value in got.headers.items() if name.lower() not in _NOT_PASSED_ON]
        return web.Response(status=got.status, headers=headers, body=body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
