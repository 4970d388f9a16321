"""What clients do so that a server writes every line about clients, subscriptions and messages.

Deterministic: two servers write the same lines, apart from IDs and times, so that their logs can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from tests.support.raw_client import NatsClient, StanClient, StartPosition, refused
from tests.support.servers import ServerProcess

Step = Callable[[], Awaitable[None]]


class LogSession:
    """Goes through its steps; the log in between is kept by step."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._nats: NatsClient | None = None
        self._connections: list[NatsClient] = []
        self._marks = 0
        self._position = 0

    async def live(self) -> dict[str, str]:
        """Every step's name to what the server logged meanwhile; `start` is the first and `stop` the last."""
        steps: list[Step] = [
            self.clients,
            self.refusals,
            self.publishing,
            self.refused_publishing,
            self.plain,
            self.start_positions,
            self.durables,
            self.queues,
            self.durable_queues,
            self.redelivery,
            self.limit,
            self.closing,
        ]
        logs = {"start": self._since()}
        for step in steps:
            await step()
            await self._mark()
            logs[step.__name__] = self._since()
        for connection in self._connections:
            await connection.close()
        self._server.stop()
        logs["stop"] = self._since()
        return logs

    async def client(self, name: str) -> StanClient:
        nats = await NatsClient.connect(self._server.port)
        self._connections.append(nats)
        return await StanClient.connect(nats, name, conn_id=f"conn-of-{name}")

    async def clients(self) -> None:
        first = await self.client("cli-a")
        await refused(self.client("cli-a"))
        first.answering = False
        again = await self.client("cli-a")
        await again.close()
        self.a = await self.client("cli-a")
        self.b = await self.client("cli-b")

    async def refusals(self) -> None:
        await refused(self.client("not.allowed"))
        await self.a.nats.request("_STAN.discover.test-cluster", b"\x0a\x02ab")
        await refused(self.a.subscribe("foo", ack_wait=0))
        await refused(self.a.subscribe("foo..bar"))
        await refused(self.a.subscribe("foo", max_in_flight=0))
        await refused(self.a.subscribe("foo", durable="a:b", queue="q"))
        await refused(self.a.subscribe("foo", start=StartPosition.SEQUENCE_START, sequence=1, clientID=b"nobody"))

    async def publishing(self) -> None:
        for number in range(3):
            await self.a.publish("foo", b"%d" % number)

    async def refused_publishing(self) -> None:
        await refused(self.a.publish("FOO"))
        await refused(self.a.publish("foo.*", b"private"))
        await refused(self.a.publish("foo", b"private", clientID=b"nobody", connID=b"unknown"))

    async def plain(self) -> None:
        subscription = await self.a.subscribe("foo")
        await self.b.publish("foo", b"x")
        subscription.ack(await subscription.next())
        await self.a.ping()
        await subscription.unsubscribe()
        subscription = await self.a.subscribe("foo", start=StartPosition.FIRST, auto_ack=True)
        await subscription.take(4)
        await self.a.ping()
        await subscription.close()

    async def start_positions(self) -> None:
        hour_ns = 3600 * 10**9
        for options in (
            {"start": StartPosition.NEW_ONLY},
            {"start": StartPosition.LAST_RECEIVED},
            {"start": StartPosition.FIRST},
            {"start": StartPosition.SEQUENCE_START, "sequence": 2},
            {"start": StartPosition.SEQUENCE_START, "sequence": 99},
            {"start": StartPosition.TIME_DELTA_START, "delta_ns": hour_ns},
        ):
            subscription = await self.a.subscribe("foo", auto_ack=True, **options)  # type: ignore[arg-type]
            await self.a.ping()
            await subscription.unsubscribe()

    async def durables(self) -> None:
        durable = await self.a.subscribe("foo", durable="d", auto_ack=True)
        await refused(self.a.subscribe("foo", durable="d"))
        await durable.close()
        await self.a.publish("foo", b"while it is away")
        durable = await self.a.subscribe("foo", durable="d", auto_ack=True)
        await durable.take(1)
        await self.a.ping()
        await durable.unsubscribe()

    async def queues(self) -> None:
        first = await self.a.subscribe("bar", queue="q", auto_ack=True)
        second = await self.b.subscribe("bar", queue="q", auto_ack=True)
        await second.unsubscribe()
        await self.a.publish("bar", b"x")
        await first.take(1)
        await self.a.ping()
        await first.close()

    async def durable_queues(self) -> None:
        first = await self.a.subscribe("bar", durable="d", queue="q", auto_ack=True)
        second = await self.b.subscribe("bar", durable="d", queue="q", auto_ack=True)
        await first.close()
        await second.close()
        third = await self.b.subscribe("bar", durable="d", queue="q", auto_ack=True)
        await third.unsubscribe()

    async def redelivery(self) -> None:
        subscription = await self.a.subscribe("slow", ack_wait=1)
        await self.a.publish("slow", b"x")
        await subscription.next()
        subscription.ack(await subscription.next())
        await self.a.ping()
        await subscription.unsubscribe()

    async def limit(self) -> None:
        for number in range(9):
            await self.a.publish("full", b"%d" % number)

    async def closing(self) -> None:
        await self.a.subscribe("foo", durable="stays", auto_ack=True)
        await self.a.subscribe("foo", auto_ack=True)
        await self.a.close()
        await refused(self.a.close())
        await self.b.close()

    async def _mark(self) -> None:
        """Have the server log a line that ends the step."""
        if self._nats is None:
            self._nats = await NatsClient.connect(self._server.port)
            self._connections.append(self._nats)
        self._marks += 1
        marker = await StanClient.connect(self._nats, f"mark-{self._marks}")
        await marker.close()
        self._server.wait_for_log(rf"\[Client:mark-{self._marks}\] Closed.*\n")

    def _since(self) -> str:
        log = self._server.log()
        found, self._position = log[self._position :], len(log)
        return re.sub(r".*\[Client:mark-\d+\].*\n", "", found)
