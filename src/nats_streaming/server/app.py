"""The executable's life: one server, from its options to an exit status, kept running until a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

from nats_streaming.errors import ConfigError, NatsServerError, StreamingError
from nats_streaming.server.log import reopen, write_in_background
from nats_streaming.server.options import Options
from nats_streaming.server.state import EXIT_ABORTED, EXIT_FAILED, Failure
from nats_streaming.server.streaming_server import StreamingServer

_log = logging.getLogger("nats_streaming")

EXIT_TERMINATED = 128 + 15
_GC_THRESHOLD = 100_000  # no garbage arises per message; what requests leave behind can wait


def run(options: Options) -> int:
    """Run a server until SIGINT or SIGTERM.

    Args:
        options: checked ones.

    Returns:
        Exit status: 0 after SIGINT, 143 after SIGTERM, 1 when it could not start, 2 after SIGQUIT or a bug.
    """
    server = StreamingServer(options)
    try:
        # The nats-server starts while we import the rest.
        server.spawn()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(server))
    except StreamingError as error:
        if isinstance(error, NatsServerError):
            _log.critical("%s", error)
        else:
            _log.critical("Failed to start: %s", error)
        return EXIT_FAILED


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(server: StreamingServer) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_exception)
    write_in_background()
    stopped: asyncio.Future[int] = loop.create_future()
    await server.start()
    try:
        _install_signals(stopped, server)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 50)
        failed = loop.create_task(server.wait_failed(), name="wait for a failure")
        ends: set[asyncio.Future[Any]] = {stopped, failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            return _on_failure(failed.result())
        failed.cancel()
        _log.info("Shutting down.")
        return stopped.result()
    finally:
        await server.stop()


def _on_failure(failure: Failure) -> int:
    _log.critical("%s", failure.text)
    return failure.exit_status


def _install_signals(stopped: asyncio.Future[int], server: StreamingServer) -> None:
    """From here on signals mean what the original's mean; before, they end the process."""
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, lambda *_: _end(stopped, 0))
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, _end, stopped, 0)
    loop.add_signal_handler(signal.SIGTERM, _end, stopped, EXIT_TERMINATED)
    loop.add_signal_handler(signal.SIGQUIT, _dump_and_die)
    loop.add_signal_handler(signal.SIGUSR1, reopen)
    loop.add_signal_handler(signal.SIGUSR2, lambda: None)
    loop.add_signal_handler(signal.SIGHUP, _reload, server)


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
    os._exit(EXIT_ABORTED)


def _reload(server: StreamingServer) -> None:
    """Let the embedded nats-server have what the file says now; what streaming was told at its start stays."""
    child, options = server.nats.child, server.options
    if child is None:
        _log.warning("Reload supported only for embedded NATS Server's configuration")
        return
    if not options.nats.config_name:
        _log.error("Reload: can only reload config when a file is provided using -c or --config")
        return
    from nats_streaming.server.config import reread_nats_text

    try:
        reread_nats_text(options)
        child.reload(options.nats.config_text, options.nats.config_places)
    except (ConfigError, NatsServerError) as error:
        _log.error("Reload: %s", error)
