"""Monitoring of one streaming server: its port, and what the pages are told of the server's life.

    made       the port is bound: one in use ends the start before anything else is begun
    start      NATS's own pages answer, streaming pages wait
    show       streaming pages answer; a standby's, or those of a server that serves
    hide       they wait again, while a standby becomes active

What monitoring needs is imported when it is on, on a thread beside the start.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nats_streaming import __version__
from nats_streaming.clock import Clock
from nats_streaming.errors import ConfigError, NatsServerError
from nats_streaming.monitor.histogram import CommitStatistics
from nats_streaming.monitor.snapshot import Problem
from nats_streaming.nats.embedded_options import bracketed
from nats_streaming.server.logs.lines import NATS_SERVER_LOGGER
from nats_streaming.server.monitoring_port import bind_monitoring_port, monitoring_host, monitoring_tls
from nats_streaming.server.state import ServerState

if TYPE_CHECKING:
    from nats_streaming.monitor.http_server import HttpServer
    from nats_streaming.monitor.metrics import Counters, MetricsPage
    from nats_streaming.monitor.nats_pages import NatsPages
    from nats_streaming.monitor.no_nats_pages import NoNatsPages
    from nats_streaming.server.engine_source import EngineSource
    from nats_streaming.server.streaming_server import StreamingServer
    from nats_streaming.streaming.cycle import Cycle

_log = logging.getLogger("nats_streaming")
_nats_log = logging.getLogger(NATS_SERVER_LOGGER)

_DISK_INTERVAL_S = 10.0


class Monitoring:
    """Of one server; `start` and `stop` once. The pages ask it for what they show."""

    def __init__(self, server: StreamingServer, clock: Clock) -> None:
        """Bind the port.

        Raises:
            NatsServerError, ConfigError: why it cannot be opened.
        """
        self._server = server
        self._clock = clock
        self._start_ns = clock.wall_ns()
        self._source: EngineSource | None = None
        self._changed = asyncio.Event()
        self._ended = False
        self._http: HttpServer | None = None
        self._made_up_id = ""
        self._opening: asyncio.Task[None] | None = None
        self._disk: asyncio.Task[None] | None = None
        self._disk_free: int | None = None
        self._commits = CommitStatistics()
        self._committed_bytes = 0
        self._is_random = -1 in (server.options.nats.http_port, server.options.nats.https_port)
        try:
            self._tls = monitoring_tls(server.options)
            self._listener = bind_monitoring_port(server.options)
        except ConfigError as error:
            if server.nats.child is None:
                raise
            # The original's NATS opened the port, and this is how it said that it could not.
            raise NatsServerError(f"Can't start monitoring: {error}") from error
        self.port: int = self._listener.getsockname()[1]
        nats = server.options.nats
        nats.http_port, nats.https_port = (self.port, 0) if self._tls is None else (0, self.port)

    # The life of the server.

    def start(self) -> None:
        """NATS is up: begin to answer as soon as the HTTP library is loaded."""
        if self._server.nats.child is not None or self._is_random:
            scheme = "http" if self._tls is None else "https"
            _nats_log.info(
                "Starting %s monitor on %s:%d", scheme, bracketed(monitoring_host(self._server.options)), self.port
            )
        self._opening = asyncio.get_running_loop().create_task(self._open(), name="monitoring: open")
        self._opening.add_done_callback(_raise_in_loop)

    async def _open(self) -> None:
        for module in ("http_server", "metrics", "nats_pages", "no_nats_pages"):
            await asyncio.to_thread(importlib.import_module, f"nats_streaming.monitor.{module}")
        from nats_streaming.monitor.http_server import HttpServer

        self._http = HttpServer(self, self._make_nats_pages(), self._make_metrics(), self._clock)
        await self._http.start(self._listener, self._tls)

    def _make_nats_pages(self) -> NatsPages | NoNatsPages:
        from nats_streaming.monitor.nats_pages import NatsPages
        from nats_streaming.monitor.no_nats_pages import NoNatsPages

        options = self._server.options
        host = monitoring_host(options)
        nats = options.nats
        child = self._server.nats.child
        if child is not None:
            shown: dict[str, str | int] = {
                "http_host": host,
                "http_port": nats.http_port,
                "https_port": nats.https_port,
            }
            if self._server.nats.listener is not None:
                shown.update(host=nats.host, port=nats.port)
            return NatsPages(lambda: child.http_address, shown)
        pages = NoNatsPages(
            self._clock,
            host,
            http_port=nats.http_port,
            https_port=nats.https_port,
            base_path=nats.http_base_path,
            version=__version__,
        )
        self._made_up_id = pages.server_id
        return pages

    def _make_metrics(self) -> MetricsPage:
        from nats_streaming.monitor.metrics import MetricsPage

        options = self._server.options.monitor
        return MetricsPage(self, options.metrics_channels, options.metrics_subscriptions)

    def show(self) -> None:
        """The streaming pages are about what the server is now: a standby, or one that serves."""
        from nats_streaming.server.engine_source import EngineSource

        server = self._server
        service = server.service
        if service is not None and service.loop is not None:
            service.loop.on_commit = self._on_commit
        self._source = EngineSource(
            service.engine if service is not None else None,
            server.options,
            store_name=server.store.name if server.store is not None else server.options.store_type,
            server_id=server.server_id,
            start_ns=self._start_ns,
            state=self.state,
        )
        self._changed.set()
        if self._disk is None and server.options.store_dir:
            self._disk = asyncio.get_running_loop().create_task(self._watch_disk(), name="monitoring: disk")
            self._disk.add_done_callback(_raise_in_loop)

    def hide(self) -> None:
        """The streaming pages wait for the next `show`."""
        self._source = None
        self._changed.clear()

    async def stop(self) -> None:
        """Close the port. Idempotent."""
        self._ended = True
        self._source = None
        self._changed.set()
        for task in (self._opening, self._disk):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if self._http is not None:
            await self._http.stop()
        self._listener.close()

    # What the pages ask.

    def source(self) -> EngineSource | None:
        return self._source

    async def wait_source(self) -> EngineSource | None:
        while self._source is None and not self._ended:
            await self._changed.wait()
        return self._source

    def state(self) -> str:
        return self._server.state.value

    def is_alive(self) -> bool:
        return self._server.state is not ServerState.FAILED

    def problems(self) -> Sequence[Problem]:
        """Why clients are not served, or not safely; see `monitor.snapshot.Problem`."""
        server = self._server
        if server.state in (ServerState.FAILED, ServerState.SHUTDOWN):
            return [Problem("server", "the server is stopping" if self.is_alive() else "the server has failed")]
        if server.state is ServerState.FT_STANDBY and self._source is not None:
            return [Problem("server", "standby: another server of the group is active")]
        service = server.service
        if self._source is None or service is None or service.loop is None or service.engine is None:
            return [Problem("server", "the server is starting: it recovers its state")]
        found = []
        if service.loop.failure:
            found.append(Problem("store", f"the last commit failed: {service.loop.failure}"))
        if server.store is not None and server.store.failure:
            found.append(Problem("channel_files", server.store.failure))
        if not service.engine.context.delivery.enabled:
            found.append(Problem("nats", "there is no link to NATS"))
        for subject in service.refused_subjects:
            found.append(Problem("permissions", f"NATS does not allow us to subscribe to {subject}"))
        return found

    def counters(self) -> Counters:
        from nats_streaming.monitor.metrics import Counters

        child = self._server.nats.child
        service = self._server.service
        delivery = service.engine.context.delivery if service is not None and service.engine is not None else None
        return Counters(
            redeliveries=delivery.redeliveries if delivery is not None else 0,
            stalls=delivery.stalls if delivery is not None else 0,
            nats_restarts=child.restart_count if child is not None else 0,
            commits=self._commits,
        )

    def nats_server_id(self) -> str:
        child = self._server.nats.child
        if child is not None:
            return child.server_id
        return self._made_up_id

    def nats_pid(self) -> int | None:
        child = self._server.nats.child
        return child.pid if child is not None else None

    def disk_free_bytes(self) -> int | None:
        return self._disk_free

    # What is watched.

    def _on_commit(self, cycle: Cycle, begun_ns: int, *, failed: bool) -> None:
        size = cycle.staged_bytes - self._committed_bytes
        self._committed_bytes = cycle.staged_bytes
        if failed:
            self._commits.failed()
            return
        now_ns = self._clock.monotonic_ns()
        self._commits.committed(cycle.message_count, size, now_ns - begun_ns, now_ns - cycle.since_ns)

    async def _watch_disk(self) -> None:
        """Ask for the free space now and then; a disk that hangs must not hang a scrape."""
        while True:
            self._disk_free = await asyncio.to_thread(_free_bytes, self._server.options.store_dir)
            await asyncio.sleep(_DISK_INTERVAL_S)


def _free_bytes(directory: str) -> int | None:
    if not hasattr(os, "statvfs"):
        return None
    try:
        status = os.statvfs(directory)
    except OSError as error:
        _log.debug("cannot find out how much space is left in %s: %s", directory, error)
        return None
    return status.f_bavail * status.f_frsize


def _raise_in_loop(task: asyncio.Task[None]) -> None:
    """A task that ends by an error is a bug that must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "monitoring ended by an unexpected error", "exception": error, "task": task}
        )
