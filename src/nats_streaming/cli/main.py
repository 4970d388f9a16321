"""The executable `nats-streaming`: finds the command, runs it, and turns errors into text and exit codes.

Command modules are imported at every start, so they import what is heavy inside their functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from nats_streaming import __version__
from nats_streaming.cli import bench, channels, clients, doctor, pub, server, sub, transfer, watch
from nats_streaming.cli.exits import CommandFailed, ExitCode, failure_of
from nats_streaming.cli.parameters import unfolded
from nats_streaming.errors import StreamingError

_CLICK_USAGE = 2  # what typer ends with when it does not understand the arguments

_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Messages": (pub.pub, sub.sub, transfer.export, transfer.import_, bench.bench),
    "A running server": (server.server, channels.channels, clients.clients, watch.watch),
    "A store on disk": (doctor.doctor,),
}

_EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None takes the process's own.

    Returns:
        The exit code, one of `ExitCode`.
    """
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.READER_GONE
    if code == ExitCode.READER_GONE:
        from nats_streaming.cli.output import forget_stdout

        forget_stdout()
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        application()(args=arguments, prog_name="nats-streaming")
    except CommandFailed as failed:
        if failed.text:
            print(f"nats-streaming: {failed.text}", file=sys.stderr)
            if failed.remedy:
                print(f"  {failed.remedy}", file=sys.stderr)
        return failed.code
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            return ExitCode.READER_GONE
        if end.code is None or isinstance(end.code, int):
            return ExitCode.USAGE if end.code == _CLICK_USAGE else end.code or ExitCode.OK
        raise
    except Exception:  # noqa: BLE001 - nobody is above us who could tell a bug from a wrong argument
        import traceback

        traceback.print_exc()
        print("nats-streaming: this is an error in the program, please report it", file=sys.stderr)
        return ExitCode.BUG
    return ExitCode.OK


def application() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Publish to and subscribe from NATS Streaming channels, and look at servers and their stores.",
        epilog=_EPILOG,
    )
    app.callback()(_common)
    for panel, commands in _COMMANDS.items():
        for function in commands:
            app.command(function.__name__.rstrip("_"), rich_help_panel=panel)(_guarded(unfolded(function)))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nats-streaming {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Nothing of its own; the options above end the program."""


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """The command with the errors it may meet turned into `CommandFailed`."""

    @wraps(function)
    def guarded(**given: Any) -> None:
        try:
            function(**given)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise CommandFailed(ExitCode.READER_GONE, "") from error
        except KeyboardInterrupt as error:
            raise CommandFailed(ExitCode.INTERRUPTED, "") from error
        except (StreamingError, OSError) as error:
            raise failure_of(error) from error

    return guarded


if __name__ == "__main__":
    sys.exit(main())
