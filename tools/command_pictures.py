"""Draws docs/guide/pictures/: the tool in a real terminal, on a server with something to do.

    python -m tools.command_pictures

Times and rates differ from run to run, so no test compares the pictures; tests/cli/test_terminal.py tries the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers import free_port, running_server
from tools.terminal import Terminal, save

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "guide" / "pictures"
_DRAWN = 24  # characters of `until` on the screen, when a picture is taken
TOOL = (sys.executable, "-P", "-m", "nats_streaming.cli.main")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        monitor = free_port()
        store = Path(place) / "store"
        with running_server("-m", str(monitor), "-st", "FILE", "-dir", str(store)) as server:
            variables = {
                "STAN_SERVER": f"nats://127.0.0.1:{server.port}",
                "STAN_MONITOR": f"http://127.0.0.1:{monitor}",
            }
            with load(variables):
                draw("watch", variables, "watch", "-i", "1", until="▁▂▃▄▅▆▇█", rows=14)
                draw("channels", variables, "channels", rows=12)
                draw("server", variables, "server", rows=13)
            draw("bench", variables, "bench", "-p", "2", "-S", "2", "-n", "20000", rows=50, columns=120)
            draw("no-answer", variables, "pub", "orders", "hello", "-c", "orders-cluster", rows=6, columns=120)
        damage(store / "orders" / "msgs.1.dat")
        draw("doctor", {}, "doctor", "store", rows=60, columns=120, place=Path(place))


@contextlib.contextmanager
def load(variables: dict[str, str]) -> Iterator[None]:
    """A few channels with publishers and subscribers, one of them stalled."""
    commands = [
        ("pub", "orders", "one espresso", "-n", "1000000", "--rate", "220"),
        ("pub", "invoices", "one espresso: 1.20", "-n", "1000000", "--rate", "40"),
        ("sub", "orders", "--durable", "barista", "--client-id", "bar"),
        ("sub", "orders", "--queue", "archive", "--start", "first"),
        ("sub", "invoices", "--durable", "tax", "--client-id", "tax-office", "--no-ack", "--max-in-flight", "20"),
    ]
    processes = [
        subprocess.Popen(
            [*TOOL, *command], env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for command in commands
    ]  # fmt: skip
    try:
        while wanted := {"orders", "invoices"} - _channels(variables):
            assert all(process.poll() is None for process in processes), f"no channel {wanted}"
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _channels(variables: dict[str, str]) -> set[str]:
    listed = subprocess.run(
        [*TOOL, "channels", "--json"], env={**os.environ, **variables}, capture_output=True, check=False
    )
    return {document["name"] for document in json.loads(listed.stdout)} if listed.returncode == 0 else set()


def damage(path: Path) -> None:
    """One flipped bit in the middle, and a torn end."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-7])


def draw(
    name: str, variables: dict[str, str], *arguments: str, until: str = "", rows: int, columns: int = 100,
    place: Path | None = None,
) -> None:  # fmt: skip
    """One picture, of the end of a command, or of a moment when its screen shows enough characters of `until`."""
    command = ["bash", "-c", 'cd "$1"; shift; exec "$@"', "bash", str(place or "."), *TOOL, *arguments]
    with Terminal(command, columns=columns, rows=rows, variables=variables) as terminal:
        if until:
            while sum(character in until for character in terminal.screen()) < _DRAWN:
                terminal.wait_for(until[-1])
            save(PICTURES / f"{name}.svg", terminal.picture(f"nats-streaming {' '.join(arguments)}"))
            terminal.send("C-c")
            terminal.wait_for_end()
        else:
            terminal.wait_for_end()
            save(PICTURES / f"{name}.svg", terminal.picture(f"nats-streaming {' '.join(arguments)}"))


if __name__ == "__main__":
    main()
