"""Messages on their way from memory to the two files of a slice: as records and index entries, in large pieces.

Knows no file: what it gathers is written by who owns it. See `record` for the bytes.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.stores.file.record import Checksum, crc_of, put_index_entry, put_record, write_u32
from nats_streaming.stores.segment import Segment

GATHERED_BYTES_MAX = 1 << 18
"""What is gathered before it is written, at most: more would not stay in the processor's cache."""

_FIRST_BYTES = 512
_KEEP_BYTES = 1 << 16  # room that an idle channel may keep
_SPARES_MAX = 2
_SPARE_BYTES_MAX = 1 << 20
_HEADER, _OVERHEAD = 8, 40


class Spares:
    """Large buffers that one writer after the other may use: fresh memory costs more than what is written there."""

    def __init__(self) -> None:
        self._free: list[ByteBuffer] = []

    def take(self) -> ByteBuffer | None:
        """An empty buffer, if there is one to spare. Only in the thread that writes channel files."""
        return self._free.pop() if self._free else None

    def give(self, buffer: ByteBuffer) -> None:
        """Have it used by the next one, who ever that is. Any thread."""
        if len(self._free) < _SPARES_MAX and len(buffer.data) <= _SPARE_BYTES_MAX:
            self._free.append(buffer)


class RunWriter:
    """Turns slots of a segment into records and index entries, up to where a slice or the buffer is full.

    Attributes:
        data, index: what is to be written behind the two files.
        offset: in the data file, of the next record.
        count, size: messages in the slice and their bytes as they count for its limits.
        last_timestamp_ns: of the message written last.
    """

    def __init__(self, checksum: Checksum, spares: Spares) -> None:
        self.checksum = checksum
        self.spares = spares
        self.data = ByteBuffer(_FIRST_BYTES)
        self.index = ByteBuffer(_FIRST_BYTES)
        self.offset = 0
        self.count = 0
        self.size = 0
        self.last_timestamp_ns = 0

    def begin(self, offset: int, count: int, size: int) -> None:
        """Go on with a slice that has `count` messages of `size` bytes, up to `offset` in the data file."""
        self.data.truncate(0)
        self.index.truncate(0)
        self.offset = offset
        self.count = count
        self.size = size

    def data_written(self) -> None:
        """What was gathered for the data file is there."""
        self.data.truncate(0)
        if len(self.data.data) > _KEEP_BYTES:
            self.spares.give(self.data)
            self.data = ByteBuffer(_FIRST_BYTES)

    def index_written(self) -> None:
        """What was gathered for the index file is there."""
        self.index.truncate(0)
        if len(self.index.data) > _KEEP_BYTES:
            self.index = ByteBuffer(_FIRST_BYTES)

    def put(self, encoded: bytes, sequence: int, timestamp_ns: int) -> None:
        """Write one message, whatever the limits."""
        size = len(encoded)
        put_record(self.data, 0, encoded, self.checksum)
        put_index_entry(self.index, sequence, self.offset, timestamp_ns, size, self.checksum)
        self.offset += _HEADER + size
        self.count += 1
        self.size += size + _OVERHEAD
        self.last_timestamp_ns = timestamp_ns

    def put_run(
        self,
        segment: Segment,
        first: int,
        last: int,
        buffer_bytes: int,
        count_max: int,
        size_max: int,
        timestamp_stop_ns: int,
    ) -> int:
        """Write the messages from `first` on, at least one.

        Stops behind `last`, before a hole, when `buffer_bytes` or more are gathered, when the slice has
        reached `count_max` or `size_max`, and before a timestamp that is not below `timestamp_stop_ns`.

        Returns:
            The sequence to go on with.
        """
        if self.data.used == 0:
            spare = self.spares.take()
            if spare is not None:
                self.data = spare
        source = segment.buffer.data
        view = source
        tables = self.checksum.tables
        out = self.data
        sequence = first
        while sequence <= last:
            slot = sequence - segment.base
            size = segment.lengths[slot]
            timestamp_ns = segment.timestamps[slot]
            if size == 0:
                break
            if sequence != first and (
                out.used >= buffer_bytes
                or self.count >= count_max
                or self.size >= size_max
                or timestamp_ns >= timestamp_stop_ns
            ):
                break
            start = segment.offsets[slot]
            out.reserve(_HEADER + size)
            write_u32(out.data, out.used, size)
            write_u32(out.data, out.used + 4, crc_of(tables, view, start, start + size))
            out.used += _HEADER
            out.put_slice(source, start, start + size)
            put_index_entry(self.index, sequence, self.offset, timestamp_ns, size, self.checksum)
            self.offset += _HEADER + size
            self.count += 1
            self.size += size + _OVERHEAD
            self.last_timestamp_ns = timestamp_ns
            sequence += 1
        return sequence
