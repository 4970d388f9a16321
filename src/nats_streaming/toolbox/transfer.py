"""A channel as text: one JSON document a line, with everything a subscriber gets.

    {"nats_streaming_export": 1, "cluster": "…", "channel": "…"}                         the first line
    {"sequence": 1, "time_ns": 1700000000000000000, "time": "…", "data": "one"}          a message
    {"sequence": 2, "time_ns": …, "time": "…", "data_base64": "/w=="}                    one that is not UTF-8
    {"end": 2, "messages": 2}                                                            the last line

`reply` is there for messages that have one. Sequences ascend, and may be missing where the channel has lost
messages to its limits. A file without its last line is not whole.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nats_streaming.errors import TransferError, quoted
from nats_streaming.toolbox.publishing import Progress, publish_all

if TYPE_CHECKING:
    from nats_streaming.client import Client, Message, Start, Subscription

FORMAT = "nats_streaming_export"
VERSION = 1

_IN_FLIGHT = 4096
_PROGRESS_MESSAGES = 256


@dataclass(slots=True)
class Exported:
    """What was written.

    Attributes:
        messages: how many.
        first, last: sequences of the first and the last, 0 if there was none.
        until: the last sequence of the channel when it began, 0 for an empty one.
    """

    channel: str
    messages: int = 0
    first: int = 0
    last: int = 0
    until: int = 0


@dataclass(slots=True, frozen=True)
class Entry:
    """A message of an exported channel.

    Attributes:
        line: it stands on, from 1.
    """

    sequence: int
    data: bytes
    has_reply: bool
    line: int


@dataclass(slots=True)
class Imported:
    """What was published.

    Attributes:
        found: messages that were there already, and are the file's first.
        published: what became of the others.
        replies: messages whose reply subject was not kept: clients cannot publish one.
    """

    channel: str
    found: int
    published: Progress
    replies: int


def message_document(message: Message) -> dict[str, Any]:
    """A message as `export` writes it and `sub --json` prints it."""
    document: dict[str, Any] = {
        "sequence": message.sequence,
        "time_ns": message.time_ns,
        "time": message.time.isoformat(),
    }
    if message.reply:
        document["reply"] = message.reply
    try:
        document["data"] = message.data.decode("utf-8")
    except UnicodeDecodeError:
        document["data_base64"] = base64.b64encode(message.data).decode("ascii")
    return document


# Out.


async def export_channel(
    client: Client,
    channel: str,
    write: Callable[[str], object],
    *,
    start: Start = "first",
    follow: bool = False,
    idle_s: float = 2.0,
    on_progress: Callable[[Exported], None] | None = None,
) -> Exported:
    """Write a channel, up to the last message it has now.

    Args:
        client: connected.
        channel: its name. To a server, asking for a channel that is not there makes it.
        write: takes text, whole lines.
        start: where to begin.
        follow: go on with what comes later, for ever, and write no last line.
        idle_s: seconds without a message after which a channel is empty, or has lost its last messages meanwhile.
        on_progress: told now and then.

    Raises:
        TransferError: messages were lost on the way.
    """
    exported = Exported(channel, until=0 if follow else await _last_sequence(client, channel, idle_s))
    write(_line({FORMAT: VERSION, "cluster": client.cluster_id, "channel": channel}))
    if follow or exported.until:
        subscription = await client.subscribe(channel, start=start, max_in_flight=_IN_FLIGHT, manual_acks=True)
        try:
            await _export(subscription, write, exported, None if follow else idle_s, on_progress)
        finally:
            await subscription.close()
        if subscription.overflow_count:
            raise TransferError(f"{subscription.overflow_count} messages came too fast and are missing: export again")
    write(_line({"end": exported.last, "messages": exported.messages}))
    return exported


async def _last_sequence(client: Client, channel: str, idle_s: float) -> int:
    subscription = await client.subscribe(channel, start="last", max_in_flight=1, manual_acks=True)
    try:
        message = await _next(subscription, idle_s)
    finally:
        await subscription.close()
    return message.sequence if message is not None else 0


async def _next(subscription: Subscription, idle_s: float | None) -> Message | None:
    """The next message, None when there is none for so long."""
    try:
        async with asyncio.timeout(idle_s):
            return await subscription.next()
    except TimeoutError:
        return None


async def _export(
    subscription: Subscription,
    write: Callable[[str], object],
    exported: Exported,
    idle_s: float | None,
    on_progress: Callable[[Exported], None] | None,
) -> None:
    while idle_s is None or exported.last < exported.until:
        message = await _next(subscription, idle_s)
        if message is None or (idle_s is not None and message.sequence > exported.until):
            return
        if message.sequence > exported.last:  # else it was sent again, because its ack was late
            write(_line(message_document(message)))
            exported.messages += 1
            exported.first = exported.first or message.sequence
            exported.last = message.sequence
            if on_progress is not None and exported.messages % _PROGRESS_MESSAGES == 0:
                on_progress(exported)
        await message.ack()


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


# In.


def channel_in(first_line: bytes) -> str:
    """The channel that an export is of.

    Raises:
        TransferError: the line does not begin an export.
    """
    document = _document(first_line, 1)
    if document.get(FORMAT) != VERSION or not isinstance(document.get("channel"), str):
        raise TransferError(f"line 1: this is no export of version {VERSION}: it must begin with {quoted(FORMAT)}")
    channel: str = document["channel"]
    return channel


def entries_in(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The messages of an export, without its first line.

    Raises:
        TransferError: a line is no message, or the file is not whole; what came before is sound.
    """
    last = 0
    number = 1
    for number, line in enumerate(lines, 2):
        document = _document(line, number)
        if "end" in document:
            if document.get("messages") != number - 2:
                raise TransferError(
                    f"line {number}: {number - 2} messages stand before, not {document.get('messages')}"
                )
            return
        entry = _entry(document, number)
        if entry.sequence <= last:
            raise TransferError(f"line {number}: sequence {entry.sequence} is not above {last}, the one before")
        last = entry.sequence
        yield entry
    raise TransferError(f"the export is not whole: it ends after line {number} without its last line")


