"""The buffer that all clients' connections read into: frames come out whole, and it grows only under load."""

from __future__ import annotations

import random

import pytest

from nats_streaming.listener.receiver import SHARED_BYTES_FIRST, SHARED_BYTES_MAX, Receiver, SharedBuffer

_HEAD = 4


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(_HEAD, "big") + payload


class Peer:
    """A connection of a protocol that has frames with their length in front."""

    def __init__(self, shared: SharedBuffer) -> None:
        self.receiver = Receiver(shared)
        self.frames: list[bytes] = []

    def read(self, data: bytes) -> int:
        """One read of the event loop; how much of `data` it took."""
        room = self.receiver.room()
        assert len(room) > 0
        count = min(len(room), len(data))
        room[:count] = data[:count]
        if self.receiver.received(count):
            self._parse()
        return count

    def _parse(self) -> None:
        data, stop = self.receiver.data, self.receiver.stop
        start = wanted = 0
        while stop - start >= _HEAD:
            size = _HEAD + int.from_bytes(data[start : start + _HEAD], "big")
            if size > stop - start:
                wanted = size
                break
            self.frames.append(bytes(data[start + _HEAD : start + size]))
            start += size
        self.receiver.keep(start, wanted)


@pytest.mark.parametrize("size_max", [100, SHARED_BYTES_FIRST, SHARED_BYTES_MAX // 2, 2 * SHARED_BYTES_MAX])
def test_frames_of_several_connections_come_out_whole(rng: random.Random, size_max: int) -> None:
    shared = SharedBuffer()
    peers = [Peer(shared) for _ in range(3)]
    sent = [[rng.randbytes(rng.randrange(size_max)) for _ in range(20)] for _ in peers]
    rest = [b"".join(map(frame, payloads)) for payloads in sent]
    while any(rest):
        number = rng.choice([number for number, data in enumerate(rest) if data])
        taken = peers[number].read(rest[number][: rng.choice([1, 1000, SHARED_BYTES_FIRST, 1 << 30])])
        rest[number] = rest[number][taken:]
    assert [peer.frames for peer in peers] == sent


def test_it_stays_small_until_a_read_fills_it() -> None:
    shared = SharedBuffer()
    peer = Peer(shared)
    data = frame(b"x" * 96) * 10_000
    for start in range(0, len(data), 1000):
        assert peer.read(data[start : start + 1000]) == 1000
    assert len(shared.data) == SHARED_BYTES_FIRST
    while data:
        data = data[peer.read(data) :]
    assert len(shared.data) == SHARED_BYTES_MAX
    assert len(peer.frames) == 20_000


def test_a_frame_that_needs_more_room_than_there_is_gets_it() -> None:
    shared = SharedBuffer()
    peer = Peer(shared)
    large = bytes(SHARED_BYTES_MAX // 4)
    assert peer.read(frame(large)[:1000]) == 1000
    assert peer.read(frame(large)[1000:]) == len(large) + _HEAD - 1000, "in one read"
    assert peer.frames == [large]
