"""Load that costs little while it is measured: one thread, frames made before, answers only counted.

A party is one connection with something to do; `drive` lets all of them do it. Latency is what a party sees between
writing a publish and reading its ack, so with many parties it holds the time that this thread is busy with others:
that is the same for every server.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence

from bench.loadgen import Client, Frames, ack_frame

GUID_BYTES = 22
CHUNK_BYTES = 1 << 18
_SID_ACKS, _SID_MESSAGES = 3, 2


class LoadFailed(RuntimeError):
    """Not everything came that was to come; the text says how much did."""


class Party:
    """One connection: what came in is counted, what is to go out waits in `_out` until the socket takes it."""

    def __init__(self, client: Client) -> None:
        self.socket = client.link.socket
        self._out: list[memoryview] = []
        self._early, client.link.buffer = client.link.buffer, b""

    def begin(self) -> None:
        self.socket.setblocking(False)
        if self._early:
            self.on_input(self._early)

    def on_input(self, chunk: bytes) -> None:
        raise NotImplementedError

    def is_done(self) -> bool:
        raise NotImplementedError

    def progress(self) -> str:
        """How far it is, for an error's text."""
        raise NotImplementedError

    def write(self) -> bool:
        """Send what the socket takes; False if something is left."""
        while self._out:
            piece = self._out[0]
            try:
                sent = self.socket.send(piece)
            except BlockingIOError:
                return False
            if sent == len(piece):
                del self._out[0]
            else:
                self._out[0] = piece[sent:]
        return True


class Needle:
    """Counts in the chunks of a stream, wherever they were cut."""

    def __init__(self, needle: bytes) -> None:
        self.needle = needle
        self._tail = b""

    def count(self, chunk: bytes) -> int:
        """How many end in this chunk."""
        data = self._tail + chunk
        # One byte short of a needle: none is counted twice.
        self._tail = data[1 - len(self.needle) :]
        return data.count(self.needle)


class Publisher(Party):
    """Publishes `count` messages, at most `window` of them without an ack; with a window of 1 it notes each latency.

    The frames of one block are sent over and over; a server does not look at what identifies a publish.
    """

    def __init__(self, client: Client, block: Frames, count: int, window: int) -> None:
        super().__init__(client)
        self.block = block
        self.count = count
        self.window = window
        self.sent = self.acked = 0
        self.latencies: list[float] = []
        self._begun = 0.0
        subject = b"_STAN.acks." + client.client_id
        if not client.has_ack_inbox:
            client.link.socket.sendall(b"SUB %b %d\r\n" % (subject, _SID_ACKS))
            client.has_ack_inbox = True
        # With the size of an ack that holds a guid and nothing else: one that tells of an error is not counted.
        self._acks = Needle(b"MSG %b %d %d\r\n" % (subject, _SID_ACKS, GUID_BYTES + 2))

    def begin(self) -> None:
        super().begin()
        self._fill()

    def on_input(self, chunk: bytes) -> None:
        count = self._acks.count(chunk)
        if count:
            self.acked += count
            if self.window == 1:
                self.latencies.append(time.perf_counter() - self._begun)
            self._fill()

    def _fill(self) -> None:
        until = min(self.count, self.acked + self.window)
        if self.window == 1:
            self._begun = time.perf_counter()
        while self.sent < until:
            first = self.sent % len(self.block)
            end = min(len(self.block), first + until - self.sent)
            self._out.append(self.block.slice(first, end))
            self.sent += end - first

    def is_done(self) -> bool:
        return self.acked >= self.count

    def progress(self) -> str:
        return f"{self.acked} of {self.count} acks"


class Subscriber(Party):
    """Takes `count` messages of a channel, sequences from `first` on, and acks each as it comes."""

    def __init__(self, client: Client, channel: bytes, ack_inbox: bytes, count: int, first: int = 1) -> None:
        super().__init__(client)
        self.count = count
        self.taken = 0
        self._acks = Frames(ack_frame(ack_inbox, channel, sequence) for sequence in range(first, first + count))
        self._messages = Needle(b"MSG %b %d " % (client.messages_inbox, _SID_MESSAGES))

    def on_input(self, chunk: bytes) -> None:
        count = self._messages.count(chunk)
        if count:
            self._out.append(self._acks.slice(self.taken, self.taken + count))
            self.taken += count

    def is_done(self) -> bool:
        return self.taken >= self.count

    def progress(self) -> str:
        return f"{self.taken} of {self.count} deliveries"


