"""Servers the tool is tried on: ours, and the original."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.interop.prepare import prepare
from tests.support.raw_client import unique
from tests.support.servers import ServerProcess, free_port


@dataclass(frozen=True)
class Place:
    """A running server, and how the tool finds it."""

    process: ServerProcess
    monitor_port: int

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.process.port}"

    @property
    def monitor(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def variables(self) -> dict[str, str]:
        """What tells the tool where the server is."""
        return {"STAN_SERVER": self.url, "STAN_MONITOR": self.monitor}


def start_place(*arguments: str) -> Place:
    port = free_port()
    return Place(ServerProcess("-m", str(port), "-mc", "1000", *arguments).start(), port)


@pytest.fixture(scope="session")
def ours() -> Iterator[Place]:
    place = start_place()
    yield place
    place.process.close()


@pytest.fixture(scope="session")
def go() -> Iterator[Place]:
    """The original; its toolchain missing is a failure: scripts of its users are what the tool is for."""
    (executable,) = prepare("go-server").command
    before = os.environ.get("STAN_SERVER_UNDER_TEST")
    os.environ["STAN_SERVER_UNDER_TEST"] = executable
    try:
        place = start_place()
    finally:
        if before is None:
            del os.environ["STAN_SERVER_UNDER_TEST"]
        else:
            os.environ["STAN_SERVER_UNDER_TEST"] = before
    yield place
    place.process.close()


@pytest.fixture(params=["ours", "go"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the two."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return unique("channel-")
