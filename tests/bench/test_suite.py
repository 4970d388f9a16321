"""`make bench` with so few messages that its figures mean nothing: every part of it works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.suite import results, runner
from bench.suite.toolchain import CHECKOUT


def bench(to: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.suite", "--rounds", "1", "--scale", "0.001", "--to", str(to), *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, check=False
    )


def raw(to: Path) -> results.Results:
    (path,) = (to / "bench" / "results").iterdir()
    return results.load(path)


def test_every_part_that_needs_no_go(tmp_path: Path) -> None:
    done = bench(tmp_path, "--no-go", "--directory", str(tmp_path / "stores"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = raw(tmp_path)
    own = {name for name in runner.known_names() if not name.startswith("go-")}
    assert {part.name for part in [*found.parts, *found.ceilings, *found.curves]} == own
    assert found.errors() == []
    for part in found.parts:
        (figures,) = part.rounds["ours"]
        assert min(figures["rate"], figures["peak"]) > 0, part.name
        assert figures["cpu"] >= 0, part.name
    # Not in each: what is over in a millisecond may be over before the kernel brings the process's clock up to date.
    assert any(part.rounds["ours"][0]["cpu"] > 0 for part in found.parts)
    page = (tmp_path / "docs" / "internals" / "benchmarks.md").read_text()
    assert "The Go server was not measured: --no-go" in page
    pictures = tmp_path / "docs" / "internals" / "pictures"
    assert all(
        (pictures / name).read_text().rstrip().endswith("</svg>") for name in ("growth-rate.svg", "growth-cpu.svg")
    )
    assert not list((tmp_path / "stores").iterdir()), "a store was left behind"


def test_both_servers_side_by_side_under_both_load_generators(tmp_path: Path) -> None:
    arguments = [word for name in ("publish-1", "go-1-to-1", "go-queue-4", "replay-cold") for word in ("--only", name)]
    done = bench(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = raw(tmp_path)
    assert {(part.name, part.store) for part in found.parts} == {
        ("publish-1", "MEMORY"), ("publish-1", "FILE"), ("go-1-to-1", "MEMORY"), ("go-1-to-1", "FILE"),
        ("go-queue-4", "MEMORY"), ("go-queue-4", "FILE"), ("replay-cold", "FILE"),
    }  # fmt: skip
    for part in found.parts:
        assert all(len(part.values(side, figure)) == 1 for side in ("ours", "Go") for figure in ("rate", "cpu", "peak"))
    assert (tmp_path / "docs" / "internals" / "pictures" / "ratios.svg").exists()


def test_a_failing_part_fails_the_run_and_stops_no_other(tmp_path: Path) -> None:
    arguments = ["--only", "publish-1", "--only", "ceiling-1", "--only", "channels-one"]
    done = bench(tmp_path, "--no-go", "--ours-arguments=--no_such_flag", *arguments)
    assert done.returncode == 1
    found = raw(tmp_path)
    assert len(found.errors()) == len(found.parts) + len(found.ceilings) + len(found.curves) == 5
    assert "## What failed" in (tmp_path / "docs" / "internals" / "benchmarks.md").read_text()
    assert done.stderr.count("FAILED: ") == 5


@pytest.mark.parametrize(
    "line",
    [
        "bench/file_recovery.py --rounds 1 --messages 2000 --channels 10",
        "bench/sql_store.py --rounds 1 --messages 500 --stored 100 --drivers sqlite",
    ],
)
def test_programs_that_use_its_workloads(line: str) -> None:
    done = subprocess.run(
        [sys.executable, *line.split()], cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| own | messages/s | " in done.stdout


def test_what_a_commit_waits_for(tmp_path: Path) -> None:
    line = ["bench/commit_places.py", "--directory", str(tmp_path), "--size", "500", "--commits", "5", "--rounds", "2"]
    done = subprocess.run(
        [sys.executable, *line], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^ *(grows|reserved|filled|zeros ahead) +(p50|mean) +[0-9]+ ", done.stdout, re.M)) == 8
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--only", "publich-1"), "--only publich-1: no part has such a name"),
        (("--rounds", "0"), "'0' is not a whole number above 0"),
        (("--scale", "0"), "must be above 0"),
        (("--readme",), "--readme shows a whole run"),
    ],
)
def test_wrong_arguments_are_told(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2
    assert text in done.stderr
