"""The bookkeeping of a subscription: what waits, what comes again, where a resume begins. Also against a model."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nats_streaming.client.intake import ADDED, EXTRA_WAITING_MAX, KNOWN, MALFORMED, OVERFLOW, PROCESSED, Intake
from nats_streaming.client.message import Message
from tests.support import stan_messages as oracle

T0 = 1_000_000_000


class Driven(Intake):
    """An intake fed with sequences; the message of sequence n was stored at T0 + n, later in another channel."""

    def __init__(self, max_in_flight: int = 10, *, is_queue: bool = False) -> None:
        subscription: Any = None
        super().__init__(subscription, max_in_flight, is_queue=is_queue)

    def get(self, sequence: int, *, again: int = 0, life: int = 0) -> int:
        time_ns = T0 * (life + 1) + sequence
        message = oracle.MsgProto(sequence=sequence, subject=b"c", data=b"d%d" % sequence, timestamp=time_ns)
        if again:
            message.redelivered, message.redeliveryCount = True, again
        encoded = b"##" + message.SerializeToString() + b"##"
        return self.receive(encoded, 2, len(encoded) - 2)

    def took(self, count: int) -> list[tuple[int, bool]]:
        return [(message.sequence, message.redelivered) for message in self.taken(count)]

    def taken(self, count: int) -> list[Message]:
        return [self.take() for _ in range(count)]


def test_messages_come_in_order_and_keep_what_they_have() -> None:
    intake = Driven()
    assert [intake.get(1), intake.get(2, again=3)] == [ADDED, ADDED]
    first, second = intake.taken(2)
    assert (first.sequence, first.data, first.time_ns, first.redelivered, first.redelivery_count) == (
        1, b"d1", T0 + 1, False, 0,
    )  # fmt: skip
    assert (second.redelivered, second.redelivery_count) == (True, 3)
    assert intake.receive(b"\xff", 0, 1) == MALFORMED


def test_what_waits_is_not_taken_twice() -> None:
    intake = Driven()
    intake.get(1)
    assert intake.get(1, again=1) == KNOWN
    (message,) = intake.taken(1)
    assert intake.get(1, again=2) == ADDED, "it is with the user, who may have dropped it"
    assert intake.ack(message)
    assert not intake.waiting, "acked while the repetition waited"
    assert not intake.ack(message)


def test_the_client_flags_what_the_server_does_not() -> None:
    intake = Driven()
    for sequence in (1, 2, 3):
        intake.get(sequence)
    for message in intake.taken(3):
        intake.ack(message)
    assert intake.get(2) == ADDED
    assert intake.took(1) == [(2, True)]


def test_a_member_of_a_queue_group_gets_low_sequences_for_the_first_time() -> None:
    intake = Driven(is_queue=True)
    for sequence in (5, 2):
        intake.get(sequence)
    assert intake.took(2) == [(5, False), (2, False)]
    intake.get(5)
    assert intake.took(1) == [(5, True)], "this one it holds"


def test_a_resume_begins_at_the_first_that_is_not_processed() -> None:
    intake = Driven()
    assert intake.rewind() is None
    for sequence in range(1, 7):
        intake.get(sequence)
    assert intake.rewind() is None, "nothing was taken"
    for sequence in range(1, 7):
        assert intake.get(sequence) == ADDED, "what waited comes again"
    taken = intake.taken(4)
    for message in (taken[0], taken[1], taken[3]):
        intake.ack(message)
    assert intake.rewind() == (3, T0 + 3)
    for sequence in (3, 4, 5, 6):
        intake.get(sequence)
    assert intake.took(4) == [(3, True), (4, True), (5, False), (6, False)]
    intake = Driven()
    intake.get(1)
    intake.ack(intake.take())
    assert intake.rewind() == (2, T0 + 1)


def test_a_repetition_of_what_was_acked_does_not_take_a_resume_back() -> None:
    intake = Driven()
    for sequence in (1, 2, 3):
        intake.get(sequence)
    for message in intake.taken(3)[:2]:
        intake.ack(message)
    for sequence in (1, 2, 3):
        intake.get(sequence, again=1)  # a server that was killed has lost the acks
    assert intake.rewind() == (3, T0 + 3)


def test_a_resume_by_time_does_not_repeat_what_was_processed() -> None:
    intake = Driven()
    for sequence in range(1, 6):
        intake.get(sequence)
    for message in intake.taken(3):
        intake.ack(message)
    point = intake.rewind()
    assert point is not None
    assert point == (4, T0 + 3)
    intake.skip_processed(*point)
    assert [intake.get(sequence) for sequence in (2, 3, 4)] == [PROCESSED, PROCESSED, ADDED]
    assert intake.sequence == 4


def test_a_channel_that_begins_anew_is_new() -> None:
    """And an ack of the old one's message must not ack the new one's."""
    intake = Driven()
    for sequence in range(1, 6):
        intake.get(sequence)
    old = intake.taken(5)
    for message in old[:4]:
        intake.ack(message)
    point = intake.rewind()
    assert point is not None
    intake.skip_processed(*point)
    assert [intake.get(sequence, life=1) for sequence in range(1, 7)] == [ADDED] * 6
    new = intake.taken(6)
    assert not any(message.redelivered for message in new)
    assert not intake.ack(old[4])
    assert all(intake.ack(message) for message in new)
    assert intake.rewind() == (7, 2 * T0 + 6)


def test_what_waits_is_bounded() -> None:
    intake = Driven(max_in_flight=1)
    limit = 2 + EXTRA_WAITING_MAX
    results = [intake.get(sequence) for sequence in range(1, limit + 3)]
    assert results == [ADDED] * limit + [OVERFLOW] * 2
    intake.taken(1)
    assert intake.get(limit + 1, again=1) == ADDED


def test_messages_nobody_acks_are_forgotten_in_the_end() -> None:
    intake = Driven(max_in_flight=1, is_queue=True)
    for sequence in range(1, 10_000):
        intake.get(sequence)
        intake.take()
    assert intake.held_count <= 2 * intake.waiting_max


def test_a_resume_goes_back_for_what_had_no_room() -> None:
    intake = Driven()
    intake.waiting_max = 2
    assert [intake.get(sequence) for sequence in (1, 2, 3)] == [ADDED, ADDED, OVERFLOW]
    taken = intake.taken(2)
    intake.get(4)
    taken += intake.taken(1)
    for message in taken:
        intake.ack(message)
    assert intake.rewind() == (3, T0 + 3)
    assert [intake.get(sequence) for sequence in (3, 4)] == [ADDED, ADDED]
    assert intake.took(2) == [(3, True), (4, True)], "3 was never taken, but nobody can know that of a lower sequence"


@pytest.mark.parametrize("is_queue", [False, True])
def test_a_random_life_leaves_nothing_unprocessed(rng: random.Random, is_queue: bool) -> None:
    """A link that breaks and loses all that follows, little room, and a user who acks late and in any order."""
    intake = Driven(max_in_flight=8, is_queue=is_queue)
    intake.waiting_max = 4
    stored, next_to_send, is_broken = 200, 1, False
    pending: set[int] = set()  # at the server
    processed: set[int] = set()
    taken: list[Message] = []
    for _ in range(50_000):
        action = rng.random()
        if action < 0.4:
            if next_to_send <= stored and len(pending) < 8:
                pending.add(next_to_send)
                if not is_broken:
                    intake.get(next_to_send)
                next_to_send += 1
        elif action < 0.5:
            if pending and not is_broken:
                intake.get(rng.choice(sorted(pending)), again=1)
        elif action < 0.7:
            if intake.waiting:
                taken.append(intake.take())
        elif action < 0.97:
            if taken:
                message = taken.pop(rng.randrange(len(taken)))
                processed.add(message.sequence)
                if intake.ack(message) and not is_broken:
                    pending.discard(message.sequence)
        elif action < 0.98 and not is_queue:
            is_broken = True
        elif action > 0.99 and not is_queue:
            is_broken = False
            point = intake.rewind()
            next_to_send = 1 if point is None else point[0]
            assert set(range(1, next_to_send)) <= processed, "a resume passes over nothing"
            pending.clear()
        assert len(intake.waiting) <= intake.waiting_max
        if len(processed) == stored:
            break
    assert processed == set(range(1, stored + 1))
