"""A tiny server process for the tests of the embedded nats-server: starts one, says so, waits.

Prints one JSON line when all is up, then waits for its end; SIGTERM stops it in order.

Usage: embedded_driver.py WATCHDOG HOW, with WATCHDOG 0 or 1, and HOW `run` or `spawn` (does not wait for readiness).
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from nats_streaming.nats.embedded_options import EmbeddedOptions
from nats_streaming.nats.server_process import NatsServerProcess


def say(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


async def main() -> None:
    server = NatsServerProcess(EmbeddedOptions(host="127.0.0.1", port=-1, http_port=-1, password="s3cr3t", user="u"))
    server._watchdog = sys.argv[1] == "1"
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    if sys.argv[2] == "spawn":
        server.spawn()
        say(pid=server.pid)
    else:
        await server.start()
        say(pid=server.pid, port=server.port)
    await stopping.wait()
    await server.stop()


asyncio.run(main())
