"""What is between the journal and the channel files: found by reads until it has arrived there."""

from __future__ import annotations

from nats_streaming.stores.batch import ChannelCreated, ChannelRemoved, Deleted, Messages, Trimmed
from nats_streaming.stores.file.unapplied import Unapplied
from nats_streaming.testing.store_suite import START_NS, STEP_NS, make_run


def test_messages_are_found_until_they_are_applied() -> None:
    unapplied = Unapplied()
    unapplied.restore(b"foo", 3)
    run = make_run(b"foo", 4, [b"x"] * 6)
    unapplied.add(1, [Messages(b"foo", run.segment, 4, 5)], 10)
    unapplied.add(2, [Messages(b"foo", run.segment, 6, 9)], 20)
    assert (len(unapplied), unapplied.size, unapplied.oldest()) == (2, 30, 1)
    assert unapplied.find(b"foo", 3) is None
    assert unapplied.find(b"foo", 4) is run.segment
    assert unapplied.find(b"foo", 9) is run.segment
    assert unapplied.find(b"foo", 10) is None
    assert unapplied.find(b"bar", 4) is None
    assert unapplied.has_after(b"foo", 3)
    assert not unapplied.has_after(b"foo", 9)
    unapplied.applied(1)
    assert unapplied.find(b"foo", 6) is run.segment
    unapplied.applied(2)
    assert unapplied.find(b"foo", 6) is None
    assert (len(unapplied), unapplied.size, unapplied.oldest()) == (0, 0, 0)


def test_a_chunk_is_about_so_large() -> None:
    unapplied = Unapplied()
    for number in range(1, 6):
        unapplied.add(number, [ChannelCreated(b"%d" % number)], 10)
    assert unapplied.peek(25) == (3, [[ChannelCreated(b"1")], [ChannelCreated(b"2")], [ChannelCreated(b"3")]])
    assert unapplied.peek(1)[0] == 1
    assert unapplied.peek(1000)[0] == 5
    assert len(unapplied) == 5


def test_what_only_the_files_can_tell() -> None:
    unapplied = Unapplied()
    run = make_run(b"foo", 1, [b"x"] * 3)
    unapplied.add(1, [run], 1)
    assert unapplied.read_after(b"foo") == 0
    unapplied.add(2, [Deleted(b"foo", [2])], 1)
    assert unapplied.read_after(b"foo") == 2
    unapplied.applied(2)
    assert unapplied.read_after(b"foo") == 0
    unapplied.add(3, [make_run(b"foo", 3, [b"instead"])], 1)
    assert unapplied.read_after(b"foo") == 3
    assert unapplied.find(b"foo", 3) is None
    unapplied.add(4, [ChannelRemoved(b"foo")], 1)
    unapplied.add(5, [make_run(b"foo", 1, [b"new"])], 1)
    assert unapplied.read_after(b"foo") == 4
    unapplied.applied(4)
    assert unapplied.read_after(b"foo") == 0
    assert unapplied.find(b"foo", 1) is not None


def test_trimmed_messages_are_passed_over() -> None:
    unapplied = Unapplied()
    run = make_run(b"foo", 1, [b"x"] * 5)
    unapplied.add(1, [run, Trimmed(b"foo", 4)], 1)
    assert unapplied.first_of(b"foo") == 4
    assert unapplied.find(b"foo", 1) is run.segment
    unapplied.add(2, [Trimmed(b"foo", 6)], 1)
    assert unapplied.find(b"foo", 1) is None


def test_by_time() -> None:
    unapplied = Unapplied()
    assert unapplied.find_time(b"foo", START_NS) == (0, 0)
    unapplied.restore(b"foo", 9)
    unapplied.add(1, [make_run(b"foo", 10, [b"x"] * 4)], 1)
    assert unapplied.find_time(b"foo", START_NS - 1) == (10, 10)
    assert unapplied.find_time(b"foo", START_NS + 2 * STEP_NS) == (12, 10)
    assert unapplied.find_time(b"foo", START_NS + 9 * STEP_NS) == (14, 10)
