"""What must not stand in any file of the repository."""

from __future__ import annotations

import re
from pathlib import Path

from .checkout import ROOT, files, relative

HOMES = re.compile(rb"(?<![\w.~-])/(?:root|home|Users|work|workspace)/\w")
"""Paths of somebody's machine: they are right on no other one."""

MERGE_MARKERS = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
VERBATIM = ("LICENSE", "tests/fixtures/")
"""Files and folders that stay as they came."""


def texts() -> dict[Path, bytes]:
    contents = {path: path.read_bytes() for path in files()}
    return {path: content for path, content in contents.items() if b"\0" not in content}


def holding(pattern: re.Pattern[bytes]) -> list[str]:
    return [
        f"{relative(path)}:{line_of(content, found.start())}"
        for path, content in texts().items()
        for found in pattern.finditer(content)
    ]


def line_of(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def test_no_paths_of_somebodys_machine() -> None:
    assert not holding(HOMES)


def test_no_leftovers_of_a_merge() -> None:
    assert not holding(MERGE_MARKERS)


def test_lines_end_cleanly() -> None:
    ours = {relative(path): text for path, text in texts().items() if not relative(path).startswith(VERBATIM)}
    assert not [name for name, text in ours.items() if re.search(rb"[ \t]+\r?$", text, re.MULTILINE)]
    assert not [name for name, text in ours.items() if text and not text.endswith(b"\n")]


def test_the_licence_is_there() -> None:
    assert b"Apache License" in (ROOT / "LICENSE").read_bytes()[:200]
