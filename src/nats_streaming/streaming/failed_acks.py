"""Turns the acks that a failed commit leaves behind into error acks.

While a batch is staged, all that is kept of its publishers are the frames of their acks: enough to
find reply subject and guid again on the one occasion where they are needed.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.control_messages import PubAck, decode, encode
from nats_streaming.protocol.nats_writer import put_publish


def failed_acks(frames: bytes, error: bytes) -> bytes:
    """The same acks, each with an error.

    Args:
        frames: PUB frames as `put_pub_ack_frame` writes them.
        error: text of field 2.
    """
    out = ByteBuffer()
    position = 0
    while position < len(frames):
        line_end = frames.index(b"\r\n", position)
        _, reply, size = frames[position:line_end].split(b" ")
        payload_start = line_end + 2
        payload_stop = payload_start + int(size)
        ack = decode(PubAck, frames[payload_start:payload_stop])
        if ack is None:
            raise AssertionError("an ack that we wrote ourselves cannot be decoded")
        put_publish(out, reply, b"", encode(PubAck(ack.guid, error)))
        position = payload_stop + 2
    return out.take()
