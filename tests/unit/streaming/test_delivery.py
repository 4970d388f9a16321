"""What is sent to whom and in which order, frame by frame."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from nats_streaming.constants import TRACE
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.stores.segment import Segment
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.delivery import Delivery
from nats_streaming.streaming.subscription import QueueGroup, Subscription
from tests.support import stan_messages as oracle

SENT, SKIPPED, ABSENT, REFUSED = 1, 2, 3, 4
NOW_NS, ACK_WAIT_NS = 5_000, 1_000


class Scene:
    """One channel with its subscribers, and a delivery whose frames are taken apart again."""

    def __init__(self, *, record_sent: bool = False, max_messages: int = 0) -> None:
        self.channel = Channel(b"foo", ChannelLimits(max_messages=max_messages), 0)
        self.window = self.channel.window
        self.delivery = Delivery(record_sent)
        self.delivery.enabled = True
        self.delivery.now_ns = NOW_NS

    def publish(self, count: int = 1, data: bytes = b"data", *, commit: bool = True) -> None:
        for _ in range(count):
            assert self.window.append(self.channel.subject_field, data, 0, 0, 0, len(data), 77, 1 << 20)
        if commit:
            self.commit()

    def commit(self) -> None:
        self.window.commit(self.window.last, self.window.appended)

    def subscriber(
        self, inbox: bytes = b"in", max_in_flight: int = 100, group: QueueGroup | None = None
    ) -> Subscription:
        made = Subscription(self.channel, b"me", max_in_flight, ACK_WAIT_NS)
        made.id = self.channel.next_subscription_id()
        made.set_inbox(inbox)
        made.eligible = True
        if group is None:
            self.channel.subscriptions.append(made)
        else:
            made.group = group
            group.members.append(made)
        return made

    def group(self) -> QueueGroup:
        made = QueueGroup(self.channel, b"workers", False)
        self.channel.groups.append(made)
        return made

    def deliver(self) -> list[tuple[str, int]]:
        self.delivery.deliver_channel(self.channel)
        return self.sent()

    def sent(self) -> list[tuple[str, int]]:
        """Inbox and sequence of every frame written since the last call."""
        return [(inbox, message.sequence) for inbox, message in self.messages()]

    def messages(self) -> list[tuple[str, Any]]:
        frames, found = self.delivery.out.take(), []
        while frames:
            line, _, rest = frames.partition(b"\r\n")
            operation, inbox, size = line.split(b" ")
            assert operation == b"PUB"
            payload, end, frames = rest[: int(size)], rest[int(size) :][:2], rest[int(size) + 2 :]
            assert end == b"\r\n"
            found.append((inbox.decode(), oracle.decode_canonical(oracle.MsgProto, payload)))
        return found


def sequences(sent: list[tuple[str, int]]) -> list[int]:
    return [sequence for _, sequence in sent]


# Plain subscriptions.


def test_a_frame_to_the_byte() -> None:
    scene = Scene()
    subscription = scene.subscriber(b"_INBOX.x")
    scene.publish(data=b"hello")
    scene.delivery.deliver_channel(scene.channel)
    message = oracle.MsgProto(sequence=1, subject=b"foo", data=b"hello", timestamp=77).SerializeToString()
    assert scene.delivery.out.view() == b"PUB _INBOX.x %d\r\n%b\r\n" % (len(message), message)
    assert (scene.delivery.out_messages, scene.delivery.out_bytes) == (1, len(message))
    assert subscription.last_sent == 1
    assert subscription.in_flight.deadline_of(1) == NOW_NS + ACK_WAIT_NS
    assert scene.delivery.unarmed == [subscription]


def test_everyone_gets_everything_in_order() -> None:
    scene = Scene()
    scene.subscriber(b"a")
    scene.subscriber(b"b")
    scene.publish(3)
    assert scene.deliver() == [(inbox, sequence) for inbox in "ab" for sequence in (1, 2, 3)]
    assert scene.deliver() == []
    scene.publish()
    assert scene.deliver() == [("a", 4), ("b", 4)]


def test_what_is_not_committed_is_not_sent() -> None:
    scene = Scene()
    scene.subscriber()
    group = scene.group()
    scene.subscriber(b"q", group=group)
    scene.publish(2)
    scene.publish(3, commit=False)
    assert scene.deliver() == [("in", 1), ("in", 2), ("q", 1), ("q", 2)]
    scene.commit()
    assert sequences(scene.deliver()) == [3, 4, 5, 3, 4, 5]


def test_nothing_while_the_link_is_down_nor_on_hold_nor_before_the_response() -> None:
    scene = Scene()
    subscription = scene.subscriber()
    group = scene.group()
    member = scene.subscriber(b"q", group=group)
    scene.publish()
    scene.delivery.enabled = False
    assert scene.deliver() == []
    scene.delivery.enabled = True
    subscription.on_hold = group.on_hold = True
    assert scene.deliver() == []
    subscription.on_hold = group.on_hold = False
    subscription.eligible = member.eligible = False
    assert scene.deliver() == []
    assert (subscription.last_sent, group.last_sent) == (0, 0)
    subscription.eligible = member.eligible = True
    assert scene.deliver() == [("in", 1), ("q", 1)]


def test_the_limit_in_flight_stalls_and_acks_release() -> None:
    scene = Scene()
    subscription = scene.subscriber(max_in_flight=2)
    scene.publish(2)
    assert sequences(scene.deliver()) == [1, 2]
    assert subscription.stalled, "the send that reaches the limit stalls"
    scene.publish(5)
    assert scene.deliver() == []
    assert not subscription.is_released()
    assert subscription.acknowledge(2)
    assert not subscription.acknowledge(2)
    assert subscription.is_released()
    assert not subscription.is_released(), "once"
    assert sequences(scene.deliver()) == [3]
    assert subscription.stalled
    for acked in (1, 3):
        subscription.acknowledge(acked)
    assert subscription.is_released()
    assert sequences(scene.deliver()) == [4, 5]


def test_removed_messages_are_passed_over_in_silence() -> None:
    scene = Scene(max_messages=3)
    subscription = scene.subscriber()
    scene.publish(5)
    scene.window.delete(4)
    assert sequences(scene.deliver()) == [3, 5]
    assert subscription.last_sent == 5
    scene.publish(4)
    assert sequences(scene.deliver()) == [7, 8, 9], "limit 3, and the hole counted out: 6 has gone"
    assert not subscription.in_flight.contains(4)


def test_a_channel_whose_messages_have_all_gone() -> None:
    scene = Scene()
    subscription = scene.subscriber()
    group = scene.group()
    scene.subscriber(b"q", group=group)
    scene.publish(3)
    scene.window.drop_until(4)
    assert scene.deliver() == []
    scene.publish()
    assert scene.deliver() == [("in", 4), ("q", 4)]
    assert subscription.in_flight.count == 1


def test_sent_is_recorded_for_stores_that_keep_it() -> None:
    for record_sent in (False, True):
        scene = Scene(record_sent=record_sent)
        subscription = scene.subscriber()
        scene.publish(2)
        scene.deliver()
        assert scene.delivery.sent == ([subscription] if record_sent else [])
        assert subscription.sent == ([1, 2] if record_sent else [])


def test_the_timer_is_asked_for_once() -> None:
    scene = Scene()
    subscription = scene.subscriber()
    scene.publish(3)
    scene.deliver()
    assert scene.delivery.unarmed == [subscription]
    scene.publish()
    scene.deliver()
    assert scene.delivery.unarmed == [subscription]


# What cannot be sent.


@pytest.mark.parametrize("inbox", [b"", b"a b", b"a..b", b"evil\r\nPUB x 0\r\n\r\n", b"wild.*"])
def test_an_inbox_that_is_no_subject_gets_nothing(inbox: bytes, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    subscription = scene.subscriber(inbox)
    scene.subscriber(b"good")
    scene.publish(2)
    assert scene.deliver() == [("good", 1), ("good", 2)]
    assert (subscription.last_sent, subscription.in_flight.count) == (0, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "[Client:me] Failed sending to subid=1, subject=foo, seq=1, err=nats: invalid subject"
    ]


def test_a_message_larger_than_nats_takes(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    subscription = scene.subscriber()
    scene.publish(data=b"small")
    scene.publish(data=b"x" * 100)
    scene.publish(data=b"small")
    size = scene.window.size_of(2)
    scene.delivery.payload_max = size - 1
    assert sequences(scene.deliver()) == [1]
    assert (subscription.last_sent, subscription.in_flight.count) == (1, 1)
    assert caplog.records[-1].getMessage().endswith("seq=2, err=nats: maximum payload exceeded")
    scene.delivery.payload_max = size
    assert sequences(scene.deliver()) == [2, 3]
    assert scene.delivery.redeliver(subscription, 2, subscription) == REFUSED, "two more fields do not fit"
    assert subscription.counts() == {}


def test_a_full_outbox_ends_the_pass() -> None:
    scene = Scene()
    subscription = scene.subscriber()
    group = scene.group()
    scene.subscriber(b"q", group=group)
    scene.publish(10)
    frame = scene.window.size_of(1) + len(b"PUB in 20\r\n\r\n")
    scene.delivery.out_limit = 3 * frame
    assert scene.deliver() == [("in", sequence) for sequence in (1, 2, 3, 4)]
    assert scene.delivery.backlog == [subscription, group]
    scene.delivery.backlog = []
    assert scene.deliver() == [("in", sequence) for sequence in (5, 6, 7, 8)]
    scene.delivery.deliver_group(group)
    assert scene.sent() == [("q", sequence) for sequence in (1, 2, 3, 4)]


# What is not in memory.


def restored(*, last: int) -> Scene:
    scene = Scene()
    scene.window.restore(1, last, last, 100, 7)
    return scene


def segment_with(base: int, count: int) -> Segment:
    made = Segment(base)
    for _ in range(count):
        made.append_message(Channel(b"foo", ChannelLimits(), 0).subject_field, b"old", 0, 0, 0, 3, 5)
    return made


def test_messages_of_the_store_are_asked_for_and_waited_for() -> None:
    scene = restored(last=5)
    subscription = scene.subscriber()
    group = scene.group()
    scene.subscriber(b"q", group=group)
    assert scene.deliver() == []
    scene.deliver()
    assert scene.delivery.reads == [(scene.channel, 1)], "asked for once"
    assert scene.channel.reading == {1: [subscription, group]}, "nobody waits twice"
    scene.window.lend(1, segment_with(1, 3))
    assert scene.deliver() == [("in", 1), ("in", 2), ("in", 3), ("q", 1), ("q", 2), ("q", 3)]
    assert scene.delivery.reads == [(scene.channel, 1), (scene.channel, 4)]


def test_what_the_store_does_not_have_is_a_hole() -> None:
    scene = restored(last=2)
    subscription = scene.subscriber()
    scene.window.lend(1, None)
    assert scene.deliver() == []
    scene.window.lend(2, segment_with(2, 1))
    assert sequences(scene.deliver()) == [2]
    assert subscription.in_flight.in_sequence_order() == [2]


# Queue groups.


def test_equal_members_take_turns() -> None:
    """The original's example: three members, two in flight each, nine messages."""
    scene = Scene()
    group = scene.group()
    members = [scene.subscriber(inbox, 2, group) for inbox in (b"a", b"b", b"c")]
    scene.publish(9)
    assert scene.deliver() == [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("b", 5), ("c", 6)]
    assert group.last_sent == 6
    assert scene.deliver() == []
    members[1].acknowledge(2)
    assert members[1].is_released()
    assert scene.deliver() == [("b", 7)], "to the first who acks"


