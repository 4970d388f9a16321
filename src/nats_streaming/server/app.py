"""The executable's life: one server, from its options to an exit status, kept running until a signal."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import sys
from typing import Any

from nats_streaming.errors import StreamingError
from nats_streaming.server.logs.log import write_in_background
from nats_streaming.server.process.descriptors import raise_descriptor_limit
from nats_streaming.server.process.event_loop import loop_factory
from nats_streaming.server.process.reload import reload_nats
from nats_streaming.server.process.service_manager import ServiceManager
from nats_streaming.server.process.signals import ProcessSignals
from nats_streaming.server.settings.options import Options
from nats_streaming.server.state import EXIT_FAILED
from nats_streaming.server.streaming_server import StreamingServer

_log = logging.getLogger("nats_streaming")

_SWITCH_INTERVAL_S = 0.0002  # how long a thread that writes files may keep the loop from going on; Python's is 5 ms
_GC_THRESHOLD = 100_000  # no garbage arises per message; what requests leave behind can wait


def run(options: Options) -> int:
    """Run a server until SIGINT or SIGTERM.

    Args:
        options: checked ones.

    Returns:
        Exit status: 0 after SIGINT, 143 after SIGTERM, 1 when it could not start, 2 after SIGQUIT or a bug.
    """
    raise_descriptor_limit()
    faulthandler.enable(2)  # a fault in compiled code shows where
    signals = ProcessSignals()
    manager = ServiceManager()
    server = StreamingServer(options)
    options.encryption.key = ""  # the server has a copy, and spends it
    try:
        # The nats-server starts while we import the rest.
        server.spawn()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            status = runner.run(_serve(server, signals, manager))
    except StreamingError:
        return EXIT_FAILED  # the log says why
    if server.is_fenced:
        logging.shutdown()
        os._exit(status)  # a thread that hangs in a store which may be another's must not keep us
    return status


async def _serve(server: StreamingServer, signals: ProcessSignals, manager: ServiceManager) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_exception)
    write_in_background()
    stopped = signals.attach(lambda: _reload(server, manager))
    manager.watch()
    try:
        if not await _start(server, stopped):
            return stopped.result()
        manager.ready(_status(server))
        settled = loop.create_task(_settle_when_ready(server, manager), name="settle")
        failed = loop.create_task(server.wait_failed(), name="wait for a failure")
        ends: set[asyncio.Future[Any]] = {stopped, failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        if failed.done():
            return failed.result().exit_status
        failed.cancel()
        _log.info("Shutting down.")
        return stopped.result()
    finally:
        manager.stopping()
        await server.stop()
        manager.close()


async def _start(server: StreamingServer, stopped: asyncio.Future[int]) -> bool:
    """Whether it has started; False when it was told to stop before that."""
    starting = asyncio.get_running_loop().create_task(server.start(), name="start")
    ends: set[asyncio.Future[Any]] = {starting, stopped}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        return True
    _log.info("Shutting down.")
    starting.cancel()
    await asyncio.wait({starting})
    if not starting.cancelled():
        starting.exception()  # why it would not have started does not matter any more
    return False


def _status(server: StreamingServer) -> str:
    refused = server.service.refused_subjects if server.service is not None else []
    missing = f", NATS refuses {', '.join(refused)}" if refused else ""
    return f"{server.state.value}, cluster ID {server.options.cluster_id}{missing}"


def _reload(server: StreamingServer, manager: ServiceManager) -> None:
    manager.reloading()
    reload_nats(server.options, server.nats)
    manager.ready(_status(server))


async def _settle_when_ready(server: StreamingServer, manager: ServiceManager) -> None:
    """What was recovered stays: the garbage collector need not look at it again and again."""
    try:
        await server.wait_ready()
    except StreamingError:
        return  # it ends anyway
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
    if server.options.ft_group:
        manager.ready(_status(server))  # no longer a standby


def _log_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited: it belongs in the log, not on a stream of its own."""
    _log.error("bug: %s", context.get("message"), exc_info=context.get("exception"))
