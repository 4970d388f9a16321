"""`export` and `import`: nothing is lost on the way out, order is kept on the way in, or it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nats_streaming.cli.exits import ExitCode

from .conftest import Place
from .tool import run, run_json

QUICK = ("--idle", "0.5")


def fill(place: Place, channel: str, count: int = 300) -> None:
    run("pub", channel, given="".join(f"message {number}\n" for number in range(count)), **place.variables)


def exported(place: Place, channel: str, path: Path) -> list[dict[str, object]]:
    run("export", channel, "-o", str(path), *QUICK, **place.variables)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_there_and_back(place: Place, channel: str, tmp_path: Path) -> None:
    fill(place, channel)
    run("pub", channel, "-f", "-", given=bytes(range(256)), **place.variables)
    run("pub", channel, "", "ünï", **place.variables)
    first = exported(place, channel, tmp_path / "first")
    assert first[0] == {"nats_streaming_export": 1, "cluster": "test-cluster", "channel": channel}
    assert first[-1] == {"end": 303, "messages": 303}
    assert [document["sequence"] for document in first[1:-1]] == list(range(1, 304))
    times = [int(str(document["time_ns"])) for document in first[1:-1]]
    assert times == sorted(times)
    shown = run("import", str(tmp_path / "first"), "--channel", f"{channel}-copy", *QUICK, **place.variables)
    assert "303 messages published" in shown.stderr
    second = exported(place, f"{channel}-copy", tmp_path / "second")

    def data(documents: list[dict[str, object]]) -> list[object]:
        return [document.get("data", document.get("data_base64")) for document in documents[1:-1]]

    assert data(second) == data(first)


def test_to_the_last_message_of_now(ours: Place, channel: str, tmp_path: Path) -> None:
    """Not of later: the channel grows while it is exported."""
    fill(ours, channel, 50)
    summary = run_json("export", channel, "-o", str(tmp_path / "out"), *QUICK, **ours.variables)
    assert summary == {"channel": channel, "messages": 50, "first": 1, "last": 50, "until": 50}
    assert not (tmp_path / "out.part").exists()


def test_an_empty_channel(ours: Place, channel: str, tmp_path: Path) -> None:
    assert exported(ours, channel, tmp_path / "out")[1:] == [{"end": 0, "messages": 0}]
    run("import", str(tmp_path / "out"), "--channel", f"{channel}-copy", *QUICK, **ours.variables)


def test_from_a_sequence_through_pipes(ours: Place, channel: str) -> None:
    fill(ours, channel, 10)
    out = run("export", channel, "--start", "8", *QUICK, **ours.variables).stdout
    assert [json.loads(line).get("sequence") for line in out.splitlines()] == [None, 8, 9, 10, None]
    done = run("import", "-", "--channel", f"{channel}-copy", *QUICK, given=out, **ours.variables)
    assert "3 messages published" in done.stderr


def test_an_existing_file_is_kept(ours: Place, channel: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("mine")
    run("export", channel, "-o", str(path), *QUICK, code=ExitCode.USAGE, **ours.variables)
    assert path.read_text() == "mine"
    run("export", channel, "-o", str(path), "--force", *QUICK, **ours.variables)
    assert path.read_text() != "mine"


def test_an_import_goes_on_where_it_was_broken_off(ours: Place, channel: str, tmp_path: Path) -> None:
    fill(ours, channel, 40)
    path = tmp_path / "out"
    exported(ours, channel, path)
    half = tmp_path / "half"
    half.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:16]))
    copy = f"{channel}-copy"
    broken = run("import", str(half), "--channel", copy, *QUICK, code=ExitCode.INCOMPLETE, **ours.variables)
    assert "is not whole: it ends after line 16 without its last line (15 messages were published)" in broken.stderr
    refused = run("import", str(path), "--channel", copy, *QUICK, code=ExitCode.INCOMPLETE, **ours.variables)
    assert "has messages up to 15: --append adds" in refused.stderr
    done = run("import", str(path), "--channel", copy, "--resume", *QUICK, **ours.variables)
    assert "15 were there already, 25 messages published" in done.stderr
    again = run("import", str(path), "--channel", copy, "--resume", *QUICK, **ours.variables)
    assert "40 were there already, 0 messages published" in again.stderr


def test_other_messages_are_no_import_to_resume(ours: Place, channel: str, tmp_path: Path) -> None:
    fill(ours, channel, 3)
    exported(ours, channel, tmp_path / "out")
    other = f"{channel}-other"
    run("pub", other, "message 0", "something else", **ours.variables)
    arguments = ("import", str(tmp_path / "out"), "--channel", other, *QUICK)
    shown = run(*arguments, "--resume", code=ExitCode.INCOMPLETE, **ours.variables)
    assert "message 2 of channel" in shown.stderr
    assert "is not line 3 of the export" in shown.stderr
    run(*arguments, "--append", **ours.variables)
    assert run_json("channels", other, **ours.variables)["last_seq"] == 5


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("", "line 1 is no JSON"),
        ('{"a":1}\n', "no export of version 1"),
        ('HEAD\n{"sequence":1,"data":"x"}\n{"sequence":1,"data":"y"}\n', "line 3: sequence 1 is not above 1"),
        ('HEAD\n{"sequence":0,"data":"x"}\n', "line 2: a message needs a sequence above 0"),
        ('HEAD\n{"sequence":1}\n', "line 2: a message needs either data or data_base64"),
        ('HEAD\n{"sequence":1,"data_base64":"x"}\n', "line 2: data_base64: "),
        ('HEAD\n{"sequence":1,"data":"x"}\n{"end":1,"messages":2}\n', "line 3: 1 messages stand before, not 2"),
        ("HEAD\n[]\n", "line 2 is no JSON object"),
        ("HEAD\n", "ends after line 1 without its last line"),
    ],
)
def test_what_is_no_export(ours: Place, channel: str, lines: str, text: str) -> None:
    head = json.dumps({"nats_streaming_export": 1, "cluster": "c", "channel": channel})
    given = lines.replace("HEAD", head)
    shown = run("import", "-", "--append", *QUICK, given=given, code=ExitCode.INCOMPLETE, **ours.variables)
    assert text in shown.stderr
