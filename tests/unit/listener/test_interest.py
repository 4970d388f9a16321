"""Who gets a message: the table of clients' subscriptions against a naive one, and what the router makes of it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nats_streaming.listener.interest import ClientSubscription, Interest, is_pattern, root_of
from nats_streaming.protocol.client_frames import Offers
from nats_streaming.protocol.frame_router import FrameRouter, Outlet
from nats_streaming.protocol.server_frames import FrameScanner
from nats_streaming.protocol.subjects import covers


class Client:
    """A subscriber; `ended` holds what the nats-server was told has ended."""

    def __init__(self, name: str = "") -> None:
        self.outlet = Outlet(self)
        self.subscriptions: dict[bytes, ClientSubscription] = {}
        self.ended: list[bytes] = []
        self.taps = 0
        self.name = name

    def change_taps(self, change: int) -> None:
        self.taps += change

    def end_subscription(self, sid: bytes) -> None:
        self.ended.append(sid)


def new_table() -> tuple[Offers, Interest, FrameRouter]:
    offers = Offers()
    offers.add(b"pub.c.>", 1)
    offers.add(b"acks.*", 2)
    offers.add(b"close", 3)
    interest = Interest(offers)
    interest.offer()
    return offers, interest, FrameRouter(interest)


def send(router: FrameRouter, *frames: bytes) -> tuple[bytes, dict[Client, bytes]]:
    """What is for the nats-server, and what for each client."""
    rest = router.split(b"".join(frames))
    got = {}
    for outlet in router.filled:
        assert outlet.is_filled
        outlet.is_filled = False
        assert isinstance(outlet.owner, Client)
        got[outlet.owner] = outlet.out.take()
    router.filled.clear()
    return rest, got


def pub(subject: bytes, payload: bytes = b"x", reply: bytes = b"") -> bytes:
    return b"PUB %b %b%d\r\n%b\r\n" % (subject, reply + b" " if reply else b"", len(payload), payload)


def msg(subject: bytes, sid: bytes, payload: bytes = b"x", reply: bytes = b"") -> bytes:
    return b"MSG %b %b %b%d\r\n%b\r\n" % (subject, sid, reply + b" " if reply else b"", len(payload), payload)


def test_what_nobody_wants_goes_nowhere() -> None:
    """A nats-server that has not read an UNSUB yet would send it to whom it should not."""
    _, _, router = new_table()
    assert send(router, pub(b"a.b") + pub(b"c", b"PUB a.b 1\r\nx\r\n")) == (b"", {})


def test_a_question_that_nobody_hears_goes_to_the_nats_server_which_says_so() -> None:
    _, interest, router = new_table()
    question = pub(b"in.a", b"x", b"re.ply")
    assert send(router, pub(b"in.a"), question, pub(b"in.b")) == (question, {})
    client = Client()
    interest.add(client, b"1", b"in.*", b"queue")
    assert send(router, question) == (b"", {client: msg(b"in.a", b"1", b"x", b"re.ply")})


def test_frames_of_several_clients_are_told_apart_in_order() -> None:
    _, interest, router = new_table()
    one, two = Client(), Client()
    interest.add(one, b"1", b"in.a")
    interest.add(one, b"2", b"in.b")
    interest.add(two, b"77", b"in.c")
    tricky = b"PUB in.c 1\r\nx\r\n"
    rest, got = send(
        router,
        pub(b"far"),
        pub(b"in.a", b"1"),
        pub(b"in.a", tricky, b"re.ply"),
        pub(b"in.c", b""),
        pub(b"far", b"2"),
        pub(b"in.b", b"3"),
        pub(b"in.a", b"4" * 1000),
        pub(b"far", b"3"),
    )
    assert not rest
    assert got == {
        one: msg(b"in.a", b"1", b"1")
        + msg(b"in.a", b"1", tricky, b"re.ply")
        + msg(b"in.b", b"2", b"3")
        + msg(b"in.a", b"1", b"4" * 1000),
        two: msg(b"in.c", b"77", b""),
    }


def test_all_who_match_get_it() -> None:
    _, interest, router = new_table()
    clients = [Client() for _ in range(4)]
    for client, pattern in zip(clients, (b"in.a", b"in.*", b"in.>", b"*.a"), strict=True):
        interest.add(client, b"1", pattern)
    interest.add(clients[0], b"2", b"in.a")
    rest, got = send(router, pub(b"in.a"))
    assert not rest
    assert got == {client: msg(b"in.a", b"1") for client in clients[1:]} | {
        clients[0]: msg(b"in.a", b"1") + msg(b"in.a", b"2")
    }


def test_one_of_a_queue_gets_it_and_everybody_else() -> None:
    _, interest, router = new_table()
    plain, one, two, other = (Client() for _ in range(4))
    interest.add(plain, b"1", b"in.a")
    interest.add(one, b"5", b"in.*", b"workers")
    interest.add(two, b"6", b"in.a", b"workers")
    interest.add(other, b"7", b"in.>", b"others")
    counts = {one: 0, two: 0}
    for number in range(400):
        message = b"%d" % number
        rest, got = send(router, pub(b"in.a", message))
        assert not rest
        assert got[plain] == msg(b"in.a", b"1", message)
        assert got[other] == msg(b"in.a", b"7", message)
        (chosen,) = got.keys() & counts.keys()
        assert got[chosen] == msg(b"in.a", b"5" if chosen is one else b"6", message)
        counts[chosen] += 1
    assert min(counts.values()) > 100, "both are chosen, about equally often"
    interest.limit(one, b"5", 0)
    assert send(router, pub(b"in.a"))[1].keys() == {plain, two, other}
    interest.limit(two, b"6", 2)
    assert send(router, pub(b"in.a"))[1].keys() == {plain, other}, "it has had enough"


def test_what_is_held_counts_when_it_is_sent() -> None:
    _, interest, router = new_table()
    client = Client()
    interest.add(client, b"1", b"in.a")
    interest.limit(client, b"1", 2)
    client.outlet.is_held = True
    _, got = send(router, *(pub(b"in.a", b"%d" % number) for number in range(3)))
    held = bytearray(got[client])
    assert client.subscriptions[b"1"].delivered == 0
    client.subscriptions[b"1"].relayed = 1
    scanner = FrameScanner(client.subscriptions, are_ours=True)
    assert scanner.for_client(held, scanner.whole(held, len(held))) == [msg(b"in.a", b"1", b"0")]
    interest.on_limits(scanner.ended)
    assert client.ended == [b"1"]
    assert not client.subscriptions


def test_a_subscription_ends_after_its_last_message() -> None:
    _, interest, router = new_table()
    client = Client()
    interest.add(client, b"1", b"in.a")
    interest.limit(client, b"1", 2)
    rest, got = send(router, pub(b"in.a", b"1"), pub(b"in.a", b"2"), pub(b"in.a", b"3"))
    assert got == {client: msg(b"in.a", b"1", b"1") + msg(b"in.a", b"1", b"2")}
    assert not rest
    assert client.ended == [b"1"]
    assert not interest.routes


def test_messages_from_the_nats_server_count_for_a_limit() -> None:
    _, interest, router = new_table()
    client = Client()
    interest.add(client, b"1", b"in.a")
    client.subscriptions[b"1"].relayed = 3
    interest.limit(client, b"1", 5)
    _, got = send(router, pub(b"in.a"), pub(b"in.a"), pub(b"in.a"))
    assert got == {client: msg(b"in.a", b"1") * 2}
    interest.add(client, b"1", b"in.a")
    client.subscriptions[b"1"].relayed = 3
    interest.limit(client, b"1", 3)
    assert client.ended == [b"1"], "the second one is ended by the nats-server itself"
    assert not client.subscriptions


def test_one_of_two_ends_in_mid_run() -> None:
    _, interest, router = new_table()
    once, always = Client(), Client()
    interest.add(once, b"1", b"in.*")
    interest.add(always, b"1", b"in.a")
    interest.limit(once, b"1", 1)
    rest, got = send(router, pub(b"in.a", b"1"), pub(b"in.a", b"2"))
    assert not rest
    assert got == {once: msg(b"in.a", b"1", b"1"), always: msg(b"in.a", b"1", b"1") + msg(b"in.a", b"1", b"2")}


def test_what_we_are_subscribed_to_ourselves_goes_to_the_nats_server() -> None:
    """It alone brings it to us; and to the client, too."""
    _, interest, router = new_table()
    client = Client()
    interest.add(client, b"1", b">")
    assert send(router, pub(b"pub.c.x"), pub(b"in.a"))[0] == pub(b"pub.c.x")


@pytest.mark.parametrize(
    "pattern", [b"pub.c.x", b">", b"pub.>", b"pub.*.x.y", b"*.*.*", b"acks.7", b"acks.*", b"close"]
)
def test_taps(pattern: bytes) -> None:
    offers, interest, _ = new_table()
    client = Client()
    interest.add(client, b"1", pattern)
    interest.add(client, b"1", pattern)
    assert offers.taps == 1
    interest.add(client, b"2", pattern, b"queue")
    assert offers.taps == client.taps == 2
    interest.limit(client, b"1", -1)
    interest.limit(client, b"1", -1)
    assert offers.taps == client.taps == 1
    interest.remove_all(client)
    assert offers.taps == client.taps == 0


@pytest.mark.parametrize("pattern", [b"pub.c", b"pub", b"acks", b"acks.1.2", b"close.x", b"in.>", b"*.c.", b"PUB.c.x"])
def test_no_taps(pattern: bytes) -> None:
    offers, interest, _ = new_table()
    interest.add(Client(), b"1", pattern)
    assert offers.taps == 0


def test_taps_of_before_the_offers_count() -> None:
    offers = Offers()
    interest = Interest(offers)
    interest.add(Client(), b"1", b">")
    assert offers.taps == 0
    assert send(FrameRouter(interest), pub(b"in.a")) == (pub(b"in.a"), {}), "nothing is known yet of who is ours"
    offers.add(b"pub.c.>", 1)
    interest.offer()
    assert offers.taps == 1


def test_when_it_is_closed_nothing_goes_past_the_nats_server() -> None:
    _, interest, router = new_table()
    client = Client()
    interest.add(client, b"1", b"in.a")
    interest.add(client, b"2", b"wild.*")
    assert not send(router, pub(b"in.a"), pub(b"wild.a"))[0]
    interest.close()
    interest.add(client, b"3", b"in.b")
    frames = pub(b"in.a") + pub(b"wild.a") + pub(b"in.b")
    assert send(router, frames) == (frames, {})


@pytest.mark.parametrize("subject", [b"", b".", b"a.", b".a", b"a..b", b">.a", b"a.>.b", b">.>"])
def test_what_is_no_pattern(subject: bytes) -> None:
    assert not is_pattern(subject)
    _, interest, _ = new_table()
    client = Client()
    interest.add(client, b"1", subject)
    assert not client.subscriptions
    interest.add(client, b"1", b"in.a")
    assert client.subscriptions, "the ID is free still"


@pytest.mark.parametrize("pattern", [b"a", b"*", b">", b"a.*.b", b"a.>", b"a*", b"a>.b", b"*.*.>"])
def test_what_is_a_pattern(pattern: bytes) -> None:
    assert is_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "root"), [(b"*", b""), (b">", b""), (b"a.*.b", b"a."), (b"a.b.>", b"a.b."), (b"a*.*", b"a*.")]
)
def test_what_a_pattern_begins_with(pattern: bytes, root: bytes) -> None:
    assert root_of(pattern) == root


TOKENS = st.sampled_from([b"in", b"a", b"b"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=3).map(b".".join)
PATTERNS = st.lists(st.sampled_from([b"in", b"a", b"b", b"*", b">"]), min_size=1, max_size=3).map(b".".join)


class InterestMachine(RuleBasedStateMachine):
    """Clients come, subscribe, unsubscribe and go in any order, and we send in between."""

    def __init__(self) -> None:
        super().__init__()
        self.offers, self.interest, self.router = new_table()
        self.clients = [Client(str(number)) for number in range(3)]
        self.naive: dict[tuple[Client, bytes], list[object]] = {}  # pattern, queue, came, limit

    @rule(who=st.integers(0, 2), sid=st.integers(1, 4), pattern=PATTERNS, queue=st.sampled_from([b"", b"", b"", b"q"]))
    def subscribe(self, who: int, sid: int, pattern: bytes, queue: bytes) -> None:
        key = (self.clients[who], b"%d" % sid)
        self.interest.add(key[0], key[1], pattern, queue)
        if key not in self.naive and b">" not in pattern.split(b".")[:-1]:
            self.naive[key] = [pattern, queue, 0, 0]

    @rule(who=st.integers(0, 2), sid=st.integers(1, 4), count=st.integers(-1, 4))
    def unsubscribe(self, who: int, sid: int, count: int) -> None:
        key = (self.clients[who], b"%d" % sid)
        self.interest.limit(key[0], key[1], count)
        if key in self.naive:
            came = self.naive[key][2]
            assert isinstance(came, int)
            self.naive[key][3] = count
            if count <= came or count <= 0:
                del self.naive[key]

    @rule(who=st.integers(0, 2))
    def leave(self, who: int) -> None:
        client = self.clients[who]
        self.interest.remove_all(client)
        self.naive = {key: value for key, value in self.naive.items() if key[0] is not client}

    @precondition(lambda self: self.naive)
    @rule(subjects=st.lists(SUBJECTS, min_size=1, max_size=6))
    def send(self, subjects: list[bytes]) -> None:
        frames = [pub(subject, b"%d" % number) for number, subject in enumerate(subjects)]
        expected: dict[Client, list[bytes]] = {client: [] for client in self.clients}
        rest, got = send(self.router, *frames)
        assert not rest
        shown = {client: frames_of(got.get(client, b"")) for client in self.clients}
        for number, subject in enumerate(subjects):
            matching = [(key, entry) for key, entry in self.naive.items() if covers(bytes(entry[0]), subject)]  # type: ignore[call-overload]
            groups: dict[object, list[tuple[Client, bytes]]] = {}
            for key, entry in matching:
                groups.setdefault(entry[1] or key, []).append(key)
            for members in groups.values():
                reached = [
                    (client, sid) for client, sid in members if msg(subject, sid, b"%d" % number) in shown[client]
                ]
                assert len(reached) == 1, "one of each queue, and everybody who is in none"
                client, sid = reached[0]
                expected[client].append(msg(subject, sid, b"%d" % number))
                entry = self.naive[client, sid]
                entry[2] += 1  # type: ignore[operator]
                if entry[2] == entry[3]:
                    del self.naive[client, sid]
        assert {client: sorted(out) for client, out in shown.items()} == {
            client: sorted(out) for client, out in expected.items()
        }
        for client, out in shown.items():
            numbers = [int(frame.split(b"\r\n")[1]) for frame in out]
            assert numbers == sorted(numbers), f"out of order for {client.name}"

    @invariant()
    def same_subscriptions(self) -> None:
        for client in self.clients:
            assert set(client.subscriptions) == {sid for owner, sid in self.naive if owner is client}
        assert self.offers.taps == sum(
            subscription.is_tap for client in self.clients for subscription in client.subscriptions.values()
        )
        exact = {
            bytes(entry[0]) for entry in self.naive.values() if not {b"*", b">"} & set(bytes(entry[0]).split(b"."))
        }  # type: ignore[call-overload]
        assert set(self.interest.routes) == exact, "a route lives as long as a subscription of its own"


def frames_of(out: bytes) -> list[bytes]:
    return [b"MSG " + part for part in out.split(b"MSG ")[1:]]


TestInterest = InterestMachine.TestCase
TestInterest.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
