"""A small NATS client and, on top of it, a STAN client at the level of single messages.

Both do what a test tells them and nothing more: they validate nothing before sending, never reconnect, and can be
told to fall silent. `NatsClient` speaks to any NATS server; `StanClient` and `StanSubscription` speak the STAN protocol
through it and insist that whatever the streaming server sends is canonically encoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.support import stan_messages as stan
from tests.support.stan_messages import StanMessage, StartPosition, decode_canonical

Text = str | bytes
REPLY_SECONDS = 20.0
"""How long a helper waits for something that must come: long, since it is only spent when a test fails."""

_unique = itertools.count(1)


def as_bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text


def unique(prefix: str) -> str:
    """A name no other call in this process returns."""
    return f"{prefix}{next(_unique)}"


class NoRespondersError(Exception):
    """Nobody was subscribed to the subject of a request."""


class StanError(Exception):
    """The streaming server answered with an error; `str()` of it is the exact text."""


async def refused(request: Any) -> str:
    """Await a request that must be refused and return the error text."""
    try:
        outcome = await request
    except StanError as error:
        return str(error)
    raise AssertionError(f"accepted: {outcome!r}")


@dataclass(slots=True)
class NatsMessage:
    """One MSG or HMSG. `headers` is the raw block including its version line, or empty; `received_at` is monotonic."""

    subject: bytes
    reply: bytes
    payload: bytes
    headers: bytes
    received_at: float

    @property
    def no_responders(self) -> bool:
        return not self.payload and self.headers.startswith(b"NATS/1.0 503")


class NatsSubscription:
    """Messages of one SUB, in arrival order; with a `callback` they go to it instead of the queue."""

    def __init__(self, client: NatsClient, sid: int, subject: bytes, callback: Callable[[NatsMessage], None] | None):
        self.client = client
        self.sid = sid
        self.subject = subject
        self.callback = callback
        self.queue: asyncio.Queue[NatsMessage | None] = asyncio.Queue()

    async def next(self, seconds: float = REPLY_SECONDS) -> NatsMessage:
        async with asyncio.timeout(seconds):
            message = await self.queue.get()
        if message is None:
            self.queue.put_nowait(None)
            raise ConnectionResetError("the NATS connection is gone")
        return message

    async def quiet(self, seconds: float) -> None:
        """Fail if anything arrives within `seconds`."""
        with contextlib.suppress(TimeoutError):
            unexpected = await self.next(seconds)
            raise AssertionError(f"unexpected message {unexpected!r}")


class NatsClient:
    """One connection to a NATS server. Make it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._sids = itertools.count(1)
        self._subscriptions: dict[int, NatsSubscription] = {}
        self._pongs: list[asyncio.Future[None]] = []
        self._replies: dict[bytes, asyncio.Future[NatsMessage]] = {}
        self._read_task: asyncio.Task[None] | None = None
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox_prefix = b""
        self.info: dict[str, Any] = {}
        self.errors: list[bytes] = []
        self.failure: BaseException | None = None
        self.disconnected = asyncio.Event()

    @classmethod
    async def connect(
        cls, port: int, *, host: str = "127.0.0.1", no_responders: bool = True, **credentials: str
    ) -> NatsClient:
        """Connect to a NATS server.

        Args:
            credentials: fields of CONNECT: `user` and `pass`, or `auth_token`.

        Raises:
            ConnectionResetError: it refused us.
        """
        reader, writer = await asyncio.open_connection(host, port)
        client = cls(reader, writer)
        client._read_task = asyncio.create_task(client._read())
        async with asyncio.timeout(REPLY_SECONDS):
            await client._greeted
        options = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": no_responders,
            "protocol": 1,
            "lang": "test",
            "version": "1",
            **credentials,
        }
        writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        client._inbox_prefix = client.new_inbox() + b"."
        client.subscribe(client._inbox_prefix + b"*", client._on_reply)
        await client.flush()
        return client

    async def close(self) -> None:
        self.abort()
        if self._read_task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._read_task

    def abort(self) -> None:
        """Drop the connection at once, as a crashed process would."""
        self._writer.transport.abort()

    def new_inbox(self) -> bytes:
        return f"_INBOX.{unique('test')}x{time.monotonic_ns():x}".encode()

    def write(self, frames: bytes) -> None:
        """Send raw protocol bytes."""
        self._writer.write(frames)

    def publish(self, subject: Text, payload: bytes = b"", reply: Text = b"") -> None:
        head = b"PUB %b %b %d\r\n" if reply else b"PUB %b%b %d\r\n"
        self._writer.write(head % (as_bytes(subject), as_bytes(reply), len(payload)) + payload + b"\r\n")

    def subscribe(self, subject: Text, callback: Callable[[NatsMessage], None] | None = None) -> NatsSubscription:
        sid = next(self._sids)
        subscription = NatsSubscription(self, sid, as_bytes(subject), callback)
        self._subscriptions[sid] = subscription
        self._writer.write(b"SUB %b %d\r\n" % (subscription.subject, sid))
        return subscription

    def unsubscribe(self, subscription: NatsSubscription) -> None:
        self._subscriptions.pop(subscription.sid, None)
        self._writer.write(b"UNSUB %d\r\n" % subscription.sid)

    async def flush(self) -> None:
        """Wait until the NATS server has handled all we sent, and we all that it had sent before answering."""
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._writer.write(b"PING\r\n")
        async with asyncio.timeout(REPLY_SECONDS):
            await pong

    async def request(self, subject: Text, payload: bytes = b"", seconds: float = REPLY_SECONDS) -> NatsMessage:
        """Send a request and return the first answer.

        Raises:
            NoRespondersError: nobody listens on `subject`.
            TimeoutError: no answer came.
        """
        reply = self._inbox_prefix + unique("r").encode()
        future: asyncio.Future[NatsMessage] = asyncio.get_running_loop().create_future()
        self._replies[reply] = future
        self.publish(subject, payload, reply)
        try:
            async with asyncio.timeout(seconds):
                message = await future
        finally:
            del self._replies[reply]
        if message.no_responders:
            raise NoRespondersError(subject)
        return message

    async def unanswered(self, subject: Text, payload: bytes, seconds: float = 0.2) -> None:
        """Send a request that must get no answer from a subscriber who is there."""
        with contextlib.suppress(TimeoutError):
            answer = await self.request(subject, payload, seconds)
            raise AssertionError(f"unexpected answer {answer!r}")

    def _on_reply(self, message: NatsMessage) -> None:
        future = self._replies.get(message.subject)
        if future is not None and not future.done():
            future.set_result(message)

    async def _read(self) -> None:
        try:
            while chunk := await self._reader.read(1 << 18):
                self._feed(chunk)
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - kept for whoever closes this client
            self.failure = error
        finally:
            self._writer.transport.abort()
            self.disconnected.set()
            gone = ConnectionResetError("the NATS connection is gone")
            waiting: list[asyncio.Future[Any]] = [self._greeted, *self._pongs, *self._replies.values()]
            for future in waiting:
                if not future.done():
                    future.set_exception(gone)
                    future.exception()
            for subscription in self._subscriptions.values():
                subscription.queue.put_nowait(None)

    def _feed(self, chunk: bytes) -> None:
        data = self._buffer + chunk if self._buffer else chunk
        now = time.monotonic()
        position = 0
        while (line_end := data.find(b"\r\n", position)) >= 0:
            kind = data[position : position + 1]
            if kind in b"MH":
                words = data[position:line_end].split(b" ")
                size = int(words[-1])
                frame_end = line_end + 4 + size
                if len(data) < frame_end:
                    break
                header_size = int(words[-2]) if kind == b"H" else 0
                reply = words[3] if len(words) == (6 if kind == b"H" else 5) else b""
                start = line_end + 2
                message = NatsMessage(
                    words[1], reply, data[start + header_size : start + size], data[start : start + header_size], now
                )
                self._dispatch(int(words[2]), message)
                position = frame_end
                continue
            self._on_control(data[position:line_end])
            position = line_end + 2
        self._buffer = data[position:]

    def _dispatch(self, sid: int, message: NatsMessage) -> None:
        subscription = self._subscriptions.get(sid)
        if subscription is None:
            return
        if subscription.callback is not None:
            subscription.callback(message)
        else:
            subscription.queue.put_nowait(message)

    def _on_control(self, line: bytes) -> None:
        if line == b"PING":
            self._writer.write(b"PONG\r\n")
        elif line == b"PONG":
            pong = self._pongs.pop(0)
            if not pong.done():
                pong.set_result(None)
        elif line.startswith(b"INFO "):
            self.info = json.loads(line[5:])
            if not self._greeted.done():
                self._greeted.set_result(None)
        elif line.startswith(b"-ERR"):
            self.errors.append(line)


