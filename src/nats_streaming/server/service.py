"""The part of a server that serves: recovered store, engine, its loop and its link. A standby has none yet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from nats_streaming.clock import Clock
from nats_streaming.errors import quoted
from nats_streaming.nats.bus import Bus
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.server.banner import READY, recovered_line, store_lines, subject_lines
from nats_streaming.server.nats_side import NatsSide
from nats_streaming.server.publish_loop import PublishLoop
from nats_streaming.server.settings.options import Options
from nats_streaming.server.startup_check import refuse_second_server
from nats_streaming.server.store_setup import take_lock
from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import ServerPut
from nats_streaming.stores.state import StoreState
from nats_streaming.streaming.context import EngineOptions
from nats_streaming.streaming.engine import Engine
from nats_streaming.streaming.recovery import server_info
from nats_streaming.streaming.subjects import new_server_info

if TYPE_CHECKING:
    from nats_streaming.listener.bus import DirectBus
    from nats_streaming.server.partitioning import PartitionWatch

_log = logging.getLogger("nats_streaming")

_FLUSH_S = 10.0


class Service:
    """`activate` returns when clients are served. Both it and `stop` are called once; the store is the caller's.

    Attributes:
        engine, loop: for monitoring; None until the store has been recovered.
    """

    def __init__(
        self,
        options: Options,
        store: Store,
        nats: NatsSide,
        clock: Clock,
        *,
        server_id: str,
        on_conflict: Callable[[str], None],
        on_bug: Callable[[str], None],
    ) -> None:
        """
        Args:
            server_id: ours, as other servers get to know it.
            on_conflict: called when another server turns out to have channels of ours.
            on_bug: called when serving cannot go on because of an error of ours.
        """
        self._server_id = server_id
        self._on_conflict = on_conflict
        self.engine: Engine | None = None
        self.loop: PublishLoop | None = None
        self._options = options
        self._store = store
        self._nats = nats
        self._clock = clock
        self._on_bug = on_bug
        self._link: NatsConnection | None = None
        self._direct: DirectBus | None = None
        self._watch: PartitionWatch | None = None
        # A group has its lock, and partitions share a cluster ID.
        self._is_alone = not options.ft_group and not options.partitioning
        self._partition = tuple(options.limits.per_channel) if options.partitioning else ()

    async def activate(self) -> None:
        """Lock, recover, see that nobody else serves our clients, serve them: the original's order.

        Raises:
            NatsServerError, NatsLinkError, StoreError, ConfigError: why it cannot serve. `stop` is due all the same.
        """
        await take_lock(self._store, self._options)
        if self._partition:
            from nats_streaming.server.partitioning import PartitionWatch

            self._watch = PartitionWatch(
                self._options.cluster_id, self._server_id, self._partition, self._nats, self._on_conflict
            )
            await self._watch.begin()
        _log.info("Recovering the state...")
        recovered = await self._store.recover()
        engine, is_new = self._make_engine(recovered)
        link, loop = await self._connect(engine)
        _log.info("%s", recovered_line(None if recovered is None else len(recovered.channels)))
        if self._is_alone:
            await refuse_second_server(engine, loop)
            _log.debug("Did not detect another server instance")
        if is_new:
            engine.context.stage(ServerPut(engine.context.info))
        subjects = engine.context.subjects
        for subject, sid, queue in subjects.publishes(self._partition):
            link.subscribe(subject, sid, queue)
        for subject, sid in subjects.requests():
            link.subscribe(subject, sid)
        await link.flush(_FLUSH_S)
        if self._direct is not None:
            offered = [*subjects.internal(), *((subject, sid) for subject, sid, _ in subjects.publishes())]
            self._direct.begin([*offered, *subjects.requests()], loop.on_chunk, loop.on_writable)
        for refused in link.refused_subjects:
            _log.error(
                "NATS does not allow us to subscribe to %s: what is sent there gets no answer; see the permissions in"
                " docs/guide/security.md",
                quoted(refused),
            )
        self._say_ready(engine)
        engine.begin()
        loop.kick()

    def _make_engine(self, recovered: StoreState | None) -> tuple[Engine, bool]:
        options = self._options
        configured = new_server_info(options.cluster_id.encode(), options.discover_prefix.encode())
        info, is_new = server_info(recovered, configured)
        self.engine = engine = Engine(
            EngineOptions(
                max_channels=options.limits.max_channels,
                limits=options.limits.build(),
                heartbeat_interval_ns=options.heartbeat_interval_ns,
                heartbeat_timeout_ns=options.heartbeat_timeout_ns,
                heartbeat_fail_count=options.heartbeat_fail_count,
                replace_durable=options.replace_durable,
                batch_max=options.io_batch_size,
                trace=options.trace,
                debug=options.debug,
                partition=self._partition,
            ),
            self._store.capabilities,
            info,
            self._clock,
        )
        if recovered is not None:
            engine.restore(recovered)
        return engine, is_new

    async def _connect(self, engine: Engine) -> tuple[NatsConnection, PublishLoop]:
        """The link and the loop on it, deaf to clients still."""
        self.loop = loop = PublishLoop(engine, self._store, self._options.io_sleep_time_us, self._on_bug)
        self._link = link = self._nats.connection(
            "general",
            engine.inlet,
            on_chunk=loop.on_chunk,
            on_connected=loop.on_connected,
            on_disconnected=self._on_disconnected,
            on_writable=self._on_writable,
            on_info=self._on_info,
        )
        bus: Bus = link
        if self._nats.listener is not None:
            from nats_streaming.listener.bus import DirectBus

            bus = self._direct = DirectBus(link, self._nats.listener, engine.inlet)
        loop.attach(bus)
        for subject, sid in [*engine.context.subjects.internal(), *engine.recovered_inboxes()]:
            link.subscribe(subject, sid)
        await self._nats.connect(link)
        return link, loop

    def _on_writable(self, is_writable: bool) -> None:
        assert self.loop is not None
        self.loop.on_writable(is_writable if self._direct is None else self._direct.is_writable)

    def _on_info(self, _info: object) -> None:
        if self._direct is not None:
            self._direct.on_info()

    def _on_disconnected(self, reason: str | None) -> None:
        assert self.loop is not None
        self.loop.on_disconnected(reason)
        if self._nats.listener is not None:
            # Our link is lost only when the nats-server is, and the other connections to it, too.
            self._nats.listener.disconnect_all()

    def _say_ready(self, engine: Engine) -> None:
        info = engine.context.info
        for line in subject_lines(
            info.discovery.decode(),
            info.publish.decode(),
            info.subscribe.decode(),
            info.subscription_close.decode(),
            info.unsubscribe.decode(),
            info.close.decode(),
            partitioned=self._options.partitioning,
        ):
            _log.debug("%s", line)
        for line in store_lines(self._options, self._store.name):
            _log.info("%s", line)
        _log.info("%s", READY)

    @property
    def refused_subjects(self) -> list[str]:
        """Subjects that NATS does not let us listen to: while there are any, we serve in part only."""
        return [] if self._link is None else self._link.refused_subjects

    async def stop(self) -> None:
        """Finish the batch in hand and send its answers; nothing is staged after that."""
        if self.loop is not None:
            await self.loop.stop()

    async def disconnect(self) -> None:
        """Close the links, when the store is closed."""
        if self._watch is not None:
            await self._watch.stop()
        if self._direct is not None:
            self._direct.end()
        if self._link is not None:
            await self._link.close()

    def abandon(self) -> None:
        """Send and store nothing more, as if the process had died: the store may be another server's."""
        if self._direct is not None:
            self._direct.end()
        if self._link is not None:
            self._link.abandon()
        if self.loop is not None:
            self.loop.abandon()
