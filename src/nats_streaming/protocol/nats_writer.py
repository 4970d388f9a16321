"""The core NATS text protocol, client to server: frames written into a ByteBuffer.

Source: NATS client protocol, `PUB <subject> [reply] <bytes>\\r\\n<payload>\\r\\n`.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer


def put_publish(out: ByteBuffer, subject: bytes, reply: bytes, payload: bytes) -> None:
    """Write one PUB frame.

    Args:
        reply: reply subject, empty for none.
    """
    out.put(b"PUB ")
    out.put(subject)
    out.put_byte(32)
    if reply:
        out.put(reply)
        out.put_byte(32)
    out.put_decimal(len(payload))
    put_payload(out, payload)


def put_payload(out: ByteBuffer, payload: bytes) -> None:
    out.put(b"\r\n")
    out.put(payload)
    out.put(b"\r\n")


def is_subject(subject: bytes) -> bool:
    """Whether NATS can publish to `subject`: no empty token, no white space, no control character.

    A subject from a client's request is checked with this before it may become part of a frame.
    """
    if not subject or len(subject) > 2048 or subject[0] == 46 or subject[-1] == 46 or b".." in subject:
        return False
    # Wildcards are refused too: nobody can be sent anything under one.
    return not any(octet <= 32 or octet == 127 for octet in subject) and not is_wildcard(subject)


def is_wildcard(subject: bytes) -> bool:
    """Whether a token of `subject` is `*` or `>`."""
    return b"*" in subject.split(b".") or b">" in subject.split(b".")
