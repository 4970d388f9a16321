"""The hot messages in a client's direction: publishes and acks out, stored messages and publisher acks in.

The mirror of `stan_messages`, which has the server's direction. Decoded in place, encoded into a
ByteBuffer; knows nothing of connections.

Source: NATS Streaming protocol: PubMsg, PubAck, MsgProto, Ack.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer, varint_size
from nats_streaming.protocol.protobuf import FieldReader

_VARINT, _LENGTH = 0, 2
_FIELD, _END = 1, 0


class StoredMessage:
    """MsgProto: where its fields lie in the buffer that was decoded, and its numbers.

    1 sequence, 2 subject, 3 reply, 4 data, 5 timestamp (Unix ns), 6 redelivered, 7 redeliveryCount, 10 CRC32 (ignored).
    """

    def __init__(self) -> None:
        self.reader = FieldReader()
        self.sequence = 0
        self.timestamp_ns = 0
        self.redelivered = False
        self.redelivery_count = 0
        self.reply_start = self.reply_stop = 0
        self.data_start = self.data_stop = 0

    def decode(self, data: bytes | bytearray, start: int, stop: int) -> bool:
        """Decode `data[start:stop]`; False when it is no MsgProto, or has no sequence."""
        self.sequence = 0
        self.timestamp_ns = 0
        self.redelivered = False
        self.redelivery_count = 0
        self.reply_start = self.reply_stop = 0
        self.data_start = self.data_stop = 0
        reader = self.reader
        reader.open(data, start, stop)
        while True:
            result = reader.next_field()
            if result != _FIELD:
                return result == _END and self.sequence != 0
            number = reader.number
            if number == 0 or number > 7:
                continue
            if reader.wire != (_LENGTH if 2 <= number <= 4 else _VARINT):
                return False
            if number == 1:
                self.sequence = reader.value
            elif number == 3:
                self.reply_start = reader.start
                self.reply_stop = reader.stop
            elif number == 4:
                self.data_start = reader.start
                self.data_stop = reader.stop
            elif number == 5:
                if reader.value >> 63:
                    return False  # before 1970: no server stores that
                self.timestamp_ns = reader.value
            elif number == 6:
                self.redelivered = reader.value != 0
            elif number == 7:
                self.redelivery_count = reader.value & 0xFFFFFFFF


class PublishAckMessage:
    """PubAck: 1 guid, 2 error."""

    def __init__(self) -> None:
        self.reader = FieldReader()
        self.guid_start = self.guid_stop = 0
        self.error_start = self.error_stop = 0

    def decode(self, data: bytes | bytearray, start: int, stop: int) -> bool:
        """Decode `data[start:stop]`; False when it is no PubAck."""
        self.guid_start = self.guid_stop = 0
        self.error_start = self.error_stop = 0
        reader = self.reader
        reader.open(data, start, stop)
        while True:
            result = reader.next_field()
            if result != _FIELD:
                return result == _END
            number = reader.number
            if number > 2:
                continue
            if reader.wire != _LENGTH:
                return False
            if number == 1:
                self.guid_start = reader.start
                self.guid_stop = reader.stop
            else:
                self.error_start = reader.start
                self.error_stop = reader.stop


def encode_publish(client_field: bytes, guid: bytes, subject_field: bytes, data: bytes, identity_field: bytes) -> bytes:
    """A PubMsg.

    Args:
        client_field: field 1 complete, as `length_field(1, client_id)` makes it.
        guid: what the ack will carry.
        subject_field: field 3 complete, the channel.
        data: the payload.
        identity_field: field 6 complete, the connection ID.
    """
    out = ByteBuffer(48 + len(client_field) + len(guid) + len(subject_field) + len(data) + len(identity_field))
    out.put(client_field)
    out.put_byte(0x12)
    out.put_varint(len(guid))
    out.put(guid)
    out.put(subject_field)
    if len(data) > 0:
        out.put_byte(0x2A)
        out.put_varint(len(data))
        out.put(data)
    out.put(identity_field)
    return out.take()


def put_frame(out: ByteBuffer, head: bytes, payload: bytes) -> None:
    """Write a PUB frame.

    Args:
        head: `PUB <subject> `, or `PUB <subject> <reply> `, with the space behind it.
        payload: any bytes.
    """
    out.reserve(32 + len(head) + len(payload))
    out.put(head)
    out.put_decimal(len(payload))
    out.put(b"\r\n")
    out.put(payload)
    out.put(b"\r\n")


def encode_ack(subject_field: bytes, sequence: int) -> bytes:
    """An Ack: 1 subject (complete, as `length_field(1, channel)` makes it), 2 sequence."""
    out = ByteBuffer(12 + len(subject_field))
    out.put(subject_field)
    out.put_byte(0x10)
    out.put_varint(sequence)
    return out.take()


def put_ack_frame(out: ByteBuffer, head: bytes, subject_field: bytes, sequence: int) -> None:
    """Write the PUB frame of an Ack; `head` as in `put_frame`, the rest as in `encode_ack`."""
    size = len(subject_field) + 1 + varint_size(sequence)
    out.reserve(32 + len(head) + size)
    out.put(head)
    out.put_decimal(size)
    out.put(b"\r\n")
    out.put(subject_field)
    out.put_byte(0x10)
    out.put_varint(sequence)
    out.put(b"\r\n")
