"""The monitoring port: opening it, what its pages say while things happen, and that it holds up nobody."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.operations.monitoring_session import Session, ask
from tests.support.certificates import Authority
from tests.support.nats_servers import NatsServer
from tests.support.raw_client import NatsClient, StanClient, StartPosition
from tests.support.servers import ServerProcess, free_port, run_to_end

Start = Callable[..., ServerProcess]

GARBAGE = (b"\x00" * 3000, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000, b"\r\n" * 500, b"\x16\x03\x01")
ODD_TARGETS = ("*", "http://h.invalid/streaming/serverz", "/streaming/../varz", "//varz", "/%00", "/streaming/%2e%2e")


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    """A nats-server of its own."""
    server = NatsServer()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    authority = Authority(tmp_path)
    cert, key = authority.issue("monitor", "127.0.0.1", "localhost")
    return Certificate(str(cert), str(key), str(authority.path))


class Certificate(NamedTuple):
    """Paths: of a certificate for this machine, its key, and who signed it."""

    cert: str
    key: str
    authority: str

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


def page(port: int, path: str) -> Any:
    """A JSON page that must be there."""
    answer = ask(port, path)
    assert answer.status == 200, (path, answer)
    return json.loads(answer.body)


# Opening the port.


@pytest.mark.operations(48)
@pytest.mark.parametrize("external", [False, True])
def test_errors_of_the_port(nats: NatsServer, certificate: Certificate, external: bool) -> None:
    prefix = "STREAM: Failed to start: " if external else "Can't start monitoring: "
    where = ["-ns", nats.url] if external else ["-p", "-1", "-a", "127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, text in (
            (["-m", port, "-ms", "18"], f"can't specify both HTTP ({port}) and HTTPs (18) ports"),
            (["-ms", port], "TLS cert and key required for HTTPS"),
            (["-ms", port, "-tlscert", "/no/cert", "-tlskey", certificate.key], "No such file"),
            (["-ms", port, "-tlscert", certificate.key, "-tlskey", certificate.key], "certificate/key pair"),
            (["-m", port, "-a", "127.0.0.1"], f"listen tcp 127.0.0.1:{port}: bind: address already in use"),
            (["-m", port, "-a", "no.such.host.invalid"], "lookup no.such.host.invalid: "),
            (["-m", "70000"], "http_port must be a port up to 65535"),
            (["-m", "8222", "-metrics_channels", "-1"], "metrics_channels cannot be negative"),
        ):
            ended = run_to_end(*where, *arguments)
            assert ended.status == 1, ended
            assert "[FTL]" in ended.err, ended
            assert text in ended.err, ended
            if "monitor port" in text:
                assert prefix in ended.err, ended


@pytest.mark.operations(48)
def test_a_free_port_is_told_and_no_port_is_open_without_being_asked(start: Start) -> None:
    server = start("-m", "-1")
    port = int(server.wait_for_log(r"\[INF\] Starting http monitor on 127\.0\.0\.1:(\d+)")[1])
    varz = page(port, "/varz")
    assert (varz["http_host"], varz["http_port"], varz["port"]) == ("127.0.0.1", port, server.port)
    assert page(port, "/subsz")["num_subscriptions"] >= 7, "the tests of stan.py wait for that many"
    assert "monitor" not in start().log()


@pytest.mark.operations(48)
def test_https_with_our_own_certificate_beside_an_external_nats(
    start: Start, nats: NatsServer, certificate: Certificate
) -> None:
    port = free_port()
    cert = ("-tlscert", certificate.cert, "-tlskey", certificate.key)
    start("-ns", nats.url, "-a", "127.0.0.1", "-ms", str(port), *cert, external=True)
    answer = ask(port, "/streaming/serverz", tls=certificate.client_context())
    assert json.loads(answer.body)["state"] == "STANDALONE"
    assert json.loads(ask(port, "/varz", tls=certificate.client_context()).body)["https_port"] == port
    with pytest.raises((OSError, ValueError)):
        ask(port, "/streaming/serverz")


@pytest.mark.operations(48)
def test_https_with_the_certificate_of_the_embedded_nats(
    start: Start, certificate: Certificate, tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "server.conf"
    config.write_text(
        f"""
        listen: "127.0.0.1:{free_port()}"
        https: "localhost:{port}"
        tls {{ cert_file: "{certificate.cert}", key_file: "{certificate.key}" }}
        streaming {{ tls {{ client_ca: "{certificate.authority}" }} }}
        """
    )
    server = start("-c", str(config), listens_by_file=True)
    server.wait_for_log(rf"Starting https monitor on localhost:{port}")
    assert json.loads(ask(port, "/healthz", tls=certificate.client_context()).body) == {"status": "ok"}


@pytest.mark.operations(40)
@pytest.mark.parametrize("external", [False, True])
def test_the_base_path_is_nats_s_only(start: Start, nats: NatsServer, tmp_path: Path, external: bool) -> None:
    port = free_port()
    config = tmp_path / "server.conf"
    config.write_text(f'http: "127.0.0.1:{port}"\nhttp_base_path: "/nats"\nlisten: "127.0.0.1:{free_port()}"\n')
    more = ("-ns", nats.url) if external else ()
    start("-c", str(config), *more, listens_by_file=True)
    assert page(port, "/nats/varz")["http_port"] == port
    assert page(port, "/nats/varz")["http_base_path"] == "/nats"
    assert ask(port, "/nats").status in (200, 301)
    assert (ask(port, "/varz").status, ask(port, "/nats/streaming/serverz").status) == (404, 404)
    assert page(port, "/streaming/serverz")["channels"] == 0
    assert ask(port, "/metrics").status == 200


# Beside an external NATS.


@pytest.mark.operations(40, 48)
async def test_nats_pages_beside_an_external_nats(start: Start, nats: NatsServer) -> None:
    port = free_port()
    server = start("-ns", nats.url, "-m", str(port), external=True)
    assert "monitor" not in server.log()
    varz = page(port, "/varz")
    assert len(varz["server_id"]) == 56
    assert varz["server_id"].startswith("N")
    assert (varz["port"], varz["connections"], varz["http_port"]) == (4222, 0, port)
    for name, field in (
        ("connz", "connections"), ("routez", "routes"), ("gatewayz", "outbound_gateways"), ("leafz", "leafnodes"),
        ("subsz", "num_subscriptions"), ("subscriptionsz", "num_cache"), ("accountz", "accounts"),
        ("accstatz", "account_statz"), ("jsz", "streams"),
    ):  # fmt: skip
        assert not page(port, f"/{name}")[field], name
    assert page(port, "/ipqueuesz") == {}
    jsonp = ask(port, "/connz?callback=f")
    assert (jsonp.header("content-type"), jsonp.text[:3]) == ("application/javascript", "f({")
    sick = ask(port, "/healthz")
    assert (sick.status, sick.text) == (
        503,
        '{"status":"error","error":"failed to be ready for connections after 1ms: server"}',
    )
    assert "MainThread" in ask(port, "/stacksz").text
    assert ask(port, "/").header("content-type") == "text/html; charset=utf-8"
    assert (ask(port, "/nothing").status, ask(port, "/nothing").text) == (404, "404 page not found\n")
    session = Session(nats.port)
    client = await session.client("x")
    await client.publish("foo", b"hello")
    assert page(port, "/streaming/serverz")["total_msgs"] == 1
    await session.close()


# Pages while things happen.


@pytest.mark.operations(41)
async def test_counters_through_deliveries_and_a_restart(start: Start, tmp_path: Path) -> None:
    port = free_port()
    server = start("-st", "FILE", "-dir", str(tmp_path), "-m", str(port))
    session = Session(server.port)
    client = await session.client("me")
    for number in range(3):
        await client.publish("foo", b"%d" % number)
    subscription = await client.subscribe("foo", start=StartPosition.FIRST, ack_wait=1)
    assert await subscription.sequences(3) == [1, 2, 3]
    subscription.ack(1)
    subscription.ack(2)
    assert await subscription.repeats(1) == [(3, 1)]
    subscription.ack(3)
    durable = await client.subscribe("foo", start=StartPosition.FIRST, durable="d", max_in_flight=2)
    assert await durable.sequences(2) == [1, 2]
    # A slow machine lets the server redeliver more than once before it has the ack.
    deliveries = 6 + len(subscription.waiting())
    serverz = page(port, "/streaming/serverz")
    shown = {name: serverz[name] for name in ("in_msgs", "out_msgs", "total_msgs", "clients", "subscriptions")}
    assert shown == {"in_msgs": 3, "out_msgs": deliveries, "total_msgs": 3, "clients": 1, "subscriptions": 2}
    assert serverz["out_bytes"] > deliveries * (serverz["total_bytes"] // 3 - 40), "a redelivery is longer"
    await session.close()
    server.stop()
    server.start()
    serverz = page(port, "/streaming/serverz")
    assert (serverz["in_msgs"], serverz["in_bytes"], serverz["total_msgs"]) == (0, 0, 3)
    assert (serverz["clients"], serverz["subscriptions"]) == (1, 2)
    _, found = page(port, "/streaming/channelsz?channel=foo&subs=1")["subscriptions"]
    assert (found["durable_name"], found["last_sent"], found["pending_count"]) == ("d", 2, 2)
    again = page(port, "/streaming/serverz")
    assert again["server_id"] == serverz["server_id"] != ""
    assert again["start_time"] == serverz["start_time"] < again["now"]


@pytest.mark.operations(46)
async def test_a_stall_begins_and_ends(start: Start) -> None:
    port = free_port()
    server = start("-m", str(port))
    session = Session(server.port)
    client = await session.client("me")
    subscription = await client.subscribe("foo", max_in_flight=2)
    for number in range(3):
        await client.publish("foo", b"%d" % number)
    assert await subscription.sequences(2) == [1, 2]

    def shown() -> tuple[bool, int, int]:
        (found,) = page(port, "/streaming/clientsz?client=me&subs=1")["subscriptions"]["foo"]
        return found["is_stalled"], found["pending_count"], found["last_sent"]

    assert shown() == (True, 2, 2)
    subscription.ack(1)
    assert await subscription.sequences(1) == [3]
    assert shown() == (True, 2, 3)
    subscription.ack(2)
    subscription.ack(3)
    await client.ping()
    assert shown() == (False, 0, 3)
    await session.close()


@pytest.mark.operations(40)
async def test_long_pages_come_in_chunks_and_names_cannot_break_them(start: Start) -> None:
    port = free_port()
    server = start("-m", str(port), "-mc", "0")
    session = Session(server.port)
    client = await session.client("me")

    def shown(name: bytes) -> str:
        return re.sub("[\udc80-\udcff]", "\ufffd", name.decode("utf-8", "surrogateescape"))

    names = sorted(
        [b"odd\xff\xc3(name", "线\u2028\u007f<".encode(), b'quo"te\\', *(b"channel-%04d" % n for n in range(300))]
    )
    for name in names:
        client.publish_nowait(name, b"x")
    await client.take_acks(len(names))
    short, long = ask(port, "/streaming/channelsz?limit=10"), ask(port, "/streaming/channelsz")
    assert short.header("content-length") == str(len(short.body))
    assert (long.header("content-length"), long.header("transfer-encoding")) == (None, "chunked")
    assert json.loads(long.body)["names"] == [shown(name) for name in names]
    assert rb'"odd\ufffd\ufffd(name"' in long.body
    assert rb"\u2028" in long.body
    jsonp = ask(port, "/streaming/channelsz?subs=1&callback=x")
    assert json.loads(jsonp.body.removeprefix(b"x(").removesuffix(b")"))["count"] == len(names)
    head = ask(port, "/streaming/channelsz", "HEAD")
    assert (head.status, head.body, head.header("content-type")) == (200, b"", "application/json")
    await session.close()


# Under load, and while the server starts.


@pytest.mark.operations(49)
async def test_pages_answer_while_clients_come_and_go(start: Start) -> None:
    port = free_port()
    server = start("-m", str(port))
    done = False

    async def come_and_go(number: int) -> None:
        nats = await NatsClient.connect(server.port)
        while not done:
            client = await StanClient.connect(nats, f"client-{number}")
            await client.subscribe(f"channel-{number}", durable="d", start=StartPosition.FIRST, auto_ack=True)
            await client.publish(f"channel-{number}", b"x")
            await client.close()
        await nats.close()

    clients = [asyncio.create_task(come_and_go(number)) for number in range(10)]
    for _ in range(30):
        for path in ("/streaming/serverz", "/streaming/clientsz?subs=1", "/streaming/channelsz?subs=1", "/metrics"):
            answer = await asyncio.to_thread(ask, port, path)
            assert answer.status == 200
            if path != "/metrics":
                json.loads(answer.body)
    done = True
    await asyncio.gather(*clients)


@pytest.mark.operations(49)
async def test_streaming_pages_wait_for_the_start(nats: NatsServer) -> None:
    """The start is held up where it waits for NATS, by a nats-server that is stopped."""
    port = free_port()
    watcher = await NatsClient.connect(nats.port)
    probes = watcher.subscribe("_STAN.discover.test-cluster")
    await watcher.flush()
    server = ServerProcess("-ns", nats.url, "-m", str(port), external=True)
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    try:
        await probes.next()
        assert nats.process is not None
        nats.process.send_signal(signal.SIGSTOP)
        try:
            assert (await eventually_answered(port, "/healthz/live")).status == 200
            ready = ask(port, "/healthz/ready")
            assert ready.status == 503
            assert json.loads(ready.body)["problems"][0]["check"] == "server"
            assert page(port, "/varz")["connections"] == 0
            assert "nss_server_ready 0.0" in ask(port, "/metrics").text
            waiting = [
                asyncio.create_task(asyncio.to_thread(ask, port, f"/streaming/{name}"))
                for name in ("serverz", "storez", "clientsz?client=x", "channelsz", "isFTActive")
            ]
            await asyncio.wait(waiting, timeout=0.3)
            assert not [task for task in waiting if task.done()], "they must wait, not fail"
        finally:
            nats.process.send_signal(signal.SIGCONT)
        statuses = [(await task).status for task in waiting]
        await starting
        assert statuses == [200, 200, 404, 200, 204]
        assert ask(port, "/healthz/ready").status == 200
    finally:
        await asyncio.wait({starting})
        server.close()
        await watcher.close()


async def eventually_answered(port: int, path: str) -> Any:
    """The answer, as soon as the port is open."""
    while True:
        try:
            return await asyncio.to_thread(ask, port, path)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


def test_garbage_and_idle_connections_hurt_nobody(start: Start) -> None:
    port = free_port()
    server = start("-m", str(port))
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(600)]
    try:
        for garbage in GARBAGE:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(garbage)
    except ConnectionError:
        pass  # a connection too many, or refused for what it said
    finally:
        for connection in idle:
            connection.close()
    for target in ODD_TARGETS:
        answer = ask(port, target)
        assert answer.status in (200, 301, 307, 400, 404), (target, answer)
    assert page(port, "/streaming/serverz")["state"] == "STANDALONE"
    assert "bug:" not in server.log()
    assert "Traceback" not in server.log()
