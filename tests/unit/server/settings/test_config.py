"""Files and flags together: which file serves what, and who wins where the original has exceptions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.server.nats_side import embedded_options
from nats_streaming.server.settings import streaming_config
from nats_streaming.server.settings.config import reread_nats_text
from nats_streaming.server.settings.flags import TEST_CONFIG, read_command_line
from nats_streaming.server.settings.options import Options


@pytest.fixture(autouse=True)
def in_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(text: str, *arguments: str, flag: str = "-c") -> Options:
    Path("f.conf").write_text(text)
    return read_command_line([flag, "f.conf", *arguments]).options


class TestPrecedence:
    def test_defaults_then_the_file_then_flags(self) -> None:
        got = options("port: 1\nstreaming { cid: file, limits { mc: 1, mm: 2, mb: 3 } }", "-mm", "20", "-mb=2k", "-p=0")
        limits = got.limits
        assert (limits.max_channels, limits.max_messages, limits.max_bytes) == (1, 20, 2000)
        assert limits.max_subscriptions == Options().limits.max_subscriptions
        assert (got.cluster_id, got.nats.port) == ("file", 4222)

    def test_a_flag_may_say_no(self) -> None:
        got = options("streaming { sd: true, encrypt: true, replace_durable: true }", "-SD=false", "-encrypt=false")
        assert (got.debug, got.encryption.enabled, got.replace_durable) == (False, False, True)

    def test_sdv_comes_after_everything(self) -> None:
        assert not options("streaming { sd: true, sv: true }", "-SDV=false").debug
        assert options("streaming { sd: false, sv: false }", "-SDV").trace

    def test_the_file_s_encryption_key_wins(self) -> None:
        assert options("streaming { encryption_key: file }", "-encryption_key", "flag").encryption.key == "file"
        assert options("streaming { encrypt: true }", "-encryption_key", "flag").encryption.key == "flag"

    @pytest.mark.parametrize("levels", ["-DV", "-DVV", "-VV"])
    def test_combined_levels_lose_to_what_a_lone_streaming_file_sets(self, levels: str) -> None:
        got = options("trace: false", levels, flag="-sc").nats
        assert (got.debug, got.trace) == (levels != "-VV", False)
        assert options("trace: false", levels, flag="-c").nats.trace
        assert options("trace: false", "-V", flag="-sc").nats.trace
        assert options("", levels).nats.trace
        Path("other.conf").write_text("trace: false")
        assert options("a: 1", levels, "-sc", "other.conf").nats.trace

    def test_the_last_of_several_files_counts(self) -> None:
        Path("g.conf").write_text("streaming { cid: g }")
        assert options("streaming { cid: f }", "-config", "g.conf").cluster_id == "g"


class TestWhichFile:
    def test_one_serves_both(self) -> None:
        for flag in ("-c", "-sc"):
            got = options("port: 4333\ncid: x", flag=flag)
            assert (got.nats.port, got.cluster_id, got.nats.config_name) == (4333, "x", "f.conf")

    def test_two_serve_one_each(self) -> None:
        Path("g.conf").write_text("port: 1, cid: g, cluster_id: g")
        got = options("port: 2, cid: f, cluster {}", "-sc", "g.conf")
        assert (got.nats.port, got.cluster_id, got.nats.config_name) == (2, "g", "f.conf")

    def test_without_a_file_nothing_of_files_is_loaded(self) -> None:
        code = (
            "import sys\n"
            "from nats_streaming.server import app\n"
            "from nats_streaming.server.settings.flags import read_command_line\n"
            "read_command_line(['-p', '4333'])\n"
            "print(*(name for name in sys.modules if 'config' in name and name.startswith('nats_streaming.')))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [
            "nats_streaming.nats.config", "nats_streaming.nats.config.quoting", "nats_streaming.nats.private_config",
        ]  # fmt: skip


class TestNatsPart:
    def test_the_text_is_what_nats_server_needs_and_no_more(self) -> None:
        got = options("# c\nmax_payload: 1MB\n\nhttp: 8222\nV: 3\nstreaming { cid: x }\naccounts {\n A {}\n}").nats
        assert got.config_text == "max_payload: 1048576\naccounts: {\n  A: {\n  }\n}\n"
        assert got.config_places == ("f.conf:2:1", "f.conf:7:1", "f.conf:8:2", "f.conf:8:2", "f.conf:7:1")
        assert got.http_port == 8222

    def test_only_flags_that_were_given_become_arguments(self) -> None:
        told = embedded_options(options("port: 4333, host: h, debug: true, server_name: n"))
        assert (told.port, told.host, told.name, told.debug, told.arguments) == (None, None, None, False, ())
        told = embedded_options(options("debug: true", "-p", "1", "-a", "h", "-n", "m", "-D=false", "-js"))
        assert (told.port, told.host, told.name) == (1, "h", "m")
        assert told.arguments == ("-js=true", "-D=false")

    def test_reading_again_changes_only_that(self) -> None:
        got = options("port: 4333\nmax_payload: 1\nstreaming { cid: x }", "-user", "u")
        Path("f.conf").write_text("port: 4334\nmax_payload: 2\nstreaming { cid: y }")
        reread_nats_text(got)
        assert (got.nats.port, got.cluster_id) == (4333, "x")
        assert got.nats.config_text == 'port: 4334\nmax_payload: 2\nauthorization: {\n  user: "u"\n}\n'

    def test_reading_again_what_is_wrong_changes_nothing(self) -> None:
        got = options("max_payload: 1")
        before = got.nats.config_text
        for text in ("max_payload: [", "port: x"):
            Path("f.conf").write_text(text)
            with pytest.raises(ConfigError):
                reread_nats_text(got)
        os.remove("f.conf")
        with pytest.raises(ConfigError):
            reread_nats_text(got)
        assert got.nats.config_text == before


class TestRefusals:
    def test_what_is_to_come_is_named_with_its_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        key = streaming_config._KEYS["partitioning"]
        monkeypatch.setitem(
            streaming_config._KEYS, "partitioning", key._replace(flag=key.flag._replace(available=False))
        )
        with pytest.raises(ConfigError, match=r"^not available in this version yet: f\.conf:1:13: partitioning$"):
            options("streaming { partitioning: true }")
        assert options("streaming { partitioning: false }").partitioning is False

    def test_routes_may_find_their_cluster_in_the_file(self) -> None:
        with pytest.raises(ConfigError, match="solicited routes require cluster capabilities"):
            options("a: 1", "-routes", "nats://h:1")
        options("cluster { port: 1 }\nstreaming {}", "-routes", "nats://h:1")

    def test_a_test_needs_a_file(self) -> None:
        with pytest.raises(ConfigError, match="must specify"):
            read_command_line(["-t"])
        Path("f.conf").write_text("port: 1")
        assert read_command_line(["-t", "-c", "f.conf"]).action == TEST_CONFIG

    def test_unknown_keys_are_warned_of_once_each(self) -> None:
        got = options("some_thing: 1\nV: 1\nmax_payload: $V\nstreaming { other: 1 }")
        assert got.warnings == [
            'f.conf:4:13: unknown key "other" in streaming is ignored',
            'f.conf:1:1: unknown key "some_thing" in the file is ignored',
        ]
        assert options("some_thing: 1").warnings == ['f.conf:1:1: unknown key "some_thing" in the file is ignored']

    def test_what_this_nats_server_knows_is_handed_on(self) -> None:
        """A newer one has keys that were not there when our table was made: it is asked."""
        Path("nats-server").write_text(
            "#!/bin/sh\ngrep -q new_key $3 || echo 'nats-server: x:1:1: unknown field' >&2\n"
        )
        Path("nats-server").chmod(0o755)
        got = options("new_key { a: 1 }\nother_key: 1", "-nats_server_binary", "./nats-server")
        assert got.nats.config_text == "new_key: {\n  a: 1\n}\n"
        assert got.warnings == ['f.conf:2:1: unknown key "other_key" in the file is ignored']
        got = options("new_key: 1", "-nats_server_binary", "./nats-server", "-ns", "nats://h:1")
        assert len(got.warnings) == 1

    def test_one_that_is_nearly_right_is_offered(self) -> None:
        (warning,) = options("max_payloads: 1").warnings
        assert warning.endswith("; did you mean max_payload?")
