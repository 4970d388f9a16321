"""Drive an `Engine` without loop, socket or waiting: frames in, time moved by hand, commits that end as told.

What `server.publish_loop` does with asyncio is done here step by step, so that a test can stop between
any two of the steps. The store's coroutines are run at once: use one that does not wait.

    driver = EngineDriver(RecoverableMemoryStore())
    driver.connect("me")
    sub = driver.subscribe("me", "foo", start=FIRST)
    driver.publish("me", "foo", b"hello")
    assert driver.sequences(sub) == [1]
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from nats_streaming.constants import NS_PER_MS, NS_PER_SECOND
from nats_streaming.errors import StoreError
from nats_streaming.protocol.control_messages import (
    CloseRequest,
    ConnectRequest,
    ConnectResponse,
    ErrorResponse,
    Ping,
    PubAck,
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
    decode,
    encode,
)
from nats_streaming.protocol.nats_reader import LinkControl, NatsReader
from nats_streaming.protocol.protobuf import FIELD, FieldReader, to_signed
from nats_streaming.protocol.stan_messages import length_field
from nats_streaming.stores.api import Store
from nats_streaming.stores.batch import ServerPut
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.context import EngineOptions, Seek
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.engine import Engine
from nats_streaming.streaming.recovery import server_info
from nats_streaming.streaming.subjects import (
    SID_ACK,
    SID_CLOSE,
    SID_CONNECT,
    SID_PING,
    SID_PUBLISH,
    SID_REPLY,
    SID_SUBSCRIBE,
    SID_SUBSCRIPTION_CLOSE,
    SID_UNSUBSCRIBE,
    new_server_info,
)
from nats_streaming.testing.fake_clock import FakeClock

NEW_ONLY, LAST_RECEIVED, TIME_DELTA, SEQUENCE, FIRST = range(5)
READ_SLOTS = 4096

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Frame:
    """One PUB frame that the engine wrote."""

    subject: bytes
    reply: bytes
    payload: bytes


@dataclass(slots=True, frozen=True)
class Message:
    """A delivered MsgProto."""

    sequence: int = 0
    subject: bytes = b""
    reply: bytes = b""
    data: bytes = b""
    timestamp_ns: int = 0
    redelivered: bool = False
    redelivery_count: int = 0


@dataclass(slots=True)
class DrivenSubscription:
    """What a client library would remember of a subscription."""

    client_id: bytes
    channel: bytes
    inbox: bytes
    ack_inbox: bytes = b""
    error: str = ""
    received: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class DriverOptions:
    """Defaults of a driver's engine."""

    limits: StoreLimits = field(default_factory=StoreLimits)
    heartbeat_interval_ns: int = 30 * NS_PER_SECOND
    heartbeat_timeout_ns: int = 10 * NS_PER_SECOND
    heartbeat_fail_count: int = 10
    replace_durable: bool = False
    batch_max: int = 1024
    cluster_id: bytes = b"test-cluster"
    discover_prefix: bytes = b"_STAN.discover"
    recent_bytes: int = 64 << 20
    lent_bytes: int = 32 << 20


def run_now(awaitable: Awaitable[T]) -> T:
    """The result of what does not wait."""
    try:
        next(awaitable.__await__())
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the store waits: an EngineDriver needs one that does not")


class _NoControl(LinkControl):
    """The driver's link has no control frames."""


