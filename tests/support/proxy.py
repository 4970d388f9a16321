"""A TCP proxy on the loopback whose connections can be cut, refused, slowed down, and let through again."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import cast


class Proxy:
    """Forwards to one port. Leaving it closes everything.

    Attributes:
        delay_s: how long everything that comes, from either side, is held.
        lets_request, lets_response: asked about each chunk of a client or of the target, with the number of its
            connection; False cuts all connections instead of forwarding it.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.is_open = True
        self.delay_s = 0.0
        self.lets_request: Callable[[int, bytes], bool] | None = None
        self.lets_response: Callable[[int, bytes], bool] | None = None
        self.ends: set[_End] = set()
        self.numbers = itertools.count()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Near(self, next(self.numbers)), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.refuse()
        self._server.close()
        while self.ends:
            await asyncio.sleep(0.001)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End every connection there is, without goodbye; new ones are let through."""
        for end in self.ends:
            end.transport.abort()

    def refuse(self) -> None:
        """End every connection there is, and every new one, until `accept`."""
        self.is_open = False
        self.cut()

    def accept(self) -> None:
        self.is_open = True


class _End(asyncio.Protocol):
    """One end of a forwarded connection."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.transport: asyncio.Transport
        self.other: _End | None = None
        self._held: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.proxy.ends.add(self)
        if not self.proxy.is_open:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        lets = self.proxy.lets_request if isinstance(self, _Near) else self.proxy.lets_response
        if lets is not None and not lets(self.number, data):
            self.proxy.cut()
        elif self.proxy.delay_s or self._held:
            self._held.append(data)
            asyncio.get_running_loop().call_later(self.proxy.delay_s, self._forward)
        elif self.other is not None:
            self.other.transport.write(data)

    def _forward(self) -> None:
        data = self._held.popleft()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.ends.discard(self)
        if self.other is not None:
            self.other.transport.abort()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class _Near(_End):
    """The client's end: opens the other one, and reads when it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self.opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            _, far = await asyncio.get_running_loop().create_connection(
                lambda: _End(self.proxy, self.number), "127.0.0.1", self.proxy.target_port
            )
        except OSError:
            self.transport.abort()
            return
        if self.transport.is_closing():
            far.transport.abort()
            return
        self.other, far.other = far, self
        self.transport.resume_reading()
