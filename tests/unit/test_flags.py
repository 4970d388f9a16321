"""The command line, by the rules of the original. Source: operations specification, section 1."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError
from nats_streaming.server.settings.flag_parser import convert, convert_size, parse_arguments
from nats_streaming.server.settings.flag_table import BOOL, CHILD, CLUSTERING, DURATION, FLAGS, SECTIONS, SIZE, Flag
from nats_streaming.server.settings.flags import RUN, SHOW_HELP, SHOW_VERSION, CommandLine, read_command_line
from nats_streaming.server.settings.help_text import help_text
from nats_streaming.server.settings.options import Options

ALL_FLAGS = [flag for _, flags in SECTIONS for flag in flags]

# Every flag of the original, from its own listing: streaming, then NATS.
ORIGINAL = """
cid cluster_id st store dir mc max_channels msu max_subs mm max_msgs mb max_bytes ma max_age mi max_inactivity
ns nats_server sc stan_config hbi hb_interval hbt hb_timeout hbf hb_fail_count ft_group encrypt encryption_cipher
encryption_key replace_durable clustered cluster_node_id cluster_bootstrap cluster_peers cluster_log_path
cluster_log_cache_size cluster_log_snapshots cluster_trailing_logs cluster_sync cluster_raft_logging
cluster_allow_add_remove_node cluster_proceed_on_restore_failure file_compact_enabled file_compact_frag
file_compact_interval file_compact_min_size file_buffer_size file_read_buffer_size file_crc file_crc_poly file_sync
file_slice_max_msgs file_slice_max_bytes file_slice_max_age file_slice_archive_script file_fds_limit
file_parallel_recovery file_truncate_bad_eof file_auto_sync sql_driver sql_source sql_no_caching sql_max_open_conns
sql_bulk_insert_limit io_batch_size io_sleep_time secure tls_client_cert tls_client_key tls_client_cacert SD stan_debug
SV stan_trace SDV syslog_name
a addr net p port n name server_name client_advertise D debug V trace DV VV DVV T logtime logtime_utc user pass auth
m http_port ms https_port c config t sl signal P pid ports_file_dir l log log_size_limit s syslog r remote_syslog
v version h help help_tls profile routes cluster cluster_listen cluster_advertise no_advertise connect_retries
cluster_name tls tlsverify tlscert tlskey tlscacert max_traced_msg_len js jetstream sd store_dir
"""


def first_name(flag: Flag) -> str:
    return flag.names[0]


def options(*arguments: str) -> Options:
    command = read_command_line(list(arguments))
    assert command.action == RUN
    return command.options


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_command_line(list(arguments))
    return str(caught.value)


def default_of(flag: Flag) -> object:
    return convert_size(flag.names[0], flag.default) if flag.kind == SIZE else convert(flag.kind, flag.default)


class TestTable:
    def test_it_has_every_flag_of_the_original_and_ours(self) -> None:
        ours = ["direct_clients", "file_strict", "log_format", "metrics_channels", "metrics_subs", "nats_server_binary"]
        assert sorted(FLAGS) == sorted([*ORIGINAL.split(), *ours, "sql_init", "sql_script"])

    def test_no_name_stands_twice(self) -> None:
        assert len(FLAGS) == sum(len(flag.names) for flag in ALL_FLAGS)

    @pytest.mark.parametrize("flag", [flag for flag in ALL_FLAGS if flag.targets not in ((), (CHILD,))], ids=first_name)
    def test_its_defaults_are_those_of_the_options(self, flag: Flag) -> None:
        for target in flag.targets:
            assert attrgetter(target)(Options()) == default_of(flag)

    @pytest.mark.parametrize("flag", ALL_FLAGS, ids=first_name)
    def test_help_shows_every_name(self, flag: Flag) -> None:
        words = help_text().replace(",", " ").replace("=", " ").split()
        for name in flag.names:
            assert f"-{name}" in words or f"--{name}" in words
        assert flag.help in help_text()

    def test_help_begins_like_the_original_s(self) -> None:
        lines = help_text().splitlines()
        assert lines[:2] == ["", "Usage: nats-streaming-server [options]"]
        assert max(map(len, lines)) <= 120


class TestValues:
    def test_without_flags_everything_is_default(self) -> None:
        assert options() == Options()

    @pytest.mark.parametrize(
        ("argument", "target", "value"),
        [
            ("-cid=c", "cluster_id", "c"),
            ("-cluster_id=a=b", "cluster_id", "a=b"),
            ("-cid=", "cluster_id", ""),
            ("-st=memory", "store_type", "MEMORY"),
            ("-store=other", "store_type", "OTHER"),
            ("-dir=d", "store_dir", "d"),
            ("-mc=0x10", "limits.max_channels", 16),
            ("-max_channels=0", "limits.max_channels", 0),
            ("-msu=1_0", "limits.max_subscriptions", 10),
            ("-mm=5", "limits.max_messages", 5),
            ("-mb=2k", "limits.max_bytes", 2000),
            ("-max_bytes=2KB", "limits.max_bytes", 2048),
            ("-ma=1h", "limits.max_age_ns", 3600 * NS_PER_SECOND),
            ("-mi=-1s", "limits.max_inactivity_ns", -NS_PER_SECOND),
            ("-ns=nats://h:1", "nats_server_url", "nats://h:1"),
            ("-hbi=0", "heartbeat_interval_ns", 0),
            ("-hbt=1ms", "heartbeat_timeout_ns", 1_000_000),
            ("-hbf=-1", "heartbeat_fail_count", -1),
            ("-io_batch_size=0", "io_batch_size", 0),
            ("-io_sleep_time=7", "io_sleep_time_us", 7),
            ("-replace_durable", "replace_durable", True),
            ("-replace_durable=0", "replace_durable", False),
            ("-SD", "debug", True),
            ("-stan_trace=T", "trace", True),
            ("-a=h", "nats.host", "h"),
            ("-net=h", "nats.host", "h"),
            ("-p=-1", "nats.port", -1),
            ("-p=0", "nats.port", 4222),
            ("-server_name=n", "nats.name", "n"),
            ("-http_port=8222", "nats.http_port", 8222),
            ("-user=u", "nats.user", "u"),
            ("-pass=p", "nats.password", "p"),
            ("-auth=t", "nats.token", "t"),
            ("-nats_server_binary=b", "nats.binary", "b"),
            ("-D", "nats.debug", True),
            ("-trace", "nats.trace", True),
            ("-logtime=false", "log.timestamps", False),
            ("-logtime_utc", "log.utc", True),
            ("-log=f", "log.file", "f"),
            ("-pid=f", "pid_file", "f"),
        ],
    )
    @pytest.mark.parametrize("dash", ["", "-"])
    def test_a_flag_sets_its_option(self, argument: str, target: str, value: object, dash: str) -> None:
        assert attrgetter(target)(options(dash + argument)) == value

    def test_a_value_may_be_the_next_word_whatever_it_looks_like(self) -> None:
        got = options("-cid", "-st", "--mc", "-1", "-D")
        assert (got.cluster_id, got.limits.max_channels, got.nats.debug) == ("-st", -1, True)

    @pytest.mark.parametrize(
        ("arguments", "child"),
        [
            (["-routes", "nats://h:1", "-cluster", "nats://h:2"], ["-routes", "nats://h:1", "-cluster", "nats://h:2"]),
            (["-js", "--store_dir=d"], ["-js=true", "-sd", "d"]),
            (["-no_advertise=f"], ["-no_advertise=false"]),
            (["-cluster_listen=a", "-cluster=b"], ["-cluster", "b"]),
            (["-connect_retries", "0x3", "-profile=1"], ["-connect_retries", "3", "-profile", "1"]),
            (["-cluster_name=-x"], ["-cluster_name", "-x"]),
        ],
    )
    def test_what_is_nats_s_own_is_handed_on(self, arguments: list[str], child: list[str]) -> None:
        assert options(*arguments).nats.child_arguments == child


class TestPrecedence:
    def test_the_last_of_several_wins_by_any_name(self) -> None:
        assert options("-mc", "1", "-max_channels", "2").limits.max_channels == 2
        assert options("-max_channels", "2", "-mc", "1").limits.max_channels == 1

    def test_mb_beats_max_bytes(self) -> None:
        assert options("-mb", "1", "-max_bytes", "2").limits.max_bytes == 1
        assert options("-max_bytes", "2", "-mb", "1", "-mb", "3").limits.max_bytes == 3

    def test_sdv_beats_sd_and_sv(self) -> None:
        for arguments in (["-SDV=false", "-SD", "-SV"], ["-SD", "-SV", "-SDV=false"]):
            got = options(*arguments)
            assert (got.debug, got.trace) == (False, False)
        got = options("-SDV", "-SD=false")
        assert (got.debug, got.trace) == (True, True)

    @pytest.mark.parametrize(
        ("arguments", "levels"),
        [
            (["-DV"], (True, True, False)),
            (["-VV"], (False, True, True)),
            (["-DVV"], (True, True, True)),
            (["-DV", "-D=false"], (True, True, False)),
            (["-D", "-V", "-DV=false"], (False, False, False)),
            (["-VV", "-DVV=false"], (False, True, True)),
        ],
    )
    def test_combined_nats_levels(self, arguments: list[str], levels: tuple[bool, bool, bool]) -> None:
        nats = options(*arguments).nats
        assert (nats.debug, nats.trace, nats.trace_verbose) == levels

    @given(st.permutations(["-mb=1", "-max_bytes=2", "-SDV=true", "-SD=false", "-SV=false", "-p=7", "-cid=x"]))
    def test_order_does_not_matter_where_the_original_fixes_it(self, arguments: list[str]) -> None:
        got = options(*arguments)
        assert (got.limits.max_bytes, got.debug, got.trace, got.nats.port) == (1, True, True, 7)


class TestActions:
    @pytest.mark.parametrize(
        "arguments", [["-v"], ["--version"], ["version"], ["VERSION"], ["-mc", "1", "Version", "x"]]
    )
    def test_version(self, arguments: list[str]) -> None:
        assert read_command_line(arguments).action == SHOW_VERSION

    @pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["help"], ["Help"], ["--", "help"]])
    def test_help(self, arguments: list[str]) -> None:
        assert read_command_line(arguments).action == SHOW_HELP

    def test_version_goes_before_help_and_before_what_would_be_refused(self) -> None:
        command = read_command_line(["-h", "-clustered", "-mb", "bad", "-nats_server_binary", "b", "-v"])
        assert command == CommandLine(SHOW_VERSION, command.options)
        assert command.options.nats.binary == "b"

    def test_a_denied_version_is_none(self) -> None:
        assert read_command_line(["-v", "-v=false"]).action == RUN

    def test_two_dashes_end_the_flags(self) -> None:
        assert read_command_line(["-mc", "1", "--"]).action == RUN
        assert refusal("--", "-mc") == 'unrecognized command: "-mc"'


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "first_line"),
        [
            (["-xxx"], "flag provided but not defined: -xxx"),
            (["--xxx=1"], "flag provided but not defined: -xxx"),
            (["-discover_prefix=x"], "flag provided but not defined: -discover_prefix"),
            (["-cid"], "flag needs an argument: -cid"),
            (["--hbi"], "flag needs an argument: -hbi"),
            (["-max_channels", "abc"], 'invalid value "abc" for flag -max_channels: parse error'),
            (["-mc="], 'invalid value "" for flag -mc: parse error'),
            (["-mc", "9223372036854775808"], 'invalid value "9223372036854775808" for flag -mc: value out of range'),
            (["-hbi", "5"], 'invalid value "5" for flag -hbi: parse error'),
            (["-clustered=maybe"], 'invalid boolean value "maybe" for -clustered: parse error'),
            (["-v="], 'invalid boolean value "" for -v: parse error'),
            (["---x"], "bad flag syntax: ---x"),
            (["-=x"], "bad flag syntax: -=x"),
            (["--=x"], "bad flag syntax: --=x"),
            (["foo", "-v"], 'unrecognized command: "foo"'),
            (["-"], 'unrecognized command: "-"'),
            (["a\nb"], 'unrecognized command: "a\\nb"'),
            (["-clustered", "true"], 'unrecognized command: "true"'),
            (["-mb", "12abc"], "mb should be a size, got '12abc'"),
            (["-max_bytes", "8EB"], "max_bytes should be a size, got '8EB' (value out of range)"),
            (["-routes", "nats://h:1"], "solicited routes require cluster capabilities, e.g. --cluster"),
        ],
    )
    def test_the_first_line_is_the_original_s(self, arguments: list[str], first_line: str) -> None:
        assert refusal(*arguments).splitlines()[0] == first_line

    def test_a_likely_name_is_offered(self) -> None:
        assert "did you mean -max_channels?" in refusal("-max_chanels", "5")

    def test_how_to_write_a_value_is_said(self) -> None:
        assert refusal("-hbi", "5").splitlines()[1] == "write a duration such as 30s, 1m30s or 500ms"
        assert "-clustered=true" in refusal("-clustered", "true")

    @pytest.mark.parametrize("flag", [flag for flag in ALL_FLAGS if not flag.available], ids=first_name)
    def test_what_is_to_come_is_refused_by_name_and_only_if_it_is_asked_for(self, flag: Flag) -> None:
        name = flag.names[-1]
        other = {BOOL: "true" if flag.default == "false" else "false", DURATION: "7s"}.get(flag.kind, "7")
        told = refusal(f"-{name}={other}")
        if flag in CLUSTERING:
            assert told.startswith("clustered mode is not available in this version: ")
            assert told.endswith(f"(-{name})")
        else:
            assert told == f"not available in this version yet: -{name}"
        assert options(f"-{name}={flag.default or ('false' if flag.kind == BOOL else '')}") == Options()

    def test_all_that_is_to_come_is_named_at_once(self) -> None:
        assert refusal("-clustered", "-cluster_sync=false", "-cluster_node_id=n").endswith(
            "(-clustered, -cluster_node_id)"
        )

    def test_the_last_one_counts_there_too(self) -> None:
        assert options("-clustered", "-clustered=false") == Options()

    def test_the_file_store_has_its_options(self) -> None:
        given = options("-st", "file", "-dir", "/d", "-file_sync=false", "-file_slice_max_bytes", "1KB", "-file_strict")
        assert (given.store_type, given.store_dir, given.file.directory) == ("FILE", "/d", "/d")
        assert (given.file.sync, given.file.slice_max_bytes, given.file.strict) == (False, 1024, True)
        given.check()

    def test_the_file_store_needs_a_directory(self) -> None:
        with pytest.raises(ConfigError, match=r"^for FILE stores, root directory must be specified$"):
            options("-st", "FILE").check()

    def test_options_of_the_file_store_do_not_matter_to_others(self) -> None:
        options("-file_compact_frag=0").check()
        with pytest.raises(ConfigError, match="compact fragmentation value must at least be 1"):
            options("-st", "FILE", "-dir", "d", "-file_compact_frag=0").check()

    def test_encryption(self) -> None:
        given = options("-encrypt", "-encryption_cipher", "chacha", "-encryption_key", "secret")
        assert (given.encryption.enabled, given.encryption.cipher, given.encryption.key) == (True, "chacha", "secret")
        assert "secret" not in repr(given)

    def test_monitoring_beside_an_external_nats(self) -> None:
        given = options("-ns", "nats://h:1", "-ms", "8222", "-tlscert", "c", "-tlskey", "k")
        assert (given.nats.https_port, given.nats.tls_cert, given.nats.tls_key) == (8222, "c", "k")


@given(st.lists(st.text(max_size=6) | st.sampled_from([f"-{name}" for name in FLAGS]), max_size=6))
def test_any_words_are_read_or_refused(arguments: list[str]) -> None:
    with suppress(ConfigError):
        given_flags, words = parse_arguments(arguments)
        assert len(given_flags) + len(words) <= len(arguments)
        read_command_line(arguments)
