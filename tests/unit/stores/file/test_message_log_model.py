"""The messages of a channel against a model: any order of appending, dropping, deleting, and starting again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nats_streaming.stores.segment import Segment

from .directory import CHANNEL, encoded, payload, read_all, reopen, segment_of

OPTIONS = [
    {},
    {"buffer_size": 0, "read_buffer_size": 0},
    {"slice_max_msgs": 3, "buffer_size": 100},
    {"slice_max_msgs": 0, "slice_max_bytes": 400, "read_buffer_size": 200},
    {"slice_max_msgs": 0, "slice_max_bytes": 0, "slice_max_age_ns": 5, "sync": True},
    {"slice_max_msgs": 2, "fds_limit": 2, "crc_poly": 0x82F63B78, "sync": True},
]


class Model:
    def __init__(self) -> None:
        self.messages: dict[int, bytes] = {}
        self.first = 0
        self.last = 0

    def append(self, segment: Segment) -> None:
        for sequence in range(segment.base, segment.base + len(segment)):
            if sequence <= self.last:
                continue
            message = segment.message(sequence)
            if message is not None:
                self.messages[sequence] = message
            self.first = self.first or sequence
            self.last = sequence

    def drop(self, first: int) -> None:
        first = min(first, self.last + 1)
        if first > self.first:
            self.first = first
            self.messages = {sequence: each for sequence, each in self.messages.items() if sequence >= first}

    def find_time(self, timestamp_ns: int) -> set[int]:
        later = [each for each in self.messages if 1_700_000_000_000_000_000 + each >= timestamp_ns]
        return {min(later, default=self.last + 1)}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_every_history_reads_back_the_same(tmp_path: Path, options: dict[str, int], seed: int) -> None:
    rng = random.Random(seed)
    model = Model()
    opened = reopen(tmp_path, **options)
    for _ in range(50):
        channel = opened.channel
        choice = rng.random()
        if choice < 0.45:
            first = max(1, model.last + 1 - rng.choice([0, 0, 0, rng.randrange(1, 6)]))
            if rng.random() < 0.1:
                first = model.last + rng.randrange(2, 6)
            holes = rng.random() < 0.2
            slots = [
                None if holes and rng.random() < 0.4 else payload(sequence) * rng.choice([1, 1, 3])
                for sequence in range(first, first + rng.randrange(1, 8))
            ]
            # What comes again is the same.
            segment = segment_of(first, slots)
            again = Segment(first)
            for sequence in range(first, first + len(segment)):
                message = model.messages.get(sequence) if sequence <= model.last else segment.message(sequence)
                again.append(message or b"", segment.timestamp_at(sequence - first))
            channel.append(again, first, first + len(again) - 1)
            model.append(again)
        elif choice < 0.6:
            first = rng.randrange(1, model.last + 3)
            channel.drop_until(first)
            model.drop(first)
        elif choice < 0.75:
            gone = [rng.randrange(1, model.last + 3) for _ in range(rng.randrange(1, 4))]
            channel.delete(gone)
            for sequence in gone:
                model.messages.pop(sequence, None)
        elif choice < 0.85:
            rng.choice([channel.flush, channel.sync, opened.root.flush, opened.root.sync])()
        else:
            opened.root.close()
            opened = reopen(tmp_path, **options)
            assert opened.texts == []
            channel = opened.channel
            if CHANNEL in opened.state.channels:
                stored = opened.stored
                assert (stored.count, stored.size) == (len(model.messages), sum(map(len, model.messages.values())))
                assert (stored.first, stored.last) == (model.first, model.last)
        assert (channel.first_sequence, channel.last_sequence) == (model.first, model.last)
        assert read_all(channel) == model.messages
        if model.messages:
            sequence = rng.choice(list(model.messages))
            segment = channel.read(sequence, 1)
            assert segment is not None
            assert segment.message(sequence) == model.messages[sequence]
    state = opened.root.state().channels.get(CHANNEL)
    if state is not None:
        assert (state.count, state.size) == (len(model.messages), sum(map(len, model.messages.values())))
    opened.root.close()


def test_the_payload_is_where_it_was(tmp_path: Path) -> None:
    with reopen(tmp_path) as opened:
        opened.channel.append(segment_of(1, [b"a", b"b"]), 1, 2)
        assert read_all(opened.channel) == {1: encoded(1, b"a"), 2: encoded(2, b"b")}
