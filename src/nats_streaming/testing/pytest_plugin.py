"""PUBLIC: pytest fixtures with a real streaming server: `stan_server`, and `stan_server_factory` for several.

Found by pytest itself wherever this distribution is installed; costs nothing until a test asks for a fixture.

    @pytest.mark.stan_server(store="FILE", args=["-hbi", "1s"])
    def test_orders_survive(stan_server): ...
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nats_streaming.testing.server_process import StanServer

MARKER = "stan_server"
OPTIONS = ("store", "cluster_id", "args", "config", "port")
_LOG_LINES_MAX = 200

_servers = pytest.StashKey[list["StanServer"]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(store='MEMORY', cluster_id='test-cluster', args=(), config='', port=0): how the fixture"
        f" {MARKER} starts its NATS Streaming server",
    )


@pytest.fixture
def stan_server_factory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., StanServer]]:
    """Starts servers; takes the options of the marker `stan_server`. They are ended after the test."""
    from nats_streaming.testing.server_process import StanServer

    servers: list[StanServer] = []
    request.node.stash[_servers] = servers

    def start(**options: Any) -> StanServer:
        _check(options)
        server = StanServer(tmp_path_factory.mktemp("stan_server"), **options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def stan_server(request: pytest.FixtureRequest, stan_server_factory: Callable[..., StanServer]) -> StanServer:
    """A running server of this test's own, with the options of its marker `stan_server`."""
    options: dict[str, Any] = {}
    # The nearest marker wins, option by option: a test's before its class's and its module's.
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        if marker.args:
            pytest.fail(f"the marker {MARKER} takes its options by name: {', '.join(OPTIONS)}", pytrace=False)
        options.update(marker.kwargs)
    return stan_server_factory(**options)


def _check(options: dict[str, Any]) -> None:
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        pytest.fail(f"{MARKER} has no option {', '.join(unknown)}; it has {', '.join(OPTIONS)}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers of a failed test have logged."""
    report = yield
    if report.failed:
        for server in item.stash.get(_servers, []):
            lines = server.log.splitlines()
            left_out = len(lines) - _LOG_LINES_MAX
            if left_out > 0:
                lines = [f"... {left_out} lines before are in {server.directory}", *lines[-_LOG_LINES_MAX:]]
            report.sections.append((f"log of the streaming server on port {server.port}", "\n".join(lines)))
    return report
