"""The STAN messages of the hot path: publish, its ack, the stored message, the subscriber's ack.

Decoded in place: a decoded message is a set of positions in the receive buffer. Everything else
that the protocol has is in `control_messages`.

Source: NATS Streaming protocol: PubMsg, PubAck, MsgProto, Ack.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer, varint_size
from nats_streaming.protocol.protobuf import FieldReader

_VARINT, _LENGTH = 0, 2
_FIELD, _END = 1, 0


class PublishMessage:
    """PubMsg: where its fields lie in the buffer that was decoded.

    1 clientID, 2 guid, 3 subject, 4 reply, 5 data, 6 connID, 10 sha256 (ignored).
    """

    def __init__(self) -> None:
        self.reader = FieldReader()
        self.client_id_start = self.client_id_stop = 0
        self.guid_start = self.guid_stop = 0
        self.subject_start = self.subject_stop = 0
        self.reply_start = self.reply_stop = 0
        self.data_start = self.data_stop = 0
        self.connection_id_start = self.connection_id_stop = 0

    def decode(self, data: bytes | bytearray, start: int, stop: int) -> bool:
        """Decode `data[start:stop]`; False when it is no PubMsg."""
        self.client_id_start = self.client_id_stop = 0
        self.guid_start = self.guid_stop = 0
        self.subject_start = self.subject_stop = 0
        self.reply_start = self.reply_stop = 0
        self.data_start = self.data_stop = 0
        self.connection_id_start = self.connection_id_stop = 0
        reader = self.reader
        reader.open(data, start, stop)
        while True:
            result = reader.next_field()
            if result != _FIELD:
                return result == _END
            number = reader.number
            if number > 6 and number != 10:
                continue
            if reader.wire != _LENGTH:
                return False
            if number == 1:
                self.client_id_start = reader.start
                self.client_id_stop = reader.stop
            elif number == 2:
                self.guid_start = reader.start
                self.guid_stop = reader.stop
            elif number == 3:
                self.subject_start = reader.start
                self.subject_stop = reader.stop
            elif number == 4:
                self.reply_start = reader.start
                self.reply_stop = reader.stop
            elif number == 5:
                self.data_start = reader.start
                self.data_stop = reader.stop
            elif number == 6:
                self.connection_id_start = reader.start
                self.connection_id_stop = reader.stop


class AckMessage:
    """Ack: 1 subject (the channel), 2 sequence."""

    def __init__(self) -> None:
        self.reader = FieldReader()
        self.subject_start = self.subject_stop = 0
        self.sequence = 0

    def decode(self, data: bytes | bytearray, start: int, stop: int) -> bool:
        """Decode `data[start:stop]`; False when it is no Ack."""
        self.subject_start = self.subject_stop = 0
        self.sequence = 0
        reader = self.reader
        reader.open(data, start, stop)
        while True:
            result = reader.next_field()
            if result != _FIELD:
                return result == _END
            if reader.number == 1:
                if reader.wire != _LENGTH:
                    return False
                self.subject_start = reader.start
                self.subject_stop = reader.stop
            elif reader.number == 2:
                if reader.wire != _VARINT:
                    return False
                self.sequence = reader.value


def length_field(number: int, value: bytes) -> bytes:
    """A length-delimited field, key and length included."""
    out = ByteBuffer()
    out.put_varint(number << 3 | _LENGTH)
    out.put_varint(len(value))
    out.put(value)
    return out.take()


def put_message(
    out: ByteBuffer,
    sequence: int,
    subject_field: bytes,
    source: bytes | bytearray,
    reply_start: int,
    reply_stop: int,
    data_start: int,
    data_stop: int,
    timestamp_ns: int,
) -> None:
    """Write a MsgProto: 1 sequence, 2 subject, 3 reply, 4 data, 5 timestamp (Unix ns).

    Args:
        subject_field: field 2 complete, as `length_field(2, channel)` makes it.
        source: what reply and data are copied from.
    """
    out.reserve(48 + (reply_stop - reply_start) + (data_stop - data_start))
    out.put_byte(0x08)
    out.put_varint(sequence)
    out.put(subject_field)
    if reply_stop > reply_start:
        out.put_byte(0x1A)
        out.put_varint(reply_stop - reply_start)
        out.put_slice(source, reply_start, reply_stop)
    if data_stop > data_start:
        out.put_byte(0x22)
        out.put_varint(data_stop - data_start)
        out.put_slice(source, data_start, data_stop)
    if timestamp_ns != 0:
        out.put_byte(0x28)
        out.put_varint(timestamp_ns)


def redelivery_size(count: int) -> int:
    """Bytes that `put_redelivery` writes."""
    return 3 + varint_size(count)


def put_redelivery(out: ByteBuffer, count: int) -> None:
    """Write fields 6 redelivered = true and 7 redeliveryCount; they follow a stored MsgProto as it is."""
    out.put_byte(0x30)
    out.put_byte(1)
    out.put_byte(0x38)
    out.put_varint(count)


def put_pub_ack_frame(
    out: ByteBuffer, source: bytearray, reply_start: int, reply_stop: int, guid_start: int, guid_stop: int
) -> None:
    """Write the PUB frame of a PubAck without error: 1 guid."""
    guid = guid_stop - guid_start
    out.reserve(64 + (reply_stop - reply_start) + guid)
    out.put(b"PUB ")
    out.put_slice(source, reply_start, reply_stop)
    out.put_byte(32)
    out.put_decimal(1 + varint_size(guid) + guid)
    out.put(b"\r\n\x0a")
    out.put_varint(guid)
    out.put_slice(source, guid_start, guid_stop)
    out.put(b"\r\n")
