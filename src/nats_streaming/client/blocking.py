"""The client for scripts and threads: the same names, and every call waits.

    from nats_streaming.client.blocking import connect

    with connect("test-cluster", "orders-1", servers="nats://127.0.0.1:4222") as stan:
        stan.publish("orders", b"one espresso")
        for message in stan.subscribe("orders", start="first", durable="billing", manual_acks=True):
            message.ack()

An event loop in a thread of its own does the work. Every method may be called from any thread but that one: a callback
of `connect` (`on_resume` and the like) runs there and must not call back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from nats_streaming.client.client import Client
from nats_streaming.client.connecting import connect as connect_async
from nats_streaming.client.message import Message as AsyncMessage
from nats_streaming.client.publisher import Data, PendingPublish, PublishAck
from nats_streaming.client.start_position import Start
from nats_streaming.client.subscription import Subscription as AsyncSubscription
from nats_streaming.errors import ConnectionClosed

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

CHUNK_MESSAGES = 1024
"""Messages handed to or taken from the loop at once: a step between threads costs more than a message."""


def connect(
    cluster_id: str, client_id: str, *, servers: str | Sequence[str] = "nats://127.0.0.1:4222", **options: Any
) -> BlockingClient:
    """Connect, and wait until it is done.

    Args:
        cluster_id: the server's.
        client_id: letters, digits, `-` and `_`.
        servers: addresses of NATS.
        options: all others of `nats_streaming.client.connect`, except `nats`.

    Raises:
        What `nats_streaming.client.connect` raises.
    """
    if options.get("nats") is not None:
        raise TypeError("nats: a connection of another event loop cannot be used here")
    runner = _Runner(f"nats-streaming {client_id}")
    try:
        return BlockingClient(runner, runner.run(_connect(cluster_id, client_id, servers, options)))
    except BaseException:
        runner.stop()
        raise


async def _connect(cluster_id: str, client_id: str, servers: str | Sequence[str], options: dict[str, Any]) -> Client:
    return await connect_async(cluster_id, client_id, servers=servers, **options)


class BlockingClient:
    """A client ID at a streaming server. Made by `connect`; `async_client` is what does the work."""

    def __init__(self, runner: _Runner, client: Client) -> None:
        """For `connect` only."""
        self.async_client = client
        self._runner = runner

    def publish(self, channel: str, data: Data, timeout: float | None = None) -> PublishAck:
        """Publish and wait until the server has stored the message.

        Args:
            timeout: seconds; None leaves it to the client's ack timeout.

        Raises:
            PublishError, ConnectionLost, ConnectionClosed: as with the asyncio client.
            TimeoutError: `timeout` is over; the message may be stored or not.
        """
        return self._runner.run(self.async_client.publish(channel, data), timeout)

    def publish_async(self, channel: str, data: Data) -> Pending:
        """Publish, waiting only while the window is full."""
        return Pending(self._runner, self._runner.run(self.async_client.publish_async(channel, data)))

    def publish_many(self, channel: str, messages: Iterable[Data]) -> int:
        """Publish everything in order, and wait until all is stored. `messages` is read in this thread.

        Returns:
            How many were stored.

        Raises:
            ExceptionGroup: of the `PublishError`s of the first 1,024 messages among which there was one; what follows
                them is not published.
        """
        stored = 0
        left = iter(messages)
        while chunk := list(islice(left, CHUNK_MESSAGES)):
            stored += self._runner.run(self.async_client.publish_many(channel, chunk))
        return stored

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every publish so far is acknowledged and every ack of ours has reached NATS."""
        self._runner.run(self.async_client.flush(), timeout)

    def subscribe(
        self,
        channel: str,
        callback: Callable[[Message], object] | None = None,
        *,
        start: Start = "new",
        durable: str = "",
        queue: str = "",
        max_in_flight: int = 1024,
        ack_wait: float | timedelta = 30,
        manual_acks: bool = False,
    ) -> BlockingSubscription:
        """Subscribe; iterate over the result, or give a callback, which runs in a thread of its own.

        The arguments are those of the asyncio client.
        """
        subscription = self._runner.run(
            self.async_client.subscribe(
                channel,
                start=start,
                durable=durable,
                queue=queue,
                max_in_flight=max_in_flight,
                ack_wait=ack_wait,
                manual_acks=True,
            )
        )
        blocking = BlockingSubscription(self._runner, self.async_client, subscription, manual_acks=manual_acks)
        if callback is not None:
            blocking.start(callback)
        return blocking

    @property
    def is_connected(self) -> bool:
        return self.async_client.is_connected

    @property
    def is_closed(self) -> bool:
        return self.async_client.is_closed

    def close(self) -> None:
        """Close the connection, as with the asyncio client, and end the thread. Closing twice does nothing."""
        if self._runner.is_running:
            try:
                self._runner.run(self.async_client.close())
            finally:
                self._runner.stop()

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pending:
    """A publish whose ack may still be to come."""

    def __init__(self, runner: _Runner, pending: PendingPublish) -> None:
        self.guid = pending.guid
        self.channel = pending.channel
        self._runner = runner
        self._pending = pending

    @property
    def done(self) -> bool:
        return self._pending.done

    def result(self, timeout: float | None = None) -> PublishAck:
        """Wait for the ack.

        Raises:
            PublishError, ConnectionLost, ConnectionClosed: it was not acknowledged.
            TimeoutError: it is still to come after `timeout` seconds.
        """
        if self._pending.done:
            return self._pending.result()

        async def wait() -> PublishAck:
            return await self._pending

        return self._runner.run(wait(), timeout)


