"""Signals, `-signal`, the PID file, and what a service manager is told."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers import ServerProcess, executable, free_port, run_to_end
from tests.support.world import World

Start = Callable[..., ServerProcess]

PATIENCE_S = 10.0
COMMANDS = {"stop": "KILL", "quit": "INT", "term": "TERM", "reopen": "USR1", "reload": "HUP", "ldm": "USR2"}


async def serves(server: ServerProcess) -> None:
    world = World(server)
    await (await world.client()).publish(world.channel())
    await world.close()


@pytest.mark.operations(25)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_stop_is_orderly(start: Start, number: signal.Signals, status: int) -> None:
    server = start("-SD")
    assert server.stop(number) == status
    steps = [
        r"\[INF\] STREAM: Shutting down\.",
        r'\[DBG\] STREAM: connection "_NSS-test-cluster-general" has been closed',
        r"\[INF\] Initiating Shutdown\.\.\.",
        r"\[INF\] Server Exiting\.\.\n$",
    ]
    assert re.search(".*".join(steps), server.log(), re.DOTALL), server.log()
    assert "Trapped" not in server.log()


@pytest.mark.operations(25)
async def test_sigusr2_changes_nothing(start: Start) -> None:
    server = start()
    before = server.log()
    os.kill(server.pid, signal.SIGUSR2)
    await serves(server)
    assert server.log().startswith(before)
    assert "[ERR]" not in server.log()


@pytest.mark.operations(25)
def test_sigquit_shows_the_threads_and_ends_with_2(start: Start) -> None:
    server = start()
    assert server.stop(signal.SIGQUIT) == 2
    # Any thread may be the one that the signal meets, and the garbage collector may be at work.
    thread = r"^(Current thread|Thread) .*\n(  .*\n)*  File .* in main\n"
    assert re.search(thread, server.log(), re.MULTILINE), server.log()
    assert "Shutting down" not in server.log()


@pytest.mark.operations(25)
def test_a_second_stop_signal_is_answered_and_a_third_ends_the_process(start: Start) -> None:
    """The nats-server is held still, so that the stop takes long enough to be interrupted."""
    server = start()
    child = nats_server_of(server)
    os.kill(child, signal.SIGSTOP)
    try:
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_log(r"Shutting down\.")
        os.kill(server.pid, signal.SIGINT)
        server.wait_for_log(r"\[WRN\] STREAM: Shutting down already; a further SIGINT ends the process at once")
        os.kill(server.pid, signal.SIGINT)
        assert server.wait() == 130
    finally:
        if is_there(child):
            os.kill(child, signal.SIGKILL)
    assert "[WRN] STREAM: Shutting down at once: SIGINT again" in server.log()


@pytest.mark.operations(25)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_stop_signal_during_the_start_is_orderly_too(number: signal.Signals, status: int) -> None:
    """The start waits for an answer from NATS that never comes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = ServerProcess("-ns", f"nats://127.0.0.1:{silent.getsockname()[1]}", external=True)
        try:
            server.spawn()
            server.wait_for_log("Recovering the state")
            silent.settimeout(PATIENCE_S)
            connection, _ = silent.accept()
            with connection:
                for harmless in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                    os.kill(server.pid, harmless)
                os.kill(server.pid, number)
                code = server.wait()
            assert (code if code >= 0 else 128 - code) == status
            assert server.log().rstrip().endswith("[INF] STREAM: Shutting down."), server.log()
        finally:
            server.close()


@pytest.mark.operations(26)
async def test_a_moved_log_is_opened_anew(start: Start, tmp_path: Path) -> None:
    """Each time a new file, with all that was set before: size limit, NATS debug, no streaming debug."""
    path = tmp_path / "log"
    server = start("-l", str(path), "-D", "-log_size_limit", "20000", log_path=path)
    for number in (1, 2):
        path.rename(tmp_path / f"moved{number}")
        os.kill(server.pid, signal.SIGUSR1)
        server.wait_for_log(r"\A\[\d+\] \S+ \S+ \[INF\] STREAM: File log re-opened\n")
        await serves(server)
        server.wait_for_log(r"\[DBG\] 127\.0\.0\.1:\d+ - cid:\d+ - Client connection created")
        assert "[DBG] STREAM" not in server.log()
    while not list(tmp_path.glob("log.*")):
        await serves(server)
    (backup,) = tmp_path.glob("log.*")
    assert 20_000 < backup.stat().st_size < 20_400
    server.wait_for_log(rf'^\[\d+\] .* \[INF\] Rotated log, backup saved as "{re.escape(str(backup))}"$')


