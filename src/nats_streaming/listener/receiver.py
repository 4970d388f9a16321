"""One receive buffer for all connections: it is filled and parsed within one call of the event loop.

What is left of a cut frame is kept by its connection, and a frame too large for the buffer gets one of its own.
"""

from __future__ import annotations

SHARED_BYTES_MAX = 512 * 1024
SHARED_BYTES_FIRST = 32 * 1024
_OWN_FROM = SHARED_BYTES_MAX // 2


class SharedBuffer:
    """The buffer; its event loop must not hold on to a view of it between `get_buffer` and `buffer_updated` of
    different connections, which the loops of Windows do and others do not.

    It begins small: with little to do nobody needs more.
    """

    def __init__(self) -> None:
        self.data = bytearray(SHARED_BYTES_FIRST)
        self.view = memoryview(self.data)

    def enlarge(self, size: int) -> None:
        """Have room for `size` bytes, or the most there may be. What is in it is not kept."""
        size = min(size, SHARED_BYTES_MAX)
        if size > len(self.data):
            self.data = bytearray(size)
            self.view = memoryview(self.data)


class Receiver:
    """The reading half of one connection: whole frames come together in `data[:stop]`."""

    __slots__ = ("_filled", "_own", "_rest", "_shared", "data", "stop")

    def __init__(self, shared: SharedBuffer) -> None:
        self.data = shared.data
        self.stop = 0
        self._shared = shared
        self._rest = b""
        self._own: bytearray | None = None
        self._filled = 0

    def room(self) -> memoryview:
        """Where to read into."""
        if self._own is not None:
            return memoryview(self._own)[self._filled :]
        rest = self._rest
        if not rest:
            return self._shared.view
        self._shared.data[: len(rest)] = rest
        return self._shared.view[len(rest) :]

    def received(self, count: int) -> bool:
        """So many bytes were read into the room. Whether `data[:stop]` is worth a look."""
        if self._own is None:
            self.data = self._shared.data
            self.stop = len(self._rest) + count
            return True
        self._filled += count
        if self._filled < len(self._own):
            return False
        self.data = self._own
        self.stop = self._filled
        return True

    def keep(self, start: int, wanted: int) -> None:
        """Keep `data[start:stop]`, the beginning of a frame, for the next time.

        Args:
            wanted: size of the frame, 0 if it is not known.
        """
        if self._own is None and self.stop == len(self._shared.data):
            self._shared.enlarge(2 * self.stop)  # there may have been more to read
        if start == self.stop:
            self._rest = b""
            self._own = None
        elif wanted > _OWN_FROM:
            own = bytearray(wanted)
            self._filled = self.stop - start
            own[: self._filled] = self.data[start : self.stop]
            self._own = own
            self._rest = b""
        else:
            self._rest = bytes(self.data[start : self.stop])
            self._own = None
            self._shared.enlarge(2 * max(wanted, len(self._rest)))
