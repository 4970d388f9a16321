"""The streaming pages as the original writes them: snapshots to JSON text, step by step.

Field names, their order and what is left out when empty are compared and parsed by other programs.

Source: operations specification, sections 4.3 to 4.6.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence

from nats_streaming.clock import Clock
from nats_streaming.constants import COMPATIBLE_VERSION
from nats_streaming.monitor.go_text import INDENT, json_bool, json_object, json_string, rfc3339_text, uptime_text
from nats_streaming.monitor.output import SUM_STEP, Output, in_steps
from nats_streaming.monitor.query import Query
from nats_streaming.monitor.snapshot import Handle, LimitsSnapshot, Source, SubscriptionSnapshot, Totals

PYTHON_TEXT = "python" + ".".join(map(str, sys.version_info[:3]))
"""In place of the Go version, under the key `go` that programs expect."""

Fields = list[tuple[str, str]]


class PageError(Exception):
    """A page cannot be shown.

    Attributes:
        status: of HTTP.
        text: for the body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


async def serverz(source: Source, _query: Query, clock: Clock, out: Output) -> None:
    """The server: identity, counts, totals.

    Raises:
        PageError: file descriptors cannot be counted.
    """
    channels = source.channels()
    totals = await sum_totals(source, channels)
    server = source.server()
    now_ns = clock.wall_ns()
    fields = [
        ("cluster_id", json_string(server.cluster_id)),
        ("server_id", json_string(server.server_id)),
        ("version", json_string(COMPATIBLE_VERSION)),
        ("go", json_string(PYTHON_TEXT)),
        ("state", json_string(server.state)),
    ]
    fields += [(key, json_string(text)) for key, text in (("role", server.role), ("node_id", server.node_id)) if text]
    fields += [
        ("now", json_string(rfc3339_text(now_ns))),
        ("start_time", json_string(rfc3339_text(server.start_ns))),
        ("uptime", json_string(uptime_text(max(now_ns - server.start_ns, 0)))),
        ("clients", str(server.clients)),
        ("subscriptions", str(totals.subscriptions)),
        ("channels", str(len(channels))),
        ("total_msgs", str(totals.messages)),
        ("total_bytes", str(totals.bytes)),
        ("in_msgs", str(server.in_messages)),
        ("in_bytes", str(server.in_bytes)),
        ("out_msgs", str(server.out_messages)),
        ("out_bytes", str(server.out_bytes)),
    ]
    fields += [(key, str(count)) for key, count in zip(("open_fds", "max_fds"), descriptors(), strict=True) if count]
    out.put(json_object(fields))


async def sum_totals(source: Source, channels: Sequence[Handle]) -> Totals:
    """Totals over any number of channels; each step sees the numbers of its own moment."""
    messages = size = subscriptions = 0
    async for some in in_steps(channels, SUM_STEP):
        totals = source.totals(some)
        messages += totals.messages
        size += totals.bytes
        subscriptions += totals.subscriptions
    return Totals(messages, size, subscriptions)


def descriptors() -> tuple[int, int]:
    """Open file descriptors of this process and how many it may open; zeros where there is no /proc.

    Raises:
        PageError: they cannot be counted.
    """
    if not os.path.isdir("/proc/self/fd"):
        return 0, 0
    import resource

    try:
        count = len(os.listdir("/proc/self/fd"))
    except OSError as error:
        raise PageError(500, f"Error getting file descriptors len: {error}") from error
    return count, resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def storez(source: Source, _query: Query, clock: Clock, out: Output) -> None:
    """The store, its limits and totals."""
    store = source.store()
    totals = await sum_totals(source, source.channels())
    limits = [("max_channels", str(store.max_channels)), *_limits(store.limits)]
    if store.channels:
        inner = INDENT * 2
        per_channel = [
            (json_string(name)[1:-1], json_object(_limits(store.channels[name]), inner + INDENT))
            for name in sorted(store.channels)
        ]
        limits.append(("channels", json_object(per_channel, inner)))
    fields = [
        *_identity(source, clock),
        ("type", json_string(store.type)),
        ("limits", json_object(limits, INDENT)),
        ("total_msgs", str(totals.messages)),
        ("total_bytes", str(totals.bytes)),
    ]
    out.put(json_object(fields))


def _limits(limits: LimitsSnapshot) -> Fields:
    return [
        ("max_msgs", str(limits.max_messages)),
        ("max_bytes", str(limits.max_bytes)),
        ("max_age", str(limits.max_age_ns)),
        ("max_subscriptions", str(limits.max_subscriptions)),
        ("max_inactivity", str(limits.max_inactivity_ns)),
    ]


async def clientsz(source: Source, query: Query, clock: Clock, out: Output) -> None:
    """One client, or a page of all.

    Raises:
        PageError: there is no client with that ID.
    """
    if query.client:
        client = source.client(query.client)
        if client is None:
            raise PageError(404, f"Client {_plain(query.client)} not found")
        await _put_client(out, source, client, "", subscriptions=query.subscriptions)
        return

    async def put(client: Handle) -> None:
        await _put_client(out, source, client, INDENT * 2, subscriptions=query.subscriptions)

    identity = _identity(source, clock)
    await _put_page(out, query, identity, "clients", source.clients(), put, when_empty=f',\n{INDENT}"clients": []\n}}')


