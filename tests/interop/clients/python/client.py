"""The scenario program for PyPI's asyncio-nats-streaming: obeys the line protocol of ../../README.md.

Runs on the old Python that library needs (3.7 to 3.9), so newer syntax must not be used here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from nats.aio.client import Client as NatsClient
from stan.aio.client import Client as StanClient

LINE_BYTES_MAX = 1 << 24


def emit(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def unhex(word: str) -> bytes:
    return b"" if word == "-" else bytes.fromhex(word)


class Program:
    def __init__(self) -> None:
        self.nats = NatsClient()
        self.stan = StanClient()
        self.subscriptions: dict[str, Any] = {}
        self.received: dict[tuple[str, int], Any] = {}

    async def connect(self, url: str, cluster: str, client: str, ping_seconds: str, ping_max_out: str) -> None:
        self.nats = NatsClient()
        self.stan = StanClient()
        loop = asyncio.get_event_loop()
        await self.nats.connect(servers=[url], loop=loop, reconnect_time_wait=0.1, max_reconnect_attempts=600)
        try:
            await self.stan.connect(
                cluster,
                client,
                nats=self.nats,
                connect_timeout=5,
                ping_interval=int(ping_seconds),
                ping_max_out=int(ping_max_out),
                conn_lost_cb=self.on_lost,
            )
        except Exception:
            await self.nats.close()
            raise

    async def on_lost(self, error: Exception) -> None:
        emit("lost", error)

    async def publish(self, channel: str, word: str) -> None:
        answer = await self.stan.publish(channel, unhex(word), ack_wait=10)
        if answer.error:
            raise RuntimeError(answer.error)

    async def publish_async(self, channel: str, count: str, word: str) -> None:
        errors: list[str] = []
        missing = int(count)
        done = asyncio.Event()

        async def on_ack(answer: Any) -> None:
            nonlocal missing
            if answer.error:
                errors.append(answer.error)
            missing -= 1
            if missing == 0:
                done.set()

        for number in range(1, int(count) + 1):
            await self.stan.publish(channel, unhex(word) + str(number).encode(), ack_handler=on_ack)
        await asyncio.wait_for(done.wait(), 10)
        if errors:
            raise RuntimeError(errors[0])

    async def subscribe(self, name: str, channel: str, *words: str) -> None:
        options: dict[str, Any] = {}
        for word in words:
            key, _, value = word.partition("=")
            if key == "queue":
                options["queue"] = value
            elif key == "durable":
                options["durable_name"] = value
            elif key == "max_in_flight":
                options["max_inflight"] = int(value)
            elif key == "ack_wait":
                options["ack_wait"] = int(value)
            elif key == "manual":
                options["manual_acks"] = True
            elif key == "start":
                options.update(start_at(value))
            else:
                raise ValueError("no subscription option " + word)

        async def on_message(message: Any) -> None:
            self.received[name, message.seq] = message
            payload = bytes(message.data).hex() or "-"
            emit("message", name, message.seq, int(message.proto.redelivered), payload)

        self.subscriptions[name] = await self.stan.subscribe(channel, cb=on_message, **options)

    async def ack(self, name: str, sequence: str) -> None:
        await self.stan.ack(self.received[name, int(sequence)])

    async def unsubscribe(self, name: str) -> None:
        await self.subscriptions.pop(name).unsubscribe()

    async def close_subscription(self, name: str) -> None:
        await self.subscriptions.pop(name).close()

    async def close(self) -> None:
        await self.stan.close()
        await self.nats.close()


def start_at(start: str) -> dict[str, Any]:
    kind, _, value = start.partition(":")
    if kind == "new":
        return {"start_at": "new_only"}
    if kind == "last":
        return {"start_at": "last_received"}
    if kind == "first":
        return {"deliver_all_available": True}
    if kind == "sequence":
        return {"start_at": "sequence", "sequence": int(value)}
    if kind == "time":
        return {"start_at": "time", "time": int(value) / 1000}
    if kind == "delta":
        return {"start_at": "time", "time": time.time() - int(value) / 1000}
    raise ValueError("no start position " + start)


async def main() -> None:
    loop = asyncio.get_event_loop()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    program = Program()
    while True:
        line = (await lines.readline()).decode().rstrip("\n")
        if not line:
            return
        command, *words = line.split(" ")
        try:
            await getattr(program, command)(*words)
        except Exception as error:  # noqa: BLE001 - every failure is this command's answer
            emit("error", " ".join(str(error).split()) or type(error).__name__)
        else:
            emit("ok")


if __name__ == "__main__":
    asyncio.get_event_loop().run_until_complete(main())
