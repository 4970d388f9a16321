"""One process of a bench: some of its clients. Started by `runner`, which it tells by lines of JSON.

in:   {plan}                       then, when all processes are ready: go
out:  {"ready": true}              {"sent": …, "acked": …, "received": …} ten times a second
      {"result": {…}} per client   at the end
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from nats_streaming.clock import SystemClock, cpu_ns
from nats_streaming.errors import ClientError, PublishError, StreamingError
from nats_streaming.toolbox.bench.plan import BenchPlan, ClientResult
from nats_streaming.toolbox.login import Login

if TYPE_CHECKING:
    from nats_streaming.client import Client, Message, PendingPublish, Subscription

_HEAD = struct.Struct("<QQQ")  # when it was sent (monotonic ns), publisher, number
_TELL_SECONDS = 0.1


class Worker:
    """The clients of one process."""

    def __init__(self, plan: BenchPlan, publishers: list[int], subscribers: list[int]) -> None:
        """
        Args:
            plan: of the whole bench.
            publishers, subscribers: numbers of those that are here.
        """
        self._plan = plan
        self._clock = SystemClock()
        self._publishers = [ClientResult("pub", number) for number in publishers]
        self._subscribers = [ClientResult("sub", number) for number in subscribers]
        self._subscriptions: list[tuple[Subscription, ClientResult]] = []
        self._clients: list[Client] = []
        self._padding = bytes(plan.size - _HEAD.size)

    async def run(self) -> None:
        """Connect, say so, wait for the start, do it, tell what came of it."""
        try:
            await self._connect()
            _tell({"ready": True})
            await asyncio.to_thread(sys.stdin.readline)
            begun_ns, begun = self._clock.monotonic_ns(), cpu_ns()
            teller = asyncio.create_task(self._tell_progress())
            await asyncio.gather(
                *(
                    self._publish(client, result)
                    for client, result in zip(self._clients, self._publishers, strict=False)
                ),
                *(self._receive(subscription, result) for subscription, result in self._subscriptions),
            )
            teller.cancel()
            # Not os.times(): it counts in ticks of 10 ms, and a short bench takes none.
            used, seconds = (cpu_ns() - begun) / 1e9, (self._clock.monotonic_ns() - begun_ns) / 1e9
            _tell({"busy": used / max(seconds, 1e-9)})
        except StreamingError as error:
            _tell({"failure": str(error), "kind": type(error).__name__})
            return
        finally:
            for client in self._clients:
                await client.close()
        for result in (*self._publishers, *self._subscribers):
            _tell({"result": result.as_document()})

    async def _connect(self) -> None:
        plan = self._plan
        for result in self._publishers:
            self._clients.append(await self._client(f"bench-pub-{result.number}"))
        for result in self._subscribers:
            client = await self._client(f"bench-sub-{result.number}")
            self._clients.append(client)
            subscription = await client.subscribe(
                plan.channel, queue=plan.queue, max_in_flight=plan.max_in_flight, manual_acks=True
            )
            self._subscriptions.append((subscription, result))

    async def _client(self, name: str) -> Client:
        from nats_streaming.client import connect
        from nats_streaming.client.session import unique_id

        plan = self._plan
        return await connect(
            plan.cluster,
            f"{name}-{unique_id()[:8].decode()}",
            servers=plan.servers,
            max_pub_acks_inflight=1 if plan.sync else plan.window,
            request_timeout=plan.timeout_s,
            ack_timeout=plan.timeout_s,
            auto_resume=False,
            **Login(**plan.login).nats_options(),
        )

    async def _publish(self, client: Client, result: ClientResult) -> None:
        """Acks come in the order of the messages, so the oldest is waited for and its time is taken at once."""
        plan, clock, loop = self._plan, self._clock, asyncio.get_running_loop()
        waiting: deque[tuple[PendingPublish, int]] = deque()
        arrived, room = asyncio.Event(), asyncio.Event()

        async def take_acks() -> None:
            while result.acked + result.failed < plan.messages:
                while not waiting:
                    arrived.clear()
                    await arrived.wait()
                pending, sent_ns = waiting.popleft()
                try:
                    await pending
                except PublishError as error:
                    result.failed += 1
                    result.error = result.error or str(error)
                else:
                    result.acked += 1
                    result.latency.add(clock.monotonic_ns() - sent_ns)
                room.set()

        acks = asyncio.create_task(take_acks())
        result.begun_ns = clock.monotonic_ns()
        begun = loop.time()
        try:
            for number in range(plan.messages):
                if plan.rate:
                    await asyncio.sleep(max(begun + number / plan.rate - loop.time(), 0))
                while result.sent - result.acked - result.failed >= (1 if plan.sync else plan.window):
                    room.clear()
                    await room.wait()
                sent_ns = clock.monotonic_ns()
                data = _HEAD.pack(sent_ns, result.number, number) + self._padding
                waiting.append((await client.publish_async(plan.channel, data), sent_ns))
                result.sent += 1
                arrived.set()
            await acks
        except ClientError as error:
            result.error = str(error)
        finally:
            acks.cancel()
            result.ended_ns = clock.monotonic_ns()

    async def _receive(self, subscription: Subscription, result: ClientResult) -> None:
        plan = self._plan
        seen = [0] * plan.publishers  # of each publisher, the number that comes next
        result.begun_ns = result.ended_ns = self._clock.monotonic_ns()
        while True:
            before = result.received
            try:
                async with asyncio.timeout(plan.idle_s):
                    while plan.queue or result.received + result.missing < plan.total:
                        message = await subscription.next()
                        if message is None:
                            return
                        self._take(message, result, seen)
                        subscription.ack_nowait(message)
                    return
            except TimeoutError:
                # One timer for many messages: only when none came while it ran has there been silence.
                if result.received > before:
                    continue
                # A member of a group cannot know which messages are its own: silence is how it ends.
                if not plan.queue:
                    result.missing = plan.total - result.received
                return
            except ClientError as error:
                result.error = str(error)
                return

    def _take(self, message: Message, result: ClientResult, seen: list[int]) -> None:
        now_ns = self._clock.monotonic_ns()
        sent_ns, publisher, number = _HEAD.unpack_from(message.data)
        if number < seen[publisher]:
            result.repeated += 1
            return
        if not self._plan.queue:
            result.missing += number - seen[publisher]
        seen[publisher] = number + 1
        if not result.received:
            result.begun_ns = now_ns
        result.received += 1
        result.ended_ns = now_ns
        result.latency.add(now_ns - sent_ns)

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            _tell(
                {
                    "sent": sum(each.sent for each in self._publishers),
                    "acked": sum(each.acked for each in self._publishers),
                    "received": sum(each.received for each in self._subscribers),
                }
            )


def _tell(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the plan and run it."""
    given = json.loads(sys.stdin.readline())
    worker = Worker(BenchPlan(**given["plan"]), given["publishers"], given["subscribers"])
    try:
        import uvloop
    except ImportError:
        asyncio.run(worker.run())
    else:
        uvloop.run(worker.run())


if __name__ == "__main__":
    main()
