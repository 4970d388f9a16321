"""Requests that wait for a client to be registered: how long, how many, and who does not wait again."""

from __future__ import annotations

from nats_streaming.constants import PARTITION_EARLY_BYTES_MAX, PARTITION_INVALID_CLIENTS_MAX
from nats_streaming.streaming.early_requests import EarlyRequests
from nats_streaming.streaming.timers import TimerQueue

SECOND = 1_000_000_000


class Driver:
    def __init__(self) -> None:
        self.timers = TimerQueue()
        self.early = EarlyRequests(self.timers)
        self.now_ns = 0
        self.handled: list[str] = []

    def ask(self, client: bytes, name: str = "", *, connection: bytes = b"", size: int = 10) -> bool:
        """As the engine does: handled again, an unknown client's request is asked for again."""
        return self.early.hold(client, connection, size, self.now_ns, lambda: self.handled.append(name))

    def pass_ns(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.timers.run_due(self.now_ns)


def test_served_in_order_when_the_client_comes() -> None:
    driver = Driver()
    for name in "abc":
        assert driver.ask(b"client", name, connection=b"conn")
    assert driver.ask(b"client", "subscribe")
    assert driver.ask(b"client", "other connection", connection=b"another")
    driver.pass_ns(SECOND // 2)
    assert driver.handled == []
    driver.early.on_registered(b"client", b"conn")
    assert sorted(driver.handled) == ["a", "b", "c", "subscribe"]
    assert [name for name in driver.handled if len(name) == 1] == ["a", "b", "c"]
    driver.pass_ns(SECOND)
    assert driver.handled[-1] == "other connection"


def test_strangers_do_not_wait_twice() -> None:
    driver = Driver()
    assert driver.ask(b"client", "first")
    driver.pass_ns(SECOND - 1)
    assert driver.handled == []
    driver.pass_ns(1)
    assert driver.handled == ["first"]
    assert not driver.ask(b"client")
    assert driver.ask(b"client", connection=b"conn"), "another connection is another one"
    driver.early.on_registered(b"client", b"new")
    assert driver.ask(b"client")
    assert not driver.ask(b""), "who has no name is nobody"


def test_what_waits_is_bounded() -> None:
    driver = Driver()
    half = PARTITION_EARLY_BYTES_MAX // 2
    assert driver.ask(b"one", size=half)
    assert driver.ask(b"two", size=half)
    assert not driver.ask(b"three", size=1)
    driver.early.on_registered(b"one", b"")
    assert driver.ask(b"three", size=1)
    driver.pass_ns(SECOND)
    assert driver.ask(b"four", size=half)


def test_strangers_are_forgotten_when_there_are_many() -> None:
    driver = Driver()
    for number in range(PARTITION_INVALID_CLIENTS_MAX + 1):
        assert driver.ask(b"client-%d" % number)
    driver.pass_ns(SECOND)
    assert driver.ask(b"client-0"), "the oldest is forgotten"
    assert not driver.ask(b"client-1")
