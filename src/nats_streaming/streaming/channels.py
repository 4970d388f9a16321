"""All channels of the server: creation and its rules, expiry by age, deletion after inactivity."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nats_streaming.clock import duration_text
from nats_streaming.errors import ReplyText, RequestError, channel_case_clash, quoted
from nats_streaming.stores.batch import ChannelCreated, ChannelRemoved, Trimmed
from nats_streaming.stores.limits import ChannelLimits, bytes_text
from nats_streaming.streaming.channel import Channel
from nats_streaming.streaming.context import Context

_log = logging.getLogger("nats_streaming")


class Channels:
    """Invariant: no two channels have names that differ only by case."""

    def __init__(self, context: Context, by_name: dict[bytes, Channel], on_removed: Callable[[Channel], None]) -> None:
        """
        Args:
            by_name: the inlet's table, shared with it.
            on_removed: called when a channel is deleted, to end what hangs on it.
        """
        self._context = context
        self._on_removed = on_removed
        self.by_name = by_name
        self._by_lower_name: dict[bytes, bytes] = {}

    def open(self, name: bytes) -> Channel:
        """The channel of a valid name, created if there is none.

        Raises:
            RequestError: too many channels, a clash of case, or the channel is being deleted.
        """
        channel = self.by_name.get(name)
        if channel is not None:
            if channel.being_deleted:
                raise RequestError(ReplyText.CHANNEL_BEING_DELETED)
            return channel
        lower = lower_case(name)
        existing = self._by_lower_name.get(lower)
        if existing is not None:
            raise channel_case_clash(name, existing)
        fault = self._context.name_fault("channel name", name)
        if not fault and self._context.capabilities.name_bytes_max and not is_text(name):
            fault = "channel name is not UTF-8, or has a NUL: the store cannot keep it"
        if fault:
            raise RequestError(fault)
        options = self._context.options
        if options.max_channels and len(self.by_name) >= options.max_channels:
            _log.error("Creating channel %s failed: %s", quoted(name), ReplyText.TOO_MANY_CHANNELS)
            raise RequestError(ReplyText.TOO_MANY_CHANNELS)
        channel = Channel(name, self._limits_for(name), self._context.capabilities.message_overhead_bytes)
        self.by_name[name] = channel
        self._by_lower_name[lower] = name
        channel.last_publish_ns = self._context.now_ns
        self._context.cycle.records.append(ChannelCreated(name))
        _log.info("Channel %s has been created", quoted(name))
        self.watch_inactivity(channel)
        return channel

    def restore(self, name: bytes) -> Channel:
        """A channel of an earlier run; there may be more of them than are allowed now."""
        channel = Channel(name, self._limits_for(name), self._context.capabilities.message_overhead_bytes)
        self.by_name[name] = channel
        self._by_lower_name[lower_case(name)] = name
        channel.last_publish_ns = self._context.now_ns
        return channel

    # Retention.

    def on_limits_applied(self, channel: Channel, first: int) -> None:
        """Messages of a channel are durable and its limits were applied to them, before anybody gets them.

        Needed when the channel's messages expire or a limit was reached.

        Args:
            first: the oldest message before that.
        """
        window = channel.window
        if self._context.capabilities.recoverable:
            # Now, not with the next message: there may be none before the server ends.
            self._stage_trim(channel, first)
        if window.is_over_limit():
            self._want_front(channel)
        if window.dropped_by_limit:
            self.report_limit(channel)
        self.watch_expiry(channel)

    def _want_front(self, channel: Channel, *, quiet: bool = False) -> None:
        """The oldest messages must be in memory before they can be dropped: their sizes and times count."""
        if not channel.front_wanted:
            channel.front_wanted = True
            self._context.delivery.want_read(channel, channel.window.first, Retention(self, channel, quiet))

    def retain(self, channel: Channel, *, quiet: bool) -> None:
        """Drop what the limits say, after a restart or when the oldest messages have been read.

        Args:
            quiet: log nothing; the limits were lowered while the server was down.
        """
        channel.front_wanted = False
        window = channel.window
        first = window.first
        window.apply_limits()
        if window.is_over_limit():
            self._want_front(channel, quiet=quiet)
        if quiet:
            window.dropped_by_limit = False
        elif window.dropped_by_limit:
            self.report_limit(channel)
        if channel.limits.max_age_ns and channel.expiry_timer is None:
            self._expire(channel)
        self._stage_trim(channel, first)

    def _stage_trim(self, channel: Channel, first_before: int) -> None:
        first = channel.window.first
        if first != first_before and first > channel.trimmed_to:
            channel.trimmed_to = first
            self._context.cycle.records.append(Trimmed(channel.name, first))

    def watch_expiry(self, channel: Channel) -> None:
        """Arm the timer for the oldest message, if messages expire and none is armed."""
        max_age_ns = channel.limits.max_age_ns
        window = channel.window
        if not max_age_ns or channel.expiry_timer is not None or window.first > window.committed:
            return
        context = self._context
        if window.find(window.first) is None:
            self._want_front(channel)
            return
        due_wall_ns = channel.window.first_timestamp_ns() + max_age_ns
        wait_ns = max(0, due_wall_ns - context.wall_ns)
        channel.expiry_timer = context.timers.at(context.now_ns + wait_ns, self._expire, channel)

    def _expire(self, channel: Channel) -> None:
        channel.expiry_timer = None
        window = channel.window
        oldest_ns = self._context.wall_ns - channel.limits.max_age_ns
        first = window.first
        while window.first <= window.committed and window.find(window.first) is not None:
            if window.first_timestamp_ns() > oldest_ns:
                break
            window.drop_first()
        self._stage_trim(channel, first)
        self.watch_expiry(channel)

    def report_limit(self, channel: Channel) -> None:
        """Warn once per channel that old messages were dropped."""
        window = channel.window
        if not window.dropped_by_limit or channel.limit_reported:
            return
        channel.limit_reported = True
        limits = channel.limits
        _log.warning(
            "Reached limits for store %s (msgs=%d/%d bytes=%s/%s), dropping old messages to make room for new ones",
            quoted(channel.name),
            window.durable_count(),
            limits.max_messages,
            bytes_text(window.durable_bytes()),
            bytes_text(limits.max_bytes),
        )

    # Inactivity.

    def watch_inactivity(self, channel: Channel) -> None:
        """Start the clock of a channel that nobody subscribes to."""
        interval_ns = channel.limits.max_inactivity_ns
        if not interval_ns or channel.inactivity_timer is not None or is_active(channel):
            return
        self._arm_inactivity(channel, interval_ns)

    def _limits_for(self, name: bytes) -> ChannelLimits:
        return self._context.options.limits.for_channel(name)

    def _arm_inactivity(self, channel: Channel, wait_ns: int) -> None:
        channel.inactivity_timer = self._context.timers.at(self._context.now_ns + wait_ns, self._inactive, channel)
        _log.debug("Channel %s delete timer set to fire in %s", quoted(channel.name), duration_text(wait_ns))

    def stop_inactivity(self, channel: Channel) -> None:
        """Somebody wants to subscribe."""
        if channel.inactivity_timer is not None:
            channel.inactivity_timer.cancel()
            channel.inactivity_timer = None
            _log.debug("Channel %s delete timer stopped", quoted(channel.name))

    def _inactive(self, channel: Channel) -> None:
        channel.inactivity_timer = None
        if is_active(channel) or channel.being_deleted:
            return
        idle_ns = self._context.now_ns - channel.last_publish_ns
        interval_ns = channel.limits.max_inactivity_ns
        if channel.staged_from or idle_ns < interval_ns:
            self._arm_inactivity(channel, interval_ns if channel.staged_from else interval_ns - idle_ns)
            return
        self.delete(channel)

    def delete(self, channel: Channel) -> None:
        """Delete a channel with all it holds; it is gone once the deletion is committed."""
        _log.debug("Channel %s is being deleted", quoted(channel.name))
        channel.being_deleted = True
        self._context.inlet.forget_identities()
        cycle = self._context.cycle
        cycle.records.append(ChannelRemoved(channel.name))
        cycle.on_end(lambda: self._deleted(channel), lambda text: self._not_deleted(channel, text))

    def _deleted(self, channel: Channel) -> None:
        channel.removed = True
        channel.reading = {}
        self._context.residency.forget(channel)
        del self.by_name[channel.name]
        del self._by_lower_name[lower_case(channel.name)]
        if channel.expiry_timer is not None:
            channel.expiry_timer.cancel()
        self._on_removed(channel)
        _log.info("Channel %s has been deleted", quoted(channel.name))

    def _not_deleted(self, channel: Channel, text: str) -> None:
        channel.being_deleted = False
        _log.error("Error deleting channel %s: %s", quoted(channel.name), text)
        self.watch_inactivity(channel)


class Retention:
    """Limits that wait for the oldest messages of a channel to be read."""

    def __init__(self, channels: Channels, channel: Channel, quiet: bool) -> None:
        self._channels = channels
        self._channel = channel
        self._quiet = quiet

    def go_on(self) -> None:
        self._channels.retain(self._channel, quiet=self._quiet)


def is_active(channel: Channel) -> bool:
    """Whether anybody is subscribed now; durables that are offline do not count."""
    return bool(channel.by_inbox)


def is_text(name: bytes) -> bool:
    """Whether every database takes it as text."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in name


def lower_case(name: bytes) -> bytes:
    """A name folded for comparison; bytes that are no UTF-8 stay as they are."""
    return name.decode("utf-8", "surrogateescape").lower().encode("utf-8", "surrogateescape")
