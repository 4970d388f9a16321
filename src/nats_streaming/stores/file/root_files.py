"""The directory of a store: the server, its clients, and its channels, one subdirectory each.

    <root>/server.dat       what this server is
    <root>/clients.dat      who is registered
    <root>/<channel>/       a channel's files; the channel's name as it is, dots and all
    <root>/.rootdir.lck     lock against a second server
    <root>/.truncate.lck    who was here last (witness)

Whoever is above calls `apply` with batches that are already durable elsewhere, and `sync` when it wants to
forget them there.

Source: stores specification, sections 2.1, 2.3, 2.4 and 2.9.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from nats_streaming.clock import Clock, SystemClock
from nats_streaming.errors import CorruptionError, StoreError, quoted
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo
from nats_streaming.stores.batch import (
    Acked,
    ChannelCreated,
    ChannelRemoved,
    ClientPut,
    ClientRemoved,
    Deleted,
    Messages,
    Record,
    Sent,
    ServerPut,
    Settled,
    SubscriptionPut,
    SubscriptionRemoved,
    Trimmed,
)
from nats_streaming.stores.file.archive import Archive
from nats_streaming.stores.file.channel_files import ChannelFiles, Surroundings
from nats_streaming.stores.file.channel_recovery import ChannelRecovery, RecoveredChannel
from nats_streaming.stores.file.clients_file import FILE_NAME as CLIENTS_FILE
from nats_streaming.stores.file.clients_file import KIND_MAX, ClientsFile
from nats_streaming.stores.file.compaction import CompactionRule
from nats_streaming.stores.file.damage import Damage
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool
from nats_streaming.stores.file.findings import Finding, Severity
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.record import FILE_HEADER, FILE_HEADER_BYTES, Checksum
from nats_streaming.stores.file.record_log import RecordLog
from nats_streaming.stores.file.root_lock import RootLock
from nats_streaming.stores.file.run_writer import Spares
from nats_streaming.stores.file.seal import Seal, SealFile
from nats_streaming.stores.file.server_file import FILE_NAME as SERVER_FILE
from nats_streaming.stores.file.server_file import ServerFile
from nats_streaming.stores.file.subscription_log import FILE_NAME as SUBSCRIPTIONS_FILE
from nats_streaming.stores.file.typed_recovery import ClientRecords, read_typed_file
from nats_streaming.stores.file.witness import Witness
from nats_streaming.stores.limits import ChannelLimits
from nats_streaming.stores.state import StoredChannel, StoreState


class RootFiles:
    """Thread-safe, but for `recover`, which comes first.

    Attributes:
        findings: what recovery met, in order; the caller logs it.
        witness: who was here last.
    """

    findings: list[Finding]
    witness: Witness

    def __init__(
        self,
        directory: str,
        options: FileOptions,
        files: Files,
        *,
        limits: Callable[[bytes], ChannelLimits] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make the directory; read nothing, since another server may be at work there.

        Args:
            directory: the root.
            options: checked ones.
            files: what reaches the file system.
            limits: what holds for a channel, needed for slices when all slice options are 0.
            clock: for the interval between compactions.

        Raises:
            StoreError: the directory cannot be made.
        """
        self.findings = []
        self._directory = directory
        self._files = files
        self._limits = limits
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._closed = False
        self._directory_changed = False
        self._recovered = False
        self._replay_follows = False
        self._seal: Seal | None = None
        self._channels: dict[bytes, ChannelFiles] = {}
        self._touched: set[bytes] = set()
        self._make_directory()
        self.witness = Witness(files, directory, truncate=options.truncate_bad_eof)
        clock = clock or SystemClock()
        pool = FilePool(files, options.fds_limit, options.sync)
        checksum = Checksum(options.crc_poly)
        archive = Archive(files, options.slice_archive_script)
        self._seal_file = SealFile(files, pool, directory, checksum)
        self._shared = Surroundings(
            replace(options, directory=directory), files, pool, checksum, Spares(), archive, clock, self._seal_file
        )
        self._root_lock = RootLock(files, directory)
        self._server = ServerFile(files, pool, os.path.join(directory, SERVER_FILE), checksum)
        self._clients = ClientsFile(CompactionRule(options, clock), checksum)
        # Clients are written at once, as in the original: they are few.
        path = os.path.join(directory, CLIENTS_FILE)
        self._clients.attach(
            RecordLog(files, pool, path, checksum, self._clients.image, self._seal_file.remove, buffer_bytes=0)
        )

    def _make_directory(self) -> None:
        if self._files.is_directory(self._directory):
            return
        try:
            self._files.mkdir(self._directory)
            self._files.sync_directory(os.path.dirname(os.path.abspath(self._directory)))
        except StoreError as error:
            reason = error.__cause__ or error
            raise StoreError(f"unable to create the root directory [{self._directory}]: {reason}") from error

    def try_lock(self) -> bool:
        """Become the only server on this directory (`.rootdir.lck`); False while another is. Until `close`."""
        return self._root_lock.acquire()

    # Recovery.

    def recover(self, *, replay_follows: bool = False) -> StoreState | None:
        """Read everything; None when there is nothing. Messages stay on disk: segments are empty.

        Args:
            replay_follows: whether batches of the last run will be applied, so that this server wrote last.

        Raises:
            CorruptionError: only with `options.strict`.
        """
        self._seal = self._seal_file.read()
        self._replay_follows = replay_follows
        damage = self._new_damage(None)
        state = StoreState()
        try:
            state.server = self._recover_server(damage)
            clients = self._recover_clients(damage)
            names = self._channel_names()
            if state.server is None and not names and not clients:
                self._ready()
                return None
            if state.server is None and names:
                damage.tell(
                    Severity.WARNING,
                    "Server information was not recovered, however channels are present."
                    " Will initialize server and restart recovery!",
                )
            state.clients = {client_id: replace(info) for client_id, info in clients.items()}
        finally:
            self.findings += damage.findings
        self._recover_channels(names, state)
        self._ready()
        return state

    def _ready(self) -> None:
        """From here on this run changes the files."""
        if not self._shared.options.strict:
            self._seal_file.remove()
        self._directory_changed = True
        self._recovered = True

    def _recover_server(self, damage: Damage) -> ServerInfo | None:
        try:
            return self._server.recover(damage)
        except CorruptionError as error:
            path = os.path.join(self._directory, SERVER_FILE)
            name = SERVER_FILE if _is_header_error(error) else path
            raise CorruptionError(f"unable to recover server file {quoted(name)}: {error}") from error

    def _recover_clients(self, damage: Damage) -> dict[bytes, ClientInfo]:
        path = os.path.join(self._directory, CLIENTS_FILE)
        records = ClientRecords()
        try:
            size, damaged = read_typed_file(path, damage, KIND_MAX, records.take)
        except CorruptionError as error:
            name = CLIENTS_FILE if _is_header_error(error) else path
            raise CorruptionError(f"unable to recover client file {quoted(name)}: {error}") from error
        self._clients.clients, self._clients.removed = records.clients, records.removed
        self._clients.log.opened(size)
        if self._seal is not None and not self._replay_follows:
            damage.compare_size(path, size, self._seal.clients_size)
        if damaged:
            self._clients.log.renew()
        return records.clients

    def _channel_names(self) -> list[bytes]:
        names = self._files.listdir(self._directory)
        return [os.fsencode(name) for name in names if self._files.is_directory(os.path.join(self._directory, name))]

    def _recover_channels(self, names: list[bytes], state: StoreState) -> None:
        """Channels side by side; with `strict` the first error ends it."""
        damages = [self._new_damage(name) for name in names]
        side_by_side = min(self._shared.options.parallel_recovery, len(names))
        try:
            with ExitStack() as stack:
                recovered: Iterator[tuple[ChannelFiles, StoredChannel]]
                recovered = map(self._recover_channel, names, damages)
                if side_by_side > 1:
                    executor = ThreadPoolExecutor(side_by_side)
                    stack.callback(executor.shutdown, cancel_futures=True)
                    recovered = executor.map(self._recover_channel, names, damages)
                for name, (channel, stored) in zip(names, recovered, strict=True):
                    self._channels[name], state.channels[name] = channel, stored
        except StoreError:
            self._channels.clear()
            self._shared.pool.close()
            raise
        finally:
            self.findings += [finding for damage in damages for finding in damage.findings]

    def _recover_channel(self, name: bytes, damage: Damage) -> tuple[ChannelFiles, StoredChannel]:
        directory = self._channel_directory(name)
        failure: StoreError | None = None
        try:
            seal = self._seal.channels.get(name) if self._seal is not None and not self._replay_follows else None
            found = ChannelRecovery(directory, name, damage, seal, replay_follows=self._replay_follows).recover()
        except StoreError as error:
            if self._shared.options.strict:
                raise
            # The other channels are not to suffer: this one refuses everything until the next start.
            damage.tell(Severity.ERROR, f"Channel {quoted(name)} cannot be used: {error}", directory)
            found, failure = RecoveredChannel(), error
        channel = ChannelFiles(directory, name, self._shared, self._limits_of(name), found, failure)
        return channel, channel.stored(found)

    def settle(self, state: StoreState) -> None:
        """Call when everything newer was applied, to the files and to `state`, and before new messages come.

        Raises `last` of channels that have lost their last messages, so that no sequence is used twice.
        `state()` does this too.
        """
        for name, channel in self._channels.items():
            stored = state.channels.get(name)
            if stored is None:
                continue
            last = channel.settle()
            if last > stored.last:
                stored.last = last
                if not stored.count:
                    stored.first = last + 1

    def state(self) -> StoreState:
        """What holds now, settled; like what `recover` returns. Walks over all indexes."""
        for channel in self._channels.values():
            channel.settle()
        return StoreState(
            server=self._server.info,
            clients={client_id: replace(info) for client_id, info in self._clients.clients.items()},
            channels={name: channel.state() for name, channel in self._channels.items()},
        )

    def _new_damage(self, name: bytes | None) -> Damage:
        mended_from = None
        if self._replay_follows:
            mended_from = partial((self._seal or Seal(0, {})).safe_size, channel=name)
        return Damage(self._files, self._shared.options, self._shared.checksum, name, mended_from)

    # Channels.

    def channel(self, name: bytes) -> ChannelFiles | None:
        """The open channel, None when there is none of this name."""
        return self._channels.get(name)

    def create_channel(self, name: bytes) -> ChannelFiles:
        """The channel, made if it is not there."""
        with self._lock:
            known = self._channels.get(name)
            if known is not None:
                return known
            if (
                not name
                or b"/" in name
                or b"\0" in name
                or name in (b".", b"..")
                or os.fsdecode(os.sep).encode() in name
            ):
                raise StoreError(f"channel {quoted(name)} cannot be the name of a directory")
            directory = self._channel_directory(name)
            self._files.mkdir(directory)
            file = self._files.open_new(os.path.join(directory, SUBSCRIPTIONS_FILE))
            try:
                file.write(FILE_HEADER)
            finally:
                file.close()
            found = RecoveredChannel(subscriptions_size=FILE_HEADER_BYTES)
            channel = ChannelFiles(directory, name, self._shared, self._limits_of(name), found)
            channel.created()
            self._channels[name] = channel
            self._touched.add(name)
            self._directory_changed = True
            return channel

    def remove_channel(self, name: bytes) -> None:
        """Remove it with all it holds; unknown is fine."""
        with self._lock:
            channel = self._channels.pop(name, None)
            if channel is None:
                return
            self._seal_file.remove()  # it speaks of these files, and may be taken for the next channel of this name
            channel.release()
            self._touched.discard(name)
            directory = self._channel_directory(name)
            self._shared.pool.discard_below(directory)
            self._directory_changed = True
            self._files.remove_tree(directory)

    def _channel_directory(self, name: bytes) -> str:
        return os.path.join(self._directory, os.fsdecode(name))

    def _limits_of(self, name: bytes) -> ChannelLimits | None:
        return self._limits(name) if self._limits is not None else None

    # Server and clients.

    def put_server(self, info: ServerInfo) -> None:
        """Replace it, lasting on return; the same again writes nothing."""
        with self._lock:
            self._server.put(info)

    def put_client(self, info: ClientInfo) -> None:
        """Added or replaced; the same again writes nothing."""
        with self._lock:
            self._clients.put(info)

    def remove_client(self, client_id: bytes) -> None:
        """Unknown is fine."""
        with self._lock:
            self._clients.remove(client_id)

    # Batches.

    def apply(self, records: Iterable[Record]) -> None:
        """Apply one batch; applying it twice, or again from an earlier one on, changes nothing."""
        for record in records:
            match record:
                case Messages(name, segment, first, last):
                    self._touch(name).append(segment, first, last)
                case Sent(name, subscription_id, sequences):
                    self._touch(name).sent(subscription_id, sequences)
                case Acked(name, subscription_id, sequences):
                    self._touch(name).acked(subscription_id, sequences)
                case Trimmed(name, first):
                    self._touch(name).drop_until(first)
                case Deleted(name, sequences):
                    self._touch(name).delete(sequences)
                case ChannelCreated(name) | Settled(name, _):
                    self._touch(name)
                case ChannelRemoved(name):
                    self.remove_channel(name)
                case SubscriptionPut(name, state):
                    self._touch(name).put_subscription(state)
                case SubscriptionRemoved(name, subscription_id):
                    self._touch(name).remove_subscription(subscription_id)
                case ClientPut(info):
                    self.put_client(info)
                case ClientRemoved(client_id):
                    self.remove_client(client_id)
                case ServerPut(server):
                    self.put_server(server)

    def store(self, runs: Iterable[Messages]) -> None:
        """Append messages to channels that are there, lasting on return; nothing else need be.

        Raises:
            StoreError: nobody knows what of it is there; as for `sync`.
        """
        with self._sync_lock:
            channels = {self._touch(run.channel): None for run in runs}
            for run in runs:
                self._channels[run.channel].append(run.segment, run.first, run.last)
            self._sync_directory()
            for channel in channels:
                channel.sync_messages()

    @property
    def unsynced_channels(self) -> int:
        """How many channels the next `sync` concerns. Any thread."""
        return len(self._touched)

    def _touch(self, name: bytes) -> ChannelFiles:
        channel = self._channels.get(name) or self.create_channel(name)
        self._touched.add(name)
        return channel

    def flush(self) -> None:
        """Hand everything of every channel that changed over to the operating system."""
        self._each_touched(lambda channel: channel.flush(), forget=False)
        with self._lock:
            self._clients.log.flush()

    def sync(self) -> None:
        """Bring everything that changed since the last `sync` to stable storage.

        Raises:
            StoreError: at least one file failed; the others were done nevertheless. Apply everything
                since the last successful `sync` again, then `sync` again: what failed is rewritten.
        """
        with self._sync_lock:
            self._each_touched(lambda channel: channel.sync(), forget=True)
            with self._lock:
                self._clients.log.sync()
            self._sync_directory()
            if self._shared.options.strict and self._recovered:
                self._write_seal()

    def _sync_directory(self) -> None:
        if self._directory_changed:
            self._directory_changed = False
            try:
                self._files.sync_directory(self._directory)
            except StoreError:
                self._directory_changed = True
                raise

    def _each_touched(self, action: Callable[[ChannelFiles], None], *, forget: bool) -> None:
        failure: StoreError | None = None
        for name in list(self._touched):
            channel = self._channels.get(name)
            if forget:
                self._touched.discard(name)
            if channel is None:
                continue
            try:
                action(channel)
            except StoreError as error:
                if self._channels.get(name) is not channel:
                    continue  # removed meanwhile
                self._touched.add(name)
                failure = error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Flush, sync, close all and release the lock; writes nothing if `recover` did not succeed. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # What was not read must not be overwritten: a refused start leaves the directory as it was.
        failure = self._close_files() if self._recovered else None
        self._shared.archive.wait()
        self._shared.pool.close()
        self._root_lock.release()
        if failure is not None:
            raise failure

    def _close_files(self) -> StoreError | None:
        failure: StoreError | None = None
        try:
            self.sync()
        except StoreError as error:
            failure = error
        for channel in self._channels.values():
            try:
                channel.close()
            except StoreError as error:
                failure = error
        if failure is None:
            # It is a help for the next start and nothing else: without it that start compares nothing.
            with suppress(StoreError):
                self._write_seal()
        return failure

    def _write_seal(self) -> None:
        channels = {name: sealed for name, each in self._channels.items() if (sealed := each.seal()) is not None}
        seal = Seal(self._clients.log.size, channels)
        self._seal_file.write(seal)


def _is_header_error(error: CorruptionError) -> bool:
    """The original names a file without its directory when opening it failed, which checks the version."""
    text = str(error)
    return text.startswith(("unable to verify file version", "unsupported file version"))