class EngineDriver:
    """One engine on one store.

    Attributes:
        frames: everything that was sent and not taken with `take_frames`.
        acks: guid and error of every PubAck, in order.
        automatic: commit, read and answer heartbeats by itself after every step; False leaves that to the test.
        alive: client IDs whose heartbeats are answered; others have no responders.
    """

    def __init__(
        self,
        store: Store,
        options: DriverOptions | None = None,
        clock: FakeClock | None = None,
        earlier: EngineDriver | None = None,
    ) -> None:
        """
        Args:
            earlier: the driver of the server before a restart.

        Raises:
            ConfigError: the store belongs to another cluster.
        """
        self.store = store
        self.options = options or DriverOptions()
        self.clock = clock or FakeClock()
        self.automatic = True
        self.alive: set[bytes] = set()
        self.frames: list[Frame] = []
        self.acks: list[tuple[bytes, str]] = []
        self._ack_sids: dict[bytes, int] = {}
        self.subscriptions: dict[bytes, list[DrivenSubscription]] = {}
        self.reads: list[tuple[Channel, int]] = []
        self.seeks: list[Seek] = []
        self.committing: Cycle | None = None
        self._inboxes: dict[bytes, bytes] = {}
        self._replies: dict[bytes, bytes] = {}
        self._serial = 0
        self.engine = self._start()
        self._reader = NatsReader(self.engine.inlet, _NoControl())
        self.engine.link_up(1 << 20)
        self.adopt(earlier)
        self.settle()
        self.engine.begin()
        self.settle()

    def adopt(self, earlier: EngineDriver | None) -> None:
        """The clients of a server before this one are still there."""
        if earlier is not None:
            self.subscriptions = earlier.subscriptions
            self.alive = earlier.alive
            self._inboxes = earlier._inboxes
            self._serial = earlier._serial

    def _start(self) -> Engine:
        options = self.options
        state = run_now(self.store.recover())
        info, is_new = server_info(state, new_server_info(options.cluster_id, options.discover_prefix))
        engine = Engine(
            EngineOptions(
                max_channels=options.limits.max_channels,
                limits=options.limits.build(),
                heartbeat_interval_ns=options.heartbeat_interval_ns,
                heartbeat_timeout_ns=options.heartbeat_timeout_ns,
                heartbeat_fail_count=options.heartbeat_fail_count,
                replace_durable=options.replace_durable,
                batch_max=options.batch_max,
                recent_bytes=options.recent_bytes,
                lent_bytes=options.lent_bytes,
            ),
            self.store.capabilities,
            info,
            self.clock,
        )
        if state is not None:
            engine.restore(state)
        self._ack_sids = dict(engine.recovered_inboxes())
        if is_new:
            engine.context.stage(ServerPut(info))
        return engine

    # The shell's part.

    def feed(self, sid: int, subject: bytes, payload: bytes, reply: bytes = b"", *, status: int = 0) -> None:
        """One message from NATS, a chunk of its own."""
        self.feed_many([(sid, subject, payload, reply, status)])

    def feed_many(self, messages: list[tuple[int, bytes, bytes, bytes, int]]) -> None:
        """Several messages in one chunk."""
        chunk = bytearray()
        for sid, subject, payload, reply, status in messages:
            reply_part = reply + b" " if reply else b""
            if status:
                header = b"NATS/1.0 %d\r\n\r\n" % status
                sizes = b"%d %d" % (len(header), len(header) + len(payload))
                chunk += b"HMSG %s %d %s%s\r\n%s%s\r\n" % (subject, sid, reply_part, sizes, header, payload)
            else:
                chunk += b"MSG %s %d %s%d\r\n%s\r\n" % (subject, sid, reply_part, len(payload), payload)
        self._reader.feed(bytes(chunk))
        self.engine.end_chunk()
        if self.automatic:
            self.settle()
        else:
            self.flush()

    def flush(self) -> None:
        """Take over what the engine wants to send and to read."""
        output = self.engine.take_output()
        frames = parse_frames(output)
        self.frames += frames
        for frame in frames:
            self._dispatch(frame)
        self.reads += self.engine.take_reads()
        for sid in self.engine.take_ended_sids():
            self._ack_sids = {inbox: known for inbox, known in self._ack_sids.items() if known != sid}
        self.seeks += self.engine.take_seeks()

    def settle(self) -> None:
        """Commit, read, answer heartbeats and go on with backlogs until nothing is left to do."""
        for _ in range(100_000):
            self.flush()
            if self.engine.wants_commit() or not self.engine.inlet.cycle.is_empty():
                self.begin_commit()
                self.end_commit()
            elif self.engine.has_backlog():
                self.engine.continue_backlog()
            elif self.reads:
                self.read()
            elif self.seeks:
                self.seek()
            elif not self._answer_heartbeats():
                return
        raise AssertionError("the engine never comes to rest")

    def begin_commit(self) -> Cycle | None:
        """Take the next batch and stage it; None when there is none. Ends with `end_commit`."""
        assert self.committing is None, "one commit at a time"
        cycle = self.engine.next_batch()
        if cycle is not None:
            self.store.stage(cycle.records)
            self.committing = cycle
        return cycle

    def end_commit(self) -> bool:
        """Commit what `begin_commit` has staged; False when the store failed."""
        cycle = self.committing
        if cycle is None:
            return True
        self.committing = None
        try:
            run_now(self.store.commit())
        except StoreError as error:
            self.engine.batch_failed(cycle, str(error))
            return False
        self.engine.batch_committed(cycle)
        return True

    def read(self) -> bool:
        """Serve the oldest read; one that fails is tried again later, by `retry_reads`."""
        channel, sequence = self.reads.pop(0)
        try:
            segment = run_now(self.store.read(channel.name, sequence, READ_SLOTS))
        except StoreError as error:
            self.engine.read_failed(channel, sequence, str(error))
            return False
        self.engine.read_done(channel, sequence, segment)
        return True

    def retry_reads(self) -> None:
        """What the shell does a while after a read has failed."""
        for channel in list(self.engine.inlet.channels.values()):
            self.engine.retry_reads(channel)
        if self.automatic:
            self.settle()
        else:
            self.flush()

    def seek(self) -> None:
        seek = self.seeks.pop(0)
        try:
            found = run_now(self.store.find_time(seek.channel, seek.timestamp_ns))
        except StoreError as error:
            seek.failed(str(error))
        else:
            seek.then(found)

    def advance(self, duration_ns: int) -> None:
        """Let time pass, timer by timer."""
        until_ns = self.clock.monotonic_ns() + duration_ns
        while True:
            deadline_ns = self.engine.next_deadline_ns()
            if deadline_ns is None or deadline_ns > until_ns:
                break
            self.clock.advance(max(0, deadline_ns - self.clock.monotonic_ns()))
            self.engine.run_timers()
            if self.automatic:
                self.settle()
            else:
                self.flush()
        self.clock.advance(until_ns - self.clock.monotonic_ns())

    def advance_ms(self, duration_ms: float) -> None:
        self.advance(int(duration_ms * NS_PER_MS))

    def _answer_heartbeats(self) -> bool:
        asked = [frame for frame in self.frames if frame.reply and not frame.payload]
        if not asked:
            return False
        self.frames = [frame for frame in self.frames if not (frame.reply and not frame.payload)]
        by_inbox = {inbox: client_id for client_id, inbox in self._inboxes.items()}
        was, self.automatic = self.automatic, False
        for frame in asked:
            answers = by_inbox.get(frame.subject) in self.alive
            self.feed(SID_REPLY, frame.reply, b"", status=0 if answers else 503)
        self.automatic = was
        return True

    def _dispatch(self, frame: Frame) -> None:
        if frame.subject.startswith(b"pub."):
            ack = decode(PubAck, frame.payload)
            assert ack is not None
            self.acks.append((ack.guid, ack.error.decode()))
        elif frame.subject.startswith(b"reply."):
            self._replies[frame.subject] = frame.payload
        else:
            for subscription in self.subscriptions.get(frame.subject, []):
                subscription.received.append(decode_message(frame.payload))

    def take_frames(self) -> list[Frame]:
        """What was sent since the last call."""
        frames, self.frames = self.frames, []
        return frames

    # The client's part.

    def _reply_subject(self) -> bytes:
        self._serial += 1
        return b"reply.%d" % self._serial

    def _request(self, sid: int, payload: bytes) -> bytes | None:
        reply = self._reply_subject()
        self.feed(sid, b"request", payload, reply)
        return self._replies.get(reply)

    def connect(self, client_id: str, *, inbox: bytes = b"", **fields: Any) -> str:
        """Connect, with the client ID as connection ID too; returns the error, "" for success."""
        name = client_id.encode()
        self._serial += 1
        inbox = inbox or b"heartbeat.%s.%d" % (name, self._serial)
        fields = {"connection_id": b"connection." + name, "protocol": 1, **fields}
        payload = self._request(SID_CONNECT, encode(ConnectRequest(name, inbox, **fields)))
        if payload is None:
            return "no reply"
        response = decode(ConnectResponse, payload)
        assert response is not None
        if not response.error:
            self._inboxes[name] = inbox
            self.alive.add(name)
        return response.error.decode()

    def ping(self, client_id: str) -> str:
        """Ping; returns the error."""
        payload = self._request(SID_PING, encode(Ping(b"connection." + client_id.encode())))
        response = decode(ErrorResponse, payload or b"")
        assert response is not None
        return response.error.decode()

    def disconnect(self, client_id: str) -> str:
        """Close the connection; returns the error."""
        payload = self._request(SID_CLOSE, encode(CloseRequest(client_id.encode())))
        if payload is None:
            return "no reply"
        response = decode(ErrorResponse, payload)
        assert response is not None
        return response.error.decode()

    def subscribe(
        self,
        client_id: str,
        channel: str,
        *,
        queue: str = "",
        durable: str = "",
        max_in_flight: int = 1024,
        ack_wait_s: int = 30,
        start: int = NEW_ONLY,
        sequence: int = 0,
        delta_ns: int = 0,
        inbox: str = "",
    ) -> DrivenSubscription:
        """Subscribe; the reply is filled in when it comes."""
        self._serial += 1
        request = SubscriptionRequest(
            client_id.encode(),
            channel.encode(),
            queue.encode(),
            inbox.encode() or b"inbox.%d" % self._serial,
            max_in_flight,
            ack_wait_s,
            durable.encode(),
            start,
            sequence,
            delta_ns,
        )
        subscription = DrivenSubscription(request.client_id, request.subject, request.inbox, error="no reply")
        self.subscriptions.setdefault(request.inbox, []).append(subscription)
        reply = self._reply_subject()
        self.feed(SID_SUBSCRIBE, b"request", encode(request), reply)
        self.answer_subscription(subscription, reply)
        if not subscription.ack_inbox:
            self._waiting_subscription = (subscription, reply)
        return subscription

    def answer_subscription(self, subscription: DrivenSubscription, reply: bytes) -> None:
        payload = self._replies.get(reply)
        if payload is not None:
            response = decode(SubscriptionResponse, payload)
            assert response is not None
            subscription.ack_inbox = response.ack_inbox
            subscription.error = response.error.decode()

    def late_reply(self, subscription: DrivenSubscription) -> DrivenSubscription:
        """For manual commits: look again for the response to the last `subscribe`."""
        waiting, reply = self._waiting_subscription
        assert waiting is subscription
        self.answer_subscription(subscription, reply)
        return subscription

    def end(self, subscription: DrivenSubscription, *, close: bool) -> str:
        """Unsubscribe or close; returns the error."""
        sid = SID_SUBSCRIPTION_CLOSE if close else SID_UNSUBSCRIBE
        request = UnsubscribeRequest(subscription.client_id, subscription.channel, subscription.ack_inbox)
        payload = self._request(sid, encode(request))
        if payload is None:
            return "no reply"
        response = decode(SubscriptionResponse, payload)
        assert response is not None
        return response.error.decode()

    def close(self, subscription: DrivenSubscription) -> str:
        return self.end(subscription, close=True)

    def unsubscribe(self, subscription: DrivenSubscription) -> str:
        return self.end(subscription, close=False)

    def publish(self, client_id: str, channel: str, *data: bytes) -> list[bytes]:
        """Publish in one chunk; returns the guids, whose acks appear in `acks`."""
        messages = []
        guids = []
        for item in data:
            self._serial += 1
            guid = b"guid.%d" % self._serial
            guids.append(guid)
            payload = b"".join(
                length_field(number, value)
                for number, value in (
                    (1, client_id.encode()),
                    (2, guid),
                    (3, channel.encode()),
                    (5, item),
                    (6, b"connection." + client_id.encode()),
                )
            )
            messages.append((SID_PUBLISH, b"_STAN.pub.test." + channel.encode(), payload, b"pub." + guid, 0))
        self.feed_many(messages)
        return guids

    def publish_many(self, client_id: str, channel: str, count: int) -> list[bytes]:
        """Publish `count` small messages, each with its number from 1 as data."""
        return self.publish(client_id, channel, *[b"%d" % number for number in range(1, count + 1)])

    def ack(self, subscription: DrivenSubscription, *sequences: int) -> None:
        """Ack in one chunk."""
        sid = self.ack_sid(subscription.ack_inbox)
        messages = []
        for sequence in sequences:
            payload = length_field(1, subscription.channel) + b"\x10" + _varint(sequence)
            messages.append((sid, subscription.ack_inbox, payload, b"", 0))
        self.feed_many(messages)

    def ack_sid(self, ack_inbox: bytes) -> int:
        """Under which of our NATS subscriptions an ack arrives."""
        return self._ack_sids.get(ack_inbox, SID_ACK)

    # What came.

    def error_of(self, guid: bytes) -> str:
        """The error of a PubAck, "" for success; it must have come exactly once."""
        errors = [error for known, error in self.acks if known == guid]
        assert len(errors) == 1, f"{guid!r} was acked {len(errors)} times"
        return errors[0]

    def take(self, subscription: DrivenSubscription) -> list[Message]:
        """What the subscription received since the last call."""
        received, subscription.received = subscription.received, []
        return received

    def sequences(self, subscription: DrivenSubscription) -> list[int]:
        """`take`, sequences only."""
        return [message.sequence for message in self.take(subscription)]

    def marks(self, subscription: DrivenSubscription) -> list[str]:
        """`take` in short: `3` for a first delivery, `3R2` for the second redelivery of 3."""
        return [
            f"{message.sequence}R{message.redelivery_count}" if message.redelivered else str(message.sequence)
            for message in self.take(subscription)
        ]

    def channel(self, name: str) -> Channel:
        return self.engine.inlet.channels[name.encode()]


