"""Plain NATS through our listener, and directly to a nats-server: the same operations bring clients the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.support.servers import running_nats, running_server

SECONDS = 20.0
NOT_THE_SAME = frozenset(("server_id", "server_name", "client_id", "port", "xkey", "nonce"))
"""Of INFO."""


def masked(info: bytes) -> bytes:
    return repr(sorted(item for item in json.loads(info[5:]).items() if item[0] not in NOT_THE_SAME)).encode()


class Wire:
    """One connection, and all it has got: whole frames, but for the answers to our own PINGs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.frames: list[bytes] = []

    @classmethod
    async def open(cls, port: int, connect: bytes) -> Wire:
        wire = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))
        info = await wire.reader.readline()
        assert json.loads(info[5:])["port"] == port, "it tells clients where to connect"
        wire.frames.append(masked(info))
        wire.writer.write(connect)
        return wire

    async def settle(self) -> None:
        """Wait for all that is on its way here."""
        self.writer.write(b"PING\r\n")
        async with asyncio.timeout(SECONDS):
            while (frame := await self._frame()) != b"PONG\r\n":
                self.frames.append(frame)

    async def to_the_end(self) -> None:
        """Wait until the other side closes."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            async with asyncio.timeout(SECONDS):
                while True:
                    self.frames.append(await self._frame())

    async def _frame(self) -> bytes:
        line = await self.reader.readuntil(b"\r\n")
        if line.startswith((b"MSG ", b"HMSG ")):
            line += await self.reader.readexactly(int(line.split()[-1]) + 2)
        return masked(line) if line.startswith(b"INFO ") else line

    async def close(self) -> None:
        self.writer.transport.abort()


REFUSED_LINES = [
    b"PUB a\r\n",
    b"PUB a b c 1\r\nx\r\n",
    b"PUB a 0000000001\r\nx\r\n",
    b"PUB a 1\r\nxyz\r\n",
    b"PUB a 2000000\r\n",
    b"HPUB a 5 2\r\n",
    b"HPUB a 5\r\n",
    b"SUB\r\n",
    b"SUB a b c d\r\n",
    b"UNSUB 1 2 3\r\n",
    b"NOTHING\r\n",
    b"PUBLISH a 1\r\nx\r\n",
    b"\r\n",
    b"SUB %b 1\r\n" % (b"x" * 5000),
    b"CONNECT {\r\n",
    b"PUB %b 1\r\nx\r\n" % (b"x" * 5000),
]


@pytest.mark.parametrize("refused", REFUSED_LINES, ids=lambda line: repr(line[:24]))
async def test_what_a_nats_server_refuses(nats_and_ours: tuple[int, int], refused: bytes) -> None:
    """With the same words, and what came before was taken. Nothing follows: that would reset the connection."""
    transcripts = []
    for port in nats_and_ours:
        listener = await Wire.open(port, b'CONNECT {"verbose":false}\r\nSUB a 1\r\n')
        await listener.settle()
        wire = await Wire.open(port, b'CONNECT {"verbose":false,"headers":true}\r\nSUB a 7\r\n')
        await wire.settle()
        wire.writer.write(b"PUB a 2\r\nhi\r\nUNSUB 3\r\n" + refused)
        await wire.to_the_end()
        await listener.settle()
        transcripts.append((wire.frames, listener.frames))
        await wire.close()
        await listener.close()
    expected, got = transcripts
    assert got == expected


@pytest.fixture(scope="module")
def nats_and_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with running_nats(tmp_path_factory.mktemp("nats")) as plain, running_server() as ours:
        yield plain, ours.port


SCRIPTS: dict[str, list[tuple[int, bytes]]] = {
    "an ID is used twice": [(0, b"SUB a 1\r\nSUB b 1\r\nPUB b 1\r\nx\r\nPUB a 1\r\ny\r\n")],
    "what is no subject": [(0, b"SUB a..b 1\r\nSUB a.>.b 1\r\nSUB .a 1\r\nSUB a 1\r\nPUB a 1\r\nx\r\n")],
    "limits": [
        (0, b"SUB a 1\r\nUNSUB 1 2\r\n"),
        (1, b"PUB a 1\r\n1\r\n" * 3),
        (0, b"SUB a 2\r\n"),
        (1, b"PUB a 1\r\n2\r\n" * 3),
        (0, b"PUB a 1\r\n3\r\nUNSUB 2 2\r\nPUB a 1\r\n4\r\n"),
        (0, b"SUB a 3\r\nUNSUB 3 x\r\nSUB a 4\r\nUNSUB 4 1234567890\r\nSUB a 5\r\nUNSUB 5 -1\r\nPUB a 1\r\n5\r\n"),
    ],
    "an UNSUB behind publishes of the same read": [
        (0, b"SUB a 1\r\n"),
        (1, b"PUB a 1\r\n1\r\n" * 3),
        (0, b"PUB a 1\r\n4\r\nPUB a 1\r\n5\r\nUNSUB 1 3\r\nPUB a 1\r\n6\r\n"),
    ],
    "spellings": [
        (0, b"sub\ta\x0bb \t 1 \nSuB *.c q 2\r\nsub a 3\n"),
        (1, b"pub a\x0bb 1\nx\r\nPUB\tb.c\t000000001\r\ny\r\npUb  a  r  2  \r\n\r\n\r\nPONG\r\n"),
    ],
    "headers": [
        (0, b"SUB a 1\r\n"),
        (1, b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
    ],
    "nobody answers": [(0, b"SUB in.* 1\r\nPUB nobody in.1 1\r\nx\r\n")],
    "payloads that look like frames": [
        (0, b"SUB > 1\r\n"),
        (1, b"PUB a 27\r\n\r\nMSG a 1 5\r\nPUB b 1\r\nx\r\n\r\n\r\n"),
    ],
    "another CONNECT": [
        (0, b"SUB a 1\r\n"),
        (0, b'CONNECT {"verbose":true}\r\n'),
        (0, b"SUB a 2\r\nPUB a 1\r\nx\r\n"),
    ],
    "a message as large as may be": [(0, b"SUB a 1\r\n"), (1, b"PUB a 1048576\r\n" + b"x" * 1048576 + b"\r\n")],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize(
    "options",
    [b'{"verbose":false,"headers":true,"no_responders":true}', b'{"headers":true}', b'{"echo":false,"headers":true}'],
)
async def test_a_client_sees_what_a_nats_server_shows_it(
    nats_and_ours: tuple[int, int], script: list[tuple[int, bytes]], options: bytes
) -> None:
    transcripts = []
    for port in nats_and_ours:
        wires = [await Wire.open(port, b"CONNECT %b\r\n" % options) for _ in range(2)]
        for who, frames in script:
            wires[who].writer.write(frames)
            await wires[who].settle()
            await wires[1 - who].settle()
        transcripts.append([wire.frames for wire in wires])
        for wire in wires:
            await wire.close()
    assert transcripts[1] == transcripts[0]
