from __future__ import annotations

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.nats.urls import ServerUrl, discovered_urls, parse_server_urls, split_host_port


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nats://localhost:4222", ["nats://localhost:4222"]),
        ("nats://localhost:4222/", ["nats://localhost:4222"]),
        ("NATS://localhost:4222", ["nats://localhost:4222"]),
        ("tls://h:1", ["tls://h:1"]),
        ("nats://[::1]:4222", ["nats://[::1]:4222"]),
        ("nats://a:1,nats://b:2", ["nats://a:1", "nats://b:2"]),
        (" nats://a:1 , b:2 ,, c", ["nats://a:1", "nats://b:2", "nats://c:4222"]),
        ("[::1],[::2]:7", ["nats://[::1]:4222", "nats://[::2]:7"]),
        ("nats://u:p@h:1", ["nats://[REDACTED]@h:1"]),
        ("u@h", ["nats://[REDACTED]@h:4222"]),
        ("nats://:4222", ["nats://127.0.0.1:4222"]),
    ],
)
def test_accepted_forms(value: str, shown: list[str]) -> None:
    assert [str(url) for url in parse_server_urls(value)] == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("localhost:4222", "malformed url: localhost:4222"),
        (" ", "malformed url:  "),
        ("", "malformed url: "),
        (",", "malformed url: ,"),
        ("nats://a://b:1", "malformed url: nats://a://b:1"),
        ("nats://localhost", "address localhost: missing port in address"),
        ("nats://", "address : missing port in address"),
        ("nats://::1:4222", "address ::1:4222: too many colons in address"),
        ("nats://[::1", "address [::1: missing ']' in address"),
        ("nats://[::1]", "address [::1]: missing port in address"),
        ("nats://[::1]x:1", "address [::1]x:1: missing port in address"),
        ("nats://a]:1", "address a]:1: unexpected ']' in address"),
        ("nats://h:abc", 'parse "nats://h:abc": invalid port ":abc" after host'),
        ("nats://h:99999", "address 99999: invalid port"),
        ("nats://h:0", "address 0: invalid port"),
        ("ftp://h:1", "malformed url: ftp://h:1: the scheme must be nats or tls"),
    ],
)
def test_refused_forms(value: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server_urls(value)
    assert str(caught.value) == text


def test_user_information_is_decoded_and_never_shown() -> None:
    (url,) = parse_server_urls("nats://us%40er:p%3Ass:wo@rd@h:1")
    assert (url.user, url.password, url.host) == ("us@er", "p:ss:wo@rd", "h")
    (token,) = parse_server_urls("nats://s3cr3t@h:1")
    assert (token.user, token.password) == ("s3cr3t", None)
    for shown in (str(url), repr(url), f"{url}", repr([url])):
        assert "p:ss" not in shown
        assert "us@er" not in shown


def test_errors_do_not_show_user_information() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server_urls("nats://user:secret@h:abc")
    assert str(caught.value) == 'parse "nats://[REDACTED]@h:abc": invalid port ":abc" after host'


def test_split_host_port() -> None:
    assert split_host_port("h:1") == ("h", "1")
    assert split_host_port("[::1]:1") == ("::1", "1")
    assert split_host_port(":1") == ("", "1")


def test_discovered_addresses_take_over_scheme_and_credentials() -> None:
    configured = ServerUrl("nats.example", 4222, "tls", "u", "p")
    found = discovered_urls(["10.0.0.1:4222", "[fd00::1]:1", "other.example:2"], configured, [configured])
    assert [str(url) for url in found] == [
        "tls://[REDACTED]@10.0.0.1:4222",
        "tls://[REDACTED]@[fd00::1]:1",
        "tls://[REDACTED]@other.example:2",
    ]
    assert [url.tls_name for url in found] == ["nats.example", "nats.example", None]
    assert all(url.discovered and url.password == "p" for url in found)


def test_discovered_addresses_that_are_known_or_broken_are_left_out() -> None:
    configured = ServerUrl("127.0.0.1", 4222)
    addresses = ["127.0.0.1:4222", "a:1", "a:1", "nothing", ":5", "b:x", "[::", "c:70000"]
    assert [url.address for url in discovered_urls(addresses, configured, [configured])] == ["a:1"]
