"""One streaming server in this process: its life from prepared to stopped, for the executable and as a library.

    prepare    embedded nats-server up                      a standby needs no more
    activate   store locked and recovered, clients served   `service` does it
    stop       the reverse

What only serving needs is imported when it begins: the executable lets the nats-server start meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from nats_streaming.clock import Clock, SystemClock
from nats_streaming.server.banner import starting_lines
from nats_streaming.server.monitoring_port import is_monitoring_on
from nats_streaming.server.nats_side import NatsSide
from nats_streaming.server.options import Options
from nats_streaming.server.state import EXIT_ABORTED, Failure, ServerState
from nats_streaming.streaming.nuid import new_nuid

if TYPE_CHECKING:
    from nats_streaming.server.monitoring import Monitoring
    from nats_streaming.server.service import Service
    from nats_streaming.stores.api import Store

_log = logging.getLogger("nats_streaming")


class StreamingServer:
    """`start` returns when clients are served; `stop` leaves nothing running. `async with` does both.

    A server is started once: what a store or a link has closed is not opened again. It installs no signal
    handlers and changes no setting of the process.

    Attributes:
        options: a copy of what was given, with the port in use in place of -1.
        server_id: NUID of this run.
        store: None until `start`.
        service: what serves clients, None while nothing does.
    """

    def __init__(self, options: Options, *, clock: Clock | None = None) -> None:
        """
        Args:
            options: checked by `start`.
            clock: for tests; None takes the system's.
        """
        self.options = options
        self.server_id = new_nuid().decode()
        self.store: Store | None = None
        self.service: Service | None = None
        self._clock = clock or SystemClock()
        self._nats = NatsSide(options)
        self._state = ServerState.STANDALONE
        self._failure: asyncio.Future[Failure] | None = None
        self._stop_task: asyncio.Task[None] | None = None
        self._is_spawned = False
        self._monitoring: Monitoring | None = None

    @property
    def state(self) -> ServerState:
        return self._state

    @property
    def nats(self) -> NatsSide:
        """The embedded nats-server, if there is one, and the way to it."""
        return self._nats

    # Starting.

    def spawn(self) -> None:
        """Begin to start the embedded nats-server; `start` goes on from there. May come before the event loop runs.

        Raises:
            NatsServerError: no usable binary, or it cannot be executed.
        """
        self._is_spawned = True
        for line in starting_lines(self.options, self.server_id):
            _log.info("%s", line)
        self._nats.spawn()

    async def start(self) -> None:
        """Bring everything up. When this fails nothing is left running.

        Raises:
            NatsServerError, NatsLinkError, StoreError, ConfigError: why it cannot serve.
        """
        self._failure = asyncio.get_running_loop().create_future()
        try:
            await self._prepare()
            await self._activate()
        except BaseException:
            await self.stop()
            raise

    async def _prepare(self) -> None:
        from nats_streaming.server.store_setup import open_configured_store

        self.options.check()
        if not self._is_spawned:
            self.spawn()
        self.store = open_configured_store(self.options)
        if is_monitoring_on(self.options):
            from nats_streaming.server.monitoring import Monitoring

            self._monitoring = Monitoring(self, self._clock)
        await self._nats.start()
        if self._monitoring is not None:
            self._monitoring.start()

    async def _activate(self) -> None:
        from nats_streaming.server.service import Service

        assert self.store is not None
        self.service = Service(self.options, self.store, self._nats, self._clock, self._on_bug)
        await self.service.activate()
        if self._monitoring is not None:
            self._monitoring.show()

    # Failing.

    def _on_bug(self, text: str) -> None:
        self._fail(Failure(text, EXIT_ABORTED))

    def _fail(self, failure: Failure) -> None:
        assert self._failure is not None
        if not self._failure.done():
            self._state = ServerState.FAILED
            self._failure.set_result(failure)

    async def wait_failed(self) -> Failure:
        """Return when the server, once started, cannot go on; `stop` is due then."""
        assert self._failure is not None, "not started"
        return await asyncio.shield(self._failure)

    # Stopping.

    async def stop(self) -> None:
        """Finish the batch in hand, close the store, the link and the embedded nats-server. Idempotent."""
        if self._stop_task is None:
            self._stop_task = asyncio.get_running_loop().create_task(self._stop(), name="stop")
        await asyncio.shield(self._stop_task)

    async def _stop(self) -> None:
        if self._state is not ServerState.FAILED:
            self._state = ServerState.SHUTDOWN
        if self.service is not None:
            await self.service.stop()
        if self.store is not None:
            await self.store.close()
        if self.service is not None:
            await self.service.disconnect()
        if self._monitoring is not None:
            await self._monitoring.stop()
        await self._nats.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
