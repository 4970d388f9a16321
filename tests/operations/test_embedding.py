"""A server inside a Python program."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from nats_streaming.errors import ConfigError, NatsLinkError, NatsServerError, StoreError, StreamingError
from nats_streaming.nats.urls import parse_server_urls
from nats_streaming.server import (
    Options,
    ServerState,
    StreamingServer,
    default_options,
    options_from_arguments,
    options_from_file,
    run_in_thread,
)
from tests.support.raw_client import NatsClient, StanClient
from tests.support.servers import free_port
from tests.support.stan_messages import StartPosition
from tests.support.world import eventually

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Kept(logging.Handler):
    """Log lines, with their levels."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))

    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)


def logger_of_its_own(name: str, level: int = logging.INFO) -> tuple[logging.Logger, Kept]:
    kept = Kept()
    logger = logging.Logger(name, level)
    logger.addHandler(kept)
    return logger, kept


def port_of(server_url: str) -> int:
    return parse_server_urls(server_url)[0].port


@contextlib.asynccontextmanager
async def client_of(url: str, name: str = "a-client") -> AsyncIterator[StanClient]:
    connection = await NatsClient.connect(port_of(url))
    try:
        yield await StanClient.connect(connection, name)
    finally:
        await connection.close()


def file_options(directory: Path) -> Options:
    options = default_options()
    options.store_type = "FILE"
    options.store_dir = options.file.directory = str(directory)
    return options


@pytest.mark.operations(83)
@pytest.mark.parametrize("loop", LOOPS)
def test_serves_inside_a_program(loop: str) -> None:
    """By default on the loopback address at any free port, which is told; gone at the end of the block."""

    async def main() -> None:
        server = StreamingServer()
        assert (server.state, server.last_error) == (ServerState.STANDALONE, "")
        async with server:
            assert server.options.nats.port > 0
            assert server.client_url == f"nats://127.0.0.1:{server.options.nats.port}"
            assert server.cluster_id == "test-cluster"
            assert server.monitoring_url == ""
            await server.wait_ready()
            async with client_of(server.client_url) as client:
                subscription = await client.subscribe("foo")
                await client.publish("foo", b"payload")
                assert (await subscription.next()).data == b"payload"
        assert server.state is ServerState.SHUTDOWN
        assert server.last_error == ""
        await server.stop()
        with pytest.raises(OSError):  # noqa: PT011 - refused, in whatever words
            await asyncio.open_connection("127.0.0.1", server.options.nats.port)
        with pytest.raises(StreamingError, match="was started before"):
            await server.start()
        with pytest.raises(StreamingError, match="the server is stopped"):
            await server.wait_ready()
        assert len(asyncio.all_tasks()) == 1, "nothing is left behind"

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.operations(83)
async def test_leaves_the_process_as_it_was() -> None:
    def settings() -> list[object]:
        root = logging.getLogger()
        signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        return [gc.get_threshold(), gc.get_freeze_count(), signals, root.level, list(root.handlers)]

    before = settings()
    async with StreamingServer():
        assert settings() == before
    assert settings() == before


@pytest.mark.operations(83)
async def test_several_servers(tmp_path: Path) -> None:
    """Each with its own NATS, store and log; stopped twice, at once and together."""
    one_logger, one_log = logger_of_its_own("one")
    two_logger, two_log = logger_of_its_own("two", logging.DEBUG)
    options = file_options(tmp_path / "one")
    one = StreamingServer(options, logger=one_logger)
    two = StreamingServer(file_options(tmp_path / "two"), logger=two_logger)
    async with one, two:
        assert options.nats.port == -1, "what was given stays as it was"
        assert one.client_url != two.client_url
        assert one.server_id != two.server_id
        async with client_of(one.client_url) as here, client_of(two.client_url) as there:
            await here.publish("only-here")
            await there.publish("only-there")
        same = StreamingServer(options)
        with pytest.raises(StoreError, match="another server uses the FILE store"):
            await same.start()
        assert same.state is ServerState.SHUTDOWN
        await asyncio.gather(one.stop(), one.stop(), two.stop())
    for log, server, channel in ((one_log, one, "only-here"), (two_log, two, "only-there")):
        text = log.text()
        assert f"ServerID: {server.server_id}" in text
        assert "Streaming Server is ready" in text
        assert "Server is ready" in text.replace("Streaming Server is ready", ""), "the nats-server's lines, too"
        assert f'Channel "{channel}" has been created' in text
    assert "only-there" not in one_log.text()
    assert "[Client:a-client] Connected" in two_log.text()
    assert "[Client:a-client] Connected" not in one_log.text(), "a logger's own level holds"
    async with StreamingServer(options) as again, client_of(again.client_url) as client:
        subscription = await client.subscribe("only-here", start=StartPosition.FIRST)
        assert (await subscription.next()).sequence == 1