async def channelsz(source: Source, query: Query, clock: Clock, out: Output) -> None:
    """One channel, or a page of all: names, or with `subs=1` everything.

    Raises:
        PageError: there is no channel with that name.
    """
    if query.channel:
        channel = source.channel(query.channel)
        if channel is None:
            raise PageError(404, f"Channel {_plain(query.channel)} not found")
        await _put_channel(out, source, channel, "", subscriptions=query.subscriptions)
        return

    async def put(channel: Handle) -> None:
        if query.subscriptions:
            await _put_channel(out, source, channel, INDENT * 2, subscriptions=True)
        else:
            out.put(json_string(source.channel_name(channel)))
            await out.spend()

    key = "channels" if query.subscriptions else "names"
    await _put_page(out, query, _identity(source, clock), key, source.channels(), put, when_empty="\n}")


async def _put_page(
    out: Output,
    query: Query,
    identity: Fields,
    key: str,
    entries: Sequence[Handle],
    put: Callable[[Handle], Awaitable[None]],
    *,
    when_empty: str,
) -> None:
    """The part of a list that is asked for.

    Args:
        identity: the first fields.
        key: of the list.
        entries: all of them.
        put: writes one.
        when_empty: what ends the page if it shows none.
    """
    page = entries[query.offset : query.offset + query.limit]
    fields = [
        *identity,
        ("offset", str(query.offset)),
        ("limit", str(query.limit)),
        ("count", str(len(page))),
        ("total", str(len(entries))),
    ]
    out.put(_open_object(fields, ""))
    if not page:
        out.put(when_empty)
        return
    opening = f',\n{INDENT}"{key}": [\n'
    for entry in page:
        out.put(opening + INDENT * 2)
        opening = ",\n"
        await put(entry)
    out.put(f"\n{INDENT}]\n}}")


def _identity(source: Source, clock: Clock) -> Fields:
    server = source.server()
    return [
        ("cluster_id", json_string(server.cluster_id)),
        ("server_id", json_string(server.server_id)),
        ("now", json_string(rfc3339_text(clock.wall_ns()))),
    ]


def _open_object(fields: Fields, indent: str) -> str:
    """An object without its end: more fields may follow."""
    return json_object(fields, indent)[: -2 - len(indent)]


async def _put_client(out: Output, source: Source, client: Handle, indent: str, *, subscriptions: bool) -> None:
    snapshot = source.client_snapshot(client)
    fields = [
        ("id", json_string(snapshot.id)),
        ("hb_inbox", json_string(snapshot.heartbeat_inbox)),
        ("subs_count", str(snapshot.subscription_count)),
    ]
    out.put(_open_object(fields, indent))
    by_channel: dict[bytes, list[Handle]] = {}
    if subscriptions:
        async for some in in_steps(source.client_subscriptions(client), SUM_STEP):
            for handle in some:
                by_channel.setdefault(source.subscription_channel(handle), []).append(handle)
    opening = f',\n{indent}{INDENT}"subscriptions": {{\n'
    for name in sorted(by_channel):
        out.put(f"{opening}{indent}{INDENT * 2}{json_string(name)}: ")
        opening = ",\n"
        await _put_subscriptions(out, source, by_channel[name], indent + INDENT * 2)
    if by_channel:
        out.put(f"\n{indent}{INDENT}}}")
    out.put(f"\n{indent}}}")
    await out.spend()


async def _put_channel(out: Output, source: Source, channel: Handle, indent: str, *, subscriptions: bool) -> None:
    handles = source.channel_subscriptions(channel) if subscriptions else []
    snapshot = source.channel_snapshot(channel)
    fields = [
        ("name", json_string(snapshot.name)),
        ("msgs", str(snapshot.messages)),
        ("bytes", str(snapshot.bytes)),
        ("first_seq", str(snapshot.first)),
        ("last_seq", str(snapshot.last)),
        ("subs_count", str(len(handles) if subscriptions else snapshot.subscription_count)),
    ]
    out.put(_open_object(fields, indent))
    if handles:
        out.put(f',\n{indent}{INDENT}"subscriptions": ')
        await _put_subscriptions(out, source, handles, indent + INDENT)
    out.put(f"\n{indent}}}")
    await out.spend()


async def _put_subscriptions(out: Output, source: Source, handles: Sequence[Handle], indent: str) -> None:
    """An array of subscriptions, which is not empty."""
    opening = "[\n"
    for handle in handles:
        out.put(f"{opening}{indent}{INDENT}")
        opening = ",\n"
        out.put(_subscription(source.subscription_snapshot(handle), indent + INDENT))
        await out.spend()
    out.put(f"\n{indent}]")


def _subscription(subscription: SubscriptionSnapshot, indent: str) -> str:
    fields = [
        ("client_id", json_string(subscription.client_id)),
        ("inbox", json_string(subscription.inbox)),
        ("ack_inbox", json_string(subscription.ack_inbox)),
    ]
    if subscription.durable_name:
        fields.append(("durable_name", json_string(subscription.durable_name)))
    if subscription.queue_name:
        fields.append(("queue_name", json_string(subscription.queue_name)))
    fields += [
        ("is_durable", json_bool(subscription.is_durable)),
        ("is_offline", json_bool(subscription.is_offline)),
        ("max_inflight", str(subscription.max_in_flight)),
        ("ack_wait", str(subscription.ack_wait_s)),
        ("last_sent", str(subscription.last_sent)),
        ("pending_count", str(subscription.in_flight)),
        ("is_stalled", json_bool(subscription.is_stalled)),
    ]
    return json_object(fields, indent)


def _plain(name: bytes) -> str:
    """A name from the request, for an error's text, bytes as they came."""
    return name.decode("utf-8", "surrogateescape")
