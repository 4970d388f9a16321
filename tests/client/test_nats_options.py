"""What is passed through to NATS: TLS, users, credentials, several servers, the inbox prefix, connections handed in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import nats
import pytest

from nats_streaming.client import Client, ConnectError, ConnectionLost, NoResponse, connect
from tests.support.certificates import Authority
from tests.support.nkey_files import new_user, operator_mode
from tests.support.proxy import Proxy
from tests.support.raw_client import NatsClient
from tests.support.servers import ServerProcess, free_port, running_nats

Transport = Literal["native", "nats-py"]
both = pytest.mark.parametrize("transport", ["native", "nats-py"])
DEADLINE_S = 30.0
CORPUS = Path(__file__).parents[1] / "operations" / "corpus"


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Starts a nats-server without a streaming server."""
    with contextlib.ExitStack() as stack:
        yield lambda config: stack.enter_context(running_nats(tmp_path, config))


async def gets_in(port: int, transport: Transport, **options: Any) -> bool:
    """Whether NATS lets us in; no streaming server is there, which only an accepted client learns."""
    address = options.pop("servers", f"nats://127.0.0.1:{port}")
    if transport == "nats-py":
        options["error_cb"] = _nothing  # else nats-py logs each attempt
    with pytest.raises((ConnectError, NoResponse)) as caught:
        await connect("nobody", "client", servers=address, transport=transport, **options)
    return isinstance(caught.value, NoResponse) and caught.value.no_responders


async def _nothing(_error: Exception) -> None:
    pass


@both
async def test_users_and_tokens(nats_server: Callable[[str], int], transport: Transport) -> None:
    port = nats_server("authorization { user: a, password: pa }")
    assert await gets_in(port, transport, user="a", password="pa")
    assert await gets_in(port, transport, servers=f"nats://a:pa@127.0.0.1:{port}")
    assert not await gets_in(port, transport, user="a", password="wrong")


@both
async def test_tls(nats_server: Callable[[str], int], tmp_path: Path, transport: Transport) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "127.0.0.1")
    mine, my_key = authority.issue("client")
    port = nats_server(
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.path}", verify: true }}'
    )
    context = ssl.create_default_context(cafile=str(authority.path))
    if transport == "native":  # nats-py waits for its transport to close until our own time limit
        assert not await gets_in(port, transport, tls=context)
    context.load_cert_chain(mine, my_key)
    assert await gets_in(port, transport, tls=context)
    if transport == "nats-py":
        return
    stranger = ssl.create_default_context()
    stranger.load_cert_chain(mine, my_key)
    assert not await gets_in(port, transport, tls=stranger)


@both
async def test_an_nkey(nats_server: Callable[[str], int], tmp_path: Path, transport: Transport) -> None:
    user, other = new_user(), new_user()
    port = nats_server(f"authorization {{ users [ {{ nkey: {user.public} }} ] }}")
    (tmp_path / "seed").write_text(user.seed)
    (tmp_path / "other").write_text(other.seed)
    assert await gets_in(port, transport, nkeys_seed=str(tmp_path / "seed"))
    assert not await gets_in(port, transport, nkeys_seed=str(tmp_path / "other"))


@both
async def test_a_credentials_file(nats_server: Callable[[str], int], tmp_path: Path, transport: Transport) -> None:
    file = tmp_path / "user.creds"
    port = nats_server(operator_mode(file))
    assert await gets_in(port, transport, user_credentials=str(file))
    assert not await gets_in(port, transport)


@both
async def test_several_servers(ours: str, name: str, transport: Transport) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    stan = await connect("test-cluster", name, servers=[dead, ours], transport=transport, dont_randomize=True)
    await stan.publish(name, b"")
    await stan.close()


async def test_an_address_that_is_none(name: str) -> None:
    with pytest.raises(Exception, match="scheme must be nats or tls"):
        await connect("test-cluster", name, servers="http://127.0.0.1:4222")


