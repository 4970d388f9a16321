"""Ours alone, ever larger: messages stored, channels, subscriptions. What it costs per message must not grow.

Each point starts anew, except those with many messages, which take long to store: there the rounds follow each other on
one server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.loadgen import Client
from bench.suite.figures import Figures
from bench.suite.load import Party, Publisher, Reader, Subscriber, drive
from bench.suite.servers import FILE, MEMORY, Server, Side, running
from bench.suite.workloads import BLOCK, CHANNEL, IN_FLIGHT, SIZE, WINDOW, connect, frames, timed, warm_up

SMALL = 16  # bytes of the messages that are stored in great number
FILL_WINDOW = 8 * WINDOW
SLOW_FROM = 1_000_000
FIRST_SID = 100_000  # above those that `bench.loadgen` uses itself

STORED, CHANNELS, SUBSCRIPTIONS = "messages stored", "channels", "subscriptions"


@dataclass(frozen=True)
class GrowthSetting:
    """What a curve is told of the run; `burst` is the number of messages of a round."""

    side: Side
    store: str
    under: Path
    burst: int
    rounds: int
    deadline: float


Measure = Callable[[GrowthSetting, int], Iterator[Figures]]


@dataclass(frozen=True)
class Growth:
    """A curve to measure: `measure` gives the figures of each round at a size."""

    name: str
    group: str
    title: str
    per: str
    measure: Measure
    sizes: dict[str, tuple[int, ...]]
    burst: int = 100_000
    limit_s: float = 240.0


def publish(
    server: Server, client: Client, count: int, deadline: float, size: int = SIZE, window: int = WINDOW
) -> None:
    drive([Publisher(client, frames(client, size), count, window)], deadline)


def stored(*, delivered: bool) -> Measure:
    """A burst of publishes into a channel that holds so many messages; delivered: to one subscriber, too."""

    def measure(setting: GrowthSetting, size: int) -> Iterator[Figures]:
        left = setting.rounds
        while left:
            with running(setting.side, setting.store, setting.under) as server:
                warm_up(server, setting.deadline)
                client = connect(server, b"pub")
                publish(server, client, size, setting.deadline, SMALL, FILL_WINDOW)
                for number in range(left if size >= SLOW_FROM else 1):
                    first = size + 1 + number * setting.burst
                    yield burst(server, client, setting, first if delivered else 0)
                    left -= 1

    return measure


def burst(server: Server, client: Client, setting: GrowthSetting, first: int) -> Figures:
    """A round: publishes and, from the sequence `first` on, deliveries to a new subscriber; 0 is nobody."""
    parties: list[Party] = [Publisher(client, frames(client, SMALL), setting.burst, WINDOW)]
    subscriber = None
    if first:
        subscriber = connect(server, b"sub-%d" % first)
        inbox = subscriber.subscribe(CHANNEL, IN_FLIGHT, start_first=False)
        parties.append(Subscriber(subscriber, CHANNEL, inbox, setting.burst, first))
    figures = timed(server, parties, setting.burst, setting.deadline)
    if subscriber is not None:
        subscriber.link.close()
    return figures


def channels(*, round_robin: bool) -> Measure:
    """Publishes while so many channels exist: to one of them, or to each in turn."""

    def measure(setting: GrowthSetting, size: int) -> Iterator[Figures]:
        for _ in range(setting.rounds):
            with running(setting.side, setting.store, setting.under) as server:
                warm_up(server, setting.deadline)
                client = connect(server, b"pub")
                names = [b"bench.%d" % number for number in range(size)]
                drive([Publisher(client, frames(client, SIZE, names), size, WINDOW)], setting.deadline)
                block = frames(client, SIZE, names if round_robin else names[:1])
                yield timed(server, [Publisher(client, block, setting.burst, WINDOW)], setting.burst, setting.deadline)

    return measure


def subscribe(client: Client, channels: list[bytes], count: int, max_in_flight: int) -> dict[int, bytes]:
    """So many subscriptions of one client, round robin over the channels; their ack inboxes by subscription ID."""
    return {
        sid: client.subscribe(channels[sid % len(channels)], max_in_flight, sid=sid)
        for sid in range(FIRST_SID, FIRST_SID + count)
    }


def idle_subscriptions(setting: GrowthSetting, size: int) -> Iterator[Figures]:
    """1 publisher to 1 subscriber, while so many subscriptions on other channels have nothing to do."""
    for _ in range(setting.rounds):
        with running(setting.side, setting.store, setting.under) as server:
            warm_up(server, setting.deadline)
            others = [b"idle.%d" % number for number in range(min(size, 1000))]
            subscribe(connect(server, b"idle"), others, size, IN_FLIGHT)
            yield burst(server, connect(server, b"pub"), setting, 1)


def busy_subscriptions(setting: GrowthSetting, size: int) -> Iterator[Figures]:
    """So many subscriptions on the channel published to; figures are per delivery."""
    messages = max(5, setting.burst // size)
    for _ in range(setting.rounds):
        with running(setting.side, setting.store, setting.under) as server:
            warm_up(server, setting.deadline)
            client = connect(server, b"sub")
            inboxes = subscribe(client, [CHANNEL], size, IN_FLIGHT)
            publisher = connect(server, b"pub")
            taken = [0]
            parties: list[Party] = [
                Reader(client, CHANNEL, inboxes, messages * size, taken),
                Publisher(publisher, frames(publisher, SIZE, count=min(messages, BLOCK)), messages, WINDOW),
            ]
            yield timed(server, parties, messages * size, setting.deadline)


def powers(first: int, last: int) -> tuple[int, ...]:
    return tuple(10**power for power in range(first, last + 1))


GROWTH = (
    Growth(
        "stored-publish", STORED, "publish", "publishes", stored(delivered=False),
        {MEMORY: powers(3, 7), FILE: powers(3, 7)},
    ),
    Growth(
        "stored-1-to-1", STORED, "1 publisher to 1 subscriber", "messages", stored(delivered=True),
        {MEMORY: powers(3, 7), FILE: powers(3, 7)},
    ),
    Growth(
        "channels-one", CHANNELS, "publish to one of them", "publishes", channels(round_robin=False),
        {MEMORY: powers(0, 4), FILE: powers(0, 4)},
    ),
    Growth(
        "channels-all", CHANNELS, "publish round robin to all", "publishes", channels(round_robin=True),
        {MEMORY: powers(0, 4), FILE: powers(0, 4)},
    ),
    Growth(
        "subscriptions-idle", SUBSCRIPTIONS, "1 publisher to 1 subscriber, others idle", "messages",
        idle_subscriptions, {MEMORY: powers(0, 4), FILE: powers(0, 4)},
    ),
    Growth(
        "subscriptions-busy", SUBSCRIPTIONS, "deliveries to all of them", "deliveries", busy_subscriptions,
        {MEMORY: powers(0, 4), FILE: powers(0, 4)},
    ),
)  # fmt: skip
