"""The core NATS text protocol, client to server, as it passes us on its way to a nats-server.

    PUB <subject> [reply] <bytes>\\r\\n<payload>\\r\\n
    HPUB <subject> [reply] <header bytes> <total bytes>\\r\\n<header><payload>\\r\\n
    SUB <subject> [queue] <sid>\\r\\n   UNSUB <sid> [max]\\r\\n   CONNECT <json>\\r\\n   PING\\r\\n   PONG\\r\\n

Whole frames are forwarded as they came, but for publishes to a subject of ours: those go to the sink. What a
nats-server refuses, it is to refuse: it is forwarded, and so is everything behind it, unread.

Source: NATS client protocol.
"""

from __future__ import annotations

from nats_streaming.protocol.nats_reader import PAYLOAD_BYTES_MAX, MessageSink

ARGUMENT_BYTES_MAX = 4096
"""What a nats-server takes behind the operation of a line; its `max_control_line`, unless it is told otherwise."""

LINE_BYTES_MAX = 1 << 17
"""What of a client's line may be white space."""

GO_ON, INSERT, WAIT = range(3)
"""What is to happen to a line, see `ClientControl.on_line`."""

_NUMBER_DIGITS_MAX = 9  # more is no number to a nats-server, leading zeros or not

_ARGUMENT_LIMIT = ARGUMENT_BYTES_MAX
_LINE_LIMIT = LINE_BYTES_MAX
_DIGITS_LIMIT = _NUMBER_DIGITS_MAX
_PAYLOAD_LIMIT = PAYLOAD_BYTES_MAX
_LF, _CR, _SPACE, _TAB, _DOT, _BRACE = 10, 13, 32, 9, 46, 123
_GO_ON, _WAIT = GO_ON, WAIT
_NSUB, _ONNECT = b"nsub", b"onnect"


class Offers:
    """The subjects of which publishes are taken out of the stream, and who gets them.

    Attributes:
        sink: gets them; None while nobody wants any.
        payload_max: what is longer the nats-server refuses; 0 while that is not known, and nothing is taken.
        taps: subscriptions of clients that such a publish would match, too; while there are any nothing is taken.
    """

    def __init__(self) -> None:
        self.sink: MessageSink | None = None
        self.payload_max = 0
        self.taps = 0
        self.roots: list[tuple[bytes, bool, int]] = []
        self.literals: dict[bytes, int] = {}

    def add(self, subject: bytes, sid: int) -> None:
        """Offer a subject; wildcards may stand at its end only, as `.*` or `.>`."""
        if subject.endswith((b".*", b".>")):
            self.roots.append((subject.rstrip(b"*>"), subject.endswith(b">"), sid))
        else:
            self.literals[subject] = sid

    def patterns(self) -> list[bytes]:
        """Everything that is offered, as subjects with wildcards."""
        return [root + (b">" if rest else b"*") for root, rest, _ in self.roots] + list(self.literals)

    def sid_of(self, data: bytearray, start: int, stop: int) -> int:
        """The ID of the offer that a subject belongs to; 0 if to none, or if it is no valid subject."""
        view = data
        size = stop - start
        for root, rest, sid in self.roots:
            count = len(root)
            if size <= count or not begins(data, start, root, count):
                continue
            if view[start + count] == _DOT or view[stop - 1] == _DOT:
                return 0
            for position in range(start + count, stop):
                octet = view[position]
                if octet == 42 or octet == 62 or (octet == _DOT and (not rest or view[position + 1] == _DOT)):
                    return 0
            return sid
        return self.literals.get(bytes(data[start:stop]), 0)


class ClientControl:
    """What a reader tells of its stream. Positions are in the buffer that is being parsed."""

    def forward(self, start: int, stop: int) -> None:
        """These bytes are for the nats-server."""
        raise NotImplementedError

    def on_line(self, line: bytes) -> int:
        """A CONNECT, SUB or UNSUB with something behind it.

        Returns:
            GO_ON: it is to be forwarded. INSERT: `insert` is called before that. WAIT: it is called, and parsing ends
            in front of the line.
        """
        raise NotImplementedError

    def insert(self) -> None:
        """Everything before the line of `on_line` was forwarded, and the line itself was not."""
        raise NotImplementedError

    def on_blind(self) -> None:
        """Nothing more is told but `forward`."""
        raise NotImplementedError


