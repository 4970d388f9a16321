"""Where the log goes, what is in it, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.raw_client import NatsClient, NoRespondersError, StanClient, unique
from tests.support.servers import ServerProcess, executable, free_port, run_to_end
from tests.support.small_disk import SmallDisk

Start = Callable[..., ServerProcess]

PATIENCE_S = 20.0
TEXT_LINE = re.compile(r"\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[(?:INF|DBG|TRC|WRN|ERR|FTL)\] .*")


async def publish(port: int, count: int, size: int = 10) -> None:
    """Publish one message after the other; each must be acked."""
    client = await StanClient.connect(await NatsClient.connect(port), unique("client-"))
    for _ in range(count):
        await client.publish("foo", b"x" * size)
    await client.close()
    await client.nats.close()


# What is in it


@pytest.mark.operations(34)
@pytest.mark.parametrize(
    ("flags", "streaming", "nats"),
    [
        ((), {"INF"}, {"INF"}),
        (("-SD",), {"INF", "DBG"}, {"INF"}),
        (("-SV",), {"INF", "TRC"}, {"INF"}),
        (("-D",), {"INF"}, {"INF", "DBG"}),
        (("-V",), {"INF"}, {"INF", "TRC"}),
        (("-SDV", "-DV"), {"INF", "DBG", "TRC"}, {"INF", "DBG", "TRC"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_debug_and_trace_are_asked_for_one_by_one(
    start: Start, flags: tuple[str, ...], streaming: set[str], nats: set[str]
) -> None:
    server = start(*flags)
    await publish(server.port, 1)
    server.stop()
    lines = server.log().splitlines()
    assert not [line for line in lines if not TEXT_LINE.fullmatch(line)]
    ours = [line for line in lines if "] STREAM: " in line]
    theirs = [line for line in lines if "] STREAM: " not in line]
    assert {line.split()[3].strip("[]") for line in ours} == streaming
    assert {line.split()[3].strip("[]") for line in theirs} == nats
    received = [line for line in ours if "Received message from publisher" in line]
    assert bool(received) == ("-SDV" in flags)  # it wants both, as in the original


async def test_json(start: Start) -> None:
    """Every line is an object, the embedded server's, too."""
    server = start("-log_format", "json", "-SDV", "-D", "-logtime_utc")
    await publish(server.port, 1)
    server.stop()
    entries = [json.loads(line) for line in server.log().splitlines()]
    assert {entry["source"] for entry in entries} == {"streaming", "nats-server"}
    assert {entry["level"] for entry in entries} == {"INF", "DBG", "TRC"}
    assert {entry["pid"] for entry in entries} == {server.pid}
    times = [entry["time"] for entry in entries]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at) for at in times)
    assert times == sorted(times)
    assert [entry["text"] for entry in entries].count("Streaming Server is ready") == 1


# Where it goes


@pytest.mark.parametrize("kind", ["udp", "tcp"])
async def test_a_remote_syslog(start: Start, kind: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(PATIENCE_S)
        if kind == "tcp":
            listener.listen()
        log = Path(os.devnull)
        server = ServerProcess("-r", f"{kind}://127.0.0.1:{listener.getsockname()[1]}", "-SD", log_path=log)
        try:
            server.spawn()
            peer = listener.accept()[0] if kind == "tcp" else listener
            peer.settimeout(PATIENCE_S)
            received = b""
            while b"Streaming Server is ready\n" not in received:
                received += peer.recv(1 << 16)
            server.stop()
            while b"Server Exiting..\n" not in received:
                received += peer.recv(1 << 16)
            if peer is not listener:
                peer.close()
        finally:
            server.close()
    packets = received.decode().splitlines()
    head = r"<([2-7])>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d) \S+ nats-streaming-server\[\d+\]: (.*)"
    matches = [re.fullmatch(head, packet) for packet in packets]
    assert all(matches), packets
    texts = [(match[1], match[2]) for match in matches if match]
    assert ("5", "STREAM: Streaming Server is ready") in texts
    assert ("7", "STREAM: Did not detect another server instance") in texts
    assert ("5", "Server is ready") in texts


def test_a_syslog_that_is_not_there() -> None:
    ended = run_to_end("-r", f"tcp://127.0.0.1:{free_port()}")
    assert (ended.status, ended.out) == (1, "")
    assert re.match(r'error connecting to syslog: "dial tcp 127\.0\.0\.1:\d+: connection refused"\n', ended.err)


def test_a_file_goes_before_syslog(start: Start, tmp_path: Path) -> None:
    start("-l", str(tmp_path / "log"), "-r", "tcp://127.0.0.1:1", log_path=tmp_path / "log")


def test_a_log_file_that_cannot_be_opened() -> None:
    ended = run_to_end("-l", "/nonexistent/log")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error opening file: open /nonexistent/log: no such file or directory\n")


async def test_a_server_without_standard_streams(tmp_path: Path) -> None:
    """Its log does not end up in a file that got the number of a closed stream."""
    port, store = free_port(), tmp_path / "store"
    arguments = [executable(), "-p", str(port), "-a", "127.0.0.1", "-SDV", "-st", "FILE", "-dir", str(store)]
    with subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *arguments]) as process:
        try:
            await connectable(port)
            await publish(port, 3)
        finally:
            process.terminate()
        assert process.wait(PATIENCE_S) in (143, -15)
    assert not [path for path in store.rglob("*") if path.is_file() and b"STREAM: " in path.read_bytes()]


