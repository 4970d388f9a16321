"""A server for programs without an event loop: on a thread of its own, from `run_in_thread` to `stop`."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from nats_streaming.server.process.event_loop import loop_factory
from nats_streaming.server.settings.options import Options
from nats_streaming.server.state import ServerState
from nats_streaming.server.streaming_server import StreamingServer


class ServerThread:
    """A running server; make it by `run_in_thread`. Its methods may be called from any thread but its own.

    The thread is the parent of the embedded nats-server, which ends with it, and with the process, however that ends.
    """

    def __init__(self, options: Options | None, logger: logging.Logger | None) -> None:
        self._server = StreamingServer(options, logger=logger)
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        # A daemon: a program that forgets to stop it ends nevertheless, as if it were killed.
        self._thread = threading.Thread(target=self._run, name="nats-streaming-server", daemon=True)

    @property
    def client_url(self) -> str:
        return self._server.client_url

    @property
    def monitoring_url(self) -> str:
        return self._server.monitoring_url

    @property
    def state(self) -> ServerState:
        return self._server.state

    @property
    def last_error(self) -> str:
        return self._server.last_error

    @property
    def options(self) -> Options:
        return self._server.options

    def start(self) -> None:
        """Called by `run_in_thread`."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Stop the server in order and wait for it. May be called more than once."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - it is raised where `start` waits
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self._server:
            self._started.set()
            await self._stopping.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def run_in_thread(options: Options | None = None, *, logger: logging.Logger | None = None) -> ServerThread:
    """Start a server on a new thread; returns when it serves clients (in a fault-tolerance group: when it stands by).

    Args:
        options, logger: see `StreamingServer`.

    Raises:
        StreamingError: why it did not start; nothing is left running then.
    """
    server = ServerThread(options, logger)
    server.start()
    return server