@pytest.mark.operations(26)
def test_opening_anew_without_a_file(start: Start) -> None:
    server = start()
    os.kill(server.pid, signal.SIGUSR1)
    server.wait_for_log(r"\[INF\] STREAM: File log re-open ignored, not a file logger")


@pytest.mark.operations(27)
def test_a_reload_needs_a_file(start: Start) -> None:
    server = start()
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(r"\[ERR\] STREAM: Reload: can only reload config when a file is provided using -c or --config$")


@pytest.mark.operations(27)
def test_a_reload_is_not_for_an_external_nats(start: Start) -> None:
    nats = start()
    server = start("-ns", f"nats://127.0.0.1:{nats.port}", "-cid", "other", external=True)
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(r"\[WRN\] STREAM: Reload supported only for embedded NATS Server's configuration$")


@pytest.mark.operations(26, 27)
def test_how_lines_look_outlives_a_reload_and_an_opening_anew(start: Start, tmp_path: Path) -> None:
    config, path = tmp_path / "server.conf", tmp_path / "log"
    config.write_text(f'logtime: false\nlog_file: "{path}"\n')
    server = start("-c", str(config), log_path=path)
    config.write_text(f'logtime: false\nlog_file: "{path}"\ndebug: true\n')
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(r"\[INF\] Reloaded server configuration")
    path.rename(tmp_path / "moved")
    os.kill(server.pid, signal.SIGUSR1)
    server.wait_for_log(r"\A\[\d+\] \[INF\] STREAM: File log re-opened\n")
    server.stop()
    lines = [*(tmp_path / "moved").read_text().splitlines(), *path.read_text().splitlines()]
    assert not [line for line in lines if not re.match(rf"\[{server.pid}\] \[(INF|DBG|ERR|WRN)\] ", line)]
    assert [line for line in lines if "[DBG]" in line], "NATS debug is on since the reload"


# -signal and the PID file


@pytest.mark.operations(28)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("by_file", [False, True], ids=["pid", "file"])
def test_each_command_sends_its_signal(tmp_path: Path, command: str, by_file: bool) -> None:
    """A shell stands in for the server and says what it got; nothing can, of course, about SIGKILL."""
    traps = " ".join(f"trap 'echo {name}; exit 0' {name};" for name in COMMANDS.values() if name != "KILL")
    with subprocess.Popen(
        ["/bin/sh", "-c", f"{traps} echo ready; while :; do sleep 0.01; done"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        target = str(process.pid)
        if by_file:
            (tmp_path / "pid").write_text(target)
            target = str(tmp_path / "pid")
        ended = run_to_end("-sl", f"{command}={target}")
        assert ended == (0, "", "")
        got = process.communicate(timeout=PATIENCE_S)[0].strip()
    if command == "stop":
        assert process.returncode == -signal.SIGKILL
    else:
        assert got == COMMANDS[command]


@pytest.mark.operations(28)
@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("foo=1", 'unknown signal "foo"'),
        ("STOP=1", 'unknown signal "STOP"'),
        ("stop=abc", "invalid pid: abc"),
        ("stop=-1", "invalid pid: -1"),
        ("stop=0", "invalid pid: 0"),
        ("stop=99999999999999999999", "invalid pid: 99999999999999999999"),
        ("stop=1=2=3", "invalid signal parameters: [1 2 3]"),
        ("quit=4194305", "no such process"),
    ],
)
def test_what_is_wrong_with_a_command(argument: str, text: str) -> None:
    ended = run_to_end("-signal", argument)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == text


