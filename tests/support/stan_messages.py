"""The STAN protocol messages as protobuf classes built in code: the tests' own oracle of the wire format.

Independent of the server's codec on purpose. Every field that the protocol calls a `string` is declared as `bytes`,
because the protocol never checked strings for UTF-8; enumerations are declared as `int32`, so that values out of
range can be sent. Neither changes a byte on the wire.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

StanMessage = Any
"""An instance of one of the classes below; protobuf makes them at run time, so no checker knows their attributes."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}
_PACKAGE = "stan_oracle"
_MESSAGES: dict[str, str] = {
    "ConnectRequest": (
        "1 bytes clientID, 2 bytes heartbeatInbox, 3 int32 protocol, 4 bytes connID, 5 int32 pingInterval, "
        "6 int32 pingMaxOut"
    ),
    "ConnectResponse": (
        "1 bytes pubPrefix, 2 bytes subRequests, 3 bytes unsubRequests, 4 bytes closeRequests, 5 bytes error, "
        "6 bytes subCloseRequests, 7 bytes pingRequests, 8 int32 pingInterval, 9 int32 pingMaxOut, 10 int32 protocol, "
        "100 bytes publicKey"
    ),
    "Ping": "1 bytes connID",
    "PingResponse": "1 bytes error",
    "PubMsg": (
        "1 bytes clientID, 2 bytes guid, 3 bytes subject, 4 bytes reply, 5 bytes data, 6 bytes connID, 10 bytes sha256"
    ),
    "PubAck": "1 bytes guid, 2 bytes error",
    "MsgProto": (
        "1 uint64 sequence, 2 bytes subject, 3 bytes reply, 4 bytes data, 5 int64 timestamp, 6 bool redelivered, "
        "7 uint32 redeliveryCount, 10 uint32 CRC32"
    ),
    "Ack": "1 bytes subject, 2 uint64 sequence",
    "SubscriptionRequest": (
        "1 bytes clientID, 2 bytes subject, 3 bytes qGroup, 4 bytes inbox, 5 int32 maxInFlight, 6 int32 ackWaitInSecs, "
        "7 bytes durableName, 10 int32 startPosition, 11 uint64 startSequence, 12 int64 startTimeDelta"
    ),
    "SubscriptionResponse": "2 bytes ackInbox, 3 bytes error",
    "UnsubscribeRequest": "1 bytes clientID, 2 bytes subject, 3 bytes inbox, 4 bytes durableName",
    "CloseRequest": "1 bytes clientID",
    "CloseResponse": "1 bytes error",
    # Not spoken by clients: servers send it to each other, on the publish and ack subjects.
    "CtrlMsg": "1 int32 MsgType, 2 bytes ServerID, 3 bytes Data, 4 bytes RefID",
    # Not sent at all: what the stores keep.
    "ServerInfo": (
        "1 bytes ClusterID, 2 bytes Discovery, 3 bytes Publish, 4 bytes Subscribe, 5 bytes Unsubscribe, 6 bytes Close, "
        "7 bytes SubClose, 8 bytes AcksSubs, 9 bytes NodeID"
    ),
    "ClientInfo": (
        "1 bytes ID, 2 bytes HbInbox, 3 bytes ConnID, 4 int32 Protocol, 5 int32 PingInterval, 6 int32 PingMaxOut"
    ),
    "SubState": (
        "1 uint64 ID, 2 bytes clientID, 3 bytes qGroup, 4 bytes inbox, 5 bytes ackInbox, 6 int32 maxInFlight, "
        "7 int32 ackWaitInSecs, 8 bytes durableName, 9 uint64 lastSent, 10 bool isDurable, 11 bool isClosed"
    ),
}

GARBAGE = [
    b"\xff",
    b"\x0a",  # a length-delimited field without its length
    b"\x0a\x7fshort",  # a length beyond the end
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length beyond 64 bits
    b"\x08\x01",  # field 1 as varint, a string in every message
    b"\x0c",  # end of a group that never began
    b"not a protobuf message at all",
]
"""Payloads which no message of the protocol can be decoded from."""


class StartPosition(IntEnum):
    """Values of `SubscriptionRequest.startPosition`."""

    NEW_ONLY = 0
    LAST_RECEIVED = 1
    TIME_DELTA_START = 2
    SEQUENCE_START = 3
    FIRST = 4


def _build_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="stan_oracle.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field in fields.split(", "):
            number, kind, name = field.split()
            message.field.add(
                name=name, json_name=name, number=int(number), type=_TYPES[kind], label=_FIELD.LABEL_OPTIONAL
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _build_classes()
ConnectRequest: Any = _CLASSES["ConnectRequest"]
ConnectResponse: Any = _CLASSES["ConnectResponse"]
Ping: Any = _CLASSES["Ping"]
PingResponse: Any = _CLASSES["PingResponse"]
PubMsg: Any = _CLASSES["PubMsg"]
PubAck: Any = _CLASSES["PubAck"]
MsgProto: Any = _CLASSES["MsgProto"]
Ack: Any = _CLASSES["Ack"]
SubscriptionRequest: Any = _CLASSES["SubscriptionRequest"]
SubscriptionResponse: Any = _CLASSES["SubscriptionResponse"]
UnsubscribeRequest: Any = _CLASSES["UnsubscribeRequest"]
CloseRequest: Any = _CLASSES["CloseRequest"]
CloseResponse: Any = _CLASSES["CloseResponse"]
CtrlMsg: Any = _CLASSES["CtrlMsg"]
ServerInfo: Any = _CLASSES["ServerInfo"]
ClientInfo: Any = _CLASSES["ClientInfo"]
SubState: Any = _CLASSES["SubState"]


def decode_canonical(message_class: Any, payload: bytes) -> StanMessage:
    """Decode what a server sent and insist on the canonical form of it.

    Known fields only, in ascending order, each once, zero values left out: what re-encoding gives must be `payload`.
    """
    message = message_class.FromString(payload)
    assert message.SerializeToString() == payload, f"not the canonical {message_class.DESCRIPTOR.name}: {payload!r}"
    assert len(unknown_fields.UnknownFieldSet(message)) == 0, f"unknown fields in {payload!r}"
    return message
