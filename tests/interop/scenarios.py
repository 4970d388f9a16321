"""What every client library must see: one function per scenario, the same for all languages.

A scenario is handed a `Stage` and tells client programs what to do and what they are to receive. Messages are written
as `sequence payload`, with an `R` after the sequence when redelivered. Source of the expectations: the Go server,
0.25.6, against which all of them pass.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.servers import ServerProcess, running_server
from .link import CuttableLink, cuttable_link
from .prepare import Program
from .program import MESSAGE_SECONDS, ClientProgram, Option, Refused

CLUSTER = "test-cluster"

# An ack wait that cannot run out within a scenario: what is redelivered then has another cause.
NEVER_SECONDS = 30


class Stage:
    """The server, a channel of the scenario's own, and client programs of one language, all ended with the stage."""

    def __init__(self, program: Program, server: ServerProcess, name: str, stack: contextlib.ExitStack) -> None:
        self._program = program
        self._stack = stack
        self.server = server
        self.name = name
        self.channel = f"interop.{name}"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.server.port}"

    def program(self) -> ClientProgram:
        """A client program that is not connected."""
        program = ClientProgram(self._program)
        self._stack.callback(program.end)
        return program

    def programs(self, count: int) -> list[ClientProgram]:
        """Several at once, since a Java machine takes its time to start."""
        return [self.program() for _ in range(count)]

    def client_id(self, role: str) -> str:
        return f"{self.name}-{role}"

    def connect(self, program: ClientProgram, role: str, url: str | None = None, **pings: int) -> None:
        program.connect(url or self.url, CLUSTER, self.client_id(role), **pings)

    def client(self, role: str) -> ClientProgram:
        """A new client program, connected."""
        program = self.program()
        self.connect(program, role)
        return program

    def link(self) -> CuttableLink:
        return self._stack.enter_context(cuttable_link(self.server.port))

    def use_server(self, *arguments: str) -> None:
        """Give this scenario a server of its own."""
        self.server = self._stack.enter_context(running_server(*arguments))