def test_the_member_with_fewest_unacked_is_chosen() -> None:
    scene = Scene()
    group = scene.group()
    busy, idle = scene.subscriber(b"busy", group=group), scene.subscriber(b"idle", group=group)
    for sequence in (101, 102, 103):
        busy.in_flight.add(sequence, 1)
    scene.publish(4)
    assert [inbox for inbox, _ in scene.deliver()] == ["idle", "idle", "idle", "busy"]
    assert idle.in_flight.count == 3


def test_a_stalled_member_does_not_hold_the_others_up() -> None:
    scene = Scene()
    group = scene.group()
    scene.subscriber(b"a", 1, group)
    scene.subscriber(b"b", 100, group)
    scene.publish(6)
    assert scene.deliver() == [("a", 1), ("b", 2), ("b", 3), ("b", 4), ("b", 5), ("b", 6)]


def test_members_whose_client_does_not_answer_come_last() -> None:
    scene = Scene()
    group = scene.group()
    mute, healthy = scene.subscriber(b"mute", 100, group), scene.subscriber(b"healthy", 3, group)
    mute.failed_heartbeat = True
    scene.publish(5)
    assert [inbox for inbox, _ in scene.deliver()] == ["healthy"] * 3 + ["mute"] * 2
    healthy.failed_heartbeat = True
    scene.publish()
    assert [inbox for inbox, _ in scene.deliver()] == ["mute"], "better than nobody"


