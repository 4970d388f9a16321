"""Reads a streaming server's monitoring port, the Go server's as well as ours.

One request at a time, blocking. Documents are checked for what is used of them and handed on whole, since a
server may say more than is known here.

Source: operations specification, section 4.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError, MonitoringError, MonitoringNotFoundError, quoted

PAGE = 1024
"""Clients or channels per request: what servers give when they are not asked for a number."""

_DOCUMENT_BYTES_MAX = 256 << 20
_PORT_DEFAULT = 8222


@dataclass(slots=True, frozen=True)
class Subscription:
    """One subscription as a server shows it.

    Attributes:
        name: of the durable, or of the queue group (`durable:group` for a durable one), "" for a plain one.
        ack_wait_s: seconds.
        pending: messages in flight.
        stalled: at its limit.
    """

    client_id: str
    inbox: str
    durable_name: str
    queue_name: str
    is_durable: bool
    is_offline: bool
    max_in_flight: int
    ack_wait_s: int
    last_sent: int
    pending: int
    stalled: bool

    @property
    def name(self) -> str:
        return self.queue_name or self.durable_name

    @property
    def kind(self) -> str:
        """In words."""
        kind = "queue" if self.queue_name else "durable" if self.is_durable else "plain"
        if self.queue_name and self.is_durable:
            kind = "durable queue"
        return f"{kind}, offline" if self.is_offline else kind


@dataclass(slots=True, frozen=True)
class Channel:
    """One channel as a server shows it; `subscriptions` if they were asked for."""

    name: str
    messages: int
    size: int
    first: int
    last: int
    subscriptions: list[Subscription] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Client:
    """One client as a server shows it; subscriptions by channel, if they were asked for."""

    id: str
    heartbeat_inbox: str
    subscription_count: int
    subscriptions: dict[str, list[Subscription]] = field(default_factory=dict)


class MonitoringReader:
    """One monitoring port. Each method makes one request or, for lists, one per page."""

    def __init__(self, url: str, *, timeout_s: float = 5.0, ca_file: str = "") -> None:
        """
        Args:
            url: `http://host:port` or `https://…`; the port is 8222 where none is given.
            timeout_s: seconds to wait for each answer.
            ca_file: authority that signed the port's certificate, "" for the system's.

        Raises:
            ConfigError: the URL or the file cannot be used.
        """
        given = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(given)
            self._port = parts.port or _PORT_DEFAULT
        except ValueError as error:
            raise ConfigError(f"monitoring URL {quoted(url)}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"monitoring URL {quoted(url)}: it must be like http://host:8222")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._host = parts.hostname
        self._base = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca_file or None)
            except OSError as error:
                raise ConfigError(f"certificate authority {ca_file}: {error.strerror or error}") from error

    # Documents, as they come.

    def server(self) -> dict[str, Any]:
        """What `/streaming/serverz` says."""
        return self._document("/streaming/serverz", "state")

    def store(self) -> dict[str, Any]:
        """What `/streaming/storez` says."""
        return self._document("/streaming/storez", "type", "limits")

    def nats(self) -> dict[str, Any]:
        """What `/varz` says of the NATS server."""
        return self._document("/varz", "server_id")

    def nats_connections(self) -> Iterator[dict[str, Any]]:
        """Every connection of the NATS server, as `/connz` shows them."""
        return self._pages("/connz", "connections")

    def client_document(self, client_id: str) -> dict[str, Any]:
        """One client with its subscriptions.

        Raises:
            MonitoringNotFoundError: there is none.
        """
        return self._document("/streaming/clientsz", "id", client=client_id, subs=1)

    def channel_document(self, name: str) -> dict[str, Any]:
        """One channel with its subscriptions.

        Raises:
            MonitoringNotFoundError: there is none.
        """
        return self._document("/streaming/channelsz", "name", channel=name, subs=1)

    def client_documents(self, *, subscriptions: bool = False) -> Iterator[dict[str, Any]]:
        """Every client, by ID."""
        return self._pages("/streaming/clientsz", "clients", subs=int(subscriptions))

    def channel_documents(self) -> Iterator[dict[str, Any]]:
        """Every channel with its subscriptions, by name."""
        return self._pages("/streaming/channelsz", "channels", subs=1)

    def _pages(self, path: str, member: str, **query: object) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._document(path, "total", offset=offset, limit=PAGE, **query)
            items = page.get(member) or []
            if not isinstance(items, list):
                raise MonitoringError(f"{self.url}{path}: {member} is no list")
            yield from items
            offset += PAGE
            if not items or offset >= _whole(page, "total"):
                return

    # Requests.

    def _document(self, path: str, *members: str, **query: object) -> dict[str, Any]:
        """Ask for a document that has these members."""
        asked = f"{self._base}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        status, body = self._get(asked)
        if status == http.client.NOT_FOUND and ("client" in query or "channel" in query):
            raise MonitoringNotFoundError(body.decode("utf-8", "replace").strip())
        if status != http.client.OK:
            raise MonitoringError(
                f"{self.url} answered {status} for {path}: is it the monitoring port of a streaming server?"
            )
        try:
            document = json.loads(body)
        except ValueError as error:
            raise MonitoringError(f"{self.url}{path} is no JSON: {error}") from error
        if not isinstance(document, dict) or not all(member in document for member in members):
            raise MonitoringError(f"{self.url}{path} lacks {', '.join(members)}: it is not a streaming server's")
        return document

    def _get(self, path: str) -> tuple[int, bytes]:
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = response.read(_DOCUMENT_BYTES_MAX + 1)
        except TimeoutError as error:
            raise MonitoringError(f"{self.url} did not answer within {self._timeout_s:g} s") from error
        except http.client.BadStatusLine as error:
            hint = ": it speaks NATS, so it is the port for clients" if "server_id" in str(error) else ""
            raise MonitoringError(f"{self.url} does not answer as HTTP does{hint}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
            raise MonitoringError(f"{self.url} cannot be read: {reason}") from error
        finally:
            connection.close()
        if len(body) > _DOCUMENT_BYTES_MAX:
            raise MonitoringError(f"{self.url}{path}: more than {_DOCUMENT_BYTES_MAX} bytes")
        return response.status, body


# What the documents say.


def channel_of(document: dict[str, Any]) -> Channel:
    """
    Raises:
        MonitoringError: a member is missing or of another type.
    """
    return Channel(
        _text(document, "name"),
        _whole(document, "msgs"),
        _whole(document, "bytes"),
        _whole(document, "first_seq"),
        _whole(document, "last_seq"),
        [subscription_of(each) for each in _items(document, "subscriptions")],
    )


def client_of(document: dict[str, Any]) -> Client:
    """
    Raises:
        MonitoringError: a member is missing or of another type.
    """
    by_channel = document.get("subscriptions") or {}
    if not isinstance(by_channel, dict):
        raise MonitoringError("subscriptions of a client are no object")
    return Client(
        _text(document, "id"),
        _text(document, "hb_inbox"),
        _whole(document, "subs_count", 0),
        {name: [subscription_of(each) for each in _items(by_channel, name)] for name in by_channel},
    )


def subscription_of(document: dict[str, Any]) -> Subscription:
    """
    Raises:
        MonitoringError: a member is missing or of another type.
    """
    return Subscription(
        _text(document, "client_id"),
        _text(document, "inbox"),
        _text(document, "durable_name", ""),
        _text(document, "queue_name", ""),
        _flag(document, "is_durable"),
        _flag(document, "is_offline"),
        _whole(document, "max_inflight"),
        _whole(document, "ack_wait"),
        _whole(document, "last_sent"),
        _whole(document, "pending_count"),
        _flag(document, "is_stalled"),
    )


def time_ns_of(document: dict[str, Any], member: str) -> int:
    """A moment that is written as RFC 3339, in nanoseconds since 1970."""
    written = _text(document, member)
    seconds, dot, rest = written.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if dot else ""
    zone = rest[len(digits) :] if dot else ""
    try:
        moment = datetime.fromisoformat(seconds + zone)
        fraction_ns = int(digits[:9].ljust(9, "0")) if digits else 0
        return int(moment.timestamp()) * NS_PER_SECOND + fraction_ns
    except (ValueError, OverflowError) as error:
        raise MonitoringError(f"{member} is no time: {quoted(written)}") from error


def whole_of(document: dict[str, Any], member: str) -> int:
    """A number that may be missing, which is 0.

    Raises:
        MonitoringError: it is something else.
    """
    return _whole(document, member, 0)


def _text(document: dict[str, Any], member: str, default: str | None = None) -> str:
    value = document.get(member, default)
    if not isinstance(value, str):
        raise MonitoringError(f"{member} is no text: {quoted(str(value)[:80])}")
    return value


def _whole(document: dict[str, Any], member: str, default: int | None = None) -> int:
    value = document.get(member, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MonitoringError(f"{member} is no number: {quoted(str(value)[:80])}")
    return value


def _flag(document: dict[str, Any], member: str) -> bool:
    value = document.get(member)
    if not isinstance(value, bool):
        raise MonitoringError(f"{member} is neither true nor false: {quoted(str(value)[:80])}")
    return value


def _items(document: dict[str, Any], member: str) -> list[dict[str, Any]]:
    items = document.get(member) or []
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise MonitoringError(f"{member} is no list of objects")
    return items
