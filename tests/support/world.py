"""What one conformance test has at hand: the server, its log, and clients that are cleaned up after the test."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.support.raw_client import NatsClient, StanClient, Text, unique
from tests.support.servers import ServerProcess

LOG_SECONDS = 20.0
_POLL_SECONDS = 0.01


class World:
    """One test's view of a running server. Channels and client IDs it hands out are used by no other test."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._log_start = server.log_path.stat().st_size
        self._connections: list[NatsClient] = []
        self._clients: list[StanClient] = []

    def channel(self) -> str:
        return unique("channel-")

    def name(self) -> str:
        """A fresh client ID."""
        return unique("client-")

    async def nats(self, **options: Any) -> NatsClient:
        """A new NATS connection, closed after the test."""
        connection = await NatsClient.connect(self.server.port, **options)
        self._connections.append(connection)
        return connection

    async def client(self, name: Text | None = None, *, nats: NatsClient | None = None, **options: Any) -> StanClient:
        """A connected STAN client, by default with a fresh ID on its own NATS connection."""
        client = await StanClient.connect(nats or await self.nats(), name or self.name(), **options)
        self._clients.append(client)
        return client

    def log(self) -> str:
        """What the server has logged since this test began, up to now: its log may be behind what clients see."""
        # A line that we make it write now comes behind all others.
        mark = "File log re-open ignored"
        before = self._log_so_far().count(mark)
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + LOG_SECONDS
        while self._log_so_far().count(mark) == before and self.server.process.poll() is None:
            assert time.monotonic() < deadline, "the log does not come"
            time.sleep(0.001)
        return self._log_so_far()

    def _log_so_far(self) -> str:
        with self.server.log_path.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    async def logged(self, pattern: str) -> re.Match[str]:
        """Wait for a line in which `pattern` occurs and return the match."""
        compiled = re.compile(pattern)
        match: re.Match[str] | None = None

        def found() -> bool:
            nonlocal match
            match = compiled.search(self._log_so_far())
            return match is not None

        await eventually(found, f"log line {pattern!r}", LOG_SECONDS)
        assert match is not None
        return match

    def subscription_id(self, channel: str, number: int = 1) -> int:
        """The ID of the `number`th subscription of a channel: a database counts over all channels, others in each."""
        if "SQL" not in self.server.arguments:
            return number
        line = rf"(?:Started new|Added member to) .*subject={re.escape(channel)}, .*subid=(\d+)"
        return int(re.findall(line, self.log())[number - 1])

    async def close(self) -> None:
        """Close every STAN client that still can be closed, then the connections.

        Raises:
            whatever a client's reader raised: for instance because of a message that is not canonical.
        """
        for client in self._clients:
            if not client.nats.disconnected.is_set():
                client.nats.publish(client.connect_response.closeRequests, client.close_payload())
        for connection in self._connections:
            if not connection.disconnected.is_set():
                try:
                    await connection.flush()
                except (ConnectionError, TimeoutError):
                    connection.abort()
            await connection.close()
        for connection in self._connections:
            if connection.failure is not None:
                raise connection.failure


async def eventually(condition: Callable[[], bool], what: str, seconds: float = LOG_SECONDS) -> None:
    """Poll a condition that cannot be awaited."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(_POLL_SECONDS)
