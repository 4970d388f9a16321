"""`nats-streaming pub`: messages from arguments, standard input or files into a channel."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from nats_streaming.cli.connected import connected, run_async
from nats_streaming.cli.exits import CommandFailed, ExitCode
from nats_streaming.cli.output import console, count_text, print_json, size_text
from nats_streaming.cli.parameters import ConnectionOptions, OutputOptions
from nats_streaming.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from nats_streaming.toolbox.publishing import Progress

_RESUME_SECONDS = 60.0  # a broken connection that is not back by then ends it


def pub(
    connection: ConnectionOptions,
    output: OutputOptions,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL")],
    messages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MESSAGE]...", help="Each is one message; without any, each line of standard input is.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Publish the whole file as one message; - is standard input.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="NUMBER", help="Publish all this often.")] = 1,
    rate: Annotated[
        float, typer.Option("--rate", min=0, metavar="NUMBER", help="Messages a second at most; 0 is no limit.")
    ] = 0.0,
    sync: Annotated[
        bool, typer.Option("--sync", help="Wait for each ack before the next message.", show_default=False)
    ] = False,
    window: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="Messages without ack at a time.")
    ] = 1024,
) -> None:  # fmt: skip
    """Publish messages and wait until the server has stored them."""
    if messages and file:
        raise ConfigError("give messages or --file, not both")

    async def publish() -> None:
        from nats_streaming.toolbox.publishing import publish_all

        async with connected(
            connection, max_pub_acks_inflight=1 if sync else window, resume_timeout=_RESUME_SECONDS
        ) as stan:
            total = len(messages or file or ()) * count
            with PublishBar(output, channel, total) as bar:
                done = await publish_all(
                    stan, channel, _source(messages, file, count), rate=rate, on_progress=bar.update
                )
        if output.as_json:
            print_json(done)
        elif done.stored != 1 or done.failed:
            speed = f", {count_text(done.stored / done.seconds)}/s" if done.seconds > 0 else ""
            summary = f"{count_text(done.stored)} messages, {size_text(done.size)}, in {done.seconds:.2f} s{speed}"
            print(summary, file=sys.stderr)
        if done.failed:
            code = ExitCode.INCOMPLETE if done.stored else ExitCode.TIMEOUT if done.timed_out else ExitCode.REFUSED
            raise CommandFailed(code, f"{done.failed} messages were not stored; the first: {done.first_error}")

    run_async(publish)


class PublishBar:
    """Progress on the terminal, if there is one and more than one message."""

    def __init__(self, output: OutputOptions, channel: str, total: int) -> None:
        """
        Args:
            output: of the command.
            channel: where it goes.
            total: messages, 0 if that is not known.
        """
        self._bar: RichProgress | None = None
        if total == 1 or not sys.stderr.isatty():
            return  # and nothing heavy is loaded
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(), console=console(output, stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(f"publishing to {channel}", total=total or None, speed="")

    def __enter__(self) -> PublishBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: Progress) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=progress.stored, speed=f"{count_text(progress.per_s)}/s")


async def _source(messages: list[str] | None, files: list[str] | None, count: int) -> AsyncIterator[bytes]:
    """The messages in their order, all of them `count` times."""
    if messages or files:
        once = [message.encode("utf-8", "surrogateescape") for message in messages or ()]
        once += [_content(path) for path in files or ()]
        for _ in range(count):
            for message in once:
                yield message
        return
    from nats_streaming.toolbox.lines import lines_of

    async for line in lines_of(sys.stdin.fileno()):
        for _ in range(count):
            yield line


def _content(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()
