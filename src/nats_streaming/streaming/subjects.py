"""The NATS subjects of one streaming server, and the IDs under which it subscribes to them."""

from __future__ import annotations

from collections.abc import Sequence

from nats_streaming.protocol.control_messages import ServerInfo
from nats_streaming.protocol.subjects import PatternSet, covers
from nats_streaming.streaming.nuid import new_nuid

SID_PUBLISH = 1
SID_ACK = 2
SID_REPLY = 3
SID_CONNECT = 4
SID_PING = 5
SID_SUBSCRIBE = 6
SID_UNSUBSCRIBE = 7
SID_SUBSCRIPTION_CLOSE = 8
SID_CLOSE = 9
SID_RECOVERED = 100  # and above: ack inboxes of an earlier run, one each
SID_PARTITION = 1 << 25  # and above: publishes to the channels of a partition, one each; 1 << 26 is the reader's limit


def new_server_info(cluster_id: bytes, discover_prefix: bytes) -> ServerInfo:
    """The subjects of a server that starts for the first time. They hold the cluster ID only."""
    return ServerInfo(
        cluster_id=cluster_id,
        discovery=discover_prefix + b"." + cluster_id,
        publish=b"_STAN.pub." + cluster_id,
        subscribe=b"_STAN.sub." + cluster_id,
        unsubscribe=b"_STAN.unsub." + cluster_id,
        close=b"_STAN.close." + cluster_id,
        subscription_close=b"_STAN.subclose." + cluster_id,
        acks_subjects=b"_STAN.ack." + cluster_id,
    )


class Subjects:
    """What to subscribe to, from the recorded server information.

    Attributes:
        ack_prefix: ack inboxes are this and a token: one wildcard subscription serves all of them.
        reply_prefix: replies to our own requests (heartbeats, probes) likewise.
    """

    def __init__(self, info: ServerInfo) -> None:
        self.info = info
        self.pings = info.discovery + b".pings"
        self.ack_prefix = b"_INBOX." + new_nuid() + b"."
        self.reply_prefix = b"_INBOX." + new_nuid() + b"."
        self.partition_queue = new_nuid()

    def internal(self) -> list[tuple[bytes, int]]:
        """Subjects that must be there before clients are served."""
        return [(self.ack_prefix + b"*", SID_ACK), (self.reply_prefix + b"*", SID_REPLY)]

    def publishes(self, partition: Sequence[bytes] = ()) -> list[tuple[bytes, int, bytes]]:
        """Subjects on which messages are published to us: each with its ID, and a queue name or b"".

        Args:
            partition: the only channels, or patterns of them, that may be published to; empty for all.
        """
        root = self.info.publish
        if not partition:
            return [(root + b".>", SID_PUBLISH, b"")]
        # A message that two subscriptions match would come twice: the narrower one goes, and where neither is
        # narrower (`a.*` and `*.b`) a queue lets NATS choose one.
        members = PatternSet(partition)
        found = []
        for number, pattern in enumerate(partition):
            others = [other for other in members.all_overlapping(pattern) if other != pattern]
            if not any(covers(other, pattern) for other in others):
                queue = self.partition_queue if any(not covers(pattern, other) for other in others) else b""
                found.append((root + b"." + pattern, SID_PARTITION + number, queue))
        return found

    def requests(self) -> list[tuple[bytes, int]]:
        """Other subjects on which clients reach us; connect comes last, so that nobody connects too early."""
        info = self.info
        return [
            (self.pings, SID_PING),
            (info.subscribe, SID_SUBSCRIBE),
            (info.unsubscribe, SID_UNSUBSCRIBE),
            (info.subscription_close, SID_SUBSCRIPTION_CLOSE),
            (info.close, SID_CLOSE),
            (info.discovery, SID_CONNECT),
        ]
