"""The FILE store: commits go to the journal, and the Go server's files are written behind it.

    stage -> commit ──▶ journal thread: encode, one write, one sync ──▶ durable
                │└────▶ unapplied (memory) ──▶ files thread: channel files ──▶ checkpoint: sync, cut the journal
                └─ a large batch ────────────▶ files thread: channel files, synced ──▶ durable

`write_behind` has the middle line, `bypass` the last one.

The event loop owns all state here and never waits for a disk: threads get a function with its
arguments and give back an outcome. What is in the journal and not in the channel files is in memory
too, so a read finds every message in one of the two. After a clean `close` the journal is empty and the
directory is what a Go server would have left.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Final, TypeVar

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError, StoreError, bare
from nats_streaming.stores.api import Capabilities
from nats_streaming.stores.batch import Record, put_batch
from nats_streaming.stores.file.bypass import BYPASS_BYTES, MESSAGE_BYTES, Bypass
from nats_streaming.stores.file.channel_files import ChannelFiles
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.findings import CorruptMessageError, Finding, Severity
from nats_streaming.stores.file.journal import Journal
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.replay import recover_and_replay
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.file.worker import Worker, settle
from nats_streaming.stores.file.write_behind import WriteBehind
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoreState, hole_run

_log = logging.getLogger("nats_streaming")

CHECKPOINT_BYTES: Final = 64 << 20  # replaying so much takes about a second
JOURNAL_BYTES_MAX: Final = 256 << 20  # it only gets there while the channel files cannot be written
UNAPPLIED_BYTES_MAX: Final = 64 << 20  # memory; commits wait until the files thread has caught up
APPLY_DELAY_S: Final = 0.25
RETRY_S: Final = 0.5
_MENDED_AT_ONCE = 16  # damaged places before a read gives others their turn

T = TypeVar("T")

MESSAGE_OVERHEAD_BYTES: Final = 40
"""A record header of 8 bytes and an index record of 32, which the original counts too."""

_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR}


class FileStore:
    """See `stores.api.Store`.

    Options: the attributes of `FileOptions`, and `limits`, what holds for a channel of a name.
    """

    name = "FILE"

    def __init__(
        self,
        options: dict[str, Any],
        *,
        files: Files | None = None,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
        apply_delay_s: float = APPLY_DELAY_S,
        retry_s: float = RETRY_S,
        bypass_bytes: int = BYPASS_BYTES,
    ) -> None:
        """
        Args:
            options: see above.
            files: what reaches the file system; for tests.
            checkpoint_bytes: journal size at which the channel files are synced and the journal is cut.
            journal_bytes_max: size above which commits fail.
            apply_delay_s: seconds that a batch may wait for others before it goes to the channel files.
            retry_s: seconds until channel files that failed are tried again; more and more after that.
            bypass_bytes: of messages for each of its channels, MESSAGE_BYTES of each left out, from which on a batch
                goes straight to the channel files; 0 for never, 1 for always. Without `sync` none does: what is not
                synced may be lost behind a failure.
        """
        self.capabilities = Capabilities(
            recoverable=True, exclusive_lock=True, message_overhead_bytes=MESSAGE_OVERHEAD_BYTES
        )
        self._options = _file_options(options)
        self._options.check()
        self._files = files = files or Files()
        self._root = RootFiles(self._options.directory, self._options, files, limits=options.get("limits"))
        self._journal = Journal(self._options.directory, files, sync=self._options.sync, strict=self._options.strict)
        self._journal_worker = Worker("file-store-journal")
        self._files_worker = Worker("file-store-files")
        self._read_worker = Worker("file-store-read")
        self._journal_bytes_max = journal_bytes_max
        self._behind = WriteBehind(
            self._root,
            self._journal,
            self._journal_worker,
            self._files_worker,
            checkpoint_bytes=checkpoint_bytes,
            checkpoint_s=max(self._options.auto_sync_ns, 0) / NS_PER_SECOND,
            delay_s=apply_delay_s,
            retry_s=retry_s,
        )
        self._unapplied = self._behind.unapplied
        self._bypass = Bypass(
            self._root,
            self._behind,
            self._files_worker,
            self._journaled,
            bypass_bytes if self._options.sync else 0,
            min(MESSAGE_BYTES, bypass_bytes - 1),
        )
        self._staged: list[Record] = []
        self._in_journal = 0  # batches on their way there
        self._bypassing: asyncio.Task[None] | None = None
        self._queued: deque[tuple[list[Record], asyncio.Future[None]]] = deque()  # commits behind that
        self._loop: asyncio.AbstractEventLoop  # from `recover` on
        self._closed = False

    @property
    def failure(self) -> str:
        """Why the channel files cannot be written, "" while they can. Commits go on until the journal is full."""
        return self._behind.failure

    # Beginning.

    async def try_lock(self) -> bool:
        return await self._files_worker.start(self._root.try_lock)

    async def recover(self) -> StoreState | None:
        state, found = await self._files_worker.start(self._recover)
        for finding in found:
            _log.log(_LEVELS[finding.severity], "%s", finding.text)
        if state is not None:
            for name, channel in state.channels.items():
                self._unapplied.restore(name, channel.last)
        self._journal_worker.begin()
        self._loop = asyncio.get_running_loop()
        self._behind.begin()
        return state

    def _recover(self) -> tuple[StoreState | None, list[Finding]]:
        """In the files thread: the channel files, then the journal over them."""
        replayed = recover_and_replay(self._root, self._journal)
        state = replayed.state
        if replayed.batches:
            self._sync_all(replayed.touched)
            self._root.sync()
            state = self._root.state()
            _log.info("Journal: %d batches of the last run were brought to the channel files", replayed.batches)
        elif state is not None:
            self._root.settle(state)
            if self._options.strict:
                self._root.sync()  # which notes what is safe
        self._root.witness.put(lasting=self._options.sync)
        self._journal.cut(self._journal.last)
        return state, self._root.findings

    def _sync_all(self, channels: set[bytes]) -> None:
        """Sync what was found and so not written: the system may have it from the last run, and the disk not."""
        directory = self._options.directory
        for place in (directory, *(os.path.join(directory, os.fsdecode(channel)) for channel in sorted(channels))):
            if not self._files.exists(place):
                continue
            for name in self._files.listdir(place):
                path = os.path.join(place, name)
                if name.endswith((".dat", ".idx", ".stan")) and not self._files.is_directory(path):
                    file = self._files.open_rw(path)
                    try:
                        file.sync()
                    finally:
                        file.close()
            self._files.sync_directory(place)

    # Committing.

    def stage(self, records: Sequence[Record]) -> None:
        self._staged.extend(records)

    def commit(self) -> asyncio.Future[None]:
        """See `stores.api.Store`. Cancelled or not, the batch is in the journal, and it is known that it is."""
        staged, self._staged = self._staged, []
        if staged and self._closed:
            raise StoreError("the FILE store is closed")
        if staged and self._is_full():
            return self._loop.create_task(self._commit_when_there_is_room(staged))
        written: asyncio.Future[None] = self._loop.create_future()
        if staged:
            self._write(staged, written)
        else:
            written.set_result(None)
        return written

    async def _commit_when_there_is_room(self, staged: list[Record]) -> None:
        await self._make_room()
        written: asyncio.Future[None] = self._loop.create_future()
        self._write(staged, written)
        await written

    def _write(self, records: list[Record], written: asyncio.Future[None]) -> None:
        """Begin one commit; behind one that bypasses the journal when that has ended."""
        if self._bypassing is not None:
            self._queued.append((records, written))
            return
        parts = None if self._in_journal else self._bypass.take_apart(records)
        if parts is None:
            self._write_journal(records, written)
        else:
            self._bypassing = self._loop.create_task(self._bypass.commit(records, parts))
            self._bypassing.add_done_callback(partial(self._on_bypassed, written))

    def _on_bypassed(self, written: asyncio.Future[None], task: asyncio.Task[None]) -> None:
        self._bypassing = None
        if task.cancelled():
            written.cancel()
        else:
            settle(written, None, task.exception())
        while self._queued and self._bypassing is None:
            self._write(*self._queued.popleft())

    def _journaled(self, records: Sequence[Record]) -> asyncio.Future[None]:
        written: asyncio.Future[None] = self._loop.create_future()
        self._write_journal(records, written)
        return written

    def _write_journal(self, records: Sequence[Record], written: asyncio.Future[None]) -> None:
        self._in_journal += 1
        self._journal_worker.run(partial(self._append, records), partial(self._on_written, records, written))

    def _append(self, records: Sequence[Record]) -> tuple[int, int]:
        """In the journal thread."""
        payload = self._journal.begin()
        put_batch(payload, records)
        size = payload.used
        return self._journal.finish(), size

    def _on_written(
        self,
        records: Sequence[Record],
        written: asyncio.Future[None],
        outcome: tuple[int, int],
        failure: BaseException | None,
    ) -> None:
        self._in_journal -= 1
        try:
            if failure is None:
                number, size = outcome
                self._behind.committed(number, records, size)
        finally:
            settle(written, None, failure)

    def _is_full(self) -> bool:
        return self._unapplied.size > UNAPPLIED_BYTES_MAX or self._journal.size > self._journal_bytes_max

    async def _make_room(self) -> None:
        """Wait while the channel files are behind; refuse while they fail and the journal is full."""
        while self._is_full():
            if self.failure:
                if self._journal.size > self._journal_bytes_max:
                    raise StoreError(
                        f"the journal is full: {self._journal.size} bytes wait for the channel files,"
                        f" which cannot be written: {self.failure}"
                    )
                return
            await self._behind.applied_to(self._unapplied.oldest() or self._journal.last)

    # Reading.

    async def read(self, channel: bytes, first: int, count: int) -> Segment | None:
        await self._settle(channel)
        begin = self._unapplied.first_of(channel)
        if first < begin:
            return hole_run(first, begin) if begin <= self._unapplied.last_of(channel) else None
        segment = self._unapplied.find(channel, first)
        if segment is not None:
            return segment
        segment = await self._read_worker.start(self._read_files, channel, first, count)
        if segment is None or segment.base > first or not segment.size_at(first - segment.base):
            # Perhaps because the channel files have just failed, and gone back to what is safe.
            await self._files_worker.start(_nothing)
            if self._behind.is_uncertain or self.failure:
                raise StoreError(self.failure or "the channel files are being written anew")
            segment = await self._read_worker.start(self._read_files, channel, first, count)
        if segment is None:
            # Looked up again: in the meantime it may have come, though not gone.
            segment = self._unapplied.find(channel, first)
            if segment is None and self._unapplied.has_after(channel, first):
                segment = hole_run(first, first + 1)
        return segment

    async def _settle(self, channel: bytes) -> None:
        """Wait for what only the channel files can tell: deletions, removals, messages in the place of others."""
        while number := self._unapplied.read_after(channel):
            if self.failure:
                raise StoreError(self.failure)
            await self._behind.applied_to(number)

    def _read_files(self, channel: bytes, first: int, count: int) -> Segment | None:
        """In the read thread."""
        files = self._root.channel(channel)
        return self._mending(files, lambda: files.read(first, count)) if files is not None else None

    def _mending(self, files: ChannelFiles, read: Callable[[], T]) -> T:
        """In the read thread: read past what is damaged."""
        for _ in range(_MENDED_AT_ONCE):
            try:
                return read()
            except CorruptMessageError as error:
                if self._options.strict:
                    raise
                _log.error("Channel %s: damaged, mended or skipped: %s", bare(files.name), files.mend(error).text)
        return read()

    async def find_time(self, channel: bytes, timestamp_ns: int) -> int:
        await self._settle(channel)
        found, first = self._unapplied.find_time(channel, timestamp_ns)
        if found > first:
            return found
        # Everything here is young enough; perhaps there is more of that in the files.
        in_files = await self._read_worker.start(self._find_time_in_files, channel, timestamp_ns)
        await self._files_worker.start(_nothing)
        if self._behind.is_uncertain or self.failure:
            raise StoreError(self.failure or "the channel files are being written anew")
        if first:
            in_files = min(in_files, first)
        return max(in_files, self._unapplied.first_of(channel))

    def _find_time_in_files(self, channel: bytes, timestamp_ns: int) -> int:
        """In the read thread."""
        files = self._root.channel(channel)
        return self._mending(files, lambda: files.find_time(timestamp_ns)) if files is not None else 1

    # Ending.

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._staged = []
        try:
            # A commit that is being written has its callback before this returns.
            while self._bypassing is not None or self._in_journal:
                if self._bypassing is not None:
                    await asyncio.wait({self._bypassing})
                else:
                    await self._journal_worker.start(_nothing)
            await self._behind.end()
            for what in (self._journal.close, self._root.close):
                try:
                    await self._files_worker.start(what)
                except StoreError as error:
                    _log.error("Closing the FILE store: %s", error)
        finally:
            self._behind.release()
            for worker in (self._journal_worker, self._files_worker, self._read_worker):
                worker.close()

    def abandon(self) -> None:
        """End without writing anything, as a crash does; what is in the journal is for the next start."""
        self._closed = True
        self._behind.abandon()
        if self._bypassing is not None:
            self._bypassing.cancel()
        for worker in (self._journal_worker, self._files_worker, self._read_worker):
            worker.close()


def _file_options(options: dict[str, Any]) -> FileOptions:
    known = {field.name for field in fields(FileOptions)}
    for name in options:
        if name not in known and name != "limits":
            raise ConfigError(f"the FILE store has no option {name!r}", option=name)
    return FileOptions(**{name: value for name, value in options.items() if name in known})


def _nothing() -> None:
    """To wait for the end of what a thread does."""
