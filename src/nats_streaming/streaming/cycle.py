"""What one pass over the incoming bytes has staged: the records to commit, and what to send after that.

The order of sending is the law of order: replies and messages only after the commit, the publishers'
acks behind the messages, and replies to a connection's close behind its acks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.stores.batch import Record


class Cycle:
    """One batch in the making.

    Attributes:
        replies: frames to send after the commit, before any message of the batch.
        acks: PubAck frames, sent after the messages.
        farewells: replies to connection closes, sent last.
        touched: channels that got messages.
        runs: of each touched channel, the last message and what its window had appended at the cut.
        trace_lines: log lines about the acks, when tracing.
        message_count: messages staged, for the batch size.
        since_ns: when its oldest publish was read, monotonic; 0 without one.
        staged_bytes: bytes of all accepted publishes up to its cut, for the bound on what is staged.
        waited_for: somebody waits for this commit; otherwise it may be put off.
    """

    def __init__(self) -> None:
        self.replies = ByteBuffer(256)
        self.acks = ByteBuffer(256)
        self.farewells = ByteBuffer(64)
        self.touched: list[Any] = []
        self.runs: list[tuple[Any, int, int]] = []
        self.records: list[Record] = []
        self.completions: list[tuple[Callable[[], None], Callable[[str], None]]] = []
        self.trace_lines: list[str] = []
        self.message_count = 0
        self.since_ns = 0
        self.staged_bytes = 0
        self.waited_for = False

    def is_empty(self) -> bool:
        return not (
            self.touched
            or self.records
            or self.completions
            or self.replies.used
            or self.acks.used
            or self.farewells.used
        )

    def on_end(self, committed: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Call one of the two when the commit has ended, in the order in which they were registered."""
        self.completions.append((committed, failed))
        self.waited_for = True
