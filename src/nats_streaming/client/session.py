"""One client ID at a streaming server: its registration, requests, pings, heartbeats. Knows no publish, no delivery.

Source: protocol-and-delivery specification, sections 1.3, 2 and 3.
"""

from __future__ import annotations

import asyncio
import os
from typing import TypeVar

from nats_streaming.client.link import NO_RESPONDERS, Address, ClientLink
from nats_streaming.errors import ConnectError, NoResponse, ReplyText
from nats_streaming.protocol.control_messages import (
    CloseRequest,
    ConnectRequest,
    ConnectResponse,
    ErrorResponse,
    Ping,
    decode,
    encode,
)

M = TypeVar("M")

PROTOCOL = 1
REPLIES_MAX = 64
"""Replies to one request that may wait; a partitioned cluster ID answers more than once."""


class Unregistered(Exception):
    """The server does not know this connection: it was restarted without its state, or another client took the ID."""


class AlreadyRegistered(ConnectError):
    """A live client has this client ID."""


def unique_id() -> bytes:
    """22 characters that nobody else has and nobody can guess."""
    return os.urandom(11).hex().encode()


class Session:
    """The client ID's registration, made again at every resume under the same connection ID."""

    def __init__(
        self,
        link: ClientLink,
        discover_subject: str,
        client_id: str,
        inbox_prefix: str,
        ping_interval_s: int,
        ping_max_out: int,
    ) -> None:
        self.client_id = client_id.encode()
        self.connection_id = unique_id()
        self.subjects = ConnectResponse()
        self._link = link
        self._discover_subject = discover_subject.encode()
        self._inbox_prefix = inbox_prefix.encode()
        self._ping_interval_s = ping_interval_s
        self._ping_max_out = ping_max_out
        self._heartbeats = 0
        self._requests: set[asyncio.Future[bytes]] = set()

    @property
    def ping_interval_s(self) -> int:
        """Seconds between pings, 0 for none, as the server wants it."""
        return max(self.subjects.ping_interval, 0) if self.subjects.ping_requests else 0

    @property
    def ping_max_out(self) -> int:
        return max(self.subjects.ping_max_out, 1)

    def new_inbox(self) -> bytes:
        return b"%b.%b" % (self._inbox_prefix, unique_id())

    async def register(self, timeout_s: float) -> None:
        """Register the client ID; an earlier registration of ours stops answering first, or it would be found alive.

        Raises:
            AlreadyRegistered: another live client has the ID.
            ConnectError: refused; the text is the server's.
            NoResponse: no answer.
        """
        self._link.unsubscribe(self._heartbeats)
        inbox = self.new_inbox()
        self._heartbeats = await self._link.subscribe(inbox, self._on_heartbeat, REPLIES_MAX)
        request = ConnectRequest(
            client_id=self.client_id,
            heartbeat_inbox=inbox,
            protocol=PROTOCOL,
            connection_id=self.connection_id,
            ping_interval=self._ping_interval_s,
            ping_max_out=self._ping_max_out,
        )
        response = await self.ask(self._discover_subject, request, ConnectResponse, timeout_s)
        if response.error:
            text = response.error.decode("utf-8", "replace")
            kind = AlreadyRegistered if text == ReplyText.CLIENT_ID_REGISTERED else ConnectError
            raise kind(text)
        self.subjects = response

    async def ping(self, timeout_s: float) -> None:
        """Ask whether the server still knows us.

        Raises:
            Unregistered: it does not.
            NoResponse: no answer.
        """
        answer = await self.ask(self.subjects.ping_requests, Ping(self.connection_id), ErrorResponse, timeout_s)
        if answer.error:
            raise Unregistered(answer.error.decode("utf-8", "replace"))

    async def close(self, timeout_s: float) -> None:
        """Close the registration, behind everything published before.

        Raises:
            ConnectError: refused.
            NoResponse: no answer.
        """
        answer = await self.ask(self.subjects.close_requests, CloseRequest(self.client_id), ErrorResponse, timeout_s)
        if answer.error:
            raise ConnectError(answer.error.decode("utf-8", "replace"))

    async def ask(self, subject: bytes, request: object, kind: type[M], timeout_s: float) -> M:
        """Send a request and decode its answer.

        Raises:
            NoResponse: nobody listens, no answer in `timeout_s` seconds, or the link went down meanwhile.
            ConnectError: the answer is no message of this kind.
        """
        reply = asyncio.get_running_loop().create_future()

        def on_reply(data: bytes | bytearray, start: int, stop: int, _reply: bytes, status: int) -> None:
            if reply.done():
                return
            if status == NO_RESPONDERS:
                reply.set_exception(NoResponse("the streaming server is not there", no_responders=True))
            else:
                reply.set_result(bytes(data[start:stop]))

        inbox = self.new_inbox()
        number = await self._link.subscribe(inbox, on_reply, REPLIES_MAX)
        self._requests.add(reply)
        try:
            if not self._link.is_connected:
                raise NoResponse("NATS is not connected")
            self._link.publish(Address(subject, inbox), encode(request))
            async with asyncio.timeout(timeout_s):
                payload = await reply
        except TimeoutError:
            raise NoResponse(f"the streaming server did not answer within {timeout_s:g} s") from None
        finally:
            self._requests.discard(reply)
            if not reply.cancel() and not reply.cancelled():
                reply.exception()  # whoever waited has it, or was cancelled: it is no fault to report
            self._link.unsubscribe(number)
        response = decode(kind, payload)
        if response is None:
            raise ConnectError(f"the streaming server's answer is no {kind.__name__}: {payload[:40]!r}")
        return response

    def fail_requests(self, reason: str) -> None:
        """The link is down: no answer will come."""
        for reply in self._requests:
            if not reply.done():
                reply.set_exception(NoResponse(reason))

    def end(self) -> None:
        """Answer no heartbeat any more."""
        self._link.unsubscribe(self._heartbeats)

    def _on_heartbeat(self, data: bytes | bytearray, start: int, stop: int, reply: bytes, status: int) -> None:
        if reply:
            self._link.publish(Address(reply), b"")