@pytest.mark.operations(83)
async def test_failures_are_raised_and_logged(tmp_path: Path) -> None:
    taken = free_port()
    (tmp_path / "file").touch()

    def changed(change: Callable[[Options], None]) -> Options:
        options = default_options()
        change(options)
        return options

    def port(options: Options) -> None:
        options.nats.port = taken

    def external(options: Options) -> None:
        options.nats_server_url = f"nats://127.0.0.1:{taken}"

    def binary(options: Options) -> None:
        options.nats.binary = "/nowhere/nats-server"

    def limit(options: Options) -> None:
        options.limits.max_channels = -1

    def store(options: Options) -> None:
        options.store_type = "XYZ"

    expected: list[tuple[type[StreamingError], Options, str]] = [
        (NatsLinkError, changed(external), "nats: no servers available"),
        (NatsServerError, changed(binary), "/nowhere/nats-server"),
        (ConfigError, changed(limit), "max channels limit cannot be negative"),
        (ConfigError, changed(store), "unsupported store type: XYZ"),
        (StoreError, file_options(tmp_path / "file" / "below"), "unable to create the root directory"),
    ]
    for kind, options, text in expected:
        await fails(kind, options, text)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", taken):
        await fails(NatsServerError, changed(port), "address already in use")
    assert len(asyncio.all_tasks()) == 1


async def fails(kind: type[StreamingError], options: Options, text: str) -> None:
    logger, log = logger_of_its_own("failing")
    server = StreamingServer(options, logger=logger)
    with pytest.raises(kind, match=text):
        await server.start()
    assert server.state is ServerState.SHUTDOWN
    level, line = [entry for entry in log.lines if entry[0] >= logging.CRITICAL][-1]
    assert level == logging.CRITICAL
    assert text in line


@pytest.mark.operations(83)
async def test_a_failure_after_the_start(tmp_path: Path) -> None:
    """A standby that takes over and cannot serve: state, error and log say so, and it stops by itself."""
    options = file_options(tmp_path / "store")
    options.cluster_id = "other"
    async with StreamingServer(options):
        pass
    logger, log = logger_of_its_own("standby")
    options.cluster_id, options.ft_group = "test-cluster", "group"
    async with StreamingServer(options, logger=logger) as server:
        assert server.state is ServerState.FT_STANDBY
        with pytest.raises(StreamingError, match="does not match recovered value"):
            await server.wait_ready()
        failure = await server.wait_failed()
        assert (failure.text, failure.exit_status) == (server.last_error, 1)
        assert server.state is ServerState.FAILED
    assert server.state is ServerState.FAILED
    assert (logging.CRITICAL, server.last_error) in log.lines
    options.cluster_id = "other"
    async with StreamingServer(options) as server:
        await server.wait_ready()
        assert str(server.state) == "FT_ACTIVE"


async def test_stopped_while_it_starts() -> None:
    server = StreamingServer()
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    await server.stop()
    assert server.state is ServerState.SHUTDOWN
    assert server.nats.child is not None
    assert server.nats.child.pid is None
    await StreamingServer().stop()


async def test_stopped_by_another_task_while_it_starts() -> None:
    for _ in range(3):
        server = StreamingServer()
        starting = asyncio.create_task(server.start())
        await asyncio.sleep(0.02)
        assert not starting.done()
        await server.stop()
        with pytest.raises(StreamingError, match="stopped while it started"):
            await starting
        assert server.nats.child is not None
        assert server.nats.child.pid is None
    assert len(asyncio.all_tasks()) == 1


async def test_monitoring() -> None:
    options = default_options()
    options.nats.http_port = -1
    async with StreamingServer(options) as server:
        url = f"{server.monitoring_url}/streaming/serverz"
        answer = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read()))
        assert (answer["server_id"], answer["state"]) == (server.server_id, "STANDALONE")


def test_options_from_arguments_and_files(tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_text('port: 14222\nstreaming { id: orders, store_limits { channels { "foo.>" { max_msgs: 5 } } } }\n')
    options = options_from_file(path)
    assert (options.cluster_id, options.nats.port) == ("orders", 14222)
    assert options.limits.for_channel(b"foo.bar").max_messages == 5
    options = options_from_arguments(["-c", str(path), "-cid", "other", "-hbi", "5s"])
    assert (options.cluster_id, options.heartbeat_interval_ns) == ("other", 5_000_000_000)
    for wrong in (["-version"], ["-no_such_flag"], ["-c", str(tmp_path / "nothing")]):
        with pytest.raises(ConfigError):
            options_from_arguments(wrong)


def test_in_a_thread() -> None:
    """For programs without a loop; several at once, and errors are raised where it is started."""
    before = threading.active_count()
    with run_in_thread() as one, run_in_thread() as two:
        assert one.client_url != two.client_url

        async def use(url: str) -> None:
            async with client_of(url) as client:
                await client.publish("foo")

        asyncio.run(use(one.client_url))
        asyncio.run(use(two.client_url))
        one.stop()
        assert one.state is ServerState.SHUTDOWN
        one.stop()
        asyncio.run(use(two.client_url))
        assert two.state is ServerState.STANDALONE
        assert two.last_error == ""
    assert threading.active_count() == before
    options = default_options()
    options.store_type = "XYZ"
    with pytest.raises(ConfigError, match="unsupported store type"):
        run_in_thread(options)
    assert threading.active_count() == before


def test_a_program_that_forgets_to_stop_it() -> None:
    """Its end is the end of the embedded nats-server, too."""
    program = (
        "from nats_streaming.server import run_in_thread\n"
        "server = run_in_thread()\n"
        "print(server._server.nats.child.pid, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30, env=environment
    )
    pid = int(done.stdout)

    def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"

    asyncio.run(eventually(is_gone, "the nats-server ends"))