@pytest.mark.operations(28)
def test_the_running_server_is_found(own_processes: list[str], start: Start) -> None:
    """In a PID namespace of its own, since other servers run on this machine."""
    script = """
        "$0" -sl quit; echo "none: $?"
        "$0" -p -1 -a 127.0.0.1 & first=$!
        "$0" -p -1 -a 127.0.0.1 & second=$!
        until [ "$("$0" -sl reopen 2>&1)" = "multiple nats-streaming-server processes running:
$first
$second" ]; do :; done
        "$0" -sl term=$first; wait $first; echo "first: $?"
        "$0" -sl quit; echo "quit: $?"
        wait $second; echo "second: $?"
    """
    done = subprocess.run(
        [*own_processes, "/bin/sh", "-c", script, executable()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["none: 1", "first: 143", "quit: 0", "second: 0"]
    assert done.stderr.startswith("no nats-streaming-server processes running\n")


@pytest.fixture
def own_processes() -> list[str]:
    """A command's beginning that runs it where it sees no processes but its own."""
    return ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


@pytest.mark.operations(29)
def test_the_pid_file(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = start("-P", str(path))
    assert path.read_bytes() == str(server.pid).encode()
    assert path.stat().st_mode & 0o117 == 0
    server.stop()
    assert path.exists()


@pytest.mark.operations(29)
def test_there_is_no_pid_file_with_an_external_nats(start: Start, tmp_path: Path) -> None:
    nats = start()
    start("-ns", f"nats://127.0.0.1:{nats.port}", "-cid", "other", "-P", str(tmp_path / "pid"), external=True)
    assert not (tmp_path / "pid").exists()


@pytest.mark.operations(29)
def test_a_pid_file_that_cannot_be_written() -> None:
    ended = run_to_end("-P", "/nonexistent/pid", "-p", str(free_port()), "-a", "127.0.0.1")
    assert ended.status == 1
    assert re.search(r"\[FTL\] Could not write pidfile: open /nonexistent/pid: no such file or directory\n", ended.err)


# The service manager


class Manager:
    """Listens at an address as systemd does and keeps what it is told."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(PATIENCE_S)

    def next(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@nats-streaming-test-{tmp_path}")
    yield manager
    manager.close()


def test_a_service_manager_is_told(start: Start, manager: Manager) -> None:
    server = start(environment=manager.environment)
    assert manager.next() == {"READY": "1", "STATUS": "STANDALONE, cluster ID test-cluster"}
    before_us = time.monotonic_ns() // 1000
    os.kill(server.pid, signal.SIGHUP)
    reloading = manager.next()
    assert reloading.pop("RELOADING") == "1"
    assert before_us <= int(reloading.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert manager.next()["READY"] == "1"
    server.stop()
    assert manager.next()["STOPPING"] == "1"


def test_the_watchdog_is_fed(start: Start, manager: Manager) -> None:
    start(environment={**manager.environment, "WATCHDOG_USEC": "100000"})
    messages = [manager.next() for _ in range(6)]
    assert messages.count({"WATCHDOG": "1"}) == 5
    started = time.monotonic()
    for _ in range(4):
        assert manager.next() == {"WATCHDOG": "1"}
    assert 0.1 < time.monotonic() - started < 1.0  # four halves of the interval


def test_a_watchdog_for_another_process_is_left_alone(start: Start, manager: Manager) -> None:
    server = start(environment={**manager.environment, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    server.stop()
    assert [next(iter(manager.next())) for _ in range(2)] == ["READY", "STOPPING"]


def test_a_service_manager_that_is_not_there_is_reported_once(start: Start) -> None:
    server = start(environment={"NOTIFY_SOCKET": "/nonexistent/notify"})
    server.stop()
    assert server.log().count("cannot notify the service manager at /nonexistent/notify") == 1


def test_the_nats_server_is_not_told_of_the_service_manager(start: Start, manager: Manager) -> None:
    server = start(environment=manager.environment)
    variables = Path(f"/proc/{nats_server_of(server)}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in variables


def nats_server_of(server: ServerProcess) -> int:
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        children = (task / "children").read_text().split()
        if children:
            return int(children[0])
    raise AssertionError("the server has no child")


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
