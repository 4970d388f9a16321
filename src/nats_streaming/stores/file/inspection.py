"""Looks into a directory of the FILE store without changing it: what is there, is it sound, what would a start do.

The store's own recovery runs over an `OverlayFiles`, so the answer to "what would a start do" is what it did
there. Recovery trusts indexes, so every message is read after it. The directory is locked against servers
meanwhile; what changes nevertheless (the Go server takes no lock) is told.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from nats_streaming.errors import CorruptionError, StoreError, quoted
from nats_streaming.protocol.control_messages import ClientInfo, ServerInfo, SubscriptionState
from nats_streaming.protocol.protobuf import FIELD, FieldReader
from nats_streaming.stores.file.channel_files import ChannelFiles
from nats_streaming.stores.file.findings import CorruptMessageError, Finding, Severity
from nats_streaming.stores.file.journal import Journal
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.overlay import Change, OverlayFiles
from nats_streaming.stores.file.replay import recover_and_replay
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.file.root_lock import kept_from_servers
from nats_streaming.stores.segment import Segment
from nats_streaming.stores.state import StoredChannel, StoreState

DAMAGES_TOLD = 100
"""Damaged messages per channel that are listed; all are counted."""

_READ_COUNT = 1 << 13
_DATA_FIELD = 4
_ENCRYPTED_BYTES_MIN = 29  # marker, nonce and tag (stores.encrypted)
_MARKERS = (1, 2)
_ROOT_NAMES = ("server.dat", "clients.dat", "sizes.stan")
_log = logging.getLogger("nats_streaming")

Progress = Callable[[bytes, int, int], None]
"""Called with the channel, the messages read of it so far, and how many it has."""


@dataclass(slots=True)
class SubscriptionReport:
    """One subscription as it is stored.

    Attributes:
        state: its record.
        pending: messages sent and not acked.
    """

    state: SubscriptionState
    pending: int


@dataclass(slots=True)
class DamagedMessage:
    """A message that cannot be given back; a server skips it when it comes to it."""

    sequence: int
    file: str
    offset: int
    reason: str


@dataclass(slots=True)
class ChannelReport:
    """One channel, as a start would find it.

    Attributes:
        first, last: sequences; `last + 1` and `last` when every message has gone, 0 and 0 before the first.
        messages: that exist.
        stored_bytes: of them, encoded.
        file_bytes: of the channel's files now.
        first_ns, last_ns: timestamps of the oldest and the newest message, 0 if there is none.
        encrypted: messages whose payload looks encrypted.
        decrypted: of those, how many a key was tried on with success.
        subscriptions: by ID.
        damaged: the first `DAMAGES_TOLD` of `damaged_count`.
    """

    name: bytes
    first: int = 0
    last: int = 0
    messages: int = 0
    stored_bytes: int = 0
    file_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    encrypted: int = 0
    decrypted: int = 0
    subscriptions: list[SubscriptionReport] = field(default_factory=list)
    damaged: list[DamagedMessage] = field(default_factory=list)
    damaged_count: int = 0


@dataclass(slots=True)
class Inspection:
    """What was found.

    Attributes:
        directory: that was looked at.
        server: who wrote it, None if nobody has or the file is lost.
        clients: registered when it stopped.
        channels: by name.
        journal_batches: commits that a start would bring to the channel files.
        findings: what recovery said, and what was found beside it.
        changes: what recovery would do to the files.
        refusal: what a start with the option `strict`, which stops at damage as the Go server does, fails with;
            "" if it would start.
        changed_meanwhile: files that changed while they were looked at: somebody uses the directory.
    """

    directory: str
    server: ServerInfo | None = None
    clients: list[ClientInfo] = field(default_factory=list)
    channels: list[ChannelReport] = field(default_factory=list)
    journal_batches: int = 0
    findings: list[Finding] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refusal: str = ""
    changed_meanwhile: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether everything that was stored can be given back."""
        errors = any(finding.severity is Severity.ERROR for finding in self.findings)
        return not errors and not any(channel.damaged_count for channel in self.channels)


