"""How a client behaves, and the defaults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats_streaming.client.publisher import PublishLimits
from nats_streaming.client.supervisor import Resumed

MAX_PUB_ACKS_INFLIGHT = 16_384
"""Publishes without ack before publishing waits; the Go client's default."""

MAX_PUB_BYTES_INFLIGHT = 64 * 1024 * 1024
"""Their bytes before publishing waits: 16,384 messages of 1 MiB would be 16 GiB."""

ACK_TIMEOUT_SECONDS = 30.0
PING_INTERVAL_SECONDS = 5
PING_MAX_OUT = 3
REQUEST_TIMEOUT_SECONDS = 5.0
CLOSE_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client behaves; `connect` describes each."""

    cluster_id: str
    client_id: str
    limits: PublishLimits
    auto_resume: bool
    resume_timeout_s: float | None
    ping_interval_s: int
    ping_max_out: int
    request_timeout_s: float
    close_timeout_s: float
    discover_prefix: str
    inbox_prefix: str
    on_disconnect: Callable[[str], Awaitable[None] | None] | None
    on_resume: Callable[[Resumed], Awaitable[None] | None] | None
    on_error: Callable[[Exception], Awaitable[None] | None] | None


def at_least(name: str, value: int, least: int) -> None:
    """
    Raises:
        ValueError: `value` of the argument `name` is too small.
    """
    if value < least:
        raise ValueError(f"{name}: at least {least}, not {value}")
