"""Our log beside the original's: the same clients do the same on both, and the lines must be the same.

What cannot agree is masked: process ID, time, IDs, versions. What differs on purpose stands in `DIFFERENCES`, line by
line and with the reason. Within one step lines are compared without their order: acks and deliveries overlap.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.prepare import prepare
from tests.operations.log_session import LogSession
from tests.support.servers import ServerProcess

MASKS = (
    (re.compile(r"^\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} "), ""),
    (re.compile(r"_INBOX\.[\w.]+"), "_INBOX.*"),
    (re.compile(r"guid=\S+"), "guid=*"),
    (re.compile(r"time='[^']*'"), "time='*'"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (
        re.compile(r"(ServerID:|\] version|Python version:|Go version:|Compatible with nats-streaming-server) .*"),
        r"\1 *",
    ),
    (re.compile(r"\[INF\]   (Version|Git|Name|ID): .*"), r"[INF]   \1: *"),
    (re.compile(r"Store location: .*"), "Store location: *"),
)


class Difference(NamedTuple):
    """Lines of one step that only one of the two writes, masked.

    Attributes:
        reason: why that is right.
        theirs, ours: the lines.
    """

    reason: str
    theirs: tuple[str, ...]
    ours: tuple[str, ...]


INVALID = "[ERR] STREAM: Received invalid client publish message"
CLOSED = '[DBG] STREAM: connection "_NSS-test-cluster-{}" has been closed'
DIFFERENCES = {
    "start": Difference(
        "another language, and a version of our own beside the one we are compatible with",
        ("[INF] STREAM: Go version: *", "[INF] STREAM: Git commit: [not set]"),
        ("[INF] STREAM: Compatible with nats-streaming-server *", "[INF] STREAM: Python version: *"),
    ),
    "refusals": Difference(
        "the original's text is that of an error which is not there",
        ("[ERR] STREAM: [Client:?] Invalid conn request: ClientID=ab, Inbox=, err=<nil>",),
        ("[ERR] STREAM: [Client:?] Invalid conn request: ClientID=ab, Inbox=, err=no heartbeat inbox",),
    ),
    "refused_publishing": Difference(
        "the original prints the whole request, with the contents of the message; those are nobody's business. And it"
        " traces the publish of an unknown client as if it were received",
        (
            f'{INVALID} clientID:"cli-a" guid:"*" subject:"foo.*" data:"private" connID:"conn-of-cli-a" ',
            f'{INVALID} clientID:"nobody" guid:"*" subject:"foo" data:"private" connID:"unknown" ',
            "[TRC] STREAM: [Client:nobody] Received message from publisher subj=foo guid=*",
        ),
        (
            f'{INVALID} ClientID="cli-a", subject="foo.*": stan: invalid publish request',
            f'{INVALID} ClientID="nobody", subject="foo": stan: invalid publish request',
        ),
    ),
    "stop": Difference(
        "one connection to NATS in place of four",
        (CLOSED.format("send"), CLOSED.format("acks"), CLOSED.format("hb")),
        (),
    ),
}


def lines(log: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for line in log.splitlines():
        for pattern, mask in MASKS:
            line = pattern.sub(mask, line)
        counted[re.sub(r'guid:"[^"]*"', 'guid:"*"', line)] += 1
    return counted


@pytest.mark.operations(20, 34)
@pytest.mark.parametrize("store", ["MEMORY", "FILE"])
async def test_the_logs_agree(store: str, tmp_path: Path) -> None:
    (original,) = prepare("go-server").command
    logs = []
    for name, program in (("original", original), ("ours", None)):
        arguments = ["-SDV", "-mm", "8", "-st", store, "-dir", str(tmp_path / name)]
        server = ServerProcess(*arguments, program=program)
        try:
            server.start()
            logs.append(await LogSession(server).live())
        finally:
            server.close()
    theirs, ours = logs
    for step in theirs:
        difference = DIFFERENCES.get(step, Difference("", (), ()))
        only_theirs, only_ours = lines(theirs[step]) - lines(ours[step]), lines(ours[step]) - lines(theirs[step])
        assert (step, sorted(only_theirs.elements()), sorted(only_ours.elements())) == (
            step,
            sorted(difference.theirs),
            sorted(difference.ours),
        ), difference.reason
    starts = [[line for line in lines(log["start"]) if line not in _of_one("start")] for log in logs]
    assert starts[0] == starts[1], "in another order"
    assert len(theirs) >= 14
    assert sum(lines(ours["plain"]).values()) >= 15


def _of_one(step: str) -> tuple[str, ...]:
    return DIFFERENCES[step].theirs + DIFFERENCES[step].ours
