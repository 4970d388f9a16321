"""The asyncio client of NATS Streaming, for this server and the Go server alike.

    from nats_streaming.client import connect

    async with connect("test-cluster", "orders-1", servers="nats://127.0.0.1:4222") as stan:
        await stan.publish("orders", b"one espresso")

`blocking` has the same for threads and scripts. What is named here is public; the rest may change without notice.
"""

from nats_streaming.client.client import Client
from nats_streaming.client.connecting import Connecting, connect
from nats_streaming.client.message import Message
from nats_streaming.client.publisher import PendingPublish, PublishAck
from nats_streaming.client.start_position import AtTime, Sequence, Since, Start
from nats_streaming.client.subscription import Subscription
from nats_streaming.client.supervisor import Resumed
from nats_streaming.errors import (
    AckTimeout,
    ClientError,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    NoResponse,
    PublishError,
    SubscriptionClosed,
    SubscriptionError,
)

__all__ = [
    "AckTimeout",
    "AtTime",
    "Client",
    "ClientError",
    "ConnectError",
    "Connecting",
    "ConnectionClosed",
    "ConnectionLost",
    "Message",
    "NoResponse",
    "PendingPublish",
    "PublishAck",
    "PublishError",
    "Resumed",
    "Sequence",
    "Since",
    "Start",
    "Subscription",
    "SubscriptionClosed",
    "SubscriptionError",
    "connect",
]
