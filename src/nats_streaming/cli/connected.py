"""From connection options to a connected client, and from a failed connection to an error that says what to do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nats_streaming.cli.exits import CommandFailed, ExitCode
from nats_streaming.cli.parameters import ConnectionOptions
from nats_streaming.errors import ConfigError, ConnectError, NoResponse

if TYPE_CHECKING:
    from nats_streaming.client import Client
    from nats_streaming.toolbox.login import Login

_MONITORING_PORT = 8222
_NATS_ERROR = "nats: "  # how errors begin that are about NATS and not about the streaming server


def client_id_of(options: ConnectionOptions) -> str:
    """The given one, or one that nobody else has."""
    return options.client_id or f"nats-streaming-{os.urandom(4).hex()}"


def servers_of(options: ConnectionOptions) -> list[str]:
    """
    Raises:
        ConfigError: there is none.
    """
    servers = [url.strip() for url in options.server.split(",") if url.strip()]
    if not servers:
        raise ConfigError("--server names no NATS server, give a URL like nats://127.0.0.1:4222")
    return servers


def login_of(options: ConnectionOptions) -> Login:
    """How to log in to NATS."""
    from nats_streaming.toolbox.login import Login

    return Login(**{member.name: getattr(options, member.name) for member in fields(Login)})


@asynccontextmanager
async def connected(options: ConnectionOptions, **more: Any) -> AsyncIterator[Client]:
    """A client, closed at the end.

    Args:
        options: of the command.
        more: arguments of `client.connect`.

    Raises:
        CommandFailed: with what is wrong and what to do about it.
        ConfigError: an option cannot be used.
    """
    from nats_streaming.client import connect

    servers, nats_options = servers_of(options), login_of(options).nats_options()
    try:
        connecting = connect(
            options.cluster,
            client_id_of(options),
            servers=servers,
            request_timeout=options.timeout,
            **{**nats_options, **more},
        )
        client = await connecting
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except (ConnectError, NoResponse) as error:
        raise await explained(error, options) from error
    try:
        yield client
    finally:
        await client.close()


async def explained(error: ConnectError | NoResponse, options: ConnectionOptions) -> CommandFailed:
    """What is behind a connection that failed; if nobody answered, looks who would."""
    from nats_streaming.toolbox.diagnosis import diagnose

    servers = servers_of(options)
    where = ", ".join(_without_password(url) for url in servers)
    if isinstance(error, ConnectError):
        if str(error).startswith(_NATS_ERROR):
            return _no_nats(where, str(error))
        remedy = "give another --client-id, or end who has it" if "clientID already" in str(error) else ""
        return CommandFailed(ExitCode.REFUSED, f"the streaming server {options.cluster!r} refuses us: {error}", remedy)
    found = await diagnose(servers, login_of(options).nats_options(), _monitor_urls(servers))
    if found.nats_error:
        return _no_nats(where, found.nats_error)
    text = f"no answer from cluster {options.cluster!r} at {where}: is the cluster ID right?"
    if found.cluster_ids:
        known = ", ".join(repr(cluster_id) for cluster_id in found.cluster_ids)
        if options.cluster in found.cluster_ids:
            remedy = f"according to {found.source} it is there: it may be starting, stopping or overloaded; try again"
        else:
            remedy = f"according to {found.source} the server there is {known}: try --cluster {found.cluster_ids[0]}"
    else:
        remedy = (
            "NATS is there, and no streaming server shows itself. `-cid` of the server is its cluster ID; its log says"
            " at the start which NATS it is connected to"
        )
    return CommandFailed(ExitCode.NO_ANSWER, text, remedy)


def _no_nats(where: str, reason: str) -> CommandFailed:
    return CommandFailed(
        ExitCode.NO_CONNECTION,
        f"no connection to NATS at {where}: {reason.removeprefix(_NATS_ERROR)}",
        "is the address right (--server), is the server running, and are the credentials its own?",
    )


def _monitor_urls(servers: list[str]) -> list[str]:
    """Where monitoring may be: where the option of other commands says, and beside each NATS server."""
    from urllib.parse import urlsplit

    urls = [url] if (url := os.environ.get("STAN_MONITOR", "")) else []
    for server in servers:
        host = urlsplit(server if "://" in server else f"nats://{server}").hostname
        if host:
            urls.append(f"http://{f'[{host}]' if ':' in host else host}:{_MONITORING_PORT}")
    return urls


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url


def run_async(main: Callable[[], Any]) -> None:
    """Run a coroutine function to its end, on the fast loop where there is one."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
