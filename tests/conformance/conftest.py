"""How the conformance tests run: one server per set of arguments, coroutines as tests, citations of the checklist.

A module names its server's arguments in `SERVER_ARGUMENTS`, a test in a mark; equal arguments share one process. A test
is a coroutine function that takes a `world`. The numbers in `@pytest.mark.spec(…)` are the entries of the black-box
checklist of the protocol specification; `--spec-report` lists which test holds which entry.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.support.checklist import report
from tests.support.database_fixtures import database_servers, sql_arguments
from tests.support.databases import DatabaseServer
from tests.support.servers import ServerProcess
from tests.support.world import World

__all__ = ["database_servers"]

DEFAULT_ARGUMENTS = ("-SD", "-mc", "0")
TEST_SECONDS = 40.0
CHECKLIST_LENGTH = 105
_RUN = "_conformance_outcome"
_ALONE = "_ran_together_already"  # what is tried again runs alone

NOT_HERE: dict[str, dict[int, str]] = {
    "needs a restart of the server in the middle of a test": {
        24: "heartbeats purge recovered clients that are gone",
        28: "the part after a restart: the case clash is remembered",
        36: "the part about the store: acked messages are a subset of the stored ones",
        52: "the part across a restart",
        60: "nothing is sent to closed durables after a restart",
        61: "a closed durable is offline after a restart",
        63: "the part across restarts",
        65: "the part after a restart",
        73: "the part across a restart",
        75: "no resend of what a queue group had handled",
        76: "no stale member record after a restart",
        81: "the part after a restart",
        82: "the part after a restart: counts begin again at 1",
        83: "the part after a restart",
        84: "a reassigned message is pending at its new holder only",
        94: "the part about a recovered channel",
        96: "a consumer blocked at its limit receives everything after a restart",
        97: "one unacked message does not block new ones after a restart",
        98: "the hold of a recovered durable queue group is released",
        99: "client records are recovered",
        100: "subscriptions of unknown clients are dropped on recovery",
        101: "the part about a recorded cluster ID that differs",
    },
    "needs a configuration file": {
        103: "partitioning exists in the file only; held by tests/operations/test_partitioning.py",
    },
    "needs a store that fails on command; held by tests/unit/streaming/test_engine_store_failures.py": {
        51: "a store failure on subscribe leaves nothing behind",
        88: "store read errors delay but lose nothing",
        102: "a sequence missing in the middle of a log is skipped",
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--spec-report", action="store_true", help="list which test holds which entry of the checklist")
    parser.addoption(
        "--through-nats",
        action="store_true",
        help="clients connect to the embedded nats-server and not to our listener",
    )
    parser.addoption(
        "--store",
        default="MEMORY",
        help="the servers' store: MEMORY, FILE, SQL:sqlite, SQL:postgres or SQL:mysql, each server on one of its own",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "server_arguments(*arguments): the server's arguments, instead of those of the module",
        "spec(*entries): entries of the black-box checklist which the test holds",
        "together: runs concurrently with the others of its module and server marked so, to share the waits",
        "name_of_bytes: needs a store that keeps names which are no text; databases refuse them",
        "better_than_original(reason): what we do better than the Go original, which is expected to fail",
    ):
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if str(config.getoption("--store", "")).startswith("SQL"):
        for item in items:
            if item.get_closest_marker("name_of_bytes"):
                item.add_marker(pytest.mark.xfail(reason="a database takes names in UTF-8 only", strict=True))
    if os.environ.get("STAN_SERVER_UNDER_TEST"):
        for item in items:
            better = item.get_closest_marker("better_than_original")
            if better is not None:
                item.add_marker(pytest.mark.xfail(reason=better.args[0], strict=True))


# Servers


@pytest.fixture(scope="session")
def store_arguments(
    pytestconfig: pytest.Config,
    database_servers: Callable[[str], DatabaseServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], list[str]]:
    """Arguments for a new store of the kind that `--store` asks for."""
    name, _, driver = str(pytestconfig.getoption("--store")).partition(":")

    def arguments() -> list[str]:
        if name == "SQL":
            return sql_arguments(driver, database_servers, tmp_path_factory.mktemp("store"))
        return ["-store", name, *(["-dir", str(tmp_path_factory.mktemp("store"))] if name == "FILE" else [])]

    return arguments


@pytest.fixture(scope="session")
def servers(
    pytestconfig: pytest.Config, store_arguments: Callable[[], list[str]]
) -> Iterator[Callable[[tuple[str, ...]], ServerProcess]]:
    """Servers by arguments, started when first asked for and again if one has died."""
    way = ["-direct_clients=false"] if pytestconfig.getoption("--through-nats") else []
    running: dict[tuple[str, ...], ServerProcess] = {}

    def server(arguments: tuple[str, ...]) -> ServerProcess:
        process = running.get(arguments)
        if process is None or not is_running(process):
            if process is not None:
                process.close()
            process = running[arguments] = ServerProcess(*store_arguments(), *way, *arguments).start()
        return process

    yield server
    for process in running.values():
        process.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Callable[[tuple[str, ...]], ServerProcess]) -> ServerProcess:
    """The server shared by all tests that ask for the same arguments."""
    return servers(server_arguments(request.node))


@pytest.fixture
def world(server: ServerProcess) -> World:
    return World(server)


def server_arguments(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("server_arguments")
    if marker is not None:
        return tuple(marker.args)
    assert isinstance(item, pytest.Function)
    return tuple(getattr(item.module, "SERVER_ARGUMENTS", DEFAULT_ARGUMENTS))


def is_running(server: ServerProcess) -> bool:
    return server.process is not None and server.process.poll() is None


# Coroutines as tests


async def _run(item: pytest.Function, arguments: dict[str, Any]) -> BaseException | None:
    world = arguments.get("world")
    try:
        async with asyncio.timeout(TEST_SECONDS):
            test: Coroutine[Any, Any, None] = item.obj(**arguments)
            try:
                await test
            finally:
                if isinstance(world, World):
                    await world.close()
        if isinstance(world, World):
            assert is_running(world.server), f"the server died during this test:\n{world.log()[-5000:]}"
            log = world.log()
            for trouble in ("Traceback (most recent call last)", "panic:", "[FTL]"):
                assert trouble not in log, f"in the server's log:\n{log[-5000:]}"
    except Exception as error:  # noqa: BLE001 - kept, and raised as the outcome of the test it belongs to
        return error
    return None


async def _run_together(item: pytest.Function) -> None:
    """Run all tests of this module and server that are marked `together`; keep each one's outcome with it."""
    group = [
        other
        for other in item.session.items
        if isinstance(other, pytest.Function)
        and other.module is item.module
        and other.get_closest_marker("together")
        and server_arguments(other) == server_arguments(item)
        and inspect.iscoroutinefunction(other.obj)
    ]
    server = item.funcargs["server"]
    assert isinstance(server, ServerProcess)

    async def run(other: pytest.Function) -> None:
        parameters = dict(other.callspec.params) if hasattr(other, "callspec") else {}
        setattr(other, _RUN, [await _run(other, {**parameters, "world": World(server)})])

    await asyncio.gather(*(run(other) for other in group))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    outcome: BaseException | None
    if pyfuncitem.get_closest_marker("together") and not hasattr(pyfuncitem, _ALONE):
        if not hasattr(pyfuncitem, _RUN):
            asyncio.run(_run_together(pyfuncitem))
        outcome = getattr(pyfuncitem, _RUN)[0]
        delattr(pyfuncitem, _RUN)
        setattr(pyfuncitem, _ALONE, True)
    else:
        arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
        outcome = asyncio.run(_run(pyfuncitem, arguments))
    if outcome is not None:
        raise outcome
    return True


# The report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("spec_report", False):
        report(terminalreporter, "spec", CHECKLIST_LENGTH, NOT_HERE)