Scenario = Callable[[Stage], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


@contextlib.contextmanager
def stage(program: Program, server: ServerProcess, name: str) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        yield Stage(program, server, name, stack)


# Publish and subscribe.


@scenario
def publish_and_receive(stage: Stage) -> None:
    """Published one by one and all at once, everything is acked and arrives once, in order and unchanged."""
    client = stage.client("both")
    client.subscribe("sub", stage.channel)
    client.publish(stage.channel, "hello")
    client.publish_async(stage.channel, 200, "fast-")
    client.expect("sub", "1 hello", *(f"{number + 1} fast-{number}" for number in range(1, 201)))
    for payload in (b"", bytes(range(256)), b"\xf0\x9f\x9a\x80", bytes(1000) * 300):
        client.publish(stage.channel, payload)
        [message] = client.take("sub", 1)
        assert message.partition(" ")[2] == payload.decode("latin-1")
    client.unsubscribe("sub")
    client.publish(stage.channel, "unheard")
    client.expect_nothing("sub")
    client.close()


@scenario
def several_subscriptions(stage: Stage) -> None:
    """Each subscription of a client gets every message of its channel, and none of another's."""
    client = stage.client("both")
    other = f"{stage.channel}.other"
    client.subscribe("first", stage.channel)
    client.subscribe("second", stage.channel)
    client.subscribe("other", other)
    client.publish(stage.channel, "a")
    client.publish(other, "b")
    client.expect("first", "1 a")
    client.expect("second", "1 a")
    client.expect("other", "1 b")
    client.close_subscription("first")
    client.publish(stage.channel, "c")
    client.expect("second", "2 c")
    client.expect_nothing("first", "other")


@scenario
def refused(stage: Stage) -> None:
    """What the server refuses reaches the user in the server's words, and the client stays usable."""
    client, second = stage.programs(2)
    stage.connect(client, "owner")
    with pytest.raises(Refused, match="clientID already registered"):
        stage.connect(second, "owner")
    with pytest.raises(Refused, match="invalid clientID"):
        second.connect(stage.url, CLUSTER, "not.valid")
    client.subscribe("sub", stage.channel, durable="d")
    with pytest.raises(Refused, match="duplicate durable registration"):
        client.subscribe("again", stage.channel, durable="d")
    with pytest.raises(Refused, match="can't contain the character ':'"):
        client.subscribe("again", stage.channel, queue="q", durable="d:d")
    client.publish(stage.channel, "still here")
    client.expect("sub", "1 still here")


# Start positions.


@scenario
def start_positions(stage: Stage) -> None:
    """Every start position is honoured on a channel with an old and a recent half."""
    client = stage.client("both")
    for number in (1, 2, 3):
        client.publish(stage.channel, f"old-{number}")
    between_ms = time.time_ns() // 1_000_000 + 1
    # The halves must lie apart in time: the Python library sends a start time in whole seconds, cut off.
    time.sleep(1.5)
    for number in (4, 5):
        client.publish(stage.channel, f"recent-{number}")
    starts = {
        "delta": ("delta:1000", 4),
        "time": (f"time:{between_ms}", 4),
        "new": ("new", 6),
        "last": ("last", 5),
        "first": ("first", 1),
        "sequence": ("sequence:3", 3),
    }
    for name, (start, _) in starts.items():
        client.subscribe(name, stage.channel, start=start)
    client.subscribe("default", stage.channel)
    client.publish(stage.channel, "next-6")
    everything = ["1 old-1", "2 old-2", "3 old-3", "4 recent-4", "5 recent-5", "6 next-6"]
    for name, (_, first) in starts.items():
        client.expect(name, *everything[first - 1 :])
    client.expect("default", "6 next-6")
    client.expect_nothing("default", *starts)


# Acks, the limit on messages in flight, redelivery.


@scenario
def max_in_flight(stage: Stage) -> None:
    """With manual acks no more than the limit are out, and each ack lets one more come."""
    client = stage.client("both")
    client.subscribe("sub", stage.channel, manual=True, max_in_flight=3, ack_wait=NEVER_SECONDS)
    for number in range(1, 7):
        client.publish(stage.channel, f"m{number}")
    client.expect("sub", "1 m1", "2 m2", "3 m3")
    client.expect_nothing("sub")
    client.ack("sub", 2)
    client.expect("sub", "4 m4")
    client.expect_nothing("sub")
    client.ack("sub", 1, 3, 4)
    client.expect("sub", "5 m5", "6 m6")
    client.ack("sub", 5, 6)
    client.expect_nothing("sub")


@scenario
def redelivery(stage: Stage) -> None:
    """What is not acked within the ack wait comes again, until it is acked; nothing new passes a full limit."""
    client = stage.client("both")
    client.subscribe("sub", stage.channel, manual=True, max_in_flight=3, ack_wait=1)
    for number in range(1, 5):
        client.publish(stage.channel, f"m{number}")
    client.expect("sub", "1 m1", "2 m2", "3 m3")
    sent = time.monotonic()
    client.ack("sub", 2)
    client.expect("sub", "4 m4")
    client.expect("sub", "1R m1", "3R m3")
    assert time.monotonic() - sent >= 0.8
    client.ack("sub", 1)
    # Both remain unacked: 4 for its first wait, 3 for its second.
    client.expect_all("sub", {"3R m3", "4R m4"})
    client.ack("sub", 3, 4)
    client.publish(stage.channel, "m5")
    client.expect_all("sub", {"5 m5"})
    client.ack("sub", 5)


# Durable subscriptions.


@scenario
def durable_closed(stage: Stage) -> None:
    """A durable goes on where it was: after its subscription was closed, and after its connection was."""
    client = stage.client("owner")
    durable: dict[str, Option] = {"durable": "d", "manual": True, "start": "first", "ack_wait": NEVER_SECONDS}
    client.subscribe("sub", stage.channel, **durable)
    for number in (1, 2, 3):
        client.publish(stage.channel, f"m{number}")
    client.expect("sub", "1 m1", "2 m2", "3 m3")
    client.ack("sub", 1, 3)
    client.close_subscription("sub")
    client.publish(stage.channel, "m4")
    client.subscribe("again", stage.channel, **durable)
    client.expect("again", "2R m2", "4 m4")
    client.ack("again", 2)
    client.close()

    publisher = stage.client("publisher")
    publisher.publish(stage.channel, "m5")
    stage.connect(client, "owner")
    client.subscribe("third", stage.channel, **durable)
    client.expect("third", "4R m4", "5 m5")
    publisher.publish(stage.channel, "m6")
    client.expect("third", "6 m6")
    client.ack("third", 4, 5, 6)
    client.expect_nothing("third")


@scenario
def durable_killed(stage: Stage) -> None:
    """A client killed without a word comes back with its ID and durable name, and is given what it had not acked."""
    publisher, client, successor = stage.programs(3)
    stage.connect(publisher, "publisher")
    stage.connect(client, "owner")
    durable: dict[str, Option] = {"durable": "d", "manual": True, "ack_wait": NEVER_SECONDS}
    client.subscribe("sub", stage.channel, **durable)
    for number in (1, 2, 3):
        publisher.publish(stage.channel, f"m{number}")
    client.expect("sub", "1 m1", "2 m2", "3 m3")
    client.ack("sub", 2)
    # The library may still hold the ack it was given: an answered request after it shows that it went out.
    client.publish(f"{stage.channel}.fence", "")
    client.kill()
    # The server does not know yet, so this one is sent to the dead client and counts as delivered.
    publisher.publish(stage.channel, "m4")
    stage.connect(successor, "owner")
    successor.subscribe("sub", stage.channel, **durable)
    successor.expect("sub", "1R m1", "3R m3", "4R m4")
    publisher.publish(stage.channel, "m5")
    successor.expect("sub", "5 m5")


@scenario
def durable_unsubscribed(stage: Stage) -> None:
    """Unsubscribing forgets a durable: its name begins anew, at the start position then asked for."""
    client = stage.client("owner")
    client.subscribe("sub", stage.channel, durable="d", start="first")
    client.publish(stage.channel, "m1")
    client.publish(stage.channel, "m2")
    client.expect("sub", "1 m1", "2 m2")
    client.unsubscribe("sub")
    client.subscribe("again", stage.channel, durable="d", start="sequence:2")
    client.expect("again", "2 m2")
    client.expect_nothing("again")


# Queue groups.


@scenario
def queue_group(stage: Stage) -> None:
    """Each message reaches one member of the group, over two connections, and every member has its share."""
    one, two = stage.programs(2)
    stage.connect(one, "one")
    stage.connect(two, "two")
    members = {"a": one, "b": one, "c": two}
    for name, client in members.items():
        client.subscribe(name, stage.channel, queue="workers")
    two.subscribe("everything", stage.channel)
    two.publish_async(stage.channel, 90, "m")
    everything = [f"{number} m{number}" for number in range(1, 91)]
    two.expect("everything", *everything)
    shares: dict[str, list[str]] = {name: [] for name in members}
    deadline = time.monotonic() + MESSAGE_SECONDS
    while sum(map(len, shares.values())) < len(everything) and time.monotonic() < deadline:
        for name, client in members.items():
            shares[name] += client.collect(name, 0.02)
    assert sorted(itertools.chain(*shares.values()), key=_sequence) == everything
    assert all(shares.values()), f"a member went without: {shares}"
    for name, client in members.items():
        client.expect_nothing(name)


@scenario
def queue_member_leaves(stage: Stage) -> None:
    """What a leaving member had not acked goes to a remaining one, without waiting for the ack wait."""
    leaver, stayer = stage.programs(2)
    stage.connect(leaver, "leaver")
    stage.connect(stayer, "stayer")
    leaver.subscribe("sub", stage.channel, queue="workers", manual=True, max_in_flight=2, ack_wait=NEVER_SECONDS)
    for number in range(1, 5):
        stayer.publish(stage.channel, f"m{number}")
    leaver.expect("sub", "1 m1", "2 m2")
    stayer.subscribe("sub", stage.channel, queue="workers", ack_wait=NEVER_SECONDS)
    stayer.expect("sub", "3 m3", "4 m4")
    leaver.close()
    stayer.expect("sub", "1R m1", "2R m2")
    stayer.publish(stage.channel, "m5")
    stayer.expect("sub", "5 m5")


@scenario
def durable_queue_group(stage: Stage) -> None:
    """A durable group keeps its place while nobody is there, for whichever client comes next."""
    member, other = stage.programs(2)
    stage.connect(member, "member")
    stage.connect(other, "other")
    group: dict[str, Option] = {"queue": "workers", "durable": "d", "manual": True, "ack_wait": NEVER_SECONDS}
    member.subscribe("sub", stage.channel, **group)
    member.publish(stage.channel, "m1")
    member.publish(stage.channel, "m2")
    member.expect("sub", "1 m1", "2 m2")
    member.ack("sub", 1)
    member.close()
    other.publish(stage.channel, "m3")
    other.subscribe("sub", stage.channel, **group)
    other.expect("sub", "2R m2", "3 m3")
    other.ack("sub", 2, 3)
    other.unsubscribe("sub")
    other.subscribe("again", stage.channel, start="first", **group)
    other.expect("again", "1 m1", "2 m2", "3 m3")


# The NATS connection goes and comes.


@scenario
def link_cut(stage: Stage) -> None:
    """A cut NATS connection that comes back: what was sent into the void is redelivered, and both directions go on."""
    publisher, client = stage.programs(2)
    link = stage.link()
    stage.connect(publisher, "publisher")
    stage.connect(client, "owner", link.url)
    client.subscribe("sub", stage.channel, ack_wait=1)
    publisher.publish(stage.channel, "before")
    client.expect("sub", "1 before")
    link.cut()
    publisher.publish(stage.channel, "during-2")
    publisher.publish(stage.channel, "during-3")
    link.restore()
    client.expect_all("sub", {"2R during-2", "3R during-3"})
    client.publish(stage.channel, "after")
    client.expect_all("sub", {"4 after"})
    client.close()


@scenario
def replaced_while_cut(stage: Stage) -> None:
    """While a client is cut off, another takes its ID and durable; the first learns so from its next ping."""
    first, second = stage.programs(2)
    link = stage.link()
    stage.connect(first, "owner", link.url, ping_seconds=1)
    durable: dict[str, Option] = {"durable": "d", "manual": True, "ack_wait": NEVER_SECONDS}
    first.subscribe("sub", stage.channel, **durable)
    first.publish(stage.channel, "m1")
    first.expect("sub", "1 m1")
    link.cut()
    stage.connect(second, "owner")
    link.restore()
    second.subscribe("sub", stage.channel, **durable)
    second.expect("sub", "1R m1")
    first.expect_lost("client has been replaced or is no longer registered")
    second.publish(stage.channel, "m2")
    second.expect("sub", "2 m2")


@scenario
def server_restarted(stage: Stage) -> None:
    """With a file store the server may restart under its clients: they, their acks and their subscriptions live on."""
    data = stage.server.directory / stage.name
    stage.use_server("-st", "FILE", "-dir", str(Path(data)))
    client = stage.program()
    stage.connect(client, "owner", ping_seconds=1)
    client.subscribe("sub", stage.channel, manual=True, ack_wait=1)
    for number in (1, 2, 3):
        client.publish(stage.channel, f"m{number}")
    client.expect("sub", "1 m1", "2 m2", "3 m3")
    client.ack("sub", 1)
    client.publish(f"{stage.channel}.fence", "")
    stage.server.stop()
    stage.server.start()
    client.expect_all("sub", {"2R m2", "3R m3"})
    client.ack("sub", 2, 3)
    client.publish(stage.channel, "m4")
    client.expect_all("sub", {"4 m4"})
    client.ack("sub", 4)
    client.subscribe("all", stage.channel, start="first")
    client.expect("all", "1 m1", "2 m2", "3 m3", "4 m4")
    client.close()


def _sequence(message: str) -> int:
    return int(message.partition(" ")[0].rstrip("R"))
