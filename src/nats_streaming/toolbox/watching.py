"""What happens on a server between two looks at its monitoring port: rates, lags, stalls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.toolbox.monitoring import Channel, MonitoringReader, channel_of, time_ns_of, whole_of


@dataclass(slots=True, frozen=True)
class Look:
    """What a server shows at one moment.

    Attributes:
        now_ns: by its own clock, so that rates do not depend on how long an answer takes.
        server: serverz.
        channels: by name.
    """

    now_ns: int
    server: dict[str, Any]
    channels: dict[str, Channel]


@dataclass(slots=True, frozen=True)
class ChannelActivity:
    """One channel between two looks.

    Attributes:
        in_per_s: messages stored a second.
        out_per_s: messages sent for the first time a second, over all subscriptions.
        pending: sent and not acked, over all subscriptions.
        behind: messages that the slowest subscription has not been sent yet, 0 without subscriptions.
        stalled: subscriptions at their limit.
        offline: durables that nobody listens to.
    """

    channel: Channel
    in_per_s: float
    out_per_s: float
    pending: int
    behind: int
    stalled: int
    offline: int


@dataclass(slots=True, frozen=True)
class Activity:
    """A server between two looks; rates are 0 when it was restarted in between.

    Attributes:
        seconds: between the looks.
        in_per_s, out_per_s: messages a second, redeliveries counted.
        in_bytes_per_s, out_bytes_per_s: the same in bytes.
        channels: busiest first, then by name.
        restarted: it is another server, or the same started anew.
    """

    seconds: float
    server: dict[str, Any]
    in_per_s: float
    out_per_s: float
    in_bytes_per_s: float
    out_bytes_per_s: float
    channels: list[ChannelActivity] = field(default_factory=list)
    restarted: bool = False


def look(reader: MonitoringReader, names: tuple[str, ...] = ()) -> Look:
    """Ask the server.

    Args:
        reader: of its monitoring port.
        names: only these channels; all if none is named.

    Raises:
        MonitoringError: it does not answer as it should; MonitoringNotFoundError for a channel that is not there.
    """
    server = reader.server()
    documents = (reader.channel_document(name) for name in names) if names else reader.channel_documents()
    channels = {channel.name: channel for channel in map(channel_of, documents)}
    return Look(time_ns_of(server, "now"), server, channels)


def compare(before: Look, now: Look) -> Activity:
    """What happened between two looks."""
    seconds = (now.now_ns - before.now_ns) / NS_PER_SECOND
    restarted = any(before.server.get(member) != now.server.get(member) for member in ("server_id", "start_time"))

    def rate(change: int) -> float:
        return max(change, 0) / seconds if seconds > 0 and not restarted else 0.0

    def server_rate(member: str) -> float:
        return rate(whole_of(now.server, member) - whole_of(before.server, member))

    rows = []
    for name, channel in now.channels.items():
        earlier = before.channels.get(name)
        rows.append(
            ChannelActivity(
                channel,
                rate(channel.last - (earlier.last if earlier is not None else 0)),
                rate(_sent_between(earlier, channel)),
                sum(each.pending for each in channel.subscriptions),
                behind(channel),
                sum(each.stalled for each in channel.subscriptions),
                sum(each.is_offline for each in channel.subscriptions),
            )
        )
    rows.sort(key=lambda row: (-row.in_per_s - row.out_per_s, row.channel.name))
    return Activity(
        seconds,
        now.server,
        server_rate("in_msgs"),
        server_rate("out_msgs"),
        server_rate("in_bytes"),
        server_rate("out_bytes"),
        rows,
        restarted,
    )


def behind(channel: Channel) -> int:
    """How far the slowest subscription, or queue group, is behind the end of its channel."""
    reached: dict[str, int] = {}
    for each in channel.subscriptions:
        who = f"queue {each.queue_name}" if each.queue_name else f"inbox {each.inbox} {each.durable_name}"
        reached[who] = max(reached.get(who, 0), each.last_sent)
    slowest = min(reached.values(), default=channel.last)
    return max(channel.last - max(slowest, channel.first - 1), 0)


def _sent_between(before: Channel | None, now: Channel) -> int:
    """Messages that subscriptions known at both looks were sent; a queue group's members share one sequence."""
    if before is None:
        return 0
    earlier = {each.inbox: each.last_sent for each in before.subscriptions}
    groups: dict[str, tuple[int, int]] = {}
    sent = 0
    for each in now.subscriptions:
        if each.inbox not in earlier:
            continue
        if each.queue_name:
            old, new = groups.get(each.queue_name, (0, 0))
            groups[each.queue_name] = (max(old, earlier[each.inbox]), max(new, each.last_sent))
        else:
            sent += max(each.last_sent - earlier[each.inbox], 0)
    return sent + sum(max(new - old, 0) for old, new in groups.values())