async def connectable(port: int) -> None:
    """Wait until a streaming server answers."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            nats = await NatsClient.connect(port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        try:
            client = await StanClient.connect(nats, "probe")
        except NoRespondersError:
            await asyncio.sleep(0.02)
        else:
            await client.close()
            return
        finally:
            await nats.close()
    raise AssertionError(f"nobody serves at port {port}")


# Nobody waits for it


class Reader:
    """Reads a pipe, but only once it is told to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._may_read = threading.Event()
        self.data = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def begin(self) -> None:
        self._may_read.set()

    def join(self) -> str:
        """All that was written, when the writer has closed its end."""
        self.begin()
        self._thread.join(PATIENCE_S)
        return self.data.decode()

    def _read(self) -> None:
        self._may_read.wait(PATIENCE_S * 3)
        while chunk := os.read(self._descriptor, 1 << 16):
            self.data += chunk


@pytest.fixture
def piped() -> Iterator[tuple[int, subprocess.Popen[bytes], Reader]]:
    """A server whose log is a pipe that nobody reads yet."""
    port = free_port()
    arguments = [executable(), "-p", str(port), "-a", "127.0.0.1", "-SDV"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    reader = Reader(process.stderr.fileno())
    yield port, process, reader
    process.kill()
    process.wait()
    reader.join()
    process.stderr.close()


async def test_a_pipe_that_nobody_reads_holds_up_nobody(
    piped: tuple[int, subprocess.Popen[bytes], Reader],
) -> None:
    """Many times what a pipe holds is logged meanwhile; when somebody reads at last, no line is missing."""
    port, process, reader = piped
    await connectable(port)
    count = 2000
    await publish(port, count)
    reader.begin()
    process.terminate()
    assert process.wait(PATIENCE_S) == 143
    log = reader.join()
    assert len(log) > 4 * 65_536
    assert log.count("Acking Publisher subj=foo") == count
    assert log.endswith("Server Exiting..\n")
    assert not [line for line in log.splitlines() if not TEXT_LINE.fullmatch(line)]


async def test_a_pipe_that_nobody_reads_does_not_keep_a_server_from_ending(
    piped: tuple[int, subprocess.Popen[bytes], Reader],
) -> None:
    port, process, _ = piped
    await connectable(port)
    await publish(port, 500)
    process.terminate()
    assert process.wait(PATIENCE_S) == 143


async def test_a_full_disk_under_the_log_alone(tmp_path: Path) -> None:
    """Serving goes on, and what could not be written follows when there is room."""
    disk = SmallDisk(tmp_path, 256 << 10)
    log = disk.inside / "server.log"
    server = ServerProcess("-SDV", "-l", str(log), program=str(disk.wrapper))
    try:
        server.spawn()
        await connectable(server.port)
        disk.fill()
        await publish(server.port, 300)
        assert f"log {log} cannot be written: no space left on device" in server.output_path.read_text()
        disk.free()
        written = disk.outside(log)
        deadline = time.monotonic() + PATIENCE_S
        while "no line is missing" not in written.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        text = written.read_text()
        assert text.count("Acking Publisher subj=foo") == 300
        assert (
            "[WRN] STREAM: Log could not be written for a while (no space left on device); no line is missing" in text
        )
        assert not [line for line in text.splitlines() if not TEXT_LINE.fullmatch(line)]
    finally:
        server.close()
        disk.close()
