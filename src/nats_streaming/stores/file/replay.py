"""What a start does to a directory: the channel files are read and mended, then the journal is brought to them.

The store runs this, and so does whoever wants to see what a start would do (`inspection`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nats_streaming.errors import quoted
from nats_streaming.stores.batch import Messages, Record, decode_batch, encode_batch, settled_in
from nats_streaming.stores.file.findings import Finding, Severity
from nats_streaming.stores.file.journal import Journal
from nats_streaming.stores.file.rescue import Rescue
from nats_streaming.stores.file.root_files import RootFiles
from nats_streaming.stores.state import StoreState


@dataclass(slots=True)
class Replayed:
    """How it went.

    Attributes:
        state: what holds now, None when there is nothing; not settled yet if batches were replayed.
        batches: of the last run, brought to the channel files.
        touched: channels that were in them.
    """

    state: StoreState | None
    batches: int = 0
    touched: set[bytes] = field(default_factory=set)


def recover_and_replay(root: RootFiles, journal: Journal) -> Replayed:
    """Recover, then apply what the journal has; leaves the journal as it is, unless a Go server was here meanwhile.

    Raises:
        CorruptionError: only with the option `strict`.
        StoreError: a file cannot be read or written.
    """
    root.witness.open()
    is_there = journal.is_there()
    is_passed_over = is_there and not root.witness.is_ours()
    replayed = Replayed(root.recover(replay_follows=is_there and not is_passed_over))
    batches: Iterable[Sequence[Record]]
    if is_passed_over:
        found = (decode_batch(batch.payload) for batch in journal.replay())
        batches = _rescue(root, journal, replayed.state, found)
    else:
        batches = unsettled([batch.payload for batch in journal.replay()])
    for records in batches:
        root.apply(records)
        channels = (getattr(record, "channel", None) for record in records)
        replayed.touched.update(channel for channel in channels if channel is not None)
        replayed.batches += 1
    return replayed


def unsettled(encoded: Sequence[bytes]) -> Iterator[list[Record]]:
    """Decode batches of a journal, the oldest first, without messages that a later one says are settled."""
    said: dict[bytes, tuple[int, int]] = {}  # where it was said last, and up to which message
    for position, each in enumerate(encoded):
        said.update((note.channel, (position, note.last)) for note in settled_in(each) if note.last)
    for position, each in enumerate(encoded):
        records: list[Record] = []
        for record in decode_batch(each):
            if isinstance(record, Messages):
                at, last = said.get(record.channel, (0, 0))
                if at >= position:
                    record.first = max(record.first, last + 1)
                if record.first > record.last:
                    continue
            records.append(record)
        yield records


def _rescue(
    root: RootFiles, journal: Journal, state: StoreState | None, batches: Iterable[Sequence[Record]]
) -> list[list[Record]]:
    """What is to be applied of a journal that a Go server has passed over; from here on the journal has just that."""
    rescue = Rescue(root, state)
    for records in batches:
        rescue.take(records)
    if not journal.last:
        return []
    if state is not None:
        root.settle(state)  # sequences at the end that are holes count as used
    rescued = encode_batch(rescue.records())
    for path in journal.supersede(rescued):
        text = "Journal: a Go server has opened this directory since the last run ended without being closed."
        text += " What it wrote stays, and what only the journal has is stored beside it."
        root.findings.append(Finding(Severity.ERROR, f"{text} The journal is kept as {quoted(path)}", path, kept=path))
    root.findings += rescue.findings
    return [decode_batch(rescued)]
