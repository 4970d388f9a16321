"""Configuration files work unchanged: each file of the corpus is started for real, and says what must come of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.prepare import prepare
from tests.support.servers import ServerProcess, free_port, run_to_end

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(CORPUS.glob("*.conf"))
STARTED = [path for path in FILES if "\n# refused: " not in "\n" + path.read_text()]
REFUSED = [path for path in FILES if path not in STARTED]


def told(path: Path, what: str) -> list[str]:
    """The patterns a file gives for what must happen."""
    return re.findall(rf"^# {what}: (.+)$", path.read_text(), re.MULTILINE)


def environment(port: int, directory: Path) -> dict[str, str]:
    return {
        "STAN_PORT": str(port),
        "STAN_PORT_ON_LOOPBACK": f'"127.0.0.1:{port}"',
        "STAN_DIR": f'"{directory}"',
        "DIR_WITH_SPACE": f'"{directory}/with space"',
    }


def str_of(value: Path | str) -> str:
    return value.stem if isinstance(value, Path) else value


def expects_the_original_to_differ(path: Path) -> bool:
    return bool(os.environ.get("STAN_SERVER_UNDER_TEST")) and bool(told(path, "ours"))


@pytest.mark.operations(14, 15, 17)
@pytest.mark.parametrize(
    ("path", "flag"), [*((path, "-c") for path in STARTED), (CORPUS / "combined.conf", "-sc")], ids=str_of
)
def test_a_file_starts_the_server(
    start: Callable[..., ServerProcess], tmp_path: Path, path: Path, flag: str, request: pytest.FixtureRequest
) -> None:
    if expects_the_original_to_differ(path):
        request.applymarker(pytest.mark.xfail(reason=told(path, "ours")[0]))
    port = free_port()
    server = start(flag, str(path), listens_by_file=True, port=port, environment=environment(port, tmp_path))
    log = server.log()
    patterns = told(path, "expect")
    assert patterns
    assert not [pattern for pattern in patterns if not re.search(pattern, log, re.MULTILINE)], log


@pytest.mark.operations(14, 15, 20)
@pytest.mark.parametrize("path", [path for path in STARTED if not told(path, "ours")], ids=str_of)
def test_the_original_makes_the_same_of_it(start: Callable[..., ServerProcess], tmp_path: Path, path: Path) -> None:
    (original,) = prepare("go-server").command
    banners = []
    for name, program in (("original", original), ("ours", None)):
        port, directory = free_port(), tmp_path / name
        directory.mkdir()
        server = start(
            "-c", str(path), listens_by_file=True, port=port, program=program, environment=environment(port, directory)
        )  # fmt: skip
        banners.append(banner(server.log(), directory))
    assert banners[0] == banners[1]
    assert len(banners[0]) > 10


def banner(log: str, directory: Path) -> list[str]:
    """From the store's line to the last one, without times and directories."""
    lines = [line.partition("] STREAM: ")[2] for line in log.replace(str(directory), "DIRECTORY").splitlines()]
    first = next(index for index, line in enumerate(lines) if line.startswith("Message store is "))
    return lines[first : lines.index("Streaming Server is ready") + 1]


@pytest.mark.operations(17)
@pytest.mark.parametrize("path", REFUSED, ids=str_of)
def test_a_file_is_refused(tmp_path: Path, path: Path) -> None:
    ended = run_to_end("-c", str(path), environment=environment(free_port(), tmp_path))
    assert ended.status == 1
    (pattern,) = told(path, "refused")
    assert re.search(pattern, ended.err), ended.err
