"""Configuration files seen from outside: which file serves what, what wins, and what is told when one is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import ServerProcess, free_port, run_to_end

Start = Callable[..., ServerProcess]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write_file(text: str, name: str = "stan.conf") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


def refusal(*arguments: str) -> str:
    """What is told on standard error when this ends with status 1."""
    ended = run_to_end(*arguments)
    assert (ended.status, ended.out) == (1, ""), ended
    return ended.err


class TestPrecedence:
    @pytest.mark.operations(6, 7)
    def test_flags_win_over_the_file(self, start: Start, write: Callable[..., str]) -> None:
        file = write("debug: true\nstreaming { cid: file, sd: true, sv: true, limits { mc: 5, mm: 6 } }")
        log = start("-c", file, "-cid", "flag", "-mc", "7", "-SD=false", "-D=false").log()
        assert "Starting nats-streaming-server[flag]" in log
        assert re.search(r"Channels: +7$", log, re.MULTILINE)
        assert re.search(r"Messages +: +6$", log, re.MULTILINE)
        assert "[DBG]" not in log

    @pytest.mark.operations(6)
    def test_sdv_goes_before_the_file_s_single_settings(self, start: Start, write: Callable[..., str]) -> None:
        file = write("streaming { sd: true, sv: true }")
        assert "[DBG] STREAM:" not in start("-SDV=false", "-c", file).log()

    def test_an_address_given_by_flags_wins_over_listen(self, start: Start, write: Callable[..., str]) -> None:
        file = write(f'listen: "127.0.0.1:{free_port()}"\nhttp: "127.0.0.1:{free_port()}"')
        server, monitor = start("-c", file, "-m", "0"), free_port()
        assert f"Listening for client connections on 127.0.0.1:{server.port}" in server.log()
        assert "Starting http monitor" not in server.log()
        server = start("-c", file, "-m", str(monitor))
        assert f":{monitor}" in server.log()

    def test_combined_nats_levels_lose_to_a_lone_streaming_file(self, start: Start, write: Callable[..., str]) -> None:
        file = write("debug: false")
        assert not re.search(r"\[DBG\] (?!STREAM|Trapped)", start("-DV", "-sc", file).log())
        assert re.search(r"\[DBG\] (?!STREAM|Trapped)", start("-DV", "-c", file).log())


class TestWhichFile:
    @pytest.mark.operations(9)
    def test_of_two_files_each_serves_its_own(self, start: Start, write: Callable[..., str]) -> None:
        port = free_port()
        nats = write(f"host: 127.0.0.1, port: {port}\ncluster_id: nats\ncluster {{ name: c, port: -1 }}", "nats.conf")
        stan = write("port: 1\ncluster_id: stan\nlimits { mm: 5 }\n", "stan.conf")
        server = start("-c", nats, "-sc", stan, listens_by_file=True, port=port)
        assert f"Listening for client connections on 127.0.0.1:{port}" in server.log()
        assert "Starting nats-streaming-server[stan]" in server.log()
        assert "Listening for route connections" in server.log()

    @pytest.mark.operations(10)
    @pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
    def test_an_empty_file(self, start: Start, write: Callable[..., str], text: str) -> None:
        file = write(text)
        told = f"{file}: config has no values or is empty"
        assert told in start("-c", file).log()
        assert refusal("-sc", file) == f"{told}\n"

    @pytest.mark.operations(11)
    def test_a_missing_file(self, write: Callable[..., str], tmp_path: Path) -> None:
        none, there = f"{tmp_path}/none.conf", write("port: 4222")
        assert refusal("-c", none) == f"open {none}: no such file or directory\n"
        assert refusal("-sc", none) == f"open {none}: no such file or directory\n"
        assert refusal("-c", none, "-sc", there) == f"open {none}: no such file or directory\n"
        assert refusal("-c", there, "-sc", none) == (
            f"error opening config file: open {none}: no such file or directory\n"
        )
        assert refusal("-c", str(tmp_path)).endswith("is a directory\n")


class TestWrongFiles:
    @pytest.mark.operations(12)
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("streaming { cid: 5 }", 'parameter "cid" value is expected to be string, got int64'),
            ("streaming { sd: 1 }", 'parameter "sd" value is expected to be bool, got int64'),
            ("streaming { limits { mm: 1.5 } }", 'parameter "mm" value is expected to be int64, got float64'),
            ("streaming { hbf: [] }", 'parameter "hbf" value is expected to be int64, got slice'),
            ("streaming { dir: {} }", 'parameter "dir" value is expected to be string, got map'),
            ("streaming { ns: 2026-01-01T00:00:00Z }", 'parameter "ns" value is expected to be string, got struct'),
            ("streaming: 5", "expected streaming section to be a map/struct, got 5"),
            ("streaming { limits: 5 }", "expected store limits to be a map/struct, got 5"),
            ("streaming { tls: 5 }", "expected TLS to be a map/struct, got 5"),
            ("streaming { file: 5 }", "expected file options to be a map/struct, got 5"),
            ("streaming { sql: 5 }", "expected SQL options to be a map/struct, got 5"),
            ("streaming { cluster: 5 }", "expected cluster to be a map/struct, got 5"),
            ('streaming { hbi: "5" }', 'time: missing unit in duration "5"'),
            ("streaming { hbi: 30m }", 'parameter "hbi" value is expected to be string, got int64'),
        ],
    )
    def test_a_wrong_type_is_told_with_its_place(self, write: Callable[..., str], text: str, told: str) -> None:
        file = write(f"port: 4222\n{text}\n")
        err = refusal("-c", file)
        assert re.match(rf"{re.escape(file)}:2:\d+: {re.escape(told)}", err), err

    @pytest.mark.operations(13)
    @pytest.mark.parametrize("name", ["foo.*bar", "foo.>.>", "foo..bar", "foo/bar"])
    def test_a_bad_channel_name(self, write: Callable[..., str], name: str) -> None:
        file = write(f'streaming {{ limits {{ channels {{\n "{name}" {{ mm: 5 }}\n}} }} }}')
        assert refusal("-c", file).startswith(f'{file}:2:2: invalid channel name "{name}"')

    @pytest.mark.operations(16)
    def test_an_unknown_store(self, write: Callable[..., str]) -> None:
        file = write("streaming {\n store: xyz }")
        assert refusal("-c", file).startswith(f"{file}:2:9: unknown store type: xyz")
        assert "Failed to start: unsupported store type: XYZ" in refusal("-st", "xyz")

    @pytest.mark.operations(17)
    def test_nats_says_where_its_part_is_wrong(self, write: Callable[..., str], tmp_path: Path) -> None:
        write("accounts {\n  A { nonsense: 5 }\n}\n", "accounts.conf")
        file = write("max_payload: 1MB\nstreaming { cid: x }\ninclude accounts.conf\n")
        err = refusal("-c", file, "-p", "-1")
        assert re.search(rf"{re.escape(str(tmp_path))}/accounts\.conf:2:7: unknown field", err), err

    @pytest.mark.operations(17)
    def test_everything_that_nats_finds_wrong_has_a_line_of_its_own(self, write: Callable[..., str]) -> None:
        file = write("websocket { foo: 1 }\nmqtt { bar: 2 }\n")
        lines = [
            line.partition("[FTL] ")[2] for line in refusal("-c", file, "-p", "-1").splitlines() if "[FTL]" in line
        ]
        assert sorted(lines) == [f'{file}:1:13: unknown field "foo"', f'{file}:2:8: unknown field "bar"']

    @pytest.mark.operations(8, 18)
    def test_clustered_mode_is_refused_by_name(self, start: Start, write: Callable[..., str]) -> None:
        file = write("streaming {\n cluster { node_id: a, peers: [a, b, c] } }")
        assert refusal("-c", file).startswith(f"{file}:2:2: clustered mode is not available in this version")
        flat = write("port: 4222\ncluster { name: c, port: 6222 }\n", "flat.conf")
        err = refusal("-c", flat)
        assert err.startswith(f"{flat}:2:1: clustered mode is not available in this version")
        assert "streaming { }" in err
        err = refusal("-clustered", "-cluster_node_id", "a", "-cluster_peers", "a,b,c")
        assert "clustered mode is not available" in err
        assert "(-clustered, -cluster_node_id, -cluster_peers)" in err
        assert "Streaming Server is ready" in start("-c", file, "-clustered=false").log()

    @pytest.mark.operations(19)
    @pytest.mark.parametrize(
        ("limits", "told"),
        [
            ("mc: -1", "max channels limit cannot be negative (-1)"),
            ("msu: -1", "max subscriptions limit cannot be negative (-1)"),
            ("mm: -1", "max messages limit cannot be negative (-1)"),
            ("mb: -1k", "max bytes limit cannot be negative (-1000)"),
            ('ma: "-1s"', "max age limit cannot be negative (-1s)"),
            ('mi: "-1h"', "max inactivity limit cannot be negative (-1h0m0s)"),
            (
                'mc: 2, channels { a {}, b {}, c {}, "d.*" {} }',
                "too many channels defined (3). The max channels limit is set to 2",
            ),
        ],
    )
    def test_limits_that_cannot_be(self, write: Callable[..., str], limits: str, told: str) -> None:
        assert f"[FTL] STREAM: Failed to start: {told}" in refusal(
            "-c", write(f"streaming {{ limits {{ {limits} }} }}")
        )

    def test_a_secret_of_the_file_is_never_told(self, write: Callable[..., str]) -> None:
        file = write("authorization { user: u, password: sesame, nonsense: 1 }\nstreaming { encryption_key: sesame }")
        err = refusal("-c", file, "-p", "-1")
        assert f'{file}:1:44: unknown field "nonsense"' in err
        assert "sesame" not in err


class TestOnlyTesting:
    def test_a_good_file(self, write: Callable[..., str]) -> None:
        file = write("max_payload: 1MB\nstreaming { cid: x, limits { nonsense: 5 } }")
        ended = run_to_end("-t", "-c", file)
        assert (ended.status, ended.out) == (0, f"nats-streaming-server: configuration file {file} is valid\n")
        assert ended.err == f'{file}:2:30: unknown key "nonsense" in store limits is ignored\n'

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("streaming { cid: x, limits { mm: yes } }", ":1:34: parameter "),
            ("streaming { cid: 'a b' }", "could not subscribe to discover subject"),
            ("\nmax_payload: x", ":2:1: interface conversion"),
            ("\nwebsocket { foo: 1 }", ':2:13: unknown field "foo"'),
        ],
    )
    def test_a_bad_file(self, write: Callable[..., str], text: str, told: str) -> None:
        assert told in refusal("-t", "-c", write(text))
        assert told in refusal("-sc", write(text), "-t")

    def test_without_a_file(self) -> None:
        told = "must specify [-c, --config] option to check configuration file syntax\n"
        assert refusal("-t").startswith(told)

    def test_the_example_of_the_guide(self, tmp_path: Path) -> None:
        guide = Path(__file__).parents[2] / "docs" / "guide" / "configuration.md"
        blocks = re.findall(r"^```\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL)
        (tmp_path / "server.conf").write_text(blocks[0])
        (tmp_path / "users.conf").write_text(blocks[1])
        ended = run_to_end("-t", "-c", f"{tmp_path}/server.conf", environment={"STREAMING_PASSWORD": "'a secret'"})
        assert (ended.status, ended.err) == (0, "")
