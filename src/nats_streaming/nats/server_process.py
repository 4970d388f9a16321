"""The embedded nats-server: started, watched, restarted, stopped.

It is ready when it says so on its own standard error, so another server on the same port is never taken
for ours. Knows nothing of streaming; the link to it is an ordinary `NatsConnection` to `client_url`, whose
own reconnecting bridges a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from nats_streaming.constants import NATS_START_TIMEOUT_NS, NS_PER_SECOND
from nats_streaming.errors import NatsServerError
from nats_streaming.nats.binary import find_nats_server
from nats_streaming.nats.child_log import ChildLog
from nats_streaming.nats.child_process import ChildProcess
from nats_streaming.nats.embedded_options import RANDOM_PORT, EmbeddedOptions, server_arguments, server_config
from nats_streaming.nats.go_runtime import go_runtime_variables
from nats_streaming.nats.private_config import PrivateConfig
from nats_streaming.nats.urls import ServerUrl

RESTART_DELAYS_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Before each attempt to restart a crashed nats-server; the last one repeats."""

STABLE_AFTER_S = 10.0
"""A nats-server that was up this long starts with the first delay again when it crashes."""

LOOPBACK = "127.0.0.1"

STOP_TIMEOUT_S = 5.0
"""For a clean stop, JetStream's included, before SIGKILL; without JetStream it takes some milliseconds."""

_logger = logging.getLogger("nats_streaming")
_REAP_INTERVAL_S = 0.002
_READ_BYTES = 65536


