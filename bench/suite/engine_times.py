"""The engine by itself, in this process: the compiled stages over chunks that were made before, without any I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.loadgen import field
from nats_streaming.protocol.nats_reader import LinkControl, NatsReader
from nats_streaming.stores.limits import StoreLimits
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.streaming.cycle import Cycle
from nats_streaming.streaming.subjects import SID_PUBLISH
from nats_streaming.testing.engine_driver import DriverOptions, EngineDriver, run_now

CHUNK_MESSAGES = 500
SIZE = 128


def chunk() -> bytes:
    """What our link reads from nats-server when so many messages were published."""
    frames = []
    for number in range(CHUNK_MESSAGES):
        payload = field(1, b"pub") + field(2, b"%022d" % number) + field(3, b"bench") + field(5, b"x" * SIZE)
        payload += field(6, b"connection.pub")
        subject = b"_STAN.pub.LGJcNFZ3ZNZ7ZEW2qCRNGk.bench"
        frames.append(b"MSG %b %d _STAN.acks.pub %d\r\n%b\r\n" % (subject, SID_PUBLISH, len(payload), payload))
    return b"".join(frames)


def engine_times(chunks: int) -> dict[str, float]:
    """Microseconds of processor time per publish of each step.

    Args:
        chunks: of `CHUNK_MESSAGES` publishes each.
    """
    driver = EngineDriver(MemoryStore(), DriverOptions(limits=StoreLimits(max_messages=0, max_bytes=0)))
    driver.connect("pub")
    engine, store = driver.engine, driver.store
    reader = NatsReader(engine.inlet, LinkControl())
    publishes = chunk()
    spent: dict[str, float] = {}

    def timed(step: str, work: Callable[..., Any], *arguments: object) -> Any:
        begun = time.thread_time()
        result = work(*arguments)
        spent[step] = spent.get(step, 0.0) + time.thread_time() - begun
        return result

    def commit(cycle: Cycle) -> None:
        store.stage(cycle.records)
        run_now(store.commit())

    for _ in range(chunks):
        timed("parse, decode, stage, write acks", reader.feed, publishes)
        timed("end of the chunk", engine.end_chunk)
        while engine.wants_commit() or not engine.inlet.cycle.is_empty():
            cycle = timed("cut the batch", engine.next_batch)
            timed("stage and commit, MEMORY store", commit, cycle)
            timed("after the commit", engine.batch_committed, cycle)
        timed("output", engine.take_output)
    count = chunks * CHUNK_MESSAGES
    return {step: seconds / count * 1e6 for step, seconds in spent.items()}
