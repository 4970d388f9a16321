"""Every exception of this package, and the texts that are part of the wire contract.

    StreamingError
    ├── ProtocolError        the peer broke the NATS or protobuf rules: answer it, perhaps close
    ├── RequestError         a STAN request is refused: its text goes back to the client
    ├── StoreError           a store could not do what was asked: ours to contain
    │   └── CorruptionError  stored bytes are not what was written
    ├── ConfigError          a flag, an option or a file is wrong: the operator mends it
    ├── NatsLinkError        no usable link to NATS: refused, unreachable, not authorized
    ├── MonitoringError      a monitoring port does not answer, or not as a streaming server's
    │   └── MonitoringNotFoundError  it knows no such client or channel
    ├── BenchError           a bench could not be run to its end
    ├── TransferError        an export cannot be read, or a channel cannot take it
    ├── NatsServerError      the embedded nats-server did not start or does not stay up
    └── ClientError          what the Python client raises, nats_streaming.client
        ├── ConnectError         connecting failed, or the server refused the client ID
        ├── NoResponse           a request of the client was not answered in time
        ├── ConnectionLost       the connection is gone and is not to be resumed
        ├── ConnectionClosed     the connection was closed by this program
        ├── PublishError         a message was not stored; carries its guid
        │   └── AckTimeout       nobody knows whether it was stored: no ack in time
        └── SubscriptionError    the server refused to subscribe, unsubscribe or close a subscription
            └── SubscriptionClosed   it is closed: no message can be taken from it or acked

Any other exception is a bug. It must never be answered to a client as a request error.
"""

from __future__ import annotations

from typing import Final


class StreamingError(Exception):
    """Base of all errors this package raises on purpose."""


class ProtocolError(StreamingError):
    """The peer sent bytes that break the protocol."""


class RequestError(StreamingError):
    """A STAN request is refused; the text is the error field of its reply.

    Attributes:
        text: the reply's text, one of `ReplyText`, made by `channel_case_clash`, or a store's own.
        wire: the same, encoded once for the reply.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.wire = text.encode("utf-8", "replace")


class StoreError(StreamingError):
    """A store failed; the text is fit for a log line and for a client's reply."""


class CorruptionError(StoreError):
    """Stored data is damaged; the text names the file and the place."""


class ConfigError(StreamingError):
    """What the operator configured cannot be used.

    Attributes:
        text: what is wrong, without the place.
        option: name of the flag or configuration key at fault, "" if none is.
        file: configuration file it stands in, "" for the command line.
        line: line in that file, from 1; 0 means unknown.
        column: character in that line, from 1; 0 means unknown.
    """

    def __init__(self, text: str, *, option: str = "", file: str = "", line: int = 0, column: int = 0) -> None:
        """
        Args:
            text: what is wrong and how to mend it, without the place.
            option: flag or configuration key, as the operator wrote it.
            file: path of the configuration file.
            line: line in the file, from 1; 0 means unknown.
            column: character in the line, from 1; 0 means unknown.
        """
        place = ":".join([file, *(str(number) for number in (line, column) if number)]) + ": " if file else ""
        super().__init__(place + text)
        self.text = text
        self.option = option
        self.file = file
        self.line = line
        self.column = column


class NatsLinkError(StreamingError):
    """The link to NATS cannot be made or kept."""


class MonitoringError(StreamingError):
    """A monitoring port cannot be read, or what it says is not what a streaming server says."""


class MonitoringNotFoundError(MonitoringError):
    """The server has no such client or channel."""


class BenchError(StreamingError):
    """A bench could not begin, or one of its processes ended early."""


class TransferError(StreamingError):
    """An exported channel is not whole or not sound, or does not fit the channel it is to go to."""


class NatsServerError(StreamingError):
    """The embedded nats-server could not be started; the process exits with status 1."""


class ClientError(StreamingError):
    """Base of what the Python client raises."""


class ConnectError(ClientError):
    """Connecting failed: NATS or the streaming server is not there, or refused this client."""


