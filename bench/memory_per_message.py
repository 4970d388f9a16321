"""Bytes of memory per stored message beyond its encoding: MEMORY store, 128-byte messages, the process as a whole.

python bench/memory_per_message.py [--messages 1000000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.loadgen import Client, Counter
from bench.suite.arguments import count
from bench.suite.processes import resident_bytes
from tests.support.servers import ServerProcess

_DATA_BYTES = 128


def encoded_bytes(channel: bytes, sequence: int) -> int:
    """Size of the stored MsgProto: sequence, channel, data, timestamp of today (9-byte varint), keys and lengths."""
    digits = max(1, (sequence.bit_length() + 6) // 7)
    return (1 + digits) + (2 + len(channel)) + (3 + _DATA_BYTES) + (1 + 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=count, default=1_000_000)
    options = parser.parse_args()
    channel, warm = b"bench", 20_000
    server = ServerProcess("-mm", "0", "-mb", "0").start()
    try:
        client = Client(server.port, b"memory")
        client.link.socket.sendall(b"SUB _STAN.acks.memory 3\r\n")
        counter = Counter(client.link, warm)
        client.link.socket.sendall(client.publish_frames(channel, warm, _DATA_BYTES))
        counter.join(60)
        before = resident_bytes([server.pid])
        total = warm + options.messages
        counter = Counter(client.link, options.messages)
        for first in range(warm, total, 50_000):
            client.link.socket.sendall(client.publish_frames(channel, min(50_000, total - first), _DATA_BYTES, first))
        counter.join(120)
        if counter.count != options.messages:
            raise RuntimeError(f"{counter.count} of {options.messages} acks")
        grown = resident_bytes([server.pid]) - before
        encoded = sum(encoded_bytes(channel, sequence) for sequence in range(warm + 1, total + 1))
        print(
            f"{options.messages:,} messages: {grown / options.messages:.1f} bytes each, of which encoded"
            f" {encoded / options.messages:.1f}, overhead {(grown - encoded) / options.messages:.1f}"
        )
    finally:
        server.close()


if __name__ == "__main__":
    main()
