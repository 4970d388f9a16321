"""The embedded nats-server when things go wrong: crashes, kills, taken ports, unusable binaries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nats_streaming.errors import NatsLinkError, NatsServerError
from nats_streaming.nats.binary import find_nats_server
from nats_streaming.nats.embedded_options import EmbeddedOptions
from nats_streaming.nats.server_process import NatsServerProcess
from nats_streaming.nats.urls import ServerUrl
from tests.unit.nats.conftest import Run
from tests.unit.nats.fake_nats import PATIENCE_S, RecordingLink

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and processes")

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    """Child processes of `pid`, of all its threads (Linux)."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def loopback(**options: object) -> EmbeddedOptions:
    values: dict[str, object] = {"host": "127.0.0.1", "port": -1, **options}
    return EmbeddedOptions(**values)  # type: ignore[arg-type]


@contextlib.contextmanager
def driver(watchdog: bool, how: str = "run") -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    """`embedded_driver.py` as the process that owns a nats-server, and what it said."""
    script = Path(__file__).with_name("embedded_driver.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(int(watchdog)), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


guards = pytest.mark.parametrize(
    "watchdog", [pytest.param(False, marks=needs_linux, id="death-signal"), pytest.param(True, id="watchdog")]
)


# Our end.


@guards
@pytest.mark.parametrize("how", ["run", "spawn"])
def test_our_sudden_death_takes_the_child_along(watchdog: bool, how: str) -> None:
    with driver(watchdog, how) as (process, said):
        helpers = children(said["pid"]) if sys.platform == "linux" else []
        process.kill()
        process.wait()
        for pid in (said["pid"], *helpers):
            wait_until(lambda pid=pid: not is_running(pid), f"process {pid} outlived its owner")  # type: ignore[misc]


@guards
def test_our_orderly_end_leaves_nothing(watchdog: bool) -> None:
    with driver(watchdog) as (process, said):
        helpers = children(said["pid"]) if sys.platform == "linux" else []
        assert bool(helpers) == watchdog or sys.platform != "linux"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert not is_running(said["pid"])
        for pid in helpers:
            wait_until(lambda pid=pid: not is_running(pid), f"process {pid} was left")  # type: ignore[misc]


@guards
@needs_linux
def test_the_child_has_a_session_of_its_own_and_no_secret_in_its_arguments(watchdog: bool) -> None:
    with driver(watchdog) as (process, said):
        pid = said["pid"]
        assert os.getsid(pid) != os.getsid(process.pid)
        assert os.getpgid(pid) == pid
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"s3cr3t" not in arguments
        assert b"nats-server" in arguments.split(b"\0")[0]


@needs_linux
def test_a_killed_child_ends_its_watchdog() -> None:
    with driver(watchdog=True) as (process, said):
        (helper,) = children(said["pid"])
        os.kill(said["pid"], signal.SIGKILL)
        wait_until(lambda: not is_running(helper), "the watchdog outlived its nats-server")
        wait_until(lambda: bool(children(process.pid)), "nats-server was not restarted")
        assert process.poll() is None


# The child's end.


def test_a_killed_child_is_served_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        restarted = asyncio.Event()
        server = NatsServerProcess(loopback(http_port=-1, user="u", password='p"\\w'), on_restarted=restarted.set)
        await server.start()
        link = RecordingLink(server.client_url, user="u", password='p"\\w')
        link.connection.subscribe(b"a", 1)
        await link.connection.connect()
        address, http_address, first = server.client_url, server.http_address, server.pid
        for count in (1, 2, 3):
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_S):
                await restarted.wait()
                link.connection.retry_now()
                await link.seen("connected", count + 1)
                link.connection.write(b"PUB a 1\r\nx\r\n")
                while len(link.sink.messages) < count:
                    await link.seen("chunk", link.count("chunk") + 1)
            restarted.clear()
            assert server.restart_count == count
            assert (server.client_url, server.http_address) == (address, http_address)
            assert server.is_ready
        assert server.pid != first
        await link.connection.close()
        await server.stop()
        assert server.pid is None

    run(main())
    texts = [record.getMessage() for record in caplog.records if record.name == "nats_streaming"]
    assert len([text for text in texts if "ended unexpectedly (killed by SIGKILL): restarting it" in text]) == 3
    assert len([text for text in texts if text.endswith("] restarted")]) == 3


