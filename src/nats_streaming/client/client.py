"""The client itself: puts link, session, publisher, subscriptions and supervisor together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from nats_streaming.client.callbacks import Callbacks
from nats_streaming.client.link import ClientLink
from nats_streaming.client.message import Message
from nats_streaming.client.options import ClientOptions, at_least
from nats_streaming.client.publisher import Data, PendingPublish, PublishAck, Publisher
from nats_streaming.client.session import Session, Unregistered
from nats_streaming.client.start_position import Start, check_start, timedelta_ns
from nats_streaming.client.subscription import SubscribeOptions, Subscription, run_callback
from nats_streaming.client.supervisor import Resumed, Supervisor
from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ClientError, ConnectError, ConnectionClosed, ConnectionLost, NoResponse

logger = logging.getLogger("nats_streaming.client")


class Client:
    """A client ID at a streaming server. All of it belongs to the loop it was connected in."""

    def __init__(self, options: ClientOptions, link: ClientLink) -> None:
        """For `connect` only."""
        self.options = options
        self.link = link
        self.request_timeout_s = options.request_timeout_s
        self.session = Session(
            link,
            f"{options.discover_prefix}.{options.cluster_id}",
            options.client_id,
            options.inbox_prefix,
            options.ping_interval_s,
            options.ping_max_out,
        )
        self._publisher = Publisher(
            link,
            self.session,
            options.limits,
            resumes=options.auto_resume,
            on_suspect=lambda: self._supervisor.check(),
            on_unregistered=lambda reason: self._supervisor.unregistered(reason),
            on_error=self.report,
        )
        self._supervisor = Supervisor(self, auto_resume=options.auto_resume, resume_timeout_s=options.resume_timeout_s)
        self._subscriptions: dict[Subscription, None] = {}
        self._callbacks = Callbacks(self, options.on_error)
        self._ready = asyncio.Event()
        self._error: ClientError | None = None
        self._is_closing = False
        self._loop = asyncio.get_running_loop()

    @property
    def client_id(self) -> str:
        return self.options.client_id

    @property
    def cluster_id(self) -> str:
        return self.options.cluster_id

    @property
    def is_connected(self) -> bool:
        """Whether the session is up: False during a resume and after the end."""
        return self._ready.is_set() and self._error is None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed or lost for good."""
        return self._error is not None

    @property
    def pending_count(self) -> int:
        """Publishes whose ack is still to come."""
        return self._publisher.pending_count

    # Publishing.

    async def publish(self, channel: str, data: Data) -> PublishAck:
        """Publish and wait until the server has stored the message.

        Cancelled while it waits, the message may be stored or not.

        Raises:
            PublishError: refused by the server, or `AckTimeout`; both carry the guid.
            ConnectionLost, ConnectionClosed: nothing can be sent any more.
        """
        return await (await self._publisher.publish(channel, data))

    def publish_async(self, channel: str, data: Data) -> Coroutine[Any, Any, PendingPublish]:
        """Publish and return at once, or when fewer than `max_pub_acks_inflight` are unacknowledged.

        Returns:
            What to await for the ack. An error that nobody awaits goes to `on_error`.

        Raises:
            PublishError: the channel or the size is not allowed.
            ConnectionLost, ConnectionClosed: nothing can be sent any more.
        """
        return self._publisher.publish(channel, data)

    async def publish_many(self, channel: str, messages: Iterable[Data] | AsyncIterable[Data]) -> int:
        """Publish everything in `messages`, in order and pipelined, and wait until all is stored.

        Memory stays flat however many there are.

        Returns:
            How many were stored.

        Raises:
            ExceptionGroup: of `PublishError`, at most 1,000 of them, after all was sent.
            ConnectionLost, ConnectionClosed: nothing can be sent any more.
        """
        from nats_streaming.client.batch import publish_many

        return await publish_many(self._publisher.publish, channel, messages)

    async def flush(self) -> None:
        """Wait until every publish so far is acknowledged, or has failed, and every ack of ours has reached NATS.

        Raises:
            NoResponse: NATS did not confirm it.
            ConnectionLost, ConnectionClosed: nothing can be sent any more.
        """
        await self._publisher.wait_until_empty()
        await self.wait_until_ready(self.request_timeout_s)
        await self.link.flush(self.request_timeout_s)

    # Subscribing.

    async def subscribe(
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
    ) -> Subscription:
        """Subscribe to a channel.

        Args:
            channel: its name.
            callback: called with each message; what it returns is awaited if it can be. None to iterate instead.
            start: where to begin: "new", "first", "last", `Sequence(17)`, a datetime with time zone, a timedelta back
                from now, or `AtTime` and `Since` in nanoseconds. A durable that is there already goes on where it was.
            durable: name under which the server keeps the place.
            queue: group whose members share the messages.
            max_in_flight: messages the server sends without an ack, at least 1.
            ack_wait: seconds until the server sends an unacked message again, at least 1; rounded up to whole ones.
            manual_acks: acks are sent by `Message.ack` only.

        Raises:
            SubscriptionError: the server refused; the text is the server's.
            NoResponse: no answer.
            ConnectionLost, ConnectionClosed: nothing can be sent any more.
        """
        at_least("max_in_flight", max_in_flight, 1)
        ack_wait_ns = timedelta_ns(ack_wait) if isinstance(ack_wait, timedelta) else round(ack_wait * NS_PER_SECOND)
        if ack_wait_ns < NS_PER_SECOND:
            raise ValueError(f"ack_wait: at least 1 second, not {ack_wait}")
        options = SubscribeOptions(
            channel=channel,
            start=check_start(start),
            durable=durable,
            queue=queue,
            max_in_flight=max_in_flight,
            ack_wait_s=-(-ack_wait_ns // NS_PER_SECOND),
            manual_acks=manual_acks,
        )
        subscription = Subscription(options, self)
        while True:
            await self.wait_until_ready(self.request_timeout_s)
            losses = self._supervisor.losses
            try:
                await subscription.open()
            except NoResponse:
                if losses == self._supervisor.losses or not self.options.auto_resume:
                    raise
            if losses == self._supervisor.losses:
                break  # else the session was lost meanwhile, and this subscription with it: once more
        self._subscriptions[subscription] = None
        if callback is not None:
            self._callbacks.start(run_callback(subscription, callback, self.report))
        return subscription

    # Ending.

    async def drain(self) -> None:
        """Let every subscription finish what it has, then close."""
        await asyncio.gather(*(subscription.drain() for subscription in list(self._subscriptions)))
        await self.close()

    async def close(self) -> None:
        """Wait for the acks of what was published, up to `close_timeout`, and close the connection.

        Publishes without ack after that time raise `ConnectionClosed`. Iterations over subscriptions end; durables keep
        their place. Closing twice does nothing.
        """
        if self._is_closing:
            return
        self._is_closing = True
        deadline = self._loop.time() + self.options.close_timeout_s
        try:
            if self._error is None:
                await self._finish_publishes(deadline)
            if self.is_connected:
                await self._close_session()
        finally:
            self.finish(ConnectionClosed("the connection was closed"))
            await self._supervisor.stop()
            self.session.end()
            await self.link.close(max(deadline - self._loop.time(), 1.0))
            self._callbacks.cancel()

    async def _finish_publishes(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._publisher.wait_until_empty()
        except TimeoutError:
            logger.warning("%s: closed with %d publishes unacknowledged", self, self._publisher.pending_count)

    async def _close_session(self) -> None:
        """Close the registration, if it is ours still: the close request names only the client ID."""
        try:
            if self.session.subjects.ping_requests:
                await self.session.ping(self.request_timeout_s)
            await self.session.close(self.request_timeout_s)
        except Unregistered:
            pass  # a close would end the client that has the ID now
        except ClientError as error:
            logger.warning("%s: the server did not confirm the close: %s", self, error)

    # What the link tells.

    def on_link_up(self) -> None:
        self._supervisor.link_up()

    def on_link_down(self, reason: str) -> None:
        self._supervisor.link_down(reason)

    def on_link_closed(self, reason: str) -> None:
        self.session.fail_requests(reason)
        self.finish(ConnectionLost(reason))

    def on_link_writable(self) -> None:
        self._publisher.admit()

    def on_link_error(self, error: Exception) -> None:
        self.report(error)

    # What the supervisor asks.

    @property
    def is_link_up(self) -> bool:
        return self.link.is_connected

    def suspend(self) -> None:
        self._ready.clear()
        self._publisher.suspend()
        for subscription in self._subscriptions:
            subscription.suspend()

    async def restore(self, *, state_lost: bool) -> tuple[int, int]:
        count = 0
        for subscription in list(self._subscriptions):
            if subscription.is_leaving:
                continue
            if state_lost:
                subscription.state_lost()
            try:
                await subscription.open()
            except ClientError as error:
                if isinstance(error, NoResponse | ConnectError):
                    raise
                self.report(error)
                subscription.end(error)
            else:
                count += 1
        return count, await self._publisher.resume()

    def finish(self, error: ClientError) -> None:
        if self._error is not None:
            return
        self._error = error
        self._supervisor.halt()
        self.session.fail_requests(str(error))
        self._publisher.end(error)
        for subscription in list(self._subscriptions):
            subscription.end(error if isinstance(error, ConnectionLost) else None)
        self._ready.set()  # whoever waits is to see the error
        if not self._is_closing:
            self.session.end()
            self._callbacks.start(self.link.close(1.0))

    def on_lost(self, reason: str) -> None:
        logger.warning("%s: connection lost: %s", self, reason)
        self._callbacks.call(self.options.on_disconnect, reason)

    def on_back(self, resumed: Resumed) -> None:
        self._ready.set()
        logger.info(
            "%s: resumed after %.3f s: %d subscriptions, %d publishes sent again",
            self, resumed.seconds, resumed.subscriptions, resumed.publishes,
        )  # fmt: skip
        self._callbacks.call(self.options.on_resume, resumed)

    def report(self, error: Exception) -> None:
        self._callbacks.report(error)

    # What subscriptions ask.

    async def wait_until_ready(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise NoResponse(f"the connection was not resumed within {timeout_s:g} s") from None
        if self._error is not None:
            raise self._error.with_traceback(None)

    def forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)

    async def open(self) -> None:
        """Connect and register for the first time. For `connect` only."""
        try:
            await self.link.connect(self)
            await self.session.register(self.request_timeout_s)
            await self._publisher.resume()
        except BaseException:
            self.session.end()
            await self.link.close(1.0)
            raise
        self._ready.set()
        self._supervisor.start()

    def __repr__(self) -> str:
        return f"<Client {self.client_id} of {self.cluster_id}>"
