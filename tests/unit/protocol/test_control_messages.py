"""The codec of the control plane: every message, with Google's codec as the judge."""

from __future__ import annotations

from dataclasses import astuple
from dataclasses import fields as fields_of
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from nats_streaming.protocol import control_messages
from nats_streaming.protocol.control_messages import decode, encode
from tests.support import stan_messages as oracle
from tests.unit.protocol.wire import (
    FIXED32,
    FIXED64,
    GROUP_END,
    GROUP_START,
    damaged,
    key,
    length_delimited,
    reference_fields,
    scalar_fields,
    varint,
    varint_field,
)

ORACLES: list[tuple[type, Any]] = [
    (control_messages.ConnectRequest, oracle.ConnectRequest),
    (control_messages.ConnectResponse, oracle.ConnectResponse),
    (control_messages.Ping, oracle.Ping),
    (control_messages.ErrorResponse, oracle.PingResponse),
    (control_messages.ErrorResponse, oracle.CloseResponse),
    (control_messages.PubAck, oracle.PubAck),
    (control_messages.SubscriptionRequest, oracle.SubscriptionRequest),
    (control_messages.SubscriptionResponse, oracle.SubscriptionResponse),
    (control_messages.UnsubscribeRequest, oracle.UnsubscribeRequest),
    (control_messages.CloseRequest, oracle.CloseRequest),
    (control_messages.ControlMessage, oracle.CtrlMsg),
    (control_messages.ServerInfo, oracle.ServerInfo),
    (control_messages.ClientInfo, oracle.ClientInfo),
    (control_messages.SubscriptionState, oracle.SubState),
]
VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40),
    FieldDescriptor.TYPE_INT32: st.one_of(st.integers(-3, 300), st.integers(-(2**31), 2**31 - 1)),
    FieldDescriptor.TYPE_INT64: st.one_of(st.integers(-3, 300), st.integers(-(2**63), 2**63 - 1)),
    FieldDescriptor.TYPE_UINT64: st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
}

EACH = pytest.mark.parametrize(("kind", "judge"), ORACLES, ids=[judge.DESCRIPTOR.name for _, judge in ORACLES])


def descriptors(judge: Any) -> list[Any]:
    return sorted(judge.DESCRIPTOR.fields, key=lambda field: field.number)


def values_of(judge: Any, message: Any) -> tuple[Any, ...]:
    return tuple(getattr(message, field.name) for field in descriptors(judge))


def judged(judge: Any, payload: bytes) -> tuple[Any, ...] | None:
    """What Google's codec reads; where a known field has another wire type, nothing, as in the original."""
    try:
        message = judge.FromString(payload)
    except DecodeError:
        return None
    wires = {field.number: 2 if field.type == FieldDescriptor.TYPE_BYTES else 0 for field in descriptors(judge)}
    found = reference_fields(payload)
    if found is None or any(wires.get(number, wire) != wire for number, wire, _ in found):
        return None
    return values_of(judge, message)


def decoded(kind: type, payload: bytes) -> tuple[Any, ...] | None:
    message: Any = decode(kind, payload)
    return None if message is None else astuple(message)


@EACH
def test_fields_stand_in_the_same_order(kind: type, judge: Any) -> None:
    """What every test here leans on: a dataclass lists its fields by number, as the judge does."""
    assert len(fields_of(kind)) == len(descriptors(judge))


@EACH
def test_an_all_default_message_is_nothing(kind: type, judge: Any) -> None:
    assert encode(kind()) == b"" == judge().SerializeToString()
    assert decode(kind, b"") == kind()


@settings(max_examples=100)
@given(st.sampled_from(ORACLES), st.data())
def test_there_and_back(pair: tuple[type, Any], data: st.DataObject) -> None:
    kind, judge = pair
    values = [data.draw(VALUES[field.type], label=field.name) for field in descriptors(judge)]
    message = kind(*values)
    names = [field.name for field in descriptors(judge)]
    encoded = encode(message)
    assert encoded == judge(**dict(zip(names, values, strict=True))).SerializeToString()
    assert decode(kind, encoded) == message


@settings(max_examples=100)
@given(st.sampled_from(ORACLES), damaged(st.lists(scalar_fields(st.integers(1, 13)), max_size=6).map(b"".join)))
def test_damaged(pair: tuple[type, Any], payload: bytes) -> None:
    kind, judge = pair
    expected = judged(judge, payload)
    if expected is not None:
        assert decoded(kind, payload) == expected
    elif reference_fields(payload) is None:
        assert decoded(kind, payload) is None


@EACH
def test_cut_at_every_byte(kind: type, judge: Any) -> None:
    samples: dict[int, object] = {FieldDescriptor.TYPE_BYTES: b"value" * 30, FieldDescriptor.TYPE_BOOL: True}
    values = {field.name: samples.get(field.type, 300) for field in descriptors(judge)}
    payload = judge(**values).SerializeToString()
    for size in range(len(payload) + 1):
        assert decoded(kind, payload[:size]) == judged(judge, payload[:size])


@EACH
def test_a_known_field_of_another_wire_type(kind: type, judge: Any) -> None:
    for field in descriptors(judge):
        number = field.number
        wrong = [
            key(number, FIXED32) + b"1234",
            key(number, FIXED64) + b"12345678",
            key(number, GROUP_START) + key(number, GROUP_END),
            varint_field(number, 1) if field.type == FieldDescriptor.TYPE_BYTES else length_delimited(number, b"\x01"),
        ]
        for payload in wrong:
            assert decode(kind, payload) is None


@EACH
def test_unknown_fields_are_passed_over(kind: type, judge: Any) -> None:
    unknown = varint_field(99, 2**64 - 1) + length_delimited(2**29 - 1, b"x") + key(98, FIXED32) + b"1234"
    assert decode(kind, unknown) == kind()
    first = descriptors(judge)[0]
    known = varint_field(first.number, 1) if first.type != FieldDescriptor.TYPE_BYTES else b"\x0a\x01x"
    assert decoded(kind, unknown + known + unknown) == judged(judge, known)


@pytest.mark.parametrize("payload", oracle.GARBAGE, ids=repr)
def test_garbage_is_no_connect_request(payload: bytes) -> None:
    assert decode(control_messages.ConnectRequest, payload) is None


def test_negative_int32_takes_ten_bytes() -> None:
    """A ping interval below one second is sent as negative milliseconds, and echoed."""
    request = control_messages.ConnectRequest(ping_interval=-300)
    assert encode(request) == b"\x28" + varint(2**64 - 300)
    assert decode(control_messages.ConnectRequest, encode(request)) == request


@pytest.mark.parametrize(
    ("bits", "value"),
    [(2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 - 1, -1), (2**32 + 5, 5), (2**64 - 1, -1), (2**63, 0)],
)
def test_an_int32_takes_the_low_32_bits(bits: int, value: int) -> None:
    found = decode(control_messages.SubscriptionRequest, varint_field(5, bits))
    assert found is not None
    assert found.max_in_flight == value


def test_bytes_that_are_no_utf8_come_back() -> None:
    request = control_messages.SubscriptionRequest(client_id=b"\xff\xfe", inbox=b"\x80")
    assert decode(control_messages.SubscriptionRequest, encode(request)) == request


def test_a_repeated_field_counts_once_and_the_last() -> None:
    payload = length_delimited(1, b"first") + length_delimited(1, b"second")
    assert decode(control_messages.CloseRequest, payload) == control_messages.CloseRequest(b"second")
    payload += length_delimited(1, b"")
    assert decode(control_messages.CloseRequest, payload) == control_messages.CloseRequest()