class ClientReader:
    """Follows the stream of one client.

    Attributes:
        takes: publishes to offered subjects are taken. Once one of them was not, none is ever again: it may be on its
            way through the nats-server still, and would be overtaken.
        taken: how many were taken.
        pings: how many PINGs there were.
        steps: grows with each read and with each publish that is forwarded: while it does not, nothing that the client
            caused can have come back.
        blind: something came that a nats-server refuses, or may read in two ways; everything is forwarded.
        wanted: size of the frame that has begun and is not whole, 0 if it is not known.
    """

    def __init__(self, control: ClientControl, offers: Offers) -> None:
        self.control = control
        self.offers = offers
        self.takes = False
        self.spoilt = False
        self.blind = False
        self.taken = 0
        self.pings = 0
        self.steps = 0
        self.wanted = 0

    def parse(self, data: bytearray, stop: int) -> int:
        """Handle every whole frame in `data[:stop]`, which begins with one.

        Returns:
            Where the first frame begins that is not whole.
        """
        view = data
        position = 0
        passed = 0
        answer = _GO_ON
        was_blind = self.blind
        self.wanted = 0
        self.steps += 1
        while position < stop and not self.blind:
            line = position
            returns = 0
            while line < stop and view[line] != _LF:
                returns += view[line] == _CR
                line += 1
            if line == stop:
                self.blind = stop - position > _LINE_LIMIT or not is_operation(view[position] | 32)
                break
            body = line + 1
            if line > position and view[line - 1] == _CR:
                line -= 1
                returns -= 1
            argument = argument_of(data, position, line)
            # A nats-server that finds a carriage return within a line reads it in one way or another, as the line comes
            # in one piece or in several.
            if argument == 0 or returns or line - argument > _ARGUMENT_LIMIT:
                self.blind = True
                break
            first = view[position] | 32  # makes letters small ones
            end = body
            if first == 104 or (first == 112 and view[position + 1] | 32 == 117):
                end = self.publish(data, position, argument, line, body, stop, passed)
                self.steps += end > 0
            elif first == 112:
                self.pings += view[position + 1] | 32 == 105
            else:
                answer = self.control.on_line(bytes(data[position:line]))
                if answer != _GO_ON:
                    if position > passed:
                        self.control.forward(passed, position)
                        passed = position
                    self.control.insert()
                    if answer == _WAIT:
                        break
            if end == 0:
                break
            if end < 0:
                passed = position = -end  # it was taken
            else:
                position = end
        if self.blind:
            position = stop
            if not was_blind:
                self.control.on_blind()
        if position > passed:
            self.control.forward(passed, position)
        return position

    def publish(self, data: bytearray, start: int, position: int, line: int, body: int, stop: int, passed: int) -> int:
        """Handle one PUB or HPUB.

        Args:
            start: where the frame begins.
            position: where what is behind the operation begins; not white space.
            line, body: where its line ends, and where its payload begins.
            passed: what stands from here to `start` is to be forwarded still.

        Returns:
            Where the frame ends; negative if it was taken; 0 if it is not whole.
        """
        view = data
        headers = view[start] | 32 == 104
        tokens = 0
        token_start = subject_start = subject_stop = reply_start = reply_stop = 0
        last_start = last_stop = header_start = header_stop = 0
        while position < line:
            while position < line and (view[position] == _SPACE or view[position] == _TAB):
                position += 1
            if position == line:
                break
            token_start = position
            while position < line and view[position] != _SPACE and view[position] != _TAB:
                position += 1
            tokens += 1
            if tokens == 1:
                subject_start, subject_stop = token_start, position
            elif tokens == 2:
                reply_start, reply_stop = token_start, position
            header_start, header_stop = last_start, last_stop
            last_start, last_stop = token_start, position
        size = self.number(data, last_start, last_stop)
        offers = self.offers
        if headers:
            header_size = self.number(data, header_start, header_stop)
            self.blind = header_size < 0 or header_size > size or tokens < 3 or tokens > 4
        else:
            self.blind = tokens < 2 or tokens > 3
        if self.blind or size < 0 or (offers.payload_max and size > offers.payload_max):
            self.blind = True
            return stop
        end = body + size + 2
        if end > stop:
            self.wanted = end - start
            return 0
        if view[end - 2] != _CR or view[end - 1] != _LF:
            self.blind = True
            return stop
        if self.spoilt:
            return end
        sid = offers.sid_of(data, subject_start, subject_stop)
        if sid == 0:
            return end
        sink = offers.sink
        if tokens == 2:
            reply_start = reply_stop = 0
        if (
            headers
            or not self.takes
            or sink is None
            or offers.taps
            or not offers.payload_max
            or is_reserved(data, reply_start, reply_stop)
        ):
            self.spoilt = True
            return end
        if start > passed:
            self.control.forward(passed, start)
        self.taken += 1
        sink.on_message(data, sid, subject_start, subject_stop, reply_start, reply_stop, body, body + size, 0)
        return -end

    def number(self, data: bytearray, start: int, stop: int) -> int:
        """A decimal number of at most PAYLOAD_BYTES_MAX, -1 if it is none."""
        view = data
        result = 0
        if start == stop or stop - start > _DIGITS_LIMIT:
            return -1
        for position in range(start, stop):
            digit = view[position]
            if digit < 48 or digit > 57:
                return -1
            result = result * 10 + (digit - 48)
            if result > _PAYLOAD_LIMIT:
                return -1
        return result


