"""The registered clients, `clients.dat`.

    type  meaning              payload
    1     added, or replaced   ClientInfo
    2     removed              1 client ID bytes

Source: stores specification, section 2.4.
"""

from __future__ import annotations

from dataclasses import replace

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.control_messages import ClientInfo, encode
from nats_streaming.stores.file.compaction import CompactionRule
from nats_streaming.stores.file.record import Checksum, put_record
from nats_streaming.stores.file.record_log import RecordLog

FILE_NAME = "clients.dat"
ADDED, REMOVED = 1, 2
KIND_MAX = REMOVED


class ClientsFile:
    """Who is registered. Not thread-safe: the root has the lock.

    Attributes:
        clients: by ID.
        removed: removals in the file.
    """

    def __init__(self, rule: CompactionRule, checksum: Checksum) -> None:
        self._rule = rule
        self._checksum = checksum
        self.clients: dict[bytes, ClientInfo] = {}
        self.removed = 0

    def attach(self, log: RecordLog) -> None:
        """Say where records go; before anything else."""
        self.log = log

    def image(self, out: ByteBuffer) -> None:
        for info in self.clients.values():
            put_record(out, ADDED, encode(info), self._checksum)

    def put(self, info: ClientInfo) -> None:
        """Added or replaced; the same again writes nothing."""
        if self.clients.get(info.id) == info:
            return
        self.clients[info.id] = replace(info)
        self.log.put(ADDED, encode(info))

    def remove(self, client_id: bytes) -> None:
        if self.clients.pop(client_id, None) is None:
            return
        self.removed += 1
        self.log.put(REMOVED, removal(client_id))
        if self._rule.is_due(self.log.size - 4, self.removed + len(self.clients), self.removed):
            self.log.rewrite()
            self.removed = 0
            self._rule.done()


def removal(client_id: bytes) -> bytes:
    """Payload of type 2."""
    out = ByteBuffer(len(client_id) + 8)
    out.put_byte(0x0A)
    out.put_varint(len(client_id))
    out.put(client_id)
    return out.take()
