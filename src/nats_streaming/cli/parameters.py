"""Options that several commands share: each group is a dataclass, and `command` unfolds it into options.

So a command says `output: OutputOptions` and gets all of them as one value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

_OUTPUT = "Output"
_STREAMING = "Connection"
_MONITORING = "Monitoring"


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How results are shown."""

    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for scripts.", rich_help_panel=_OUTPUT, show_default=False)
    ] = False
    no_color: Annotated[
        bool,
        typer.Option(
            "--no-color", help="No colours (also: set NO_COLOR).", rich_help_panel=_OUTPUT, show_default=False
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class MonitoringOptions:
    """Where the server's state is read."""

    monitor: Annotated[
        str,
        typer.Option(
            "--monitor",
            "-m",
            metavar="URL",
            envvar="STAN_MONITOR",
            help="The server's monitoring port (its option -m).",
            rich_help_panel=_MONITORING,
        ),
    ] = "http://127.0.0.1:8222"
    monitor_timeout: Annotated[
        float,
        typer.Option(
            min=0.1, max=3600, metavar="SECONDS", help="How long to wait for an answer.", rich_help_panel=_MONITORING
        ),
    ] = 5.0
    monitor_ca: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="STAN_MONITOR_CA",
            help="Authority that signed the port's certificate.",
            rich_help_panel=_MONITORING,
            show_default=False,
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """Which NATS, which streaming server, and who we are."""

    server: Annotated[
        str,
        typer.Option(
            "--server",
            "-s",
            metavar="URL[,URL]",
            envvar="STAN_SERVER",
            help="NATS server, or several of one cluster.",
            rich_help_panel=_STREAMING,
        ),
    ] = "nats://127.0.0.1:4222"
    cluster: Annotated[
        str,
        typer.Option(
            "--cluster",
            "-c",
            metavar="ID",
            envvar="STAN_CLUSTER",
            help="Cluster ID of the streaming server (its option -cid).",
            rich_help_panel=_STREAMING,
        ),
    ] = "test-cluster"
    client_id: Annotated[
        str,
        typer.Option(
            "--client-id",
            metavar="ID",
            envvar="STAN_CLIENT_ID",
            help="Client ID; one of its own for each run if none is given. Durables belong to it.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = ""
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, max=3600, metavar="SECONDS", help="How long to wait for an answer.", rich_help_panel=_STREAMING
        ),
    ] = 5.0
    user: Annotated[
        str,
        typer.Option(
            metavar="NAME", envvar="STAN_USER", help="NATS user.", rich_help_panel=_STREAMING, show_default=False
        ),
    ] = ""
    password: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            envvar="STAN_PASSWORD",
            help="NATS password; better by the variable, since others see the command line.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = ""
    token: Annotated[
        str,
        typer.Option(
            metavar="TEXT", envvar="STAN_TOKEN", help="NATS token.", rich_help_panel=_STREAMING, show_default=False
        ),
    ] = ""
    creds: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="STAN_CREDS",
            help="NATS 2 credentials file.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = ""
    nkey: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="STAN_NKEY",
            help="File with an NKey seed.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = ""
    tls_ca: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="STAN_TLS_CA",
            help="Authority that signed the NATS server's certificate; asks for TLS.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = ""
    tls_cert: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="STAN_TLS_CERT",
            help="Our certificate.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = ""
    tls_key: Annotated[
        str,
        typer.Option(
            metavar="FILE", envvar="STAN_TLS_KEY", help="Its key.", rich_help_panel=_STREAMING, show_default=False
        ),
    ] = ""
    tls_insecure: Annotated[
        bool,
        typer.Option(
            "--tls-insecure",
            help="Take any certificate of the NATS server.",
            rich_help_panel=_STREAMING,
            show_default=False,
        ),
    ] = False


def unfolded(function: Callable[..., None]) -> Callable[..., None]:
    """The function with the fields of its dataclass parameters as parameters of its own."""
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}
    parameters: list[inspect.Parameter] = []
    annotations: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in groups:
            annotations[name] = hints[name]
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        members = get_type_hints(groups[name], include_extras=True)
        for member in fields(groups[name]):
            annotations[member.name] = members[member.name]
            parameters.append(_parameter(member, members[member.name]))

    @wraps(function)
    def with_groups(**given: Any) -> None:
        values = {name: given[name] for name in hints if name not in groups}
        for name, group in groups.items():
            values[name] = group(**{member.name: given[member.name] for member in fields(group)})
        function(**values)

    with_groups.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_groups.__annotations__ = annotations
    return with_groups


def _parameter(member: Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if member.default is MISSING else member.default
    return inspect.Parameter(member.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
