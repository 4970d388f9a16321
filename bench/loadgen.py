"""A load generator that costs nothing while it is measured: all frames are made before, replies only counted.

Speaks core NATS over one blocking socket per role, so that what is measured is the server. STAN messages
are encoded by hand from their published field numbers.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import threading
from collections.abc import Iterable, Iterator

_ACK = b"MSG _STAN.acks."  # heartbeats come too, and are not to be counted
_DELIVERY = b"MSG _INBOX.msgs."
_REPLY_SID = 9999  # of the one request that may wait for its reply
_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


class Link:
    """One NATS connection."""

    def __init__(self, port: int, timeout_s: float | None = None) -> None:
        """
        Args:
            port: on the loopback address.
            timeout_s: of each send and receive; None waits for ever.
        """
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self._read_until(b"\r\n")
        self.socket.sendall(_CONNECT + b"PING\r\n")
        self._read_until(b"PONG\r\n")

    def _read_until(self, end: bytes) -> None:
        while end not in self.buffer:
            self.buffer += self.socket.recv(65536)
        self.buffer = self.buffer.split(end, 1)[1]

    def request(self, subject: bytes, payload: bytes) -> bytes:
        """Send one request and wait for its reply's payload."""
        inbox = b"_INBOX.bench.%d.%d" % (id(self), len(subject))
        self.socket.sendall(
            b"SUB %s %d\r\nPUB %s %s %d\r\n%s\r\n" % (inbox, _REPLY_SID, subject, inbox, len(payload), payload)
        )
        while True:
            line, _, rest = self.buffer.partition(b"\r\n")
            if rest or b"\r\n" in self.buffer:
                if line.startswith((b"MSG ", b"HMSG ")):
                    size = int(line.rsplit(b" ", 1)[1])
                    while len(rest) < size + 2:
                        rest += self.socket.recv(65536)
                    self.buffer = rest[size + 2 :]
                    self.socket.sendall(b"UNSUB %d\r\n" % _REPLY_SID)
                    return rest[:size]
                self.buffer = rest
                continue
            self.buffer += self.socket.recv(65536)

    def close(self) -> None:
        self.socket.close()


class Client:
    """A STAN client on a link of its own."""

    def __init__(
        self, port: int, client_id: bytes, cluster: bytes = b"test-cluster", timeout_s: float | None = None
    ) -> None:
        self.link = Link(port, timeout_s)
        self.cluster = cluster
        self.client_id = client_id
        self.connection_id = b"conn-" + client_id
        self.messages_inbox = b"_INBOX.msgs." + client_id
        self.has_ack_inbox = False  # until somebody subscribes to the acks of its publishes
        heartbeat = b"_INBOX.hb." + client_id
        self.link.socket.sendall(b"SUB %s 1\r\n" % heartbeat)
        request = field(1, client_id) + field(2, heartbeat) + b"\x18\x01" + field(4, self.connection_id)
        answer = self.link.request(b"_STAN.discover." + cluster, request)
        if b"_STAN.pub" not in answer:
            raise RuntimeError(f"connect refused: {answer!r}")

    def publish_frames(self, channel: bytes, count: int, size: int, first: int = 0) -> bytes:
        """The bytes of `count` publishes with `size` bytes of data each, acks to `_STAN.acks.<client>`."""
        data = b"x" * size
        frames = bytearray()
        for index in range(first, first + count):
            guid = b"%022d" % index
            payload = (
                field(1, self.client_id)
                + field(2, guid)
                + field(3, channel)
                + field(5, data)
                + field(6, self.connection_id)
            )
            frames += b"PUB _STAN.pub.%s.%s _STAN.acks.%s %d\r\n%s\r\n" % (
                self.cluster, channel, self.client_id, len(payload), payload,
            )  # fmt: skip
        return bytes(frames)

    def subscribe(
        self, channel: bytes, max_in_flight: int, start_first: bool = True, *, sid: int = 2, queue: bytes = b""
    ) -> bytes:
        """Subscribe; returns the ack inbox. The first subscription of a client has the sid 2."""
        if sid == _REPLY_SID:
            raise ValueError(f"the subscription ID {sid} is that of replies")
        inbox = self.messages_inbox if sid == 2 else b"%b.%d" % (self.messages_inbox, sid)
        self.link.socket.sendall(b"SUB %s %d\r\n" % (inbox, sid))
        request = (
            field(1, self.client_id)
            + field(2, channel)
            + (field(3, queue) if queue else b"")
            + field(4, inbox)
            + b"\x28" + varint(max_in_flight)
            + b"\x30\x1e"
            + (b"\x50\x04" if start_first else b"")
        )  # fmt: skip
        answer = self.link.request(b"_STAN.sub." + self.cluster, request)
        if answer[:1] != b"\x12":
            raise RuntimeError(f"subscribe refused: {answer!r}")
        return answer[2 : 2 + answer[1]]


