"""The core NATS text protocol, nats-server to client, as it passes us on its way to a client.

    MSG <subject> <sid> [reply] <bytes>\\r\\n<payload>\\r\\n
    HMSG <subject> <sid> [reply] <header bytes> <total bytes>\\r\\n<header><payload>\\r\\n
    INFO <json>\\r\\n   PING\\r\\n   PONG\\r\\n   +OK\\r\\n   -ERR '<text>'\\r\\n

Whole frames go on as they came, but for answers to what we said beside the client, and for messages that it would not
have got if all had come this way.

Source: NATS client protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nats_streaming.protocol.frame_router import Target
from nats_streaming.protocol.nats_reader import PAYLOAD_BYTES_MAX

LINE_BYTES_MAX = 1 << 17
"""A nats-server's own line, its INFO with all that it may name."""

_LINE_LIMIT = LINE_BYTES_MAX
_FACTOR_LIMIT = 10**8  # of the first of nine digits: more is no number to a nats-server
_PAYLOAD_LIMIT = PAYLOAD_BYTES_MAX
_LF, _CR, _SPACE, _PLUS = 10, 13, 32, 43
_NOBODY = b"NATS/1.0 503\r\n"
_NOBODY_SIZE = len(_NOBODY)


class Fence:
    """A PING of ours among those of the client; its PONG is not for the client.

    Attributes:
        pong: which PONG of the stream it is, from 1.
        sids: messages under these subscriptions, which have ended, come up to here only.
        is_start: each +OK behind it, up to the next fence, is ours, too.
    """

    def __init__(self, pong: int, sids: Iterable[bytes] = (), is_start: bool = False) -> None:
        self.pong = pong
        self.sids = list(sids)
        self.is_start = is_start


class FrameScanner:
    """Finds where the frames of a nats-server end, so that others can be put between them; or where ours end.

    Attributes:
        targets: the client's subscriptions by ID; their messages are counted.
        ended: those that have had all they wanted; the owner empties it.
        fences: those whose PONG has not come, in order.
        ended_sids: of ended subscriptions, each with how many of these fences will come.
        cuts: what is not for the client, in order: where it begins and ends, and whether it is the PONG of a fence.
        wanted: size of the frame that has begun and is not whole, 0 if it is not known.
        pongs: how many PONGs there were.
        lost: what came is not the protocol; the stream is of no use any more.
        are_ours: the frames are not the nats-server's but such as went past it.
    """

    def __init__(self, targets: Mapping[bytes, Target], are_ours: bool = False) -> None:
        self.targets = targets
        self.are_ours = are_ours
        self.ended: list[Target] = []
        self.fences: list[Fence] = []
        self.ended_sids: dict[bytes, int] = {}
        self.cuts: list[tuple[int, int, bool]] = []
        self.wanted = 0
        self.pongs = 0
        self.lost = False
        self._is_ours = False

    def expect(self, fence: Fence) -> None:
        """A PING was sent beside those of the client."""
        self.fences.append(fence)
        for sid in fence.sids:
            self.ended_sids[sid] = self.ended_sids.get(sid, 0) + 1

    def for_client(self, data: bytearray, end: int) -> list[bytes]:
        """What is for the client of the whole frames in `data[:end]`, in parts: a fence was passed between each two."""
        if not self.cuts:
            return [bytes(data[:end])]
        parts = []
        part = b""
        position = 0
        for start, stop, is_fence in self.cuts:
            part += bytes(data[position:start])
            position = stop
            if is_fence:
                parts.append(part)
                part = b""
        self.cuts.clear()
        parts.append(part + bytes(data[position:end]))
        return parts

    def whole(self, data: bytearray, stop: int) -> int:
        """Where the last whole frame in `data[:stop]` ends; 0 if there is none."""
        view = data
        position = 0
        self.wanted = 0
        while position < stop:
            line = position
            while line < stop and view[line] != _LF:
                line += 1
            if line == stop:
                self.lost = stop - position > _LINE_LIMIT
                break
            first = view[position] | 32
            is_cut = False
            start = position
            if (first == 109 or first == 104) and line - position > 4:
                at = line
                if view[at - 1] == _CR:
                    at -= 1
                size = 0
                factor = 1
                # Leading zeros are those of the publisher: up to nine digits come as it wrote them.
                while at > position and factor <= _FACTOR_LIMIT and 48 <= view[at - 1] <= 57:
                    at -= 1
                    size += factor * (view[at] - 48)
                    factor *= 10
                if size > _PAYLOAD_LIMIT or view[at - 1] != _SPACE:
                    self.lost = True
                    break
                end = line + 1 + size + 2
                if end > stop:
                    self.wanted = end - position
                    break
                is_cut = self.count(data, position + 4, line, size)
                position = end
            else:
                if line - position >= 4 and view[position] == 80 and view[position + 1] == 79:
                    self.pongs += 1
                    is_cut = self.on_pong()
                elif view[position] == _PLUS:
                    is_cut = self._is_ours
                position = line + 1
            if is_cut:
                self.cuts.append((start, position, first == 112))
        return position

    def on_pong(self) -> bool:
        """Whether it is ours."""
        if not self.fences or self.fences[0].pong != self.pongs:
            return False
        fence = self.fences.pop(0)
        self._is_ours = fence.is_start
        for sid in fence.sids:
            self.ended_sids[sid] -= 1
            if not self.ended_sids[sid]:
                del self.ended_sids[sid]
        return True

    def count(self, data: bytearray, start: int, line: int, size: int) -> bool:
        """Count a message for its subscription.

        Args:
            start: within or behind the operation.
            line: where the line of the frame ends.
            size: of what is behind it.

        Returns:
            Whether the subscription had had all it wanted already.
        """
        view = data
        position = start
        while position < line and view[position] == _SPACE:  # of an HMSG, one letter longer
            position += 1
        while position < line and view[position] != _SPACE:
            position += 1
        position += 1
        stop = position
        while stop < line and view[stop] != _SPACE:
            stop += 1
        if stop >= line:
            return False
        sid = bytes(data[position:stop])
        if self.ended_sids and sid in self.ended_sids:
            return True
        target: Target | None = self.targets.get(sid)
        if target is None:
            return self.are_ours
        if target.limit and target.delivered + target.relayed >= target.limit:
            return True
        if view[start] == _SPACE and size >= _NOBODY_SIZE and is_nobody(data, line + 1):
            return False  # that nobody is there to answer, which a nats-server does not count
        if self.are_ours:
            target.delivered += 1
        else:
            target.relayed += 1
        if target.delivered + target.relayed == target.limit:
            self.ended.append(target)
        return False


def is_nobody(data: bytearray, start: int) -> bool:
    """Whether headers say that nobody is there to answer; so many bytes must be there."""
    view = data
    other = _NOBODY
    for index in range(_NOBODY_SIZE):  # noqa: SIM110 - a generator would not compile to a loop over pointers
        if view[start + index] != other[index]:
            return False
    return True
