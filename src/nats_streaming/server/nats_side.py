"""The NATS that a streaming server talks through: a nats-server of its own, or one that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nats_streaming.errors import NatsServerError
from nats_streaming.nats.embedded_options import RANDOM_PORT, EmbeddedOptions
from nats_streaming.nats.server_process import NatsServerProcess
from nats_streaming.nats.urls import ServerUrl, parse_server_urls
from nats_streaming.server.monitoring_port import is_monitoring_on, monitoring_urls
from nats_streaming.server.process.pid_file import write_pid_file
from nats_streaming.server.settings.options import Options

if TYPE_CHECKING:
    from nats_streaming.nats.connection import NatsConnection
    from nats_streaming.protocol.nats_reader import MessageSink
    from nats_streaming.server.process.ports_file import PortsFile


class NatsSide:
    """Makes every connection of one streaming server. `spawn` may come before the event loop runs.

    Attributes:
        child: the embedded nats-server; None when an external one is used.
    """

    def __init__(self, options: Options) -> None:
        self.child = None if options.nats_server_url else NatsServerProcess(embedded_options(options))
        self._options = options
        self._connections: list[NatsConnection] = []
        self._ports_file: PortsFile | None = None

    def spawn(self) -> None:
        """Let the embedded nats-server start while we do something else.

        Raises:
            NatsServerError: no usable binary, or it cannot be executed.
            ConfigError: there is no directory for the ports file.
        """
        if self.child is None:
            return
        if self._options.ports_file_dir:
            from nats_streaming.server.process.ports_file import PortsFile

            self._ports_file = PortsFile(self._options.ports_file_dir)
            self.child.write_ports_to(self._ports_file.nats_directory)
        self.child.spawn()

    async def start(self) -> None:
        """Have NATS ready for connections, so far as that is ours.

        Raises:
            NatsServerError, ConfigError: why not.
        """
        if self.child is None:
            return
        await self.child.start()
        self._options.nats.port = self.child.port
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
        connection: NatsConnection = made(self.urls(), sink, link_options(self._options, suffix), **callbacks)
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

    def urls(self) -> list[ServerUrl]:
        """Where to connect to; with an embedded server only after `start`."""
        if self.child is not None:
            return [self.child.client_url]
        return parse_server_urls(self._options.nats_server_url)

    def _retry_all(self) -> None:
        for connection in self._connections:
            connection.retry_now()

    async def stop(self) -> None:
        """Stop the embedded nats-server. Idempotent."""
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
