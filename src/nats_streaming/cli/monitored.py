"""What the commands that read a monitoring port have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nats_streaming.cli.output import count_text, escaped, print_table
from nats_streaming.cli.parameters import MonitoringOptions

if TYPE_CHECKING:
    from rich.console import Console

    from nats_streaming.toolbox.monitoring import Channel, MonitoringReader, Subscription


def reader_of(options: MonitoringOptions) -> MonitoringReader:
    """
    Raises:
        ConfigError: the URL cannot be used.
    """
    from nats_streaming.toolbox.monitoring import MonitoringReader

    return MonitoringReader(options.monitor, timeout_s=options.monitor_timeout, ca_file=options.monitor_ca)


def print_subscriptions(
    to: Console, subscriptions: Sequence[tuple[Channel | str, Subscription]], *, with_channel: bool
) -> None:
    """A table of subscriptions.

    Args:
        to: where it is printed.
        subscriptions: each with its channel; where only the name is known, how far it is behind is not.
        with_channel: whether they are of several channels.
    """
    columns = ["kind", "name", "client", ">last sent", ">pending", ">limit", ">ack wait", ">behind", "state"]
    rows = []
    for channel, each in subscriptions:
        behind = ""
        if not isinstance(channel, str):
            behind = count_text(max(channel.last - max(each.last_sent, channel.first - 1), 0))
        rows.append(
            [
                *([escaped(channel if isinstance(channel, str) else channel.name)] if with_channel else []),
                each.kind,
                escaped(each.name),
                escaped(each.client_id),
                str(each.last_sent),
                count_text(each.pending),
                count_text(each.max_in_flight),
                f"{each.ack_wait_s} s",
                behind,
                "[red]stalled[/]" if each.stalled else "",
            ]
        )
    if with_channel:
        columns.insert(0, "channel")
    print_table(to, "Subscriptions", columns, rows)
