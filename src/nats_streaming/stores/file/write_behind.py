"""Brings what is committed to the channel files, behind the commits, and cuts the journal when they are safe.

    committed ──▶ unapplied (memory) ──▶ files thread: channel files ──▶ checkpoint: sync, cut the journal

Belongs to the event loop, like everything here that does not say "in the files thread".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from nats_streaming.errors import StoreError
from nats_streaming.stores.batch import Record
from nats_streaming.stores.file.journal import Journal
from nats_streaming.stores.file.merge import merge
from nats_streaming.stores.file.replay import unsettled
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.file.unapplied import Unapplied
from nats_streaming.stores.file.worker import Worker

_log = logging.getLogger("nats_streaming")

APPLY_BYTES: Final = 4 << 20  # what one visit of the files thread takes
_RETRY_MAX_S = 30.0
_FEW_CHANNELS = 8


class WriteBehind:
    """Has the files thread, while nobody else holds `files`.

    Attributes:
        files: to be held by who changes channel files.
        unapplied: what is committed and not yet in the channel files.
        failure: why those cannot be written at the moment, "" while they can.
        is_uncertain: they failed, and everything since the last checkpoint is to be handed to them again.
        checkpoints: begun, at which the journal forgets what came before.
    """

    def __init__(
        self,
        root: RootFiles,
        journal: Journal,
        journal_worker: Worker,
        files_worker: Worker,
        *,
        checkpoint_bytes: int,
        checkpoint_s: float,
        delay_s: float,
        retry_s: float,
    ) -> None:
        """
        Args:
            root: the channel files.
            journal: what is committed there is to come to `root`.
            journal_worker, files_worker: the threads of the two.
            checkpoint_bytes: size of the journal at which the channel files are synced and it is cut; a quarter
                of it while few channels are to be synced.
            checkpoint_s: seconds after which that is done in any case, 0 for never.
            delay_s: seconds that a batch may wait for others.
            retry_s: seconds until channel files that failed are tried again; more and more after that.
        """
        self.files = asyncio.Lock()
        self.unapplied = Unapplied()
        self.failure = ""
        self.is_uncertain = False
        self.checkpoints = 0
        self._root = root
        self._journal = journal
        self._journal_worker = journal_worker
        self._files_worker = files_worker
        self._checkpoint_bytes = checkpoint_bytes
        self._checkpoint_s = checkpoint_s
        self._delay_s = delay_s
        self._retry_s = retry_s
        self._dirty = False  # written to the channel files and not synced there
        self._kick = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._urgent = False
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._is_slow = False  # syncing all that was written, or about to
        self._uncommitted: set[bytes] = set()
        self._committed = 0  # number of the newest batch that `unapplied` was told of

    def begin(self) -> None:
        """Begin to work, on the running loop."""
        self._committed = self._journal.last
        self._task = asyncio.get_running_loop().create_task(self._work(), name="file store: write behind")
        self._task.add_done_callback(self._on_end)

    def committed(self, number: int, records: Sequence[Record], size: int) -> None:
        """A batch of `size` bytes is in the journal; called in the order of the numbers."""
        was_empty = not self.unapplied
        self._committed = number
        self.unapplied.add(number, records, size)
        if was_empty or self.unapplied.size >= APPLY_BYTES:
            self._kick.set()

    async def applied_to(self, number: int) -> None:
        """Wait until this batch is in the channel files, or an attempt has failed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, done))
        self._urgent = True
        self._kick.set()
        await done

    # The files thread for somebody else.

    def is_well(self) -> bool:
        """Whether somebody else may write to the channel files, and waits for `files` no longer than for a chunk."""
        return not (self.failure or self.is_uncertain or self._is_slow or self._ending)

    def wrote(self) -> None:
        """Somebody else has written something that the next checkpoint is to sync."""
        if not self._dirty:
            self._dirty = True
            self._kick.set()

    def failed(self, error: StoreError) -> None:
        """The channel files could not be written."""
        self.is_uncertain = True
        if not self.failure:
            _log.error("Channel files cannot be written, the journal keeps what is new: %s", error)
        self.failure = str(error)
        self._kick.set()

    def take_back(self, channels: set[bytes]) -> None:
        """The files of these channels may hold messages that are not committed: they must not stay."""
        self.is_uncertain = True
        self._uncommitted |= channels
        self._kick.set()

    # Work.

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        retry_s = self._retry_s
        synced_at = loop.time()
        while not self._ending:
            await self._wait_for_work(synced_at, retry_s if self.failure else 0.0)
            self._is_slow = self._checkpoint_is_due(synced_at)
            failed_before = bool(self.failure)
            try:
                async with self.files:
                    if self.is_uncertain:
                        await self._apply_again()
                    await self._apply_chunk()
                    if self._is_slow or self._checkpoint_is_due(synced_at):
                        await self._checkpoint()
                        synced_at = loop.time()
            except StoreError as error:
                retry_s = min(retry_s * 2, _RETRY_MAX_S) if failed_before else self._retry_s
                self.failed(error)
                # Perhaps all that they miss is room.
                await self._files_worker.start(self._journal.give_back)
            else:
                if self.failure:
                    _log.info("Channel files can be written again")
                self.failure = ""
            self._is_slow = False
            self._wake_up()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        # A bug. The journal goes on until it is full, and what it holds is applied at the next start.
        _log.critical("bug: nothing is written to the channel files any more", exc_info=task.exception())
        self.failure = f"bug: {task.exception()!r}"
        self._wake_up()

    async def _wait_for_work(self, synced_at: float, retry_s: float) -> None:
        """Return when something is due."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not self._ending:
            self._kick.clear()
            now = loop.time()
            was_empty = not self.unapplied
            if retry_s:
                due: float | None = begun + retry_s
            elif self.is_uncertain or self._urgent or self._is_much():
                return
            elif self.unapplied:
                due = begun + self._delay_s
            elif self._dirty and self._checkpoint_s > 0:
                due = synced_at + self._checkpoint_s
            else:
                due = None
            if due is not None and due <= now:
                return
            try:
                await asyncio.wait_for(self._kick.wait(), None if due is None else due - now)
            except TimeoutError:
                return
            if self.failure and not retry_s:
                retry_s, begun = self._retry_s, loop.time()
            elif was_empty and not retry_s:
                begun = loop.time()

    def _is_much(self) -> bool:
        return self.unapplied.size >= APPLY_BYTES or self._journal_is_long()

    def _journal_is_long(self) -> bool:
        # Few files are quickly synced, and a short journal soon uses its files again.
        few = self._root.unsynced_channels <= _FEW_CHANNELS
        return self._journal.size >= (max(self._checkpoint_bytes // 4, 1) if few else self._checkpoint_bytes)

    def _checkpoint_is_due(self, synced_at: float) -> bool:
        if self._journal_is_long():
            return True
        passed_s = asyncio.get_running_loop().time() - synced_at
        return self._dirty and 0 < self._checkpoint_s <= passed_s

    async def _apply_chunk(self) -> None:
        number, batches = self.unapplied.peek(APPLY_BYTES)
        if batches:
            await self._files_worker.start(self.apply, batches)
            self._dirty = True
            self.unapplied.applied(number)

    def apply(self, batches: list[Sequence[Record]]) -> None:
        """In the files thread."""
        self._root.apply(merge(batches))
        self._root.flush()

    async def _apply_again(self) -> None:
        """Hand over everything since the last checkpoint, from the journal: some of it may have been lost."""
        self.checkpoints += 1
        number = self._committed
        behind = {name: self.unapplied.last_of(name) + 1 for name in self._uncommitted}
        await self._files_worker.start(self._replay, number, behind)
        self._dirty = False
        self._uncommitted -= behind.keys()
        self.is_uncertain = bool(self._uncommitted)
        self.unapplied.applied(number)
        await self._files_worker.start(self._journal.cut, number)
        # The file that is being written stays, with what was in it before.
        self.unapplied.forgotten(min(number, self._journal.oldest - 1))

    def _replay(self, number: int, uncommitted: dict[bytes, int]) -> None:
        """In the files thread."""
        for records in unsettled([batch.payload for batch in self._journal.read_back(number)]):
            self._root.apply(records)
        for name, first in uncommitted.items():
            channel = self._root.channel(name)
            if channel is not None:
                channel.take_back(first)
        self._root.sync()

    async def _checkpoint(self) -> None:
        self.checkpoints += 1
        number = await self._journal_worker.start(self._journal.rotate)
        while self.unapplied and self.unapplied.oldest() <= number:
            await self._apply_chunk()
        await self._files_worker.start(self._root.sync)
        self._dirty = False
        await self._files_worker.start(self._journal.cut, number)
        self.unapplied.forgotten(number)

    def _wake_up(self) -> None:
        oldest = self.unapplied.oldest()
        left: list[tuple[int, asyncio.Future[None]]] = []
        for number, done in self._waiting:
            if self.failure or not oldest or number < oldest:
                if not done.done():
                    done.set_result(None)
            else:
                left.append((number, done))
        self._waiting = left
        self._urgent = bool(left)

    # Ending.

    async def end(self) -> None:
        """Leave nothing in the journal, if possible; commit nothing more before."""
        if self._task is None:
            return
        self._ending = True
        self._kick.set()
        await asyncio.wait({self._task})
        try:
            if self.is_uncertain:
                await self._apply_again()
            while self.unapplied:
                await self._apply_chunk()
            await self._files_worker.start(self._root.sync)
            await self._files_worker.start(self._journal.close)
            await self._files_worker.start(self._journal.cut, self._journal.last)
            await self._files_worker.start(self._root.witness.remove)
        except StoreError as error:
            _log.error("The journal stays for the next start, the channel files cannot be written: %s", error)

    def release(self) -> None:
        """Let nobody wait any more."""
        for _, done in self._waiting:
            done.cancel()

    def abandon(self) -> None:
        """Do nothing more."""
        self._ending = True
        if self._task is not None:
            self._task.cancel()
