"""The blocking facade: the same client for scripts and threads."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nats_streaming.client import ConnectError, ConnectionClosed, PublishError, SubscriptionClosed
from nats_streaming.client.blocking import Message, connect


def test_publish_and_subscribe(url: str, name: str) -> None:
    with connect("test-cluster", name, servers=url) as stan:
        assert stan.publish(name, b"1").channel == name
        pending = stan.publish_async(name, b"2")
        assert pending.result(5).guid == pending.guid
        assert pending.done
        assert stan.publish_many(name, (b"%d" % number for number in range(3, 3001))) == 2998
        sub = stan.subscribe(name, start="first", max_in_flight=10, manual_acks=True)
        last = next(sub)
        last.ack()
        for number, message in enumerate(sub, 2):
            assert (message.channel, message.sequence, int(message.data)) == (name, number, number)
            assert (message.redelivered, message.redelivery_count, message.reply) == (False, 0, "")
            assert message.time.timestamp() == pytest.approx(message.time_ns / 1e9)
            message.ack()
            if number == 3000:
                break
        with pytest.raises(TimeoutError):
            sub.next(timeout=0.05)
        sub.close()
        assert list(sub) == []
        with pytest.raises(SubscriptionClosed):
            last.ack()
    assert stan.is_closed
    stan.close()
    with pytest.raises(ConnectionClosed):
        stan.publish(name, b"")


def test_errors_come_through(ours: str, name: str) -> None:
    with connect("test-cluster", name, servers=ours) as stan:
        with pytest.raises(PublishError, match="channel name"):
            stan.publish("a..b", b"")
        with pytest.raises(ConnectError, match="already registered"):
            connect("test-cluster", name, servers=ours)
        with pytest.raises(TypeError, match="another event loop"):
            connect("test-cluster", name, servers=ours, nats=object())
    assert not [thread for thread in threading.enumerate() if "nats-streaming" in thread.name]


def test_many_threads_share_a_client(ours: str, name: str) -> None:
    with connect("test-cluster", name, servers=ours) as stan, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: stan.publish(name, b"%d" % number), range(200)))
        sub = stan.subscribe(name, start="first", manual_acks=True)
        got: queue.SimpleQueue[int] = queue.SimpleQueue()

        def work() -> None:
            for message in sub:
                message.ack()
                got.put(int(message.data))

        workers = [threads.submit(work) for _ in range(4)]
        assert sorted(got.get(timeout=10) for _ in range(200)) == list(range(200))
        sub.close()
        for worker in workers:
            worker.result(10)


def test_a_callback_has_a_thread_of_its_own_and_automatic_acks(ours: str, name: str) -> None:
    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    got: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def on_message(message: Message) -> None:
        got.put(message)
        if not message.redelivered and message.sequence == 1:
            raise LookupError("first")

    with connect("test-cluster", name, servers=ours, on_error=errors.put) as stan:
        sub = stan.subscribe(name, on_message, durable="d", ack_wait=1)
        stan.publish_many(name, [b""] * 3)
        assert [got.get(timeout=10).sequence for _ in range(4)] == [1, 2, 3, 1]
        assert repr(errors.get(timeout=10)) == "LookupError('first')"
        sub.close()
        with pytest.raises(TimeoutError):
            stan.subscribe(name, durable="d").next(timeout=0.2)


def test_calling_from_a_callback_of_the_loop_is_refused(ours: str, name: str) -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_error(_error: Exception) -> None:
        try:
            stan.publish(name, b"")
        except RuntimeError as error:
            told.put(str(error))

    with connect("test-cluster", name, servers=ours, on_error=on_error) as stan:
        stan.subscribe(name, lambda _message: 1 / 0, start="first")
        stan.publish(name, b"")
        assert "client's own thread" in told.get(timeout=10)


def test_a_script_without_close_ends_and_a_missing_close_costs_no_hang(ours: str, name: str) -> None:
    script = f"""
from nats_streaming.client.blocking import connect
stan = connect("test-cluster", "{name}", servers="{ours}")
print(stan.publish("{name}", b"x").channel)
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == name
    assert time.monotonic() - began < 10
