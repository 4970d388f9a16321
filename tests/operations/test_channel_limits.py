"""Limits per channel over restarts: the file may change between two runs, and the store holds what it then says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.raw_client import NatsClient, StanClient, unique
from tests.support.servers import ServerProcess
from tests.support.stan_messages import StartPosition

Start = Callable[..., ServerProcess]


async def with_client(server: ServerProcess, use: Callable[[StanClient], object]) -> None:
    nats = await NatsClient.connect(server.port)
    client = await StanClient.connect(nats, unique("client-"))
    await use(client)  # type: ignore[misc]
    await client.close()
    await nats.close()


async def holds(client: StanClient, channel: str, sequences: list[int]) -> None:
    """See that a channel holds these messages and no others; those of before a restart take a while to come."""
    subscription = await client.subscribe(channel, start=StartPosition.FIRST, max_in_flight=100)
    assert await subscription.sequences(len(sequences)) == sequences
    assert await subscription.settled() == []


@pytest.mark.operations(14)
async def test_limits_of_a_file_store_may_change_between_runs(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "stan.conf"
    text = (
        f"streaming {{ store: file, dir: '{tmp_path}/store', file {{ sync: false }}\n"
        'limits { mm: 4, channels { "a.>": { mm: 6 }, "a.b.*" { mm: 0 }, "c": { mm: 2 } } } }\n'
    )
    file.write_text(text)
    channels = {"a.x": [5, 6, 7, 8, 9, 10], "a.b.x": list(range(1, 11)), "c": [9, 10], "d": [7, 8, 9, 10]}

    async def publish(client: StanClient) -> None:
        for channel, left in channels.items():
            await client.publish_many(channel, [b"x"] * 10)
            await holds(client, channel, left)

    async def look(client: StanClient) -> None:
        for channel, left in channels.items():
            await holds(client, channel, left)

    server = start("-c", str(file))
    await with_client(server, publish)
    server.stop()
    await with_client(server.start(), look)
    server.stop()

    file.write_text(text.replace('"a.b.*" { mm: 0 }', '"a.b.*" {}').replace("mm: 6", "mm: 3"))
    channels.update({"a.x": [8, 9, 10], "a.b.x": [8, 9, 10]})
    server.start()
    assert re.search(r"STREAM: a\.>$", server.log(), re.MULTILINE)
    await with_client(server, look)


@pytest.mark.parametrize("published", [6, 7, 23])
async def test_what_a_limit_has_dropped_stays_dropped_under_a_wider_one(
    start: Start, tmp_path: Path, published: int
) -> None:
    """Also what the very last messages before the end have pushed out."""

    async def publish(client: StanClient) -> None:
        for _ in range(published):
            await client.publish("foo", b"x")

    left = list(range(published - 4, published + 1))

    async def look(client: StanClient) -> None:
        await holds(client, "foo", left)

    directory = ("-st", "FILE", "-dir", str(tmp_path))
    server = start(*directory, "-mm", "5")
    await with_client(server, publish)
    server.stop()
    await with_client(start(*directory), look)