class NoResponse(ClientError):
    """A request was not answered in time, or nobody listens for it.

    Attributes:
        no_responders: True when NATS said that nobody listens: the streaming server is not there.
    """

    def __init__(self, text: str, *, no_responders: bool = False) -> None:
        super().__init__(text)
        self.no_responders = no_responders


class ConnectionLost(ClientError):
    """The connection to the streaming server is gone, and the client was told not to resume it, or for how long."""


class ConnectionClosed(ClientError):
    """The connection was closed by this program; nothing can be sent over it any more."""


class PublishError(ClientError):
    """A message was not acknowledged by the server.

    Attributes:
        guid: the message's ID, which the server's log names, too.
        channel: where it was to go.
        text: the server's words, or ours.
    """

    def __init__(self, guid: str, channel: str, text: str) -> None:
        super().__init__(f"publish to {quoted(channel)}, guid {guid}: {text}")
        self.guid = guid
        self.channel = channel
        self.text = text


class AckTimeout(PublishError):
    """No ack came in time. The message may be stored or not: publishing it again may store it twice."""


class SubscriptionError(ClientError):
    """The server refused to make, unsubscribe or close a subscription; the text is the server's."""


class SubscriptionClosed(SubscriptionError):
    """The subscription is closed: no message can be taken from it or acked."""


class ReplyText:
    """The texts of refused requests: clients compare them, so every character counts.

    Source: protocol-and-delivery specification, sections 2.1, 2.4, 3.2, 4.1, 4.3, 4.6, 5.1 and 5.7.
    """

    INVALID_CONNECT: Final = "stan: invalid connection request"
    INVALID_CLIENT_ID: Final = "stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed"
    CLIENT_ID_REGISTERED: Final = "stan: clientID already registered"
    CLIENT_REPLACED: Final = "client has been replaced or is no longer registered"
    INVALID_CLOSE: Final = "stan: invalid close request"
    UNKNOWN_CLIENT_ID: Final = "stan: unknown clientID"

    INVALID_PUBLISH: Final = "stan: invalid publish request"
    TOO_MANY_CHANNELS: Final = "too many channels"
    CHANNEL_BEING_DELETED: Final = "stan: channel is being deleted"

    INVALID_SUBSCRIBE: Final = "stan: invalid subscription request"
    CLIENT_ID_MISSING: Final = "stan: clientID missing"
    INVALID_ACK_WAIT: Final = "stan: invalid ack wait time, should be >= 1s"
    INVALID_MAX_IN_FLIGHT: Final = "stan: invalid MaxInflight, should be >= 1"
    INVALID_START_POSITION: Final = "stan: invalid start position"
    INVALID_SUBJECT: Final = "stan: invalid subject"
    INVALID_DURABLE_NAME: Final = "stan: durable name of a durable queue subscriber can't contain the character ':'"
    DUPLICATE_DURABLE: Final = "stan: duplicate durable registration"
    TOO_MANY_SUBSCRIPTIONS: Final = "too many subscriptions per channel"

    INVALID_UNSUBSCRIBE: Final = "stan: invalid unsubscribe request"
    UNKNOWN_CHANNEL: Final = "stan: unknown channel"
    INVALID_SUBSCRIPTION: Final = "stan: invalid subscription"


def channel_case_clash(name: bytes, existing: bytes) -> RequestError:
    """The refusal of a channel whose name differs from an existing one's only by case.

    The misspelling "alreay" is the original's, and clients may compare the text.
    """
    return RequestError(
        f"rejecting channel {quoted(name)} because channel {quoted(existing)} alreay exists"
        " (different cases not allowed)"
    )


_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    '"': '\\"', "\\": "\\\\",
}  # fmt: skip


def quoted(name: bytes | str) -> str:
    """Put a name from outside in quotes, safe for log lines and replies (Go's `%q`).

    Args:
        name: any bytes, UTF-8 or not, or text.

    Returns:
        Printable text in double quotes; what cannot be printed is escaped.
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_escaped(character) for character in text) + '"'


def bare(name: bytes | str) -> str:
    """A name from outside as printable text without quotes, for log lines that have it so."""
    return quoted(name)[1:-1]


def _escaped(character: str) -> str:
    known = _ESCAPES.get(character)
    if known is not None:
        return known
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
