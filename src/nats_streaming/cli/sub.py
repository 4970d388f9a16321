"""`nats-streaming sub`: the messages of a channel, printed as they come."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nats_streaming.cli.connected import connected, run_async
from nats_streaming.cli.exits import CommandFailed, ExitCode
from nats_streaming.cli.output import console, escaped, print_json_line, time_text
from nats_streaming.cli.parameters import ConnectionOptions, OutputOptions
from nats_streaming.errors import ConfigError

if TYPE_CHECKING:
    from nats_streaming.client import Client, Message, Start, Subscription

_WORDS: dict[str, Literal["new", "first", "last"]] = {"new": "new", "first": "first", "last": "last"}
START_HELP = "Where to begin: new, first, last, a sequence, a time (RFC 3339) or an age like 10m or 1h30m."


def sub(
    connection: ConnectionOptions,
    output: OutputOptions,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL")],
    start: Annotated[str, typer.Option(metavar="WHERE", help=START_HELP)] = "new",
    durable: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Durable: the server keeps the place. Needs --client-id, unless in a queue group.",
            show_default=False,
        ),
    ] = "",
    queue: Annotated[
        str, typer.Option(metavar="GROUP", help="Share the messages with others of this group.", show_default=False)
    ] = "",
    max_in_flight: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="Messages without ack that the server sends.")
    ] = 1024,
    ack_wait: Annotated[
        int, typer.Option(min=1, max=86_400, metavar="SECONDS", help="After which the server sends them again.")
    ] = 30,
    ack: Annotated[bool, typer.Option(help="Ack what was printed, or only look.")] = True,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, metavar="NUMBER", help="End after so many messages; 0 is never.")
    ] = 0,
    idle: Annotated[
        float,
        typer.Option("--idle", min=0, metavar="SECONDS", help="End when no message came for so long; 0 is never."),
    ] = 0.0,
    unsubscribe: Annotated[
        bool, typer.Option("--unsubscribe", help="Let the server forget the durable at the end.", show_default=False)
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the data alone, byte for byte.", show_default=False)
    ] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Print when each message was stored.", show_default=False)
    ] = False,
) -> None:  # fmt: skip
    """Subscribe to a channel and print its messages.

    With --json each message is one line, in the format that `export` writes. With --count and --idle the exit code is
    4 if fewer messages came.
    """
    if raw and output.as_json:
        raise ConfigError("give --raw or --json, not both")
    if durable and not queue and not connection.client_id:
        raise ConfigError("a durable belongs to a client ID: give --client-id, the same each time")
    if unsubscribe and not durable:
        raise ConfigError("--unsubscribe forgets a durable: name it with --durable")
    begin = start_of(start)
    printer = _Printer(output, raw=raw, timestamps=timestamps)

    def notice(text: str) -> None:
        print(text, file=sys.stderr)

    async def follow() -> None:
        async with connected(
            connection,
            on_disconnect=lambda reason: notice(f"connection lost, resuming: {reason}"),
            on_resume=lambda resumed: notice(f"resumed after {resumed.seconds:.1f} s"),
        ) as stan:
            subscription = await _subscribed(stan)
            try:
                received = await _receive(subscription, printer, count=count, idle_s=idle, acks=ack)
            finally:
                await (subscription.unsubscribe() if unsubscribe else subscription.close())
        if count and received < count:
            raise CommandFailed(ExitCode.TIMEOUT, f"{received} of {count} messages came, then none for {idle:g} s")

    async def _subscribed(stan: Client) -> Subscription:
        return await stan.subscribe(
            channel, start=begin, durable=durable, queue=queue, max_in_flight=max_in_flight, ack_wait=ack_wait,
            manual_acks=True,
        )  # fmt: skip

    run_async(follow)


async def _receive(subscription: Subscription, printer: _Printer, *, count: int, idle_s: float, acks: bool) -> int:
    import asyncio

    received = 0
    while count == 0 or received < count:
        try:
            async with asyncio.timeout(idle_s or None):
                message = await subscription.next()
        except TimeoutError:
            break
        if message is None:
            break
        printer.show(message)
        received += 1
        if acks:
            await message.ack()
    return received


class _Printer:
    """Shows messages in the form that was asked for."""

    def __init__(self, output: OutputOptions, *, raw: bool, timestamps: bool) -> None:
        self._as_json = output.as_json
        self._raw = raw
        self._timestamps = timestamps
        self._console = None if raw or output.as_json else console(output)

    def show(self, message: Message) -> None:
        if self._raw:
            sys.stdout.buffer.write(message.data)
            sys.stdout.buffer.flush()
        elif self._as_json:
            print_json_line(_document(message))
        elif self._console is not None:
            when = f" [dim]{time_text(message.time_ns)}[/]" if self._timestamps else ""
            again = f" [yellow]redelivered {message.redelivery_count or ''}[/]".rstrip() if message.redelivered else ""
            head = f"[bold]{escaped(message.channel)}[/] [cyan]#{message.sequence}[/]{when}{again}"
            self._console.print(f"{head}  {escaped(message.data)}", soft_wrap=True)
            self._console.file.flush()


def _document(message: Message) -> dict[str, Any]:
    from nats_streaming.toolbox.transfer import message_document

    document = {"channel": message.channel, **message_document(message)}
    if message.redelivered:
        document |= {"redelivered": True, "redelivery_count": message.redelivery_count}
    return document


def start_of(written: str) -> Start:
    """A start position as it is written on the command line.

    Raises:
        ConfigError: it is none.
    """
    from datetime import datetime

    from nats_streaming.client import Sequence, Since
    from nats_streaming.literals import parse_duration

    if written in _WORDS:
        return _WORDS[written]
    if written.isascii() and written.isdigit():
        try:
            return Sequence(int(written))
        except ValueError as error:
            raise ConfigError(f"--start {written}: {error}") from error
    try:
        age_ns = parse_duration(written)
    except ValueError:
        pass
    else:
        if age_ns < 0:
            raise ConfigError(f"--start {written}: an age is not negative")
        return Since(age_ns)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as error:
        raise ConfigError(f"--start {written}: {START_HELP[:1].lower()}{START_HELP[1:-1]}") from error
    return moment if moment.tzinfo is not None else moment.astimezone()
