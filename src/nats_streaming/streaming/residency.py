"""Which messages stay in memory, when the store can give them again.

Two bounds over all channels: on the recent messages, which the engine has because they passed through
it, and on those read back from the store. Off the path of a single message: called per batch and read.
"""

from __future__ import annotations

from collections import OrderedDict

from nats_streaming.stores.segment import Segment
from nats_streaming.streaming.channel import Channel


class Residency:
    """One per engine. A channel that was published to least recently loses its messages first."""

    def __init__(self, recent_bytes: int, lent_bytes: int) -> None:
        """
        Args:
            recent_bytes: of what was published, 0 for no bound: then nothing is ever evicted.
            lent_bytes: of what was read back. One segment is always kept, however large.
        """
        self.recent_bytes = recent_bytes
        self.lent_bytes = lent_bytes
        self._recent: OrderedDict[Channel, int] = OrderedDict()
        self._recent_total = 0
        self._lent: OrderedDict[tuple[Channel, int], tuple[Segment, int]] = OrderedDict()
        self._lent_total = 0

    def grown(self, channel: Channel) -> None:
        """A batch of this channel is durable."""
        if not self.recent_bytes:
            return
        self._recent_total += channel.window.resident - self._recent.pop(channel, 0)
        self._recent[channel] = channel.window.resident
        while self._recent_total > self.recent_bytes and self._recent:
            oldest, known = self._recent.popitem(last=False)
            excess = self._recent_total - self.recent_bytes
            oldest.window.evict(max(0, oldest.window.resident - excess))
            self._recent_total += oldest.window.resident - known
            if oldest.window.resident:
                self._recent[oldest] = oldest.window.resident
                self._recent.move_to_end(oldest, last=False)
                if oldest.window.resident == known:
                    break  # all that is left of it is staged

    def lend(self, channel: Channel, sequence: int, segment: Segment | None) -> Segment:
        """Let a window have a segment that was read for `sequence`; the one lent longest ago goes for it."""
        lent = channel.window.lend(sequence, segment)
        known = self._lent.pop((channel, lent.base), None)
        if known is not None:
            channel.window.give_back(known[0])
            self._lent_total -= known[1]
        cost = lent.buffer.used + 16 * len(lent)
        self._lent[(channel, lent.base)] = (lent, cost)
        self._lent_total += cost
        while self._lent_total > self.lent_bytes and len(self._lent) > 1:
            (owner, _), (oldest, cost) = self._lent.popitem(last=False)
            owner.window.give_back(oldest)
            self._lent_total -= cost
        return lent

    def forget(self, channel: Channel) -> None:
        """The channel is deleted."""
        self._recent_total -= self._recent.pop(channel, 0)
        for key in [key for key in self._lent if key[0] is channel]:
            self._lent_total -= self._lent.pop(key)[1]
