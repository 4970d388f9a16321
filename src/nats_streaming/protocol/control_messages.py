"""The STAN messages of the control plane as dataclasses, with one codec for all of them.

Every string of the protocol is `bytes` here: the original never checks for UTF-8, and what a client
sends must come back unchanged. A message equal to its defaults encodes to nothing, as in proto3.

Source: NATS Streaming protocol (client messages) and the server's own records (ServerInfo,
ClientInfo, SubState), which the file and SQL stores hold in this encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from nats_streaming.byte_buffer import ByteBuffer
from nats_streaming.protocol.protobuf import END, FIELD, LENGTH, VARINT, FieldReader, to_signed, to_signed32

M = TypeVar("M")

BYTES, INT32, INT64, UINT64, BOOL = range(5)


@dataclass(slots=True)
class ConnectRequest:
    client_id: bytes = b""
    heartbeat_inbox: bytes = b""
    protocol: int = 0
    connection_id: bytes = b""
    ping_interval: int = 0
    ping_max_out: int = 0


@dataclass(slots=True)
class ConnectResponse:
    publish_prefix: bytes = b""
    subscribe_requests: bytes = b""
    unsubscribe_requests: bytes = b""
    close_requests: bytes = b""
    error: bytes = b""
    subscription_close_requests: bytes = b""
    ping_requests: bytes = b""
    ping_interval: int = 0
    ping_max_out: int = 0
    protocol: int = 0
    public_key: bytes = b""


@dataclass(slots=True)
class Ping:
    connection_id: bytes = b""


@dataclass(slots=True)
class ErrorResponse:
    """PingResponse and CloseResponse, which both have nothing but field 1, error."""

    error: bytes = b""


@dataclass(slots=True)
class PubAck:
    guid: bytes = b""
    error: bytes = b""


@dataclass(slots=True)
class SubscriptionRequest:
    client_id: bytes = b""
    subject: bytes = b""
    queue_group: bytes = b""
    inbox: bytes = b""
    max_in_flight: int = 0
    ack_wait_seconds: int = 0
    durable_name: bytes = b""
    start_position: int = 0
    start_sequence: int = 0
    start_time_delta_ns: int = 0


@dataclass(slots=True)
class SubscriptionResponse:
    ack_inbox: bytes = b""
    error: bytes = b""


@dataclass(slots=True)
class UnsubscribeRequest:
    client_id: bytes = b""
    subject: bytes = b""
    inbox: bytes = b""
    durable_name: bytes = b""


@dataclass(slots=True)
class CloseRequest:
    client_id: bytes = b""


@dataclass(slots=True)
class ControlMessage:
    """CtrlMsg, what servers of one cluster ID say to each other."""

    kind: int = 0
    server_id: bytes = b""
    data: bytes = b""
    reference_id: bytes = b""


@dataclass(slots=True)
class ServerInfo:
    """The subjects a server was first started with: they win over later configuration."""

    cluster_id: bytes = b""
    discovery: bytes = b""
    publish: bytes = b""
    subscribe: bytes = b""
    unsubscribe: bytes = b""
    close: bytes = b""
    subscription_close: bytes = b""
    acks_subjects: bytes = b""
    node_id: bytes = b""


@dataclass(slots=True)
class ClientInfo:
    id: bytes = b""
    heartbeat_inbox: bytes = b""
    connection_id: bytes = b""
    protocol: int = 0
    ping_interval: int = 0
    ping_max_out: int = 0


@dataclass(slots=True)
class SubscriptionState:
    """SubState, a subscription as it is stored."""

    id: int = 0
    client_id: bytes = b""
    queue_group: bytes = b""
    inbox: bytes = b""
    ack_inbox: bytes = b""
    max_in_flight: int = 0
    ack_wait_seconds: int = 0
    durable_name: bytes = b""
    last_sent: int = 0
    is_durable: bool = False
    is_closed: bool = False


_FIELDS: dict[type, dict[int, tuple[str, int]]] = {
    ConnectRequest: {
        1: ("client_id", BYTES),
        2: ("heartbeat_inbox", BYTES),
        3: ("protocol", INT32),
        4: ("connection_id", BYTES),
        5: ("ping_interval", INT32),
        6: ("ping_max_out", INT32),
    },
    ConnectResponse: {
        1: ("publish_prefix", BYTES),
        2: ("subscribe_requests", BYTES),
        3: ("unsubscribe_requests", BYTES),
        4: ("close_requests", BYTES),
        5: ("error", BYTES),
        6: ("subscription_close_requests", BYTES),
        7: ("ping_requests", BYTES),
        8: ("ping_interval", INT32),
        9: ("ping_max_out", INT32),
        10: ("protocol", INT32),
        100: ("public_key", BYTES),
    },
    Ping: {1: ("connection_id", BYTES)},
    ErrorResponse: {1: ("error", BYTES)},
    PubAck: {1: ("guid", BYTES), 2: ("error", BYTES)},
    SubscriptionRequest: {
        1: ("client_id", BYTES),
        2: ("subject", BYTES),
        3: ("queue_group", BYTES),
        4: ("inbox", BYTES),
        5: ("max_in_flight", INT32),
        6: ("ack_wait_seconds", INT32),
        7: ("durable_name", BYTES),
        10: ("start_position", INT32),
        11: ("start_sequence", UINT64),
        12: ("start_time_delta_ns", INT64),
    },
    SubscriptionResponse: {2: ("ack_inbox", BYTES), 3: ("error", BYTES)},
    UnsubscribeRequest: {
        1: ("client_id", BYTES),
        2: ("subject", BYTES),
        3: ("inbox", BYTES),
        4: ("durable_name", BYTES),
    },
    CloseRequest: {1: ("client_id", BYTES)},
    ControlMessage: {1: ("kind", INT32), 2: ("server_id", BYTES), 3: ("data", BYTES), 4: ("reference_id", BYTES)},
    ServerInfo: {
        1: ("cluster_id", BYTES),
        2: ("discovery", BYTES),
        3: ("publish", BYTES),
        4: ("subscribe", BYTES),
        5: ("unsubscribe", BYTES),
        6: ("close", BYTES),
        7: ("subscription_close", BYTES),
        8: ("acks_subjects", BYTES),
        9: ("node_id", BYTES),
    },
    ClientInfo: {
        1: ("id", BYTES),
        2: ("heartbeat_inbox", BYTES),
        3: ("connection_id", BYTES),
        4: ("protocol", INT32),
        5: ("ping_interval", INT32),
        6: ("ping_max_out", INT32),
    },
    SubscriptionState: {
        1: ("id", UINT64),
        2: ("client_id", BYTES),
        3: ("queue_group", BYTES),
        4: ("inbox", BYTES),
        5: ("ack_inbox", BYTES),
        6: ("max_in_flight", INT32),
        7: ("ack_wait_seconds", INT32),
        8: ("durable_name", BYTES),
        9: ("last_sent", UINT64),
        10: ("is_durable", BOOL),
        11: ("is_closed", BOOL),
    },
}


def decode(kind: type[M], payload: bytes) -> M | None:
    """Decode `payload`; None when it is no message of this kind. Unknown fields are skipped."""
    message: Any = kind()
    fields = _FIELDS[kind]
    reader = FieldReader()
    reader.open(payload, 0, len(payload))
    while True:
        result = reader.next_field()
        if result != FIELD:
            return message if result == END else None
        known = fields.get(reader.number)
        if known is None:
            continue
        name, value_kind = known
        if reader.wire != (LENGTH if value_kind == BYTES else VARINT):
            return None
        setattr(message, name, _value(reader, payload, value_kind))


def _value(reader: FieldReader, payload: bytes, kind: int) -> object:
    if kind == BYTES:
        return payload[reader.start : reader.stop]
    if kind == INT32:
        return to_signed32(reader.value)
    if kind == INT64:
        return to_signed(reader.value)
    if kind == BOOL:
        return reader.value != 0
    return reader.value


def encode(message: object) -> bytes:
    """Encode in ascending field number, defaults omitted."""
    out = ByteBuffer()
    for number, (name, kind) in _FIELDS[type(message)].items():
        value = getattr(message, name)
        if not value:
            continue
        out.put_varint(number << 3 | (LENGTH if kind == BYTES else VARINT))
        if kind == BYTES:
            out.put_varint(len(value))
            out.put(value)
        else:
            out.put_varint(int(value) & 0xFFFFFFFFFFFFFFFF)
    return out.take()
