"""One batch: everything that a cycle of the engine changes, in order, and its encoding.

A batch is what a store makes durable at once. Its encoding stands alone: a journal holds a sequence of
encoded batches, a replicated log would carry them to other servers, and applying one twice changes
nothing. Knows neither where a batch came from nor where it goes.

    batch  := "STAN" version(1 byte) record*
    record := kind(1 byte) varint length, payload
    bytes  := varint length, the bytes

    kind            payload
    1 messages      channel bytes, first varint, count varint, slots (see Segment.put_run)
    2 trimmed       channel bytes, first varint            messages before `first` are gone
    3 deleted       channel bytes, count varint, sequences
    4 created       channel bytes
    5 removed       channel bytes                          the channel with all it holds
    6 subscription  channel bytes, SubState bytes          new or changed; keeps what is pending
    7 unsubscribed  channel bytes, subscription ID varint
    8 sent          channel bytes, subscription ID varint, count varint, sequences
    9 acked         like 8
    10 client       ClientInfo bytes
    11 client gone  client ID bytes
    12 server       ServerInfo bytes
    13 settled      channel bytes, last varint             messages up to `last` are safe without what came before
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.constants import INT64_MAX
from nats_streaming.errors import CorruptionError
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState, decode, encode
from nats_streaming.protocol.protobuf import FieldReader
from nats_streaming.stores.segment import Segment

MAGIC = b"STAN\x01"

M = TypeVar("M")


@dataclass(slots=True)
class Messages:
    """Sequences `first` to `last` of a channel; they lie in `segment`, which the store may keep."""

    channel: bytes
    segment: Segment
    first: int
    last: int


@dataclass(slots=True)
class Trimmed:
    channel: bytes
    first: int


@dataclass(slots=True)
class Deleted:
    channel: bytes
    sequences: list[int]


@dataclass(slots=True)
class ChannelCreated:
    channel: bytes


@dataclass(slots=True)
class ChannelRemoved:
    channel: bytes


@dataclass(slots=True)
class SubscriptionPut:
    channel: bytes
    state: SubscriptionState


@dataclass(slots=True)
class SubscriptionRemoved:
    channel: bytes
    subscription_id: int


@dataclass(slots=True)
class Sent:
    channel: bytes
    subscription_id: int
    sequences: list[int]


@dataclass(slots=True)
class Acked:
    channel: bytes
    subscription_id: int
    sequences: list[int]


@dataclass(slots=True)
class ClientPut:
    info: ClientInfo


@dataclass(slots=True)
class ClientRemoved:
    client_id: bytes


@dataclass(slots=True)
class ServerPut:
    info: ServerInfo


@dataclass(slots=True)
class Settled:
    """Messages up to `last` are safe elsewhere: a replay leaves out those that came before this record.

    For the journals of stores; the engine stages none.
    """

    channel: bytes
    last: int


Record = (
    Messages
    | Trimmed
    | Deleted
    | ChannelCreated
    | ChannelRemoved
    | SubscriptionPut
    | SubscriptionRemoved
    | Sent
    | Acked
    | ClientPut
    | ClientRemoved
    | ServerPut
    | Settled
)


def encode_batch(records: Iterable[Record]) -> bytes:
    """Encode records in their order."""
    out = ByteBuffer(1024)
    put_batch(out, records)
    return out.take()


def put_batch(out: ByteBuffer, records: Iterable[Record]) -> None:
    """Append what `encode_batch` returns."""
    out.put(MAGIC)
    payload = ByteBuffer(256)
    for record in records:
        kind = _put_payload(payload, record)
        out.put_byte(kind)
        if isinstance(record, Messages):
            record.segment.put_sized_run(out, payload, record.first, record.last)
        else:
            out.put_varint(payload.used)
            out.put_buffer(payload)
        payload.truncate(0)


def _put_payload(out: ByteBuffer, record: Record) -> int:
    """Everything but the slots of messages; returns the kind."""
    match record:
        case Messages(channel, _, first, last):
            _put_bytes(out, channel)
            out.put_varint(first)
            out.put_varint(last - first + 1)
            return 1
        case Trimmed(channel, first):
            _put_bytes(out, channel)
            out.put_varint(first)
            return 2
        case Deleted(channel, sequences):
            _put_bytes(out, channel)
            _put_sequences(out, sequences)
            return 3
        case ChannelCreated(channel):
            _put_bytes(out, channel)
            return 4
        case ChannelRemoved(channel):
            _put_bytes(out, channel)
            return 5
        case SubscriptionPut(channel, state):
            _put_bytes(out, channel)
            _put_bytes(out, encode(state))
            return 6
        case SubscriptionRemoved(channel, subscription_id):
            _put_bytes(out, channel)
            out.put_varint(subscription_id)
            return 7
        case Sent(channel, subscription_id, sequences) | Acked(channel, subscription_id, sequences):
            _put_bytes(out, channel)
            out.put_varint(subscription_id)
            _put_sequences(out, sequences)
            return 8 if isinstance(record, Sent) else 9
        case ClientPut(info):
            _put_bytes(out, encode(info))
            return 10
        case ClientRemoved(client_id):
            _put_bytes(out, client_id)
            return 11
        case ServerPut(server):
            _put_bytes(out, encode(server))
            return 12
        case Settled(channel, last):
            _put_bytes(out, channel)
            out.put_varint(last)
            return 13


def _put_bytes(out: ByteBuffer, value: bytes) -> None:
    out.put_varint(len(value))
    out.put(value)


def _put_sequences(out: ByteBuffer, sequences: list[int]) -> None:
    out.put_varint(len(sequences))
    out.put_varints(sequences)


def decode_batch(encoded: bytes) -> list[Record]:
    """Decode what `encode_batch` wrote.

    Raises:
        CorruptionError: the bytes are not one whole batch of a version that is known here.
    """
    if encoded[: len(MAGIC)] != MAGIC:
        raise CorruptionError(f"batch: expected it to begin with {MAGIC!r}, found {encoded[: len(MAGIC)]!r}")
    return _Decoder(encoded).records()


def settled_in(encoded: bytes) -> list[Settled]:
    """Only the records of this kind, and quickly.

    Raises:
        CorruptionError: as `decode_batch`, as far as it looks.
    """
    if encoded[: len(MAGIC)] != MAGIC:
        raise CorruptionError(f"batch: expected it to begin with {MAGIC!r}, found {encoded[: len(MAGIC)]!r}")
    return _Decoder(encoded).settled()


class _Decoder:
    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        self.reader = FieldReader()
        self.reader.open(encoded, len(MAGIC), len(encoded))

    def fail(self, what: str) -> CorruptionError:
        return CorruptionError(f"batch: {what} at offset {self.reader.position} of {len(self.encoded)}")

    def varint(self) -> int:
        if not self.reader.read_varint():
            raise self.fail("a number is cut off")
        return self.reader.value

    def number(self) -> int:
        """A sequence or an ID: the engine holds them in 63 bits."""
        value = self.varint()
        if value > INT64_MAX:
            raise self.fail(f"{value} is too large for a sequence or an ID")
        return value

    def byte_string(self) -> bytes:
        size = self.varint()
        start = self.reader.position
        if size > self.reader.limit - start:
            raise self.fail(f"{size} bytes announced and not there")
        self.reader.skip(size)
        return self.encoded[start : start + size]

    def sequences(self) -> list[int]:
        count = self.varint()
        if count > self.reader.limit - self.reader.position:
            raise self.fail(f"{count} sequences announced and not there")
        return [self.number() for _ in range(count)]

    def records(self) -> list[Record]:
        found: list[Record] = []
        while self.reader.position < self.reader.limit:
            kind, end = self.head()
            found.append(self.record(kind))
            if self.reader.position != end:
                raise self.fail(f"a record of kind {kind} has not the length it says")
        return found

    def settled(self) -> list[Settled]:
        found: list[Settled] = []
        while self.reader.position < self.reader.limit:
            kind, end = self.head()
            if kind == 13:
                found.append(Settled(self.byte_string(), self.number()))
            self.reader.skip(end - self.reader.position)
        return found

    def head(self) -> tuple[int, int]:
        """Kind and end of the record that begins here."""
        kind = self.encoded[self.reader.position]
        self.reader.skip(1)
        size = self.varint()
        end = self.reader.position + size
        if end > self.reader.limit:
            raise self.fail(f"a record of kind {kind} is cut off")
        return kind, end

    def record(self, kind: int) -> Record:
        if kind == 10:
            return ClientPut(self.message(ClientInfo))
        if kind == 11:
            return ClientRemoved(self.byte_string())
        if kind == 12:
            return ServerPut(self.message(ServerInfo))
        if not 1 <= kind <= 9 and kind != 13:
            raise self.fail(f"record kind {kind} is not known")
        channel = self.byte_string()
        if kind == 13:
            return Settled(channel, self.number())
        if kind == 1:
            return self.messages(channel)
        if kind == 2:
            return Trimmed(channel, self.number())
        if kind == 3:
            return Deleted(channel, self.sequences())
        if kind == 4:
            return ChannelCreated(channel)
        if kind == 5:
            return ChannelRemoved(channel)
        if kind == 6:
            return self.subscription(channel)
        subscription_id = self.number()
        if kind == 7:
            return SubscriptionRemoved(channel, subscription_id)
        sequences = self.sequences()
        return Sent(channel, subscription_id, sequences) if kind == 8 else Acked(channel, subscription_id, sequences)

    def messages(self, channel: bytes) -> Messages:
        first = self.number()
        count = self.varint()
        if first == 0:
            raise self.fail("messages begin with sequence 0")
        if count > self.reader.limit - self.reader.position or first > INT64_MAX - count:
            raise self.fail(f"{count} messages announced and not there")
        segment = Segment(first)
        if not segment.read_run(self.reader, count):
            raise self.fail("messages are cut off")
        return Messages(channel, segment, first, first + count - 1)

    def subscription(self, channel: bytes) -> SubscriptionPut:
        state = self.message(SubscriptionState)
        if state.id > INT64_MAX or state.last_sent > INT64_MAX:
            raise self.fail("a subscription has an ID or a sequence that is too large")
        return SubscriptionPut(channel, state)

    def message(self, kind: type[M]) -> M:
        decoded = decode(kind, self.byte_string())
        if decoded is None:
            raise self.fail(f"a {kind.__name__} cannot be decoded")
        return decoded
