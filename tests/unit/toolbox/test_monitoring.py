"""The reader of monitoring ports: pages, errors, and documents that are not what they should be."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nats_streaming.errors import ConfigError, MonitoringError, MonitoringNotFoundError
from nats_streaming.toolbox import monitoring
from nats_streaming.toolbox.monitoring import MonitoringReader, channel_of, client_of, time_ns_of

SUBSCRIPTION = {
    "client_id": "me", "inbox": "_INBOX.1", "ack_inbox": "_INBOX.2", "queue_name": "d:g", "is_durable": True,
    "is_offline": True, "max_inflight": 4, "ack_wait": 30, "last_sent": 7, "pending_count": 2, "is_stalled": False,
}  # fmt: skip
CHANNEL = {"name": "foo", "msgs": 3, "bytes": 90, "first_seq": 5, "last_seq": 7, "subs_count": 1}

Answer = tuple[int, bytes]
Port = Callable[[Callable[[str, dict[str, str]], Answer]], str]


@pytest.fixture
def port() -> Iterator[Port]:
    """Serves what a function says, given path and query."""
    servers: list[ThreadingHTTPServer] = []

    def serve(answer: Callable[[str, dict[str, str]], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, body = answer(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})
                with suppress(ConnectionError):  # who asked may have given up
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def as_json(document: Any) -> Answer:
    return 200, json.dumps(document).encode()


def test_all_pages_are_read(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "PAGE", 2)
    asked: list[tuple[str, dict[str, str]]] = []
    names = ["a", "b", "c", "d", "e"]

    def answer(path: str, query: dict[str, str]) -> Answer:
        asked.append((path, query))
        offset, limit = int(query["offset"]), int(query["limit"])
        page = [{**CHANNEL, "name": name} for name in names[offset : offset + limit]]
        return as_json({"total": len(names), "channels": page} if page else {"total": len(names)})

    reader = MonitoringReader(port(answer) + "/")
    assert [channel_of(each).name for each in reader.channel_documents()] == names
    assert asked == [
        ("/streaming/channelsz", {"offset": str(offset), "limit": "2", "subs": "1"}) for offset in (0, 2, 4)
    ]


def test_one_that_is_not_there(port: Port) -> None:
    asked: list[str] = []

    def answer(_: str, query: dict[str, str]) -> Answer:
        asked.append(query["channel"])
        return 404, b"Channel a b&c not found\n"

    with pytest.raises(MonitoringNotFoundError, match=r"^Channel a b&c not found$"):
        MonitoringReader(port(answer)).channel_document("a b&c")
    assert asked == ["a b&c"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((404, b"404 page not found"), "answered 404 for /streaming/serverz: is it the monitoring port"),
        ((500, b"Error"), "answered 500"),
        ((200, b"<html>"), "is no JSON"),
        ((200, b"[1]"), "lacks state: it is not a streaming server's"),
        ((200, b"{}"), "lacks state"),
    ],
)
def test_other_answers(port: Port, answer: Answer, text: str) -> None:
    with pytest.raises(MonitoringError) as caught:
        MonitoringReader(port(lambda *_: answer)).server()
    assert text in str(caught.value)


def test_too_long_a_document_is_not_read(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "_DOCUMENT_BYTES_MAX", 100)
    with pytest.raises(MonitoringError, match="more than 100 bytes"):
        MonitoringReader(port(lambda *_: (200, bytes(101)))).server()


def test_nobody_answers(port: Port) -> None:
    gone = threading.Event()

    def silent(*_: object) -> Answer:
        gone.wait(5)
        return 200, b""

    reader = MonitoringReader(port(silent), timeout_s=0.05)
    with pytest.raises(MonitoringError, match=r"did not answer within 0.05 s"):
        reader.server()
    gone.set()
    with pytest.raises(MonitoringError, match="cannot be read: Connection refused"):
        MonitoringReader("127.0.0.1:1").server()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:port", "nats://127.0.0.1:4222"])
def test_what_is_no_monitoring_url(url: str) -> None:
    with pytest.raises(ConfigError, match="monitoring URL"):
        MonitoringReader(url)


def test_a_ca_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"certificate authority .*nothing.pem"):
        MonitoringReader("https://127.0.0.1", ca_file="/nothing.pem")


def test_what_documents_say() -> None:
    channel = channel_of({**CHANNEL, "subscriptions": [SUBSCRIPTION]})
    assert (channel.name, channel.messages, channel.size, channel.first, channel.last) == ("foo", 3, 90, 5, 7)
    (subscription,) = channel.subscriptions
    assert (subscription.name, subscription.kind) == ("d:g", "durable queue, offline")
    client = client_of({"id": "me", "hb_inbox": "h", "subs_count": 1, "subscriptions": {"foo": [SUBSCRIPTION]}})
    assert client.subscriptions == {"foo": [subscription]}


@pytest.mark.parametrize(
    ("member", "value"), [("name", 1), ("msgs", "3"), ("msgs", True), ("last_seq", None), ("subscriptions", {"a": 1})]
)
def test_members_of_another_type(member: str, value: object) -> None:
    with pytest.raises(MonitoringError, match=member):
        channel_of({**CHANNEL, member: value})


@pytest.mark.parametrize(
    ("written", "time_ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:01.123456789+01:00", 1_123_456_789),
    ],
)
def test_times(written: str, time_ns: int) -> None:
    assert time_ns_of({"now": written}, "now") == time_ns


def test_what_is_no_time() -> None:
    with pytest.raises(MonitoringError, match="now is no time"):
        time_ns_of({"now": "noon"}, "now")
