"""`nats-streaming export` and `nats-streaming import`: a channel to a file of JSON Lines and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated

import typer

from nats_streaming.cli.connected import connected, run_async
from nats_streaming.cli.exits import CommandFailed, ExitCode
from nats_streaming.cli.output import console, count_text, print_json
from nats_streaming.cli.parameters import ConnectionOptions, OutputOptions
from nats_streaming.cli.pub import PublishBar
from nats_streaming.cli.sub import START_HELP, start_of
from nats_streaming.errors import ConfigError

if TYPE_CHECKING:
    from nats_streaming.toolbox.transfer import Exported

_IDLE_HELP = "Seconds without a message after which a channel has no more."


def export(
    connection: ConnectionOptions,
    output: OutputOptions,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL")],
    file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")] = "-",
    start: Annotated[str, typer.Option(metavar="WHERE", help=START_HELP)] = "first",
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.", show_default=False)
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.", show_default=False)] = False,
    idle: Annotated[float, typer.Option("--idle", min=0.1, metavar="SECONDS", help=_IDLE_HELP)] = 2.0,
) -> None:
    """Write a channel as JSON Lines, up to the last message it has now.

    Everything a subscriber gets is kept: sequence, time to the nanosecond, data byte for byte. The file appears under
    its name when it is whole. With --json a summary is printed when --output names a file.
    """
    if output.as_json and file == "-":
        raise ConfigError("standard output has the export itself: give --output FILE for a summary with --json")
    begin = start_of(start)

    async def write() -> None:
        from nats_streaming.toolbox.transfer import export_channel

        errors = console(output, stderr=True)
        with _written(file, force=force, keep=follow) as target, errors.status("exporting", spinner="dots") as status:

            def on_progress(exported: Exported) -> None:
                status.update(f"exporting: {count_text(exported.messages)} messages, at {exported.last}")

            async with connected(connection) as stan:
                done = await export_channel(
                    stan, channel, target.write, start=begin, follow=follow, idle_s=idle, on_progress=on_progress
                )
        if output.as_json:
            print_json(done)
        else:
            errors.print(f"{count_text(done.messages)} messages, {done.first} to {done.last}")

    run_async(write)


@contextmanager
def _written(path: str, *, force: bool, keep: bool) -> Iterator[IO[str]]:
    """Standard output, or a file that appears when it is whole; `keep` leaves it there if not."""
    if path == "-":
        yield sys.stdout
        return
    if os.path.exists(path) and not force:
        raise ConfigError(f"{path} is there already: --force overwrites it")
    part = f"{path}.part"
    try:
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        if not keep:
            os.unlink(part)
        raise
    os.replace(part, path)


def import_(
    connection: ConnectionOptions,
    output: OutputOptions,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote; - is standard input.")],
    channel: Annotated[
        str,
        typer.Option(metavar="CHANNEL", help="Where to, if not into a channel of the same name.", show_default=False),
    ] = "",
    append: Annotated[
        bool, typer.Option("--append", help="Add to what the channel has already.", show_default=False)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an import that was broken off.", show_default=False)
    ] = False,
    window: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="Messages without ack at a time.")
    ] = 1024,
    idle: Annotated[float, typer.Option("--idle", min=0.1, metavar="SECONDS", help=_IDLE_HELP)] = 2.0,
) -> None:
    """Publish an exported channel, in its order.

    The server gives the messages sequences and times of its own. The channel must be empty, unless --append says
    otherwise; --resume compares what is there with the file and goes on behind it.
    """
    if append and resume:
        raise ConfigError("--append does not look at what is there, --resume does: give one of them")

    async def publish() -> None:
        from nats_streaming.toolbox.transfer import channel_in, entries_in, import_channel

        with sys.stdin.buffer if file == "-" else open(file, "rb") as source:
            exported = channel_in(source.readline())
            target = channel or exported
            entries = entries_in(source)
            async with connected(connection, auto_resume=False, max_pub_acks_inflight=window) as stan:
                with PublishBar(output, target, 0) as bar:
                    done = await import_channel(
                        stan, target, entries, append=append, resume=resume, idle_s=idle, on_progress=bar.update
                    )
        if output.as_json:
            print_json(done)
        else:
            there = f"{count_text(done.found)} were there already, " if done.found else ""
            to = console(output, stderr=True)
            to.print(f"{there}{count_text(done.published.stored)} messages published to {target}")
            if done.replies:
                to.print(f"{count_text(done.replies)} messages had a reply subject, which a client cannot publish")
        if done.published.failed:
            raise CommandFailed(
                ExitCode.INCOMPLETE,
                f"a message was not stored: {done.published.first_error}",
                "when the reason is gone, go on with --resume",
            )

    run_async(publish)
