"""Random scripts for several raw connections to a streaming server and its NATS: what each does, step by step.

A script is made from a seed and the same for every server. Nothing in it depends on how the steps of different
connections interleave, so that two servers which keep what NATS promises must answer alike:

- one step is what one connection sends at once, or several connections none of whom can tell the others' apart;
- the player fences every step: what it causes has arrived before the next one begins;
- a step that asks the streaming server for something changes no subscription behind the request, and while a
  subscription with a limit is there, asks once and publishes nothing beside it;
- members of a queue group that has several have no limit, since nobody knows which of them gets a message.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support import stan_messages as stan

CLUSTER = b"test-cluster"
PAYLOAD_MARK = b"#"
"""Payloads say whose they are: the script's name, a hyphen, the number of the connection and this."""

QUEUE_MARK = b"="
"""Stands in the ID of a subscription with a queue group, behind its name."""

_CHANNELS = (b"x", b"y.z")
_IDS = (b"1", b"2", b"3", b"4", b"a-b")


@dataclass(frozen=True)
class AckOf:
    """An ack that can only be written when the streaming server has told its subject.

    Attributes:
        inbox: of the subscription.
    """

    inbox: bytes
    channel: bytes
    sequence: int

    def frame(self, ack_subject: bytes) -> bytes:
        return pub(ack_subject, stan.Ack(subject=self.channel, sequence=self.sequence).SerializeToString())


Piece = bytes | AckOf


@dataclass
class Move:
    """What one connection does in a step.

    Attributes:
        who: number of the connection.
        pieces: sent in this order.
        cuts: where the bytes are cut into several writes, as parts of the whole between 0 and 1.
        end: "" if the connection stays, "refused" if the server is to close it, "abort" or "half" if the client
            closes it: altogether, or its own direction only.
    """

    who: int
    pieces: list[Piece]
    cuts: list[float] = field(default_factory=list)
    end: str = ""


@dataclass
class Step:
    """Moves that are made at once.

    Attributes:
        opened: number of a connection that is opened first, None if none is.
        requests: how many times the streaming server is asked for something.
    """

    moves: list[Move]
    opened: int | None = None
    requests: int = 0


@dataclass
class Script:
    seed: int
    name: bytes
    connections: int
    steps: list[Step]
    clients: list[bytes]


def pub(subject: bytes, payload: bytes, reply: bytes = b"") -> bytes:
    return b"PUB %b %b%d\r\n%b\r\n" % (subject, reply + b" " if reply else b"", len(payload), payload)


def make_script(seed: int, name: bytes) -> Script:
    """A script from a seed.

    Args:
        name: unlike that of any other script the servers have seen; one token of a subject.
    """
    return _Maker(seed, name).make()


@dataclass
class _Peer:
    """What the script knows of one connection."""

    who: int
    is_verbose: bool = True
    has_headers: bool = False