def inspect_store(
    directory: str,
    *,
    options: FileOptions | None = None,
    master: bytes | None = None,
    on_progress: Progress | None = None,
) -> Inspection:
    """Look into a directory; reads all of it, and writes nothing there.

    Args:
        directory: of the store.
        options: of the store, for its checksum polynomial; the directory in them does not count.
        master: key to try on encrypted messages (`stores.encrypted.master_key`), None if there is none.
        on_progress: told now and then.

    Raises:
        DirectoryInUseError: a server is running on it.
        StoreError: it is no directory of a FILE store, or cannot be read.
    """
    refuse_other_directories(directory)
    given = replace(options or FileOptions(), directory=directory, sync=False, truncate_bad_eof=False, strict=False)
    given.slice_archive_script = ""
    with kept_from_servers(directory):
        before = _snapshot(directory)
        inspection = _inspect(given, master, on_progress)
        inspection.refusal = _refusal(replace(given, strict=True))
        after = _snapshot(directory)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    inspection.changed_meanwhile = sorted(changed)
    return inspection


def refuse_other_directories(directory: str) -> None:
    """
    Raises:
        StoreError: it does not look like the directory of a FILE store.
    """
    if not os.path.isdir(directory):
        reason = "is a file" if os.path.exists(directory) else "does not exist"
        raise StoreError(f"{directory} {reason}: name the directory that the server was given with -dir")
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise StoreError(f"{directory} cannot be read: {error.strerror}") from error
    if any(name in _ROOT_NAMES or name.startswith("journal.") for name in names):
        return
    if any(_looks_like_channel(os.path.join(directory, name)) for name in names):
        return
    text = f"{directory} holds no FILE store: there is neither server.dat nor a channel in it"
    if any(name == "subs.dat" or name.startswith("msgs.") for name in names):
        text = f"{directory} is one channel of a FILE store: name the directory above it"
    raise StoreError(text)


