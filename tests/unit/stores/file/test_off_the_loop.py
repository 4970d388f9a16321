"""The event loop never waits for a file, and memory does not grow with what is on the disk."""

from __future__ import annotations

import asyncio
import random
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nats_streaming.stores.batch import Messages
from nats_streaming.stores.file.store import FileStore
from nats_streaming.stores.segment import Segment
from nats_streaming.testing.store_suite import History
from tests.support.stan_messages import MsgProto

from .directory import QuickFiles

MESSAGES, BYTES = 1_500, 1_000
READ_BUFFER_BYTES = 50_000
MEMORY_BYTES_MAX = 600_000  # of what recovery and a read may hold at a time; the messages have more than twice that


class WatchedFiles(QuickFiles):
    """Fails a call that is made by the thread of the event loop."""

    def __init__(self) -> None:
        self.calls = 0
        self.loop_thread = 0

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        assert threading.get_ident() != self.loop_thread, f"the loop waits for {operation} {path}"
        return super().system(operation, path, call, *arguments)


def test_no_call_of_the_file_system_is_made_by_the_loop(tmp_path: Path) -> None:
    async def life(history: History, rng: random.Random) -> None:
        files = WatchedFiles()
        # The root is made and looked at when the store is, before there is a loop to hold up.
        store = FileStore({"directory": str(tmp_path)}, files=files, checkpoint_bytes=20_000, apply_delay_s=0.0)
        files.loop_thread = threading.get_ident()
        await store.recover()
        for _ in range(150):
            store.stage(list(history.step()))
            await store.commit()
            for name, last in history.last.items():
                await store.read(name, rng.randrange(1, last + 1), 50)
                await store.find_time(name, rng.randrange(1 << 62))
        await store.close()
        assert files.calls > 500

    rng = random.Random(3)
    history = History(rng)
    for _ in range(3):
        asyncio.run(life(history, rng))


def test_memory_is_bounded_whatever_is_on_the_disk(tmp_path: Path) -> None:
    async def body() -> None:
        store = FileStore({"directory": str(tmp_path)}, files=QuickFiles())
        await store.recover()
        first = 1
        while first <= MESSAGES:
            segment = Segment(first)
            while segment.has_room(BYTES) and first + len(segment) <= MESSAGES:
                sequence = first + len(segment)
                message = MsgProto(sequence=sequence, subject=b"foo", data=b"x" * BYTES, timestamp=sequence)
                segment.append(message.SerializeToString(), sequence)
            store.stage([Messages(b"foo", segment, first, first + len(segment) - 1)])
            await store.commit()
            first += len(segment)
        await store.close()
        tracemalloc.start()
        options = {"directory": str(tmp_path), "read_buffer_size": READ_BUFFER_BYTES}
        store = FileStore(options, files=QuickFiles())
        state = await store.recover()
        assert state is not None
        assert (state.channels[b"foo"].count, state.channels[b"foo"].segments) == (MESSAGES, [])
        sequence = 1
        while (part := await store.read(b"foo", sequence, 1 << 20)) is not None:
            sequence = part.base + len(part)
        assert sequence == MESSAGES + 1
        await store.close()
        _, peak = tracemalloc.get_traced_memory()
        assert peak < MEMORY_BYTES_MAX, f"{peak} bytes at the peak"

    try:
        asyncio.run(body())
    finally:
        tracemalloc.stop()