@dataclass(slots=True)
class Delivery:
    """One message as a subscriber got it."""

    sequence: int
    subject: bytes
    reply: bytes
    data: bytes
    timestamp: int
    redelivered: bool
    redelivery_count: int
    received_at: float
    payload: bytes

    @classmethod
    def of(cls, message: NatsMessage) -> Delivery:
        proto = decode_canonical(stan.MsgProto, message.payload)
        assert not proto.CRC32, "the server never sets a checksum"
        assert bool(proto.redelivered) == (proto.redeliveryCount > 0), f"flag and count disagree: {proto}"
        assert message.headers == b"", "the server uses no NATS headers"
        return cls(
            proto.sequence,
            proto.subject,
            proto.reply,
            proto.data,
            proto.timestamp,
            proto.redelivered,
            proto.redeliveryCount,
            message.received_at,
            message.payload,
        )

    @property
    def stored_at(self) -> float:
        """Its timestamp as monotonic time; a first delivery of a new message was sent right after."""
        return self.timestamp / 1e9 - time.time() + time.monotonic()

    @property
    def repeat(self) -> tuple[int, int]:
        """Sequence and redelivery count."""
        return self.sequence, self.redelivery_count


class StanSubscription:
    """One STAN subscription of a `StanClient`; its deliveries are queued in arrival order."""

    def __init__(self, client: StanClient, channel: bytes, nats_subscription: NatsSubscription, auto_ack: bool) -> None:
        self.client = client
        self.channel = channel
        self.inbox = nats_subscription.subject
        self.ack_inbox = b""
        self.responded_at = 0.0
        self.auto_ack = auto_ack
        self._early: list[Delivery] = []
        self._nats_subscription = nats_subscription
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        nats_subscription.callback = self._on_message

    def _on_message(self, message: NatsMessage) -> None:
        delivery = Delivery.of(message)
        self._queue.put_nowait(delivery)
        if self.auto_ack and self.ack_inbox:
            self.ack(delivery)
        elif self.auto_ack:
            self._early.append(delivery)

    def start(self, ack_inbox: bytes, responded_at: float) -> None:
        """Take the response. Messages may have been read in the same chunk, and are acked only now."""
        self.ack_inbox = ack_inbox
        self.responded_at = responded_at
        for delivery in self._early:
            self.ack(delivery)
        self._early.clear()

    async def next(self, seconds: float = REPLY_SECONDS) -> Delivery:
        async with asyncio.timeout(seconds):
            return await self._queue.get()

    async def take(self, count: int, seconds: float = REPLY_SECONDS) -> list[Delivery]:
        deliveries: list[Delivery] = []
        try:
            async with asyncio.timeout(seconds):
                while len(deliveries) < count:
                    deliveries.append(await self._queue.get())
        except TimeoutError:
            repeats = [delivery.repeat for delivery in deliveries]
            raise AssertionError(f"{len(repeats)} of {count} messages after {seconds} s: {repeats[-50:]}") from None
        return deliveries

    async def sequences(self, count: int, seconds: float = REPLY_SECONDS) -> list[int]:
        """The sequences of the next `count` messages, all of which must be first deliveries."""
        deliveries = await self.take(count, seconds)
        assert not any(delivery.redelivered for delivery in deliveries), [delivery.repeat for delivery in deliveries]
        return [delivery.sequence for delivery in deliveries]

    async def repeats(self, count: int, seconds: float = REPLY_SECONDS) -> list[tuple[int, int]]:
        """Sequence and redelivery count of the next `count` messages."""
        return [delivery.repeat for delivery in await self.take(count, seconds)]

    def waiting(self) -> list[tuple[int, int]]:
        """Take all that has arrived so far: sequence and redelivery count of each."""
        arrived = []
        while not self._queue.empty():
            arrived.append(self._queue.get_nowait().repeat)
        return arrived

    async def settled(self) -> list[tuple[int, int]]:
        """All that the streaming server sent before anything this process has already seen the answer of."""
        await self.client.nats.flush()
        return self.waiting()

    async def quiet(self, seconds: float) -> None:
        """Fail if anything arrives within `seconds`."""
        with contextlib.suppress(TimeoutError):
            unexpected = await self.next(seconds)
            raise AssertionError(f"unexpected message {unexpected!r}")
        assert not self.client.nats.disconnected.is_set(), "silence of a dead connection proves nothing"

    def ack(self, delivery: Delivery | int) -> None:
        sequence = delivery if isinstance(delivery, int) else delivery.sequence
        payload = stan.Ack(subject=self.channel, sequence=sequence).SerializeToString()
        self.client.nats.publish(self.ack_inbox, payload)

    async def unsubscribe(self, **overrides: Any) -> None:
        await self._leave(self.client.connect_response.unsubRequests, overrides)

    async def close(self, **overrides: Any) -> None:
        await self._leave(self.client.connect_response.subCloseRequests, overrides)

    async def _leave(self, subject: bytes, overrides: dict[str, Any]) -> None:
        fields = {"clientID": self.client.client_id, "subject": self.channel, "inbox": self.ack_inbox, **overrides}
        answer = await self.client.nats.request(subject, stan.UnsubscribeRequest(**fields).SerializeToString())
        response = decode_canonical(stan.SubscriptionResponse, answer.payload)
        if answer.payload:
            assert response == stan.SubscriptionResponse(error=response.error), "an error comes alone"
            raise StanError(response.error.decode())