class Message:
    """One message of a channel; the attributes are those of the asyncio client's."""

    __slots__ = ("_message", "_subscription")

    def __init__(self, subscription: BlockingSubscription, message: AsyncMessage) -> None:
        self._subscription = subscription
        self._message = message

    @property
    def channel(self) -> str:
        return self._message.channel

    @property
    def sequence(self) -> int:
        return self._message.sequence

    @property
    def data(self) -> bytes:
        return self._message.data

    @property
    def time(self) -> datetime:
        return self._message.time

    @property
    def time_ns(self) -> int:
        return self._message.time_ns

    @property
    def timestamp_ns(self) -> int:
        return self._message.time_ns

    @property
    def redelivered(self) -> bool:
        return self._message.redelivered

    @property
    def redelivery_count(self) -> int:
        return self._message.redelivery_count

    @property
    def reply(self) -> str:
        return self._message.reply

    def ack(self) -> None:
        """Tell the server that this message is processed.

        Raises:
            SubscriptionClosed: nobody takes an ack for this subscription any more.
        """
        self._subscription.ack(self._message)

    def __repr__(self) -> str:
        return repr(self._message)


class BlockingSubscription:
    """Messages of one channel: iterate over it, in one thread, or in several with manual acks.

    With automatic acks a message is acked when the next one is asked for, since then it is processed.
    """

    def __init__(self, runner: _Runner, client: Client, subscription: AsyncSubscription, *, manual_acks: bool) -> None:
        """For `BlockingClient` only."""
        self.channel = subscription.channel
        self._runner = runner
        self._client = client
        self._subscription = subscription
        self._manual_acks = manual_acks
        self._here: deque[AsyncMessage] = deque()
        self._acks: deque[AsyncMessage] = deque()
        self._taken: AsyncMessage | None = None
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        message = self.next()
        if message is None:
            raise StopIteration
        return message

    def next(self, timeout: float | None = None) -> Message | None:
        """Wait for the next message; None when this program closed the subscription.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            ConnectionLost, SubscriptionError: the subscription ended for another reason.
        """
        if self._taken is not None:
            taken, self._taken = self._taken, None
            if not self._subscription.is_closed:
                self.ack(taken)
        while True:
            try:
                message = self._here.popleft()
            except IndexError:
                try:
                    if not self._runner.run(self._take(), timeout):
                        return None
                except ConnectionClosed:
                    return None
                continue
            if not self._manual_acks:
                self._taken = message
            return Message(self, message)

    def ack(self, message: AsyncMessage) -> None:
        """What `Message.ack` does."""
        self._subscription.check_open(message)
        self._acks.append(message)
        if len(self._acks) == 1:
            self._runner.call(self._send_acks)

    def close(self) -> None:
        """End it here; a durable keeps its place for the next time."""
        self._end(self._subscription.close())

    def unsubscribe(self) -> None:
        """End it for good: the server forgets a durable and its place."""
        self._end(self._subscription.unsubscribe())

    def start(self, callback: Callable[[Message], object]) -> None:
        """Hand every message to `callback`, in a thread of its own. For `BlockingClient.subscribe`."""

        def work() -> None:
            try:
                for message in self:
                    try:
                        callback(message)
                    except Exception as error:  # noqa: BLE001 - the user's, reported; unacked, it comes again
                        self._taken = None
                        self._report(error)
            except Exception as error:  # noqa: BLE001 - the end of the subscription, reported
                self._report(error)

        self._thread = threading.Thread(target=work, name=f"nats-streaming {self.channel}", daemon=True)
        self._thread.start()

    def _report(self, error: Exception) -> None:
        self._runner.call(lambda: self._client.report(error))

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        self._here.clear()
        self._runner.run(ending)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _send_acks(self) -> None:
        while self._acks:
            message = self._acks.popleft()
            if not self._subscription.is_closed:  # else it was closed between the call and now
                self._subscription.ack_nowait(message)

    async def _take(self) -> bool:
        """Wait for a message and take all that wait; False at the end."""
        message = await self._subscription.next()
        if message is None:
            return False
        self._here.append(message)
        self._here.extend(self._subscription.take_waiting(CHUNK_MESSAGES))
        return True


class _Runner:
    """An event loop in a thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()  # nothing is handed to the loop behind its end
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return not self._is_stopping

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run `work` in the loop and wait; interrupted or timed out, it is cancelled."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("called from a callback of connect(), which runs in the client's own thread")
        with self._lock:
            if self._is_stopping:
                work.close()
                raise ConnectionClosed("the connection was closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except concurrent.futures.CancelledError:
            raise ConnectionClosed("the connection was closed meanwhile") from None
        except concurrent.futures.TimeoutError:
            if future.done():
                raise  # the work's own
            future.cancel()
            raise TimeoutError(f"not done within {timeout:g} s") from None
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[[], None]) -> None:
        """Call `function` in the loop, soon; not behind its end."""
        with self._lock:
            if not self._is_stopping:
                self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            if self._is_stopping:
                return
            self._is_stopping = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
