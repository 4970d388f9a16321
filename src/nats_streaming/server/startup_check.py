"""Whether another streaming server serves our cluster ID already: two would both number the same channels."""

from __future__ import annotations

import asyncio

from nats_streaming.constants import STANDALONE_PROBE_TIMEOUT_NS
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.protocol.control_messages import CloseRequest, ConnectRequest, ConnectResponse, decode, encode
from nats_streaming.server.publish_loop import PublishLoop
from nats_streaming.streaming.engine import Engine


async def refuse_second_server(engine: Engine, loop: PublishLoop) -> None:
    """Ask as a client whose ID is the cluster ID would; call before we listen to connects ourselves.

    Raises:
        ConfigError: somebody answered.
    """
    context = engine.context
    cluster_id = context.info.cluster_id
    answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def on_end(answer: bytes | None) -> None:
        if not answered.done():
            answered.set_result(answer)

    request = ConnectRequest(client_id=cluster_id, heartbeat_inbox=context.subjects.reply_prefix + b"probe")
    context.read_clock()
    context.requests.send(context.info.discovery, context.now_ns + STANDALONE_PROBE_TIMEOUT_NS, on_end, encode(request))
    loop.kick()
    answer = await answered
    response = decode(ConnectResponse, answer) if answer is not None else None
    if response is None:
        return
    if response.close_requests:
        context.read_clock()
        deadline_ns = context.now_ns + STANDALONE_PROBE_TIMEOUT_NS
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        context.requests.send(
            response.close_requests, deadline_ns, lambda _: closed.set_result(None), encode(CloseRequest(cluster_id))
        )
        loop.kick()
        await closed
    raise ConfigError(
        f"discovered another streaming server with cluster ID {quoted(cluster_id)}"
        " (stop it, or give this one another -cluster_id)"
    )
