"""Plays a script of `nats_scripts` against a server, and says what every connection got.

What one connection gets in one step is told apart by where it comes from: NATS promises the order of what comes from
one publisher under one subscription, and that of a connection's own answers and messages to itself, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support import stan_messages as stan
from tests.support.nats_scripts import CLUSTER, PAYLOAD_MARK, QUEUE_MARK, AckOf, Move, Script, Step

SECONDS = 20.0
NOT_THE_SAME = frozenset(("server_id", "server_name", "client_id", "port", "xkey", "nonce", "git_commit"))
_ACK_SUBJECT = re.compile(rb"_INBOX\.[A-Za-z0-9]{22}\.\d+")
CONTROL = b"-control-"
_controls = itertools.count(1)


class Peer:
    """One connection. Its frames collect in `frames`; the answers to `settle` do not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.frames: list[bytes] = []
        self.closed = asyncio.Event()
        self._reader = reader
        self._is_sending = False
        self._owes_pong = False
        self._waits: list[asyncio.Future[None]] = []
        self._pings: list[bool] = []
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int) -> Peer:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))

    async def send(self, data: bytes, cuts: Iterable[float] = ()) -> None:
        """Send in several writes, which the server may read at once or not."""
        places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
        self._pings += [True] * len(_own_pings(data))
        self._is_sending = True
        for start, stop in itertools.pairwise(places):
            self.writer.write(data[start:stop])
            if stop < len(data):
                await asyncio.sleep(0.0005)
        self._is_sending = False
        if self._owes_pong:
            self._pong()

    def _pong(self) -> None:
        """Answer a PING of the server's, but not in the middle of something else."""
        self._owes_pong = self._is_sending
        if not self._is_sending:
            self.writer.write(b"PONG\r\n")

    def ping(self) -> asyncio.Future[None]:
        """Done when everything has come that was on its way here."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.append(done)
        self._pings.append(False)
        self.writer.write(b"PING\r\n")
        return done

    async def _read(self) -> None:
        try:
            while True:
                line = await self._reader.readuntil(b"\n")
                if line.startswith((b"MSG ", b"HMSG ")):
                    line += await self._reader.readexactly(int(line.split()[-1]) + 2)
                if line == b"PONG\r\n" and self._pings and not self._pings.pop(0):
                    self._waits.pop(0).set_result(None)
                    continue
                if line == b"PING\r\n":
                    self._pong()
                    continue
                self.frames.append(line)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.frames.append(b"half a frame: " + error.partial)
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            for done in self._waits:
                if not done.done():
                    done.set_result(None)

    async def close(self) -> None:
        self.writer.transport.abort()
        await self._task


def _own_pings(data: bytes) -> list[bytes]:
    """The PINGs of a script, which publishes none: payloads end with other bytes than a PING line does."""
    return re.findall(rb"^ping[ \t]*\r?$", data, re.IGNORECASE | re.MULTILINE)


@dataclass
class Got:
    """What one connection got in one step.

    Attributes:
        own: answers, and messages of the connections of the script, by publisher; NATS gives them in this order.
        from_engine: by subscription and subject, in order.
        closed: whether it is closed now.
    """

    own: dict[int, list[bytes]]
    from_engine: dict[bytes, list[bytes]]
    closed: bool


Played = tuple[list[Got | None], Counter[bytes]]
"""Of one step: what each connection got, and what the members of queue groups got together."""


class Player:
    """Plays scripts on one server, one after another."""

    def __init__(self, port: int, monitor_port: int) -> None:
        self.port = port
        self.monitor_port = monitor_port

    async def play(self, script: Script) -> list[Played]:
        """Play all of it.

        Raises:
            TimeoutError: what must come does not.
        """
        peers: list[Peer | None] = [None] * script.connections
        control = await _Control.open(self.port, b"_INBOX.%b.s.*" % script.name)
        run = _Run(script)
        played = []
        try:
            for step in script.steps:
                if step.opened is not None:
                    peers[step.opened] = await Peer.open(self.port)
                await asyncio.gather(*(self._move(run, move, peers[move.who]) for move in step.moves))
                live = [peer for peer in peers if peer is not None and not peer.closed.is_set()]
                await asyncio.wait_for(asyncio.gather(*(peer.ping() for peer in live)), SECONDS)
                run.learn(await control.fence())
                live = [peer for peer in live if not peer.closed.is_set()]
                await asyncio.wait_for(asyncio.gather(*(peer.ping() for peer in live)), SECONDS)
                played.append(run.sort(step, peers))
                for who, peer in enumerate(peers):
                    if peer is not None and peer.closed.is_set():
                        await peer.close()
                        peers[who] = None
        finally:
            for peer in peers:
                if peer is not None:
                    await peer.close()
            await control.end(script)
        return played

    async def _move(self, run: _Run, move: Move, peer: Peer | None) -> None:
        assert peer is not None
        data = b"".join(run.rendered(piece) for piece in move.pieces)
        await peer.send(data, move.cuts)
        if move.end == "half":
            peer.writer.write_eof()
        if move.end == "abort":
            peer.writer.transport.abort()
        elif move.end:
            await asyncio.wait_for(peer.closed.wait(), SECONDS)
        if move.end:
            await self._gone(f"{run.script.name.decode()}.gone.{move.who}")

    async def _gone(self, subject: str) -> None:
        """Wait until the nats-server has forgotten a connection, by a subscription that only it had."""
        async with asyncio.timeout(SECONDS):
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.monitor_port)
                writer.write(b"GET /subsz?subs=1&limit=100000&test=%b HTTP/1.0\r\n\r\n" % subject.encode())
                page = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
                writer.close()
                if not any(item["subject"] == subject for item in page.get("subscriptions_list") or ()):
                    return


class _Control:
    """A connection beside those of the script: all it publishes goes the longest way."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.name = CONTROL + b"%d" % next(_controls)
        self._count = 0
        self._watched: list[bytes] = []

    @classmethod
    async def open(cls, port: int, watched: bytes) -> _Control:
        control = cls(await Peer.open(port))
        name = control.name
        request = stan.ConnectRequest(clientID=name, heartbeatInbox=name, protocol=1, connID=name, pingInterval=3600)
        await control._ask(
            b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB %b.> 1\r\nSUB %b 2\r\n'
            % (name, watched),
            b"_STAN.discover." + CLUSTER,
            request.SerializeToString(),
        )
        return control

    async def _ask(self, before: bytes, subject: bytes, payload: bytes) -> bytes:
        """Send a request with headers, which only the nats-server handles; returns its answer."""
        self._count += 1
        reply = b"%b.%d" % (self.name, self._count)
        head = b"NATS/1.0\r\n\r\n"
        sizes = b"%d %d" % (len(head), len(head) + len(payload))
        await self.peer.send(before + b"HPUB %b %b %b\r\n%b%b\r\n" % (subject, reply, sizes, head, payload))
        return await self._answer(reply)

    async def _answer(self, reply: bytes) -> bytes:
        async with asyncio.timeout(SECONDS):
            while True:
                frames = list(self.peer.frames)
                self.peer.frames.clear()
                self._watched += [frame for frame in frames if frame.startswith(b"MSG _INBOX.")]
                for frame in frames:
                    if frame.startswith((b"MSG %b " % reply, b"HMSG %b " % reply)):
                        return frame
                assert not self.peer.closed.is_set(), (frames, self.peer.writer.get_extra_info("sockname"))
                await asyncio.sleep(0)

    async def fence(self) -> list[bytes]:
        """The streaming server has answered all that the nats-server has given it, and the nats-server has that.

        Returns:
            What came on the watched subjects since the last time.
        """
        message = stan.PubMsg(clientID=self.name, guid=b"g", subject=self.name, connID=self.name)
        await self._ask(b"", b"_STAN.pub.%b.%b" % (CLUSTER, self.name), message.SerializeToString())
        watched, self._watched = self._watched, []
        return watched

    async def end(self, script: Script) -> None:
        for client in [*script.clients, self.name]:
            close = stan.CloseRequest(clientID=client)
            await self._ask(b"", b"_STAN.close." + CLUSTER, close.SerializeToString())
        await self.peer.close()


