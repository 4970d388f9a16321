"""What servers of one cluster ID say to each other: fault-tolerance heartbeats and the channel lists of partitions.

Both travel as the data of a ControlMessage. A heartbeat's data is a time as Go writes it in binary:

    version(1) seconds(8) nanoseconds(4) zone(2) [zone seconds(1), version 2]      big-endian

Seconds count from the beginning of year 1; the zone is minutes east of UTC, -1 for UTC itself, and does not
change which instant is meant. A channel list's data is a row of names:

    size(2, little-endian) name(size)

Source: operations specification, sections 5 and 7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError, quoted
from nats_streaming.protocol.control_messages import ControlMessage, decode, encode

FT_HEARTBEAT: Final = 3
CHANNEL_LIST: Final = 4

_TIME = struct.Struct(">BqIh")
_SECONDS_TO_1970: Final = 62_135_596_800
_UTC_ZONE: Final = -1
_TIME_SIZES: Final = {1: _TIME.size, 2: _TIME.size + 1}
_SIZE = struct.Struct("<H")


class Heartbeat(NamedTuple):
    """An active server's word that it is active.

    Attributes:
        server_id: who says so.
        activated_ns: since when, wall clock; None if that cannot be read.
    """

    server_id: bytes
    activated_ns: int | None


class ChannelList(NamedTuple):
    """The channels of a partition, or a part of them; an answer names none, or one that both servers have."""

    server_id: bytes
    names: list[bytes]


def encode_heartbeat(server_id: bytes, activated_ns: int) -> bytes:
    """A heartbeat; the arguments are the attributes of `Heartbeat`."""
    return encode(ControlMessage(FT_HEARTBEAT, server_id, encode_time(activated_ns)))


def decode_heartbeat(payload: bytes) -> Heartbeat | None:
    """None when it is none."""
    message = decode(ControlMessage, payload)
    if message is None or message.kind != FT_HEARTBEAT:
        return None
    return Heartbeat(message.server_id, decode_time(message.data))


def encode_time(wall_ns: int) -> bytes:
    """A time as Go writes it.

    Args:
        wall_ns: nanoseconds since 1970.
    """
    seconds, nanoseconds = divmod(wall_ns, NS_PER_SECOND)
    return _TIME.pack(1, seconds + _SECONDS_TO_1970, nanoseconds, _UTC_ZONE)


def decode_time(data: bytes) -> int | None:
    """Nanoseconds since 1970, None if `data` is no time."""
    if not data or len(data) != _TIME_SIZES.get(data[0]):
        return None
    _, seconds, nanoseconds, _ = _TIME.unpack_from(data)
    if nanoseconds >= NS_PER_SECOND:
        return None
    result: int = (seconds - _SECONDS_TO_1970) * NS_PER_SECOND + nanoseconds
    return result


def encode_channel_lists(server_id: bytes, names: Iterable[bytes], payload_max: int) -> list[bytes]:
    """The names in as many messages as it takes.

    Args:
        server_id: ours.
        names: channels and patterns.
        payload_max: bytes that NATS takes in one message.

    Raises:
        ConfigError: a name does not fit into a message at all.
    """
    overhead = len(encode(ControlMessage(CHANNEL_LIST, server_id, bytes(payload_max)))) - payload_max
    room = payload_max - overhead
    lists = [bytearray()]
    for name in names:
        if _SIZE.size + len(name) > room or len(name) > 0xFFFF:
            raise ConfigError(
                f"message payload too small to send channels list (channel {quoted(name)} does not fit)",
                option="channels",
            )
        if len(lists[-1]) + _SIZE.size + len(name) > room:
            lists.append(bytearray())
        lists[-1] += _SIZE.pack(len(name)) + name
    return [encode(ControlMessage(CHANNEL_LIST, server_id, bytes(data))) for data in lists]


def decode_channel_list(payload: bytes) -> ChannelList | None:
    """None when it is none, or is cut short."""
    message = decode(ControlMessage, payload)
    if message is None or message.kind != CHANNEL_LIST:
        return None
    names = []
    data, position = message.data, 0
    while position < len(data):
        if position + _SIZE.size > len(data):
            return None
        (size,) = _SIZE.unpack_from(data, position)
        position += _SIZE.size
        if position + size > len(data):
            return None
        names.append(data[position : position + size])
        position += size
    return ChannelList(message.server_id, names)


def encode_answer(server_id: bytes, conflict: bytes) -> bytes:
    """The answer to a channel list: the first name that is ours too, b"" if none is."""
    return encode(ControlMessage(CHANNEL_LIST, server_id, conflict))


def decode_answer(payload: bytes) -> tuple[bytes, bytes] | None:
    """Who answers, and the name in conflict, b"" for none; None when it is no answer."""
    message = decode(ControlMessage, payload)
    if message is None or message.kind != CHANNEL_LIST:
        return None
    return message.server_id, message.data