def _looks_like_channel(path: str) -> bool:
    if not os.path.isdir(path):
        return False
    try:
        return any(name == "subs.dat" or name.startswith("msgs.") for name in os.listdir(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _snapshot(directory: str) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    found: dict[str, tuple[int, int]] = {}
    for place, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(place, name)
            with suppress(FileNotFoundError):  # gone since it was listed: its absence will differ
                status = os.stat(path)
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def _inspect(options: FileOptions, master: bytes | None, on_progress: Progress | None) -> Inspection:
    inspection = Inspection(options.directory)
    with _opened(options) as (root, journal, files, journal_findings):
        replayed = recover_and_replay(root, journal)
        state = replayed.state
        if replayed.batches:
            state = root.state()
        elif state is not None:
            root.settle(state)
        inspection.journal_batches = replayed.batches
        inspection.findings = [*root.findings, *journal_findings]
        journal.cut(journal.last)
        root.flush()
        inspection.changes = files.changes()
        if state is not None:
            _report(inspection, root, state, master, on_progress)
    return inspection


@contextmanager
def _opened(options: FileOptions) -> Iterator[tuple[RootFiles, Journal, OverlayFiles, list[Finding]]]:
    """The directory under an overlay, and what the journal says meanwhile."""
    journal_findings: list[Finding] = []
    with ExitStack() as stack:
        files = OverlayFiles()
        stack.callback(files.close)
        stack.enter_context(_collected(journal_findings))
        root = RootFiles(options.directory, options, files)
        stack.callback(root.close)
        yield root, Journal(options.directory, files, sync=False, strict=options.strict), files, journal_findings


@contextmanager
def _collected(findings: list[Finding]) -> Iterator[None]:
    """Take what goes to the log meanwhile, which is how the journal tells what it finds."""
    handler = _Collector(findings)
    propagates, _log.propagate = _log.propagate, False
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.propagate = propagates


class _Collector(logging.Handler):
    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self._findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        severity = Severity.ERROR if record.levelno >= logging.ERROR else Severity.WARNING
        self._findings.append(Finding(severity, record.getMessage()))


def _refusal(options: FileOptions) -> str:
    with _opened(options) as (root, journal, _, _):
        try:
            recover_and_replay(root, journal)
        except StoreError as error:
            return str(error)
    return ""


# What it holds.


def _report(
    inspection: Inspection, root: RootFiles, state: StoreState, master: bytes | None, on_progress: Progress | None
) -> None:
    inspection.server = state.server
    inspection.clients = [state.clients[client_id] for client_id in sorted(state.clients)]
    for name, stored in sorted(state.channels.items()):
        report = ChannelReport(
            name,
            stored.first,
            stored.last,
            stored.count,
            stored.size,
            _file_bytes(os.path.join(inspection.directory, os.fsdecode(name))),
        )
        inspection.channels.append(report)
        files = root.channel(name)
        assert files is not None
        try:
            _read_messages(report, files, master, on_progress)
        except StoreError as error:
            text = f"Channel {quoted(name)} cannot be read further: {error}"
            inspection.findings.append(Finding(Severity.ERROR, text, channel=name))
        _report_subscriptions(inspection, report, stored)


def _file_bytes(directory: str) -> int:
    if not os.path.isdir(directory):
        return 0
    return sum(entry.stat().st_size for entry in os.scandir(directory) if entry.is_file())


def _report_subscriptions(inspection: Inspection, report: ChannelReport, stored: StoredChannel) -> None:
    for subscription_id, subscription in sorted(stored.subscriptions.items()):
        report.subscriptions.append(SubscriptionReport(subscription.state, len(subscription.pending)))
        furthest = max(subscription.state.last_sent, *subscription.pending, 0)
        if furthest > stored.last:
            text = (
                f"Channel {quoted(report.name)}: subscription {subscription_id} was sent message {furthest},"
                f" and the channel ends at {stored.last}: messages at its end are lost"
            )
            inspection.findings.append(Finding(Severity.ERROR, text, channel=report.name))


def _read_messages(
    report: ChannelReport, files: ChannelFiles, master: bytes | None, on_progress: Progress | None
) -> None:
    payloads = _Payloads(report, master)
    read = 0
    sequence = report.first
    while 0 < sequence <= report.last:
        try:
            segment = files.read(sequence, _READ_COUNT)
        except CorruptMessageError as error:
            _add_damage(report, DamagedMessage(error.sequence, error.file, error.offset, str(error)))
            sequence = max(sequence, error.sequence) + 1
            continue
        if segment is None:
            break
        read += payloads.take(segment)
        sequence = segment.base + len(segment)
        if on_progress is not None:
            on_progress(report.name, read, report.messages)


def _add_damage(report: ChannelReport, damaged: DamagedMessage) -> None:
    report.damaged_count += 1
    if len(report.damaged) < DAMAGES_TOLD:
        report.damaged.append(damaged)


class _Payloads:
    """Looks at the payloads of one channel: which are encrypted, and whether the key is theirs."""

    def __init__(self, report: ChannelReport, master: bytes | None) -> None:
        self._report = report
        self._reader = FieldReader()
        self._decrypt: Callable[[bytes], bytes] | None = None
        if master is not None:
            # The library costs as much to load as the rest of the tool.
            from nats_streaming.stores.encrypted import decryptor

            self._decrypt = decryptor(report.name, master)

    def take(self, segment: Segment) -> int:
        """Look at all messages of a segment; returns how many there are."""
        report = self._report
        count = 0
        for sequence, timestamp_ns, message in segment.messages(segment.base, segment.base + len(segment) - 1):
            count += 1
            report.first_ns = report.first_ns or timestamp_ns
            report.last_ns = max(report.last_ns, timestamp_ns)
            data = self._payload(message)
            if len(data) < _ENCRYPTED_BYTES_MIN or data[0] not in _MARKERS:
                continue
            report.encrypted += 1
            if self._decrypt is not None and not self._can_decrypt(data):
                reason = f"message {sequence} cannot be decrypted"
                _add_damage(report, DamagedMessage(sequence, "", 0, reason))
        return count

    def _payload(self, message: bytes) -> bytes:
        reader = self._reader
        reader.open(message, 0, len(message))
        while reader.next_field() == FIELD:
            if reader.number == _DATA_FIELD:
                return message[reader.start : reader.stop]
        return b""

    def _can_decrypt(self, data: bytes) -> bool:
        assert self._decrypt is not None
        try:
            self._decrypt(data)
        except CorruptionError:
            return False
        self._report.decrypted += 1
        return True