class _Run:
    """One script on one server: who published what, and the names that this server chose."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._ack_subjects: dict[bytes, bytes] = {}
        self._wanted: list[tuple[bytes, bytes]] = []
        self._publisher = re.compile(script.name + rb"-(\d)" + PAYLOAD_MARK)

    def rendered(self, piece: bytes | AckOf) -> bytes:
        if isinstance(piece, AckOf):
            return piece.frame(self._ack_subjects.get(piece.inbox, b"_INBOX.none"))
        line, _, rest = piece.partition(b"\n")
        words = line.split()
        if words[1:] and words[1].startswith(b"_STAN.sub.") and b"nonsense" not in rest:
            request = rest[:-2] if len(words) == 4 else rest[:-2].partition(b"\r\n\r\n")[2]
            self._wanted.append((words[2], stan.SubscriptionRequest.FromString(request).inbox))
        return piece

    def learn(self, frames: list[bytes]) -> None:
        """The answers to requests for subscriptions say where this server wants acks."""
        for frame in frames:
            reply = frame.split(b" ")[1]
            asked = next(item for item in self._wanted if item[0] == reply)
            self._wanted.remove(asked)
            found = _ACK_SUBJECT.search(frame)
            if found is not None:
                self._ack_subjects[asked[1]] = found[0]

    def sort(self, step: Step, peers: list[Peer | None]) -> Played:
        """Take what the connections have got."""
        queued: Counter[bytes] = Counter()
        once = step.requests == 1
        return [
            None if peer is None else self._sorted(who, peer, queued, once) for who, peer in enumerate(peers)
        ], queued

    def _sorted(self, who: int, peer: Peer, queued: Counter[bytes], once: bool) -> Got:
        got = Got({}, {}, peer.closed.is_set())
        for frame in peer.frames:
            if not frame.startswith((b"MSG ", b"HMSG ")):
                own = got.own.setdefault(who, [])
                answer = self._answer(frame)
                # A nats-server that reads a publish in pieces may say twice what is wrong with it.
                if not answer.startswith(b"-ERR") or own[-1:] != [answer]:
                    own.append(answer)
                continue
            head, _, rest = frame.partition(b"\r\n")
            if CONTROL in frame:
                continue  # a wildcard matches it
            words = head.split(b" ")
            subject, sid = words[1:3]
            queue, is_queue, _ = sid.partition(QUEUE_MARK)
            if is_queue:
                words[2] = queue
                if words[0] == b"HMSG":  # another member might not be for headers, and would get it without
                    rest = rest[int(words[-2]) :]
                    words[0] = b"MSG"
                    words[-2:] = [b"%d" % (len(rest) - 2)]
                queued[self._shown(words, rest)[1]] += 1
                continue
            source, shown = self._shown(words, rest)
            publisher = self._publisher.search(frame)
            if publisher is not None:
                got.own.setdefault(int(publisher[1]), []).append(shown)
            elif words[0] == b"HMSG" or _ACK_SUBJECT.fullmatch(subject) or subject.startswith(b"_STAN"):
                if words[0] == b"HMSG":  # nobody was there to answer, which one of the subscriptions is told
                    words[2] = b"any"
                    shown = self._shown(words, rest)[1]
                got.own.setdefault(who if words[0] == b"HMSG" else -1, []).append(shown)
            else:
                got.from_engine.setdefault(b"" if once else b" ".join((sid, subject, source)), []).append(shown)
        peer.frames.clear()
        if not once:
            # Several subscriptions of the streaming server may have one inbox, and their order is a matter of batches.
            for messages in got.from_engine.values():
                messages.sort()
        for messages in (*got.own.values(), *got.from_engine.values()):
            messages[:] = [copy for _, copies in itertools.groupby(messages, _without_sid) for copy in sorted(copies)]
        return got

    def _shown(self, words: list[bytes], rest: bytes) -> tuple[bytes, bytes]:
        """What has an order of its own, a channel or refusals; and a message without what differs between servers."""
        kind = words[1].split(b".")
        words[1] = _ACK_SUBJECT.sub(b"acks", words[1])
        channel = b""
        if words[0] == b"MSG" and kind[:2] == [b"_INBOX", self.script.name] and PAYLOAD_MARK not in rest:
            if kind[2] == b"d":
                message = stan.MsgProto.FromString(rest[:-2])
                channel = message.subject
                message.ClearField("timestamp")
                rest = message.SerializeToString()
                words.pop()
            elif kind[2] == b"s":
                rest = _ACK_SUBJECT.sub(b"acks", rest)
                words.pop()
            elif b"stan: " in rest:
                channel = b"refused"  # at once, and not when the others were stored
        if len(rest) > 300:
            rest = rest[:100] + hashlib.sha256(rest).hexdigest().encode()
        return channel, b" ".join(words) + b"|" + rest

    def _answer(self, line: bytes) -> bytes:
        if line.startswith(b"INFO "):
            return repr(sorted(item for item in json.loads(line[5:]).items() if item[0] not in NOT_THE_SAME)).encode()
        return line


def _without_sid(shown: bytes) -> bytes:
    """Equal for the copies of one message, which a connection with several subscriptions gets in any order."""
    words, bar, rest = shown.partition(b"|")
    return b" ".join(words.split(b" ")[:2]) + bar + rest if bar else shown


def differences(expected: list[Played], got: list[Played]) -> list[str]:
    """What two servers did not do alike, in words."""
    found: list[str] = []
    for number, (left, right) in enumerate(zip(expected, got, strict=True)):
        if left == right:
            continue
        for who, (one, other) in enumerate(zip(left[0], right[0], strict=True)):
            if one != other:
                found.append(f"step {number}, connection {who}:\n  {one}\n  {other}")
        if left[1] != right[1]:
            found.append(f"step {number}, queues:\n  {left[1] - right[1]}\n  {right[1] - left[1]}")
    return found


async def play_on_both(script: Script, players: tuple[Player, Player]) -> list[str]:
    """Play a script on two servers at once; returns what they did not do alike."""
    one, other = await asyncio.gather(*(player.play(script) for player in players))
    return differences(one, other)
