"""`nats-streaming clients`: who is connected to a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from nats_streaming.cli.monitored import print_subscriptions, reader_of
from nats_streaming.cli.output import console, escaped, print_json, print_table
from nats_streaming.cli.parameters import MonitoringOptions, OutputOptions


def clients(
    monitoring: MonitoringOptions,
    output: OutputOptions,
    client: Annotated[
        str, typer.Argument(metavar="[CLIENT]", help="Show this one and its subscriptions.", show_default=False)
    ] = "",
) -> None:
    """List the clients of a server, or show one with its subscriptions."""
    from nats_streaming.toolbox.monitoring import client_of

    reader = reader_of(monitoring)
    if client:
        document = reader.client_document(client)
        if output.as_json:
            print_json(document)
            return
        one = client_of(document)
        to = console(output)
        to.print(f"[bold]{escaped(one.id)}[/bold]  heartbeats to {escaped(one.heartbeat_inbox)}")
        subscribed = [(name, each) for name in sorted(one.subscriptions) for each in one.subscriptions[name]]
        print_subscriptions(to, subscribed, with_channel=True)
        return
    documents = list(reader.client_documents(subscriptions=True))
    if output.as_json:
        print_json(documents)
        return
    found = [client_of(document) for document in documents]
    print_table(
        console(output),
        f"Clients: {len(found)}",
        ("client", ">subs", "channels"),
        (
            (escaped(each.id), str(each.subscription_count), escaped(", ".join(sorted(each.subscriptions))))
            for each in found
        ),
    )
