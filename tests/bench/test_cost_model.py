"""The cost model's program: it finds where the time goes, or says why it cannot."""

from __future__ import annotations

import subprocess
import sys

from bench import cost_model
from bench.suite import page, perf
from bench.suite.engine_times import engine_times
from bench.suite.toolchain import CHECKOUT


def test_it_divides_the_time_or_says_why_not() -> None:
    arguments = ["--rounds", "1", "--messages", "40000", "--only", "1 to 1, MEMORY"]
    command = [sys.executable, "bench/cost_model.py", *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### The engine alone" in done.stdout
    if perf.why_not():
        assert "Not divided by stages: " in done.stdout
    else:
        for stage in ("parse NATS frames", "decode STAN messages", "stage", "**our process**"):
            assert f"| {stage} | " in done.stdout


def test_every_step_of_the_engine_takes_time() -> None:
    times = engine_times(5)
    assert len(times) == 6
    assert all(us > 0 for us in times.values())


def test_the_page_has_a_place_for_the_tables() -> None:
    text = cost_model.PAGE.read_text(encoding="utf-8")
    assert page.between(text, cost_model.BEGIN, cost_model.END, "x") != text
