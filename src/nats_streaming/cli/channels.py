"""`nats-streaming channels`: what a running server has in its channels."""

from __future__ import annotations

from typing import Annotated

import typer

from nats_streaming.cli.monitored import print_subscriptions, reader_of
from nats_streaming.cli.output import console, count_text, escaped, print_json, print_table, size_text
from nats_streaming.cli.parameters import MonitoringOptions, OutputOptions


def channels(
    monitoring: MonitoringOptions,
    output: OutputOptions,
    name: Annotated[
        str, typer.Argument(metavar="[CHANNEL]", help="Show this one and its subscriptions.", show_default=False)
    ] = "",
) -> None:
    """List the channels of a server, or show one with its subscriptions."""
    from nats_streaming.toolbox.monitoring import channel_of
    from nats_streaming.toolbox.watching import behind

    reader = reader_of(monitoring)
    if name:
        document = reader.channel_document(name)
        if output.as_json:
            print_json(document)
            return
        channel = channel_of(document)
        to = console(output)
        to.print(f"[bold]{escaped(channel.name)}[/bold]  messages {count_text(channel.messages)}", end="")
        to.print(f" ({channel.first} to {channel.last})  {size_text(channel.size)}")
        print_subscriptions(to, [(channel, each) for each in channel.subscriptions], with_channel=False)
        return
    documents = list(reader.channel_documents())
    if output.as_json:
        print_json(documents)
        return
    found = [channel_of(document) for document in documents]
    print_table(
        console(output),
        f"Channels: {len(found)}",
        ("name", ">messages", ">first", ">last", ">size", ">subs", ">offline", ">pending", ">stalled", ">behind"),
        (
            (
                escaped(channel.name),
                count_text(channel.messages),
                str(channel.first),
                str(channel.last),
                size_text(channel.size),
                str(len(channel.subscriptions)),
                str(sum(each.is_offline for each in channel.subscriptions)),
                count_text(sum(each.pending for each in channel.subscriptions)),
                _alarming(sum(each.stalled for each in channel.subscriptions)),
                count_text(behind(channel)),
            )
            for channel in found
        ),
    )


def _alarming(count: int) -> str:
    return f"[red]{count}[/]" if count else "0"
