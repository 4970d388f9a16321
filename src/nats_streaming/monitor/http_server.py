"""The monitoring port: our pages under `/streaming`, health and metrics; everything else is NATS's.

Listening and answering are two steps, so that a port in use is known before anything else is begun, and the HTTP
library, which takes longer to load than the rest of the server, is loaded beside the start.

Source: operations specification, sections 4.1 and 4.7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from urllib.parse import unquote

from aiohttp import web
from aiohttp.http import HttpProcessingError

from nats_streaming.clock import Clock
from nats_streaming.monitor import pages
from nats_streaming.monitor.answers import HTML_HEADERS, JSON_HEADERS, JSONP_HEADERS, error, not_found
from nats_streaming.monitor.health import health_text
from nats_streaming.monitor.index_page import INDEX
from nats_streaming.monitor.output import Output
from nats_streaming.monitor.query import Query, read_query
from nats_streaming.monitor.snapshot import Problem, Source

_log = logging.getLogger("nats_streaming.monitor")

CONNECTIONS_MAX: Final = 512
"""Connections to the monitoring port; more are closed at once."""

_WHOLE_BYTES_MAX: Final = 2048  # the original sends longer bodies in chunks
_CHUNK_BYTES: Final = 1 << 16
_SHUTDOWN_S: Final = 0.2

Page = Callable[[Source, Query, Clock, Output], Awaitable[None]]

_PAGES: Final[dict[str, Page]] = {
    "/streaming/serverz": pages.serverz,
    "/streaming/storez": pages.storez,
    "/streaming/clientsz": pages.clientsz,
    "/streaming/channelsz": pages.channelsz,
}


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error is ours. What is no HTTP is answered, and not logged: anybody can send any amount of it."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_log.addFilter(_is_ours)


class Answerer(Protocol):
    """Somebody who answers whole requests."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse: ...

    async def close(self) -> None: ...


class Monitored(Protocol):
    """What is monitored, at any moment of its life."""

    async def wait_source(self) -> Source | None:
        """The source as soon as the server has started or become active; None when there will be none any more."""
        ...

    def state(self) -> str: ...

    def problems(self) -> Sequence[Problem]:
        """Why it cannot do its work; empty when it can."""
        ...

    def is_alive(self) -> bool:
        """Whether waiting is of use: a server that has failed for good should be started anew."""
        ...


class HttpServer:
    """Answers on a socket that listens already. `start` and `stop` once."""

    def __init__(self, monitored: Monitored, nats: Answerer, metrics: Answerer, clock: Clock) -> None:
        """
        Args:
            monitored: what our pages are about.
            nats: answers NATS's pages; closed by `stop`.
            metrics: answers `/metrics`; closed by `stop`.
        """
        self._monitored = monitored
        self._nats = nats
        self._metrics = metrics
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    async def start(self, listener: object, tls: object) -> None:
        """Begin to answer.

        Args:
            listener: a listening socket; owned by this object from now on.
            tls: an `ssl.SSLContext`, or None for HTTP.
        """
        app = web.Application(logger=_log)
        app.router.add_route("*", "/{path:.*}", self._answer)
        app.on_response_prepare.append(_remove_extras)
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, logger=_log, keepalive_timeout=75, shutdown_timeout=_SHUTDOWN_S
        )
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=listener,  # type: ignore[call-overload]
            ssl=tls,
        )

    def _protocol(self) -> asyncio.Protocol:
        assert self._runner is not None
        server = self._runner.server
        assert server is not None
        return server() if len(server.connections) < CONNECTIONS_MAX else _Refusal()

    async def stop(self) -> None:
        """Close the port and every connection; requests in hand have a moment to end."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._nats.close()
        await self._metrics.close()

    # Which page.

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.rel_url.raw_path, errors="surrogateescape")
        if path in _PAGES:
            return await self._streaming_page(request, _PAGES[path])
        if path == "/streaming":
            return web.Response(headers=HTML_HEADERS, body=INDEX)
        if path == "/streaming/isFTActive":
            await self._monitored.wait_source()
            return web.Response(status=200 if self._monitored.state() == "FT_ACTIVE" else 204)
        if path.startswith("/streaming/"):
            return not_found()
        if path == "/healthz/live":
            problems = [] if self._monitored.is_alive() else self._monitored.problems()
            return self._health(problems)
        if path == "/healthz/ready":
            return self._health(self._monitored.problems())
        if path == "/metrics":
            return await self._metrics.answer(request)
        return await self._nats.answer(request)

    def _health(self, problems: Sequence[Problem]) -> web.Response:
        text = health_text(self._monitored.state(), problems)
        return web.Response(status=503 if problems else 200, headers=JSON_HEADERS, body=text.encode())

    async def _streaming_page(self, request: web.Request, page: Page) -> web.StreamResponse:
        source = await self._monitored.wait_source()
        if source is None:
            return error(503, "the server is stopping")
        query = read_query(request.rel_url.raw_query_string)
        sending = _Sending(request, query.callback)
        output = Output(sending.on_step)
        try:
            await page(source, query, self._clock, output)
        except pages.PageError as failure:
            return error(failure.status, failure.text)
        return await sending.finish(output.pieces)


class _Sending:
    """One page on its way: short ones as a whole, long ones in chunks while they are being made."""

    def __init__(self, request: web.Request, callback: str) -> None:
        self._request = request
        self._start = f"{callback}(".encode("utf-8", "surrogateescape") if callback else b""
        self._end = b")" if callback else b""
        self._headers = JSONP_HEADERS if callback else JSON_HEADERS
        # Without a body, or without chunks, there is nothing to send before the end.
        self._at_once = request.method == "HEAD" or request.version < (1, 1)
        self._response: web.StreamResponse | None = None

    async def on_step(self, pieces: list[str]) -> None:
        if self._at_once:
            return
        if self._response is None and sum(map(len, pieces)) <= _WHOLE_BYTES_MAX:
            return
        data = "".join(pieces).encode("utf-8", "surrogateescape")
        pieces.clear()
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        if self._response is None:
            self._response = web.StreamResponse(headers=self._headers)
            self._response.enable_chunked_encoding()
            await self._response.prepare(self._request)
            data = self._start + data
        await self._response.write(data)

    async def finish(self, pieces: list[str]) -> web.StreamResponse:
        data = "".join(pieces).encode("utf-8", "surrogateescape") + self._end
        if self._response is None and (self._at_once or len(data) + len(self._start) <= _WHOLE_BYTES_MAX):
            return web.Response(headers=self._headers, body=self._start + data)
        await self._send(data)
        assert self._response is not None
        await self._response.write_eof()
        return self._response


class _Refusal(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _remove_extras(_request: web.Request, response: web.StreamResponse) -> None:
    """The original names no server software, and no type for what is empty."""
    response.headers.popall("Server", None)
    if response.status == 204:
        response.headers.popall("Content-Type", None)
