"""When a file of records is worth writing anew.

Source: stores specification, sections 2.4 and 2.5.
"""

from __future__ import annotations

from nats_streaming.clock import Clock
from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.stores.file.options import FileOptions


class CompactionRule:
    """One file's: thresholds, and when it was done last."""

    def __init__(self, options: FileOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._last_ns: int | None = None

    def is_due(self, written_bytes: int, records: int, freed: int) -> bool:
        """
        Args:
            written_bytes: of the file without its header.
            records: all that count.
            freed: those of them that are void.
        """
        options = self._options
        if not options.compact_enabled or written_bytes < options.compact_min_size:
            return False
        percentage = freed * 100 // records if records else 100
        if percentage < options.compact_frag:
            return False
        now_ns = self._clock.monotonic_ns()
        return self._last_ns is None or now_ns - self._last_ns >= options.compact_interval_seconds * NS_PER_SECOND

    def done(self) -> None:
        self._last_ns = self._clock.monotonic_ns()
