"""The code blocks of the guide run as they stand, in their order, and print what the guide says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nats_streaming.client
from nats_streaming.client import Client, connect
from tests.support.servers import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((DOCS / "guide" / "client.md").read_text(encoding="utf-8"))


def test_the_blocks_of_the_guide_do_what_it_says(start: Callable[..., ServerProcess]) -> None:
    port = str(start("ours").port)
    assert len(BLOCKS) >= 10
    assert sum(bool(expected) for _, expected in BLOCKS) >= 6
    for code, expected in BLOCKS:
        script = code.replace("4222", port)
        if "servers" not in script:
            script = re.sub(r'(connect\("[\w-]+", "[\w-]+")', rf'\1, servers="nats://127.0.0.1:{port}"', script)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0), code


def test_the_reference_names_everything_public() -> None:
    page = (DOCS / "reference" / "client.md").read_text(encoding="utf-8")
    assert not [name for name in nats_streaming.client.__all__ if f"`{name}" not in page]
    arguments = [*inspect.signature(connect).parameters, *inspect.signature(Client.subscribe).parameters]
    assert not [name for name in arguments if name not in ("self", "nats_options") and f"`{name}`" not in page]
