"""The pytest plug-in, by tests that are written and run here as its users would."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

PLUGIN = "nats_streaming.testing.pytest_plugin"


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")
    return pytester


def outcomes(run: pytest.Pytester, source: str, **expected: int) -> pytest.RunResult:
    run.makepyfile(source)
    result = run.runpytest_subprocess("-p", PLUGIN)
    result.assert_outcomes(**expected)
    return result


def test_a_killed_server_keeps_what_it_has_acked(run: pytest.Pytester) -> None:
    outcomes(
        run,
        """
        import pytest
        from nats_streaming.client.blocking import connect
        from nats_streaming.errors import ClientError

        @pytest.mark.stan_server(store="FILE", args=["-hbi", "1s"])
        def test_orders_survive(stan_server):
            port, pid = stan_server.port, stan_server.pid
            with connect(stan_server.cluster_id, "publisher", servers=stan_server.client_url) as stan:
                assert stan.publish_many("orders", [b"%d" % number for number in range(500)]) == 500
                stan_server.kill()
                assert not stan_server.is_running
                stan_server.restart()
                assert (stan_server.port, stan_server.is_running) == (port, True)
                assert stan_server.pid != pid
            with connect(stan_server.cluster_id, "reader", servers=stan_server.client_url) as stan:
                orders = stan.subscribe("orders", start="first")
                assert [next(orders).data for _ in range(500)] == [b"%d" % number for number in range(500)]
            assert stan_server.store_dir.is_dir()
            assert stan_server.log.count("Streaming Server is ready") == 2

        def test_memory_forgets(stan_server):
            with connect("test-cluster", "publisher", servers=stan_server.client_url) as stan:
                stan.publish("orders", b"one")
            assert stan_server.stop() == 143
            stan_server.start()
            assert 'Channel "orders" has been created' in stan_server.log
            assert "No recovered state" in stan_server.log.splitlines()[-20:].__str__()
            assert not stan_server.store_dir.exists()
        """,
        passed=2,
    )


def test_several_servers_with_options(run: pytest.Pytester) -> None:
    outcomes(
        run,
        """
        import pytest
        from nats_streaming.client.blocking import connect

        pytestmark = pytest.mark.stan_server(cluster_id="orders", args=["-mc", "1"])

        @pytest.mark.stan_server(config="streaming { store_limits { max_msgs: 2 } }")
        def test_both(stan_server, stan_server_factory):
            assert stan_server.cluster_id == "orders"
            assert "Messages     :             2" in stan_server.log
            assert "Channels:                    1" in stan_server.log
            other = stan_server_factory(store="FILE", cluster_id="other")
            assert other.port != stan_server.port
            with connect("orders", "me", servers=stan_server.client_url) as one:
                with connect("other", "me", servers=other.client_url) as two:
                    one.publish("foo", b"here")
                    two.publish("bar", b"there")
            other.pause()
            other.resume()
        """,
        passed=1,
    )


def test_the_log_is_shown_when_a_test_fails(run: pytest.Pytester) -> None:
    result = outcomes(
        run,
        """
        def test_fails(stan_server):
            print(f"pid {stan_server.pid}")
            assert stan_server.port == 0

        def test_passes(stan_server):
            pass
        """,
        failed=1,
        passed=1,
    )
    result.stdout.fnmatch_lines(["*log of the streaming server on port *", "*Streaming Server is ready"])
    assert result.stdout.str().count("Streaming Server is ready") == 1
    (pid,) = (line.split()[1] for line in result.outlines if line.startswith("pid "))
    running = subprocess.run(["ps", "-p", pid], capture_output=True, text=True, check=False).stdout
    assert "nats_streaming" not in running, "it was ended"


def test_what_is_wrong_is_said(run: pytest.Pytester) -> None:
    result = outcomes(
        run,
        """
        import pytest

        @pytest.mark.stan_server(stor="FILE")
        def test_misspelt(stan_server):
            pass

        @pytest.mark.stan_server("FILE")
        def test_without_name(stan_server):
            pass

        @pytest.mark.stan_server(args=["-no_such_flag"])
        def test_refused_by_the_server(stan_server):
            pass

        def test_twice(stan_server):
            stan_server.start()
        """,
        errors=3,
        failed=1,
    )
    result.stdout.fnmatch_lines_random(
        [
            "*stan_server has no option stor; it has store, cluster_id, args, config, port*",
            "*the marker stan_server takes its options by name: store, cluster_id, args, config, port*",
            "*the server ended with status 1 before it was ready:*",
            "*-no_such_flag*",
            "*StanServerError: the server runs already*",
        ]
    )


def test_costs_nothing_until_it_is_used() -> None:
    """Every pytest of an environment imports it."""
    program = (
        f"import sys, pytest; before = set(sys.modules); import {PLUGIN}; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{['nats_streaming', 'nats_streaming.testing', PLUGIN]}\n"
