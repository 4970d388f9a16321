"""Lines of standard input, or of any descriptor, for an event loop: files, pipes and terminals alike.

A thread reads, since files are never "not ready" to a loop. It is a daemon: nobody can end a read from a
terminal, and the process is not to wait for one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

from nats_streaming.errors import ConfigError

LINE_BYTES_MAX = 64 << 20
"""More than NATS takes in one message, by default and at most."""

_READ_BYTES = 1 << 16
_WAITING_MAX = 64  # pieces read ahead


async def lines_of(descriptor: int) -> AsyncIterator[bytes]:
    """Every line without its end; the last one also if it has none.

    Raises:
        ConfigError: a line is too long.
        OSError: the descriptor cannot be read.
    """
    rest = b""
    async for piece in _pieces_of(descriptor):
        *lines, rest = (rest + piece).split(b"\n") if rest else piece.split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        if len(rest) > LINE_BYTES_MAX:
            raise ConfigError(f"standard input: a line has more than {LINE_BYTES_MAX} bytes")
    if rest:
        yield rest


async def _pieces_of(descriptor: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(_WAITING_MAX)

    def read() -> None:
        while True:
            room.acquire()
            piece: bytes | OSError
            try:
                piece = os.read(descriptor, _READ_BYTES)
            except OSError as error:
                piece = error
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:
                return  # the loop has ended, and nobody wants it any more
            if not piece or isinstance(piece, OSError):
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while True:
        piece = await pieces.get()
        room.release()
        if isinstance(piece, OSError):
            raise piece
        if not piece:
            return
        yield piece