def _document(line: bytes, number: int) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise TransferError(f"line {number} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise TransferError(f"line {number} is no JSON object")
    return document


def _entry(document: dict[str, Any], number: int) -> Entry:
    sequence, text, encoded = (document.get(member) for member in ("sequence", "data", "data_base64"))
    if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence <= 0:
        raise TransferError(f"line {number}: a message needs a sequence above 0")
    if isinstance(text, str) and encoded is None:
        return Entry(sequence, text.encode("utf-8"), "reply" in document, number)
    if isinstance(encoded, str) and text is None:
        try:
            return Entry(sequence, base64.b64decode(encoded, validate=True), "reply" in document, number)
        except binascii.Error as error:
            raise TransferError(f"line {number}: data_base64: {error}") from error
    raise TransferError(f"line {number}: a message needs either data or data_base64, as text")


async def import_channel(
    client: Client,
    channel: str,
    entries: Iterator[Entry],
    *,
    append: bool = False,
    resume: bool = False,
    idle_s: float = 2.0,
    on_progress: Callable[[Progress], None] | None = None,
) -> Imported:
    """Publish the messages of an export in their order; the server gives them sequences and times of its own.

    Args:
        client: connected, and not one that resumes: what it sent again after a break might be stored twice.
        channel: where to.
        entries: from `entries_in`.
        append: whatever the channel has already.
        resume: the channel has the first of these messages and nothing else: go on behind them.
        idle_s: seconds without a message after which a channel has no more.
        on_progress: told now and then.

    Raises:
        TransferError: the channel has other messages, or the export is not whole; what came before is published.
    """
    found = 0 if append else await _compare(client, channel, entries, resume=resume, idle_s=idle_s)
    replies = 0
    trouble: list[TransferError] = []

    async def messages() -> AsyncIterator[bytes]:
        nonlocal replies
        try:
            for entry in entries:
                replies += entry.has_reply
                yield entry.data
        except TransferError as error:
            trouble.append(error)

    published = await publish_all(client, channel, messages(), stop_at_error=True, on_progress=on_progress)
    if trouble:
        raise TransferError(f"{trouble[0]} ({published.stored} messages were published)") from trouble[0]
    return Imported(channel, found, published, replies)


async def _compare(client: Client, channel: str, entries: Iterator[Entry], *, resume: bool, idle_s: float) -> int:
    """How many of the messages the channel has already; only those may be there."""
    last = await _last_sequence(client, channel, idle_s)
    if not last:
        return 0
    if not resume:
        raise TransferError(
            f"channel {quoted(channel)} has messages up to {last}: --append adds to them, --resume goes on with an"
            " import that was broken off"
        )
    found = reached = 0
    subscription = await client.subscribe(channel, start="first", max_in_flight=_IN_FLIGHT, manual_acks=True)
    try:
        while reached < last:
            message = await _next(subscription, idle_s)
            if message is None:
                raise TransferError(f"channel {quoted(channel)} gave no message behind {reached} of {last}")
            await message.ack()
            if message.sequence <= reached:
                continue
            reached = message.sequence
            entry = next(entries, None)
            if entry is None or entry.data != message.data:
                what = f"line {entry.line} of the export" if entry is not None else "anything in the export"
                raise TransferError(
                    f"message {message.sequence} of channel {quoted(channel)} is not {what}:"
                    " this is no import to resume"
                )
            found += 1
    finally:
        await subscription.close()
    return found