def restarted(driver: EngineDriver, store: Store, **changes: Any) -> EngineDriver:
    """A new server over a store that has recovered, at the same time, with the clients still there.

    Args:
        changes: options that differ.
    """
    return EngineDriver(store, replace(driver.options, **changes), driver.clock, driver)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_frames(output: bytes) -> list[Frame]:
    """PUB frames as the engine writes them."""
    frames = []
    position = 0
    while position < len(output):
        end = output.index(b"\r\n", position)
        word, subject, *rest = output[position:end].split(b" ")
        assert word == b"PUB", output[position:end]
        size = int(rest[-1])
        payload = output[end + 2 : end + 2 + size]
        assert output[end + 2 + size : end + 4 + size] == b"\r\n"
        frames.append(Frame(subject, rest[0] if len(rest) == 2 else b"", payload))
        position = end + 4 + size
    return frames


def decode_message(payload: bytes) -> Message:
    """Decode a delivered MsgProto."""
    reader = FieldReader()
    reader.open(payload, 0, len(payload))
    values: dict[int, Any] = {}
    while reader.next_field() == FIELD:
        values[reader.number] = payload[reader.start : reader.stop] if reader.wire == 2 else reader.value
    return Message(
        sequence=values.get(1, 0),
        subject=values.get(2, b""),
        reply=values.get(3, b""),
        data=values.get(4, b""),
        timestamp_ns=to_signed(values.get(5, 0)),
        redelivered=bool(values.get(6, 0)),
        redelivery_count=values.get(7, 0),
    )