class Reader(Party):
    """Takes what comes to subscriptions of one connection and acks it; here each delivery has to be read.

    For members of a queue group, whose sequences nobody knows before, and for many subscriptions on one connection.
    Done when all readers that share `taken` have `count` together.
    """

    def __init__(
        self, client: Client, channel: bytes, ack_inboxes: dict[int, bytes], count: int, taken: list[int]
    ) -> None:
        """
        Args:
            ack_inboxes: by the subscription ID.
            taken: one number, the deliveries so far.
        """
        super().__init__(client)
        self.count = count
        self.taken = taken
        self._channel = channel
        self._ack_inboxes = ack_inboxes
        self._head = b"MSG " + client.messages_inbox
        self._rest = b""

    def on_input(self, chunk: bytes) -> None:
        data = self._rest + chunk
        deliveries, used = read_deliveries(data, self._head)
        self._rest = data[used:]
        if deliveries:
            self.taken[0] += len(deliveries)
            channel, inboxes = self._channel, self._ack_inboxes
            acks = b"".join([ack_frame(inboxes[sid], channel, sequence) for sid, sequence in deliveries])
            self._out.append(memoryview(acks))

    def is_done(self) -> bool:
        return self.taken[0] >= self.count

    def progress(self) -> str:
        return f"{self.taken[0]} of {self.count} deliveries"


def read_deliveries(data: bytes, head: bytes) -> tuple[list[tuple[int, int]], int]:
    """Subscription ID and sequence of the whole deliveries in `data`, and how many bytes are done with.

    Args:
        data: frames from a server, the last one perhaps cut.
        head: how a delivery begins.
    """
    deliveries = []
    position = 0
    while True:
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            return deliveries, position
        stop = line_end + 2
        if data.startswith(b"MSG ", position):
            line = data[position:line_end].split()
            stop += int(line[-1]) + 2
            if stop > len(data):
                return deliveries, position
            if data.startswith(head, position):
                # The sequence is field 1 of a MsgProto, behind its key.
                deliveries.append((int(line[2]), read_varint(data, line_end + 3)))
        position = stop


def read_varint(data: bytes, position: int) -> int:
    """The number that stands at a place."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
        position += 1


def drive(parties: Sequence[Party], deadline: float) -> float:
    """Let them work until all are done.

    Args:
        deadline: of `time.monotonic()`.

    Returns:
        Seconds it took.

    Raises:
        LoadFailed: it was late, or the server closed a connection.
    """
    poll = select.epoll()
    by_descriptor = {party.socket.fileno(): party for party in parties}
    timeouts = [party.socket.gettimeout() for party in parties]
    writing: set[int] = set()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    begun = time.perf_counter()
    try:
        for party in parties:
            party.begin()
        for descriptor, party in by_descriptor.items():
            _flush(poll, writing, descriptor, party)
        while not all(party.is_done() for party in parties):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LoadFailed(f"late: {_progress(parties)}")
            for descriptor, happened in poll.poll(min(left, 1.0)):
                party = by_descriptor[descriptor]
                if happened & ~select.EPOLLOUT:
                    chunk = party.socket.recv(CHUNK_BYTES)
                    if not chunk:
                        raise LoadFailed(f"the server closed a connection: {_progress(parties)}")
                    party.on_input(chunk)
                _flush(poll, writing, descriptor, party)
        return time.perf_counter() - begun
    finally:
        poll.close()
        for party, timeout in zip(parties, timeouts, strict=True):
            party.socket.settimeout(timeout)


def _flush(poll: select.epoll, writing: set[int], descriptor: int, party: Party) -> None:
    """Send what can be sent, and watch for room when that was not all."""
    is_behind = not party.write()
    if is_behind != (descriptor in writing):
        writing ^= {descriptor}
        poll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if is_behind else 0))


def _progress(parties: Iterable[Party]) -> str:
    return ", ".join(party.progress() for party in parties if not party.is_done())
