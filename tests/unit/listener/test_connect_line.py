"""What a CONNECT says, and whether a nats-server takes it; each row was shown to one."""

from __future__ import annotations

import pytest

from nats_streaming.listener.connect_line import read_connect


@pytest.mark.parametrize(
    ("options", "is_verbose"),
    [
        (b'{"verbose":false}', False),
        (b'{"Verbose":false,"protocol":1,"lang":"x","unknown":{"verbose":true}}', False),
        (b'{"verbose":true,"verbose":false,"headers":true,"no_responders":true}', False),
        (b'{"verbose":true,"echo":false}', True),
        (b"{}", True),
        (b'{"verbose":false,"account":"","import":null}', False),
        (b"null", True),
    ],
)
def test_what_a_nats_server_takes(options: bytes, is_verbose: bool) -> None:
    for line in (b"CONNECT " + options, b"connect\t" + options + b" ", b"CONNECT" + options):
        found = read_connect(line, True)
        assert (found.is_verbose, found.is_sound) == (is_verbose, True)


@pytest.mark.parametrize(
    "options",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'{"verbose":false} x',
        b'{"verbose":false,"x":NaN}',
        b'{"verbose":false,"protocol":2}',
        b'{"verbose":false,"protocol":-1}',
        b'{"verbose":false,"protocol":1.0}',
        b'{"verbose":false,"protocol":true}',
        b'{"verbose":false,"no_responders":true}',
        b'{"verbose":false,"no_responders":true,"headers":false}',
        b'{"verbose":"false"}',
        b'{"verbose":false,"echo":0}',
        b'{"verbose":false,"name":5}',
        b'{"verbose":false,"account":"a"}',
        b'{"verbose":false,"new_account":true}',
        b'{"verbose":false,"name":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_what_it_may_not(options: bytes) -> None:
    assert not read_connect(b"CONNECT " + options, False).is_sound


def test_a_second_one_changes_only_what_it_says() -> None:
    assert not read_connect(b"CONNECT {}", False).is_verbose
    assert read_connect(b'CONNECT {"verbose":true}', False).is_verbose