def is_operation(first: int) -> bool:
    """Whether an operation of a client begins with this small letter: CONNECT, HPUB, PUB, PING, PONG, SUB, UNSUB."""
    return first == 99 or first == 104 or first == 112 or first == 115 or first == 117


def argument_of(data: bytearray, start: int, line: int) -> int:
    """Where the first thing begins that stands behind the operation of a line; 0 if that is none of a client.

    Args:
        start: where the line begins, within the data or at its end.
        line: where it ends; its line feed is there, too.
    """
    view = data
    # The comparisons stop at the first byte that is another one, at the latest at that line feed.
    first = view[start] | 32
    position = start + 1
    if first == 104:  # HPUB
        if view[position] | 32 != 112:
            return 0
        first = 112
        position += 1
    if first == 112:
        second = view[position] | 32
        if second == 117 and view[position + 1] | 32 == 98:  # PUB
            position += 2
        elif (
            position == start + 1
            and (
                (second == 105 and view[position + 1] | 32 == 110) or (second == 111 and view[position + 1] | 32 == 110)
            )
            and view[position + 2] | 32 == 103
        ):
            return line  # PING and PONG, and whatever is behind them
        else:
            return 0
    elif first == 115:
        if view[position] | 32 != 117 or view[position + 1] | 32 != 98:  # SUB
            return 0
        position += 2
    elif first == 117:
        if not equals_small(data, position, _NSUB):
            return 0
        position += 4
    elif first == 99:
        if not equals_small(data, position, _ONNECT):
            return 0
        position += 6
        if view[position] == _BRACE:  # of this operation alone a nats-server wants no white space
            return position
    else:
        return 0
    if view[position] != _SPACE and view[position] != _TAB:
        return 0
    while view[position] == _SPACE or view[position] == _TAB:
        position += 1
    return position if position < line else 0


def equals_small(data: bytearray, start: int, letters: bytes) -> bool:
    """Whether these small letters stand here, in either case; a line feed must be there or behind."""
    view = data
    other = letters
    for index in range(len(letters)):  # noqa: SIM110 - a generator would not compile to a loop over pointers
        if view[start + index] | 32 != other[index]:
            return False
    return True


def is_reserved(data: bytearray, start: int, stop: int) -> bool:
    """Whether a reply subject may be one that a nats-server keeps for itself: `_R_.`, `_GR_.`, `$GR.`, `$JS.ACK.`."""
    view = data
    if stop - start < 2:
        return False
    return view[start] == 36 or (view[start] == 95 and (view[start + 1] == 82 or view[start + 1] == 71))


def begins(data: bytearray, start: int, root: bytes, count: int) -> bool:
    """Whether `root`, of `count` bytes, stands at `start`; that many bytes must be there."""
    view = data
    other = root
    for index in range(count):  # noqa: SIM110 - a generator would not compile to a loop over pointers
        if view[start + index] != other[index]:
            return False
    return True
