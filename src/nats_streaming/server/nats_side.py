"""The NATS that a streaming server talks through: a nats-server of its own, or one that is there already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nats_streaming.constants import DEFAULT_NATS_HOST
from nats_streaming.errors import NatsServerError
from nats_streaming.nats.embedded_options import MAX_PENDING_BYTES, RANDOM_PORT, EmbeddedOptions, bracketed
from nats_streaming.nats.server_process import NatsServerProcess, reachable
from nats_streaming.nats.urls import ServerUrl, parse_server_urls
from nats_streaming.server.direct_clients import why_not_direct
from nats_streaming.server.monitoring_port import is_monitoring_on, monitoring_urls
from nats_streaming.server.process.pid_file import write_pid_file
from nats_streaming.server.settings.options import Options

if TYPE_CHECKING:
    from nats_streaming.listener.listener import ClientListener
    from nats_streaming.nats.connection import NatsConnection
    from nats_streaming.protocol.nats_reader import MessageSink
    from nats_streaming.server.process.ports_file import PortsFile


_log = logging.getLogger("nats_streaming")

NO_CLIENT_LINE = b"PROXY UNKNOWN\r\n"
"""A connection of ours, introduced to a nats-server that stands behind a listener."""


class NatsSide:
    """Makes every connection of one streaming server. `spawn` may come before the event loop runs.

    Attributes:
        child: the embedded nats-server; None when an external one is used.
        listener: what clients connect to instead of that; None when they connect to NATS itself. From `spawn` on.
    """

    def __init__(self, options: Options) -> None:
        self.child = None if options.nats_server_url else NatsServerProcess(embedded_options(options))
        self._options = options
        self._connections: list[NatsConnection] = []
        self._ports_file: PortsFile | None = None
        self.listener: ClientListener | None = None
        self._listens_at = ("", 0)

    def spawn(self) -> None:
        """Let the embedded nats-server start while we do something else.

        Raises:
            NatsServerError: no usable binary, or it cannot be executed, or the port of our listener is taken.
            ConfigError: there is no directory for the ports file.
        """
        if self.child is None:
            return
        if self._options.ports_file_dir:
            from nats_streaming.server.process.ports_file import PortsFile

            self._ports_file = PortsFile(self._options.ports_file_dir)
            self.child.write_ports_to(self._ports_file.nats_directory)
        self._listen(self.child)
        self.child.spawn()

    def _listen(self, child: NatsServerProcess) -> None:
        """Have the port for clients, if it is to be ours."""
        reason = why_not_direct(self._options)
        if reason:
            _log.debug("Clients connect to the embedded nats-server itself: %s", reason)
            return
        from nats_streaming.listener.listener import ClientListener

        nats = self._options.nats
        self._listens_at = (nats.host, nats.port)
        self.listener = ClientListener(nats.host, nats.port, MAX_PENDING_BYTES)
        child.stand_behind(f"{bracketed(nats.host or DEFAULT_NATS_HOST)}:{self.listener.port}")

    def prepare_reload(self, host: str, port: int) -> str:
        """The configuration has changed: let the nats-server alone do what we would not do as it does.

        Args:
            host, port: where clients are to connect now.

        Returns:
            Why it cannot be read again, "" if it can: in nats-server's words, which knows nothing of that address.
        """
        if self.listener is None:
            return ""
        for name, old, new in (("Host", self._listens_at[0], host), ("Port", self._listens_at[1], port)):
            if old != new:
                return f"config reload not supported for {name}: old={old}, new={new}"
        reason = why_not_direct(self._options)
        if reason and not self.listener.is_blind:
            _log.warning("Clients are served through the embedded nats-server from now on: %s", reason)
            self.listener.step_aside()
        return ""

    async def start(self) -> None:
        """Have NATS ready for connections, so far as that is ours.

        Raises:
            NatsServerError, ConfigError: why not.
        """
        if self.child is None:
            return
        await self.child.start()
        if self.listener is not None:
            self.listener.backend = (self.child.client_url.host, self.child.port)
            await self.listener.start()
        self._options.nats.port = self.child.port if self.listener is None else self.listener.port
        self.child.on_restarted = self._retry_all
        if self._options.pid_file:
            write_pid_file(self._options.pid_file)
        if self._ports_file is not None:
            await self._ports_file.write(monitoring_urls(self._options))

    def connection(self, suffix: str, sink: MessageSink, **callbacks: Callable[..., None]) -> NatsConnection:
        """A connection, not yet connected; whoever asked for it closes it.

        Args:
            suffix: what it is for, the end of its name.
            sink: gets every message.
            callbacks: see `NatsConnection`.

        Raises:
            ConfigError: the address of the external NATS is wrong.
            NatsLinkError: our certificate, key or seed cannot be used.
        """
        from nats_streaming.nats.connection import NatsConnection
        from nats_streaming.server.link_options import link_options

        made: Any = NatsConnection
        login = link_options(self._options, suffix)
        if self.listener is not None:
            login.preamble = NO_CLIENT_LINE
        connection: NatsConnection = made(self.urls(), sink, login, **callbacks)
        self._connections.append(connection)
        return connection

    async def connect(self, connection: NatsConnection) -> None:
        """Make its first connect, and see that it reaches the right server.

        Raises:
            NatsLinkError: it cannot be reached, or refuses us.
            NatsServerError: somebody else answers at our embedded server's address.
        """
        await connection.connect()
        if self.child is not None and connection.info.server_id != self.child.server_id:
            raise NatsServerError(
                f"another NATS server answers at {self.child.client_url}, not the one that was started here"
            )

    @property
    def client_url(self) -> ServerUrl:
        """Where clients of this machine connect to; with an embedded server only after `start`."""
        if self.listener is not None:
            return ServerUrl(reachable(self._options.nats.host), self.listener.port)
        return self.urls()[0]

    def urls(self) -> list[ServerUrl]:
        """Where we connect to; with an embedded server only after `start`."""
        if self.child is not None:
            return [self.child.client_url]
        return parse_server_urls(self._options.nats_server_url)

    def _retry_all(self) -> None:
        for connection in self._connections:
            connection.retry_now()

    async def stop(self) -> None:
        """Stop the embedded nats-server. Idempotent."""
        if self.listener is not None:
            await self.listener.stop()
        if self.child is not None:
            await self.child.stop()
        if self._ports_file is not None:
            self._ports_file.remove()


def embedded_options(options: Options) -> EmbeddedOptions:
    """What the embedded nats-server is told.

    With a configuration file it hears of other things what the file says, so that a reload can change them, and of
    flags only those that were given.
    """
    nats = options.nats
    arguments = list(nats.child_arguments)
    # The port that operators see is ours, and asks this one.
    http_port = RANDOM_PORT if is_monitoring_on(options) else None
    if not nats.config_name:
        return EmbeddedOptions(
            binary=nats.binary or None,
            host=nats.host,
            port=nats.port,
            name=nats.name or None,
            http_port=http_port,
            debug=nats.debug,
            trace=nats.trace,
            trace_verbose=nats.trace_verbose,
            user=nats.user or None,
            password=nats.password or None,
            token=nats.token or None,
            arguments=tuple(arguments),
        )
    for name, flag in (("debug", "D"), ("trace", "V"), ("trace_verbose", "VV")):
        if name in nats.flagged:
            arguments.append(f"-{flag}={'true' if getattr(nats, name) else 'false'}")
    return EmbeddedOptions(
        binary=nats.binary or None,
        host=nats.host if "host" in nats.flagged else None,
        port=nats.port if "port" in nats.flagged else None,
        name=nats.name if "name" in nats.flagged else None,
        http_port=http_port,
        arguments=tuple(arguments),
        config_text=nats.config_text,
        config_name=nats.config_name,
        config_places=nats.config_places,
    )
