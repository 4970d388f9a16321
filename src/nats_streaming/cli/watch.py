"""`nats-streaming watch`: a running server, looked at again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from nats_streaming.cli.monitored import reader_of
from nats_streaming.cli.output import console, count_text, escaped, print_json_line, size_text
from nats_streaming.cli.parameters import MonitoringOptions, OutputOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nats_streaming.toolbox.monitoring import MonitoringReader
    from nats_streaming.toolbox.watching import Activity, Look

_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 40
_ROWS = 20


def watch(
    monitoring: MonitoringOptions,
    output: OutputOptions,
    channels: Annotated[
        list[str] | None, typer.Argument(metavar="[CHANNEL]...", help="Only these.", show_default=False)
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.1, max=3600, metavar="SECONDS", help="Between two looks.")
    ] = 1.0,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, metavar="NUMBER", help="Looks until it ends; 0 is Ctrl-C.")
    ] = 0,
    rows: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="Channels shown, busiest first.")
    ] = _ROWS,
) -> None:
    """Watch rates, pending messages and stalls, live.

    On a terminal one view is renewed; elsewhere each look is printed, with --json as one line.
    """
    watcher = _Watcher(reader_of(monitoring), tuple(channels or ()), interval)
    if output.as_json:
        for activity in watcher.activities(count):
            print_json_line(activity if activity is not None else {"error": watcher.trouble})
        return
    to = console(output)
    if not to.is_terminal:
        for activity in watcher.activities(count):
            to.print(watcher.view(activity, rows))
        return
    from rich.live import Live

    with Live(watcher.view(None, rows), console=to, auto_refresh=False, transient=False) as live:
        for activity in watcher.activities(count):
            live.update(watcher.view(activity, rows), refresh=True)


class _Watcher:
    """Looks, and keeps what the view needs of the past."""

    def __init__(self, reader: MonitoringReader, names: tuple[str, ...], interval_s: float) -> None:
        from nats_streaming.toolbox.watching import look

        self._reader = reader
        self._names = names
        self._interval_s = interval_s
        self._before: Look = look(reader, names)
        self._shown: Activity | None = None
        self._history: dict[str, deque[float]] = {}
        self.trouble = ""

    def activities(self, count: int) -> Iterator[Activity | None]:
        """One for each interval; None when the server did not answer, which `trouble` then says."""
        from nats_streaming.errors import MonitoringError
        from nats_streaming.toolbox.watching import compare, look

        timer = Event()
        looks = 0
        while count == 0 or looks < count:
            timer.wait(self._interval_s)
            looks += 1
            try:
                now = look(self._reader, self._names)
            except MonitoringError as error:
                self.trouble = str(error)
                yield None
                continue
            self.trouble = ""
            activity = compare(self._before, now)
            self._before = now
            self._remember(activity)
            yield activity

    def _remember(self, activity: Activity) -> None:
        self._shown = activity
        rates = {row.channel.name: row.in_per_s for row in activity.channels}
        for name in self._history.keys() - rates.keys():
            del self._history[name]
        for name, rate in rates.items():
            self._history.setdefault(name, deque(maxlen=_HISTORY)).append(rate)

    def view(self, activity: Activity | None, rows: int) -> RenderableType:
        """What is shown after a look; the last known state, and why it is not newer, when that failed."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shown = activity or self._shown
        lines: list[RenderableType] = []
        if self.trouble:
            lines.append(Text(f"{self.trouble}; trying again", style="red"))
        if shown is None:
            lines.append(Text(f"looking at {self._reader.url}"))
            return Group(*lines)
        server = shown.server
        head = Text.from_markup(
            f"[bold]{escaped(str(server.get('cluster_id', '')))}[/bold]  {escaped(str(server.get('state', '')))}"
            f"  up {escaped(str(server.get('uptime', '')))}"
            f"  clients {server.get('clients', 0)}  channels {server.get('channels', 0)}"
            f"  in [green]{count_text(shown.in_per_s)}[/]/s {size_text(shown.in_bytes_per_s)}/s"
            f"  out [cyan]{count_text(shown.out_per_s)}[/]/s {size_text(shown.out_bytes_per_s)}/s"
        )
        lines.append(head)
        if shown.restarted:
            lines.append(Text("the server was started anew", style="yellow"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("channel", overflow="fold")
        for column in ("messages", "last", "in/s", "out/s", "pending", "behind", "stalled", "offline"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("in, past looks", no_wrap=True)
        for row in shown.channels[:rows]:
            table.add_row(
                escaped(row.channel.name),
                count_text(row.channel.messages),
                str(row.channel.last),
                f"[green]{count_text(row.in_per_s)}[/]",
                f"[cyan]{count_text(row.out_per_s)}[/]",
                count_text(row.pending),
                count_text(row.behind),
                f"[red]{row.stalled}[/]" if row.stalled else "0",
                str(row.offline),
                _sparkline(self._history.get(row.channel.name, ())),
            )
        lines.append(table)
        if len(shown.channels) > rows:
            lines.append(Text(f"and {len(shown.channels) - rows} quieter channels"))
        return Group(*lines)


def _sparkline(values: deque[float] | tuple[float, ...]) -> str:
    """Rates as bars, the highest one full."""
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)