def test_stop_while_it_is_being_restarted(run: Run) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback())
        await server.start()
        for _ in range(5):  # at whatever point of the restart it strikes
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.sleep(0.004)
            await server.stop()
            assert server.pid is None
            server = NatsServerProcess(loopback())
            await server.start()
        await server.stop()

    run(main())


def test_a_restart_that_cannot_succeed_is_tried_on(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback())
        await server.start()
        pid = server.pid
        assert pid is not None
        # A thief takes the port in the instant between the child's death and its restart.
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        thief.bind(("127.0.0.1", server.port))
                        break
                    except OSError:
                        pass  # not dead yet; synchronous, so no restart comes between
            thief.listen()
            async with asyncio.timeout(PATIENCE_S):
                while "cannot restart nats-server" not in caplog.text:
                    await asyncio.sleep(0.002)
        async with asyncio.timeout(PATIENCE_S):
            while not server.is_ready:
                await asyncio.sleep(0.002)
        await server.stop()

    run(main())
    assert "cannot restart nats-server: Error listening on port: 127.0.0.1:" in caplog.text


# Starting.


def test_start_is_as_fast_as_nats_server_itself(run: Run) -> None:
    async def main() -> None:
        seconds = []
        for _ in range(5):
            server = NatsServerProcess(loopback())
            began = time.perf_counter()
            await server.start()
            seconds.append(time.perf_counter() - began)
            await server.stop()
        assert min(seconds) < 0.5, seconds  # typically 0.015; the bound is for busy machines

    run(main())


def test_a_taken_port(run: Run) -> None:
    async def main() -> None:
        owner = NatsServerProcess(loopback())
        await owner.start()
        server = NatsServerProcess(loopback(port=owner.port))
        with pytest.raises(NatsServerError) as caught:
            await server.start()
        address = f"127.0.0.1:{owner.port}"
        assert str(caught.value) == (
            f'Error listening on port: {address}, "listen tcp {address}: bind: address already in use"'
        )
        assert server.pid is None
        assert owner.is_ready  # the other server was not mistaken for ours
        await server.stop()
        await owner.stop()

    run(main())


def test_a_taken_monitoring_port(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = NatsServerProcess(loopback(http_port=taken.getsockname()[1]))
            with pytest.raises(NatsServerError, match=r"^Can't start monitoring: can't listen to the monitor port: "):
                await server.start()

    run(main())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"config_text": "port: -1\n\nfoo: bar", "config_name": "/etc/x.conf"}, '/etc/x.conf:3:1: unknown field "foo"'),
        ({"config_text": 'a: "b'}, "Parse error on line "),
        ({"arguments": ["--foo"]}, "flag provided but not defined: -foo"),
        ({"arguments": ["-routes", "nats://127.0.0.1:1"]}, "solicited routes require cluster capabilities"),
        ({"arguments": ["--tlscert", "x"]}, "TLS Server private key must be present and valid"),
        ({"port": 70000}, "Error listening on port: 127.0.0.1:70000"),
    ],
)
def test_wrong_options(run: Run, options: dict[str, object], text: str) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback(**options))
        with pytest.raises(NatsServerError) as caught:
            await server.start()
        assert str(caught.value).startswith(text)
        assert "/proc/" not in str(caught.value)
        await server.stop()

    run(main())


