"""The core NATS text protocol, server to client: bytes of a socket in, one call per frame out.

One pass over each chunk. The reader owns the receive buffer, so a chunk is read from the socket
straight into the place where it is parsed, and a message reaches the sink as positions in that
buffer. Knows no socket, no clock and nothing of streaming.

    MSG <subject> <sid> [reply] <bytes>\\r\\n<payload>\\r\\n
    HMSG <subject> <sid> [reply] <header bytes> <total bytes>\\r\\n<header><payload>\\r\\n
    INFO <json>\\r\\n   PING\\r\\n   PONG\\r\\n   +OK\\r\\n   -ERR '<text>'\\r\\n

Source: NATS client protocol.
"""

from __future__ import annotations

from nats_streaming.errors import ProtocolError

CHUNK_BYTES = 256 * 1024  # what there is room for, at least, under load
CHUNK_BYTES_FIRST = 32 * 1024  # and before that: most links never have more to read at a time
LINE_BYTES_MAX = 1 << 20  # INFO of a large cluster is the longest line there is
PAYLOAD_BYTES_MAX = 1 << 26  # the largest max_payload that a nats-server accepts, 64 MiB
_ROOM_KEPT = 1 << 22  # several messages of the usual max_payload, 1 MiB: those do not make it grow and shrink

_PAYLOAD_LIMIT = PAYLOAD_BYTES_MAX
_CR, _LF, _SPACE, _TAB = 13, 10, 32, 9


class MessageSink:
    """Where messages go. The engine's inlet derives from it."""

    def on_message(
        self,
        data: bytearray,
        sid: int,
        subject_start: int,
        subject_stop: int,
        reply_start: int,
        reply_stop: int,
        payload_start: int,
        payload_stop: int,
        status: int,
    ) -> None:
        """One message. Slices of `data` are valid during the call only.

        Args:
            sid: the subscription's ID as we chose it.
            reply_start: equal to `reply_stop` when there is no reply subject.
            payload_start: behind the headers, if there are any.
            status: 0, or the status of a NATS header block (503: nobody listens).
        """
        raise NotImplementedError


class LinkControl:
    """Where everything goes that is not a message."""

    def on_info(self, payload: bytes) -> None:
        """INFO with its JSON text."""

    def on_ping(self) -> None:
        """PING: answer with PONG."""

    def on_pong(self) -> None:
        """PONG to one of ours."""

    def on_ok(self) -> None:
        """+OK, only in verbose mode."""

    def on_error(self, text: bytes) -> None:
        """-ERR with its text, quotes removed."""


