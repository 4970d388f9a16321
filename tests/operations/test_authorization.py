"""Who may connect: what files and flags say of users, and as whom the streaming server itself logs in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.raw_client import NatsClient, StanClient, unique
from tests.support.servers import ServerProcess, free_port, run_to_end

Start = Callable[..., ServerProcess]
CORPUS = Path(__file__).parent / "corpus"
USERS = "authorization { users [ { user: a, password: pa }, { user: b, password: pb } ] }\n"


async def serves(server: ServerProcess, **credentials: str) -> bool:
    """Whether a client with these credentials gets a message through; False if it may not connect."""
    try:
        nats = await NatsClient.connect(server.port, **credentials)
    except ConnectionResetError:
        return False
    client = await StanClient.connect(nats, unique("client-"))
    await client.publish("orders")
    await client.close()
    await nats.close()
    return True


@pytest.mark.operations(78)
@pytest.mark.parametrize(
    ("text", "flags", "credentials"),
    [
        ("authorization { user: a, password: pa }", [], {"user": "a", "pass": "pa"}),
        ("authorization { username: a, pass: pa, timeout: 5 }", [], {"user": "a", "pass": "pa"}),
        ("authorization { user: a }", [], {"user": "a"}),
        ("authorization { token: ta }", [], {"auth_token": "ta"}),
        ("authorization { user: x, password: px }", ["-user", "a", "-pass", "pa"], {"user": "a", "pass": "pa"}),
        ("authorization { user: a, password: px }", ["-pass", "pa"], {"user": "a", "pass": "pa"}),
        ("", ["-auth", "ta"], {"auth_token": "ta"}),
        (USERS, ["-user", "b", "-pass", "pb"], {"user": "a", "pass": "pa"}),
        (USERS + "streaming { user: b, pass: pb }", [], {"user": "a", "pass": "pa"}),
        (USERS + "streaming { user: x, pass: px }", ["-user", "b", "-pass", "pb"], {"user": "b", "pass": "pb"}),
    ],
)
async def test_the_file_s_user_is_asked_for_and_used(
    start: Start, tmp_path: Path, text: str, flags: list[str], credentials: dict[str, str]
) -> None:
    file = tmp_path / "stan.conf"
    file.write_text(f"max_payload: 1MB\n{text}\n")
    server = start("-c", str(file), *flags)
    assert await serves(server, **credentials)
    assert not await serves(server)
    assert not await serves(server, user="a", **{"pass": "wrong"})


@pytest.mark.operations(78)
def test_a_list_of_users_without_ours(tmp_path: Path) -> None:
    file = tmp_path / "stan.conf"
    file.write_text(USERS)
    ended = run_to_end("-c", str(file), "-p", "-1")
    assert ended.status == 1
    assert "[FTL] STREAM: Failed to start: nats: Authorization Violation" in ended.err


@pytest.mark.operations(82)
async def test_the_smallest_permissions_suffice(start: Start) -> None:
    port = free_port()
    file = CORPUS / "permissions.conf"
    server = start("-c", str(file), listens_by_file=True, port=port, environment={"STAN_PORT": str(port)})
    nats = await NatsClient.connect(port, user="cli", **{"pass": "c"})
    client = await StanClient.connect(nats, "client")
    subscription = await client.subscribe("orders", ack_wait=1)
    await client.publish("orders", b"x")
    delivery = await subscription.next()
    subscription.ack(delivery)
    await client.ping()
    await subscription.unsubscribe()
    assert nats.errors == []
    nats.publish("_STAN.pub.test-cluster.bills")
    await nats.flush()
    assert [error for error in nats.errors if b"Permissions Violation for Publish" in error]
    await client.close()
    await nats.close()
    assert "Violation" not in "".join(line for line in server.log().splitlines() if "STREAM" in line)
