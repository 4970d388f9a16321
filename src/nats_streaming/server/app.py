"""Assembles the server from its rooms, starts it, keeps it running until a signal, stops it in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

from nats_streaming.clock import SystemClock
from nats_streaming.errors import NatsServerError, StreamingError
from nats_streaming.nats.embedded_options import EmbeddedOptions
from nats_streaming.nats.server_process import NatsServerProcess
from nats_streaming.server.banner import starting_lines
from nats_streaming.server.options import Options

_log = logging.getLogger("nats_streaming")

EXIT_FAILED = 1
EXIT_BUG = 2
EXIT_TERMINATED = 128 + 15
_GC_THRESHOLD = 100_000  # no garbage arises per message; what requests leave behind can wait


def run(options: Options) -> int:
    """Run a server until SIGINT or SIGTERM.

    Args:
        options: checked ones.

    Returns:
        Exit status: 0 after SIGINT, 143 after SIGTERM, 1 when it could not start, 2 after SIGQUIT or a bug.
    """
    from nats_streaming.streaming.nuid import new_nuid

    for line in starting_lines(options, new_nuid().decode()):
        _log.info("%s", line)
    child: NatsServerProcess | None = None
    try:
        if not options.nats_server_url:
            child = NatsServerProcess(embedded_options(options))
            # It starts while we import the rest.
            child.spawn()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(options, child))
    except StreamingError as error:
        if isinstance(error, NatsServerError):
            _log.critical("%s", error)
        else:
            _log.critical("Failed to start: %s", error)
        return EXIT_FAILED


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


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(options: Options, child: NatsServerProcess | None) -> int:
    from nats_streaming.server.streaming_server import StreamingServer

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_exception)
    stopped: asyncio.Future[int] = loop.create_future()

    def on_bug(text: str) -> None:
        _log.critical("%s", text)
        _end(stopped, EXIT_BUG)

    server = StreamingServer(options, child, SystemClock(), on_bug)
    try:
        await server.start()
        _install_signals(stopped, child)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 50)
        status = await stopped
        _log.info("Shutting down.")
        return status
    finally:
        await server.stop()


def _install_signals(stopped: asyncio.Future[int], child: NatsServerProcess | None) -> None:
    """From here on signals mean what the original's mean; before, they end the process."""
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, lambda *_: _end(stopped, 0))
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, _end, stopped, 0)
    loop.add_signal_handler(signal.SIGTERM, _end, stopped, EXIT_TERMINATED)
    loop.add_signal_handler(signal.SIGQUIT, _dump_and_die)
    loop.add_signal_handler(signal.SIGUSR1, _reopen_log)
    loop.add_signal_handler(signal.SIGUSR2, lambda: None)
    loop.add_signal_handler(signal.SIGHUP, _reload, child)


def _end(stopped: asyncio.Future[int], status: int) -> None:
    if not stopped.done():
        stopped.set_result(status)


def _log_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited: it belongs in the log, not on a stream of its own."""
    _log.error("bug: %s", context.get("message"), exc_info=context.get("exception"))


def _dump_and_die() -> None:
    """Show where every thread is, and end without any clean-up."""
    import faulthandler

    faulthandler.dump_traceback()
    os._exit(EXIT_BUG)


def _reopen_log() -> None:
    from nats_streaming.server.log import reopen

    reopen()


def _reload(child: NatsServerProcess | None) -> None:
    if child is None:
        _log.warning("Reload supported only for embedded NATS Server's configuration")
        return
    try:
        child.reload()
    except NatsServerError as error:
        _log.error("Reload: %s", error)