class _Maker:
    def __init__(self, seed: int, name: bytes) -> None:
        self.random = random.Random(seed)
        self.name = name
        self.seed = seed
        self.peers = [_Peer(who) for who in range(self.random.randint(2, 5))]
        self.clients: dict[bytes, bytes] = {}
        self.all_clients: list[bytes] = []
        self.stan_inboxes: dict[bytes, tuple[bytes, bytes]] = {}
        self.stored: dict[bytes, int] = {}
        self.count = 0
        self.limited = False
        self.taps = self.random.random() < 0.5
        self.queues = self.random.random() < 0.6
        self.limits = self.random.random() < 0.6

    def make(self) -> Script:
        steps = [self.opening(who) for who in range(len(self.peers))]
        for _ in range(self.random.randint(8, 24)):
            step = self.step()
            steps.append(step)
            for move in step.moves:
                if move.end:
                    steps.append(self.opening(move.who))
        return Script(self.seed, self.name, len(self.peers), steps, self.all_clients)

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def number(self) -> int:
        self.count += 1
        return self.count

    # Names.

    def inbox(self, kind: bytes) -> bytes:
        """`kind` says what its messages are: c, s, p, d and r are answers and deliveries of the streaming server."""
        return b"_INBOX.%b.%b.%d" % (self.name, kind, self.random.randint(1, 3))

    def pattern(self) -> bytes:
        name, choice = self.name, self.random.choice
        roll = self.random.random()
        if self.taps and roll < 0.25:
            return choice((
                b">", b"*.>", b"_STAN.>", b"_STAN.pub.*.>", b"_STAN.*.%b" % CLUSTER, b"*.*.*",
                b"_STAN.pub.%b.%b.x" % (CLUSTER, name), b"_STAN.discover.%b" % CLUSTER, b"_INBOX.>",
            ))  # fmt: skip
        if roll < 0.55:
            return choice((
                b"_INBOX.%b.%b.*" % (name, choice((b"c", b"s", b"p", b"d", b"r"))), b"_INBOX.%b.*.1" % name,
                b"_INBOX.%b.>" % name, self.inbox(choice((b"c", b"s", b"p", b"d", b"r"))),
                self.inbox(choice((b"p", b"d"))), self.inbox(choice((b"p", b"d"))),
            ))  # fmt: skip
        if roll < 0.6:
            return choice((b"%b..a" % name, b"%b.>.a" % name, b".%b" % name, b"%b.a\x0c" % name, b"%b\x0bb" % name))
        return choice((
            b"%b.a" % name, b"%b.b" % name, b"%b.*" % name, b"%b.>" % name, b"%b.a.*" % name, b"*%b.a" % name
        ))  # fmt: skip

    def plain_subject(self) -> bytes:
        name = self.name
        if self.chance(0.25):
            return self.inbox(self.random.choice((b"p", b"d", b"r")))
        return self.random.choice((b"%b.a" % name, b"%b.b" % name, b"%b.a.b" % name, b"%b" % name, b"%b.*" % name))

    def mark(self, peer: _Peer) -> bytes:
        return b"%b-%d%b%d" % (self.name, peer.who, PAYLOAD_MARK, self.number())

    def payload(self, peer: _Peer) -> bytes:
        mark = self.mark(peer) + b"."
        size = self.random.choices((0, 0, 10, 3000, 80_000, 600_000), (5, 3, 5, 2, 1, 0.2))[0]
        return mark + b"\r\nMSG a 1 5\r\nPUB b 1\r\n"[:size] + bytes([self.random.randrange(256)]) * max(0, size - 23)

    # Operations.

    def spelled(self, line: bytes) -> bytes:
        """An operation's line, perhaps in another spelling that NATS understands."""
        if self.chance(0.85):
            return line + b"\r\n"
        words = line.split(b" ")
        words[0] = self.random.choice((words[0].lower(), words[0].title()))
        blank = self.random.choice((b" ", b"\t", b"  \t "))
        return blank.join(words) + self.random.choice((b"\r\n", b"\n", b" \r\n"))

    def subscribe(self, _: _Peer, pattern: bytes = b"") -> bytes:
        pattern = pattern or self.pattern()
        words = [b"SUB", pattern]
        sid = self.random.choice(_IDS)
        if self.queues and self.chance(0.25):
            queue = b"%b-q%d" % (self.name, self.random.randint(1, 2))
            words.append(queue)
            sid = queue + QUEUE_MARK + sid
        return self.spelled(b" ".join([*words, sid]))

    def unsubscribe(self, _: _Peer) -> bytes:
        sid = self.random.choice(_IDS)
        if self.queues and self.chance(0.25):
            return self.spelled(b"UNSUB %b-q%d%b%b" % (self.name, self.random.randint(1, 2), QUEUE_MARK, sid))
        if self.limits and self.chance(0.6):
            self.limited = True
            return self.spelled(b"UNSUB %b %b" % (sid, self.random.choice((b"1", b"2", b"3", b"5", b"0", b"-1", b"x"))))
        return self.spelled(b"UNSUB " + sid)

    def publish(self, peer: _Peer) -> bytes:
        payload = self.payload(peer)
        subject = self.plain_subject()
        words = [subject]
        if self.chance(0.3):
            words.append(self.plain_subject() if self.chance(0.7) else b"_R_.%b" % self.name)
        if peer.has_headers and self.chance(0.25):
            head = b"NATS/1.0\r\nA: b\r\n\r\n"
            line = b" ".join([b"HPUB", *words, b"%d %d" % (len(head), len(head) + len(payload))])
            return self.spelled(line) + head + payload + b"\r\n"
        return self.spelled(b" ".join([b"PUB", *words, b"%d" % len(payload)])) + payload + b"\r\n"

    def chatter(self) -> bytes:
        return self.random.choice((b"PING\r\n", b"PONG\r\n", b"ping\r\n", b"PING \r\n"))

    def refused(self, peer: _Peer) -> bytes:
        """What a nats-server answers by closing."""
        del peer
        return self.random.choice((
            b"PUB a\r\n", b"PUB a b c 1\r\nx\r\n", b"PUB a 0000000001\r\nx\r\n", b"PUB a 1\r\nxyz\r\n",
            b"PUB a 2000000\r\n", b"HPUB a 5 2\r\n", b"SUB\r\n", b"SUB a b c d\r\n", b"UNSUB 1 2 3\r\n", b"NOTHING\r\n",
            b"PUBLISH a 1\r\nx\r\n", b"\r\n",
            b"CONNECT {\r\n", b"PUB a -1\r\n", b"PUB _STAN.pub.%b.x 99999999\r\n" % CLUSTER, b"MSG a 1 1\r\nx\r\n",
            b'CONNECT {"verbose":false,"protocol":7}\r\n',
        ))  # fmt: skip

    # Requests to the streaming server.

    def request(self, peer: _Peer, is_alone: bool) -> Piece:
        clients = list(self.clients)
        choices: list[tuple[float, Callable[[], Piece]]] = [(1.5 if not clients else 0.3, self.stan_connect)]
        if clients:
            choices += [(4, self.stan_publish), (2, self.stan_subscribe), (0.4, self.stan_ping)]
            if is_alone:  # else it is its luck which deliveries still go out
                choices.append((0.3, self.stan_close))
        choices += [(0.4, self.nonsense)]
        if self.stan_inboxes:
            choices.append((0.4, self.stan_unsubscribe))
            if is_alone:  # else the message may not have been delivered yet
                choices.append((2, self.stan_ack))
        make = self.random.choices([item[1] for item in choices], [item[0] for item in choices])[0]
        piece = make()
        if isinstance(piece, bytes) and piece.startswith(b"PUB ") and peer.has_headers and self.chance(0.05):
            line, _, rest = piece.partition(b"\r\n")
            words = line.split(b" ")
            head = b"NATS/1.0\r\n\r\n"
            words[0] = b"HPUB"
            words[-1:] = [b"%d" % len(head), b"%d" % (int(words[-1]) + len(head))]
            piece = b" ".join(words) + b"\r\n" + head + rest
        return piece

    def stan_frame(self, subject: bytes, message: stan.StanMessage | bytes, reply: bytes) -> bytes:
        payload = message if isinstance(message, bytes) else message.SerializeToString()
        words = [subject, *([reply] if reply else []), b"%d" % len(payload)]
        return self.spelled(b" ".join([b"PUB", *words])) + payload + b"\r\n"

    def stan_connect(self) -> bytes:
        client = b"%b-%d" % (self.name, self.number())
        self.clients[client] = client
        self.all_clients.append(client)
        request = stan.ConnectRequest(
            clientID=client, heartbeatInbox=self.inbox(b"h"), protocol=1, connID=client, pingInterval=3600
        )
        return self.stan_frame(b"_STAN.discover." + CLUSTER, request, self.inbox(b"c"))

    def stan_publish(self) -> bytes:
        client = self.random.choice(list(self.clients))
        channel = b"%b.%b" % (self.name, self.random.choice(_CHANNELS))
        connection = client
        roll = self.random.random()
        if roll < 0.05:
            client = connection = b"%b-nobody" % self.name
        elif roll < 0.1:
            channel += b".*"
        else:
            self.stored[channel] = self.stored.get(channel, 0) + 1
        guid = b"%b-g%d" % (self.name, self.number())
        data = self.random.choice((b"", b"x", b"x" * 100, b"\r\nPUB a 1\r\n", b"y" * 70_000))
        message = stan.PubMsg(clientID=client, guid=guid, subject=channel, data=data, connID=connection)
        reply = self.inbox(b"p") if self.chance(0.95) else b""
        return self.stan_frame(b"_STAN.pub.%b.%b" % (CLUSTER, channel), message, reply)

    def stan_subscribe(self) -> bytes:
        client = self.random.choice(list(self.clients))
        channel = b"%b.%b" % (self.name, self.random.choice(_CHANNELS))
        inbox = self.inbox(b"d")
        self.stan_inboxes[inbox] = (client, channel)
        request = stan.SubscriptionRequest(
            clientID=client, subject=channel, inbox=inbox, maxInFlight=self.random.choice((1, 2, 100)),
            ackWaitInSecs=3600, startPosition=self.random.choice((0, 4)),
            qGroup=self.random.choice((b"", b"", b"group")), durableName=self.random.choice((b"", b"", b"durable")),
        )  # fmt: skip
        return self.stan_frame(b"_STAN.sub." + CLUSTER, request, self.inbox(b"s"))

    def stan_ack(self) -> AckOf:
        inbox = self.random.choice(list(self.stan_inboxes))
        channel = self.stan_inboxes[inbox][1]
        return AckOf(inbox, channel, self.random.randint(1, max(1, self.stored.get(channel, 1))))

    def stan_unsubscribe(self) -> Piece:
        # The subject of its acks is what names the subscription, which only the player knows: a nonsense one will do.
        client, channel = self.random.choice(list(self.stan_inboxes.values()))
        request = stan.UnsubscribeRequest(clientID=client, subject=channel, inbox=b"none")
        return self.stan_frame(b"_STAN.unsub." + CLUSTER, request, self.inbox(b"r"))

    def stan_ping(self) -> bytes:
        connection = self.random.choice([*self.clients, b"nobody"])
        subject = b"_STAN.discover.%b.pings" % CLUSTER
        return self.stan_frame(subject, stan.Ping(connID=connection), self.inbox(b"r"))

    def stan_close(self) -> bytes:
        client = self.random.choice(list(self.clients))
        del self.clients[client]
        self.stan_inboxes = {inbox: of for inbox, of in self.stan_inboxes.items() if of[0] != client}
        return self.stan_frame(b"_STAN.close." + CLUSTER, stan.CloseRequest(clientID=client), self.inbox(b"r"))

    def nonsense(self) -> bytes:
        subject = self.random.choice((b"_STAN.pub.%b.%b" % (CLUSTER, self.name), b"_STAN.sub." + CLUSTER, b"_STAN.a.b"))
        return self.stan_frame(subject, b"\xffnonsense " + self.name, self.inbox(b"r"))

    # Steps.

    def cuts(self) -> list[float]:
        return sorted(self.random.random() for _ in range(self.random.choice((0, 0, 0, 1, 1, 3, 8))))

    def opening(self, who: int) -> Step:
        peer = self.peers[who] = _Peer(who)
        options: list[bytes] = []
        pieces: list[Piece] = []
        peer.is_verbose = self.chance(0.2)
        if not peer.is_verbose or self.chance(0.7):
            options.append(b'"verbose":true' if peer.is_verbose else b'"verbose":false')
        peer.has_headers = self.chance(0.6)
        if peer.has_headers:
            options += [b'"headers":true', *([b'"no_responders":true'] if self.chance(0.6) else [])]
        options += [
            option
            for option in (
                b'"pedantic":true',
                b'"pedantic":false',
                b'"echo":false',
                b'"lang":"x"',
                b'"tls_required":false',
            )
            if self.chance(0.25)
        ]
        if self.chance(0.6):
            options.append(b'"protocol":1')
        self.random.shuffle(options)
        if self.chance(0.9):
            pieces.append(b"CONNECT {%b}\r\n" % b",".join(options))
        else:
            peer.is_verbose, peer.has_headers = True, False
        pieces.append(b"SUB %b.gone.%d gone\r\n" % (self.name, who))
        for inbox in (b"c", b"s", b"p", b"d", b"r"):
            if self.chance(0.3):
                pieces.append(self.subscribe(peer, b"_INBOX.%b.%b.*" % (self.name, inbox)))
        return Step([Move(who, pieces, self.cuts())], opened=who)

    def step(self) -> Step:
        who = self.random.randrange(len(self.peers))
        roll = self.random.random()
        if roll < 0.12 and not self.limited:
            return self.burst()
        if roll < 0.5:
            return self.asking(who)
        return self.talking(who)

    def talking(self, who: int) -> Step:
        """Nothing of it concerns the streaming server."""
        peer = self.peers[who]
        pieces: list[Piece] = []
        for _ in range(self.random.randint(1, 6)):
            make = self.random.choices((self.subscribe, self.unsubscribe, self.publish), (3, 1.5, 4))[0]
            pieces.append(make(peer) if self.chance(0.95) else self.chatter())
        roll = self.random.random()
        end = "refused" if roll < 0.05 else "abort" if roll < 0.1 else "half" if roll < 0.14 else ""
        if end == "refused":
            pieces.append(self.refused(peer))
        elif end == "abort":
            pieces = []  # who would know how much of it arrived?
        return Step([Move(who, pieces, [] if end else self.cuts(), end)])

    def asking(self, who: int) -> Step:
        """Subscribes, then asks the streaming server for something."""
        peer = self.peers[who]
        pieces: list[Piece] = []
        for _ in range(self.random.randint(0, 3)):
            pieces.append((self.subscribe if self.chance(0.7) else self.unsubscribe)(peer))
        count = 1 if self.limited else self.random.choice((1, 1, 1, 2, 4))
        for _ in range(count):
            pieces.append(self.request(peer, count == 1))
            if not self.limited and self.chance(0.3):
                pieces.append(self.publish(peer))
        return Step([Move(who, pieces, self.cuts())], requests=count)

    def burst(self) -> Step:
        """Several at once: each publishes, and asks for something whose order with the others' nobody sees."""
        moves = []
        requests = 0
        for who, peer in enumerate(self.peers):
            if self.chance(0.3):
                continue
            pieces: list[Piece] = []
            for _ in range(self.random.randint(1, 5)):
                if self.clients and self.chance(0.5):
                    requests += 1
                    pieces.append(self.stan_frame(
                        b"_STAN.discover.%b.pings" % CLUSTER,
                        stan.Ping(connID=self.mark(peer)), self.inbox(b"r"),
                    ))  # fmt: skip
                else:
                    pieces.append(self.publish(peer))
            moves.append(Move(who, pieces, self.cuts()))
        return Step(moves, requests=requests)
