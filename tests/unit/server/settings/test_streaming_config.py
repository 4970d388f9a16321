"""Every key of the streaming part: names, kinds, what it sets, and the original's errors with a place and a remedy."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.parser import parse_config
from nats_streaming.server.settings.config_keys import LIMITS, PER_CHANNEL_NAMES, SECTIONS, STREAMING_KEYS, Key, Section
from nats_streaming.server.settings.config_values import Findings
from nats_streaming.server.settings.flag_table import BOOL, CHILD, DURATION, FLAGS, INT, SIZE, STRING
from nats_streaming.server.settings.flag_table import SECTIONS as FLAG_SECTIONS
from nats_streaming.server.settings.options import Options
from nats_streaming.server.settings.streaming_config import apply_streaming, find_streaming
from nats_streaming.stores.limits import UNLIMITED, ChannelLimits

OPENED = Section(("",), "streaming", STREAMING_KEYS)
EVERY_NAME = [(section, key, name) for section in (OPENED, *SECTIONS) for key in section.keys for name in key.names]

# A value of each kind as written, and as set.
SAMPLES: dict[str, tuple[str, Any]] = {
    STRING: ('"memory"', "memory"),
    BOOL: ("yes", True),
    INT: ("7", 7),
    SIZE: ("2KB", 2048),
    DURATION: ('"1m30s"', 90_000_000_000),
}
OTHER_KINDS = {"7": "int64", "1.5": "float64", '"x"': "string", "true": "bool", "[]": "slice", "{}": "map",
               "2026-01-31T00:00:00Z": "struct"}  # fmt: skip
WANTED = {STRING: "string", DURATION: "string", BOOL: "bool", INT: "int64", SIZE: "int64"}

OURS = (
    "direct_clients handshake_first io_batch_size io_sleep_time log_format metrics_channels metrics_subs"
    " metrics_subscriptions nats_server_binary strict"
)

# Every name of the original's keys, by section.
ORIGINAL = {
    "": "id cid cluster_id discover_prefix st store store_type storetype dir datastore sd stan_debug sv stan_trace"
    " ns nats_server nats_server_url credentials username user password pass token nkey_seed_file secure hbi"
    " hb_interval server_to_client_hb_interval hbt hb_timeout server_to_client_hb_timeout hbf hb_fail_count"
    " server_to_client_hb_fail_count ft_group ft_group_name partitioning syslog_name encrypt encryption_cipher"
    " encryption_key replace_durable replace_durables replace_duplicate_durable replace_duplicate_durables",
    "tls": "client_cert client_key client_ca client_cacert server_name server_hostname skip_verify insecure",
    "limits": "mc max_channels maxchannels msu max_subs max_subscriptions maxsubscriptions mm max_msgs maxmsgs"
    " max_count maxcount mb max_bytes maxbytes ma max_age maxage mi max_inactivity maxinactivity",
    "file": "compact compact_enabled compact_frag compact_fragmentation compact_interval compact_min_size buffer_size"
    " crc do_crc crc_poly sync do_sync sync_on_flush slice_max_msgs slice_max_count slice_msgs slice_count"
    " slice_max_bytes slice_max_size slice_bytes slice_size slice_max_age slice_age slice_max_time slice_time_limit"
    " slice_archive_script slice_archive slice_script file_descriptors_limit fds_limit parallel_recovery"
    " file_read_buffer_size read_buffer_size file_auto_sync auto_sync",
    "sql": "driver source no_caching max_open_conns max_conns bulk_insert_limit",
}


def read(text: str, *, is_section: bool = True) -> tuple[Options, Findings]:
    options, findings = Options(), Findings()
    apply_streaming(parse_config(text, "f.conf"), options, findings, is_section=is_section)
    return options, findings


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def within(section: Section, text: str) -> str:
    return f"{section.names[0]} {{ {text} }}" if section.names[0] else text


def test_the_tables_have_the_original_s_names() -> None:
    for section in (OPENED, *SECTIONS):
        names = [name for key in section.keys for name in key.names]
        ours = [name for name in names if name in OURS.split()]
        assert sorted(names) == sorted([*ORIGINAL[section.names[0]].split(), *ours])


@pytest.mark.parametrize(("section", "key", "name"), EVERY_NAME)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_a_key_sets_what_its_flag_sets(section: Section, key: Key, name: str, case: Any) -> None:
    written, value = SAMPLES[key.flag.kind]
    options, findings = read(within(section, f"{case(name)}: {written}"))
    if not key.flag.available:
        assert findings.unavailable
        return
    assert set(key.flag.targets) == findings.targets
    for target in key.flag.targets:
        assert attrgetter(target)(options) == value


@pytest.mark.parametrize(("section", "key", "name"), [entry for entry in EVERY_NAME if entry[2] == entry[1].names[0]])
def test_a_value_of_another_kind_is_refused(section: Section, key: Key, name: str) -> None:
    wanted = WANTED[key.flag.kind]
    for written, got in OTHER_KINDS.items():
        if got != wanted:
            told = refusal(within(section, f"{name}: {written}"))
            assert f'parameter "{name}" value is expected to be {wanted}, got {got} (write ' in told
            assert told.startswith("f.conf:1:")


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_what_must_be_a_map(section: Section) -> None:
    for name in section.names:
        assert refusal(f"{name}: 5").startswith(
            f"f.conf:1:{len(name) + 3}: expected {section.title} to be a map/struct, got 5"
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cluster: yes", "expected cluster to be a map/struct, got true"),
        ('limits { channels: "x" }', 'expected per channel limits to be a map/struct, got "x"'),
        ("limits { channels { foo: 5 } }", "expected channel limits to be a map/struct, got 5"),
        ("store: xyz", "unknown store type: xyz"),
        ("store: 5", 'parameter "store" value is expected to be string, got int64'),
        ("hbi: 30m", 'parameter "hbi" value is expected to be string, got int64'),
        ('hbi: "5"', 'time: missing unit in duration "5"'),
        ('hbi: "-1.5"', 'time: missing unit in duration "-1.5"'),
        ('hbi: ""', 'time: invalid duration ""'),
        ('limits { ma: "foo" }', 'time: invalid duration "foo"'),
        ('limits { ma: "5x" }', 'time: unknown unit "x" in duration "5x"'),
        ('limits { ma: "1h5" }', 'time: missing unit in duration "1h5"'),
        ('limits { ma: "99999999999999999999h" }', 'time: invalid duration "99999999999999999999h"'),
        ('limits { channels { foo { ma: "5" } } }', 'time: missing unit in duration "5"'),
    ],
)
def test_other_wrong_values(text: str, told: str) -> None:
    assert told in refusal(text)
    assert refusal(text).startswith("f.conf:1:")


@pytest.mark.parametrize(
    "name", ["foo.*bar", "foo.>.>", "foo..bar", "foo/bar", ".foo", "foo.", "", ">.foo", "f*", "foo.>bar"]
)
def test_bad_channel_names(name: str) -> None:
    assert refusal(f"limits {{ channels {{ '{name}' {{}} }} }}").startswith(
        f'f.conf:1:21: invalid channel name "{name}"'
    )


class TestLimits:
    @pytest.mark.store_spec(31)
    def test_a_zero_of_a_channel_is_unlimited_and_what_is_absent_inherits(self) -> None:
        text = 'limits { mm: 0, channels { "a.*" { mm: 0, mb: 5 }, b { ma: "0", mi: "0s", msu: 0, mb: 0 }, c {} } }'
        options, _ = read(text)
        assert options.limits.max_messages == 0
        assert options.limits.per_channel == {
            b"a.*": ChannelLimits(max_messages=UNLIMITED, max_bytes=5),
            b"b": ChannelLimits(
                max_age_ns=UNLIMITED, max_inactivity_ns=UNLIMITED, max_subscriptions=UNLIMITED, max_bytes=UNLIMITED
            ),
            b"c": ChannelLimits(),
        }

    def test_channel_names_keep_their_case(self) -> None:
        options, _ = read("LIMITS { Channels { Foo.Bar { MM: 5 } } }")
        assert options.limits.per_channel == {b"Foo.Bar": ChannelLimits(max_messages=5)}

    @pytest.mark.parametrize("name", PER_CHANNEL_NAMES)
    @pytest.mark.parametrize("limits", LIMITS.names)
    def test_all_names_of_the_maps(self, limits: str, name: str) -> None:
        options, _ = read(f"{limits} {{ {name} {{ foo {{ mm: 5 }} }} }}")
        assert options.limits.per_channel == {b"foo": ChannelLimits(max_messages=5)}

    def test_max_channels_is_no_limit_of_a_channel(self) -> None:
        _, findings = read("limits { channels { foo { max_channels: 5 } } }")
        assert findings.warnings == ['f.conf:1:27: unknown key "max_channels" in the limits of foo is ignored']


class TestSelection:
    def test_the_section_is_all_that_counts_in_any_case(self) -> None:
        settings = parse_config("cid: outside\nSTREAMING { cid: inside }", "f")
        inside, is_section = find_streaming(settings)
        assert (list(inside), is_section) == (["cid"], True)

    def test_without_one_it_is_the_whole_file(self) -> None:
        settings = parse_config("cid: outside", "f")
        assert find_streaming(settings) == (settings, False)

    def test_it_must_be_a_map(self) -> None:
        with pytest.raises(ConfigError, match=r"^f:1:12: expected streaming section to be a map/struct, got 5"):
            find_streaming(parse_config("streaming: 5", "f"))

    def test_tls_outside_may_be_nats_s(self) -> None:
        text = "tls { cert_file: a, client_ca: b }"
        options, findings = read(text, is_section=False)
        assert (options.link.client_ca, findings.warnings) == ("b", [])
        assert len(read(text)[1].warnings) == 1


def test_the_last_of_two_names_holds() -> None:
    assert read("cid: a, cluster_id: b, id: c, cid: d")[0].cluster_id == "d"


def test_unknown_keys_are_noted_and_nothing_more() -> None:
    options, findings = read("max_chanels: 3\nlimits { max_chanels: 3 }\nV: 5\nhbf: $V")
    assert findings.warnings == [
        'f.conf:1:1: unknown key "max_chanels" in streaming is ignored',
        'f.conf:2:10: unknown key "max_chanels" in store limits is ignored; did you mean max_channels?',
    ]
    assert options.heartbeat_fail_count == 5


def test_asking_for_clustered_mode_is_noted_with_its_place() -> None:
    assert str(read("\n cluster {}")[1].cluster) == "f.conf:2:2"
    assert read("cid: x")[1].cluster is None


def test_every_flag_of_streaming_but_one_has_a_key() -> None:
    """A new option must be thought of in both places."""
    keys = {key.flag for section in (OPENED, *SECTIONS) for key in section.keys}
    without = {
        flag.names[0]
        for title, flags in FLAG_SECTIONS
        for flag in flags
        if title.startswith("Streaming Server")
        and "Clustering" not in title
        and flag not in keys
        and flag.targets not in ((), (CHILD,))
    }
    assert without == {"SDV", "file_truncate_bad_eof"}
    assert FLAGS["sc"] not in keys
