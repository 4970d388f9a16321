"""One streaming server in this process: store, engine, link and embedded nats-server, in their order."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nats_streaming.clock import Clock
from nats_streaming.errors import NatsServerError
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.nats.handshake import LinkOptions
from nats_streaming.nats.server_process import NatsServerProcess
from nats_streaming.nats.urls import ServerUrl, parse_server_urls
from nats_streaming.server.banner import READY, recovered_line, store_lines, subject_lines
from nats_streaming.server.options import Options
from nats_streaming.server.pid_file import write_pid_file
from nats_streaming.server.publish_loop import PublishLoop
from nats_streaming.server.startup_check import refuse_second_server
from nats_streaming.server.store_setup import open_configured_store, take_lock
from nats_streaming.server.version import version_text
from nats_streaming.stores.batch import ServerPut
from nats_streaming.streaming.context import EngineOptions
from nats_streaming.streaming.engine import Engine
from nats_streaming.streaming.recovery import server_info
from nats_streaming.streaming.subjects import new_server_info

_log = logging.getLogger("nats_streaming")

_FLUSH_S = 10.0


class StreamingServer:
    """`start` returns when clients are served; `stop` leaves nothing running. Both once.

    A later `start` needs a new object: what a store or a link has closed is not opened again.
    """

    def __init__(
        self, options: Options, child: NatsServerProcess | None, clock: Clock, on_bug: Callable[[str], None]
    ) -> None:
        """
        Args:
            child: the embedded nats-server, perhaps spawned already; None connects to `nats_server_url`.
            on_bug: called when the server cannot go on because of an error of ours.
        """
        self._on_bug = on_bug
        self._options = options
        self._child = child
        self._clock = clock
        self._link: NatsConnection | None = None
        self._loop: PublishLoop | None = None
        self._store = open_configured_store(options)

    async def start(self) -> None:
        """Bring everything up, in the original's order.

        Raises:
            NatsServerError, NatsLinkError, StoreError, ConfigError: why it cannot serve.
        """
        options = self._options
        if self._child is not None:
            await self._child.start()
            if options.pid_file:
                write_pid_file(options.pid_file)
        _log.info("Recovering the state...")
        await take_lock(self._store, options)
        recovered = await self._store.recover()
        configured = new_server_info(options.cluster_id.encode(), options.discover_prefix.encode())
        info, is_new = server_info(recovered, configured)
        engine = Engine(
            EngineOptions(
                max_channels=options.limits.max_channels,
                limits=options.limits.build(),
                heartbeat_interval_ns=options.heartbeat_interval_ns,
                heartbeat_timeout_ns=options.heartbeat_timeout_ns,
                heartbeat_fail_count=options.heartbeat_fail_count,
                replace_durable=options.replace_durable,
                batch_max=options.io_batch_size,
                trace=options.trace,
            ),
            self._store.capabilities,
            info,
            self._clock,
        )
        if recovered is not None:
            engine.restore(recovered)
        self._loop = loop = PublishLoop(engine, self._store, options.io_sleep_time_us, self._on_bug)
        self._link = link = NatsConnection(
            self._urls(),
            engine.inlet,
            self._link_options(),
            on_chunk=loop.on_chunk,
            on_connected=loop.on_connected,
            on_disconnected=loop.on_disconnected,
            on_writable=loop.on_writable,
        )
        loop.attach(link)
        if self._child is not None:
            self._child.on_restarted = link.retry_now
        for subject, sid in [*engine.context.subjects.internal(), *engine.recovered_inboxes()]:
            link.subscribe(subject, sid)
        await link.connect()
        if self._child is not None and link.info.server_id != self._child.server_id:
            raise NatsServerError(
                f"another NATS server answers at {self._child.client_url}, not the one that was started here"
            )
        _log.info("%s", recovered_line(None if recovered is None else len(recovered.channels)))
        await refuse_second_server(engine, loop)
        _log.debug("Did not detect another server instance")
        if is_new:
            engine.context.stage(ServerPut(info))
        for subject, sid in engine.context.subjects.requests():
            link.subscribe(subject, sid)
        await link.flush(_FLUSH_S)
        self._say_ready(engine)
        engine.begin()
        loop.kick()

    def _urls(self) -> list[ServerUrl]:
        if self._child is not None:
            return [self._child.client_url]
        return parse_server_urls(self._options.nats_server_url)

    def _link_options(self) -> LinkOptions:
        nats = self._options.nats
        return LinkOptions(
            name=f"_NSS-{self._options.cluster_id}-general",
            user=nats.user or None,
            password=nats.password or None,
            token=nats.token or None,
            version=version_text(),
            follow_discovered=self._child is None,
        )

    def _say_ready(self, engine: Engine) -> None:
        info = engine.context.info
        for line in subject_lines(
            info.discovery.decode(),
            info.publish.decode(),
            info.subscribe.decode(),
            info.subscription_close.decode(),
            info.unsubscribe.decode(),
            info.close.decode(),
        ):
            _log.debug("%s", line)
        for line in store_lines(self._options, self._store.name):
            _log.info("%s", line)
        _log.info("%s", READY)

    async def stop(self) -> None:
        """Finish the batch in hand, then close the store, the link and the embedded nats-server."""
        if self._loop is not None:
            await self._loop.stop()
        await self._store.close()
        if self._link is not None:
            await self._link.close()
        if self._child is not None:
            await self._child.stop()
