"""What the services of the engine share: time, timers, the current cycle, the outbox, the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nats_streaming.clock import Clock
from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.protocol.nats_writer import put_publish
from nats_streaming.protocol.subjects import PatternSet
from nats_streaming.stores.api import Capabilities
from nats_streaming.stores.batch import Record
from nats_streaming.stores.limits import ResolvedLimits
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.delivery import Delivery
from nats_streaming.streaming.early_requests import EarlyRequests
from nats_streaming.streaming.inlet import Inlet
from nats_streaming.streaming.requests import Requests
from nats_streaming.streaming.residency import Residency
from nats_streaming.streaming.subjects import Subjects
from nats_streaming.streaming.timers import TimerQueue


@dataclass(slots=True, frozen=True)
class EngineOptions:
    """What the engine needs of the server's options.

    Attributes:
        max_channels: channels of the server, 0 for unlimited.
        limits: what holds for each channel.
        heartbeat_fail_count: failures in a row that a client survives.
        batch_max: messages of one batch at most, at least 1.
        trace, debug: whether streaming writes TRC and DBG lines; the one about a publish needs both.
        partition: the only channels and patterns that are served; empty for all.
        recent_bytes: published messages kept in memory, over all channels, when the store can give them again.
        lent_bytes: messages kept that were read from the store.
    """

    max_channels: int
    limits: ResolvedLimits
    heartbeat_interval_ns: int
    heartbeat_timeout_ns: int
    heartbeat_fail_count: int
    replace_durable: bool = False
    batch_max: int = 1024
    trace: bool = False
    debug: bool = False
    partition: tuple[bytes, ...] = ()
    recent_bytes: int = 64 << 20
    lent_bytes: int = 32 << 20


@dataclass(slots=True)
class Seek:
    """A start by time that needs the store: call `then` with the sequence, or `failed` with the error's text."""

    channel: bytes
    timestamp_ns: int
    then: Callable[[int], None]
    failed: Callable[[str], None]


class Context:
    """One per engine. Services read it; only the engine replaces what is in it."""

    def __init__(self, options: EngineOptions, capabilities: Capabilities, info: ServerInfo, clock: Clock) -> None:
        self.options = options
        self.capabilities = capabilities
        self.clock = clock
        self._read_monotonic = clock.monotonic_ns
        self._read_wall = clock.wall_ns
        self.info = info
        self.subjects = Subjects(info)
        self.now_ns = clock.monotonic_ns()
        self.wall_ns = clock.wall_ns()
        self.timers = TimerQueue()
        self.partition = PatternSet(options.partition) if options.partition else None
        self.early = EarlyRequests(self.timers)
        self.delivery = Delivery(capabilities.recoverable)
        self.delivery.trace = options.trace
        self.requests = Requests(self.timers, self.delivery.out, self.subjects.reply_prefix)
        self.residency = Residency(0 if capabilities.resident else options.recent_bytes, options.lent_bytes)
        self.seeks: list[Seek] = []
        self.last_subscription_id = 0
        self.inlet: Any = None

    def next_subscription_id(self, channel: Channel) -> int:
        """IDs rise from 1 and are not used again, in the channel or in the whole store, as the store has it."""
        if not self.capabilities.shared_subscription_ids:
            return channel.next_subscription_id()
        self.last_subscription_id += 1
        return self.last_subscription_id

    def name_fault(self, what: str, name: bytes) -> str:
        """Why the store has no room for a name, "" if it has; a batch with such a name would fail as a whole.

        Args:
            what: for the text, for instance `channel name`.
        """
        limit = self.capabilities.name_bytes_max
        if limit and len(name) > limit:
            return f"{what} is too long for the store: {len(name)} bytes, at most {limit}"
        return ""

    def is_ours(self, channel: bytes) -> bool:
        """Whether we serve this channel; without partitions every one."""
        return self.partition is None or self.partition.overlapping(channel) is not None

    def attach(self, inlet: Inlet) -> None:
        self.inlet = inlet

    @property
    def cycle(self) -> Cycle:
        cycle: Cycle = self.inlet.cycle
        return cycle

    def read_clock(self) -> None:
        """Once per chunk or timer run; everything in between happens at this time."""
        self.now_ns = self._read_monotonic()
        self.wall_ns = self._read_wall()
        self.inlet.now_ns = self.delivery.now_ns = self.now_ns
        self.inlet.wall_ns = self.wall_ns

    def stage(self, record: Record) -> None:
        """Let a fact ride in the next commit, if the store keeps such facts."""
        if self.capabilities.recoverable:
            self.cycle.records.append(record)

    def reply(self, subject: bytes, payload: bytes) -> None:
        """Answer after the commit of the current cycle; a request without a reply subject is not answered."""
        if subject:
            put_publish(self.cycle.replies, subject, b"", payload)
            self.cycle.waited_for = True

    def reply_now(self, subject: bytes, payload: bytes) -> None:
        """Answer without waiting for any commit."""
        if subject:
            put_publish(self.delivery.out, subject, b"", payload)