def test_a_member_full_of_what_others_handed_over_is_passed_over() -> None:
    """Nobody has noticed yet that it is at its limit: hand-overs do not look at it."""
    scene = Scene()
    group = scene.group()
    full, other = scene.subscriber(b"full", 1, group), scene.subscriber(b"other", 3, group)
    full.in_flight.add(100, 1)
    for sequence in (101, 102):
        other.in_flight.add(sequence, 1)
    scene.publish(2)
    assert scene.deliver() == [("other", 1)], "which then is at its limit too"
    assert full.stalled
    assert other.stalled
    assert group.last_sent == 1


def test_a_group_stops_at_what_cannot_be_sent() -> None:
    scene = Scene()
    group = scene.group()
    member = scene.subscriber(b"", group=group)
    scene.publish(2)
    assert scene.deliver() == []
    assert (group.last_sent, member.in_flight.count) == (0, 0)


def test_choosing() -> None:
    scene = Scene()
    group = scene.group()
    assert scene.delivery.choose_member(group) is None
    first, second = scene.subscriber(b"1", group=group), scene.subscriber(b"2", group=group)
    first.eligible = second.eligible = False
    assert scene.delivery.choose_member(group) is None
    second.eligible = True
    assert scene.delivery.choose_member(group) is second
    first.eligible = first.stalled = second.stalled = True
    assert scene.delivery.choose_member(group) is first, "all stalled: the first of the list"
    assert group.members == [second, first], "who was at the head goes to the end"


