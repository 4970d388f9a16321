"""What a nats-server makes of a client's stream, read slowly; and our reader with a record of what it did.

Source: NATS client protocol; the limits of nats-server (9 digits of a number, 4 KiB of a line).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nats_streaming.protocol.client_frames import GO_ON, WAIT, ClientControl, ClientReader, Offers
from nats_streaming.protocol.nats_reader import MessageSink

PUB_SUBJECT, PUB_SID = b"_STAN.pub.c.", 1
ACK_SUBJECT, ACK_SID = b"_INBOX.ack.", 2
CLOSE_SUBJECT, CLOSE_SID = b"_STAN.close.c", 9
PAYLOAD_MAX = 64

_LINE = re.compile(rb"(?i)(connect|hpub|pub|ping|pong|unsub|sub)(.*)", re.DOTALL)


class Taken(NamedTuple):
    sid: int
    subject: bytes
    reply: bytes
    payload: bytes


class Frame(NamedTuple):
    """One frame that a nats-server would take, and what of it is ours."""

    raw: bytes
    operation: bytes
    taken: Taken | None


def our_subject(subject: bytes) -> int:
    """The ID of the offer that a subject belongs to, by tokens."""
    tokens = subject.split(b".")
    if b"" in tokens or b"*" in subject or b">" in subject:
        return 0
    if subject == CLOSE_SUBJECT:
        return CLOSE_SID
    if tokens[:3] == [b"_STAN", b"pub", b"c"] and len(tokens) > 3:
        return PUB_SID
    return ACK_SID if tokens[:2] == [b"_INBOX", b"ack"] and len(tokens) == 3 else 0


def size_of(digits: bytes) -> int:
    return int(digits) if digits.isdigit() and len(digits) <= 9 else -1


def frames_of(stream: bytes) -> tuple[list[Frame], bool]:
    """The whole frames that a nats-server takes from the beginning of a stream, and whether it then refuses one.

    A line that is cut short of its end is not refused yet.
    """
    frames: list[Frame] = []
    at = 0
    while at < len(stream):
        feed = stream.find(b"\n", at)
        if feed < 0:
            return frames, stream[at : at + 1] not in b"cChHpPsSuU"
        line = stream[at:feed].removesuffix(b"\r")
        found = _LINE.fullmatch(line)
        if found is None or b"\r" in line:
            return frames, True
        operation, rest = found[1].upper(), found[2]
        if operation in (b"PING", b"PONG"):
            if len(rest) > 4000:
                return frames, True  # not in these tests
            frames.append(Frame(stream[at : feed + 1], operation, None))
            at = feed + 1
            continue
        argument = rest.lstrip(b" \t")
        if rest[:1] not in (b" ", b"\t") or not argument or len(argument) > 4096:
            return frames, True
        end = feed + 1
        taken = None
        if operation in (b"PUB", b"HPUB"):
            words = [word for word in argument.replace(b"\t", b" ").split(b" ") if word]
            size = size_of(words[-1])
            bounds = (2, 3) if operation == b"PUB" else (3, 4)
            if len(words) not in bounds or not 0 <= size <= PAYLOAD_MAX:
                return frames, True
            if operation == b"HPUB" and not 0 <= size_of(words[-2]) <= size:
                return frames, True
            end += size + 2
            if end > len(stream):
                return frames, False
            if stream[end - 2 : end] != b"\r\n":
                return frames, True
            sid = our_subject(words[0])
            if sid:
                reply = words[1] if len(words) == 3 else b""
                taken = Taken(sid, words[0], reply, stream[feed + 1 : end - 2])
        frames.append(Frame(stream[at:end], operation, taken))
        at = end
    return frames, False


class Sink(MessageSink):
    def __init__(self, log: list[object]) -> None:
        self.log = log

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
        assert status == 0
        subject, reply = bytes(data[subject_start:subject_stop]), bytes(data[reply_start:reply_stop])
        self.log.append(Taken(sid, subject, reply, bytes(data[payload_start:payload_stop])))


class Client(ClientControl):
    """A reader with its offers. What happens stands in `log`: what was taken, lines, and what was forwarded, as bytes.

    `takes` is on, as behind a CONNECT that asks for no answers. `answers` says what to do about lines, once each.
    """

    def __init__(self) -> None:
        self.log: list[object] = []
        self.offers = Offers()
        self.offers.add(PUB_SUBJECT + b">", PUB_SID)
        self.offers.add(ACK_SUBJECT + b"*", ACK_SID)
        self.offers.add(CLOSE_SUBJECT, CLOSE_SID)
        self.offers.payload_max = PAYLOAD_MAX
        self.offers.sink = Sink(self.log)
        self.reader = ClientReader(self, self.offers)
        self.reader.takes = True
        self.blinded = 0
        self.answers: dict[bytes, int] = {}
        self._rest = b""
        self._data = bytearray()

    def feed(self, chunk: bytes) -> None:
        """One read from the socket; room behind it is full of what must not be looked at."""
        chunk = self._rest + chunk
        self._data = bytearray(chunk)  # of its own size, so that the address sanitizer sees its end
        end = self.reader.parse(self._data, len(chunk))
        assert 0 <= end <= len(chunk)
        self._rest = chunk[end:]
        if self.reader.wanted:
            assert self.reader.wanted > len(self._rest)

    def forward(self, start: int, stop: int) -> None:
        assert 0 <= start < stop <= len(self._data)
        self.log.append(bytes(self._data[start:stop]))

    def on_line(self, line: bytes) -> int:
        answer = self.answers.pop(line, GO_ON)
        if answer != WAIT:
            self.log.append(["line", line])
        return answer

    def insert(self) -> None:
        self.log.append("insert")

    def on_blind(self) -> None:
        self.blinded += 1

    @property
    def forwarded(self) -> bytes:
        return b"".join(item for item in self.log if isinstance(item, bytes))

    @property
    def taken(self) -> list[Taken]:
        return [item for item in self.log if isinstance(item, Taken)]

    @property
    def lines(self) -> list[bytes]:
        return [item[1] for item in self.log if isinstance(item, list)]

    @property
    def kept(self) -> bytes:
        return self._rest
