"""What is sent and not acked, against a dictionary; growth and shrinking, extremes, colliding sequences."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nats_streaming.streaming.in_flight import InFlight

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Model:
    """The same as a dictionary of deadlines."""

    def __init__(self) -> None:
        self.deadlines: dict[int, int] = {}

    def due(self, now_ns: int) -> list[int]:
        found = [(deadline, sequence) for sequence, deadline in self.deadlines.items() if deadline <= now_ns]
        return [sequence for _, sequence in sorted(found)]


def check(in_flight: InFlight, model: Model) -> None:
    """Everything that can be asked."""
    assert in_flight.count == len(model.deadlines)
    assert in_flight.in_deadline_order() == model.due(INT64_MAX)
    assert in_flight.in_sequence_order() == sorted(model.deadlines)
    assert in_flight.first_deadline() == min(model.deadlines.values(), default=-1)
    for sequence, deadline_ns in model.deadlines.items():
        assert in_flight.contains(sequence)
        assert in_flight.deadline_of(sequence) == deadline_ns


def test_nothing() -> None:
    in_flight = InFlight()
    for sequence in (0, 1, -1, INT64_MIN, INT64_MAX):
        assert not in_flight.contains(sequence)
        assert in_flight.deadline_of(sequence) == -1
        assert not in_flight.remove(sequence)
    check(in_flight, Model())
    assert in_flight.due(INT64_MAX) == []
    in_flight.set_deadlines({1: 5})
    check(in_flight, Model())


def test_empty_again() -> None:
    in_flight = InFlight()
    for sequence in range(1, 100):
        in_flight.add(sequence, sequence)
    for sequence in range(1, 100):
        assert in_flight.remove(sequence)
        assert not in_flight.remove(sequence)
        assert not in_flight.contains(sequence)
    check(in_flight, Model())
    in_flight.add(5, 50)
    assert in_flight.in_deadline_order() == [5]


def test_due_in_deadline_order_equal_ones_by_sequence() -> None:
    in_flight = InFlight()
    for sequence, deadline_ns in [(9, 30), (1, 20), (5, 10), (7, 20), (3, 20), (2, 30)]:
        in_flight.add(sequence, deadline_ns)
    assert in_flight.first_deadline() == 10
    assert in_flight.due(9) == []
    assert in_flight.due(10) == [5]
    assert in_flight.due(29) == [5, 1, 3, 7]
    assert in_flight.due(30) == [5, 1, 3, 7, 2, 9]
    assert in_flight.count == 6, "asking takes nothing out"


def test_adding_again_moves_the_deadline() -> None:
    in_flight = InFlight()
    for sequence in (1, 2, 3):
        in_flight.add(sequence, 10 * sequence)
    in_flight.add(1, 40)
    in_flight.add(3, 5)
    assert in_flight.count == 3
    assert in_flight.in_deadline_order() == [3, 2, 1]
    in_flight.add(2, 20)
    assert in_flight.in_deadline_order() == [3, 2, 1]


def test_set_deadlines_of_some() -> None:
    in_flight = InFlight()
    for sequence in range(1, 6):
        in_flight.add(sequence, sequence)
    in_flight.set_deadlines({5: 0, 1: 100, 3: 100, 77: 1})
    assert in_flight.in_deadline_order() == [5, 2, 4, 1, 3]
    assert not in_flight.contains(77)
    assert (in_flight.deadline_of(4), in_flight.deadline_of(1)) == (4, 100)


@pytest.mark.parametrize("sequence", [0, -1, INT64_MIN, INT64_MAX])
@pytest.mark.parametrize("deadline_ns", [0, -5, INT64_MIN, INT64_MAX])
def test_extremes(sequence: int, deadline_ns: int) -> None:
    in_flight = InFlight()
    in_flight.add(7, 0)
    in_flight.add(sequence, deadline_ns)
    model = Model()
    model.deadlines = {7: 0, sequence: deadline_ns}
    check(in_flight, model)
    assert in_flight.due(deadline_ns) == model.due(deadline_ns)
    assert in_flight.remove(sequence)
    assert in_flight.in_deadline_order() == [7]


# Few different values, so that they meet: neighbours, the same slot of any table, both signs, both ends.
SEQUENCES = st.one_of(
    st.integers(1, 30),
    st.integers(0, 20).map(lambda step: 1 + 65536 * step),
    st.integers(-20, 0),
    st.sampled_from([INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT64_MAX, 2**32, 2**32 + 1]),
)
DEADLINES = st.one_of(st.integers(0, 8), st.sampled_from([-1, 1000, INT64_MIN, INT64_MAX]))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), SEQUENCES, DEADLINES),
        st.tuples(st.just("add"), SEQUENCES, DEADLINES),
        st.tuples(st.just("remove"), SEQUENCES, st.none()),
        st.tuples(st.just("due"), DEADLINES, st.none()),
        st.tuples(st.just("set"), st.dictionaries(SEQUENCES, DEADLINES, max_size=5), st.none()),
        st.tuples(st.just("ask"), SEQUENCES, st.none()),
    ),
    max_size=80,
)


@settings(max_examples=120)
@given(OPERATIONS)
def test_any_operations(operations: list[tuple[str, Any, Any]]) -> None:
    in_flight, model = InFlight(), Model()
    for operation, value, deadline_ns in operations:
        if operation == "add":
            in_flight.add(value, deadline_ns)
            model.deadlines[value] = deadline_ns
        elif operation == "remove":
            assert in_flight.remove(value) == (model.deadlines.pop(value, None) is not None)
        elif operation == "due":
            assert in_flight.due(value) == model.due(value)
        elif operation == "set":
            in_flight.set_deadlines(value)
            model.deadlines.update({sequence: new for sequence, new in value.items() if sequence in model.deadlines})
        else:
            assert in_flight.contains(value) == (value in model.deadlines)
            assert in_flight.deadline_of(value) == model.deadlines.get(value, -1)
    check(in_flight, model)


@pytest.mark.parametrize("stride", [1, 3, 2**16])
def test_growth_and_shrinking(rng: random.Random, stride: int) -> None:
    """Up to several doublings of the tables and back through their shrinking."""
    count = 12_000 if stride == 1 else 600
    in_flight, model = InFlight(), Model()
    for number in range(count):
        in_flight.add(number * stride, number // 3)
        model.deadlines[number * stride] = number // 3
    check(in_flight, model)
    order = list(model.deadlines)
    rng.shuffle(order)
    for place, sequence in enumerate(order):
        assert in_flight.remove(sequence)
        del model.deadlines[sequence]
        if place % (count // 6) == 0 or len(model.deadlines) < 5:
            check(in_flight, model)


def test_a_moving_window_of_acks(rng: random.Random) -> None:
    """The usual life: sent in order, acked nearly in order, now and then something redelivered."""
    in_flight, model = InFlight(), Model()
    for now_ns in range(1, 8_000):
        in_flight.add(now_ns, now_ns + 1000)
        model.deadlines[now_ns] = now_ns + 1000
        if len(model.deadlines) > 64:
            acked = rng.choice(list(model.deadlines)[:4])
            assert in_flight.remove(acked)
            del model.deadlines[acked]
        if now_ns % 97 == 0:
            again = next(iter(model.deadlines))
            in_flight.add(again, now_ns + 1001)
            model.deadlines[again] = now_ns + 1001
        if now_ns % 1_000 == 0:
            check(in_flight, model)
    check(in_flight, model)
