"""Starting, stopping, and refusing to start."""

from __future__ import annotations

import re
import signal

import pytest

from tests.support.raw_client import StanClient, refused
from tests.support.servers import ServerProcess, running_server
from tests.support.world import World


@pytest.mark.spec(36)
@pytest.mark.parametrize(("sig", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
async def test_exit_codes(sig: signal.Signals, code: int) -> None:
    """Both stop cleanly and at once, clients or not; the same port serves the next start."""
    with running_server() as server:
        world = World(server)
        client = await world.client()
        await client.subscribe("foo")
        assert server.stop(sig) == code
        await client.nats.disconnected.wait()
        await world.close()
        server.start()
        world = World(server)
        await (await world.client(client.client_id)).publish("foo")
        await world.close()


@pytest.mark.spec(101)
async def test_second_server_of_one_cluster_id(world: World) -> None:
    """It finds the first by connecting to it, cleans up after itself, says why it stops, and exits with 1."""
    second = ServerProcess("-ns", f"nats://127.0.0.1:{world.server.port}", external=True)
    try:
        with pytest.raises(RuntimeError, match="server exited with 1 before it was ready"):
            second.start()
        assert 'discovered another streaming server with cluster ID "test-cluster"' in second.log()
    finally:
        second.close()
    await world.client("test-cluster")


@pytest.mark.spec(15, 101)
async def test_two_cluster_ids_on_one_nats(world: World) -> None:
    """They do not see each other's clients and channels."""
    address = f"nats://127.0.0.1:{world.server.port}"
    with running_server("-ns", address, "-cid", "other", external=True):
        name = world.name()
        here = await world.client(name)
        there = await StanClient.connect(await world.nats(), name, cluster="other")
        assert there.connect_response.pubPrefix == b"_STAN.pub.other"
        assert there.connect_response.pingRequests == b"_STAN.discover.other.pings"
        channel = world.channel()
        subscription = await there.subscribe(channel)
        await here.publish(channel)
        await there.publish(channel, b"there")
        assert [(await subscription.next()).data, await subscription.settled()] == [b"there", []]
        await there.close()
        assert await refused(there.close()) == "stan: unknown clientID"


@pytest.mark.spec(104)
async def test_start_lines() -> None:
    """The lines by which scripts and people know that it has started."""
    with running_server("-SD", "-cid", "my-cluster") as server:
        log = server.log()
        for line in (
            r"\[INF\] STREAM: Starting nats-streaming-server\[my-cluster\] version \S+\n",
            r"\[INF\] STREAM: ServerID: [0-9A-Za-z]{22}\n",
            r"\[INF\] STREAM: Recovering the state\.\.\.\n",
            r"\[INF\] STREAM: No recovered state\n",
            r"\[DBG\] STREAM: Did not detect another server instance\n",
            r"\[DBG\] STREAM: Discover subject: +_STAN\.discover\.my-cluster\n",
            r"\[INF\] STREAM: Message store is MEMORY\n",
            r"\[INF\] STREAM: Streaming Server is ready\n",
        ):
            match = re.search(line, log)
            assert match, f"{line} in\n{log}"
            log = log[match.end() :]
