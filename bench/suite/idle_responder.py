"""The ceiling: what answers a publish with a ready-made ack and does nothing else.

    python -m bench.suite.idle_responder PORT PUBLISHERS

It finds out how many publishes of whom a chunk holds by counting a few bytes, which costs less than parsing does, and
writes as many ready-made acks. So the rate it reaches is what nats-server itself allows a responder on one connection.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.loadgen import Link, field
from bench.suite.load import CHUNK_BYTES, GUID_BYTES, Needle

READY = "ready"


def publisher_name(number: int) -> bytes:
    return b"idle-%d" % number


def answer(port: int, publishers: int) -> None:
    """Until the server closes the connection."""
    link = Link(port)
    ack = field(1, b"0" * GUID_BYTES)
    needles, frames = [], []
    for number in range(publishers):
        inbox = b"_STAN.acks." + publisher_name(number)
        needles.append(Needle(b" " + inbox + b" "))
        frames.append(b"PUB %b %d\r\n%b\r\n" % (inbox, len(ack), ack))
    link.socket.sendall(b"SUB _STAN.pub.> 1\r\nPING\r\n")
    while b"PONG" not in link.buffer:
        link.buffer += link.socket.recv(CHUNK_BYTES)
    print(READY, flush=True)
    while chunk := link.socket.recv(CHUNK_BYTES):
        acks = b"".join([frame * needle.count(chunk) for needle, frame in zip(needles, frames, strict=True)])
        if acks:
            link.socket.sendall(acks)
        if chunk.endswith(b"PING\r\n"):
            link.socket.sendall(b"PONG\r\n")


if __name__ == "__main__":
    answer(int(sys.argv[1]), int(sys.argv[2]))
