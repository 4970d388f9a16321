"""How the client's tests run: coroutines as tests, each against our server and the Go server where it asks for both."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.prepare import prepare
from tests.support.servers import ServerProcess

TEST_SECONDS = 60.0
KINDS = ("ours", "ours-FILE", "go", "go-FILE")

_names = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=20, help="of each fault in the client's chaos test")
    parser.addoption("--messages", type=int, default=2_000, help="published at least in the client's chaos test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timeout_seconds(seconds): how long this test may take")


def server_of(kind: str, *arguments: str, **options: Any) -> ServerProcess:
    """A server, not started: `ours` or `go`, with `-FILE` for a store in its own directory."""
    program, _, store = kind.partition("-")
    path = prepare("go-server").command[0] if program == "go" else None
    server = ServerProcess(*arguments, program=path, **options)
    if store:
        server.arguments += ["-st", store, "-dir", str(server.directory / "store")]
    return server


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[dict[str, ServerProcess]]:
    running: dict[str, ServerProcess] = {}
    yield running
    for server in running.values():
        server.close()


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, shared_servers: dict[str, ServerProcess]) -> ServerProcess:
    """A server of each kind, shared by all tests: use `name` for channels and clients."""
    if request.param not in shared_servers:
        shared_servers[request.param] = server_of(request.param, "-mc", "0").start()
    return shared_servers[request.param]


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"nats://127.0.0.1:{server.port}"


@pytest.fixture(scope="session")
def ours(shared_servers: dict[str, ServerProcess]) -> str:
    """The address of our server, for what does not depend on the server."""
    if "ours" not in shared_servers:
        shared_servers["ours"] = server_of("ours", "-mc", "0").start()
    return f"nats://127.0.0.1:{shared_servers['ours'].port}"


@pytest.fixture
def start() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of one test's own (arguments as of `server_of`)."""
    servers: list[ServerProcess] = []

    def start_server(kind: str, *arguments: str, **options: Any) -> ServerProcess:
        server = server_of(kind, *arguments, **options)
        servers.append(server)
        return server.start()

    yield start_server
    for server in reversed(servers):
        server.close()


@pytest.fixture
def name() -> str:
    """A channel and client ID that no other test has."""
    return f"test-{next(_names)}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {key: pyfuncitem.funcargs[key] for key in inspect.signature(pyfuncitem.obj).parameters}
    failures: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        longer = pyfuncitem.get_closest_marker("timeout_seconds")
        async with asyncio.timeout(longer.args[0] if longer else TEST_SECONDS):
            await pyfuncitem.obj(**arguments)

    asyncio.run(run())
    assert not failures, failures
    return True
