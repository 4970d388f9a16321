"""`nats-streaming doctor`: a FILE store's directory, looked at while no server runs on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from nats_streaming.cli.exits import CommandFailed, ExitCode
from nats_streaming.cli.output import (
    console,
    count_text,
    escaped,
    print_json,
    print_table,
    size_text,
    text,
    time_text,
)
from nats_streaming.cli.parameters import OutputOptions

if TYPE_CHECKING:
    from rich.console import Console

    from nats_streaming.stores.file.findings import Severity
    from nats_streaming.stores.file.inspection import ChannelReport, Inspection, SubscriptionReport

_SOUND = "sound"
_RECOVERABLE = "sound after recovery"
_DAMAGED = "damaged"
_COLOURS = {_SOUND: "green", _RECOVERABLE: "yellow", _DAMAGED: "red"}
_CRC_POLYNOMIAL_MAX = 0xFFFFFFFF


def doctor(
    output: OutputOptions,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="What the server was given with -dir.")],
    encryption_key: Annotated[
        str,
        typer.Option(
            envvar="NATS_STREAMING_ENCRYPTION_KEY",
            show_envvar=True,
            metavar="KEY",
            help="Try this key on every encrypted message; better by the variable.",
            show_default=False,
        ),
    ] = "",
    crc_poly: Annotated[
        int,
        typer.Option(
            min=1, max=_CRC_POLYNOMIAL_MAX, metavar="NUMBER", help="Checksum polynomial, if the server had another."
        ),
    ] = 3988292384,
) -> None:
    """Verify a FILE store offline: what is in it, is it sound, what would a start do.

    Every message is read. Nothing in the directory is changed; the recovery is tried on a copy of what it would
    write. Exit code 0: everything that was stored can be given back; 8: something cannot; 9: a server is running.
    """
    from nats_streaming.stores.file.inspection import inspect_store
    from nats_streaming.stores.file.options import FileOptions

    master = None
    if encryption_key:
        from nats_streaming.stores.encrypted import master_key

        master = master_key(bytearray(encryption_key, "utf-8", "surrogateescape"))
    errors = console(output, stderr=True)
    with errors.status("reading", spinner="dots") as status:

        def on_progress(channel: bytes, read: int, messages: int) -> None:
            status.update(f"reading {escaped(channel)}: {count_text(read)} of {count_text(messages)} messages")

        inspection = inspect_store(
            directory, options=FileOptions(crc_poly=crc_poly), master=master, on_progress=on_progress
        )
    verdict = _verdict(inspection)
    if output.as_json:
        print_json({"verdict": verdict, "is_sound": inspection.is_sound, "inspection": inspection})
    else:
        _print(console(output), inspection, verdict, has_key=master is not None)
    if inspection.changed_meanwhile:
        name = inspection.changed_meanwhile[0]
        raise CommandFailed(
            ExitCode.IN_USE,
            f"{len(inspection.changed_meanwhile)} files changed while they were read, among them {name}",
            "a server without a lock uses the directory: stop it and look again",
        )
    if not inspection.is_sound:
        raise CommandFailed(ExitCode.DAMAGED, "")


def _verdict(inspection: Inspection) -> str:
    if not inspection.is_sound:
        return _DAMAGED
    return _RECOVERABLE if inspection.journal_batches or inspection.findings else _SOUND


def _print(to: Console, inspection: Inspection, verdict: str, *, has_key: bool) -> None:
    server = inspection.server
    to.print(f"[bold]Store[/bold]      {escaped(inspection.directory)}")
    whose = f"cluster {escaped(server.cluster_id)}" if server is not None else "[red]unknown: no server information[/]"
    node = f", node {escaped(server.node_id)} (clustered)" if server is not None and server.node_id else ""
    to.print(f"[bold]Server[/bold]     {whose}{node}")
    to.print(f"[bold]Clients[/bold]    {_clients_text(inspection)}")
    if inspection.journal_batches:
        to.print(f"[bold]Journal[/bold]    {count_text(inspection.journal_batches)} commits wait to be replayed")
    print_table(
        to,
        "Channels",
        ("name", ">messages", ">first", ">last", ">bytes", ">on disk", "newest", ">subs", ">damaged", "encrypted"),
        (_channel_row(channel, has_key) for channel in inspection.channels),
    )
    subscriptions = [(channel, each) for channel in inspection.channels for each in channel.subscriptions]
    print_table(
        to,
        "Subscriptions",
        ("channel", "kind", "name", "client", ">last sent", ">pending", ">behind"),
        (_subscription_row(channel, each) for channel, each in subscriptions),
    )
    _print_findings(to, inspection)
    to.print(f"[bold]Verdict[/bold]    [{_COLOURS[verdict]}]{verdict}[/]")


def _clients_text(inspection: Inspection) -> str:
    if not inspection.clients:
        return "none registered"
    names = ", ".join(escaped(client.id) for client in inspection.clients[:10])
    more = f" and {len(inspection.clients) - 10} more" if len(inspection.clients) > 10 else ""
    return f"{len(inspection.clients)} registered when the server stopped: {names}{more}"


def _channel_row(channel: ChannelReport, has_key: bool) -> tuple[str, ...]:
    encrypted = ""
    if channel.encrypted:
        tried = f"{channel.encrypted}, decrypted {channel.decrypted}"
        encrypted = tried if has_key else f"perhaps {channel.encrypted}"
    return (
        escaped(channel.name),
        count_text(channel.messages),
        str(channel.first),
        str(channel.last),
        size_text(channel.stored_bytes),
        size_text(channel.file_bytes),
        time_text(channel.last_ns),
        str(len(channel.subscriptions)),
        f"[red]{channel.damaged_count}[/]" if channel.damaged_count else "0",
        encrypted,
    )


def _subscription_row(channel: ChannelReport, subscription: SubscriptionReport) -> tuple[str, ...]:
    state = subscription.state
    group = text(state.queue_group)
    kind = ("durable queue" if state.is_durable else "queue") if group else "durable" if state.is_durable else "plain"
    if state.is_durable and (state.is_closed or not state.client_id):
        kind += ", offline"
    return (
        escaped(channel.name),
        kind,
        escaped(group or text(state.durable_name)),
        escaped(state.client_id),
        str(state.last_sent),
        str(subscription.pending),
        count_text(max(channel.last - max(state.last_sent, channel.first - 1), 0)),
    )


def _print_findings(to: Console, inspection: Inspection) -> None:
    if inspection.findings:
        to.print("[bold]What a start would say[/bold]")
        for finding in inspection.findings:
            to.print(f"  {_mark(finding.severity)} {escaped(finding.text)}", soft_wrap=True)
    damaged = [(channel, each) for channel in inspection.channels for each in channel.damaged]
    if damaged:
        to.print("[bold]Messages that cannot be given back[/bold] (a server skips them and keeps their bytes aside)")
        for channel, each in damaged:
            to.print(
                f"  [red]error[/]   {escaped(channel.name)} {each.sequence}: {escaped(each.reason)}", soft_wrap=True
            )
        untold = sum(channel.damaged_count for channel in inspection.channels) - len(damaged)
        if untold:
            to.print(f"  and {count_text(untold)} more")
    if inspection.changes:
        to.print("[bold]What a start would do[/bold]")
        for change in inspection.changes:
            path = os.path.relpath(change.path, inspection.directory)
            sizes = f"{count_text(change.size_before)} → {count_text(change.size_after)} bytes"
            to.print(f"  {change.kind.value:8} {escaped(path)}  {sizes}", soft_wrap=True)
    if inspection.refusal:
        to.print(
            f"[bold]The Go server[/bold], and ours with strict, would not start: {escaped(inspection.refusal)}",
            soft_wrap=True,
        )


def _mark(severity: Severity) -> str:
    return {"error": "[red]error[/]  ", "warning": "[yellow]warning[/]", "info": "info   "}[severity.value]
