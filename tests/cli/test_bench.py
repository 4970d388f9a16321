"""`bench`: every message is accounted for, in every form of output."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from nats_streaming.cli.exits import ExitCode

from .conftest import Place
from .tool import run, run_json

FEW = ("-n", "600")


def test_publishers_and_subscribers(place: Place, channel: str, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    found = run_json("bench", channel, "-p", "2", "-S", "3", *FEW, "--csv", str(path), **place.variables)
    assert found["complete"] is True
    assert found["errors"] == []
    assert all(0 < share < 1.5 for share in found["processes_busy"])
    assert len(found["processes_busy"]) == found["plan"]["processes"]
    publishers, subscribers = found["publishers"], found["subscribers"]
    assert (publishers["sent"], publishers["acked"], publishers["failed"]) == (600, 600, 0)
    assert (subscribers["received"], subscribers["repeated"], subscribers["missing"]) == (1800, 0, 0)
    for each in (publishers, subscribers):
        latency = each["latency_us"]
        assert 0 < latency["min"] <= latency["p50"] <= latency["p99.9"] <= latency["max"] < 60e6
        assert each["messages_per_s"] > 10
        assert sum(count for _, count in each["histogram_us"]) == each["acked"] + each["received"]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["kind"], row["number"], row["acked"], row["received"]) for row in rows] == [
        ("pub", "0", "300", "0"), ("pub", "1", "300", "0"),
        ("sub", "0", "0", "600"), ("sub", "1", "0", "600"), ("sub", "2", "0", "600"),
    ]  # fmt: skip
    assert run_json("channels", channel, **place.variables)["msgs"] == 600


def test_people_see_rates_and_a_histogram(ours: Place, channel: str) -> None:
    shown = run("bench", channel, "-S", "1", *FEW, **ours.variables).stdout
    for text in (
        "CPU of the load processes: ",
        "all publishers",
        "all subscribers",
        "publish to ack",
        "p99.9",
        "█",
        "all acked and received: 0 pub",
    ):
        assert text in shown
    assert f"600 messages of 128 bytes to channel {channel}" in shown


def test_sync_at_a_rate(ours: Place, channel: str) -> None:
    found = run_json("bench", channel, "--sync", "-n", "30", "--rate", "100", "--size", "1000", **ours.variables)
    assert found["complete"] is True
    assert 0.28 <= found["publishers"]["seconds"] < 10
    assert run_json("channels", channel, **ours.variables)["bytes"] > 30_000


def test_few_messages_a_second_are_no_silence(ours: Place, channel: str) -> None:
    found = run_json("bench", channel, "-S", "1", "-n", "25", "--rate", "10", "--idle", "1", **ours.variables)
    assert (found["complete"], found["subscribers"]["received"]) == (True, 25)


def test_a_group_shares(ours: Place, channel: str) -> None:
    found = run_json("bench", channel, "-S", "2", "--queue", "g", "--idle", "2", *FEW, **ours.variables)
    assert found["complete"] is True
    assert found["subscribers"]["received"] == 600


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(("-p", "0", "-S", "1"), "at least one publisher"), (("-p", "5", "-n", "4"), "too few for 5 publishers")],
)
def test_what_cannot_be(ours: Place, arguments: tuple[str, ...], text: str) -> None:
    assert text in run("bench", *arguments, code=ExitCode.USAGE, **ours.variables).stderr


def test_refused_messages_are_not_counted_as_sent(ours: Place) -> None:
    shown = run("bench", "a..b", "-n", "1", code=ExitCode.INCOMPLETE, **ours.variables)
    assert "not every message was acked and received" in shown.stderr
    assert "not complete" in shown.stdout


def test_no_server() -> None:
    shown = run("bench", "-n", "1", "--server", "nats://127.0.0.1:1", code=ExitCode.NO_CONNECTION)
    assert "no connection to NATS" in shown.stderr
