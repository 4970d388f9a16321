"""Records, checksums and index entries, byte by byte."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.stores.file.filler import filler, filler_of_size
from nats_streaming.stores.file.index import DAMAGED, DISORDERED, SOUND, ZEROS, IndexRun, IndexScan
from nats_streaming.stores.file.record import (
    BAD_CRC,
    CUT,
    END,
    PADDING,
    RECORD,
    Checksum,
    MessageScan,
    RecordScan,
    put_index_entry,
    put_pairs,
    put_record,
)
from nats_streaming.stores.file.removed_log import RangeSet
from tests.support.stan_messages import MsgProto

from .directory import CRC, encoded, record

CASTAGNOLI = 0x82F63B78


def crc_by_bits(polynomial: int, data: bytes) -> int:
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("polynomial", [0xEDB88320, CASTAGNOLI, 1, 0xFFFFFFFF])
def test_checksums_with_any_polynomial(polynomial: int) -> None:
    data = random.Random(1).randbytes(100)
    checksum = Checksum(polynomial)
    for start, stop in [(0, 0), (0, 1), (3, 10), (5, 13), (0, 100), (90, 100)]:
        assert checksum.of(data, start, stop) == crc_by_bits(polynomial, data[start:stop])
    assert checksum.standard == (polynomial == 0xEDB88320)


def test_known_checksums() -> None:
    assert CRC.of(b"123456789", 0, 9) == 0xCBF43926
    assert Checksum(CASTAGNOLI).of(b"123456789", 0, 9) == 0xE3069283
    large = random.Random(2).randbytes(50_000)
    assert CRC.of(large, 1, 49_999) == zlib.crc32(large[1:49_999])
    assert CRC.of(bytearray(large), 0, 100) == zlib.crc32(large[:100])


def test_a_record_is_word_checksum_payload() -> None:
    assert record(b"abc") == struct.pack("<II", 3, zlib.crc32(b"abc")) + b"abc"
    assert record(b"abc", 5) == struct.pack("<II", 5 << 24 | 3, zlib.crc32(b"abc")) + b"abc"


def test_pairs_are_records() -> None:
    out = ByteBuffer(16)
    put_pairs(out, 4, 300, [1, 1 << 40], CRC)
    scan = RecordScan(out.take(), True, CRC, True)
    for sequence in (1, 1 << 40):
        assert scan.next() == RECORD
        assert scan.kind == 4
        assert scan.pair()
        assert (scan.first_value, scan.second_value) == (300, sequence)
    assert scan.next() == END


@pytest.mark.parametrize("payload", [b"\x08", b"\x0a\x01x", b"\x08\x01\x10\x02\x18\x03"])
def test_a_pair_is_two_numbers_and_nothing_else(payload: bytes) -> None:
    scan = RecordScan(record(payload, 4), True, CRC, True)
    assert scan.next() == RECORD
    assert not scan.pair()


def test_how_a_scan_ends() -> None:
    first = record(b"first", 1)
    flipped = bytearray(record(b"second", 2))
    flipped[-1] ^= 1
    for rest, result in [
        (b"", END),
        (bytes(8), PADDING),
        (b"\1", CUT),
        (record(b"second", 2)[:-1], CUT),
        (bytes(flipped), BAD_CRC),
    ]:
        scan = RecordScan(first + rest, True, CRC, True)
        assert (scan.next(), scan.kind, scan.data[scan.start : scan.stop]) == (RECORD, 1, b"first")
        assert scan.next() == result
        assert scan.position == len(first)
    unchecked = RecordScan(first + bytes(flipped), True, CRC, False)
    assert [unchecked.next(), unchecked.next(), unchecked.next()] == [RECORD, RECORD, END]


def test_the_next_sound_record_is_found_behind_garbage() -> None:
    garbage = random.Random(3).randbytes(200)
    sound = record(b"sound", 2)
    scan = RecordScan(garbage + sound, True, CRC, True)
    assert scan.resync(5) == len(garbage)
    untyped = RecordScan(garbage + record(encoded(7, b"x")), False, CRC, True)
    assert untyped.resync(0) == len(garbage)
    nothing = RecordScan(garbage, True, CRC, True)
    assert nothing.resync(5) == len(garbage)


def entry(sequence: int, offset: int, size: int, timestamp_ns: int = 0) -> bytes:
    out = ByteBuffer(32)
    put_index_entry(out, sequence, offset, timestamp_ns, size, CRC)
    return out.take()


def test_an_index_entry() -> None:
    fields = struct.pack("<QqqI", 9, 4, 77, 22)
    assert entry(9, 4, 22, 77) == fields + struct.pack("<I", zlib.crc32(fields))


def test_totals_of_an_index() -> None:
    data = entry(5, 4, 10, 50) + entry(6, 22, 20, 60) + entry(9, 50, 30, 90)
    holes = RangeSet()
    holes.add(9, 10)
    scan = IndexScan(CRC, 5, holes.flat())
    assert scan.feed(data) == SOUND
    assert (scan.count, scan.size, scan.first, scan.last) == (3, 180, 5, 9)
    assert (scan.live_count, scan.live_bytes) == (1, 20)
    assert (scan.first_timestamp_ns, scan.last_timestamp_ns) == (50, 90)
    assert (scan.last_offset, scan.last_size) == (50, 30)


@pytest.mark.parametrize(
    ("tail", "result"),
    [
        (bytes(32), ZEROS),
        (bytes(31) + b"\1", DAMAGED),
        (entry(1, 22, 5), DISORDERED),
        (entry(2, 21, 5), DISORDERED),
        (entry(2, 22, 5)[:-1], SOUND),
    ],
)
def test_where_the_walk_over_an_index_stops(tail: bytes, result: int) -> None:
    scan = IndexScan(CRC, 0, RangeSet().flat())
    assert scan.feed(entry(1, 4, 10) + tail) == result
    assert scan.count == 1


def test_a_run_of_entries_asks_for_nothing_that_is_not_there() -> None:
    run = IndexRun(entry(1, 4, 10) + entry(2, 22, 10) + b"part")
    assert run.count == 2
    assert (run.sequence_at(1), run.offset_at(1), run.size_at(1)) == (2, 22, 10)
    assert (run.sequence_at(2), run.offset_at(-1), run.timestamp_at(5), run.size_at(2)) == (0, 0, 0, 0)
    assert [run.entries_within(size) for size in (0, 35, 36, 1000)] == [1, 1, 2, 2]
    assert IndexRun(entry(2, 4, 10) + entry(1, 22, 10)).keep_sound(CRC) == 1


def test_a_sequence_that_comes_again_replaces_what_was_there_from_it_on() -> None:
    """What lies between is what a crash left without an index entry, in the original."""
    data = b"".join(record(encoded(sequence, b"x%d" % sequence)) for sequence in (1, 2, 3, 4, 3, 4, 5))
    scan = MessageScan(CRC)
    assert scan.take(RecordScan(data, False, CRC, True), 4) == END
    run = IndexRun(scan.index.take())
    assert [run.sequence_at(number) for number in range(run.count)] == [1, 2, 3, 4, 5]
    assert (scan.count, scan.first, scan.last) == (5, 1, 5)
    size = len(record(encoded(1, b"x1")))
    assert run.offset_at(2) == 4 + 4 * size
    assert scan.size == 5 * (size + 32)


@pytest.mark.parametrize("size", [2, 4, 5, 9, 15, 17, 18, 19, 23, 24, 146, 147, 148, 149, 150, 16_400, 16_410])
def test_a_filler_of_any_size(size: int) -> None:
    message = filler_of_size(b"foo", 7, 1_700_000_000_000_000_000, size)
    assert message is not None
    assert len(message) == size
    proto = MsgProto.FromString(message)
    assert (proto.sequence, proto.data) == (7, b"")


def test_the_filler_of_the_original() -> None:
    proto = MsgProto.FromString(filler(b"foo", 3, 99))
    assert (proto.sequence, proto.subject, proto.data, proto.timestamp) == (3, b"foo", b"", 99)
    assert filler(b"foo", 3, 99) == proto.SerializeToString()


@pytest.mark.parametrize("seed", range(20))
def test_ranges_are_like_a_set(seed: int) -> None:
    rng = random.Random(seed)
    ranges, model = RangeSet(), set[int]()
    for _ in range(20):
        start = rng.randrange(1, 40)
        stop = start + rng.randrange(1, 6)
        choice = rng.random()
        if choice < 0.8:
            ranges.add(start, stop)
            model |= set(range(start, stop))
        elif choice < 0.9:
            ranges.remove_below(start)
            model = {each for each in model if each >= start}
        else:
            ranges.remove_from(start)
            model = {each for each in model if each < start}
        assert {each for first, last in ranges for each in range(first, last)} == model
        assert {each for each in range(50) if each in ranges} == model
        assert {each for first, last in ranges.within(10, 20) for each in range(first, last)} == model & set(
            range(10, 20)
        )
        bounds = list(ranges.flat())
        assert bounds == sorted(set(bounds))


def test_a_payload_of_no_bytes_cannot_be_told_from_padding() -> None:
    out = ByteBuffer(8)
    put_record(out, 0, b"", CRC)
    assert RecordScan(out.take(), False, CRC, True).next() == PADDING