@both
async def test_the_smallest_permissions_suffice(
    start: Callable[..., ServerProcess], name: str, transport: Transport
) -> None:
    port = free_port()
    file = CORPUS / "permissions.conf"
    start("ours", "-c", str(file), listens_by_file=True, port=port, environment={"STAN_PORT": str(port)})
    url = f"nats://127.0.0.1:{port}"
    async with connect("test-cluster", name, servers=url, transport=transport, user="cli", password="c") as stan:
        sub = await stan.subscribe("orders", start="first")
        await stan.publish("orders", b"x")
        assert (await anext(sub)).data == b"x"


@both
async def test_the_inbox_prefix(ours: str, name: str, transport: Transport) -> None:
    watcher = await NatsClient.connect(int(ours.rpartition(":")[2]))
    subjects: list[bytes] = []
    watcher.subscribe(b"MINE.>", lambda message: subjects.append(message.subject))
    await watcher.flush()
    async with connect("test-cluster", name, servers=ours, transport=transport, inbox_prefix="MINE") as stan:
        sub = await stan.subscribe(name, start="first")
        await stan.publish(name, b"")
        await anext(sub)
        await watcher.flush()
    assert subjects
    await watcher.close()


async def test_a_connection_handed_in_stays_its_owners(ours: str, name: str) -> None:
    nc = await nats.connect(ours)
    plain = await nc.subscribe("plain")
    async with connect("test-cluster", name, nats=nc) as stan:
        await stan.publish(name, b"")
    await nc.publish("plain", b"still open")
    # Nothing of this can be learned from nats-py's flush, whose PING goes past publishes.
    assert (await plain.next_msg(DEADLINE_S)).data == b"still open"
    stan = await connect("test-cluster", name, nats=nc)
    sub = await stan.subscribe(name)
    await nc.close()
    with pytest.raises(ConnectionLost, match="connection closed"):
        await anext(sub)
    await stan.close()
    with pytest.raises(ConnectError, match="not connected"):
        await connect("test-cluster", name, nats=nc)


@both
async def test_a_flush_returns_when_acks_have_reached_nats(ours: str, name: str, transport: Transport) -> None:
    sent = b""

    def record(_: int, data: bytes) -> bool:
        nonlocal sent
        sent += data
        return True

    async with Proxy(int(ours.rpartition(":")[2])) as proxy:
        proxy.lets_request = record
        async with connect("test-cluster", name, servers=proxy.url, transport=transport) as stan:
            sub = await stan.subscribe(name, manual_acks=True)
            await stan.publish(name, b"")
            message = await anext(sub)
            sent = b""
            await message.ack()
            await stan.flush()
            # The last PING was answered after whatever is before it.
            assert b"PUB _INBOX." in sent.rpartition(b"PING\r\n")[0]


async def test_nats_py_told_to_give_up_ends_the_client(start: Callable[..., ServerProcess], name: str) -> None:
    server = start("ours")
    url = f"nats://127.0.0.1:{server.port}"
    stan = await connect("test-cluster", name, servers=url, max_reconnect_attempts=1, reconnect_time_wait=0.05)
    sub = await stan.subscribe(name)
    server.kill()
    with pytest.raises(ConnectionLost):
        await anext(sub)
    await stan.close()


@both
async def test_a_connect_that_is_cancelled_leaves_nothing_open(ours: str, name: str, transport: Transport) -> None:
    """At any of its steps; the ID it may have registered is free, since nobody answers for it."""
    for steps in range(0, 60, 3):
        task = asyncio.ensure_future(_open(ours, name, transport))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await task.result().close()
    async with connect("test-cluster", name, servers=ours, transport=transport) as stan:
        await stan.publish(name, b"")


async def _open(url: str, name: str, transport: Transport) -> Client:
    return await connect("test-cluster", name, servers=url, transport=transport)
