"""`connect`: its arguments, checked at once, and what it returns, to be awaited or entered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Literal, Unpack

from nats_streaming.client.client import Client
from nats_streaming.client.link import ClientLink
from nats_streaming.client.nats_options import NatsOptions, check_names, only_nats_py
from nats_streaming.client.options import (
    ACK_TIMEOUT_SECONDS,
    CLOSE_TIMEOUT_SECONDS,
    MAX_PUB_ACKS_INFLIGHT,
    MAX_PUB_BYTES_INFLIGHT,
    PING_INTERVAL_SECONDS,
    PING_MAX_OUT,
    REQUEST_TIMEOUT_SECONDS,
    ClientOptions,
    at_least,
)
from nats_streaming.client.publisher import PublishLimits
from nats_streaming.client.supervisor import Resumed
from nats_streaming.constants import DEFAULT_DISCOVER_PREFIX

if TYPE_CHECKING:
    from types import TracebackType

    from nats.aio.client import Client as NatsClient


def connect(
    cluster_id: str,
    client_id: str,
    *,
    servers: str | Sequence[str] = "nats://127.0.0.1:4222",
    nats: NatsClient | None = None,
    transport: Literal["auto", "native", "nats-py"] = "auto",
    max_pub_acks_inflight: int = MAX_PUB_ACKS_INFLIGHT,
    max_pub_bytes_inflight: int = MAX_PUB_BYTES_INFLIGHT,
    ack_timeout: float = ACK_TIMEOUT_SECONDS,
    auto_resume: bool = True,
    resume_timeout: float | None = None,
    stan_ping_interval: int = PING_INTERVAL_SECONDS,
    stan_ping_max_out: int = PING_MAX_OUT,
    request_timeout: float = REQUEST_TIMEOUT_SECONDS,
    close_timeout: float = CLOSE_TIMEOUT_SECONDS,
    discover_prefix: str = DEFAULT_DISCOVER_PREFIX,
    on_disconnect: Callable[[str], Awaitable[None] | None] | None = None,
    on_resume: Callable[[Resumed], Awaitable[None] | None] | None = None,
    on_error: Callable[[Exception], Awaitable[None] | None] | None = None,
    **nats_options: Unpack[NatsOptions],
) -> Connecting:
    """Connect to a streaming server: `async with connect(...) as stan`, or `stan = await connect(...)`.

    Args:
        cluster_id: the server's.
        client_id: letters, digits, `-` and `_`; only one living client can have it.
        servers: addresses of NATS, one or several.
        nats: a connected nats-py connection to use instead; it is not closed with this client.
        transport: "native" is fast; "nats-py" takes every option of nats-py; "auto" is native unless `nats` or an
            option or address that only nats-py knows is given.
        max_pub_acks_inflight: publishes without ack at which publishing waits, at least 1.
        max_pub_bytes_inflight: their bytes at which publishing waits, at least 1.
        ack_timeout: seconds after which a publish without ack fails; a time without a session does not count.
        auto_resume: resume after a lost connection, a restarted server or a taken client ID; False raises
            `ConnectionLost` instead.
        resume_timeout: seconds after which a resume is given up with `ConnectionLost`; None never.
        stan_ping_interval: seconds between pings to the streaming server, at least 1.
        stan_ping_max_out: pings without an answer that end the session.
        request_timeout: seconds to wait for the answer to a connect, subscribe, unsubscribe or close.
        close_timeout: seconds that `close` waits for the acks of what was published.
        discover_prefix: of the subject that servers take connects on.
        on_disconnect: told why the session is gone; a resume follows.
        on_resume: told what a resume did.
        on_error: told of errors that no caller gets, else they are logged: of callbacks, of publishes nobody awaits, of
            attempts to resume.
        nats_options: any option of nats-py's `connect`.

    Raises:
        ValueError, TypeError: an argument is not allowed.
        ConnectError: (when awaited) no connection, or the server refused the client ID.
        NoResponse: (when awaited) no streaming server of this cluster ID answered.
    """
    addresses = [servers] if isinstance(servers, str) else list(servers)
    check_names(nats_options)
    at_least("max_pub_acks_inflight", max_pub_acks_inflight, 1)
    at_least("max_pub_bytes_inflight", max_pub_bytes_inflight, 1)
    at_least("stan_ping_interval", stan_ping_interval, 1)
    at_least("stan_ping_max_out", stan_ping_max_out, 1)
    for name, seconds in (
        ("ack_timeout", ack_timeout),
        ("request_timeout", request_timeout),
        ("resume_timeout", 1 if resume_timeout is None else resume_timeout),
    ):
        if not seconds > 0:
            raise ValueError(f"{name}: seconds, more than 0, not {seconds}")
    if close_timeout < 0:
        raise ValueError(f"close_timeout: seconds, at least 0, not {close_timeout}")
    inbox_prefix = nats_options.get("inbox_prefix", "_INBOX")
    options = ClientOptions(
        cluster_id=cluster_id,
        client_id=client_id,
        limits=PublishLimits(max_pub_acks_inflight, max_pub_bytes_inflight, ack_timeout),
        auto_resume=auto_resume,
        resume_timeout_s=resume_timeout,
        ping_interval_s=stan_ping_interval,
        ping_max_out=stan_ping_max_out,
        request_timeout_s=request_timeout,
        close_timeout_s=close_timeout,
        discover_prefix=discover_prefix,
        inbox_prefix=inbox_prefix.decode() if isinstance(inbox_prefix, bytes) else inbox_prefix,
        on_disconnect=on_disconnect,
        on_resume=on_resume,
        on_error=on_error,
    )
    foreign = ["nats"] if nats is not None else only_nats_py(addresses, nats_options)
    if transport == "native" and foreign:
        raise ValueError(f"the native transport does not know {', '.join(foreign)}: say transport='nats-py' or 'auto'")
    if transport not in ("auto", "native", "nats-py"):
        raise ValueError(f"transport: 'auto', 'native' or 'nats-py', not {transport!r}")

    def make_link() -> ClientLink:
        name = f"{client_id}"
        if foreign or transport == "nats-py":
            from nats_streaming.client.nats_py_link import NatsPyLink

            return NatsPyLink(nats, addresses, name, nats_options)
        from nats_streaming.client.native_link import NativeLink

        return NativeLink(addresses, name, nats_options)

    return Connecting(options, make_link)


class Connecting:
    """What `connect` returns: await it for a `Client`, or enter it to have the client closed at the end."""

    def __init__(self, options: ClientOptions, make_link: Callable[[], ClientLink]) -> None:
        """For `connect` only."""
        self._options = options
        self._make_link = make_link
        self._client: Client | None = None

    def __await__(self) -> Generator[object, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> Client:
        client = Client(self._options, self._make_link())
        await client.open()
        return client
