"""The same publishes to ours, past nats-server and through it, and through it to a responder that does nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.loadgen import Client, Link
from bench.suite import idle_responder, processes
from bench.suite.figures import CPU, RATE, Figures
from bench.suite.load import Party, Publisher, drive
from bench.suite.servers import MEMORY, THROUGH_NATS, Side
from bench.suite.workloads import (
    SIZE,
    SOCKET_SECONDS_MAX,
    WARM_UP,
    WINDOW,
    Setting,
    Workload,
    frames,
    publishing,
    share,
)
from tests.support.servers import running_nats

IDLE = Side("idle", "")


def ceiling_sides(ours: Side) -> list[Side]:
    """Ours as it is, ours through nats-server, and the idle responder."""
    return [ours, Side("through", ours.program, (*ours.arguments, THROUGH_NATS)), IDLE]


class BareClient(Client):
    """A client where there is no streaming server to connect to."""

    def __init__(self, port: int, client_id: bytes) -> None:
        self.link = Link(port, SOCKET_SECONDS_MAX)
        self.cluster = b"test-cluster"
        self.client_id = client_id
        self.connection_id = b"conn-" + client_id
        self.has_ack_inbox = False


def idle_publishing(setting: Setting, publishers: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-nats-") as directory, running_nats(Path(directory)) as port:
        command = [sys.executable, idle_responder.__file__, str(port), str(publishers)]
        responder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            assert responder.stdout is not None
            said = responder.stdout.readline().strip()
            if said != idle_responder.READY:
                raise RuntimeError(f"the idle responder is not ready, it said {said!r}")
            clients = [BareClient(port, idle_responder.publisher_name(number)) for number in range(publishers)]
            warm = [Publisher(client, frames(client, SIZE), share(WARM_UP, publishers), WINDOW) for client in clients]
            drive(warm, setting.deadline)
            each = share(setting.count, publishers)
            parties: list[Party] = [Publisher(client, frames(client, SIZE), each, WINDOW) for client in clients]
            before = processes.cpu_seconds([responder.pid])
            seconds = drive(parties, setting.deadline)
            # Of the responder alone: it is to be idle, and this shows whether it is.
            cpu = (processes.cpu_seconds([responder.pid]) - before) / (each * publishers) * 1e6
            for client in clients:
                client.link.close()
            return {RATE: each * publishers / seconds, CPU: cpu}
        finally:
            responder.terminate()
            responder.wait(10)
            if responder.stdout is not None:
                responder.stdout.close()


def against_idle(publishers: int) -> Workload:
    ours = publishing(publishers)

    def measure(setting: Setting) -> Figures:
        return idle_publishing(setting, publishers) if setting.side == IDLE else ours(setting)

    title = f"publish, {publishers} publisher{'s' if publishers > 1 else ''}"
    return Workload(f"ceiling-{publishers}", title, measure, {MEMORY: 800_000})


CEILINGS = tuple(map(against_idle, (1, 4, 16)))