class StanClient:
    """One STAN client ID over a NATS connection. Make it with `connect`."""

    def __init__(self, nats: NatsClient, client_id: bytes, conn_id: bytes, cluster: str) -> None:
        self.nats = nats
        self.client_id = client_id
        self.conn_id = conn_id
        self.cluster = cluster
        self.answering = True
        self.heartbeats: asyncio.Queue[NatsMessage] = asyncio.Queue()
        self.heartbeat_inbox = b""
        self.connect_response: StanMessage = None
        self.acks: asyncio.Queue[StanMessage] = asyncio.Queue()
        self.acks_without_responders = 0
        self._ack_subject = b"_STAN.acks." + unique("test").encode() + b"%x" % time.monotonic_ns()
        self._ack_waiters: dict[bytes, list[asyncio.Future[StanMessage]]] = {}
        self._guids = itertools.count(1)

    @classmethod
    async def connect(
        cls,
        nats: NatsClient,
        client_id: Text,
        *,
        conn_id: Text | None = None,
        protocol: int = 1,
        ping_interval: int = 5,
        ping_max_out: int = 3,
        answering: bool = True,
        cluster: str = "test-cluster",
    ) -> StanClient:
        """Register `client_id`.

        Args:
            nats: connection to speak over; may be shared.
            client_id: as is, valid or not.
            conn_id: None makes one up; empty sends none.
            protocol: 0 also leaves out the ping values.
            ping_interval: seconds, echoed by the server.
            ping_max_out: echoed by the server.
            answering: whether heartbeats and probes get an answer; also an attribute to change later.
            cluster: cluster ID to connect to.

        Raises:
            StanError: the server refused.
        """
        identity = unique("conn") if conn_id is None else conn_id
        client = cls(nats, as_bytes(client_id), as_bytes(identity), cluster)
        client.answering = answering
        client.heartbeat_inbox = nats.new_inbox()
        nats.subscribe(client.heartbeat_inbox, client._on_heartbeat)
        nats.subscribe(client._ack_subject, client._on_ack)
        request = stan.ConnectRequest(
            clientID=client.client_id, heartbeatInbox=client.heartbeat_inbox, protocol=protocol, connID=client.conn_id
        )
        if protocol:
            request.pingInterval = ping_interval
            request.pingMaxOut = ping_max_out
        client.connect_response = await connect_request(nats, request, cluster)
        if client.connect_response.error:
            raise StanError(client.connect_response.error.decode())
        return client

    def _on_heartbeat(self, message: NatsMessage) -> None:
        self.heartbeats.put_nowait(message)
        if self.answering and message.reply:
            self.nats.publish(message.reply)

    def _on_ack(self, message: NatsMessage) -> None:
        if message.no_responders:
            self.acks_without_responders += 1
            return
        ack = decode_canonical(stan.PubAck, message.payload)
        waiters = self._ack_waiters.get(ack.guid)
        if waiters:
            waiters.pop(0).set_result(ack)
        else:
            self.acks.put_nowait(ack)

    # Publishing

    def publish_nowait(self, channel: Text, data: bytes = b"", **overrides: Any) -> bytes:
        """Send one publish and return its guid; its ack goes to `acks`.

        Args:
            channel: field 3 and, by default, the end of the NATS subject.
            data: payload.
            overrides: further or other fields of PubMsg; `nats_subject` for another NATS subject.
        """
        nats_subject = overrides.pop("nats_subject", self.connect_response.pubPrefix + b"." + as_bytes(channel))
        guid = overrides.setdefault("guid", b"g%d" % next(self._guids))
        fields = {"clientID": self.client_id, "connID": self.conn_id, "subject": as_bytes(channel), "data": data}
        message = stan.PubMsg(**(fields | overrides))
        self.nats.publish(nats_subject, message.SerializeToString(), self._ack_subject)
        assert isinstance(guid, bytes)
        return guid

    async def publish(self, channel: Text, data: bytes = b"", **overrides: Any) -> StanMessage:
        """Publish and wait for the ack.

        Raises:
            StanError: the server refused the message.
        """
        guid = overrides.setdefault("guid", b"g%d" % next(self._guids))
        future: asyncio.Future[StanMessage] = asyncio.get_running_loop().create_future()
        self._ack_waiters.setdefault(guid, []).append(future)
        self.publish_nowait(channel, data, **overrides)
        async with asyncio.timeout(REPLY_SECONDS):
            ack = await future
        if ack.error:
            raise StanError(ack.error.decode())
        assert ack == stan.PubAck(guid=guid)
        return ack

    async def publish_many(self, channel: Text, payloads: Iterable[bytes]) -> list[bytes]:
        """Publish in one pipeline, wait until all is acked without error, and return the guids in order of acks."""
        guids = [self.publish_nowait(channel, data) for data in payloads]
        acks = await self.take_acks(len(guids))
        assert not [ack for ack in acks if ack.error]
        assert sorted(ack.guid for ack in acks) == sorted(guids)
        return [ack.guid for ack in acks]

    async def take_acks(self, count: int, seconds: float = 20.0) -> list[StanMessage]:
        """The next acks of what `publish_nowait` sent."""
        async with asyncio.timeout(seconds):
            return [await self.acks.get() for _ in range(count)]

    # Subscribing

    async def subscribe(
        self,
        channel: Text,
        *,
        queue: Text = b"",
        durable: Text = b"",
        start: StartPosition = StartPosition.NEW_ONLY,
        sequence: int = 0,
        delta_ns: int = 0,
        max_in_flight: int = 1024,
        ack_wait: int = 30,
        inbox: Text | None = None,
        auto_ack: bool = False,
        **overrides: Any,
    ) -> StanSubscription:
        """Subscribe and wait for the response.

        Args:
            channel: channel name, as is.
            queue: queue group, or empty.
            durable: durable name, or empty.
            start: start position.
            sequence: start sequence.
            delta_ns: start time as distance into the past.
            max_in_flight: limit of unacked messages.
            ack_wait: seconds.
            inbox: where messages go to; None makes one up.
            auto_ack: ack each message on arrival.
            overrides: other fields of SubscriptionRequest.

        Raises:
            StanError: the server refused.
        """
        nats_subscription = self.nats.subscribe(self.nats.new_inbox() if inbox is None else inbox)
        subscription = StanSubscription(self, as_bytes(channel), nats_subscription, auto_ack)
        fields = {
            "clientID": self.client_id,
            "subject": subscription.channel,
            "qGroup": as_bytes(queue),
            "inbox": subscription.inbox,
            "maxInFlight": max_in_flight,
            "ackWaitInSecs": ack_wait,
            "durableName": as_bytes(durable),
            "startPosition": start,
            "startSequence": sequence,
            "startTimeDelta": delta_ns,
        }
        request = stan.SubscriptionRequest(**(fields | overrides))
        answer = await self.nats.request(self.connect_response.subRequests, request.SerializeToString())
        response = decode_canonical(stan.SubscriptionResponse, answer.payload)
        if response.error:
            assert response == stan.SubscriptionResponse(error=response.error), "an error comes alone"
            self.nats.unsubscribe(nats_subscription)
            raise StanError(response.error.decode())
        assert response.ackInbox.startswith(b"_INBOX.")
        subscription.start(response.ackInbox, answer.received_at)
        return subscription

    # The connection

    async def ping(self, conn_id: Text | None = None) -> None:
        """Ping as this client, or with another connection ID.

        Raises:
            StanError: the server does not know the connection ID.
        """
        payload = stan.Ping(connID=self.conn_id if conn_id is None else as_bytes(conn_id)).SerializeToString()
        answer = await self.nats.request(f"_STAN.discover.{self.cluster}.pings", payload)
        if answer.payload:
            raise StanError(decode_canonical(stan.PingResponse, answer.payload).error.decode())

    async def close(self) -> None:
        """Close the STAN connection; the NATS connection stays.

        Raises:
            StanError: the server refused.
        """
        answer = await self.nats.request(self.connect_response.closeRequests, self.close_payload())
        if answer.payload:
            raise StanError(decode_canonical(stan.CloseResponse, answer.payload).error.decode())

    def close_payload(self) -> bytes:
        payload = stan.CloseRequest(clientID=self.client_id).SerializeToString()
        assert isinstance(payload, bytes)
        return payload


async def connect_request(
    nats: NatsClient, request: StanMessage | bytes, cluster: str = "test-cluster", seconds: float = REPLY_SECONDS
) -> StanMessage:
    """Send a ConnectRequest, or any bytes in its place, and return the ConnectResponse."""
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    answer = await nats.request(f"_STAN.discover.{cluster}", payload, seconds)
    response = decode_canonical(stan.ConnectResponse, answer.payload)
    if response.error:
        assert response == stan.ConnectResponse(error=response.error), "an error comes alone"
    return response
