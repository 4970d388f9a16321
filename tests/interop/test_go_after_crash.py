"""A server of ours is killed, the Go server goes on in its directory, and then ours is back: nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.raw_client import Delivery, NatsClient, StanClient
from ..support.servers import ServerProcess
from .prepare import Program
from .test_go_filestore import deliveries, go_on

FORKED, UNTOUCHED = "forked", "untouched"
SETTLED, JOURNALED = 3, 4


def payloads(who: str, count: int) -> list[bytes]:
    return [b"%s %d" % (who.encode(), number) for number in range(1, count + 1)]


async def publish(server: ServerProcess, channels: list[str], data: list[bytes]) -> None:
    nats = await NatsClient.connect(server.port)
    client = await StanClient.connect(nats, "writer")
    for channel in channels:
        await client.publish_many(channel, data)
    await nats.close()


def ours_on(directory: Path) -> ServerProcess:
    return ServerProcess("-store", "FILE", "-dir", str(directory)).start()


async def crash(directory: Path) -> None:
    """A run that stops cleanly, and one that is killed as soon as its publishes are acknowledged."""
    for data, stop in ((payloads("settled", SETTLED), signal.SIGINT), (payloads("ours", JOURNALED), signal.SIGKILL)):
        server = ours_on(directory)
        try:
            await publish(server, [FORKED, UNTOUCHED], data)
            os.kill(server.pid, stop)
            server.wait()
        finally:
            server.close()


async def read_back(directory: Path, counts: dict[str, int]) -> tuple[dict[str, list[Delivery]], str]:
    server = ours_on(directory)
    try:
        found = {channel: await deliveries(server, channel, count) for channel, count in counts.items()}
        assert server.stop(signal.SIGINT) == 0
        return found, server.log()
    finally:
        server.close()


def test_a_journal_that_the_original_has_passed_over(
    prepared: Callable[[str], Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "store"
    (original,) = prepared("go-server").command
    asyncio.run(crash(directory))
    assert list(directory.glob("journal.*"))
    assert (directory / ".truncate.lck").exists()

    async def visit() -> list[Delivery]:
        with go_on(directory) as server:
            await publish(server, [FORKED], payloads("go", 2))
            return await deliveries(server, FORKED, SETTLED + 2)

    with monkeypatch.context() as patch:
        patch.setenv("STAN_SERVER_UNDER_TEST", original)
        seen_by_go = asyncio.run(visit())
    assert not (directory / ".truncate.lck").exists(), "how we know that the original was here"

    everything = {FORKED: SETTLED + JOURNALED + 2, UNTOUCHED: SETTLED + JOURNALED}
    for _ in range(2):
        found, log = asyncio.run(read_back(directory, everything))
        forked = found[FORKED]
        assert [each.sequence for each in forked] == list(range(1, len(forked) + 1))
        assert sorted(each.data for each in forked) == sorted(
            payloads("settled", SETTLED) + payloads("ours", JOURNALED) + payloads("go", 2)
        )
        for theirs in seen_by_go:
            mine = forked[theirs.sequence - 1]
            assert (mine.data, mine.timestamp) == (theirs.data, theirs.timestamp), "what the original has said holds"
        times = [each.timestamp for each in forked]
        assert times == sorted(times)
        assert [each.data for each in found[UNTOUCHED]] == payloads("settled", SETTLED) + payloads("ours", JOURNALED)
    assert len(list(directory.glob("journal.*.set-aside"))) == 1
    assert "bug" not in log

    with monkeypatch.context() as patch:
        patch.setenv("STAN_SERVER_UNDER_TEST", original)

        async def visit_again() -> None:
            with go_on(directory) as server:
                again = await deliveries(server, FORKED, everything[FORKED])
                assert [each.data for each in again] == [each.data for each in forked]

        asyncio.run(visit_again())


def test_the_original_refuses_to_cut_bad_ends_off_over_a_journal(
    prepared: Callable[[str], Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "store"
    (original,) = prepared("go-server").command
    asyncio.run(crash(directory))
    monkeypatch.setenv("STAN_SERVER_UNDER_TEST", original)
    server = ServerProcess("-store", "FILE", "-dir", str(directory), "-file_truncate_bad_eof")
    try:
        with pytest.raises(RuntimeError, match="should not be opened consecutively"):
            server.start()
    finally:
        server.close()
    assert (directory / ".truncate.lck").exists()