class _Run:
    """One process, from its start to its exit, with what it said."""

    def __init__(self, process: ChildProcess, log: ChildLog) -> None:
        self.process = process
        self.log = log
        self.status: int | None = None
        self.since = 0.0
        self.is_attached = False
        self.ready: asyncio.Future[None]
        self.exited: asyncio.Future[None]

    def attach(self) -> None:
        """Begin to read what it says, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self.is_attached = True
        self.since = self._loop.time()
        self.ready = self._loop.create_future()
        self.exited = self._loop.create_future()
        if sys.platform == "win32":
            import threading

            threading.Thread(target=self._read_in_thread, name="nats-server log", daemon=True).start()
        else:
            self._loop.add_reader(self.process.stderr, self._on_readable)

    async def wait_ready(self, timeout_s: float) -> bool:
        """Whether it got ready; False if it exited or took longer than `timeout_s` seconds."""
        await asyncio.wait({self.ready, self.exited}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return self.ready.done() and not self.exited.done()

    async def wait_exited(self, timeout_s: float) -> bool:
        await asyncio.wait({self.exited}, timeout=timeout_s)
        return self.exited.done()

    def kill(self) -> None:
        """End it now, without its last words."""
        if sys.platform != "win32" and self.status is None:
            self._loop.remove_reader(self.process.stderr)
        self.process.kill()
        self._ended(self.process.wait())

    def _feed(self, data: bytes) -> None:
        self.log.feed(data)
        if self.log.is_ready and not self.ready.done():
            self.ready.set_result(None)

    def _on_readable(self) -> None:
        try:
            data = os.read(self.process.stderr, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._feed(data)
            return
        # Nobody else holds this pipe, so its end is the end of the process, or will be in an instant.
        self._loop.remove_reader(self.process.stderr)
        self.log.finish()
        self._reap(self._loop.time() + STOP_TIMEOUT_S)

    def _reap(self, deadline: float) -> None:
        if self.status is not None:
            return
        status = self.process.poll()
        if status is None and self._loop.time() > deadline:
            self.process.kill()
            status = self.process.wait()
        if status is None:
            self._loop.call_later(_REAP_INTERVAL_S, self._reap, deadline)
        else:
            self._ended(status)

    def _ended(self, status: int) -> None:
        if self.status is None:
            self.status = status
            self.process.close_stderr()
        if not self.exited.done():
            self.exited.set_result(None)

    def _read_in_thread(self) -> None:
        try:
            while data := os.read(self.process.stderr, _READ_BYTES):
                self._loop.call_soon_threadsafe(self._feed, data)
            self._loop.call_soon_threadsafe(self._reap, self._loop.time() + STOP_TIMEOUT_S)
        except (OSError, RuntimeError):  # closed by kill(), or the loop is gone
            return


class NatsServerProcess:
    """Owner of the embedded nats-server. All methods are called on the loop's thread, which must outlive the child.

    `spawn` may be called before the loop runs: the child then starts while we import and recover.
    """

    def __init__(self, options: EmbeddedOptions, *, on_restarted: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            options: what to run; copied.
            on_restarted: called after a crashed nats-server is ready again, at its old port; may be set later,
                for instance to the `retry_now` of a link made meanwhile.
        """
        self.restart_count = 0
        self._options = replace(options)
        self.on_restarted = on_restarted
        self._binary = ""
        self._config: PrivateConfig | None = None
        self._run: _Run | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._stopping = False
        self._client_address = ("", 0)
        self._http_address: tuple[str, int] | None = None
        self._watchdog: bool | None = None  # tests choose

    @property
    def pid(self) -> int | None:
        """Process ID of the running nats-server, None if there is none."""
        return None if self._run is None or self._run.status is not None else self._run.process.pid

    @property
    def is_ready(self) -> bool:
        return self.pid is not None and self._run is not None and self._run.log.is_ready

    @property
    def host(self) -> str:
        """Address it listens on for clients, as configured; after `start`."""
        return self._client_address[0]

    @property
    def port(self) -> int:
        """Port it listens on for clients, the real one if -1 was asked for; after `start`."""
        return self._client_address[1]

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Host and port to reach its monitoring at from this machine; None if it has none."""
        if self._http_address is None:
            return None
        return reachable(self._http_address[0]), self._http_address[1]

    @property
    def client_url(self) -> ServerUrl:
        """Where our own link goes: loopback when it listens on all addresses. Without credentials."""
        return ServerUrl(reachable(self.host), self.port)

    @property
    def server_id(self) -> str:
        """The ID in its INFO; another one there means that another server answers at our address."""
        return "" if self._run is None else self._run.log.server_id

    def stand_behind(self, public_address: str) -> None:
        """Have it listen on loopback only, for a listener that clients connect to instead; before `spawn`.

        Args:
            public_address: where they do, as `host:port`.
        """
        self._options.host = LOOPBACK
        self._options.port = RANDOM_PORT
        self._options.public_address = public_address

    def write_ports_to(self, directory: str) -> None:
        """Have it list its ports in a file there; before `spawn`."""
        self._options.ports_file_dir = directory

    def spawn(self) -> None:
        """Start the process without waiting for it to be ready.

        Raises:
            NatsServerError: no usable binary, or it cannot be executed.
        """
        if self._run is not None:
            raise RuntimeError("the nats-server was spawned already")
        self._binary = find_nats_server(self._options.binary)
        self._config = PrivateConfig(server_config(self._options))
        try:
            self._run = self._spawn()
        except BaseException:
            self._config.close()
            raise

    async def start(self) -> None:
        """Spawn unless that was done, and wait until it is ready; from then on it is kept running.

        Raises:
            NatsServerError: it ended or was not ready in time; its text is nats-server's own. Nothing is left.
        """
        if self._run is None:
            self.spawn()
        assert self._run is not None
        try:
            await self._get_ready(self._run)
        except BaseException:
            self._close_config()
            raise
        log = self._run.log
        assert log.client_address is not None
        self._client_address = log.client_address
        self._http_address = log.http_address
        # A restarted one must be where clients and we look for it.
        self._options.port = self.port
        if self._options.http_port == RANDOM_PORT and log.http_address is not None:
            self._options.http_port = log.http_address[1]
        self._watch_task = asyncio.get_running_loop().create_task(self._watch())
        self._watch_task.add_done_callback(_raise_in_loop)

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop it and leave nothing behind. May be called more than once.

        Args:
            timeout_s: bound for a clean stop, in seconds; then it is killed.
        """
        self._stopping = True
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.wait({self._watch_task})
        run = self._run
        if run is not None and run.status is None:
            if not run.is_attached:
                run.attach()  # spawned, never started
            run.process.terminate()
            if not await run.wait_exited(timeout_s):
                _logger.warning("nats-server did not stop within %g seconds and was killed", timeout_s)
                run.kill()
        self._close_config()

    def reload(self, config_text: str | None = None, config_places: Sequence[str] = ()) -> None:
        """Have the running nats-server read its configuration again; its log tells the outcome.

        Args:
            config_text: takes the place of `EmbeddedOptions.config_text`; None keeps that.
            config_places: belongs to it.

        Raises:
            NatsServerError: it does not run, or this system has no signal for it.
        """
        if self.pid is None or self._config is None or self._run is None:
            raise NatsServerError("the nats-server is not running")
        if config_text is not None:
            self._options.config_text = config_text
            self._options.config_places = self._run.log.config_places = config_places
        self._config.write(server_config(self._options))
        if sys.platform != "win32":
            self._run.process.send_signal(signal.SIGHUP)
            return
        raise NatsServerError("reloading the nats-server is not supported on Windows")

    def _spawn(self) -> _Run:
        assert self._config is not None
        options = self._options
        arguments = [self._binary, *server_arguments(options, self._config.path)]
        hide_monitor = options.http_port == RANDOM_PORT or self._run is not None
        log = ChildLog(
            self._config.path, options.config_name, hide_monitor, options.config_places, options.public_address
        )
        environment = {**os.environ, **go_runtime_variables(os.environ)}
        try:
            process = ChildProcess(arguments, self._config.inherited, environment=environment, watchdog=self._watchdog)
            return _Run(process, log)
        except (OSError, subprocess.SubprocessError) as error:
            text = error.strerror if isinstance(error, OSError) else None
            raise NatsServerError(f"cannot execute {self._binary}: {text or error}") from None

    async def _get_ready(self, run: _Run) -> None:
        run.attach()
        try:
            is_ready = await run.wait_ready(NATS_START_TIMEOUT_NS / NS_PER_SECOND)
        except BaseException:
            run.kill()
            raise
        if not is_ready:
            exited = run.exited.done()
            run.kill()
            raise NatsServerError(self._start_failure(run, exited))

    def _start_failure(self, run: _Run, exited: bool) -> str:
        if run.log.fatal:
            return run.log.fatal
        if run.log.output:
            return "\n".join(run.log.output)
        if exited:
            return f"nats-server ended before it was ready ({_status_text(run.status)})"
        host = self._options.host if self._options.host is not None else "0.0.0.0"
        return f"unable to start a NATS Server on {host}:{self._options.port}"

    async def _watch(self) -> None:
        """Restart it whenever it ends."""
        failures = 0
        while True:
            run = self._run
            assert run is not None
            await asyncio.wait({run.exited})  # cancelling the watch must not cancel this future
            loop = asyncio.get_running_loop()
            _logger.error("nats-server [%d] ended unexpectedly (%s): restarting it", run.process.pid, _why_ended(run))
            if loop.time() - run.since >= STABLE_AFTER_S:
                failures = 0
            while True:
                await asyncio.sleep(RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)])
                failures += 1
                try:
                    self._run = self._spawn()
                    await self._get_ready(self._run)
                except NatsServerError as error:
                    _logger.error("cannot restart nats-server: %s", error)
                    continue
                break
            self.restart_count += 1
            _logger.warning("nats-server [%d] restarted", self._run.process.pid)
            self.on_restarted()

    def _close_config(self) -> None:
        if self._config is not None:
            self._config.close()
            self._config = None


def reachable(host: str) -> str:
    """An address of this machine at which a server that listens on `host` answers."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(host, host)


def _why_ended(run: _Run) -> str:
    return ": ".join(text for text in (_status_text(run.status), run.log.fatal) if text)


def _status_text(status: int | None) -> str:
    if status is None:
        return "still running"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _raise_in_loop(task: asyncio.Task[None]) -> None:
    """The watch ends by cancellation only; anything else is a bug that must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "watching the nats-server ended by an unexpected error", "exception": error, "task": task}
        )