class NatsReader:
    """Parses the frames of one link. After a ProtocolError only `reset()` makes it usable again."""

    def __init__(self, sink: MessageSink, control: LinkControl) -> None:
        self.sink = sink
        self.control = control
        self.chunk_bytes = CHUNK_BYTES_FIRST
        self.buffer = bytearray(2 * CHUNK_BYTES_FIRST)
        self.start = 0
        self.stop = 0
        self.wanted = 0
        self.scanned = 0

    def reset(self) -> None:
        """Forget a half-read frame: a new connection begins."""
        self.start = self.stop = self.wanted = self.scanned = 0

    def get_buffer(self, size_hint: int) -> memoryview:
        """The free end of the receive buffer, never empty, for `asyncio.BufferedProtocol.get_buffer`."""
        if self.start == self.stop and len(self.buffer) > _ROOM_KEPT:
            self.buffer = bytearray(2 * self.chunk_bytes)  # a large message has gone: give its room back
        if len(self.buffer) - self.stop < self.chunk_bytes:
            self.make_room()
        return memoryview(self.buffer)[self.stop :]

    def make_room(self) -> None:
        """Move the unread rest to the front; into a larger buffer if the frame begun needs it, or the load."""
        rest = self.stop - self.start
        size = len(self.buffer)
        usual = 2 * self.chunk_bytes
        need = max(rest, self.wanted) + self.chunk_bytes
        if need > size:
            size = max(need, usual)
        elif size > 2 * usual and need <= usual:
            size = usual  # a large message has gone: give its room back
        # Never resize in place: the event loop may still hold a view of the buffer.
        moved = bytearray(size) if size != len(self.buffer) else self.buffer
        moved[:rest] = self.buffer[self.start : self.stop]
        self.buffer = moved
        self.start = 0
        self.stop = rest
        self.scanned = 0

    def feed(self, data: bytes) -> None:
        """Parse `data` as if it had been read from the socket."""
        view = memoryview(data)
        while len(view):
            room = self.get_buffer(len(view))
            count = min(len(room), len(view))
            room[:count] = view[:count]
            del room
            view = view[count:]
            self.buffer_updated(count)

    def buffer_updated(self, count: int) -> None:
        """`count` bytes were added at the free end: parse every whole frame.

        Raises:
            ProtocolError: what came is not the NATS protocol; drop the connection.
        """
        self.stop += count
        if self.stop == len(self.buffer) and self.chunk_bytes < CHUNK_BYTES:
            self.chunk_bytes *= 2  # there may have been more to read
        if self.wanted > self.stop - self.start:
            return
        self.wanted = 0
        while self.start < self.stop:
            if not self.parse_frame():
                break
        if self.start == self.stop:
            self.start = self.stop = 0
            self.scanned = 0

    def parse_frame(self) -> bool:
        """Parse the frame at `start` and move behind it; False when more bytes are needed."""
        view = self.buffer
        start = self.start
        stop = self.stop
        position = self.scanned if self.scanned > start else start
        while position < stop and view[position] != _LF:
            position += 1
        if position == stop:
            self.scanned = position
            if stop - start > LINE_BYTES_MAX:
                raise ProtocolError(f"NATS link: a line of over {LINE_BYTES_MAX} bytes")
            return False
        self.scanned = 0
        line_stop = position
        if line_stop > start and view[line_stop - 1] == _CR:
            line_stop -= 1
        first = view[start]
        # MSG and HMSG in letters of either case: the bit 32 makes them small ones.
        if first | 32 == 109:
            if line_stop - start > 4 and self.is_msg(start) and view[start + 3] <= _SPACE:
                return self.parse_message(start + 4, line_stop, position + 1, False)
        elif first | 32 == 104 and line_stop - start > 5 and self.is_msg(start + 1) and view[start + 4] <= _SPACE:
            return self.parse_message(start + 5, line_stop, position + 1, True)
        self.start = position + 1
        self.control_line(bytes(self.buffer[start:line_stop]))
        return True

    def is_msg(self, start: int) -> bool:
        """Whether `MSG` stands here; three bytes must be there."""
        view = self.buffer
        return view[start] | 32 == 109 and view[start + 1] | 32 == 115 and view[start + 2] | 32 == 103

    def parse_message(self, position: int, line_stop: int, body: int, headers: bool) -> bool:
        """Parse the rest of a MSG or HMSG line; `body` is where the payload begins."""
        view = self.buffer
        tokens = 0
        token_start = subject_start = subject_stop = second_start = second_stop = 0
        third_start = third_stop = fourth_start = fourth_stop = fifth_start = fifth_stop = 0
        while position < line_stop:
            while position < line_stop and (view[position] == _SPACE or view[position] == _TAB):
                position += 1
            if position == line_stop:
                break
            token_start = position
            while position < line_stop and view[position] != _SPACE and view[position] != _TAB:
                position += 1
            tokens += 1
            if tokens == 1:
                subject_start, subject_stop = token_start, position
            elif tokens == 2:
                second_start, second_stop = token_start, position
            elif tokens == 3:
                third_start, third_stop = token_start, position
            elif tokens == 4:
                fourth_start, fourth_stop = token_start, position
            elif tokens == 5:
                fifth_start, fifth_stop = token_start, position
        reply_start = reply_stop = 0
        header_size = 0
        if headers:
            if tokens == 5:
                reply_start, reply_stop = third_start, third_stop
                header_size = self.parse_number(fourth_start, fourth_stop)
                size = self.parse_number(fifth_start, fifth_stop)
            elif tokens == 4:
                header_size = self.parse_number(third_start, third_stop)
                size = self.parse_number(fourth_start, fourth_stop)
            else:
                raise ProtocolError("NATS link: an HMSG line needs 4 or 5 words")
            if header_size > size:
                raise ProtocolError("NATS link: an HMSG header is longer than its message")
        elif tokens == 4:
            reply_start, reply_stop = third_start, third_stop
            size = self.parse_number(fourth_start, fourth_stop)
        elif tokens == 3:
            size = self.parse_number(third_start, third_stop)
        else:
            raise ProtocolError("NATS link: a MSG line needs 3 or 4 words")
        sid = self.parse_number(second_start, second_stop)
        end = body + size + 2
        if end > self.stop:
            self.wanted = end - self.start
            return False
        if view[end - 2] != _CR or view[end - 1] != _LF:
            raise ProtocolError("NATS link: a payload does not end where its length says")
        status = 0
        if header_size > 0:
            status = self.header_status(body, body + header_size)
        # Behind the frame before the call: a sink that raises must not see it twice.
        self.start = end
        self.sink.on_message(
            self.buffer,
            sid,
            subject_start,
            subject_stop,
            reply_start,
            reply_stop,
            body + header_size,
            body + size,
            status,
        )
        return True

    def parse_number(self, start: int, stop: int) -> int:
        """A decimal number of at most PAYLOAD_BYTES_MAX, bounded at every digit."""
        view = self.buffer
        if start == stop:
            raise ProtocolError("NATS link: a number is missing")
        result = 0
        for position in range(start, stop):
            digit = view[position]
            if digit < 48 or digit > 57:
                raise ProtocolError("NATS link: a number has something else than digits")
            result = result * 10 + (digit - 48)
            if result > _PAYLOAD_LIMIT:
                raise ProtocolError(f"NATS link: a number is larger than {PAYLOAD_BYTES_MAX}")
        return result

    def header_status(self, start: int, stop: int) -> int:
        """The status in `NATS/1.0 503 ...`, 0 when there is none."""
        view = self.buffer
        position = start + 8
        while position < stop and view[position] == _SPACE:
            position += 1
        status = 0
        digits = 0
        while position < stop and digits < 3 and 48 <= view[position] <= 57:
            status = status * 10 + (view[position] - 48)
            position += 1
            digits += 1
        return status if digits == 3 else 0

    def control_line(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        word = word.upper()
        if word == b"PING":
            self.control.on_ping()
        elif word == b"PONG":
            self.control.on_pong()
        elif word == b"INFO":
            self.control.on_info(rest.strip())
        elif word == b"+OK":
            self.control.on_ok()
        elif word == b"-ERR":
            self.control.on_error(rest.strip().strip(b"'"))
        else:
            raise ProtocolError(f"NATS link: unknown operation {line[:40]!r}")