class Counter(threading.Thread):
    """Reads a socket to the end of `expected` messages, counting publishers' acks by how their frames begin."""

    def __init__(self, link: Link, expected: int) -> None:
        super().__init__(daemon=True)
        self.link = link
        self.expected = expected
        self.count = 0
        self.start()

    def run(self) -> None:
        tail = b""
        while self.count < self.expected:
            chunk = self.link.socket.recv(1 << 20)
            if not chunk:
                return
            data = tail + chunk
            self.count += data.count(_ACK)
            tail = data[1 - len(_ACK) :] if not data.endswith(b"\n") else b""


class Acker(threading.Thread):
    """Receives deliveries on sid 2, which must be sequences 1 to `expected`, and acks each, in batches as they come.

    They are only counted: the acks are made before, and the part of them that `ack_tails` makes may be made earlier.
    """

    def __init__(self, client: Client, channel: bytes, ack_inbox: bytes, expected: int) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.expected = expected
        self.count = 0
        self._acks = Frames(ack_tails(channel, expected), b"PUB " + ack_inbox)
        self.start()

    def run(self) -> None:
        link = self.client.link
        # The first may have come with the answer to the subscription.
        data, link.buffer = link.buffer, b""
        while True:
            count = data.count(_DELIVERY)
            if count:
                link.socket.sendall(self._acks.slice(self.count, self.count + count))
                self.count += count
            if self.count >= self.expected:
                return
            chunk = link.socket.recv(1 << 20)
            if not chunk:
                return
            data = (data[1 - len(_DELIVERY) :] if not data.endswith(b"\n") else b"") + chunk


def ack_frame(ack_inbox: bytes, channel: bytes, sequence: int) -> bytes:
    """The bytes of one ack."""
    return b"PUB " + ack_inbox + _ack_tail(channel, sequence)


@functools.lru_cache(maxsize=128)
def ack_tails(channel: bytes, count: int) -> list[bytes]:
    """Acks of sequences 1 to `count` without their beginning, which only the answer to the subscription tells."""
    return [_ack_tail(channel, sequence) for sequence in range(1, count + 1)]


def _ack_tail(channel: bytes, sequence: int) -> bytes:
    ack = field(1, channel) + b"\x10" + varint(sequence)
    return b" %d\r\n%b\r\n" % (len(ack), ack)


class Frames:
    """Many frames in one piece, of which any row can be sent without copying."""

    def __init__(self, frames: Iterable[bytes], head: bytes = b"") -> None:
        """
        Args:
            frames: in the order in which they are sent.
            head: what each begins with and `frames` leave out.
        """
        pieces = list(frames)
        self._view = memoryview(head.join([b"", *pieces]))
        self._ends = [0, *itertools.accumulate(len(head) + len(piece) for piece in pieces)]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def slice(self, first: int, end: int) -> memoryview:
        """Frames `first` to `end - 1`; those that exist of them."""
        return self._view[self._ends[min(first, len(self))] : self._ends[min(end, len(self))]]


@contextlib.contextmanager
def connected(port: int, client_id: bytes) -> Iterator[Client]:
    client = Client(port, client_id)
    try:
        yield client
    finally:
        client.link.close()
