"""One heap of deadlines: order, cancelling, and what callbacks may do to it."""

from __future__ import annotations

import random

import pytest

from nats_streaming.streaming.timers import Timer, TimerQueue


def test_nothing_armed() -> None:
    timers = TimerQueue()
    assert timers.next_deadline_ns() is None
    timers.run_due(2**63)


def test_called_once_the_time_has_come_and_not_before() -> None:
    timers = TimerQueue()
    called: list[tuple[object, ...]] = []
    timers.at(100, lambda *arguments: called.append(arguments), 1, "two")
    timers.run_due(99)
    assert called == []
    assert timers.next_deadline_ns() == 100
    timers.run_due(100)
    assert called == [(1, "two")]
    timers.run_due(1000)
    assert called == [(1, "two")]
    assert timers.next_deadline_ns() is None


def test_deadline_order_equal_ones_as_armed(rng: random.Random) -> None:
    timers = TimerQueue()
    called: list[tuple[int, int]] = []
    armed = [(rng.randrange(10), number) for number in range(200)]
    for deadline_ns, number in armed:
        timers.at(deadline_ns, lambda *arguments: called.append(arguments), deadline_ns, number)
    for now_ns in (-1, 3, 4, 9):
        timers.run_due(now_ns)
        assert called == sorted(item for item in armed if item[0] <= now_ns)


def test_cancelled() -> None:
    timers = TimerQueue()
    called: list[str] = []
    first = timers.at(1, called.append, "first")
    second = timers.at(2, called.append, "second")
    timers.at(3, called.append, "third")
    first.cancel()
    first.cancel()
    assert timers.next_deadline_ns() == 2
    second.cancel()
    assert timers.next_deadline_ns() == 3
    timers.run_due(10)
    assert called == ["third"]


def test_cancelled_after_it_ran() -> None:
    timers = TimerQueue()
    called: list[str] = []
    timer = timers.at(1, called.append, "once")
    timers.run_due(1)
    timer.cancel()
    timers.run_due(2)
    assert called == ["once"]


def test_a_callback_cancels_one_that_is_due_too() -> None:
    timers = TimerQueue()
    called: list[str] = []
    doomed: list[Timer] = []
    timers.at(1, lambda: doomed[0].cancel())
    doomed.append(timers.at(1, called.append, "doomed"))
    timers.at(1, called.append, "spared")
    timers.run_due(5)
    assert called == ["spared"]


def test_what_is_armed_meanwhile_waits_for_the_next_run() -> None:
    """Else a callback that arms itself for a time long past would never let go."""
    timers = TimerQueue()
    called: list[int] = []

    def again(number: int) -> None:
        called.append(number)
        timers.at(0, again, number + 1)

    timers.at(0, again, 0)
    for _ in range(3):
        timers.run_due(10)
    assert called == [0, 1, 2]
    assert timers.next_deadline_ns() == 0


def test_a_callback_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    timers = TimerQueue()
    called: list[str] = []

    def fail() -> None:
        raise RuntimeError("bug")

    timers.at(1, called.append, "before")
    timers.at(2, fail)
    timers.at(3, called.append, "after")
    timers.run_due(5)
    assert called == ["before", "after"]
    assert [record.message for record in caplog.records] == ["bug: a timer ended in an error"]


def test_cancelled_ones_do_not_pile_up() -> None:
    """Acks cancel nothing, but heartbeats and requests do, all the time."""
    timers = TimerQueue()
    called: list[int] = []
    for number in range(20_000):
        timer = timers.at(1000 + number, called.append, number)
        if number % 100:
            timer.cancel()
    assert len(timers._heap) < 2_000
    timers.run_due(10**9)
    assert called == list(range(0, 20_000, 100))


def test_against_a_list(rng: random.Random) -> None:
    timers = TimerQueue()
    model: list[tuple[int, int, Timer]] = []
    called: list[int] = []
    now_ns = 0
    for number in range(5_000):
        match rng.randrange(4):
            case 0 | 1:
                deadline_ns = now_ns + rng.randrange(-5, 100)
                model.append((deadline_ns, number, timers.at(deadline_ns, called.append, number)))
            case 2 if model:
                model.pop(rng.randrange(len(model)))[2].cancel()
            case _:
                now_ns += rng.randrange(10)
                called.clear()
                timers.run_due(now_ns)
                assert called == [number for deadline_ns, number, _ in sorted(model) if deadline_ns <= now_ns]
                model = [item for item in model if item[0] > now_ns]
        assert timers.next_deadline_ns() == min((item[0] for item in model), default=None)
