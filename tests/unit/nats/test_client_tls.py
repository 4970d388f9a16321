"""Files for TLS that cannot be used are refused by name. That they are used is held by the operator tests."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from nats_streaming.errors import NatsLinkError
from nats_streaming.nats.client_tls import client_context
from tests.support.certificates import Authority

UNUSABLE = "nats: error loading client certificate: "


def refusal(ca: object = "", certificate: object = "", key: object = "") -> str:
    with pytest.raises(NatsLinkError) as caught:
        client_context(str(ca), str(certificate), str(key), verify=True)
    return str(caught.value)


def test_verification_is_on_unless_it_is_refused(tmp_path: Path) -> None:
    ca = str(Authority(tmp_path).path)
    context = client_context(ca, "", "", verify=True)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [entry["subject"] for entry in context.get_ca_certs()] == [((("commonName", "authority"),),)]
    context = client_context(ca, "", "", verify=False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_an_authority_that_cannot_be_used(tmp_path: Path) -> None:
    _, key = Authority(tmp_path).issue("client")
    no_file = "open nosuch.pem: no such file or directory"
    assert refusal("nosuch.pem") == f"nats: error loading or parsing rootCA file: {no_file}"
    assert refusal(key) == f'nats: failed to parse root certificate from "{key}"'
    (tmp_path / "empty").write_text("")
    assert refusal(tmp_path / "empty") == f'nats: failed to parse root certificate from "{tmp_path / "empty"}"'


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    _, other_key = authority.issue("other")
    assert refusal("", "nosuch.pem", key) == f"{UNUSABLE}open nosuch.pem: no such file or directory"
    assert refusal("", certificate) == f"{UNUSABLE}open : no such file or directory"
    assert refusal("", certificate, other_key) == f"{UNUSABLE}tls: private key does not match public key"
    assert refusal("", key, key).startswith(f"{UNUSABLE}tls: no usable certificate and key: ")


def test_a_key_with_a_pass_phrase_asks_nobody(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("client", pass_phrase=b"secret")
    assert refusal("", certificate, key) == f"{UNUSABLE}tls: the key in {key} has a pass phrase; give one without"
