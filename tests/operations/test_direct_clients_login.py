"""Clients of an embedded NATS with one user or a token: served past it, but only once it has let them in."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import stan_messages as stan
from tests.support.raw_client import NatsClient, StanClient
from tests.support.servers import ServerProcess

Start = Callable[..., ServerProcess]
RIGHT = {"user": "ann", "pass": "secret"}
MESSAGES = 200


def traffic(server: ServerProcess, monitor_port: int) -> int:
    """Messages that the nats-server has got from clients."""
    with urllib.request.urlopen(f"http://127.0.0.1:{monitor_port}/varz", timeout=10) as answer:
        return int(json.load(answer)["in_msgs"])


def monitor_port(server: ServerProcess) -> int:
    return int(server.wait_for_log(r"Starting http monitor on \S+:(\d+)")[1])


async def publish_some(server: ServerProcess, **login: str) -> int:
    """Publish and consume; returns how many messages the nats-server has seen of that."""
    nats = await NatsClient.connect(server.port, **login)
    client = await StanClient.connect(nats, "ann")
    subscription = await client.subscribe("foo", max_in_flight=1000)
    port = monitor_port(server)
    before = traffic(server, port)
    await client.publish_many("foo", [b"%d" % number for number in range(MESSAGES)])
    assert [delivery.data for delivery in await subscription.take(MESSAGES)] == [b"%d" % n for n in range(MESSAGES)]
    seen = traffic(server, port) - before
    await client.close()
    await nats.close()
    return seen


async def test_a_user_by_flags(start: Start) -> None:
    server = start("-user", "ann", "-pass", "secret", "-m", "-1")
    assert await publish_some(server, **RIGHT) < MESSAGES


async def test_a_token_by_a_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text("authorization { token: secret, timeout: 2 }\n")
    server = start("-c", str(file), "-m", "-1")
    assert await publish_some(server, auth_token="secret") < MESSAGES


async def test_users_with_rights_of_their_own_are_left_to_nats(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text(
        "authorization { users [ {user: ann, password: secret}, {user: us, password: too} ] }\n"
        "streaming { username: us, password: too, stan_debug: true }\n"
    )
    server = start("-c", str(file), "-m", "-1")
    assert "itself: the NATS configuration has authorization.users" in server.log()
    assert await publish_some(server, **RIGHT) >= MESSAGES


@pytest.mark.parametrize("login", [{}, {"user": "ann", "pass": "wrong"}, None])
async def test_who_is_not_let_in_gets_and_does_nothing(start: Start, login: dict[str, str] | None) -> None:
    """All of it in one write, before anybody can have said no."""
    server = start("-user", "ann", "-pass", "secret")
    nats = await NatsClient.connect(server.port, **RIGHT)
    client = await StanClient.connect(nats, "ann")
    subscription = await client.subscribe("foo")
    publish = stan.PubMsg(
        clientID=client.client_id, guid=b"forged", subject=b"foo", data=b"forged", connID=client.conn_id
    ).SerializeToString()

    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    if login is not None:
        options = json.dumps({"verbose": False, "pedantic": False, **login}).encode()
        writer.write(b"CONNECT " + options + b"\r\n")
    writer.write(
        b"SUB > 1\r\nSUB %b 2\r\nPUB _STAN.pub.test-cluster.foo acks %d\r\n%b\r\nPING\r\n"
        % (subscription.inbox, len(publish), publish)
    )
    told = b""
    while chunk := await asyncio.wait_for(reader.read(65536), 10):
        told += chunk
        await client.publish("foo", b"real")
    assert b"'Authorization Violation'" in told
    assert b"MSG" not in told
    assert b"PONG" not in told
    writer.close()

    await client.publish("foo", b"last")
    received = [(await subscription.next()).data]
    while received[-1] != b"last":
        received.append((await subscription.next()).data)
    assert set(received) <= {b"real", b"last"}


async def test_a_client_that_does_not_wait_to_be_let_in(start: Start) -> None:
    server = start("-user", "ann", "-pass", "secret")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connect = stan.ConnectRequest(clientID=b"hasty", heartbeatInbox=b"hb", protocol=1, connID=b"c").SerializeToString()
    publish = stan.PubMsg(clientID=b"hasty", guid=b"g", subject=b"foo", data=b"d", connID=b"c").SerializeToString()
    writer.write(
        b'CONNECT {"verbose":false,"user":"ann","pass":"secret"}\r\nSUB replies 1\r\nSUB acks 2\r\nSUB hb 3\r\n'
        b"PUB _STAN.discover.test-cluster replies %d\r\n%b\r\nPING\r\n" % (len(connect), connect)
    )
    await asyncio.wait_for(reader.readuntil(b"MSG replies 1"), 10)
    writer.write(b"PUB _STAN.pub.test-cluster.foo acks %d\r\n%b\r\n" % (len(publish), publish))
    await asyncio.wait_for(reader.readuntil(b"MSG acks 2"), 10)
    writer.close()
