"""The file that lists the ports in use, for scripts that start a server on free ones.

A nats-server writes such a file under its own name and process ID; scripts look for ours. So it gets a directory
that nobody else sees, and what it wrote there becomes our file.

    {"nats": ["nats://127.0.0.1:4222"], "monitoring": ["http://127.0.0.1:8222"], "cluster": […], "profile": […],
     "websocket": […]}
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from nats_streaming.constants import NATS_START_TIMEOUT_NS, NS_PER_SECOND
from nats_streaming.errors import ConfigError

PROGRAM: Final = "nats-streaming-server"

_POLL_S: Final = 0.005
_log = logging.getLogger("nats_streaming")


class PortsFile:
    """One file of one run. Make it before the nats-server starts, `write` after, `remove` at the end."""

    def __init__(self, directory: str) -> None:
        """
        Args:
            directory: where the file is to be; it must exist.

        Raises:
            ConfigError: it does not, or is no directory.
        """
        if not os.path.isdir(directory):
            raise ConfigError(f"ports_file_dir: there is no directory {directory}", option="ports_file_dir")
        self.path = Path(directory) / f"{PROGRAM}_{os.getpid()}.ports"
        self.nats_directory = mkdtemp(prefix="nats-streaming-ports-")
        """What the nats-server gets as its own `ports_file_dir`."""

    async def write(self, monitoring: list[str]) -> None:
        """Wait for nats-server's file and make ours from it; it appears in one step.

        Args:
            monitoring: URLs of our monitoring, in place of the nats-server's own, which only we use.

        Raises:
            ConfigError: ours cannot be written, or theirs does not come.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + NATS_START_TIMEOUT_NS / NS_PER_SECOND
        fresh = self.path.with_suffix(".ports.new")
        while not (data := self._written()):
            if loop.time() > deadline:
                raise ConfigError("ports_file_dir: the nats-server did not tell its ports", option="ports_file_dir")
            await asyncio.sleep(_POLL_S)
        ports = {**json.loads(data), "monitoring": monitoring}
        try:
            fresh.write_text(json.dumps({name: urls for name, urls in ports.items() if urls}), encoding="utf-8")
            os.replace(fresh, self.path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"Error writing ports file ({self.path}): {reason}", option="ports_file_dir") from error

    def remove(self) -> None:
        """Remove whatever is there, after the nats-server has ended. May be called more than once."""
        shutil.rmtree(self.nats_directory, ignore_errors=True)
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _log.error("Error cleaning up ports file %s: %s", self.path, error)

    def _written(self) -> bytes:
        """The nats-server's file once it is whole, b"" before."""
        for path in Path(self.nats_directory).glob("*.ports"):
            data = path.read_bytes()
            if data.rstrip().endswith(b"}"):
                return data
        return b""
