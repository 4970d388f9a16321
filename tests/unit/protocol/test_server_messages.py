"""What servers say to each other: times as Go writes them, heartbeats, channel lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_streaming.errors import ConfigError
from nats_streaming.protocol.control_messages import ControlMessage, encode
from nats_streaming.protocol.server_messages import (
    CHANNEL_LIST,
    FT_HEARTBEAT,
    decode_answer,
    decode_channel_list,
    decode_heartbeat,
    decode_time,
    encode_answer,
    encode_channel_lists,
    encode_heartbeat,
    encode_time,
)

# What Go's time.Time.MarshalBinary writes, the first in UTC, the others for zones.
GO_TIMES = {
    "010000000edce5e80512345678ffff": 1_700_000_005_305_419_896,
    "010000000edce5e805123456780078": 1_700_000_005_305_419_896,
    "020000000edce5e80512345678000b14": 1_700_000_005_305_419_896,
    "010000000e7791f70000000000ffff": 0,
}


@pytest.mark.parametrize(("written", "wall_ns"), GO_TIMES.items())
def test_times_as_go_writes_them(written: str, wall_ns: int) -> None:
    assert decode_time(bytes.fromhex(written)) == wall_ns
    if written.endswith("ffff"):
        assert encode_time(wall_ns).hex() == written


@given(st.integers(min_value=-(2**62), max_value=2**63))
def test_every_time_comes_back(wall_ns: int) -> None:
    assert decode_time(encode_time(wall_ns)) == wall_ns


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x01",
        encode_time(0)[:-1],
        encode_time(0) + b"\0",
        b"\x03" + encode_time(0)[1:],
        b"\x02" + encode_time(0)[1:],
        b"\x01" + bytes(8) + b"\xff\xff\xff\xff" + bytes(2),
    ],
)
def test_what_is_no_time(broken: bytes) -> None:
    assert decode_time(broken) is None


def test_heartbeats() -> None:
    assert decode_heartbeat(encode_heartbeat(b"server", 5)) == (b"server", 5)
    assert decode_heartbeat(encode(ControlMessage(FT_HEARTBEAT, b"server", b"no time"))) == (b"server", None)
    for payload in (b"", b"garbage", encode(ControlMessage(CHANNEL_LIST, b"server", encode_time(5)))):
        assert decode_heartbeat(payload) is None


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(min_value=80, max_value=300))
def test_channel_lists_fit_and_keep_every_name(names: list[bytes], payload_max: int) -> None:
    payloads = encode_channel_lists(b"a-server", names, payload_max)
    assert payloads
    assert all(len(payload) <= payload_max for payload in payloads)
    lists = [decode_channel_list(payload) for payload in payloads]
    assert [name for part in lists if part is not None for name in part.names] == names
    assert all(part is not None and part.server_id == b"a-server" for part in lists)


def test_a_list_is_split_only_where_it_must_be() -> None:
    names = [b"foo.%d" % number for number in range(100)]
    payload_max = len(encode_channel_lists(b"id", names, 1 << 20)[0])
    assert len(encode_channel_lists(b"id", names, payload_max + 4)) == 1
    assert len(encode_channel_lists(b"id", names, payload_max - 8)) == 2


def test_a_name_that_fits_nowhere() -> None:
    with pytest.raises(ConfigError, match="message payload too small to send channels list"):
        encode_channel_lists(b"id", [b"foo", b"x" * 100], 100)


@pytest.mark.parametrize("data", [b"\x01", b"\x04\x00foo", b"\x03\x00foo\x01", b"\xff\xff"])
def test_lists_that_are_cut_short(data: bytes) -> None:
    assert decode_channel_list(encode(ControlMessage(CHANNEL_LIST, b"id", data))) is None


def test_answers() -> None:
    assert decode_answer(encode_answer(b"id", b"")) == (b"id", b"")
    assert decode_answer(encode_answer(b"id", b"foo")) == (b"id", b"foo")
    assert decode_answer(b"garbage") is None
    assert decode_answer(encode(ControlMessage(FT_HEARTBEAT, b"id"))) is None
