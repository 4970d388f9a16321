"""The NATS that a streaming server talks through: a nats-server of its own, or one that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nats_streaming.errors import NatsServerError
from nats_streaming.nats.embedded_options import EmbeddedOptions
from nats_streaming.nats.server_process import NatsServerProcess
from nats_streaming.nats.urls import ServerUrl, parse_server_urls
from nats_streaming.server.options import Options
from nats_streaming.server.pid_file import write_pid_file

if TYPE_CHECKING:
    from nats_streaming.nats.connection import NatsConnection
    from nats_streaming.nats.handshake import LinkOptions
    from nats_streaming.protocol.nats_reader import MessageSink


class NatsSide:
    """Makes every connection of one streaming server. `spawn` may come before the event loop runs.

    Attributes:
        child: the embedded nats-server; None when an external one is used.
    """

    def __init__(self, options: Options) -> None:
        self.child = None if options.nats_server_url else NatsServerProcess(embedded_options(options))
        self._options = options
        self._connections: list[NatsConnection] = []

    def spawn(self) -> None:
        """Let the embedded nats-server start while we do something else.

        Raises:
            NatsServerError: no usable binary, or it cannot be executed.
        """
        if self.child is not None:
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

    def connection(self, suffix: str, sink: MessageSink, **callbacks: Callable[..., None]) -> NatsConnection:
        """A connection, not yet connected; whoever asked for it closes it.

        Args:
            suffix: what it is for, the end of its name.
            sink: gets every message.
            callbacks: see `NatsConnection`.

        Raises:
            ConfigError: the address of the external NATS is wrong.
        """
        from nats_streaming.nats.connection import NatsConnection

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


def embedded_options(options: Options) -> EmbeddedOptions:
    """What the embedded nats-server is told."""
    nats = options.nats
    return EmbeddedOptions(
        binary=nats.binary or None,
        host=nats.host,
        port=nats.port,
        name=nats.name or None,
        http_port=nats.http_port or None,
        http_host=nats.host,
        debug=nats.debug,
        trace=nats.trace,
        trace_verbose=nats.trace_verbose,
        user=nats.user or None,
        password=nats.password or None,
        token=nats.token or None,
        arguments=tuple(nats.child_arguments),
    )


def link_options(options: Options, suffix: str) -> LinkOptions:
    """How a connection of ours logs in to NATS.

    Args:
        options: of the streaming server.
        suffix: what the connection is for.
    """
    from nats_streaming.nats.handshake import LinkOptions
    from nats_streaming.server.version import version_text

    nats = options.nats
    return LinkOptions(
        name=f"_NSS-{options.cluster_id}-{suffix}",
        user=nats.user or None,
        password=nats.password or None,
        token=nats.token or None,
        version=version_text(),
        follow_discovered=bool(options.nats_server_url),
    )
