"""Large messages go straight to the channel files, past the journal, which would have their bytes written twice.

    small, or of many channels     journal: one write and one sync, whatever it touches; channel files later
    large, of few channels         channel files: records and index of each channel, a sync each

Of small messages it is not the bytes that cost but each message's own record, which the publisher would wait for.

What else is in such a batch, how far subscriptions have come, goes to the journal when the messages are safe: a
subscription must not be ahead of its channel.

A start after a crash replays the journal, which may mend a channel by storing messages anew from some point on. It
must look at every channel that was written past the journal, and take nothing back that is safe and not in the
journal. So the journal has notes, `Settled`: that there is such a channel, before it is first written to after a
checkpoint; and, where the journal has messages of it, that those and all up to here are safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nats_streaming.errors import StoreError
from nats_streaming.stores.batch import Acked, Messages, Record, Sent, Settled, Trimmed
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.file.worker import Worker
from nats_streaming.stores.file.write_behind import WriteBehind

BYPASS_BYTES: Final = 128 << 10
"""Bytes of messages for each channel, `MESSAGE_BYTES` of each message left out, from which on a batch bypasses the
journal.
"""

MESSAGE_BYTES: Final = 256
"""What a disk writes in the time in which a processor makes the record of one message."""

_CHANNELS_MAX = 8  # one sync after the other


@dataclass(slots=True)
class Parts:
    """A batch taken apart.

    Attributes:
        runs: its messages.
        rest: everything else.
        needs_backlog: something committed before must come to these channels' files first.
    """

    runs: list[Messages] = field(default_factory=list)
    rest: list[Record] = field(default_factory=list)
    needs_backlog: bool = False

    @property
    def channels(self) -> set[bytes]:
        return {run.channel for run in self.runs}


class Bypass:
    """One batch at a time; belongs to the event loop."""

    def __init__(
        self,
        root: RootFiles,
        behind: WriteBehind,
        files_worker: Worker,
        journal: Callable[[Sequence[Record]], Awaitable[None]],
        least_bytes: int,
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        """
        Args:
            root: the channel files.
            behind: who has the files thread else.
            files_worker: that thread.
            journal: commits records by the journal.
            least_bytes: for each channel of a batch, see `BYPASS_BYTES`; 0 lets no batch bypass the journal.
            message_bytes: of each message, which do not count for that.
        """
        self._root = root
        self._behind = behind
        self._files_worker = files_worker
        self._journal = journal
        self._least_bytes = least_bytes
        self._message_bytes = message_bytes
        self._noted: set[bytes] = set()
        self._noted_at = -1  # which checkpoint came before

    def take_apart(self, records: Sequence[Record]) -> Parts | None:
        """Take a batch apart that is to bypass the journal; None if it is not to.

        Call only when nothing is on its way to the journal, and then nothing else until `commit` has ended.
        """
        if not self._least_bytes or not self._behind.is_well():
            return None
        unapplied = self._behind.unapplied
        parts = Parts()
        reached: dict[bytes, int] = {}
        size = 0
        for record in records:
            if isinstance(record, Messages):
                name = record.channel
                last = reached.get(name)
                if last is None:
                    if len(reached) == _CHANNELS_MAX:
                        return None
                    if self._root.channel(name) is None or unapplied.removes(name):
                        return None
                    last = unapplied.last_of(name)
                    parts.needs_backlog |= unapplied.concerns(name)
                if record.first != last + 1:
                    return None  # something in the place of what failed, or twice the same
                reached[name] = record.last
                parts.runs.append(record)
                size += record.segment.live_size(record.first, record.last)
                size -= self._message_bytes * (record.last - record.first + 1)
            elif isinstance(record, Sent | Acked | Trimmed):
                parts.rest.append(record)
            else:
                return None  # it may be meant for the messages behind it
        if not reached or size < self._least_bytes * len(reached):
            return None
        return parts

    async def commit(self, records: Sequence[Record], parts: Parts) -> None:
        """Make a batch durable that `take_apart` has taken apart: by the journal after all if the files fail.

        Raises:
            StoreError: it is not.
        """
        async with self._behind.files:
            wrote = self._behind.is_well() and await self._to_files(parts)
        rest = [*parts.rest, *self._settled(parts)] if wrote else records
        if not rest:
            return
        try:
            await self._journal(rest)
        except StoreError:
            for run in reversed(parts.runs):
                self._behind.unapplied.stored(run.channel, run.first - 1)
            self._behind.take_back(parts.channels)
            raise

    async def _note(self, channels: set[bytes]) -> None:
        """Let the next start look at these channels: it syncs what it touches."""
        if self._noted_at != self._behind.checkpoints:
            self._noted_at = self._behind.checkpoints
            self._noted.clear()
        fresh = sorted(channels - self._noted)
        if fresh:
            await self._journal([Settled(name, 0) for name in fresh])
            self._noted.update(fresh)

    def _settled(self, parts: Parts) -> list[Record]:
        unapplied = self._behind.unapplied
        channels = sorted(name for name in parts.channels if unapplied.stores(name))
        return [Settled(name, unapplied.last_of(name)) for name in channels]

    async def _to_files(self, parts: Parts) -> bool:
        """False when they failed."""
        await self._note(parts.channels)
        unapplied = self._behind.unapplied
        number, backlog = unapplied.peek(unapplied.size) if parts.needs_backlog else (0, [])
        try:
            await self._files_worker.start(self._write, backlog, parts.runs)
        except StoreError as error:
            self._behind.failed(error)
            return False
        unapplied.applied(number)
        for run in parts.runs:
            unapplied.stored(run.channel, run.last)
        self._behind.wrote()
        return True

    def _write(self, backlog: list[Sequence[Record]], runs: list[Messages]) -> None:
        """In the files thread."""
        if backlog:
            self._behind.apply(backlog)
        self._root.store(runs)
