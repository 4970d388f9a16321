"""The load generator's reading of what a server sends, however it is cut."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from bench.loadgen import Client, Frames
from bench.suite.load import LoadFailed, Needle, Publisher, drive, read_deliveries

ACK = b"MSG _STAN.acks.me 3 24\r\n\x0a\x16" + b"g" * 22 + b"\r\n"


def delivery(sid: int, sequence: bytes, data: bytes = b"hello") -> bytes:
    payload = b"\x08" + sequence + b"\x2a%c" % len(data) + data
    return b"MSG _INBOX.msgs.me %d %d\r\n%b\r\n" % (sid, len(payload), payload)


@pytest.mark.parametrize("size", [1, 2, 7, 23, 24, 1000])
def test_needle_counts_the_same_in_pieces_of_any_size(size: int) -> None:
    stream = ACK * 5 + b"PING\r\n" + ACK * 2
    needle = Needle(b"MSG _STAN.acks.me 3 24\r\n")
    assert sum(needle.count(stream[at : at + size]) for at in range(0, len(stream), size)) == 7


def test_deliveries_are_read_with_their_subscription_and_sequence() -> None:
    stream = delivery(2, b"\x01") + b"MSG _INBOX.hb 1 0\r\n\r\nPING\r\n" + delivery(107, b"\xac\x02")
    assert read_deliveries(stream, b"MSG _INBOX.msgs.me") == ([(2, 1), (107, 300)], len(stream))


def test_a_frame_inside_a_payload_is_not_a_delivery() -> None:
    stream = delivery(2, b"\x05", b"\r\n" + delivery(3, b"\x01"))
    assert read_deliveries(stream, b"MSG _INBOX.msgs.me") == ([(2, 5)], len(stream))


def test_a_cut_delivery_waits_for_its_rest() -> None:
    whole, second = delivery(2, b"\x01"), delivery(2, b"\x02")
    for cut in range(len(second)):
        assert read_deliveries(whole + second[:cut], b"MSG _INBOX.msgs.me") == ([(2, 1)], len(whole))


@pytest.fixture
def pair() -> Iterator[tuple[Client, socket.socket]]:
    ours, server = socket.socketpair()
    link = SimpleNamespace(socket=ours, buffer=b"")
    with ours, server:
        yield cast(Client, SimpleNamespace(link=link, client_id=b"me", has_ack_inbox=False)), server


def test_a_publisher_keeps_its_window_and_sends_its_block_over_and_over(pair: tuple[Client, socket.socket]) -> None:
    client, server = pair
    publisher = Publisher(client, Frames([b"a", b"b", b"c"]), count=8, window=4)
    publisher.begin()
    assert publisher.write()
    assert server.recv(100) == b"SUB _STAN.acks.me 3\r\nabca"
    publisher.on_input(ACK * 3)
    assert publisher.write()
    assert server.recv(100) == b"bca"
    publisher.on_input(ACK * 4)
    assert publisher.write()
    assert server.recv(100) == b"b"
    assert not publisher.is_done()
    publisher.on_input(ACK)
    assert publisher.is_done()


def test_an_error_ack_does_not_count(pair: tuple[Client, socket.socket]) -> None:
    client, _ = pair
    publisher = Publisher(client, Frames([b"a"]), count=1, window=1)
    publisher.begin()
    publisher.on_input(ACK.replace(b" 24\r\n", b" 40\r\n").replace(b"g\r\n", b"g\x12\x0estan: no store\r\n"))
    assert publisher.progress() == "0 of 1 acks"


def test_what_does_not_come_is_told_when_it_is_late(pair: tuple[Client, socket.socket]) -> None:
    client, server = pair
    publisher = Publisher(client, Frames([b"a"]), count=2, window=2)
    server.sendall(ACK)
    with pytest.raises(LoadFailed, match="late: 1 of 2 acks"):
        drive([publisher], time.monotonic() + 0.2)


def test_a_closed_connection_is_told(pair: tuple[Client, socket.socket]) -> None:
    client, server = pair
    publisher = Publisher(client, Frames([b"a"]), count=1, window=1)
    server.recv(100)
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(LoadFailed, match="closed a connection: 0 of 1 acks"):
        drive([publisher], time.monotonic() + 20)
