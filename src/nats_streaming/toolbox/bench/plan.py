"""What a bench shall do, and what one of its clients did: the values that go between the processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nats_streaming.toolbox.bench.histogram import Histogram

MESSAGE_BYTES_MIN = 24
"""What every message carries: when it was sent, by which publisher, and which of its messages it is."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BenchPlan:
    """One bench.

    Attributes:
        servers, cluster: where.
        login: the members of a `Login`.
        channel: where to.
        publishers, subscribers: clients of each kind.
        messages: published by each publisher.
        size: bytes of a message, at least `MESSAGE_BYTES_MIN`.
        sync: whether a publisher waits for each ack.
        window: messages of one publisher without ack.
        max_in_flight: messages to one subscriber without ack.
        queue: group that the subscribers share, "" if each gets everything.
        rate: messages a second of one publisher, 0 for no limit.
        processes: that the clients are spread over.
        idle_s: seconds without a message after which a subscriber takes the rest for lost.
        timeout_s: seconds to wait for an answer, and for an ack.
    """

    servers: list[str]
    cluster: str
    login: dict[str, Any] = field(default_factory=dict, repr=False)
    channel: str
    publishers: int
    subscribers: int
    messages: int
    size: int
    sync: bool = False
    window: int = 1024
    max_in_flight: int = 1024
    queue: str = ""
    rate: float = 0.0
    processes: int = 1
    idle_s: float = 5.0
    timeout_s: float = 30.0

    @property
    def total(self) -> int:
        """Messages of all publishers."""
        return self.publishers * self.messages


@dataclass(slots=True)
class ClientResult:
    """What one client did.

    Attributes:
        number: of the client among those of its kind, from 0.
        sent: messages published.
        acked: of those, with an ack.
        failed: of those, refused or without an ack in time.
        received: messages, each counted once.
        repeated: messages that came again.
        missing: gaps in what came of each publisher; not known in a queue group.
        begun_ns, ended_ns: monotonic; of the first and the last message.
        latency: publish to ack, or publish to arrival.
        error: why it ended early.
    """

    kind: str
    number: int
    sent: int = 0
    acked: int = 0
    failed: int = 0
    received: int = 0
    repeated: int = 0
    missing: int = 0
    begun_ns: int = 0
    ended_ns: int = 0
    latency: Histogram = field(default_factory=Histogram)
    error: str = ""

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.begun_ns) / 1e9

    @property
    def messages(self) -> int:
        """That count for its rate."""
        return self.acked if self.kind == "pub" else self.received

    @property
    def per_s(self) -> float:
        return self.messages / self.seconds if self.seconds > 0 else 0.0

    def as_document(self) -> dict[str, Any]:
        members = {name: getattr(self, name) for name in self.__slots__ if name != "latency"}
        return {**members, "latency": self.latency.as_document()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ClientResult:
        """What `as_document` gave."""
        return cls(**{**document, "latency": Histogram.from_document(document["latency"])})
