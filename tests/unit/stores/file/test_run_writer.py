"""Records and index entries in the making, and the room they are made in."""

from __future__ import annotations

from nats_streaming.stores.file.record import RECORD, MessageScan, RecordScan
from nats_streaming.stores.file.run_writer import RunWriter, Spares
from nats_streaming.stores.segment import Segment
from tests.unit.stores.file.directory import CRC, encoded

LIMIT = 1 << 62


def segment_of(first: int, count: int, size: int) -> Segment:
    segment = Segment(first)
    for sequence in range(first, first + count):
        segment.append(encoded(sequence, b"%d " % sequence * size), sequence)
    return segment


def put(writer: RunWriter, segment: Segment) -> bytes:
    last = segment.base + len(segment) - 1
    assert writer.put_run(segment, segment.base, last, LIMIT, LIMIT, LIMIT, LIMIT) == last + 1
    return bytes(writer.data.data[: writer.data.used])


def sequences_in(records: bytes) -> list[int]:
    scan, message = RecordScan(records, False, CRC, True), MessageScan(CRC)
    found = []
    while scan.next() == RECORD:
        assert message.decode(scan.data, scan.start, scan.stop)
        found.append(message.sequence)
    return found


def test_a_large_buffer_goes_from_one_writer_to_the_next() -> None:
    spares = Spares()
    one, other = RunWriter(CRC, spares), RunWriter(CRC, spares)
    assert sequences_in(put(one, segment_of(1, 100, 300))) == list(range(1, 101))
    large = one.data
    assert len(large.data) > 1 << 16
    one.data_written()
    assert one.data is not large, "an idle channel holds no large buffer"
    assert sequences_in(put(other, segment_of(7, 3, 1))) == [7, 8, 9]
    assert other.data is large
    assert sequences_in(put(one, segment_of(101, 2, 1))) == [101, 102], "each has a buffer of its own"
    assert sequences_in(put(other, segment_of(10, 1, 1))) == [7, 8, 9, 10], "what is gathered stays"


def test_few_buffers_are_kept_and_none_that_is_huge() -> None:
    spares = Spares()
    writers = [RunWriter(CRC, spares) for _ in range(5)]
    for writer in writers:
        put(writer, segment_of(1, 100, 300))
    for writer in writers:
        writer.data_written()
    assert [spares.take() is not None for _ in range(3)] == [True, True, False]
    put(writers[0], segment_of(1, 1, 1 << 20))
    writers[0].data_written()
    assert spares.take() is None
