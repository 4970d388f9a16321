"""`nats-streaming bench`: load for a server, and what it made of it."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nats_streaming.cli.connected import connected, login_of, run_async, servers_of
from nats_streaming.cli.exits import CommandFailed, ExitCode
from nats_streaming.cli.output import console, count_text, escaped, print_json, print_table, size_text
from nats_streaming.cli.parameters import ConnectionOptions, OutputOptions
from nats_streaming.errors import ConfigError
from nats_streaming.toolbox.bench.plan import MESSAGE_BYTES_MIN

if TYPE_CHECKING:
    from rich.console import Console

    from nats_streaming.toolbox.bench.histogram import Histogram
    from nats_streaming.toolbox.bench.plan import ClientResult
    from nats_streaming.toolbox.bench.runner import BenchProgress, BenchResult

_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_BAR_CHARACTERS = 50
_CSV_HEAD = (
    "kind,number,sent,acked,failed,received,repeated,missing,seconds,messages_per_s,bytes_per_s,"
    "latency_mean_us,latency_p50_us,latency_p90_us,latency_p99_us,latency_p99_9_us,latency_max_us"
)
_BUSY = 0.85  # share of a CPU from which on a process may have been what was slow


def bench(
    connection: ConnectionOptions,
    output: OutputOptions,
    channel: Annotated[
        str,
        typer.Argument(metavar="[CHANNEL]", help="Where to; a new one if none is given.", show_default=False),
    ] = "",
    publishers: Annotated[int, typer.Option("--publishers", "-p", min=0, max=1000, metavar="NUMBER")] = 1,
    subscribers: Annotated[int, typer.Option("--subscribers", "-S", min=0, max=1000, metavar="NUMBER")] = 0,
    messages: Annotated[
        int, typer.Option("--messages", "-n", min=1, metavar="NUMBER", help="Of all publishers together.")
    ] = 100_000,
    size: Annotated[int, typer.Option(min=MESSAGE_BYTES_MIN, metavar="BYTES", help="Of each message.")] = 128,
    sync: Annotated[
        bool, typer.Option("--sync", help="Publishers wait for each ack.", show_default=False)
    ] = False,
    window: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="Messages of a publisher without ack.")
    ] = 1024,
    max_in_flight: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="Messages to a subscriber without ack.")
    ] = 1024,
    queue: Annotated[
        str, typer.Option(metavar="GROUP", help="Subscribers share the messages.", show_default=False)
    ] = "",
    rate: Annotated[
        float, typer.Option(min=0, metavar="NUMBER", help="Messages a second of each publisher; 0 is no limit.")
    ] = 0.0,
    processes: Annotated[
        int, typer.Option(min=0, max=256, metavar="NUMBER", help="Spread the clients over; 0 is one per CPU.")
    ] = 0,
    idle: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Silence after which the rest counts as lost.")
    ] = 5.0,
    csv: Annotated[
        str, typer.Option(metavar="FILE", help="Also write one line for each client.", show_default=False)
    ] = "",
) -> None:  # fmt: skip
    """Publish and subscribe as fast as a server can, and show rates and latencies.

    The exit code is 10 if not every message was acked and received. What is measured is server, NATS and the clients
    on this machine together.
    """
    if not publishers:
        raise ConfigError("a bench needs at least one publisher: its subscribers take new messages only")
    if messages < publishers:
        raise ConfigError(f"{messages} messages are too few for {publishers} publishers")

    async def run() -> None:

        from nats_streaming.toolbox.bench.plan import BenchPlan
        from nats_streaming.toolbox.bench.runner import run_bench

        plan = BenchPlan(
            servers=servers_of(connection), cluster=connection.cluster, login=asdict(login_of(connection)),
            channel=channel or f"bench-{os.urandom(4).hex()}", publishers=publishers, subscribers=subscribers,
            messages=messages // publishers, size=size, sync=sync, window=window, max_in_flight=max_in_flight,
            queue=queue, rate=rate, idle_s=idle, timeout_s=max(connection.timeout, 30.0),
            processes=min(processes or os.cpu_count() or 1, publishers + subscribers),
        )  # fmt: skip
        async with connected(connection):
            pass  # its errors say what to do, before processes are started
        with _Bars(output, plan.total, plan.total * (min(subscribers, 1) if queue else subscribers)) as bars:
            result = await run_bench(plan, bars.update)
        if csv:
            _write_csv(csv, result)
        if output.as_json:
            print_json(_document(result))
        else:
            _print(console(output), result)
        if not result.is_whole:
            reason = result.errors[0] if result.errors else "see the counts"
            raise CommandFailed(ExitCode.INCOMPLETE, f"not every message was acked and received: {reason}")

    run_async(run)


class _Bars:
    """Progress of publishers and subscribers, on a terminal."""

    def __init__(self, output: OutputOptions, to_publish: int, to_receive: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        to = console(output, stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=to, disable=not to.is_terminal, transient=True,
        )  # fmt: skip
        self._acked = self._bars.add_task("published and acked", total=to_publish)
        self._received = self._bars.add_task("received", total=to_receive) if to_receive else None

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, progress: BenchProgress) -> None:
        self._bars.update(self._acked, completed=progress.acked)
        if self._received is not None:
            self._bars.update(self._received, completed=progress.received)


def _document(result: BenchResult) -> dict[str, Any]:
    plan = {name: value for name, value in asdict(result.plan).items() if name != "login"}
    return {
        "plan": plan,
        "complete": result.is_whole,
        "processes_busy": sorted(result.busy, reverse=True),
        "publishers": _summary(result.publishers, result.plan.size, result.ack_latency),
        "subscribers": _summary(result.subscribers, result.plan.size, result.delivery_latency),
        "clients": [_client_document(each) for each in (*result.publishers, *result.subscribers)],
        "errors": result.errors,
    }


def _summary(clients: list[ClientResult], size: int, latency: Histogram) -> dict[str, Any]:
    from nats_streaming.toolbox.bench.runner import seconds_of

    seconds = seconds_of(clients)
    count = sum(each.messages for each in clients)
    counted = {
        member: sum(getattr(each, member) for each in clients)
        for member in ("sent", "acked", "failed", "received", "repeated", "missing")
    }
    per_s = count / seconds if seconds > 0 else 0.0
    return {
        **counted,
        "seconds": seconds,
        "messages_per_s": per_s,
        "bytes_per_s": per_s * size,
        "latency_us": _latency_document(latency),
        "histogram_us": [[end / 1000, count] for end, count in latency.octaves()],
    }


def _client_document(client: ClientResult) -> dict[str, Any]:
    members = client.as_document()
    del members["latency"]
    latency = _latency_document(client.latency)
    return {**members, "seconds": client.seconds, "messages_per_s": client.per_s, "latency_us": latency}


def _latency_document(latency: Histogram) -> dict[str, float]:
    document = {"mean": latency.mean_ns / 1000, "min": latency.least_ns / 1000}
    document |= {f"p{percent:g}": latency.percentile_ns(percent) / 1000 for percent in _PERCENTILES}
    return {**document, "max": latency.most_ns / 1000}


def _write_csv(path: str, result: BenchResult) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(_CSV_HEAD + "\n")
        for each in (*result.publishers, *result.subscribers):
            counts = (each.sent, each.acked, each.failed, each.received, each.repeated, each.missing)
            times = [each.latency.mean_ns, *map(each.latency.percentile_ns, _PERCENTILES), each.latency.most_ns]
            cells = [
                each.kind, str(each.number), *map(str, counts), f"{each.seconds:.6f}", f"{each.per_s:.1f}",
                f"{each.per_s * result.plan.size:.1f}", *(f"{time_ns / 1000:.1f}" for time_ns in times),
            ]  # fmt: skip
            file.write(",".join(cells) + "\n")


def _print(to: Console, result: BenchResult) -> None:
    plan = result.plan
    pace = "sync" if plan.sync else f"{count_text(plan.window)} in flight"
    group = f" in group {escaped(plan.queue)}" if plan.queue else ""
    to.print(
        f"{plan.publishers} publishers ({pace}), {plan.subscribers} subscribers{group}, {plan.processes} processes;"
        f" {count_text(plan.total)} messages of {plan.size} bytes to channel {escaped(plan.channel)}"
    )
    rows = []
    for clients, name, latency in (
        (result.publishers, "publishers", result.ack_latency),
        (result.subscribers, "subscribers", result.delivery_latency),
    ):
        if not clients:
            continue
        whole = _summary(clients, plan.size, latency)
        rows.append(_row(f"[bold]all {name}[/]", whole["sent"], whole["acked"], whole["received"], whole["seconds"],
                         whole["messages_per_s"], plan.size))  # fmt: skip
        if len(clients) > 1:
            rows += [
                _row(f"  {each.kind} {each.number}", each.sent, each.acked, each.received, each.seconds, each.per_s,
                     plan.size)
                for each in clients
            ]  # fmt: skip
    print_table(to, "Rates", ("client", ">sent", ">acked", ">received", ">seconds", ">messages/s", ">bytes/s"), rows)
    latencies = [("publish to ack", result.ack_latency), ("publish to arrival", result.delivery_latency)]
    print_table(
        to,
        "Latencies",
        ("", ">mean", ">min", *(f">p{percent:g}" for percent in _PERCENTILES), ">max"),
        (
            (
                name,
                _time(each.mean_ns),
                _time(each.least_ns),
                *(_time(each.percentile_ns(percent)) for percent in _PERCENTILES),
                _time(each.most_ns),
            )
            for name, each in latencies
            if each.count
        ),
    )
    for name, each in latencies:
        if each.count:
            _print_histogram(to, name, each)
    busy = ", ".join(f"{share:.0%}" for share in sorted(result.busy, reverse=True))
    limit = " [yellow](the load may be at its limit, not the server)[/]" if max(result.busy) > _BUSY else ""
    to.print(f"CPU of the load processes: {busy}{limit}")
    repeated = sum(each.repeated for each in result.subscribers)
    failed = sum(each.failed for each in result.publishers)
    received = sum(each.received for each in result.subscribers)
    verdict = "[green]all acked and received[/]" if result.is_whole else "[red]not complete[/]"
    to.print(
        f"{verdict}: {failed} publishes failed, {max(result.expected - received, 0)} messages missing,"
        f" {repeated} came more than once"
    )


def _row(
    name: str, sent: int, acked: int, received: int, seconds: float, per_s: float, size: int
) -> tuple[str, ...]:  # fmt: skip
    return (
        name, count_text(sent) if sent else "", count_text(acked) if acked else "",
        count_text(received) if received else "", f"{seconds:.2f}", count_text(per_s), size_text(per_s * size),
    )  # fmt: skip


def _print_histogram(to: Console, name: str, latency: Histogram) -> None:
    octaves = latency.octaves()
    most = max(count for _, count in octaves)
    to.print(f"[bold]{name.capitalize()}[/]")
    for end, count in octaves:
        bar = "█" * round(count / most * _BAR_CHARACTERS) or ("▏" if count else "")
        to.print(f"  below {_time(end):>9}  [cyan]{bar:{_BAR_CHARACTERS}}[/] {count_text(count):>11}  "
                 f"{count / latency.count:7.2%}")  # fmt: skip
    to.print()


def _time(time_ns: float) -> str:
    for unit_ns, unit in ((1_000_000_000, "s"), (1_000_000, "ms"), (1000, "µs")):
        if time_ns >= unit_ns:
            return f"{time_ns / unit_ns:.3g} {unit}" if time_ns < unit_ns * 100 else f"{time_ns / unit_ns:.0f} {unit}"
    return f"{time_ns:.0f} ns"
