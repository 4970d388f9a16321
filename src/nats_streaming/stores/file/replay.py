"""What a start does to a directory: the channel files are read and mended, then the journal is brought to them.

The store runs this, and so does whoever wants to see what a start would do (`inspection`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nats_streaming.stores.batch import decode_batch
from nats_streaming.stores.file.journal import Journal
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
    """Recover, then apply what the journal has; leaves the journal as it is.

    Raises:
        CorruptionError: only with the option `strict`.
        StoreError: a file cannot be read or written.
    """
    replayed = Replayed(root.recover(replay_follows=journal.is_there()))
    for batch in journal.replay():
        records = decode_batch(batch.payload)
        root.apply(records)
        channels = (getattr(record, "channel", None) for record in records)
        replayed.touched.update(channel for channel in channels if channel is not None)
        replayed.batches += 1
    return replayed
