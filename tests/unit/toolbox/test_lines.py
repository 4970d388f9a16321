"""Lines of a descriptor, whatever pieces they come in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.toolbox import lines
from nats_streaming.toolbox.lines import lines_of


async def gathered(descriptor: int) -> list[bytes]:
    return [line async for line in lines_of(descriptor)]


def test_a_pipe_in_pieces() -> None:
    async def run() -> list[bytes]:
        source, target = os.pipe()
        reading = asyncio.create_task(gathered(source))
        for piece in (b"on", b"e\r\n\ntw", b"o\n", b"last"):
            os.write(target, piece)
            await asyncio.sleep(0)
        os.close(target)
        found = await reading
        os.close(source)
        return found

    assert asyncio.run(run()) == [b"one", b"", b"two", b"last"]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = [b"%d" % number for number in range(50_000)]
    path.write_bytes(b"\n".join(content) + b"\n")
    with path.open("rb") as file:
        assert asyncio.run(gathered(file.fileno())) == content


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 100)
    path = tmp_path / "file"
    path.write_bytes(bytes(101))
    with path.open("rb") as file, pytest.raises(ConfigError, match="a line has more than 100 bytes"):
        asyncio.run(gathered(file.fileno()))


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        asyncio.run(gathered(descriptor))
    os.close(descriptor)
