from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from nats_streaming.errors import ProtocolError
from nats_streaming.nats.handshake import (
    LinkOptions,
    ServerInfo,
    connect_frame,
    is_permissions_violation,
    is_valid_subject,
    link_error,
    parse_info,
)
from nats_streaming.nats.urls import ServerUrl


def connect_fields(options: LinkOptions, url: ServerUrl | None = None, **info: Any) -> dict[str, Any]:
    frame = connect_frame(options, url or ServerUrl("h", 1), ServerInfo(headers=True, **info), tls=False)
    assert frame.startswith(b"CONNECT {")
    assert frame.endswith(b"}\r\n")
    fields: dict[str, Any] = json.loads(frame[8:])
    return fields


def test_connect_without_credentials() -> None:
    assert connect_fields(LinkOptions("_NSS-c-general", version="1.2.3")) == {
        "verbose": False,
        "pedantic": False,
        "tls_required": False,
        "name": "_NSS-c-general",
        "lang": "python",
        "version": "1.2.3",
        "protocol": 1,
        "echo": True,
        "headers": True,
        "no_responders": True,
    }


def test_an_old_server_is_not_asked_for_headers() -> None:
    fields = json.loads(connect_frame(LinkOptions("n"), ServerUrl("h", 1), ServerInfo(), tls=True)[8:])
    assert (fields["headers"], fields["no_responders"], fields["tls_required"]) == (False, False, True)


def test_credentials_of_the_options() -> None:
    fields = connect_fields(LinkOptions("n", user='u"\\\r\n', password="pä"))
    assert (fields["user"], fields["pass"]) == ('u"\\\r\n', "pä")
    assert connect_fields(LinkOptions("n", user="u"))["pass"] == ""
    assert connect_fields(LinkOptions("n", token="t"))["auth_token"] == "t"


def test_a_frame_is_one_line_whatever_the_password() -> None:
    frame = connect_frame(
        LinkOptions("n", user="a\r\nPUB x 0", password="\n"), ServerUrl("h", 1), ServerInfo(), tls=False
    )
    assert frame.count(b"\r\n") == 1


def test_credentials_of_the_url_go_first() -> None:
    options = LinkOptions("n", user="u", password="p", token="t")
    fields = connect_fields(options, ServerUrl("h", 1, user="U", password="P"))
    assert (fields["user"], fields["pass"], fields.get("auth_token")) == ("U", "P", None)
    fields = connect_fields(options, ServerUrl("h", 1, user="T"))
    assert (fields.get("user"), fields.get("pass"), fields["auth_token"]) == (None, None, "T")


def test_an_authenticator_signs_the_nonce() -> None:
    class Signer:
        def connect_fields(self, nonce: str | None) -> Mapping[str, str]:
            return {"jwt": "token", "sig": f"signed {nonce}"}

    fields = connect_fields(LinkOptions("n", authenticator=Signer()), nonce="abc")
    assert (fields["jwt"], fields["sig"]) == ("token", "signed abc")


def test_info_of_a_server() -> None:
    text = (
        b'{"server_id":"S","server_name":"N","version":"2.11.1","headers":true,"max_payload":99,"tls_required":true,'
        b'"auth_required":true,"nonce":"x","client_id":7,"ldm":true,"connect_urls":["a:1",5,"b:2"],"unknown":{}}'
    )
    assert parse_info(text) == ServerInfo(99, "S", "N", "2.11.1", True, True, False, True, "x", 7, True, ["a:1", "b:2"])


def test_info_with_fields_of_a_wrong_type() -> None:
    text = b'{"server_id":1,"headers":"yes","max_payload":"1","client_id":true,"connect_urls":"a:1","tls_required":1}'
    assert parse_info(text) == ServerInfo()
    assert parse_info(b'{"max_payload":-5}').max_payload == 1024 * 1024


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_info_that_is_none(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_info(text)


def test_errors_speak_like_the_go_client() -> None:
    assert str(link_error(b"Authorization Violation")) == "nats: Authorization Violation"
    assert str(link_error(b"Stale Connection")) == "nats: stale connection"
    assert is_permissions_violation(b'Permissions Violation for Subscription to "foo"')
    assert not is_permissions_violation(b"Authorization Violation")


def test_subjects() -> None:
    for subject in (b"a", b"a.b", b"_INBOX.x.*", b"a.>", b"\xff.b"):
        assert is_valid_subject(subject)
    for subject in (b"", b".", b"a..b", b".a", b"a.", b"a b", b"a\r\nPUB b 0", b"a\tb"):
        assert not is_valid_subject(subject)
