"""One streaming server in this process: its life from prepared to stopped, for the executable and as a library.

    prepare    embedded nats-server up
    [standby   wait for the lock of a fault-tolerance group  `fault_tolerance` does it]
    activate   store locked and recovered, clients served    `service` does it
    stop       the reverse

What only serving needs is imported when it begins: the executable lets the nats-server start meanwhile.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import TYPE_CHECKING, Any, Self

from nats_streaming.clock import Clock, SystemClock
from nats_streaming.errors import NatsServerError, StreamingError
from nats_streaming.nats.embedded_options import bracketed
from nats_streaming.nats.server_process import reachable
from nats_streaming.server.banner import starting_lines
from nats_streaming.server.logs.lines import NATS_SERVER_LOGGER
from nats_streaming.server.logs.routing import logging_to
from nats_streaming.server.monitoring_port import is_monitoring_on, monitoring_host
from nats_streaming.server.nats_side import NatsSide
from nats_streaming.server.settings.options import Options
from nats_streaming.server.state import EXIT_ABORTED, Failure, ServerState
from nats_streaming.streaming.nuid import new_nuid

if TYPE_CHECKING:
    from nats_streaming.nats.connection import NatsConnection
    from nats_streaming.server.fault_tolerance import GroupMember
    from nats_streaming.server.monitoring import Monitoring
    from nats_streaming.server.service import Service
    from nats_streaming.stores.api import Store

_log = logging.getLogger("nats_streaming")
_log.addHandler(logging.NullHandler())  # where nobody has configured logging, errors are raised, not printed


class StreamingServer:
    """`start` returns when clients are served, or in a fault-tolerance group as a standby; `stop` leaves nothing
    running. `async with` does both.

    A server is started once: what a store or a link has closed is not opened again. It installs no signal
    handlers and changes no setting of the process.

    Attributes:
        options: a copy of what was given; after `start` with the ports in use in place of -1.
        server_id: NUID of this run.
        store: None until `start`.
        service: what serves clients, None while nothing does.
    """

    def __init__(
        self, options: Options | None = None, *, logger: logging.Logger | None = None, clock: Clock | None = None
    ) -> None:
        """
        Args:
            options: copied, and checked by `start`; None is `library_options.default_options`.
            logger: gets the log lines of this server instead of `nats_streaming` and what is below it.
            clock: for tests; None takes the system's.
        """
        if options is None:
            from nats_streaming.server.settings.library_options import default_options

            options = default_options()
        self.options = options = copy.deepcopy(options)
        self._logger = logger
        self.server_id = new_nuid().decode()
        self.store: Store | None = None
        self.service: Service | None = None
        self._clock = clock or SystemClock()
        self._nats = NatsSide(options)
        self._state = ServerState.FT_STANDBY if options.ft_group else ServerState.STANDALONE
        self._failure: asyncio.Future[Failure] | None = None
        self._ready: asyncio.Event = asyncio.Event()
        self._member: GroupMember | None = None
        self._group_connection: NatsConnection | None = None
        self._start_task: asyncio.Task[None] | None = None
        self._stand_by_task: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[None] | None = None
        self._is_spawned = False
        self._monitoring: Monitoring | None = None

    @property
    def state(self) -> ServerState:
        return self._state

    @property
    def cluster_id(self) -> str:
        return self.options.cluster_id

    @property
    def client_url(self) -> str:
        """Where clients of this machine reach NATS, without credentials; after `start`.

        With an external NATS it is the first of its URLs.
        """
        return str(self._nats.client_url)

    @property
    def monitoring_url(self) -> str:
        """Where monitoring answers, "" without monitoring; after `start`."""
        if self._monitoring is None:
            return ""
        host = reachable(monitoring_host(self.options))
        scheme = "https" if self.options.nats.https_port else "http"
        return f"{scheme}://{bracketed(host)}:{self._monitoring.port}"

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
        with logging_to(self._logger):
            try:
                self._spawn()
            except StreamingError as error:
                _say_why(error)
                raise

    def _spawn(self) -> None:
        self._is_spawned = True
        for line in starting_lines(self.options, self.server_id):
            _log.info("%s", line)
        self._nats.spawn()

    async def start(self) -> None:
        """Bring everything up. When this fails nothing is left running, and the log says why.

        Raises:
            NatsServerError, NatsLinkError, StoreError, ConfigError: why it cannot serve.
        """
        if self._failure is not None:
            raise StreamingError("the server was started before: make a new one")
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        with logging_to(self._logger):
            self._start_task = loop.create_task(self._start(), name="start")
        try:
            await asyncio.wait({self._start_task})
            if self._start_task.cancelled():
                raise StreamingError(self.last_error or "the server was stopped while it started")
            self._start_task.result()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        try:
            await self._prepare()
            if self.options.ft_group:
                await self._join_group()
                self._stand_by_task = asyncio.get_running_loop().create_task(self._stand_by(), name="stand by")
                self._stand_by_task.add_done_callback(self._on_stand_by_end)
            else:
                await self._activate()
        except StreamingError as error:
            _say_why(error)
            raise

    async def _prepare(self) -> None:
        from nats_streaming.server.store_setup import open_configured_store

        self.options.check()
        if not self._is_spawned:
            self._spawn()
        self.store = open_configured_store(self.options)
        if self.options.ft_group:
            from nats_streaming.server.fault_tolerance import refuse_unsuitable

            refuse_unsuitable(self.store)
        if is_monitoring_on(self.options):
            from nats_streaming.server.monitoring import Monitoring

            self._monitoring = Monitoring(self, self._clock)
        await self._nats.start()
        if self._monitoring is not None:
            self._monitoring.start()

    async def _join_group(self) -> None:
        from nats_streaming.nats.control_link import ControlLink
        from nats_streaming.server.fault_tolerance import GroupMember

        assert self.store is not None
        link = ControlLink()
        subject = f"_STAN.ft.{self.options.cluster_id}.{self.options.ft_group}".encode()
        self._member = GroupMember(subject, self.server_id.encode(), self.store, link, self._clock, self._on_fenced)
        self._group_connection = self._nats.connection("ft", link)
        link.attach(self._group_connection)
        self._member.join()
        await self._nats.connect(self._group_connection)
        _log.info("Starting in standby mode")
        if self._monitoring is not None:
            self._monitoring.show()

    async def _stand_by(self) -> None:
        """From standby to serving."""
        import nats_streaming.server.service  # noqa: F401 - now there is time, at the take-over there is none

        assert self._member is not None
        await self._member.wait_for_lock()
        _log.info("Server is active")
        if self._monitoring is not None:
            self._monitoring.hide()
        self._state = ServerState.FT_ACTIVE
        # Before recovery, which may take long: nobody is to wonder meanwhile.
        self._member.begin_heartbeats()
        await self._activate()

    def _on_stand_by_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StreamingError):
            self._fail(Failure(str(error)))
        else:
            _log.error("bug: standing by ended in an error", exc_info=error)
            self._on_bug(f"standing by ended in an error: {error!r}")

    async def _activate(self) -> None:
        from nats_streaming.server.service import Service

        assert self.store is not None
        self.service = Service(
            self.options,
            self.store,
            self._nats,
            self._clock,
            server_id=self.server_id,
            on_conflict=self._on_conflict,
            on_bug=self._on_bug,
        )
        await self.service.activate()
        if self._monitoring is not None:
            self._monitoring.show()
        self._ready.set()

    async def wait_ready(self) -> None:
        """Return when clients are served, which for a standby may be never.

        Raises:
            StreamingError: the server has failed meanwhile, or was stopped.
        """
        if self._failure is None:
            raise StreamingError("the server is not started")
        ready = asyncio.ensure_future(self._ready.wait())
        ends: set[asyncio.Future[Any]] = {ready, self._failure}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._failure.done():
            raise StreamingError(self.last_error)
        if self._state not in (ServerState.STANDALONE, ServerState.FT_ACTIVE):
            raise StreamingError("the server is stopped")

    # Failing.

    @property
    def last_error(self) -> str:
        """Why a server that had started has failed, "" if it has not."""
        return self._failure.result().text if self._failure is not None and self._failure.done() else ""

    @property
    def is_fenced(self) -> bool:
        """Whether it has failed because its store may be another server's."""
        return self._failure is not None and self._failure.done() and self._failure.result().fenced

    def _on_bug(self, text: str) -> None:
        self._fail(Failure(text, EXIT_ABORTED))

    def _on_conflict(self, text: str) -> None:
        self._fail(Failure(text))

    def _on_fenced(self, text: str) -> None:
        self._fail(Failure(text, EXIT_ABORTED, fenced=True))

    def _fail(self, failure: Failure) -> None:
        """Say so, and stop."""
        assert self._failure is not None
        if self._failure.done() or self._stop_task is not None:
            return
        if failure.fenced and self.service is not None:
            self.service.abandon()  # here and now: another server may be writing already
        self._state = ServerState.FAILED
        self._failure.set_result(failure)
        _log.critical("%s", failure.text)
        self._begin_stop()

    async def wait_failed(self) -> Failure:
        """Return when the server, once started, cannot go on. It stops by itself then."""
        if self._failure is None:
            raise StreamingError("the server is not started")
        return await asyncio.shield(self._failure)

    # Stopping.

    async def stop(self) -> None:
        """Finish the batch in hand, close the store, the link and the embedded nats-server. Idempotent.

        A start that is under way ends in an error.
        """
        await asyncio.shield(self._begin_stop())

    def _begin_stop(self) -> asyncio.Task[None]:
        if self._stop_task is None:
            with logging_to(self._logger):
                self._stop_task = asyncio.get_running_loop().create_task(self._stop(), name="stop")
        return self._stop_task

    async def _stop(self) -> None:
        if self._state is not ServerState.FAILED:
            self._state = ServerState.SHUTDOWN
        self._ready.set()
        for task in (self._start_task, self._stand_by_task):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        # Heartbeats end first: standbys may begin to wonder while we finish, since they cannot have the lock before.
        if self._member is not None:
            await self._member.stop()
        await self._stop_serving()
        if self._group_connection is not None:
            await self._group_connection.close()
        if self._monitoring is not None:
            await self._monitoring.stop()
        await self._nats.stop()

    async def _stop_serving(self) -> None:
        from nats_streaming.stores.api import abandon

        if self.store is not None and self.is_fenced:
            abandon(self.store)
        elif self.service is not None:
            await self.service.stop()
        if self.store is not None and not self.is_fenced:
            await self.store.close()
        if self.service is not None:
            await self.service.disconnect()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _say_why(error: StreamingError) -> None:
    """Log why a start failed; what nats-server says stands for itself, as its own line."""
    if isinstance(error, NatsServerError):
        for line in str(error).splitlines():  # one for each thing that is wrong with its configuration
            logging.getLogger(NATS_SERVER_LOGGER).critical("%s", line)
    else:
        _log.critical("Failed to start: %s", error)