def test_an_unusable_binary(run: Run, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF not really")
    garbage.chmod(0o755)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 3\n")
    silent.chmod(0o755)
    text = tmp_path / "text"
    text.write_text("no program")

    async def main() -> None:
        for path, words in (
            (tmp_path / "missing", f"nats-server binary not found: {tmp_path / 'missing'}"),
            (text, f"nats-server binary is not executable: {text}"),
            (garbage, f"cannot execute {garbage}: Exec format error"),
            (silent, "nats-server ended before it was ready (exit status 3)"),
        ):
            server = NatsServerProcess(loopback(binary=str(path)))
            with pytest.raises(NatsServerError) as caught:
                await server.start()
            assert str(caught.value) == words
            await server.stop()

    run(main())


def test_a_cancelled_start_leaves_nothing(run: Run, tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import time; time.sleep(60)'\n")
    mute.chmod(0o755)

    async def main() -> None:
        server = NatsServerProcess(loopback(binary=str(mute)))
        server.spawn()
        pid = server.pid
        assert pid is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await server.start()
        assert not is_running(pid)

    run(main())


def test_spawned_and_stopped_without_a_start(run: Run) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback())
        server.spawn()
        pid = server.pid
        assert pid is not None
        await server.stop()
        await server.stop()
        assert not is_running(pid)
        with pytest.raises(NatsServerError):
            server.reload()

    run(main())


def test_a_child_that_will_not_stop_is_killed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback())
        await server.start()
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await server.stop(0.05)
        assert not is_running(pid)

    run(main())
    assert "nats-server did not stop within 0.05 seconds and was killed" in caplog.text


# What it serves.


def test_all_addresses_serve_both_families(run: Run) -> None:
    async def main() -> None:
        server = NatsServerProcess(EmbeddedOptions(port=-1))
        await server.start()
        assert server.host == "0.0.0.0"
        assert server.client_url == ServerUrl("127.0.0.1", server.port)
        hosts = ["127.0.0.1", "localhost"]
        if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
            hosts.append("::1")
        for host in hosts:
            link = RecordingLink(ServerUrl(host, server.port))
            await link.connection.connect()
            assert link.connection.info.server_id == server.server_id
            await link.connection.close()
        await server.stop()

    run(main())


def test_credentials(run: Run) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback(token="to$k en"))
        await server.start()
        with pytest.raises(NatsLinkError, match=r"^nats: Authorization Violation$"):
            await RecordingLink(server.client_url).connection.connect()
        link = RecordingLink(server.client_url, token="to$k en")
        await link.connection.connect()
        await link.connection.close()
        await server.stop()

    run(main())


def test_reload(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        server = NatsServerProcess(loopback(name="me", user="u", password="p", http_port=-1))
        await server.start()
        server.reload("max_payload: 1000")
        async with asyncio.timeout(PATIENCE_S):
            while "Reloaded server configuration" not in caplog.text:
                await asyncio.sleep(0.002)
        link = RecordingLink(server.client_url, user="u", password="p")
        await link.connection.connect()
        assert link.connection.max_payload == 1000
        await link.connection.close()
        await server.stop()

    run(main())


def test_limits_of_the_link(run: Run) -> None:
    async def varz(server: NatsServerProcess) -> dict[str, object]:
        assert server.http_address is not None
        reader, writer = await asyncio.open_connection(*server.http_address)
        writer.write(b"GET /varz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        values: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return values

    async def main() -> None:
        for text, max_pending, deadline in (
            ("", 256 << 20, 30),
            ("max_pending: 2000000\nwrite_deadline: 5s", 2_000_000, 5),
        ):
            server = NatsServerProcess(loopback(http_port=-1, config_text=text))
            await server.start()
            values = await varz(server)
            assert (values["max_pending"], values["write_deadline"]) == (max_pending, deadline * 10**9)
            assert values["server_id"] == server.server_id
            await server.stop()

    run(main())


def test_a_talkative_child_does_not_block(run: Run) -> None:
    async def main() -> None:
        server = NatsServerProcess(loopback(debug=True, trace=True))
        await server.start()
        link = RecordingLink(server.client_url)
        await link.connection.connect()
        link.connection.write(b"PUB a 3\r\nabc\r\n" * 20_000)
        await link.connection.flush()
        await link.connection.close()
        await server.stop()

    run(main())


def test_the_binary_is_the_real_one() -> None:
    version = subprocess.run([find_nats_server(), "-v"], capture_output=True, check=True).stdout
    assert version.startswith(b"nats-server: v2.")
