"""Whatever a configuration file says, the start has options, or one error to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nats_streaming.errors import ConfigError
from nats_streaming.nats.config.values import Place, Setting
from nats_streaming.nats.config.writer import write_config
from nats_streaming.server.settings.config_keys import (
    CHANNEL_LIMIT_KEYS,
    LISTEN,
    MONITOR_ADDRESSES,
    NATS_KEYS,
    OUR_NATS_KEYS,
    PER_CHANNEL_NAMES,
    SECTIONS,
    STREAMING_KEYS,
)
from nats_streaming.server.settings.flags import read_command_line

NOWHERE = Place("f.conf", 1, 1)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["30s", "5", "-1h", "99999999999999h", "FILE", "sql", "h:1", ":-1", "[::1]:4222", "h:" + "9" * 5000, "a.>", "$2a$x"]
)
numbers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 1, 65535, 65536])
scalars = texts | numbers | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


def names(keys: Any) -> list[str]:
    return [name for key in keys for name in key.names]


def maps(keys: list[str], values: st.SearchStrategy[Any], size: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([*keys, "unknown"]), values, max_size=size)


channels = st.dictionaries(
    st.sampled_from(["a", "a.b", "a.*", "a.>", "a..b", "", "*", ">"]), maps(names(CHANNEL_LIMIT_KEYS), scalars)
)
sections = st.one_of(
    *(st.tuples(st.sampled_from(section.names), maps(names(section.keys), scalars) | scalars) for section in SECTIONS),
    st.tuples(
        st.just("limits"), st.tuples(st.sampled_from(PER_CHANNEL_NAMES), channels).map(lambda pair: dict([pair]))
    ),
    st.tuples(st.just("cluster"), maps(["node_id", "peers"], scalars) | scalars),
)
streaming = st.tuples(maps(names(STREAMING_KEYS), scalars), st.lists(sections, max_size=2).map(dict)).map(
    lambda both: both[0] | both[1]
)
nats = maps([*names(NATS_KEYS), *names(OUR_NATS_KEYS), LISTEN, *MONITOR_ADDRESSES, "authorization", "tls"], scalars) | (
    st.fixed_dictionaries({"authorization": maps(["user", "password", "token", "users"], scalars)})
)
files = st.tuples(nats, streaming.map(lambda inside: {"streaming": inside}) | streaming).map(
    lambda both: both[0] | both[1]
)


def setting(value: Any) -> Setting:
    if isinstance(value, dict):
        value = {key: setting(inner) for key, inner in value.items()}
    return Setting(value, NOWHERE, NOWHERE)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files, st.sampled_from(["-c", "-sc"]), st.lists(st.sampled_from(["-DV", "-user=u", "-clustered=false"])))
def test_any_file_makes_options_or_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: dict[str, Any], flag: str, flags: list[str]
) -> None:
    # Of keys it does not know ours would ask the real nats-server, four hundred times.
    monkeypatch.setattr("nats_streaming.nats.ask_binary.known_fields", lambda *_: [])
    path = tmp_path / "f.conf"
    text = write_config({key: setting(value) for key, value in file.items()}).text
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        command = read_command_line([flag, str(path), *flags])
        command.options.check()
        outcome = command.action
    except ConfigError as error:
        outcome = str(error)
    assert outcome.strip()
