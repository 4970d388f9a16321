"""`pub` and `sub` together: what goes in comes out, and every ending has its code."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from nats_streaming.cli.exits import ExitCode

from .conftest import Place
from .tool import COMMAND, RUN_SECONDS, environment, run, run_json, start


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def received(place: Place, channel: str, *arguments: str, count: int) -> list[str]:
    """The data of the first messages."""
    shown = run("sub", channel, "--start", "first", "-n", str(count), "--json", *arguments, **place.variables)
    return [str(document["data"]) for document in lines(shown.stdout)]


def wait_for_client(place: Place, client_id: str, process: subprocess.Popen[bytes]) -> None:
    """Until a process that was started is connected."""
    while f'"{client_id}"' not in run("clients", "--json", **place.variables).stdout:
        assert process.poll() is None


def test_arguments_lines_and_files(place: Place, channel: str, tmp_path: Path) -> None:
    whole = tmp_path / "message"
    whole.write_bytes(b"two\nlines\n")
    assert run("pub", channel, "one", "", **place.variables).stdout == ""
    run("pub", channel, given="three\r\nfour\n\nfive", **place.variables)
    run("pub", channel, "-f", str(whole), "-f", "-", given="in", **place.variables)
    data = ["one", "", "three", "four", "", "five", "two\nlines\n", "in"]
    assert received(place, channel, count=len(data)) == data


def test_raw_output_is_byte_for_byte(ours: Place, channel: str) -> None:
    data = bytes(range(256))
    run("pub", channel, "-f", "-", given=data, **ours.variables)
    done = subprocess.run(
        [*COMMAND, "sub", channel, "--start", "first", "--raw", "-n", "1"],
        env=environment(**ours.variables), capture_output=True, check=True, timeout=RUN_SECONDS,
    )  # fmt: skip
    assert done.stdout == data


def test_people_see_names_and_numbers_and_no_control_characters(ours: Place, channel: str) -> None:
    run("pub", channel, "plain [bold] text", "\x1b[31mred", **ours.variables)
    shown = run("sub", channel, "--start", "first", "-n", "2", "-t", **ours.variables).stdout
    first, second = shown.splitlines()
    assert first.startswith(f"{channel} #1 20")
    assert first.endswith("  plain [bold] text")
    assert second.endswith("  \\x1b[31mred")


def test_json_has_everything(place: Place, channel: str) -> None:
    run("pub", channel, "-f", "-", given=b"\xff\x00", **place.variables)
    (document,) = lines(run("sub", channel, "--start", "first", "-n", "1", "--json", **place.variables).stdout)
    assert (document["channel"], document["sequence"], document["data_base64"]) == (channel, 1, "/wA=")
    assert str(document["time_ns"]).startswith("1")
    assert "redelivered" not in document


@pytest.mark.parametrize(
    ("start_at", "expected"),
    [("first", ["1", "2", "3"]), ("last", ["3"]), ("2", ["2", "3"]), ("1h", ["1", "2", "3"]),
     ("2020-01-01T00:00:00Z", ["1", "2", "3"]), ("2020-01-01", ["1", "2", "3"])],
)  # fmt: skip
def test_start_positions(ours: Place, channel: str, start_at: str, expected: list[str]) -> None:
    run("pub", channel, "1", "2", "3", **ours.variables)
    shown = run("sub", channel, "--start", start_at, "-n", str(len(expected)), "--json", **ours.variables)
    assert [document["data"] for document in lines(shown.stdout)] == expected


@pytest.mark.parametrize("start_at", ["0", "soon", "-5m", "2020-13-01"])
def test_what_is_no_start_position(channel: str, start_at: str) -> None:
    assert f"--start {start_at}" in run("sub", channel, f"--start={start_at}", code=ExitCode.USAGE).stderr


def test_a_durable_goes_on_where_it_was_until_it_is_forgotten(place: Place, channel: str) -> None:
    durable = ("--durable", "d", "--client-id", f"{channel}-client")
    run("pub", channel, "1", "2", "3", **place.variables)
    assert received(place, channel, *durable, count=2) == ["1", "2"]
    assert received(place, channel, *durable, "--unsubscribe", count=1) == ["3"]
    assert received(place, channel, *durable, count=1) == ["1"]


def test_looking_without_acks_leaves_the_messages(ours: Place, channel: str) -> None:
    durable = ("--durable", "d", "--client-id", f"{channel}-client")
    run("pub", channel, "1", "2", **ours.variables)
    assert received(ours, channel, *durable, "--no-ack", count=2) == ["1", "2"]
    shown = run("sub", channel, *durable, "-n", "2", "--json", **ours.variables)
    assert [(document["data"], document.get("redelivered")) for document in lines(shown.stdout)] == [
        ("1", True), ("2", True),
    ]  # fmt: skip


def test_fewer_messages_than_asked_for_is_a_timeout(ours: Place, channel: str) -> None:
    run("pub", channel, "1", **ours.variables)
    arguments = ("sub", channel, "--start", "first", "-n", "2", "--idle", "1.5")
    shown = run(*arguments, code=ExitCode.TIMEOUT, **ours.variables)
    assert "1 of 2 messages came, then none for 1.5 s" in shown.stderr
    run("sub", channel, "--start", "first", "--idle", "0.3", **ours.variables)


def test_count_rate_and_sync(ours: Place, channel: str) -> None:
    done = run_json("pub", channel, "x", "-n", "30", "--rate", "100", **ours.variables)
    assert (done["stored"], done["size"], done["failed"]) == (30, 30, 0)
    assert 0.28 <= done["seconds"] < 5
    assert run_json("pub", channel, "x", "-n", "20", "--sync", **ours.variables)["stored"] == 20
    assert received(ours, channel, count=50) == ["x"] * 50


def test_ctrl_c_ends_cleanly(ours: Place, channel: str) -> None:
    run("pub", channel, "1", **ours.variables)
    running = start("sub", channel, "--start", "first", **ours.variables)
    assert running.stdout is not None
    assert running.stdout.readline() == f"{channel} #1  1\n".encode()
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=RUN_SECONDS)
    assert (running.returncode, out, errors) == (ExitCode.INTERRUPTED, b"", b"")


def test_ctrl_c_while_a_terminal_is_read(ours: Place, channel: str) -> None:
    running = start("pub", channel, "--client-id", f"{channel}-me", **ours.variables)
    assert running.stdin is not None
    running.stdin.write(b"half a line")
    running.stdin.flush()
    wait_for_client(ours, f"{channel}-me", running)
    running.send_signal(signal.SIGINT)
    assert running.wait(RUN_SECONDS) == ExitCode.INTERRUPTED
    _, errors = running.communicate()
    assert b"Traceback" not in errors


def test_who_stops_reading_ends_it(ours: Place, channel: str) -> None:
    run("pub", channel, "-n", "3000", "x", **ours.variables)
    command = " ".join(f"'{word}'" for word in (*COMMAND, "sub", channel, "--start", "first"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -2; echo ${{PIPESTATUS[0]}}"],
        env=environment(**ours.variables), capture_output=True, check=True, timeout=RUN_SECONDS,
    )  # fmt: skip
    assert done.stdout.decode().splitlines() == [f"{channel} #1  x", f"{channel} #2  x", str(int(ExitCode.READER_GONE))]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("sub", "x", "--raw", "--json"), "--raw or --json"),
        (("sub", "x", "--durable", "d"), "give --client-id"),
        (("sub", "x", "--unsubscribe"), "name it with --durable"),
        (("pub", "x", "m", "-f", "f"), "messages or --file"),
        (("pub", "x", "m", "--server", ","), "--server names no NATS server"),
        (("pub", "x", "m", "--server", "http://x"), "the scheme must be"),
        (("pub", "x", "m", "--creds", "/nothing"), "--creds /nothing: No such file"),
        (("pub", "x", "m", "--tls-cert", "a"), "belong together"),
        (("pub", "x", "m", "--tls-ca", "/nothing"), "TLS files /nothing"),
    ],
)
def test_settings_that_cannot_be(arguments: tuple[str, ...], text: str) -> None:
    assert text in run(*arguments, code=ExitCode.USAGE).stderr


def test_a_file_that_is_not_there(ours: Place, channel: str) -> None:
    shown = run("pub", channel, "-f", "/nothing", code=ExitCode.FAILED, **ours.variables)
    assert "/nothing: No such file or directory" in shown.stderr


def test_refused_by_the_server(place: Place, channel: str) -> None:
    shown = run("sub", "a..b", code=ExitCode.REFUSED, **place.variables)
    assert "stan: invalid subject" in shown.stderr
    holder = start("sub", channel, "--client-id", f"{channel}-client", **place.variables)
    try:
        wait_for_client(place, f"{channel}-client", holder)
        shown = run("pub", channel, "x", "--client-id", f"{channel}-client", code=ExitCode.REFUSED, **place.variables)
        assert "clientID already registered" in shown.stderr
        assert "another --client-id" in shown.stderr
    finally:
        holder.send_signal(signal.SIGINT)
        holder.communicate(timeout=RUN_SECONDS)


def test_a_channel_name_that_cannot_be(ours: Place) -> None:
    assert "no empty part" in run("pub", "a..b", "x", code=ExitCode.REFUSED, **ours.variables).stderr


def test_no_nats() -> None:
    shown = run("pub", "x", "m", "--server", "nats://user:secret@127.0.0.1:1", code=ExitCode.NO_CONNECTION)
    assert "no connection to NATS at nats://…@127.0.0.1:1" in shown.stderr
    assert "secret" not in shown.stderr


def test_no_answer_names_who_would(place: Place) -> None:
    shown = run("pub", "x", "m", "--cluster", "nobody", code=ExitCode.NO_ANSWER, **place.variables)
    assert f"no answer from cluster 'nobody' at {place.url}: is the cluster ID right?" in shown.stderr
    assert "the server there is 'test-cluster': try --cluster test-cluster" in shown.stderr


def test_no_answer_without_monitoring_listens(ours: Place, channel: str) -> None:
    """Another client publishes meanwhile, which tells the cluster ID."""
    arguments = ("pub", channel, "x", "-n", "100000", "--rate", "50", "--client-id", f"{channel}-me")
    publisher = start(*arguments, **ours.variables)
    try:
        wait_for_client(ours, f"{channel}-me", publisher)
        variables = {"STAN_SERVER": ours.url}
        shown = run("pub", "x", "m", "--cluster", "nobody", code=ExitCode.NO_ANSWER, **variables)
        assert "according to what others send there the server there is 'test-cluster'" in shown.stderr
    finally:
        publisher.send_signal(signal.SIGINT)
        publisher.communicate(timeout=RUN_SECONDS)


def test_progress_on_a_terminal_only(ours: Place, channel: str) -> None:
    shown = run("pub", channel, "x", "-n", "100", **ours.variables)
    assert "100 messages, 100 B" in shown.stderr
    assert "\x1b" not in shown.stderr
