"""What the embedded nats-server is started with: values to an argument list and a configuration text.

Arguments are visible to every user of the machine, so they hold only what is no secret; they also win
over any configuration, which is what flags must do. Credentials and limits go into the configuration,
whose text reaches the child without a readable file (see `private_config.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nats_streaming.constants import DEFAULT_NATS_HOST, DEFAULT_NATS_PORT
from nats_streaming.nats.config.quoting import quote_value

RANDOM_PORT = -1
MAX_PENDING_BYTES = 256 * 1024 * 1024
WRITE_DEADLINE_S = 30


@dataclass(slots=True)
class EmbeddedOptions:
    """Options of the embedded nats-server; None means that `config_text` or nats-server's default decides."""

    binary: str | None = None
    """Path of nats-server; None looks for it (see `binary.py`)."""

    host: str | None = DEFAULT_NATS_HOST
    """Address to listen on; `0.0.0.0` serves IPv6 too, nats-server listens with dual stack there."""

    port: int | None = DEFAULT_NATS_PORT
    """Port for clients; -1 takes a free one."""

    name: str | None = None

    http_port: int | None = None
    """Port of nats-server's own monitoring, which ours reads; -1 takes a free one, None: no monitoring."""

    http_host: str = "127.0.0.1"

    debug: bool = False
    trace: bool = False
    trace_verbose: bool = False

    user: str | None = None
    password: str | None = None
    token: str | None = None
    """With any of the three, the `authorization` of `config_text` is replaced."""

    public_address: str = ""
    """Where clients connect, as `host:port`, if that is a listener of ours: the nats-server then listens on `host` for
    those that it brings, each introduced by a PROXY protocol header, and tells clients this address."""

    ports_file_dir: str = ""
    """Where it writes the ports it listens on, into a file of its own name; "" is nowhere."""

    arguments: Sequence[str] = ()
    """Further nats-server arguments as they are; they must not hold secrets."""

    config_text: str = ""
    """Configuration in NATS grammar: the user's file without the streaming part, includes and variables resolved."""

    config_name: str = ""
    """What to call `config_text` in log lines and errors: the path of the user's file."""

    config_places: Sequence[str] = ()
    """For each line of `config_text` where it stands in the user's files, as `file:line:column`."""

    max_pending_bytes: int = MAX_PENDING_BYTES
    """What nats-server holds for a slow client before it cuts it (`max_pending`; its default is 64 MiB).

    Ours is the fan-in of all publishers: 64 MiB is a tenth of a second of them, which a slow disk takes easily, and
    being cut loses what was buffered. It holds for all clients, as nats-server has no limit of one; `config_text`
    goes before it.
    """

    write_deadline_s: int = WRITE_DEADLINE_S
    """How long one write of nats-server to a client may block (`write_deadline`; its default is 10 s), so a disk that
    hangs for seconds while we read nothing does not cost the link. `config_text` goes before it."""


def server_arguments(options: EmbeddedOptions, config_path: str) -> list[str]:
    """The arguments behind the executable's name."""
    arguments = ["-c", config_path]
    for flag, value in (
        ("-a", options.host),
        ("-p", options.port),
        ("-m", options.http_port),
        ("-ports_file_dir", options.ports_file_dir),
    ):
        if value is not None and value != "":
            arguments += [flag, str(value)]
    for flag, is_set in (("-D", options.debug), ("-V", options.trace), ("-VV", options.trace_verbose)):
        if is_set:
            arguments.append(flag)
    arguments += options.arguments
    return arguments


def server_config(options: EmbeddedOptions) -> str:
    """The configuration text: our defaults, the user's text, what must go before it.

    A later key replaces an earlier one. Our defaults stand in the user's first line, so that the line numbers in
    nats-server's error messages are those of the user's text.
    """
    text = f'max_pending: {options.max_pending_bytes}; write_deadline: "{options.write_deadline_s}s"; '
    text += options.config_text.rstrip("\n") + "\n"
    if options.name:
        text += f"server_name: {quote_value(options.name)}\n"  # as an argument it makes every reload fail
    if options.public_address:
        text += f"proxy_protocol: true\nclient_advertise: {quote_value(options.public_address)}\n"
    if options.http_port is not None:
        text += f"http: {quote_value(f'{bracketed(options.http_host)}:{options.http_port}')}\n"
    pairs = (("user", options.user), ("password", options.password), ("token", options.token))
    fields = [f"{key}: {quote_value(value)}" for key, value in pairs if value]
    if fields:
        text += f"authorization {{ {', '.join(fields)} }}\n"
    return text


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
