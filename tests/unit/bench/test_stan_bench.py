"""What stan-bench says, and what is made of it."""

from __future__ import annotations

import sys

import pytest

from bench.suite import stan_bench

PUBLISHING = """Starting benchmark [msgs=200000, msgsize=128, pubs=4, subs=0]

Pub stats: 234,567 msgs/sec ~ 28.63 MB/sec
 [1] 58,642 msgs/sec ~ 7.16 MB/sec (50000 msgs)
 [2] 58,700 msgs/sec ~ 7.17 MB/sec (50000 msgs)
 min 58,642 | avg 58,671 | max 58,700 | stddev 29 msgs
"""

FAN_OUT = """Starting benchmark [msgs=100, msgsize=128, pubs=1, subs=4]

NATS Streaming Pub/Sub stats: 250,000 msgs/sec ~ 30.52 MB/sec
 Pub stats: 60,000 msgs/sec ~ 7.32 MB/sec
 Sub stats: 200,000 msgs/sec ~ 24.41 MB/sec
"""


def test_rate_of_publishers() -> None:
    assert stan_bench.published_rate(PUBLISHING, 0) == 234_567


def test_deliveries_are_taken_out_of_the_total_rate() -> None:
    assert stan_bench.published_rate(FAN_OUT, 4) == 50_000


def test_an_output_without_a_rate_is_told() -> None:
    with pytest.raises(stan_bench.StanBenchFailed, match="can't connect"):
        stan_bench.published_rate("Publisher bench-pub-0 can't connect: nats: no servers available", 0)


def test_command_line() -> None:
    line = stan_bench.arguments(4333, 500, 16, publishers=2, subscribers=4, window=1000, sync=True, queue="group")
    assert line[:6] == ["-s", "nats://127.0.0.1:4333", "-n", "500", "-ms", "16"]
    assert line[6:] == ["-mpa", "1000", "-np", "2", "-ns", "4", "-qgroup", "group", "-sync", "bench"]


def test_its_failure_is_told_with_what_it_said() -> None:
    program = "import sys; print('Publisher: connection refused'); sys.exit(3)"
    with pytest.raises(stan_bench.StanBenchFailed, match=r"exited with 3:\nPublisher: connection refused"):
        stan_bench.run(sys.executable, ["-c", program], 20)


def test_it_is_ended_when_it_is_late() -> None:
    with pytest.raises(stan_bench.StanBenchFailed, match="did not end"):
        stan_bench.run(sys.executable, ["-c", "import threading; threading.Event().wait()"], 0.2)
