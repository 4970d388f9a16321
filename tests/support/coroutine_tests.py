"""Coroutine functions as tests, each in a loop of its own and within a time."""

from __future__ import annotations

import asyncio
import inspect

import pytest


def run_if_coroutine(item: pytest.Function, seconds: float) -> bool | None:
    """What a `pytest_pyfunc_call` returns: True when the test was one and has run."""
    if not inspect.iscoroutinefunction(item.obj):
        return None
    arguments = {name: item.funcargs[name] for name in inspect.signature(item.obj).parameters}

    async def run() -> None:
        async with asyncio.timeout(seconds):
            await item.obj(**arguments)

    asyncio.run(run())
    return True