# Redelivery.


def test_a_redelivery_counts_and_is_marked() -> None:
    scene = Scene()
    subscription = scene.subscriber(max_in_flight=1)
    scene.publish(2)
    scene.deliver()
    for count in (1, 2, 3):
        assert scene.delivery.redeliver(subscription, 1, subscription) == SENT
        ((inbox, message),) = scene.messages()
        assert (inbox, message.sequence, message.redelivered, message.redeliveryCount) == ("in", 1, True, count)
        assert message.data == b"data"
    assert subscription.counts() == {1: 3}
    assert subscription.in_flight.deadline_of(1) == NOW_NS + ACK_WAIT_NS, "deadlines are the caller's business"


def test_a_group_counts_over_its_members() -> None:
    scene = Scene()
    group = scene.group()
    first, second = scene.subscriber(b"1", group=group), scene.subscriber(b"2", group=group)
    scene.publish()
    scene.deliver()
    assert scene.delivery.redeliver(first, 1, second) == SENT
    assert scene.delivery.redeliver(second, 1, first) == SENT
    assert [(inbox, message.redeliveryCount) for inbox, message in scene.messages()] == [("2", 1), ("1", 2)]
    assert first.counts() is second.counts()


def test_a_message_that_has_gone_cannot_be_redelivered() -> None:
    scene = Scene()
    subscription = scene.subscriber()
    scene.publish(4)
    scene.deliver()
    scene.window.drop_until(2)
    scene.window.delete(3)
    for sequence in (0, 1, 3, 5, -1, 2**62):
        assert scene.delivery.redeliver(subscription, sequence, subscription) == ABSENT
    assert scene.sent() == []
    assert subscription.counts() == {}


def test_a_redelivery_that_must_be_read_first() -> None:
    scene = restored(last=5)
    subscription = scene.subscriber()
    assert scene.delivery.redeliver(subscription, 3, subscription) == SKIPPED
    assert (scene.delivery.reads, subscription.counts()) == ([], {}), "the caller asks for the read, and waits"
    scene.window.lend(3, segment_with(2, 3))
    assert scene.delivery.redeliver(subscription, 3, subscription) == SENT
    assert scene.sent() == [("in", 3)]


def test_an_inbox_that_is_no_subject_gets_no_redelivery_either() -> None:
    scene = Scene()
    subscription = scene.subscriber(b"")
    scene.publish()
    assert scene.delivery.redeliver(subscription, 1, subscription) == REFUSED
    assert subscription.counts() == {}


def test_trace_lines(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    subscription = scene.subscriber()
    scene.delivery.trace = True
    with caplog.at_level(TRACE, "nats_streaming"):
        scene.publish()
        scene.deliver()
        scene.delivery.redeliver(subscription, 1, subscription)
    assert [(record.levelno, record.getMessage()) for record in caplog.records if record.levelno < logging.DEBUG] == [
        (TRACE, "[Client:me] Delivering msg to subid=1, subject=foo, seq=1"),
        (TRACE, "[Client:me] Redelivering msg to subid=1, subject=foo, seq=1"),
    ]
