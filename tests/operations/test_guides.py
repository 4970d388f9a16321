"""The code in the guides for programmers runs as it stands, and prints what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((GUIDE / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("code", "expected"), blocks("embedding.md"))
def test_embedding(code: str, expected: str) -> None:
    assert expected
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


def test_testing(pytester: pytest.Pytester) -> None:
    codes = [code for code, _ in blocks("testing.md")]
    assert len(codes) == 3
    pytester.makepyfile(**{f"test_block_{number}": code for number, code in enumerate(codes)})
    pytester.runpytest_subprocess("-p", "nats_streaming.testing.pytest_plugin").assert_outcomes(passed=3)
