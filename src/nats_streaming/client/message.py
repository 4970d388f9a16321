"""A message as the subscriber gets it."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nats_streaming.client.start_position import ns_datetime

if TYPE_CHECKING:
    from nats_streaming.client.subscription import Subscription


class Message:
    """One message of a channel.

    Attributes:
        subscription: what it came through.
        sequence: its number in the channel, from 1.
        data: the payload.
        time_ns: when the server stored it, in nanoseconds since 1970-01-01 UTC.
        redelivered: True when it may have been processed before: the server says so, or the client knows that it
            had it already.
        redelivery_count: the server's count of redeliveries; 0 also when only the client knows.
        reply: the reply subject of the publisher, "" for none.
    """

    __slots__ = (
        "data", "is_processed", "is_waiting", "redelivered", "redelivery_count", "reply", "sequence", "subscription",
        "time_ns",
    )  # fmt: skip

    def __init__(
        self,
        subscription: Subscription,
        sequence: int,
        data: bytes,
        time_ns: int,
        redelivered: bool,
        redelivery_count: int,
        reply: str,
    ) -> None:
        self.subscription = subscription
        self.sequence = sequence
        self.data = data
        self.time_ns = time_ns
        self.redelivered = redelivered
        self.redelivery_count = redelivery_count
        self.reply = reply
        # For the intake only: not taken yet; a repetition of what was acked.
        self.is_waiting = True
        self.is_processed = False

    @property
    def channel(self) -> str:
        return self.subscription.channel

    @property
    def time(self) -> datetime:
        """When the server stored it, in UTC, cut to microseconds; `time_ns` has it all."""
        return ns_datetime(self.time_ns)

    @property
    def timestamp_ns(self) -> int:
        """The same as `time_ns`, under the protocol's name."""
        return self.time_ns

    def ack(self) -> Coroutine[Any, Any, None]:
        """Tell the server that this message is processed. Acking twice does nothing.

        Waits while more acks wait to be sent than the connection's buffer takes. While the connection is being
        resumed the ack is remembered and sent afterwards.

        Raises:
            SubscriptionClosed: nobody takes an ack for this subscription any more.
        """
        return self.subscription.ack(self)

    def ack_nowait(self) -> None:
        """As `ack`, without waiting, for callbacks that are plain functions."""
        self.subscription.ack_nowait(self)

    def __repr__(self) -> str:
        again = f", redelivered {self.redelivery_count}" if self.redelivered else ""
        return f"<Message {self.channel}:{self.sequence}, {len(self.data)} bytes{again}>"
