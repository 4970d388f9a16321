"""`nats-streaming server`: the state of a running server at a glance."""

from __future__ import annotations

from typing import Any

from nats_streaming.cli.monitored import reader_of
from nats_streaming.cli.output import console, count_text, escaped, print_json, size_text
from nats_streaming.cli.parameters import MonitoringOptions, OutputOptions


def server(monitoring: MonitoringOptions, output: OutputOptions) -> None:
    """Show a server's state, its store, and what it holds against its limits."""
    from nats_streaming.toolbox.monitoring import channel_of, whole_of

    reader = reader_of(monitoring)
    state, store, nats = reader.server(), reader.store(), reader.nats()
    if output.as_json:
        print_json({"server": state, "store": store, "nats": nats})
        return
    channels = [channel_of(document) for document in reader.channel_documents()]
    subscriptions = [each for channel in channels for each in channel.subscriptions]
    stalled = sum(each.stalled for each in subscriptions)
    stalled_text = f"[red]{stalled} subscriptions stalled[/]" if stalled else "no subscription stalled"
    offline = sum(each.is_offline for each in subscriptions)
    pending = sum(each.pending for each in subscriptions)
    limits = store["limits"] if isinstance(store["limits"], dict) else {}
    per_channel = ", ".join(_limit_texts(limits)) or "none"

    to = console(output)
    role = f", {state['role']}" if state.get("role") else ""
    cluster = escaped(str(state.get("cluster_id") or "none yet"))
    uptime, version, nats_version = (
        escaped(str(document.get(member, "?")))
        for document, member in ((state, "uptime"), (state, "version"), (nats, "version"))
    )
    messages, size = count_text(whole_of(store, "total_msgs")), size_text(whole_of(store, "total_bytes"))
    rows = [
        ("Server", f"{escaped(str(state['state']))}{role}, up {uptime}, cluster {cluster}"),
        ("Version", f"{version} on nats-server {nats_version}"),
        ("ID", escaped(str(state.get("server_id", "?")))),
        ("Store", f"{escaped(str(store['type']))}: {messages} messages, {size}"),
        ("Channels", _against(whole_of(state, "channels"), limits.get("max_channels"))),
        ("Per channel", f"limits: {per_channel}"),
        ("Clients", count_text(whole_of(state, "clients"))),
        ("Subscriptions", f"{count_text(whole_of(state, 'subscriptions'))}, {offline} offline"),
        ("Pending", f"{count_text(pending)} messages, {stalled_text}"),
        ("In", f"{count_text(whole_of(state, 'in_msgs'))} messages, {size_text(whole_of(state, 'in_bytes'))}"),
        ("Out", f"{count_text(whole_of(state, 'out_msgs'))} messages, {size_text(whole_of(state, 'out_bytes'))}"),
    ]
    if whole_of(state, "max_fds"):
        rows.append(("Files", _against(whole_of(state, "open_fds"), whole_of(state, "max_fds"))))
    for name, value in rows:
        to.print(f"[bold]{name:14}[/bold]{value}", soft_wrap=True)


def _against(used: int, limit: object) -> str:
    """How much of a limit is used; 0 and less is none."""
    if not isinstance(limit, int) or limit <= 0:
        return f"{count_text(used)}, no limit"
    colour = "red" if used >= limit else "yellow" if used * 10 >= limit * 8 else ""
    shown = f"{count_text(used)} of {count_text(limit)}"
    return f"[{colour}]{shown}[/]" if colour else shown


def _limit_texts(limits: dict[str, Any]) -> list[str]:
    from nats_streaming.clock import duration_text

    texts = []
    for member, shown in (
        ("max_msgs", lambda value: f"{count_text(value)} messages"),
        ("max_bytes", size_text),
        ("max_age", lambda value: f"age {duration_text(value)}"),
        ("max_subscriptions", lambda value: f"{count_text(value)} subscriptions"),
        ("max_inactivity", lambda value: f"removed after {duration_text(value)} without use"),
    ):
        value = limits.get(member)
        if isinstance(value, int) and value > 0:
            texts.append(shown(value))
    return texts
