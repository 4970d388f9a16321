"""One life of clients, channels and subscriptions that fills every field of the monitoring pages.

Deterministic: on two servers it leaves the same state, so that their pages can be compared.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass

from tests.support.raw_client import NatsClient, StanClient, StartPosition

CHANNELS = (b"foo", b"bar.baz", b"odd<&name", "grün".encode(), b"quiet")
MESSAGES = 5
ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """One HTTP response. `headers` are in the order sent, names in lower case; `body` without transfer coding."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(port: int, path: str, method: str = "GET", *, tls: ssl.SSLContext | None = None) -> Answer:
    """Ask the monitoring port, over a connection of its own."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=ANSWER_SECONDS, context=tls)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return Answer(response.status, [(name.lower(), value) for name, value in response.getheaders()], body)
    finally:
        connection.close()


class Session:
    """The clients of `live`, still connected; `close` drops their connections without a word."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[NatsClient] = []

    async def client(self, name: str, cluster: str = "test-cluster") -> StanClient:
        """A client with a connection of its own; its IDs are as long on every server."""
        nats = await NatsClient.connect(self._port)
        self._connections.append(nats)
        return await StanClient.connect(nats, name, conn_id=f"conn-of-{name}", cluster=cluster)

    async def live(self) -> None:
        """Three clients, five channels, every kind of subscription; returns when all is acked that ever will be."""
        a, b = await self.client("cli-a"), await self.client("cli-b")
        await self.client("cli-idle")
        for channel in CHANNELS[:4]:
            for number in range(MESSAGES):
                await a.publish(channel, b"msg-%d" % number)
        await b.subscribe(CHANNELS[4])
        stalled = await b.subscribe("foo", start=StartPosition.FIRST, max_in_flight=2, ack_wait=60)
        await stalled.take(2)
        for client in (a, b):
            plain = await client.subscribe("foo", start=StartPosition.FIRST, auto_ack=True)
            await plain.take(MESSAGES)
        for name, online in (("dur", True), ("duroff", False)):
            durable = await a.subscribe("foo", durable=name, start=StartPosition.FIRST, auto_ack=True)
            await durable.take(MESSAGES)
            if not online:
                await a.nats.flush()
                await durable.close()
        await a.subscribe("odd<&name", durable="never<acked>", start=StartPosition.SEQUENCE_START, sequence=3)
        # One group a channel: the original shows groups in any order.
        await a.subscribe("bar.baz", queue="grp")
        await b.subscribe("bar.baz", queue="grp", max_in_flight=7)
        for channel, group, online in ((CHANNELS[2], "dgrp", False), (CHANNELS[3], "dgrp2", True)):
            member = await a.subscribe(channel, queue=group, durable="qd", start=StartPosition.FIRST, auto_ack=True)
            await member.take(MESSAGES)
            await a.nats.flush()
            if not online:
                await member.close()
        # Whatever was acked has been handled when the server answers a request that came behind.
        await a.ping()
        await b.ping()

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()
